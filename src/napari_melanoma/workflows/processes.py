"""The process of a run, known by ``process.json``: written at its start, asked for by whoever watches."""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import psutil

from napari_melanoma.core.files import write_json
from napari_melanoma.core.machine import has_ended, machine_id, process_start
from napari_melanoma.core.parsing import read_json

PROCESS = "process.json"
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
    def of(cls, pid: int | None = None) -> Self:
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
    def here(self) -> bool:
        """Whether it belongs to this machine, by its mark rather than by its name, which may have changed since."""
        return self.machine == machine_id() if self.machine else self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether the process is there and can still do something; a zombie cannot. Asked on its own machine."""
        return has_ended(self.pid, self.created) is False


def alive(run: Path) -> bool:
    """Say whether the process of a run is at work, or waits for its turn.

    On another machine than this one: whether it has given a sign of life in the last ten minutes; it gives one every
    minute, also while it is paused or waits.
    """
    stamp = ProcessStamp.read(run / PROCESS)
    if stamp is None:
        return False
    if stamp.here and (stamp.alive or stamp.host == socket.gethostname()):
        return stamp.alive
    return time.time() - _last_sign(run) < REMOTE_SILENCE_S  # also where two machines were copied with their mark


def lower_priority() -> None:
    """Let this process stand back behind the viewer and whatever else a person is waiting for."""
    process = psutil.Process()
    if sys.platform == "win32":
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        process.nice(max(10, int(process.nice())))


def _last_sign(run: Path) -> float:
    """When a run last wrote something of itself."""
    try:
        return (run / "events.jsonl").stat().st_mtime
    except OSError:
        return 0.0
