"""Support for long functions: progress reports, cancellation, and mapping in threads with bounded read-ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sized
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, RLock
from typing import Any, TypeVar

from napari_melanoma.core.errors import BundleError, ConfigError, DiskFull

Item = TypeVar("Item")
REPORT_S = 0.2  # interval between reports of many short steps, as each report may repaint a dock
SCALE_STEPS = 1000  # steps into which the progress of one part of a function is divided


class Cancelled(Exception):  # noqa: N818 - an outcome, not an error: nothing went wrong
    """The user requested a stop; raised by ``RunContext.check`` and never shown as an error."""


BATCH_ERRORS = (Cancelled, BundleError, ConfigError, DiskFull)  # end a batch; any other error concerns one input only


@dataclass(frozen=True)
class Progress:
    """One report of a long function: ``done`` of ``total`` steps (``None`` if unknown) and the current activity."""

    done: int
    total: int | None
    message: str

    @property
    def fraction(self) -> float | None:
        """Share that is done, between 0 and 1, or ``None`` if the total is unknown."""
        return None if not self.total else min(1.0, self.done / self.total)


class Milestone(Progress):
    """A report that is logged on a line of its own, such as the end of an epoch."""


@dataclass(frozen=True)
class ParallelProgress(Progress):
    """A report of several ``parts`` that run at once, each with its own report."""

    parts: tuple[Progress, ...] = ()


def _ignore_progress(progress: Progress) -> None:
    """Discard a report."""


class RunContext:
    """Context of a long function, through which it reports progress and checks for requests to stop or pause."""

    def __init__(self, report: Callable[[Progress], None] = _ignore_progress) -> None:
        self.report = report
        self._cancelled = Event()
        self._stops: list[Callable[[], None]] = []
        self._stopping = RLock()

    def cancel(self) -> None:
        """Request a stop; safe from any thread, any number of times."""
        with self._stopping:
            self._cancelled.set()
            for stop in tuple(self._stops):
                stop()

    def ignore(self) -> None:
        """Request a stop that is not urgent: nothing is killed, and the result is ignored."""
        self._cancelled.set()

    @contextmanager
    def stopped_by(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call ``stop``, such as to kill a process, if the function is canceled in this context, and never after it."""
        with self._stopping:
            self.check()
            self._stops.append(stop)
        try:
            yield
        finally:
            with self._stopping:
                self._stops.remove(stop)

    @property
    def cancelled(self) -> bool:
        """Whether a stop was requested."""
        return self._cancelled.is_set()

    @property
    def is_pause_requested(self) -> bool:
        """Whether the next ``check`` will pause; data in memory should be saved before."""
        return False

    def check(self) -> None:
        """Raise ``Cancelled`` if a stop was requested."""
        if self.cancelled:
            raise Cancelled

    def track(self, items: Iterable[Item], message: str) -> Iterator[Item]:
        """Yield the items in their order, checking before each and reporting after it."""
        total = len(items) if isinstance(items, Sized) else None
        for done, item in enumerate(items, start=1):
            self.check()
            yield item
            self.report(Progress(done, total, message))


NULL_CONTEXT = RunContext()  # reports nothing and is never stopped


class PartContext(RunContext):
    """Context of one part of a longer function: it reports progress of the whole, and is cancelled with the whole.

    ``outer``: context of the whole; ``number``: index of the part, from 0; ``parts``: number of parts; ``title``: start
    of the messages. ``scale``: total of the reports that advance the progress; other reports, such as those of a nested
    step, change only the message. None: all reports advance it.
    """

    def __init__(self, outer: RunContext, number: int, parts: int, title: str, scale: int | None = None) -> None:
        super().__init__(self._report_whole)
        self._outer, self._number, self._parts, self._title, self._scale = outer, number, parts, title, scale

    @property
    def cancelled(self) -> bool:
        """Whether a stop of the part or of the whole was requested."""
        return super().cancelled or self._outer.cancelled

    def _report_whole(self, progress: Progress) -> None:
        counts = self._scale in (None, progress.total)
        done = self._number + ((progress.fraction or 0.0) if counts else 0.0)
        total = SCALE_STEPS * self._parts
        self._outer.report(type(progress)(round(SCALE_STEPS * done), total, f"{self._title}: {progress.message}"))


@dataclass(frozen=True)
class KeptArray:
    """An array that a child process keeps: the one that was sent last is not sent again.

    ``digest``: identifies it. ``values``: None if they are not sent.
    """

    digest: str
    values: Any = field(compare=False, repr=False)


POLL_S = 0.1
MAX_THREADS = 16  # more do not speed up a disk
Result = TypeVar("Result")


def zero_weight(item: object) -> int:
    """Return 0 for an item of negligible size."""
    return 0


@dataclass(frozen=True)
class StageLimit:
    """Limit of the items that one stage of ``map_ahead`` holds, by number and by size, so that memory is bounded.

    ``weigh``: returns the size of an item in bytes before it is processed; required with ``max_bytes``.
    """

    max_items: int
    max_bytes: int = 0
    weigh: Callable[[Any], int] = zero_weight

    def __post_init__(self) -> None:
        if self.max_bytes and self.weigh is zero_weight:
            raise ValueError("max_bytes has no effect without weigh")

    def has_room(self, size: int, held: Collection[int]) -> bool:
        """Whether one more item of ``size`` bytes may enter; ``held``: sizes of those in the stage.

        Always true for the first item.
        """
        return not held or (len(held) < self.max_items and sum(held) + size <= self.max_bytes)


def map_ahead(
    pool: Executor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    limit: StageLimit,
    run: RunContext,
) -> Iterator[Result]:
    """Map a function in the threads of a pool, in order, holding at most as many items as the limit allows.

    Stages are chained by passing the iterator of one as the ``items`` of the next; they cannot block each other. An
    error of the function is raised in place of the result.
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
    """Wait for a result in short intervals, because on Windows Ctrl+C cannot interrupt a longer wait."""
    while True:
        run.check()
        if wait([future], timeout=POLL_S).done:
            return future.result()


def usable_cores() -> int:
    """Count the cores available to this process, which a cluster or a container may limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def network_threads() -> int:
    """Count the threads of a network on the processor, which ``OMP_NUM_THREADS`` may limit."""
    return int(os.environ.get("OMP_NUM_THREADS") or usable_cores())


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], run: RunContext
) -> Iterator[tuple[Item, Result]]:
    """Map a function to items in threads, a few items ahead; yield items and results in the order of the items."""
    threads = min(MAX_THREADS, usable_cores() + 1)
    with ThreadPoolExecutor(threads, thread_name_prefix="reading") as pool:
        try:
            yield from map_ahead(pool, lambda item: (item, function(item)), items, StageLimit(2 * threads), run)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
