"""The folder of a training run or slide analysis: its files, its events, commands to the run, and its state."""

from __future__ import annotations

import io
import json
import logging
import math
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, cast, get_args

from napari_melanoma.core.context import Cancelled, PartContext, RunContext
from napari_melanoma.core.csv_files import CsvError, CsvReader, CsvWriter, read_csv_dicts
from napari_melanoma.core.files import (
    append_lines,
    remove_leftovers,
    replace_non_finite,
    save_error,
    write_json,
    write_text,
)
from napari_melanoma.core.locks import heartbeat, hold_lock, is_locked
from napari_melanoma.core.parsing import parse_json, read_json
from napari_melanoma.core.renamed_keys import rename_keys

__all__ = ["RunEventReader", "RunState", "read_last_events", "run_state"]

RunCommand = Literal["run", "pause", "cancel"]
EVENTS = "events.jsonl"
PROCESS_FILE = "process.json"  # identifies the process; written after the event ``launched``
RESERVED_BYTES = 65536
PAUSE_S = 0.2  # between two checks of the command while a run is paused
CONTROL_FILE = "control.json"
SPAWN_S = 10.0  # that a process may take to start on a system under load
HEAD_BYTES = 2**12  # read of the events for the time of the first one
TAIL_BYTES = 2**16  # read of the events for the state
POLL_BYTES = 2**22  # that a reader of new events reads at once
LIFECYCLE_EVENTS = ("launched", "started", "cancelled", "failed", "finished")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, with its files ``config.toml``, ``events.jsonl``, ``metrics.csv``, ``checkpoints/`` ..."""

    path: Path

    @property
    def config(self) -> Path:
        """The recipe of the run."""
        return self.path / "config.toml"

    @property
    def checkpoints(self) -> Path:
        """Folder of ``last.ckpt``, ``previous.ckpt`` and ``best.ckpt``."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """The last state, after an epoch or within one, at which the run continues."""
        return self.checkpoints / "last.ckpt"

    @property
    def previous_checkpoint(self) -> Path:
        """The state before the last one, at which the run continues if the last one is damaged."""
        return self.checkpoints / "previous.ckpt"

    @property
    def start_weights(self) -> Path:
        """Weights that the run started from, if its recipe interpolates weights."""
        return self.path / "start.safetensors"

    @property
    def best_checkpoint(self) -> Path:
        """State after the best epoch so far."""
        return self.checkpoints / "best.ckpt"

    @property
    def bundle(self) -> Path:
        """The model of a finished run."""
        return self.path / "bundle"

    @property
    def data(self) -> Path:
        """Table of the images of the run and their splits."""
        return self.path / "data.csv"

    @property
    def samples(self) -> Path:
        """Folder of the predictions shown at the start and after each epoch."""
        return self.path / "samples"

    @property
    def tensorboard(self) -> Path:
        """Folder of the files for TensorBoard, if the recipe or the environment asks for them."""
        return self.path / "tensorboard"

    @property
    def comparison(self) -> Path:
        """Folder of the comparison of the new model with the one it started from."""
        return self.path / "comparison"

    @property
    def evaluation(self) -> Path:
        """Folder of the evaluation on the test set, if there is no model to compare with."""
        return self.path / "evaluation"

    @property
    def events(self) -> Path:
        """The events of the run, one per line."""
        return self.path / EVENTS

    def append_event(self, kind: str, **values: object) -> None:
        """Append one event to ``events.jsonl``."""
        line = json.dumps(replace_non_finite({"time": round(time.time(), 3), "kind": kind, **values}))
        _append(self.events, [line])

    def append_final_event(self, kind: str, **values: object) -> None:
        """Append the event that ends a run, in space that ``locked`` reserved, because the disk may be full."""
        with suppress(OSError):
            (self.path / ".reserve").unlink(missing_ok=True)
        self.append_event(kind, **values)

    def read_events(self) -> list[dict[str, Any]]:
        """Read all complete events in their order; empty if there are none."""
        try:
            return _parse_events(self.events.read_bytes())
        except OSError:
            return []

    def add_metrics(self, row: dict[str, float]) -> None:
        """Append the row of one epoch to ``metrics.csv``.

        The keys of the first row are the columns; a run that is resumed with other data may have others, which only its
        events contain, and NaN where it has none.
        """
        path = self.path / "metrics.csv"
        text = io.StringIO(newline="")
        writer = CsvWriter(text)
        columns = _read_columns(path)
        if not columns:
            columns = list(row)
            writer.write_row(columns)
        writer.write_row(f"{row.get(name, math.nan):.6g}" for name in columns)
        _append(path, text.getvalue().splitlines())

    def read_metrics(self) -> list[dict[str, float]]:
        """Read the complete rows of ``metrics.csv``."""
        try:
            with (self.path / "metrics.csv").open(newline="", encoding="utf-8", errors="replace") as table:
                rows = list(read_csv_dicts(table))
        except (OSError, CsvError):
            return []
        metrics = []
        for row in rows:
            with suppress(TypeError, ValueError):
                values = {name: float(value) for name, value in rename_keys("metrics", row).items()}
                if math.isfinite(values.get("epoch", 0.0)):
                    metrics.append(values)
        return metrics

    def repair(self) -> None:
        """Remove incomplete last lines and temporary files of a killed process; the caller holds the lock."""
        for path in (self.events, self.path / "metrics.csv"):
            if path.exists():
                _drop_incomplete_line(path)
        for folder in (self.path, self.checkpoints, self.samples):
            remove_leftovers(folder)

    def drop_metrics_from(self, epoch: int) -> None:
        """Drop the rows of ``metrics.csv`` from an epoch on, which a resumed run will repeat."""
        path = self.path / "metrics.csv"
        if path.exists():
            header, *rows = [*CsvReader(path.read_text(encoding="utf-8").splitlines())] or [[]]
            earlier = [row for row in rows if len(row) == len(header) and _epoch(row) < epoch]
            text = io.StringIO(newline="")
            if header:
                CsvWriter(text).write_rows([header, *earlier])
            write_text(path, text.getvalue())

    def read_command(self) -> RunCommand:
        """Read the user's command from ``control.json``; ``"run"`` if the file is missing or invalid."""
        try:
            command = read_json(self.path / CONTROL_FILE)["wish"]
        except (OSError, ValueError, KeyError, TypeError):
            return "run"
        return cast("RunCommand", command) if command in get_args(RunCommand) else "run"

    def write_command(self, command: RunCommand) -> None:
        write_json(self.path / CONTROL_FILE, {"wish": command})

    @property
    def is_launching(self) -> bool:
        """Whether a process was launched for this folder but has not started the run."""
        return _is_launching(self.read_events())

    @property
    def is_owned(self) -> bool:
        """Whether a process works in this folder, on any machine."""
        return is_locked(self.path / ".lock")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, write heartbeats, and reserve disk space for the final event, until the end of the block.

        If the process is killed, the system releases the lock.
        """
        reserve = self.path / ".reserve"
        with hold_lock(self.path / ".lock"), heartbeat(self.events):
            try:
                reserve.write_bytes(os.urandom(RESERVED_BYTES))  # bytes that no file system compresses
                yield
            finally:
                with suppress(OSError):
                    reserve.unlink(missing_ok=True)

    @contextmanager
    def log_to_file(self) -> Iterator[None]:
        """Append the log of this package to ``log.txt`` during the block."""
        logger = logging.getLogger("napari_melanoma")
        previous = logger.level
        handler = logging.FileHandler(self.path / "log.txt", encoding="utf-8", errors="backslashreplace")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.setLevel(previous)
            logger.removeHandler(handler)
            handler.close()


def _read_columns(path: Path) -> list[str]:
    """Return the columns of ``metrics.csv`` by their current names; empty without a header."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as table:
        return list(rename_keys("metrics", dict.fromkeys(next(CsvReader(table), []))))


def _epoch(row: list[str]) -> float:
    """Return the epoch of a row of ``metrics.csv`` (the first column); infinity for an invalid row."""
    try:
        return float(row[0])
    except ValueError:
        return math.inf


def _append(path: Path, lines: Iterable[str]) -> None:
    try:
        append_lines(path, lines)
    except OSError as error:
        raise save_error(path, error) from error


def _drop_incomplete_line(path: Path) -> None:
    """Remove text after the last end of line."""
    try:
        with path.open("rb+") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
    except OSError as error:
        raise save_error(path, error) from error


class RunFolderContext(RunContext):
    """A run context that also obeys the commands in the run folder: to stop, to pause and to continue."""

    def __init__(self, run: RunContext, folder: RunFolder) -> None:
        super().__init__(run.report)
        self._outer = run
        self._folder = folder

    @property
    def cancelled(self) -> bool:
        """Whether a stop was requested here or by the outer context."""
        return super().cancelled or self._outer.cancelled

    @property
    def is_pause_requested(self) -> bool:
        return self.read_command() == "pause"

    def read_command(self) -> RunCommand:
        """Return ``"cancel"`` if this process is to stop, otherwise the command in the folder."""
        return "cancel" if self.cancelled else self._folder.read_command()

    def check(self) -> None:
        """Wait while a pause is requested; raise ``Cancelled`` if a stop was requested."""
        if self.read_command() == "pause":
            self._folder.append_event("paused")
            while self.read_command() == "pause":
                time.sleep(PAUSE_S)
            if self.read_command() == "run":
                self._folder.append_event("continued")
        if self.read_command() == "cancel":
            self.cancel()
        super().check()


class RunPartContext(PartContext):
    """Context of one part of a run that has a run folder of its own: it also obeys the commands of the whole run."""

    @property
    def cancelled(self) -> bool:
        """Whether a stop of the part or of the whole was requested; waits while the whole is paused."""
        try:
            self._outer.check()
        except Cancelled:
            return True
        return super().cancelled


class SecondaryRunContext(RunFolderContext):
    """A context for a second process of a run; only the process that owns the folder obeys its commands."""

    def read_command(self) -> RunCommand:
        """Return ``"cancel"`` if this process is to stop, otherwise ``"run"``."""
        return "cancel" if self.cancelled else "run"


class RunState(StrEnum):
    """The state of a run; ``lost``: its process ended without a final event."""

    queued = "queued"
    starting = "starting"
    running = "running"
    paused = "paused"
    cancelling = "cancelling"
    cancelled = "cancelled"
    failed = "failed"
    finished = "finished"
    lost = "lost"

    @property
    def active(self) -> bool:
        """Whether the run has neither ended nor lost its process."""
        return self in _ACTIVE

    @property
    def resumable(self) -> bool:
        return self in (RunState.cancelled, RunState.failed, RunState.lost)


_ACTIVE = (RunState.queued, RunState.starting, RunState.running, RunState.paused, RunState.cancelling)
FINAL_STATES = {"cancelled": RunState.cancelled, "failed": RunState.failed, "finished": RunState.finished}
# States of a run whose process exists, after these events and after those of ``RUNNING_EVENTS``.
STATE_BY_EVENT = {"launched": RunState.starting, "queued": RunState.queued, "paused": RunState.paused}
RUNNING_EVENTS = ("started", "progress", "step", "epoch", "samples", "continued")


@dataclass(frozen=True)
class RunStatus:
    """The status of a training or an analysis, as read from its folder.

    Attributes
    ----------
    path : pathlib.Path
        The run folder.
    state : RunState
        The state; a run that is ``lost`` can be resumed.
    message : str
        Progress or error in a sentence for users.
    """

    path: Path
    state: RunState
    message: str = ""

    @property
    def may_change(self) -> bool:
        """Whether the run may still change."""
        return self.state.active


class RunEventReader:
    """Read the new events of a run at each poll.

    Parameters
    ----------
    path : pathlib.Path
        The run folder; it may have no events yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path / EVENTS
        self._offset = 0

    def poll(self) -> list[dict[str, Any]]:
        """Read the new events.

        Returns
        -------
        list of dict
            The next events, at most 4 MB; an incomplete last line is returned by a later call. Reading starts again
            at the beginning if the file was replaced by a shorter one.
        """
        try:
            with self._path.open("rb") as events:
                size = events.seek(0, 2)
                self._offset = 0 if size < self._offset else self._offset
                events.seek(self._offset)
                content = events.read(POLL_BYTES)
        except OSError:
            return []
        complete = content[: content.rfind(b"\n") + 1]
        self._offset += len(complete)
        return _parse_events(complete)


def read_last_events(path: Path) -> list[dict[str, Any]]:
    """Read the last events of a run folder.

    Parameters
    ----------
    path : pathlib.Path
        The run folder.

    Returns
    -------
    list of dict
        The events in the last 64 KB of the file, in their order; empty if there are none.
    """
    return read_start_and_last_events(path / EVENTS)[1]


def run_state(path: Path, events: list[dict[str, Any]], is_active: bool) -> RunState:
    """Determine the state of a run from its last events and whether its process exists.

    Parameters
    ----------
    path : pathlib.Path
        The run folder.
    events : list of dict
        The last events of the run.
    is_active : bool
        Whether the process of the run exists.

    Returns
    -------
    RunState
        The state.
    """
    kind = last_state_event(events)
    if kind in FINAL_STATES:
        return FINAL_STATES[kind]
    if is_active:
        if RunFolder(path).read_command() == "cancel":
            return RunState.cancelling
        return STATE_BY_EVENT.get(kind, RunState.running) if kind else RunState.starting
    # A process that was launched seconds ago may not have been identified yet.
    if kind == "launched" and not (path / PROCESS_FILE).is_file() and time.time() - event_time(events[-1]) < SPAWN_S:
        return RunState.starting
    # The process that ended it, also while it waited for its turn, adds the event.
    if _is_launching(events) and RunFolder(path).read_command() == "cancel":
        return RunState.cancelling if _is_recent(path / CONTROL_FILE) else RunState.cancelled
    return RunState.failed if kind == "launched" else RunState.lost  # failed: its process never wrote an event


def _is_launching(events: list[dict[str, Any]]) -> bool:
    kinds = (event.get("kind") for event in reversed(events))
    return next((kind for kind in kinds if kind in LIFECYCLE_EVENTS), None) == "launched"


def _is_recent(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < SPAWN_S
    except OSError:
        return False


def read_start_and_last_events(path: Path) -> tuple[float | None, list[dict[str, Any]]]:
    """Return the time of the first event (None if unknown) and the last events of a file of events."""
    try:
        with path.open("rb") as events:
            head = events.read(HEAD_BYTES)
            size = events.seek(0, 2)
            events.seek(max(0, size - TAIL_BYTES))
            tail = events.read(TAIL_BYTES)
    except OSError:
        return None, []
    if size > TAIL_BYTES:
        tail = tail.partition(b"\n")[2]
    last = _parse_events(tail[: tail.rfind(b"\n") + 1])
    first = _parse_events(head[: head.rfind(b"\n") + 1])[:1] or last[:1]
    return (event_time(first[0]) if first else None), last


def _parse_events(lines: bytes) -> list[dict[str, Any]]:
    """Parse the events of complete lines; other lines are skipped."""
    events = []
    for line in lines.splitlines():
        try:
            event = parse_json(line, "events")
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("kind"), str):
            events.append(rename_keys("event", event))
    return events


def event_time(event: dict[str, Any]) -> float:
    """Return the time of an event in seconds since 1970; 0 if it has none."""
    time_ = event.get("time")
    return float(time_) if isinstance(time_, int | float) else 0.0


def last_state_event(events: list[dict[str, Any]]) -> str:
    """Return the kind of the last event that determines the state; "" if there is none."""
    kinds = (event["kind"] for event in reversed(events))
    return next(
        (kind for kind in kinds if kind in FINAL_STATES or kind in STATE_BY_EVENT or kind in RUNNING_EVENTS), ""
    )
