"""Runs of one user on one machine take turns: a ticket each, the oldest whose process lives goes first."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from napari_melanoma.core.files import save_error, write_json
from napari_melanoma.core.machine import machine_id
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.core.runs import Cancelled, Progress, RunContext
from napari_melanoma.workflows.processes import ProcessStamp

POLL_S = 0.5
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ticket:
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
    ticket = draw_ticket(out, ProcessStamp.of())
    try:
        _wait(ticket, RunFolder(out), run, sleep)
        yield
    finally:
        ticket.path.unlink(missing_ok=True)


def draw_ticket(out: Path, stamp: ProcessStamp) -> Ticket:
    """Take the next number for a run; one that was drawn for it already, by whoever launched it, is kept."""
    from filelock import FileLock

    folder, run = queue_folder(), str(out.absolute())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            tickets = _tickets(folder)
            own = next((ticket for ticket in tickets if ticket.run == run and ticket.stamp.alive), None)
            number = own.number if own else max((ticket.number for ticket in tickets), default=0) + 1
            ticket = Ticket(folder / f"{number:08}.json", stamp, run)
            write_json(ticket.path, {"run": run, **asdict(stamp)})
            return ticket
    except OSError as error:
        raise save_error(folder, error) from error


def waiting_before(folder: Path, number: int) -> list[Ticket]:
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


def _wait(ticket: Ticket, folder: RunFolder, run: RunContext, sleep: Callable[[float], None]) -> None:
    """Wait for the tickets before this one."""
    told = None
    while before := waiting_before(ticket.path.parent, ticket.number):
        paused = next((Path(other.run).name for other in before if RunFolder(Path(other.run)).wish() == "pause"), None)
        if (len(before), paused) != told:
            told = len(before), paused
            folder.tell("queued", position=len(before), paused=paused)
            others = "1 other run" if len(before) == 1 else f"{len(before)} other runs"
            held = f"; {paused} is paused" if paused else ""
            run.report(Progress(0, None, f"Waiting for {others} to end{held}"))
        if run.cancelled or folder.wish() == "cancel":
            raise Cancelled
        sleep(POLL_S)


def _tickets(folder: Path) -> list[Ticket]:
    """Every ticket that can be read, the lowest number first."""
    found = []
    for path in sorted(folder.glob("[0-9]*.json")):
        stamp = ProcessStamp.read(path)
        if stamp is not None:
            found.append(Ticket(path, stamp, _run_name(path)))
    return found


def _run_name(path: Path) -> str:
    """Name of the run of a ticket."""
    try:
        return str(read_json(path)["run"])
    except (OSError, ValueError, KeyError, TypeError):  # it has just been given back
        return ""
