"""Stages of a pipeline over threads: each works ahead of the next one, by so much and no further."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from napari_melanoma.core.runs import RunContext

Item = TypeVar("Item")
Result = TypeVar("Result")

POLL_S = 0.1


def weightless(item: object) -> int:
    """Weigh an item that takes no memory worth counting."""
    return 0


@dataclass(frozen=True)
class Room:
    """How many photographs a stage may hold: fewer of large ones, so that memory stays bounded.

    ``weigh``: says how many bytes an item takes, before anything is done with it.
    """

    most: int
    limit_bytes: int = 0
    weigh: Callable[[Any], int] = weightless

    def takes(self, size: int, held: Collection[int]) -> bool:
        """Say whether one more item may enter.

        ``size``: what it takes, in bytes. True for any item where there is none yet.
        """
        return not held or (len(held) < self.most and sum(held) + size <= self.limit_bytes)


def ahead(
    pool: Executor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    room: Room,
    run: RunContext,
) -> Iterator[Result]:
    """Apply a function in the threads of a pool, in order, holding at most as many items as there is room for.

    Stages are chained by passing one as the ``items`` of the next. Nothing waits for anything but a future, so a stage
    that fails raises where its result is asked for, and none can wait for ever.

    Yields the results, in the order of the items.
    """
    pending: deque[tuple[Future[Result], int]] = deque()
    for item in items:
        size = room.weigh(item)
        while pending and not room.takes(size, [held for _, held in pending]):
            yield _await(pending.popleft()[0], run)
        pending.append((pool.submit(function, item), size))
        while pending and pending[0][0].done():
            yield _await(pending.popleft()[0], run)
    while pending:
        yield _await(pending.popleft()[0], run)


def _await(future: Future[Result], run: RunContext) -> Result:
    """Wait for a result in short naps: on Windows a lock that is waited for cannot be interrupted."""
    while True:
        run.check()
        if wait([future], timeout=POLL_S).done:
            return future.result()
