"""Map functions in threads, with bounded read-ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from napari_melanoma.core.context import RunContext

POLL_S = 0.1
MAX_THREADS = 16  # more do not speed up a disk
Item = TypeVar("Item")
Result = TypeVar("Result")


def zero_weight(item: object) -> int:
    """Return 0 for an item of negligible size."""
    return 0


@dataclass(frozen=True)
class StageLimit:
    """How many photographs a stage may hold: fewer if they are large, so that memory is bounded.

    ``weigh``: returns the size of an item in bytes before it is processed.
    """

    max_items: int
    limit_bytes: int = 0
    weigh: Callable[[Any], int] = zero_weight

    def has_room(self, size: int, held: Collection[int]) -> bool:
        """Whether one more item of ``size`` bytes may enter; always true for the first."""
        return not held or (len(held) < self.max_items and sum(held) + size <= self.limit_bytes)


def map_ahead(
    pool: Executor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    limit: StageLimit,
    run: RunContext,
) -> Iterator[Result]:
    """Map a function in the threads of a pool, in order, holding at most as many items as the limit allows.

    Stages are chained by passing one as the ``items`` of the next. An error is raised where its result is due; no stage
    can wait forever. Yields the results in the order of the items.
    """
    pending: deque[tuple[Future[Result], int]] = deque()
    for item in items:
        size = limit.weigh(item)
        while pending and not limit.has_room(size, [held for _, held in pending]):
            yield _wait_for_result(pending.popleft()[0], run)
        pending.append((pool.submit(function, item), size))
        while pending and pending[0][0].done():
            yield _wait_for_result(pending.popleft()[0], run)
    while pending:
        yield _wait_for_result(pending.popleft()[0], run)


def _wait_for_result(future: Future[Result], run: RunContext) -> Result:
    """Wait for a result in short intervals: on Windows a waiting lock cannot be interrupted."""
    while True:
        run.check()
        if wait([future], timeout=POLL_S).done:
            return future.result()


def usable_cores() -> int:
    """Count the cores available to this process, which a cluster or a container may limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], run: RunContext
) -> Iterator[tuple[Item, Result]]:
    """Map a function to items in threads, a few ahead, and yield the results in the items' order."""
    threads = min(MAX_THREADS, usable_cores() + 1)
    ahead: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="reading") as pool:
        try:
            for item in items:
                run.check()
                ahead.append((item, pool.submit(function, item)))
                if len(ahead) > 2 * threads:
                    first, future = ahead.popleft()
                    yield first, future.result()
            while ahead:
                run.check()
                first, future = ahead.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
