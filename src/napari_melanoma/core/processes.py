"""Processes of training runs and slide analyses: start them detached, identify, control and end them."""

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
EXIT_TIMEOUT_S = 30.0  # from the final event of a process to its end, while it releases memory, workers and folder
KILL_TIMEOUT_S = 5.0  # from killing a process to its end
# For a child of the viewer: Windows would open a console window for it.
NO_CONSOLE: int = getattr(subprocess, "CREATE_NO_WINDOW", 0)
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # parameters of mallopt(3)
KEPT_BYTES = 1 << 30  # largest memory block that is not returned to the system
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
    """A process, identified by number and start, as process numbers are reused.

    ``created``: its start in seconds since 1970; ``host``, ``machine``: name and id of its machine; ``started``: time
    of the stamp, ISO 8601.
    """

    pid: int
    created: float
    host: str
    started: str
    machine: str = ""

    @classmethod
    def create(cls, pid: int | None = None) -> Self:
        """Return the stamp of a process of this machine; of this process by default."""
        pid = os.getpid() if pid is None else pid
        return cls(pid, process_start(pid), socket.gethostname(), utc_time(), machine_id())

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read the stamp from the file of a run folder; None if there is none, or it is incomplete."""
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
        """Whether the process is one of this machine, by the machine's id, because its name may have changed."""
        return self.machine == machine_id() if self.machine else self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether the process exists and is not a zombie; only valid on its own machine."""
        return has_ended(self.pid, self.created) is False


def is_run_alive(run: Path) -> bool:
    """Whether the process of a run is working or waiting for its turn.

    For a run on another machine: whether the last heartbeat is less than ten minutes old. There is one every minute,
    also while the run is paused or waits.
    """
    stamp = ProcessStamp.read(run / PROCESS_FILE)
    if stamp is None:
        return False
    if stamp.is_on_this_machine and (stamp.alive or stamp.host == socket.gethostname()):
        return stamp.alive
    return time.time() - _last_activity(run) < REMOTE_SILENCE_S  # also on a copy of the machine, which has the same id


def lower_priority() -> None:
    process = psutil.Process()
    if sys.platform == "win32":
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        process.nice(max(10, int(process.nice())))


def _last_activity(run: Path) -> float:
    """Return the time at which a run last wrote an event or heartbeat; 0 if never."""
    try:
        return RunFolder(run).events.stat().st_mtime
    except OSError:
        return 0.0


def wait_until_ended(run: Path) -> bool:
    """Wait at most half a minute until the process of a run has ended after its final event.

    Returns whether it has ended; False at once for a running run without a final event.
    """
    deadline = time.monotonic() + EXIT_TIMEOUT_S
    if is_run_alive(run):
        events = RunFolder(run).read_events()
        if not events or events[-1].get("kind") not in FINAL_STATES:
            return False
    while is_run_alive(run):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def send_command(run: Path, command: RunCommand) -> None:
    """Request that a run continues, pauses or ends; it reacts after the current batch."""
    RunFolder(run).write_command(command)


def send_command_or_stop(run: Path, command: RunCommand) -> None:
    """Request that a training run continues, pauses or ends; end it at once if it is still loading or waiting."""
    folder = RunFolder(run)
    folder.write_command(command)
    # ``is_launching`` is checked again: the process may have written its final event before it was killed.
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
    """Start a process that does not depend on this one: it has no terminal or pipes, and goes on after this one ends.

    ``output``: file to which its output is appended.
    """
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
    executable = Path(sys.executable)
    if executable.stem.lower().startswith("python") and executable.stem.lower() != "pythonw":
        return sys.executable
    folder = Path(sys.prefix)
    candidates = (executable.with_name("python.exe"), folder / "python.exe", folder / "bin" / "python3")
    return next((str(path) for path in candidates if path.is_file()), sys.executable)


def python_command(*arguments: str, module: str = "napari_melanoma") -> list[str]:
    """Return the command that runs a module in a process of its own.

    Modules in the current folder are not imported. The output is UTF-8 also on Windows, where the code page of the
    system is the default.
    """
    return [python_executable(), "-P", "-X", "utf8", "-m", module, *arguments]
