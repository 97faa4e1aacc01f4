"""Determine the state of a run from the events in its folder."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Any

from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.processes import PROCESS_FILE
from napari_melanoma.core.run_folder import RunFolder

__all__ = ["RunEventReader", "RunState", "read_last_events", "run_state"]

EVENTS = "events.jsonl"
HEAD_BYTES, TAIL_BYTES = 2**12, 2**16
POLL_BYTES = 2**22
SPAWN_S = 10.0  # a system under load takes a while to start a process


class RunState(StrEnum):
    """State of a run; ``lost``: its process ended without a final event."""

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
        """Whether a process is working on it or waiting for its turn."""
        return self in _ACTIVE

    @property
    def resumable(self) -> bool:
        """Whether the run can be resumed."""
        return self in (RunState.cancelled, RunState.failed, RunState.lost)


_ACTIVE = (RunState.queued, RunState.starting, RunState.running, RunState.paused, RunState.cancelling)
FINAL_STATES = {"cancelled": RunState.cancelled, "failed": RunState.failed, "finished": RunState.finished}
STATE_BY_EVENT = {"launched": RunState.starting, "queued": RunState.queued, "paused": RunState.paused}
RUNNING_EVENTS = ("started", "progress", "step", "epoch", "samples", "continued")


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
            At most 4 MB of them; an incomplete last line is returned by a later call. From the beginning if the file
            was replaced by a shorter one.
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
        return _parse_events(whole)


def read_last_events(path: Path) -> list[dict[str, Any]]:
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
    return _read_first_and_last(path / EVENTS)[1]


def run_state(path: Path, events: list[dict[str, Any]], at_work: bool) -> RunState:
    """Determine the state of a run from its last event and whether its process exists.

    Parameters
    ----------
    path : pathlib.Path
        The run folder.
    events : list of dict
        The last ones.
    at_work : bool
        Whether its process exists.

    Returns
    -------
    RunState
        The state.
    """
    kind = _last_state_event(events)
    if kind in FINAL_STATES:
        return FINAL_STATES[kind]
    if at_work:
        if RunFolder(path).read_command() == "cancel":
            return RunState.cancelling
        return STATE_BY_EVENT.get(kind, RunState.running) if kind else RunState.starting
    if kind == "launched" and not (path / PROCESS_FILE).is_file() and time.time() - _event_time(events[-1]) < SPAWN_S:
        return RunState.starting
    return RunState.failed if kind == "launched" else RunState.lost  # failed: it never wrote an event


def _read_first_and_last(path: Path) -> tuple[float | None, list[dict[str, Any]]]:
    """Time of the first event, and the last events."""
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
    found = _parse_events(tail[: tail.rfind(b"\n") + 1])
    begun = _parse_events(head[: head.rfind(b"\n") + 1])[:1] or found[:1]
    return (_event_time(begun[0]) if begun else None), found


def _parse_events(lines: bytes) -> list[dict[str, Any]]:
    """Parse the events of complete lines; other lines are skipped."""
    events = []
    for line in lines.splitlines():
        try:
            event = parse_json(line, "events")
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("kind"), str):
            events.append(event)
    return events


def _event_time(event: dict[str, Any]) -> float:
    time_ = event.get("time")
    return float(time_) if isinstance(time_, int | float) else 0.0


def _last_state_event(events: list[dict[str, Any]]) -> str:
    """Kind of the last event that determines the state."""
    kinds = (event["kind"] for event in reversed(events))
    return next(
        (kind for kind in kinds if kind in FINAL_STATES or kind in STATE_BY_EVENT or kind in RUNNING_EVENTS), ""
    )
