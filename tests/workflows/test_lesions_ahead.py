"""A stage works in order, holds no more than it may, and never waits for ever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_melanoma.core.runs import Cancelled, RunContext
from napari_melanoma.workflows.ahead import Room, ahead


@given(st.lists(st.integers(), max_size=30), st.integers(1, 5), st.integers(1, 4))
def test_two_stages_are_a_map_in_order(items: list[int], room: int, workers: int) -> None:
    run = RunContext()
    with ThreadPoolExecutor(workers) as pool:
        first = ahead(pool, lambda item: item + 1, items, lambda: room, run)
        assert list(ahead(pool, lambda item: item * 2, first, lambda: room, run)) == [2 * (i + 1) for i in items]


def test_no_more_is_under_way_than_there_is_room_for() -> None:
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
        assert list(ahead(pool, count, range(50), lambda: 3, RunContext())) == list(range(50))
    assert 1 < most <= 3


def test_an_error_comes_out_where_the_result_is_asked_for() -> None:
    with ThreadPoolExecutor(2) as pool:
        results = ahead(pool, lambda item: 1 // item, [2, 1, 0, 3], lambda: 2, RunContext())
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_a_stop_is_seen_while_waiting() -> None:
    run, free = RunContext(), threading.Event()
    threading.Timer(0.05, run.cancel).start()
    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        with pytest.raises(Cancelled):
            next(ahead(pool, lambda item: free.wait(30), [1], lambda: 1, run))
        assert time.monotonic() - started < 5
        free.set()


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([], 2), ([1], 16), ([100], 10), ([1000], 1), ([5000], 1), ([1000, 1], 2), ([1000, 1, 1, 1, 1, 1], 16)],
    ids=["unknown", "tiny", "ordinary", "as large as the limit", "larger", "just after a large one", "long after"],
)
def test_large_photographs_leave_room_for_few(sizes: list[int], expected: int) -> None:
    room = Room(most=16, first=2, limit_bytes=1000)
    for size in sizes:
        room.saw(size)
    assert room() == expected
