"""Reading many files in threads, in their order, with progress and an ear for cancel."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from napari_melanoma.core.runs import RunContext

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_THREADS = 16  # a disk serves no more at once


def usable_cores() -> int:
    """Count the cores that this process may use, which a cluster or a container limits."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], run: RunContext
) -> Iterator[tuple[Item, Result]]:
    """Apply a function to items in threads, a few ahead, and give the results in the items' order."""
    threads = min(MOST_THREADS, usable_cores() + 1)
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
