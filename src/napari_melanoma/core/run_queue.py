"""The queue of runs: the runs of one user on one machine take turns, in the order of their start."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.files import machine_id, remove_file, save_error, write_json
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.processes import ProcessStamp
from napari_melanoma.core.run_folder import RunFolder

POLL_S = 0.5
log = logging.getLogger(__name__)


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
    """Folder of the tickets of this user; one for each machine, as several machines may share a home folder."""
    from platformdirs import user_state_path

    return user_state_path("napari-melanoma", appauthor=False) / "queue" / machine_id()


@contextmanager
def wait_for_turn(out: Path, *, run: RunContext, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Wait until no earlier run of this user is working on this machine, and hold the turn during the block.

    Writes ``queued`` events with the ``position`` (number of runs before this one) and the name of a ``paused`` run,
    and checks for a cancellation. Tickets of ended processes are removed.

    ``sleep``: waits for a number of seconds.
    """
    out.mkdir(parents=True, exist_ok=True)
    ticket = draw_ticket(out, ProcessStamp.create())
    try:
        _wait(ticket, RunFolder(out), run, sleep)
        yield
    finally:
        _remove(ticket)


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
    """List the tickets before a number, that of the working run first; tickets of ended processes are removed."""
    before = []
    for ticket in _tickets(folder):
        if ticket.number >= number:
            break
        if ticket.stamp.alive:
            before.append(ticket)
        else:
            log.info("the process of %s ended without releasing its turn", ticket.run)
            _remove(ticket)
    return before


def _remove(ticket: QueueTicket) -> None:
    """Remove a ticket; one that cannot be removed is valid only until its process ends."""
    with suppress(OSError):
        remove_file(ticket.path)


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
            others = format_count(len(before), "other run")
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
