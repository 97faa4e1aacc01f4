"""The runs there are and how each fares, read from run folders alone; and the door to starting and asking them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from napari_melanoma.core.config import read_toml
from napari_melanoma.core.csv_cells import CsvError, csv_dicts
from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.training.monitor import Monitor, monitor_in, monitor_of
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.adoption import adopted_name, is_discarded
from napari_melanoma.workflows.comparison import Comparison, read_comparison
from napari_melanoma.workflows.launching import OUTPUT, RECIPE, ask, launch, new_run, reap, request, runs_folder
from napari_melanoma.workflows.processes import PROCESS, alive, lower_priority
from napari_melanoma.workflows.turns import wait_for_turn

__all__ = [
    "RunReport",
    "RunState",
    "RunTail",
    "alive",
    "ask",
    "last_events",
    "launch",
    "list_runs",
    "lower_priority",
    "new_run",
    "read_run",
    "request",
    "runs_folder",
    "state_of",
    "wait_for_turn",
]

EVENTS = "events.jsonl"
HEAD_BYTES, TAIL_BYTES = 2**12, 2**16
POLL_BYTES = 2**22
SAID_LINES, SAID_CHARACTERS = 3, 600
SPAWN_S = 10.0  # a system under load takes a while to start a process


class RunState(StrEnum):
    """Where a run stands; ``lost``: its process has gone without a last word."""

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
        """Whether a process works on it or waits for its turn."""
        return self in _ACTIVE

    @property
    def resumable(self) -> bool:
        """Whether it makes sense to offer to go on."""
        return self in (RunState.cancelled, RunState.failed, RunState.lost)


_ACTIVE = (RunState.queued, RunState.starting, RunState.running, RunState.paused, RunState.cancelling)
ENDS = {"cancelled": RunState.cancelled, "failed": RunState.failed, "finished": RunState.finished}
STANDING = {"launched": RunState.starting, "queued": RunState.queued, "paused": RunState.paused}
AT_WORK = ("started", "progress", "step", "epoch", "samples", "continued")


@dataclass(frozen=True)
class RunReport:
    """All that a run folder says, at one moment.

    ``epoch`` counts the finished epochs, ``metrics`` has a row for each (``epoch`` counted from 0), ``step`` is the
    last event of that kind, empty where there is none. ``recipe`` is None where another version wrote it. ``best`` is
    the greatest value of the ``monitor`` so far.
    """

    path: Path
    name: str
    recipe: TrainRecipe | None
    state: RunState
    message: str
    epoch: int = 0
    epochs: int = 0
    metrics: list[dict[str, float]] = field(default_factory=list)
    step: dict[str, Any] = field(default_factory=dict)
    started: float | None = None
    ended: float | None = None
    best: float | None = None
    bundle: Path | None = None
    comparison: Comparison | None = None
    adopted: str | None = None
    discarded: bool = False

    @property
    def monitor(self) -> Monitor:
        """What picks the epoch."""
        return monitor_of(self.recipe) if self.recipe else monitor_in(self.metrics[-1] if self.metrics else {})


class RunTail:
    """Reads what a run has told since it was last asked.

    Parameters
    ----------
    path : pathlib.Path
        The run folder; it need not have any events yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path / EVENTS
        self._offset = 0

    def poll(self) -> list[dict[str, Any]]:
        """Read the events that are new.

        Returns
        -------
        list of dict
            At most 4 MB of them; a last line that is still being written comes the next time. From the beginning
            where the file has been replaced by a shorter one.
        """
        try:
            with self._path.open("rb") as events:
                size = events.seek(0, 2)
                self._offset = 0 if size < self._offset else self._offset
                events.seek(self._offset)
                found = events.read(POLL_BYTES)
        except OSError:
            return []
        whole = found[: found.rfind(b"\n") + 1]
        self._offset += len(whole)
        return _parsed(whole)


def list_runs(folder: Path | None = None) -> list[RunReport]:
    """Read every run of a folder.

    Parameters
    ----------
    folder : pathlib.Path, optional
        ``runs_folder()`` by default.

    Returns
    -------
    list of RunReport
        The newest first; what is no run folder is left out.
    """
    parent = runs_folder() if folder is None else folder
    try:
        found = [path for path in parent.iterdir() if _is_run(path)]
    except OSError:
        return []
    reports = [read_run(path) for path in found]
    return sorted(reports, key=lambda report: (report.started or 0.0, report.name), reverse=True)


def read_run(path: Path) -> RunReport:
    """Say how a run fares; reads the end of its events only, and changes nothing.

    Parameters
    ----------
    path : pathlib.Path
        The run folder.

    Returns
    -------
    RunReport
        A folder that is none, or is gone, is reported as ``lost``.
    """
    reap()
    folder, recipe = RunFolder(path), _recipe(path)
    first, events = _ends_of(path / EVENTS)
    at_work = alive(path)
    state = state_of(path, events, at_work)
    metrics = _metrics(path / "metrics.csv")
    step: dict[str, Any] = next((event for event in reversed(events) if event["kind"] == "step"), {})
    name = (monitor_of(recipe) if recipe else monitor_in(metrics[-1] if metrics else {})).name
    measured = [row[name] for row in metrics if not math.isnan(row.get(name, math.nan))]
    done = int(metrics[-1].get("epoch", -1)) + 1 if metrics else 0
    epochs = recipe.epochs if recipe else 0
    return RunReport(
        path=path,
        name=path.name,
        recipe=recipe,
        state=state,
        message=_message(path, state, events, (done, epochs)),
        epoch=done,
        epochs=epochs,
        metrics=metrics,
        step=step,
        started=first,
        ended=None if at_work or not events else _when(events[-1]),
        best=max(measured, default=None),
        bundle=folder.bundle if (folder.bundle / "config.json").is_file() else None,
        comparison=_comparison(path),
        adopted=adopted_name(path),
        discarded=is_discarded(path),
    )


def last_events(path: Path) -> list[dict[str, Any]]:
    """Read the last events of a run folder.

    Parameters
    ----------
    path : pathlib.Path
        The run folder.

    Returns
    -------
    list of dict
        The last 64 KB of them, in their order; empty where there are none.
    """
    return _ends_of(path / EVENTS)[1]


def state_of(path: Path, events: list[dict[str, Any]], at_work: bool) -> RunState:
    """Say where a run stands, from its last word and whether its process is there.

    Parameters
    ----------
    path : pathlib.Path
        The run folder.
    events : list of dict
        The last ones.
    at_work : bool
        Whether its process is there.

    Returns
    -------
    RunState
        Where it stands.
    """
    word = _last_word(events)
    if word in ENDS:
        return ENDS[word]
    if at_work:
        if RunFolder(path).wish() == "cancel":
            return RunState.cancelling
        return STANDING.get(word, RunState.running) if word else RunState.starting
    if word == "launched" and not (path / PROCESS).is_file() and time.time() - _when(events[-1]) < SPAWN_S:
        return RunState.starting
    return RunState.failed if word == "launched" else RunState.lost  # failed: it never got as far as saying a word


def _is_run(path: Path) -> bool:
    """Say whether a folder holds a run, or was made for one that never began."""
    return any((path / name).is_file() for name in ("config.toml", RECIPE, EVENTS, PROCESS))


def _recipe(path: Path) -> TrainRecipe | None:
    """Recipe of a run; None where another version of this program wrote it."""
    for name in ("config.toml", RECIPE):
        try:
            return read_toml(path / name, TrainRecipe)
        except ConfigError:
            continue
    return None


def _ends_of(path: Path) -> tuple[float | None, list[dict[str, Any]]]:
    """When the first event was, and the last events."""
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
    found = _parsed(tail[: tail.rfind(b"\n") + 1])
    begun = _parsed(head[: head.rfind(b"\n") + 1])[:1] or found[:1]
    return (_when(begun[0]) if begun else None), found


def _parsed(lines: bytes) -> list[dict[str, Any]]:
    """Events of whole lines; what is no event is passed over."""
    events = []
    for line in lines.splitlines():
        try:
            event = parse_json(line, "events")
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("kind"), str):
            events.append(event)
    return events


def _metrics(path: Path) -> list[dict[str, float]]:
    """Rows of ``metrics.csv``; a row that is cut off is not yet there."""
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as table:
            rows = list(csv_dicts(table))
    except (OSError, CsvError):
        return []
    found = []
    for row in rows:
        try:
            found.append({str(name): float(value) for name, value in row.items()})
        except (TypeError, ValueError):
            continue
    return found


def _comparison(path: Path) -> Comparison | None:
    """What the gate found, where there is something that can be read."""
    try:
        return read_comparison(path / "comparison")
    except InputError:
        return None


def _when(event: dict[str, Any]) -> float:
    """Time of an event."""
    time_ = event.get("time")
    return float(time_) if isinstance(time_, int | float) else 0.0


def _last_word(events: list[dict[str, Any]]) -> str:
    """Kind of the last event that says where the run stands."""
    words = (event["kind"] for event in reversed(events))
    return next((word for word in words if word in ENDS or word in STANDING or word in AT_WORK), "")


def _message(path: Path, state: RunState, events: list[dict[str, Any]], epochs: tuple[int, int]) -> str:
    """Say in a sentence how a run fares."""
    done, total = epochs
    last: dict[str, dict[str, Any]] = {event["kind"]: event for event in events}
    again = f"Resume goes on from epoch {done + 1}." if done else "Resume begins it again."
    if state is RunState.queued:
        queued = last.get("queued", {})
        before, paused = queued.get("position", 1), queued.get("paused")
        held = f" {paused} is paused: continue or cancel it." if paused else ""
        return f"Waits for {before} other run{'' if before == 1 else 's'} to end.{held}"
    if state is RunState.failed:
        said = str(last["failed"].get("message", "")) if _last_word(events) == "failed" else _said(path)
        return said or "Its process ended before it began, and said nothing."
    if state is RunState.lost:
        if not events:
            return "There is nothing in this folder that a run has written."
        return f"It ended without a word: killed, or the machine went down. {again}{_quoted(_said(path))}"
    if state is RunState.cancelled:
        return f"Cancelled after {done} of {total} epochs. {again}" if total else f"Cancelled. {again}"
    if state is RunState.finished:
        threshold = last.get("finished", {}).get("threshold")
        at = f"; threshold {threshold:g}" if isinstance(threshold, int | float) else ""
        return f"Finished after {done} epochs{at}."
    return _progress(state, events, last, total)


def _progress(state: RunState, events: list[dict[str, Any]], last: dict[str, dict[str, Any]], total: int) -> str:
    """Say what a run at work is doing."""
    if state is RunState.cancelling:
        return "Ends after the current batch or image; finished epochs and a finished model are kept."
    if state is RunState.paused:
        return "Paused; it holds its memory until it goes on or is cancelled."
    if state is RunState.starting:
        return "Starting."
    doing = next((event for event in reversed(events) if event["kind"] in ("progress", "step")), None)
    if doing is None:
        return "At work."
    if doing["kind"] == "progress":
        return f"{doing.get('message', 'At work')}."
    return f"Epoch {int(doing.get('epoch', 0)) + 1} of {total or '?'}."


def _said(path: Path) -> str:
    """Last lines of what the process wrote since it was launched last."""
    try:
        with (path / OUTPUT).open("rb") as output:
            output.seek(max(0, output.seek(0, 2) - TAIL_BYTES))
            text = output.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines: list[str] = []
    for line in text.splitlines():
        lines = [] if line.startswith("--- ") else [*lines, line.strip()]
    return "\n".join([line for line in lines if line][-SAID_LINES:])[-SAID_CHARACTERS:]


def _quoted(said: str) -> str:
    """Give the last line of an output, where there is one."""
    return f" It said last: {said.splitlines()[-1]}" if said else ""
