"""Pipeline stages keep the order, respect their limit, and never wait forever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.context import Cancelled, RunContext, StageLimit, map_ahead


@settings(max_examples=40)
@given(st.lists(st.integers(), max_size=30), st.integers(1, 5), st.integers(1, 4))
def test_two_stages_are_a_map_in_order(items: list[int], room: int, workers: int) -> None:
    run = RunContext()
    with ThreadPoolExecutor(workers) as pool:
        first = map_ahead(pool, lambda item: item + 1, items, StageLimit(room), run)
        assert list(map_ahead(pool, lambda item: item * 2, first, StageLimit(room), run)) == [
            2 * (i + 1) for i in items
        ]


def test_a_stage_holds_at_most_its_limit() -> None:
    under_way, most, lock = 0, 0, threading.Lock()

    def count(item: int) -> int:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.002)
        with lock:
            under_way -= 1
        return item

    with ThreadPoolExecutor(8) as pool:
        assert list(map_ahead(pool, count, range(50), StageLimit(3), RunContext())) == list(range(50))
    assert 1 < most <= 3


def test_an_error_is_raised_where_the_result_is_due() -> None:
    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(pool, lambda item: 1 // item, [2, 1, 0, 3], StageLimit(2), RunContext())
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_waiting_can_be_cancelled() -> None:
    run, free = RunContext(), threading.Event()
    threading.Timer(0.05, run.cancel).start()
    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        with pytest.raises(Cancelled):
            next(map_ahead(pool, lambda item: free.wait(30), [1], StageLimit(1), run))
        assert time.monotonic() - started < 5
        free.set()


@pytest.mark.parametrize(
    ("size", "held", "expected"),
    [
        (5000, [], True),
        (1, [1] * 15, True),
        (1, [1] * 16, False),
        (500, [500], True),
        (501, [500], False),
        (1, [5000], False),
        (0, [5000], False),
        (0, [1000], True),
    ],
    ids=[
        "any alone",
        "tiny",
        "too many",
        "up to the limit",
        "above it",
        "beside a huge one",
        "nothing too",
        "no weight",
    ],
)
def test_large_photographs_leave_room_for_few(size: int, held: list[int], expected: bool) -> None:
    assert StageLimit(max_items=16, max_bytes=1000, weigh=lambda size: size).has_room(size, held) is expected


def test_a_limit_of_bytes_needs_the_size_of_an_item() -> None:
    with pytest.raises(ValueError, match="max_bytes has no effect without weigh"):
        StageLimit(max_items=16, max_bytes=1000)
