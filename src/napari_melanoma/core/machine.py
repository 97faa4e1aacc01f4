"""Which machine this is, by a mark that stays when its name changes, as with each network that a laptop joins."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

LINUX_ID = Path("/etc/machine-id")
SAME_PROCESS_S = 2.0  # how far two readings of one process's start may lie apart: the clock's whole seconds
PID_SPACE = Path("/proc/self/ns/pid")  # a container numbers its processes anew


@cache
def machine_id() -> str:
    """Give the mark of this machine, and of this container where it is one.

    Sixteen hexadecimal digits; of the machine's name where its system keeps no mark.
    """
    mark = _mark() or socket.gethostname()
    return hashlib.sha256(f"napari-melanoma {mark}".encode()).hexdigest()[:16]


def process_start(pid: int) -> float:
    """Return when a process of this machine started.

    Seconds since the epoch; now where it has ended already.
    """
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return time.time()


def has_ended(pid: int, start: float) -> bool | None:
    """Return whether a process of this machine has ended; a zombie has.

    None where another process seems to have its number now; a clock that was set gives the same picture.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - start) >= SAME_PROCESS_S:
            return None
        return process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.AccessDenied:
        return False  # it is there, and another user's
    except psutil.Error:
        return True


def _mark() -> str:
    """What the system keeps as its own mark; empty where it keeps none."""
    if sys.platform == "win32":
        import winreg

        with suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\Microsoft\Cryptography") as key:
            return str(winreg.QueryValueEx(key, "MachineGuid")[0])
        return ""
    if sys.platform == "darwin":
        with suppress(OSError, subprocess.SubprocessError):
            words = ["/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice"]
            return platform_uuid(subprocess.run(words, capture_output=True, text=True, timeout=5, check=True).stdout)
        return ""
    with suppress(OSError):
        mark = LINUX_ID.read_text(encoding="utf-8").strip()
        return f"{mark} {PID_SPACE.readlink()}" if mark else ""
    return ""


def platform_uuid(told: str) -> str:
    """Find the mark of a Mac in what ``ioreg`` tells.

    Empty where there is none.
    """
    found = re.search(r'"IOPlatformUUID"\s*=\s*"([^"]+)"', told)
    return found[1] if found else ""
