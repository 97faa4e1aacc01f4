"""Follows a run folder in a thread: twice a second what is new in it, and nothing where nobody looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui.job import Job
from napari_melanoma.ui.runs.trace import Losses, Trace, Worked

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.workflows.runs import RunReport

INTERVAL_MS = 500
LOG_BYTES = 64 * 1024  # of a log that was long when we came


@dataclass(frozen=True)
class Sight:
    """What one look at a run folder found.

    ``events`` are the new ones, but for steps, which ``losses`` sums up; ``log`` is the new text of the log;
    ``epochs`` are the folders with sample predictions, ``start`` first; ``worked`` is how many seconds it was at work.
    """

    path: Path
    report: RunReport
    losses: Losses = field(default_factory=Losses)
    events: list[dict[str, Any]] = field(default_factory=list)
    log: str = ""
    epochs: tuple[str, ...] = ()
    first: bool = False
    worked: float = 0.0


class Looker:
    """Looks at one run folder again and again, and remembers how far it has read; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        from napari_melanoma.workflows.runs import RunTail

        self.path = path
        self._tail = RunTail(path)
        self._trace = Trace()
        self._worked = Worked()
        self._log = LogTail(path)
        self._first = True

    def look(self, run: RunContext) -> Sight:
        """Read what is new."""
        from napari_melanoma.workflows.runs import read_run

        told: list[dict[str, Any]] = []
        while events := self._tail.poll():
            run.check()
            self._trace.add(events)
            self._worked.add(events)
            told += [event for event in events if event["kind"] != "step"]
        report = read_run(self.path)
        first, self._first = self._first, False
        return Sight(
            self.path,
            report,
            self._trace.losses(),
            told,
            self._log.read(),
            _epochs(self.path),
            first,
            self._worked.seconds,
        )


class LogTail:
    """Reads what was added to ``log.txt``, or to ``output.txt`` where the run never came so far as to log."""

    def __init__(self, path: Path) -> None:
        self._folder = path
        self._at = 0
        self._name = ""

    def read(self) -> str:
        """Read what is new.

        Whole lines; empty where there are none.
        """
        for name in ("log.txt", "output.txt"):
            try:
                size = (self._folder / name).stat().st_size
            except OSError:
                continue
            if size:
                return self._read(name, size)
        return ""

    def _read(self, name: str, size: int) -> str:
        inside = False
        if name != self._name or size < self._at:
            self._name, self._at = name, max(0, size - LOG_BYTES)
            inside = self._at > 0
        if size == self._at:
            return ""
        try:
            with (self._folder / name).open("rb") as file:
                file.seek(self._at)
                found = file.read(size - self._at)
        except OSError:
            return ""
        whole = found[: found.rfind(b"\n") + 1]
        self._at += len(whole)
        if inside:  # of a line, most likely
            whole = whole.partition(b"\n")[2]
        return whole.decode("utf-8", errors="replace")


class RunWatch(QObject):
    """Tells what happens in a run folder, while it is active and the run has not ended."""

    changed = Signal(object)
    events = Signal(object)
    seen = Signal(object)
    failed = Signal(object)

    def __init__(
        self, parent: QObject, looker: Callable[[Path], Any] = Looker, goes_on: Callable[[Any], bool] | None = None
    ) -> None:
        super().__init__(parent)
        self._make, self._goes_on = looker, goes_on or _goes_on
        self._looker: Any = None
        self._asked: Any = None
        self._job: Job | None = None
        self.expecting = False
        self._again = False
        self._active = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self._look)

    @property
    def path(self) -> Path | None:
        """The run folder that is watched."""
        found: Path | None = None if self._looker is None else self._looker.path
        return found

    @property
    def busy(self) -> bool:
        """Whether a look is under way."""
        return self._job is not None

    @property
    def watching(self) -> bool:
        """Whether another look will follow by itself."""
        return self._active and (self._timer.isActive() or self._job is not None)

    def set_run(self, path: Path | None) -> None:
        """Watch another folder, or the same one from its beginning."""
        self._looker = None if path is None else self._make(path)
        self._timer.stop()
        self.refresh()

    def set_active(self, active: bool) -> None:
        """Begin or end to look; who is hidden needs no news."""
        self._active = active
        if active:
            self.refresh()
        else:
            self._timer.stop()

    def refresh(self) -> None:
        """Look at once; also the way to go on after a run that had ended was resumed."""
        if self._job is not None:
            self._again = True
        elif self._active:
            self._look()

    def _look(self) -> None:
        if self._looker is None or self._job is not None:
            return
        self._again = False
        self._asked = self._looker
        self._job = Job(self._looker.look)
        self._job.succeeded.connect(self._on_seen)
        self._job.failed.connect(self._on_failed)
        self._job.finished.connect(self._on_finished)
        self._job.start()

    def _on_seen(self, sight: Any) -> None:  # noqa: ANN401 - what the looker gives
        if self._asked is not self._looker:
            return  # another run was chosen meanwhile
        self.seen.emit(sight)
        if sight.events:
            self.events.emit(sight.events)
        self.changed.emit(sight.report)
        if self._active and (self.expecting or self._goes_on(sight.report)):
            self._timer.start()

    def _on_failed(self, error: Exception) -> None:
        self.failed.emit(error)

    def _on_finished(self) -> None:
        self._job = None
        if self._again and self._active:
            self._look()


def _goes_on(report: RunReport) -> bool:
    """Say whether there may be news; a finished run's process may still be at work on the comparison."""
    return report.state.active or (report.bundle is not None and report.comparison is None and report.ended is None)


def _epochs(path: Path) -> tuple[str, ...]:
    """Name the folders with sample predictions, the one from before the training first."""
    try:
        folders = [entry.name for entry in (path / "samples").iterdir() if entry.is_dir()]
    except OSError:
        return ()
    names = [name for name in folders if not name.startswith(".")]  # one of these is being written
    return tuple(sorted(names, key=lambda name: (name != "start", name)))
