"""The state of a run, from the events in its folder."""

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
FINAL_STATES = {"cancelled": RunState.cancelled, "failed": RunState.failed, "finished": RunState.finished}
STATE_BY_EVENT = {"launched": RunState.starting, "queued": RunState.queued, "paused": RunState.paused}
RUNNING_EVENTS = ("started", "progress", "step", "epoch", "samples", "continued")


class RunEventReader:
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
    word = _last_state_event(events)
    if word in FINAL_STATES:
        return FINAL_STATES[word]
    if at_work:
        if RunFolder(path).read_command() == "cancel":
            return RunState.cancelling
        return STATE_BY_EVENT.get(word, RunState.running) if word else RunState.starting
    if word == "launched" and not (path / PROCESS_FILE).is_file() and time.time() - _event_time(events[-1]) < SPAWN_S:
        return RunState.starting
    return RunState.failed if word == "launched" else RunState.lost  # failed: it never got as far as saying a word


def _read_first_and_last(path: Path) -> tuple[float | None, list[dict[str, Any]]]:
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
    found = _parse_events(tail[: tail.rfind(b"\n") + 1])
    begun = _parse_events(head[: head.rfind(b"\n") + 1])[:1] or found[:1]
    return (_event_time(begun[0]) if begun else None), found


def _parse_events(lines: bytes) -> list[dict[str, Any]]:
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


def _event_time(event: dict[str, Any]) -> float:
    """Time of an event."""
    time_ = event.get("time")
    return float(time_) if isinstance(time_, int | float) else 0.0


def _last_state_event(events: list[dict[str, Any]]) -> str:
    """Kind of the last event that says where the run stands."""
    words = (event["kind"] for event in reversed(events))
    return next(
        (word for word in words if word in FINAL_STATES or word in STATE_BY_EVENT or word in RUNNING_EVENTS), ""
    )
