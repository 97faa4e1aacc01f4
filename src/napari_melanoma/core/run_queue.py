"""The queue of training runs: those of one user on one machine run one after the other, in the order of their start."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.files import machine_id, remove_file, write_json
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.parsing import read_object_or_empty
from napari_melanoma.core.processes import ProcessStamp
from napari_melanoma.core.run_folder import RunFolder

POLL_S = 0.5
LOCK_TIMEOUT_S = 60.0  # to wait for another run that draws its ticket
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class QueueTicket:
    """The entry of a run in the queue: a file named by its number, which exists until the run ends.

    ``stamp``: the process of the run; ``run``: absolute path of the run folder.
    """

    path: Path
    stamp: ProcessStamp
    run: str

    @property
    def number(self) -> int:
        """Number of the ticket; lower numbers go first."""
        return int(self.path.stem)


def queue_folder() -> Path:
    """Return the folder of this user's tickets on this machine; several machines may share a home folder."""
    from platformdirs import user_state_path

    return user_state_path("napari-melanoma", appauthor=False) / "queue" / machine_id()


@contextmanager
def wait_for_turn(out: Path, *, run: RunContext, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Wait until every earlier run of this user on this machine has ended; later runs wait until the block ends.

    While waiting, writes ``queued`` events with the ``position`` (number of runs before this one) and the name of a
    ``paused`` run, removes tickets of ended processes, and raises ``Cancelled`` if a stop was requested.

    ``out``: the run folder. ``sleep``: function that waits for a number of seconds.
    """
    out.mkdir(parents=True, exist_ok=True)
    ticket = enqueue(out, ProcessStamp.create())
    try:
        _wait(ticket, RunFolder(out), run, sleep)
        yield
    finally:
        _remove(ticket)


def enqueue(out: Path, stamp: ProcessStamp) -> QueueTicket:
    """Return a ticket with the next number; a run that has drawn one at its launch keeps its number."""
    folder, run = queue_folder(), str(out.absolute())
    with hold_lock(folder / "lock", LOCK_TIMEOUT_S):
        tickets = _tickets(folder)
        own = next((ticket for ticket in tickets if ticket.run == run and ticket.stamp.alive), None)
        number = own.number if own else max((ticket.number for ticket in tickets), default=0) + 1
        ticket = QueueTicket(folder / f"{number:08}.json", stamp, run)
        write_json(ticket.path, {"run": run, **asdict(stamp)})
    return ticket


def tickets_before(folder: Path, number: int) -> list[QueueTicket]:
    """List the tickets before a number, the working run first, and remove tickets of ended processes."""
    earlier = []
    for ticket in _tickets(folder):
        if ticket.number >= number:
            break
        if ticket.stamp.alive:
            earlier.append(ticket)
        else:
            log.info("the process of %s ended without releasing its turn", ticket.run)
            _remove(ticket)
    return earlier


def _remove(ticket: QueueTicket) -> None:
    """Remove a ticket; if that fails, the ticket becomes invalid when its process ends."""
    with suppress(OSError):
        remove_file(ticket.path)


def _wait(ticket: QueueTicket, folder: RunFolder, run: RunContext, sleep: Callable[[float], None]) -> None:
    reported = None
    while earlier := tickets_before(ticket.path.parent, ticket.number):
        paused = next(
            (Path(other.run).name for other in earlier if RunFolder(Path(other.run)).read_command() == "pause"), None
        )
        if (len(earlier), paused) != reported:
            reported = len(earlier), paused
            folder.append_event("queued", position=len(earlier), paused=paused)
            runs = format_count(len(earlier), "other run")
            paused_text = f"; {paused} is paused" if paused else ""
            run.report(Progress(0, None, f"Waiting for {runs} to end{paused_text}"))
        if run.cancelled or folder.read_command() == "cancel":
            raise Cancelled
        sleep(POLL_S)


def _tickets(folder: Path) -> list[QueueTicket]:
    """Return every readable ticket, the lowest number first."""
    tickets = []
    for path in sorted(folder.glob("[0-9]*.json")):
        stamp = ProcessStamp.read(path)
        if stamp is not None:
            run = str(read_object_or_empty(path).get("run", ""))  # empty if the ticket was just removed
            tickets.append(QueueTicket(path, stamp, run))
    return tickets
