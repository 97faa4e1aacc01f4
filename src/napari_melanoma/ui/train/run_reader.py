"""Read the new content of a run folder repeatedly in a thread: events, losses and log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.ui.train.run_text import parse_number
from napari_melanoma.ui.widgets.run_watch import RunSnapshot

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.runs.launching import RunReport
    from napari_melanoma.ui.widgets.style import Palette


MAX_POINTS = 1200  # of a loss curve; more than a plot of 340 pixels can show
INACTIVE_EVENTS = ("cancelled", "failed", "finished", "queued", "paused")  # after these, a run is inactive
LOG_BYTES = 64 * 1024  # of a longer log, only this much is read from the end


@dataclass(frozen=True)
class CurveStyle:
    """Style of a curve: colors on a dark and a light background, and a symbol or dashes."""

    name: str
    dark: str
    light: str
    symbol: str | None = None
    dashed: bool = False
    width: float = 1.5

    def color(self, palette: Palette) -> str:
        """Return the color for a theme."""
        return self.dark if palette.dark else self.light


@dataclass(frozen=True)
class LossCurve:
    """The training loss over a run.

    ``epochs``: positions, for example 3.25 for a quarter of the fourth epoch. ``values``: loss at these positions.
    """

    epochs: tuple[float, ...] = ()
    values: tuple[float, ...] = ()


@dataclass
class LossTrace:
    """Collect the losses of step events; if there are too many, neighboring points are averaged."""

    _epochs: list[float] = field(default_factory=list)
    _values: list[float] = field(default_factory=list)
    _sum: float = 0.0
    _pending: int = 0  # steps in _sum, which do not form a point yet
    _steps_per_point: int = 1

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Add new events; a step at an earlier position, as after a resume, replaces the points from there on."""
        for event in events:
            position, loss = _epoch_position(event), parse_number(event, "loss")
            if position is not None and loss is not None:
                self._add_point(position, loss)

    def to_curve(self) -> LossCurve:
        """Return the points in order, at most ``MAX_POINTS``."""
        return LossCurve(tuple(self._epochs), tuple(self._values))

    def _add_point(self, position: float, loss: float) -> None:
        while self._epochs and self._epochs[-1] >= position:
            self._epochs.pop()
            self._values.pop()
            self._sum = self._pending = 0
        self._sum += loss
        self._pending += 1
        if self._pending < self._steps_per_point:
            return
        self._epochs.append(position)
        self._values.append(self._sum / self._pending)
        self._sum = self._pending = 0
        if len(self._epochs) > MAX_POINTS:
            self._halve_resolution()

    def _halve_resolution(self) -> None:
        pairs = zip(self._values[::2], self._values[1::2], strict=False)
        self._values = [(first + second) / 2 for first, second in pairs]
        self._epochs = self._epochs[1::2]
        self._steps_per_point *= 2


@dataclass
class ActiveTime:
    """Sum the time in which a run was active: not queued, paused or ended."""

    seconds: float = 0.0
    _last_time: float | None = None
    _is_inactive: bool = False

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Add new events."""
        for event in events:
            now, kind = parse_number(event, "time"), event.get("kind")
            if now is None:
                continue
            if self._last_time is not None and not self._is_inactive and kind != "launched":
                self.seconds += max(0.0, now - self._last_time)
            self._last_time, self._is_inactive = now, kind in INACTIVE_EVENTS


def _epoch_position(event: Mapping[str, Any]) -> float | None:
    """Return the position of a step event in epochs, as in ``LossCurve``; None for other events."""
    if event.get("kind") != "step":
        return None
    epoch, batches = parse_number(event, "epoch"), parse_number(event, "batches")
    if epoch is None:  # written by another version
        return None
    return epoch + ((parse_number(event, "batch") or 0.0) / batches if batches else 0.5)


@dataclass(frozen=True)
class TrainingSnapshot(RunSnapshot):
    """Result of reading the folder of a training once.

    ``events``: new events except steps. ``losses``: of all steps so far. ``log``: new text of the log.
    ``active_seconds``: how long the run was active.
    """

    status: RunReport
    losses: LossCurve = field(default_factory=LossCurve)
    log: str = ""
    active_seconds: float = 0.0


class RunFolderReader:
    """Read the new content of a run folder; not thread-safe."""

    def __init__(self, path: Path) -> None:
        from napari_melanoma.core.run_folder import RunEventReader

        self.path = path
        self._event_reader = RunEventReader(path)
        self._loss_trace = LossTrace()
        self._active_time = ActiveTime()
        self._log = LogTail(path)

    def read_new(self, run: RunContext) -> TrainingSnapshot:
        """Read what is new since the last call."""
        from napari_melanoma.runs.launching import read_run

        new_events: list[dict[str, Any]] = []
        while events := self._event_reader.poll():
            run.check()
            self._loss_trace.add(events)
            self._active_time.add(events)
            new_events += [event for event in events if event["kind"] != "step"]
        return TrainingSnapshot(
            read_run(self.path),
            new_events,
            self._loss_trace.to_curve(),
            self._log.read(),
            self._active_time.seconds,
        )


class LogTail:
    """Read new lines of ``log.txt``, or of ``output.txt`` if the run ended before it wrote a log."""

    def __init__(self, path: Path) -> None:
        self._folder = path
        self._offset = 0
        self._name = ""

    def read(self) -> str:
        """Return the new complete lines."""
        for name in ("log.txt", "output.txt"):
            try:
                size = (self._folder / name).stat().st_size
            except OSError:
                continue
            if size:
                return self._read(name, size)
        return ""

    def _read(self, name: str, size: int) -> str:
        skips_first_line = False
        if name != self._name or size < self._offset:
            self._name, self._offset = name, max(0, size - LOG_BYTES)
            skips_first_line = self._offset > 0  # the offset is probably within a line
        if size == self._offset:
            return ""
        try:
            with (self._folder / name).open("rb") as file:
                file.seek(self._offset)
                content = file.read(size - self._offset)
        except OSError:
            return ""
        lines = content[: content.rfind(b"\n") + 1]
        self._offset += len(lines)
        if skips_first_line:
            lines = lines.partition(b"\n")[2]
        return lines.decode("utf-8", errors="replace")
