"""Processes of runs: start them detached, identify and end them, and the interpreter that they use."""

from __future__ import annotations

import atexit
import ctypes
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from napari_melanoma.core.files import has_ended, machine_id, process_start, write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.core.run_folder import FINAL_STATES, PROCESS_FILE, RunCommand, RunFolder

REMOTE_SILENCE_S = 600.0  # a run on another machine without a heartbeat for longer counts as lost
OUTPUT_FILE = "output.txt"
EXIT_TIMEOUT_S = 30.0  # from the final event of a process to its end: it releases memory, workers and folder
KILL_TIMEOUT_S = 5.0  # that a killed process takes at most
# For a child of the viewer: Windows would open a console window for it.
NO_CONSOLE: int = getattr(subprocess, "CREATE_NO_WINDOW", 0)
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # parameters of mallopt(3)
KEPT_BYTES = 1 << 30
_started: list[subprocess.Popen[bytes]] = []  # kept until they end: a process that is never polled stays a zombie


def keep_freed_memory() -> bool:
    """Keep freed memory blocks of up to 1 GiB in this process instead of returning each to the system.

    A training step allocates and frees hundreds of large blocks. By default, glibc requests each block of more than
    32 MiB from the system, which clears its pages: this takes a seventh of the time of a training on a CPU. Returns
    whether the setting was changed; False on systems other than Linux with glibc.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, KEPT_BYTES) for name in (MMAP_THRESHOLD, TRIM_THRESHOLD))


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
            utc_time(),
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
        """Whether the process runs on this machine, by the machine's mark, as its name may have changed."""
        return self.machine == machine_id() if self.machine else self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether the process exists and is not a zombie; only valid on its own machine."""
        return has_ended(self.pid, self.created) is False


def is_run_alive(run: Path) -> bool:
    """Whether the process of a run is working or waiting for its turn.

    On another machine: whether the last heartbeat is less than ten minutes ago; there is one every minute, also while
    the run is paused or waits.
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
        return RunFolder(run).events.stat().st_mtime
    except OSError:
        return 0.0


def wait_until_ended(run: Path) -> bool:
    """Wait at most half a minute until the process of a run has ended after its final event.

    Returns whether it has ended; False at once for a running run without a final event.
    """
    until = time.monotonic() + EXIT_TIMEOUT_S
    if is_run_alive(run):
        events = RunFolder(run).read_events()
        if not events or events[-1].get("kind") not in FINAL_STATES:
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
            detached = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | NO_CONSOLE}
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


def python_executable() -> str:
    """Find the Python interpreter; in an application bundle ``sys.executable`` may be napari itself."""
    here = Path(sys.executable)
    if here.stem.lower().startswith("python") and here.stem.lower() != "pythonw":
        return sys.executable
    folder = Path(sys.prefix)
    candidates = (here.with_name("python.exe"), folder / "python.exe", folder / "bin" / "python3")
    return next((str(path) for path in candidates if path.is_file()), sys.executable)


def python_command(*arguments: str, module: str = "napari_melanoma") -> list[str]:
    """Return the command that runs a module in a process of its own.

    Modules of the current folder are not imported, and the output is UTF-8, also on Windows, where it would have the
    code page of the system.
    """
    return [python_executable(), "-P", "-X", "utf8", "-m", module, *arguments]
