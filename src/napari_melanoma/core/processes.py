"""Processes of runs: start them detached, identify, queue and end them, and read the state of a run from its events."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import psutil

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.files import has_ended, machine_id, process_start, save_error, write_json
from napari_melanoma.core.parsing import parse_json, read_json
from napari_melanoma.core.run_folder import RunCommand, RunFolder

PROCESS_FILE = "process.json"
REMOTE_SILENCE_S = 600.0  # a run on another machine without a heartbeat for longer counts as lost
POLL_S = 0.5
OUTPUT_FILE = "output.txt"
EXIT_TIMEOUT_S = 30.0  # from the final event of a process to its end: it releases memory, workers and folder
KILL_TIMEOUT_S = 5.0  # that a killed process takes at most
FINAL_EVENTS = ("cancelled", "failed", "finished")
log = logging.getLogger(__name__)
_started: list[subprocess.Popen[bytes]] = []  # kept until they end: a process that is never polled stays a zombie


@dataclass(frozen=True)
class ProcessStamp:
    """A process, identified by number and start: a later one of the same number has another ``created``."""

    pid: int
    created: float
    host: str
    started: str
    machine: str = ""

    @classmethod
    def create(cls, pid: int | None = None) -> Self:
        """Make the stamp of a process of this machine."""
        number = os.getpid() if pid is None else pid
        return cls(
            number,
            process_start(number),
            socket.gethostname(),
            datetime.now(UTC).isoformat(timespec="seconds"),
            machine_id(),
        )

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read the stamp of a run folder; None if there is none, or an incomplete one."""
        try:
            values = read_json(path)
            pid, created, host = int(values["pid"]), float(values["created"]), str(values["host"])
            return cls(pid, created, host, str(values["started"]), str(values.get("machine", "")))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))

    @property
    def is_on_this_machine(self) -> bool:
        """Whether it belongs to this machine, by the machine's mark, as its name may have changed."""
        return self.machine == machine_id() if self.machine else self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether the process exists and is not a zombie; only valid on its own machine."""
        return has_ended(self.pid, self.created) is False


def is_run_alive(run: Path) -> bool:
    """Whether the process of a run is working or waiting for its turn.

    On another machine: whether it had a heartbeat in the last ten minutes; there is one every minute, also while the
    run is paused or waits.
    """
    stamp = ProcessStamp.read(run / PROCESS_FILE)
    if stamp is None:
        return False
    if stamp.is_on_this_machine and (stamp.alive or stamp.host == socket.gethostname()):
        return stamp.alive
    return time.time() - _last_activity(run) < REMOTE_SILENCE_S  # also for copies of a machine with its mark


def lower_priority() -> None:
    """Run this process at low priority."""
    process = psutil.Process()
    if sys.platform == "win32":
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        process.nice(max(10, int(process.nice())))


def _last_activity(run: Path) -> float:
    """Time at which a run last wrote an event or heartbeat."""
    try:
        return (run / "events.jsonl").stat().st_mtime
    except OSError:
        return 0.0


@dataclass(frozen=True)
class QueueTicket:
    """The position of a run in the queue: a file named by its number, which exists until the run ends."""

    path: Path
    stamp: ProcessStamp
    run: str

    @property
    def number(self) -> int:
        """Number of the ticket; lower numbers go first."""
        return int(self.path.stem)


def queue_folder() -> Path:
    """Folder of the tickets of this user; one for each machine, as several may share a home."""
    from platformdirs import user_state_path

    return user_state_path("napari-melanoma", appauthor=False) / "queue" / machine_id()


@contextmanager
def wait_for_turn(out: Path, *, run: RunContext, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Wait until no earlier run of this user is working on this machine, and hold the turn meanwhile.

    Writes ``queued`` events with the ``position`` (runs before it) and the name of a ``paused`` one, and checks for a
    cancellation. A ticket of an ended process is skipped.

    ``sleep``: waits for a number of seconds.
    """
    out.mkdir(parents=True, exist_ok=True)
    ticket = draw_ticket(out, ProcessStamp.create())
    try:
        _wait(ticket, RunFolder(out), run, sleep)
        yield
    finally:
        ticket.path.unlink(missing_ok=True)


def draw_ticket(out: Path, stamp: ProcessStamp) -> QueueTicket:
    """Draw the next number for a run; a number drawn at its launch is kept."""
    from filelock import FileLock

    folder, run = queue_folder(), str(out.absolute())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            tickets = _tickets(folder)
            own = next((ticket for ticket in tickets if ticket.run == run and ticket.stamp.alive), None)
            number = own.number if own else max((ticket.number for ticket in tickets), default=0) + 1
            ticket = QueueTicket(folder / f"{number:08}.json", stamp, run)
            write_json(ticket.path, {"run": run, **asdict(stamp)})
            return ticket
    except OSError as error:
        raise save_error(folder, error) from error


def tickets_before(folder: Path, number: int) -> list[QueueTicket]:
    """List the tickets before one, the working run first; those of ended processes are removed."""
    before = []
    for ticket in _tickets(folder):
        if ticket.number >= number:
            break
        if ticket.stamp.alive:
            before.append(ticket)
        else:
            log.info("the process of %s ended without releasing its turn", ticket.run)
            ticket.path.unlink(missing_ok=True)
    return before


def _wait(ticket: QueueTicket, folder: RunFolder, run: RunContext, sleep: Callable[[float], None]) -> None:
    """Wait for earlier tickets."""
    reported = None
    while before := tickets_before(ticket.path.parent, ticket.number):
        paused = next(
            (Path(other.run).name for other in before if RunFolder(Path(other.run)).read_command() == "pause"), None
        )
        if (len(before), paused) != reported:
            reported = len(before), paused
            folder.append_event("queued", position=len(before), paused=paused)
            others = "1 other run" if len(before) == 1 else f"{len(before)} other runs"
            held = f"; {paused} is paused" if paused else ""
            run.report(Progress(0, None, f"Waiting for {others} to end{held}"))
        if run.cancelled or folder.read_command() == "cancel":
            raise Cancelled
        sleep(POLL_S)


def _tickets(folder: Path) -> list[QueueTicket]:
    """Every readable ticket, the lowest number first."""
    found = []
    for path in sorted(folder.glob("[0-9]*.json")):
        stamp = ProcessStamp.read(path)
        if stamp is not None:
            found.append(QueueTicket(path, stamp, _run_name(path)))
    return found


def _run_name(path: Path) -> str:
    """Name of the run of a ticket."""
    try:
        return str(read_json(path)["run"])
    except (OSError, ValueError, KeyError, TypeError):  # just removed
        return ""


def wait_until_ended(run: Path) -> bool:
    """Wait until the process of a run has ended, after its final event; half a minute at most.

    Returns whether it has ended; False at once for a run without a final event.
    """
    until = time.monotonic() + EXIT_TIMEOUT_S
    if is_run_alive(run):
        events = RunFolder(run).read_events()
        if not events or events[-1].get("kind") not in FINAL_EVENTS:
            return False
    while is_run_alive(run):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def send_command(run: Path, command: RunCommand) -> None:
    """Request that a run continues, pauses or ends; it reacts within a batch."""
    RunFolder(run).write_command(command)


def send_command_or_stop(run: Path, command: RunCommand) -> None:
    """Request that a training run continues, pauses or ends; one that still loads or waits is ended at once."""
    folder = RunFolder(run)
    folder.write_command(command)
    # Checked again after its end: it may have written its final event meanwhile.
    if command == "cancel" and folder.is_launching and end_process(run) and folder.is_launching:
        folder.append_final_event("cancelled")


def end_process(folder: Path) -> bool:
    """Kill the process of a run on this machine.

    Returns whether it ended; False if it is on another machine, had ended before, or could not be killed.
    """
    stamp = ProcessStamp.read(folder / PROCESS_FILE)
    if stamp is None or not stamp.is_on_this_machine or not stamp.alive:
        return False
    with suppress(psutil.Error):  # it ended meanwhile
        process = psutil.Process(stamp.pid)
        process.kill()
        process.wait(KILL_TIMEOUT_S)
    return not stamp.alive


def reap_children() -> None:
    """Poll ended child processes, so that they do not remain as zombies."""
    _started[:] = [child for child in _started if child.poll() is None]


def spawn_detached(arguments: list[str], output: Path) -> ProcessStamp:
    """Start a process that is independent of this one: of its terminal, its pipes and its end."""
    reap_children()
    with output.open("ab") as log_file:
        log_file.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        log_file.flush()
        detached: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            detached = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        child = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=log_file, stderr=subprocess.STDOUT, **detached
        )
    _started.append(child)
    return ProcessStamp.create(child.pid)


@atexit.register
def _detach_children() -> None:
    """Leave running children alone at exit; otherwise Python warns of each."""
    reap_children()
    for child in _started:
        child.returncode = 0


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
    """Read the new events of a run at each poll; its folder may have no events yet."""

    def __init__(self, path: Path) -> None:
        self._path = path / EVENTS
        self._offset = 0

    def poll(self) -> list[dict[str, Any]]:
        """Read the new events, at most 4 MB; from the beginning if the file was replaced by a shorter one.

        An incomplete last line is returned by a later call.
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
    """Read the last events of a run folder, 64 KB of them, in their order; empty if there are none."""
    return _read_first_and_last(path / EVENTS)[1]


def run_state(path: Path, events: list[dict[str, Any]], at_work: bool) -> RunState:
    """Determine the state of a run from its last event and whether its process exists."""
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
