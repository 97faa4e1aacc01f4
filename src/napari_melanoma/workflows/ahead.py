"""Stages of a pipeline over threads: each works ahead of the next one, by so much and no further."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from typing import TypeVar

from napari_melanoma.core.runs import RunContext

Item = TypeVar("Item")
Result = TypeVar("Result")

POLL_S = 0.1


class Room:
    """How many photographs a stage may hold: fewer of large ones, so that memory stays bounded.

    Parameters
    ----------
    most : int
        Of small photographs.
    first : int
        Before the size of any is known.
    limit_bytes : int
        What the photographs of the stage may take together.
    """

    def __init__(self, most: int, first: int, limit_bytes: int) -> None:
        self._most = most
        self._first = min(first, most)
        self._limit = limit_bytes
        self._typical = 0

    def saw(self, size: int) -> None:
        """Learn the size of a photograph: a large one counts at once, and is forgotten slowly.

        Parameters
        ----------
        size : int
            In bytes.
        """
        self._typical = max(size, self._typical // 2, 1)

    def __call__(self) -> int:
        """Say for how many there is room now, at least one."""
        if not self._typical:
            return self._first
        return max(1, min(self._most, self._limit // self._typical))


def ahead(
    pool: Executor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    room: Callable[[], int],
    run: RunContext,
) -> Iterator[Result]:
    """Apply a function in the threads of a pool, in order, holding at most as many items as there is room for.

    Stages are chained by passing one as the ``items`` of the next. Nothing waits for anything but a future, so a stage
    that fails raises where its result is asked for, and none can wait for ever.

    Parameters
    ----------
    pool : concurrent.futures.Executor
        Shared by all stages.
    function : callable
        What each item goes through; what it raises is raised here.
    items : iterable
        Taken from only when there is room.
    room : callable
        Says how many items may be under way.
    run : RunContext
        Asked while waiting whether to go on.

    Yields
    ------
    object
        The results, in the order of the items.

    Raises
    ------
    Cancelled
        Where the user stopped it; what has not begun is then not begun.
    """
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        while pending and (pending[0].done() or len(pending) >= room()):
            yield _await(pending.popleft(), run)
    while pending:
        yield _await(pending.popleft(), run)


def _await(future: Future[Result], run: RunContext) -> Result:
    """Wait for a result in short naps: on Windows a lock that is waited for cannot be interrupted."""
    while True:
        run.check()
        if wait([future], timeout=POLL_S).done:
            return future.result()
