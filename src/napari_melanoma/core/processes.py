"""Child processes: started detached, identified, ended, and queued behind one another."""

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
from pathlib import Path
from typing import Any, Self

import psutil

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.files import has_ended, machine_id, process_start, save_error, write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.run_folder import RunCommand, RunFolder

PROCESS_FILE = "process.json"
REMOTE_SILENCE_S = 600.0  # a run on another machine that has been silent for longer counts as gone


@dataclass(frozen=True)
class ProcessStamp:
    """A process that cannot be mistaken for a later one of the same number: ``created`` tells them apart."""

    pid: int
    created: float
    host: str
    started: str
    machine: str = ""

    @classmethod
    def create(cls, pid: int | None = None) -> Self:
        """Stamp a process of this machine."""
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
        """Read the stamp of a run folder.

        None where there is none, or half of one.
        """
        try:
            values = read_json(path)
            pid, created, host = int(values["pid"]), float(values["created"]), str(values["host"])
            return cls(pid, created, host, str(values["started"]), str(values.get("machine", "")))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write the stamp."""
        write_json(path, asdict(self))

    @property
    def is_on_this_machine(self) -> bool:
        """Whether it belongs to this machine, by its mark rather than by its name, which may have changed since."""
        return self.machine == machine_id() if self.machine else self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether the process is there and can still do something; a zombie cannot. Asked on its own machine."""
        return has_ended(self.pid, self.created) is False


def is_run_alive(run: Path) -> bool:
    """Say whether the process of a run is at work, or waits for its turn.

    On another machine than this one: whether it has given a sign of life in the last ten minutes; it gives one every
    minute, also while it is paused or waits.
    """
    stamp = ProcessStamp.read(run / PROCESS_FILE)
    if stamp is None:
        return False
    if stamp.is_on_this_machine and (stamp.alive or stamp.host == socket.gethostname()):
        return stamp.alive
    return time.time() - _last_activity(run) < REMOTE_SILENCE_S  # also where two machines were copied with their mark


def lower_priority() -> None:
    """Let this process stand back behind the viewer and whatever else a person is waiting for."""
    process = psutil.Process()
    if sys.platform == "win32":
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        process.nice(max(10, int(process.nice())))


def _last_activity(run: Path) -> float:
    """When a run last wrote something of itself."""
    try:
        return (run / "events.jsonl").stat().st_mtime
    except OSError:
        return 0.0


POLL_S = 0.5
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class QueueTicket:
    """The place of the run in the folder ``run`` in the queue: a file named by its number, held until the run ends."""

    path: Path
    stamp: ProcessStamp
    run: str

    @property
    def number(self) -> int:
        """Lower goes first."""
        return int(self.path.stem)


def queue_folder() -> Path:
    """Folder of the tickets of this user on this machine; a home that several machines share has one for each."""
    from platformdirs import user_state_path

    return user_state_path("napari-melanoma", appauthor=False) / "queue" / machine_id()


@contextmanager
def wait_for_turn(out: Path, *, run: RunContext, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Wait until no earlier run of this user is at work on this machine, and hold the turn meanwhile.

    Tells ``queued`` events with the ``position`` (how many are before it) and the name of one that is ``paused``, hears
    a wish to cancel. A ticket whose process has gone is skipped.

    ``sleep``: waits for so many seconds.
    """
    out.mkdir(parents=True, exist_ok=True)
    ticket = draw_ticket(out, ProcessStamp.create())
    try:
        _wait(ticket, RunFolder(out), run, sleep)
        yield
    finally:
        ticket.path.unlink(missing_ok=True)


def draw_ticket(out: Path, stamp: ProcessStamp) -> QueueTicket:
    """Take the next number for a run; one that was drawn for it already, by whoever launched it, is kept."""
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
    """List the tickets that go before one; those of processes that have gone are removed.

    Returns the one at work first.
    """
    before = []
    for ticket in _tickets(folder):
        if ticket.number >= number:
            break
        if ticket.stamp.alive:
            before.append(ticket)
        else:
            log.info("the process of %s has gone without giving its turn back", ticket.run)
            ticket.path.unlink(missing_ok=True)
    return before


def _wait(ticket: QueueTicket, folder: RunFolder, run: RunContext, sleep: Callable[[float], None]) -> None:
    """Wait for the tickets before this one."""
    told = None
    while before := tickets_before(ticket.path.parent, ticket.number):
        paused = next(
            (Path(other.run).name for other in before if RunFolder(Path(other.run)).read_command() == "pause"), None
        )
        if (len(before), paused) != told:
            told = len(before), paused
            folder.append_event("queued", position=len(before), paused=paused)
            others = "1 other run" if len(before) == 1 else f"{len(before)} other runs"
            held = f"; {paused} is paused" if paused else ""
            run.report(Progress(0, None, f"Waiting for {others} to end{held}"))
        if run.cancelled or folder.read_command() == "cancel":
            raise Cancelled
        sleep(POLL_S)


def _tickets(folder: Path) -> list[QueueTicket]:
    """Every ticket that can be read, the lowest number first."""
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
    except (OSError, ValueError, KeyError, TypeError):  # it has just been given back
        return ""


OUTPUT_FILE = "output.txt"
EXIT_TIMEOUT_S = 30.0  # between the last word of a process and its end: it lets go of memory, workers and folder
KILL_TIMEOUT_S = 5.0  # that a killed process takes at most
FINAL_EVENTS = ("cancelled", "failed", "finished")
_started: list[subprocess.Popen[bytes]] = []  # kept until they end: one that nobody asked after stays a zombie


def wait_until_ended(run: Path) -> bool:
    """Wait until the process of a run has ended, where the run has said its last word; half a minute at most.

    Whether no process works on it any more; False at once for a run that is not ending.
    """
    until = time.monotonic() + EXIT_TIMEOUT_S
    if is_run_alive(run):
        told = RunFolder(run).read_events()
        if not told or told[-1].get("kind") not in FINAL_EVENTS:
            return False
    while is_run_alive(run):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def send_command(run: Path, command: RunCommand) -> None:
    """Tell a run to go on, pause or end; it acts within a batch."""
    RunFolder(run).write_command(command)


def send_command_or_stop(run: Path, command: RunCommand) -> None:
    """Ask a training run to go on, pause or end; one that still loads or waits ends at once."""
    folder = RunFolder(run)
    folder.write_command(command)
    # Asked again once it has ended: it may have come to its last word meanwhile.
    if command == "cancel" and folder.is_launching and end_process(run) and folder.is_launching:
        folder.append_final_event("cancelled")


def end_process(folder: Path) -> bool:
    """Kill the process of a run on this machine.

    Whether it ended; False where it is on another machine, had ended before, or could not be killed.
    """
    stamp = ProcessStamp.read(folder / PROCESS_FILE)
    if stamp is None or not stamp.is_on_this_machine or not stamp.alive:
        return False
    with suppress(psutil.Error):  # it has ended by itself meanwhile
        process = psutil.Process(stamp.pid)
        process.kill()
        process.wait(KILL_TIMEOUT_S)
    return not stamp.alive


def reap_children() -> None:
    """Take leave of our children that have ended, so that they do not stay in the table of processes."""
    _started[:] = [child for child in _started if child.poll() is None]


def spawn_detached(arguments: list[str], output: Path) -> ProcessStamp:
    """Start a process that is not tied to this one: not by its terminal, not by its pipes, not by its end."""
    reap_children()
    with output.open("ab") as log:
        log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        log.flush()
        apart: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, **apart)
    _started.append(child)
    return ProcessStamp.create(child.pid)


@atexit.register
def _detach_children() -> None:
    """Leave to themselves the children that are to outlive us; without this, each is warned of."""
    reap_children()
    for child in _started:
        child.returncode = 0
