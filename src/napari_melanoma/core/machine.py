"""Which machine this is, by a mark that stays when its name changes, as with each network that a laptop joins."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

LINUX_ID = Path("/etc/machine-id")
PID_SPACE = Path("/proc/self/ns/pid")  # a container numbers its processes anew


@cache
def machine_id() -> str:
    """Give the mark of this machine, and of this container where it is one.

    Returns
    -------
    str
        Sixteen hexadecimal digits; of the machine's name where its system keeps no mark.
    """
    mark = _mark() or socket.gethostname()
    return hashlib.sha256(f"napari-melanoma {mark}".encode()).hexdigest()[:16]


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

    Parameters
    ----------
    told : str
        Its output.

    Returns
    -------
    str
        Empty where there is none.
    """
    found = re.search(r'"IOPlatformUUID"\s*=\s*"([^"]+)"', told)
    return found[1] if found else ""
