"""Communication of a long function with its caller: progress reports, and requests to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

from napari_melanoma.core.errors import BundleError, ConfigError, DiskFull

Item = TypeVar("Item")
SCALE_STEPS = 1000  # steps in which the progress of a part is reported


class Cancelled(Exception):  # noqa: N818 - an outcome, not an error: nothing went wrong
    """The user requested a stop; raised by ``RunContext.check`` and never shown as an error."""


BATCH_ERRORS = (
    Cancelled,
    BundleError,
    ConfigError,
    DiskFull,
)  # these end a batch; any other error affects one input only


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
    """Context of a long function: it reports progress, and checks for requests to stop or pause."""

    def __init__(self, report: Callable[[Progress], None] = _ignore_progress) -> None:
        self.report = report
        self._cancelled = Event()

    def cancel(self) -> None:
        """Request a stop; safe from any thread, any number of times."""
        self._cancelled.set()

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
    """Context of one part of a longer work: its progress counts for the whole, and a stop of the whole stops it."""

    def __init__(self, outer: RunContext, number: int, parts: int, title: str, scale: int | None = None) -> None:
        super().__init__(self._report_whole)
        self._outer, self._number, self._parts, self._title, self._scale = outer, number, parts, title, scale

    @property
    def cancelled(self) -> bool:
        """Whether a stop of the part or of the whole was requested."""
        return super().cancelled or self._outer.cancelled

    def _report_whole(self, progress: Progress) -> None:
        """Report the progress of the part as that of the whole."""
        counts = self._scale in (None, progress.total)
        done = self._number + ((progress.fraction or 0.0) if counts else 0.0)
        total = SCALE_STEPS * self._parts
        self._outer.report(type(progress)(round(SCALE_STEPS * done), total, f"{self._title}: {progress.message}"))
