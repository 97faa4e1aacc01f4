"""How a long function and whoever started it talk: progress goes out, a wish to stop comes in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

from napari_melanoma.core.errors import BundleError, ConfigError, DiskFull

Item = TypeVar("Item")
SCALE_STEPS = 1000  # steps by which the progress of a part is told


class Cancelled(Exception):  # noqa: N818 - an outcome, not an error: nothing went wrong
    """The user asked to stop; raised by ``RunContext.check`` and never shown as an error."""


BATCH_ERRORS = (Cancelled, BundleError, ConfigError, DiskFull)  # what ends a batch; all else fails one input


@dataclass(frozen=True)
class Progress:
    """One report of a long function: ``done`` of ``total`` steps (``None`` where unknown) and what is being done."""

    done: int
    total: int | None
    message: str

    @property
    def fraction(self) -> float | None:
        """Share that is done, between 0 and 1, or ``None`` where the total is unknown."""
        return None if not self.total else min(1.0, self.done / self.total)


class Milestone(Progress):
    """A report that deserves a line of its own in a log, such as the end of an epoch."""


@dataclass(frozen=True)
class ParallelProgress(Progress):
    """A report of work of which several ``parts`` are at work at once, each with a report of its own."""

    parts: tuple[Progress, ...] = ()


def _ignore_progress(progress: Progress) -> None:
    """Take a report and do nothing with it."""


class RunContext:
    """What a long function may ask of whoever started it: take my progress, and may I go on?"""

    def __init__(self, report: Callable[[Progress], None] = _ignore_progress) -> None:
        self.report = report
        self._cancelled = Event()

    def cancel(self) -> None:
        """Ask the function to stop; safe from any thread, any number of times."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether a stop was asked for."""
        return self._cancelled.is_set()

    @property
    def is_pause_requested(self) -> bool:
        """Whether the next ``check`` will hold for a while: time to bring to the disk what is in memory."""
        return False

    def check(self) -> None:
        """Raise ``Cancelled`` if a stop was asked for."""
        if self.cancelled:
            raise Cancelled

    def track(self, items: Iterable[Item], message: str) -> Iterator[Item]:
        """Yield the items, checking before each and reporting after it.

        Yields the items in their order.
        """
        total = len(items) if isinstance(items, Sized) else None
        for done, item in enumerate(items, start=1):
            self.check()
            yield item
            self.report(Progress(done, total, message))


NULL_CONTEXT = RunContext()  # nobody listens, nobody stops it


class PartContext(RunContext):
    """Context of one of several parts of a longer work: its progress moves that of the whole, which may stop it."""

    def __init__(self, outer: RunContext, number: int, parts: int, title: str, scale: int | None = None) -> None:
        super().__init__(self._report_whole)
        self._outer, self._number, self._parts, self._title, self._scale = outer, number, parts, title, scale

    @property
    def cancelled(self) -> bool:
        """Whether a stop of the part or of the whole was asked for."""
        return super().cancelled or self._outer.cancelled

    def _report_whole(self, progress: Progress) -> None:
        """Pass a report on, as one of the whole."""
        counts = self._scale in (None, progress.total)
        done = self._number + ((progress.fraction or 0.0) if counts else 0.0)
        total = SCALE_STEPS * self._parts
        self._outer.report(type(progress)(round(SCALE_STEPS * done), total, f"{self._title}: {progress.message}"))
