"""Read the new content of the run folder of a training in a thread: events, losses and log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.context import RunContext
from napari_melanoma.ui.train.run_text import parse_number
from napari_melanoma.ui.widgets.run_panel import RunSnapshot

if TYPE_CHECKING:
    from napari_melanoma.runs.launching import RunReport

INACTIVE_EVENTS = ("cancelled", "failed", "finished", "queued", "paused")  # after these, a run is inactive
LOG_BYTES = 64 * 1024  # of a longer log, only this much is read from the end


@dataclass
class LossTrace:
    """Losses of step events. ``epochs``: positions, for example 3.25 for a quarter of the fourth epoch."""

    epochs: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Add new events; a step at an earlier position, as after a resume, replaces the points from there on."""
        for event in events:
            epoch, loss = parse_number(event, "epoch"), parse_number(event, "loss")
            if event.get("kind") != "step" or epoch is None or loss is None:  # or written by another version
                continue
            batches = parse_number(event, "batches")
            position = epoch + ((parse_number(event, "batch") or 0.0) / batches if batches else 0.5)
            while self.epochs and self.epochs[-1] >= position:
                self.epochs.pop()
                self.values.pop()
            self.epochs.append(position)
            self.values.append(loss)


@dataclass
class ActiveTime:
    """Sum the time in which a run was active: not queued, paused or ended."""

    seconds: float = 0.0
    _last_time: float | None = None
    _is_inactive: bool = False

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        for event in events:
            now, kind = parse_number(event, "time"), event.get("kind")
            if now is None:
                continue
            if self._last_time is not None and not self._is_inactive and kind != "launched":
                self.seconds += max(0.0, now - self._last_time)
            self._last_time, self._is_inactive = now, kind in INACTIVE_EVENTS


@dataclass(frozen=True)
class TrainingSnapshot(RunSnapshot):
    """Result of reading the folder of a training once.

    ``events``: new events except steps. ``losses``: of all steps so far. ``log``: its last lines. ``active_seconds``:
    how long the run was active. ``validation_images``: size of the validation set, None if unknown.
    """

    status: RunReport
    losses: LossTrace = field(default_factory=LossTrace)
    log: str = ""
    active_seconds: float = 0.0
    validation_images: int | None = None


class TrainingReader:
    """Read the new content of a run folder; not thread-safe."""

    def __init__(self, path: Path) -> None:
        from napari_melanoma.core.run_folder import RunEventReader

        self.path = path
        self._event_reader = RunEventReader(path)
        self._losses, self._active_time = LossTrace(), ActiveTime()
        self._validation_images: int | None = None

    def read_new(self, run: RunContext) -> TrainingSnapshot:
        """Read what is new since the last call."""
        from napari_melanoma.runs.launching import read_run

        new_events: list[dict[str, Any]] = []
        while events := self._event_reader.poll():
            run.check()
            self._losses.add(events)
            self._active_time.add(events)
            new_events += [event for event in events if event["kind"] != "step"]
        for event in new_events:
            if event["kind"] == "started" and (count := parse_number(event, "validation")) is not None:
                self._validation_images = int(count)
        losses = LossTrace([*self._losses.epochs], [*self._losses.values])
        log, seconds = read_log(self.path), self._active_time.seconds
        return TrainingSnapshot(read_run(self.path), new_events, losses, log, seconds, self._validation_images)


def read_log(folder: Path) -> str:
    """Return the last complete lines of ``log.txt``, or of ``output.txt`` if the run ended before it wrote a log."""
    for name in ("log.txt", "output.txt"):
        with suppress(OSError), (folder / name).open("rb") as file:
            start = max(0, file.seek(0, 2) - LOG_BYTES)
            file.seek(start)
            content = file.read()
            if start:
                content = content.partition(b"\n")[2]
            if content:
                return content[: content.rfind(b"\n") + 1].decode("utf-8", errors="replace")
    return ""
