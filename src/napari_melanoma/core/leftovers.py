"""Names of temporary files, and the removal of those that a killed process left behind.

A temporary name carries its owner, ``.<name>.tmp-<machine>-<pid>-<start>-<random><suffix>``: folders may lie on disks
that several machines share, and a process of another machine may be writing there now. What such a name belongs to is
removed by the next process that writes in the same folder, once its owner has ended.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

from napari_melanoma.core.machine import has_ended, machine_id, process_start

REPLACED = ".old"  # suffix of a folder that was moved aside for the one that replaces it
LONGEST_NAME = 120  # bytes of the name that are kept; file systems allow 255
OLD_S = 86_400.0  # after which what tells no owner, or whose owner's number was given again, counts as left behind

_OWNED = re.compile(
    r"\.?(?P<name>.+)\.tmp-(?P<machine>[0-9a-f]{16})-(?P<pid>[0-9]{1,10})-(?P<start>[0-9a-f]{1,12})-[0-9a-z_]{8}"
    r"(?P<suffix>\.\w{1,12})?",
    re.DOTALL,
)
# Names before 0.2, without an owner: a file has a suffix that we write, eight digits alone are a date.
_OLD_FILE = re.compile(
    r"\..{1,300}\.(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{8}\."
    r"(json|jsonl|geojson|csv|toml|png|npy|npz|safetensors|ckpt|tiff?|md|txt|html|pdf|xlsx|dcm|parquet|partial)",
    re.DOTALL,
)
_OLD_HIDDEN = re.compile(r"\.[0-9a-f]{32}\.png")  # of a correction
_OLD_FOLDER = re.compile(r"\..{1,300}\.(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{8}", re.DOTALL)
_OLD_REPLACED = re.compile(_OLD_FOLDER.pattern + r"\.old", re.DOTALL)
_swept: set[Path] = set()


def temporary_name(path: Path, suffix: str = "") -> Path:
    """Make a hidden name that no one else has, in the same folder, which carries this process as its owner."""
    return path.with_name(f".{_cut(path.name)}.{_owner(os.getpid())}-{uuid.uuid4().hex[:8]}{suffix}")


def temporary_prefix(purpose: str) -> str:
    """Make a prefix for ``tempfile``, and remove what killed processes left of this purpose.

    Of a folder among the temporary files of the system, which the caller makes and removes.
    """
    prefix = f"napari-melanoma-{purpose}"
    remove_leftovers(Path(tempfile.gettempdir()), prefix)
    return f"{prefix}.{_owner(os.getpid())}-"


def sweep_once(folder: Path) -> None:
    """Remove what killed processes left in a folder, the first time that this process writes there."""
    if folder not in _swept:
        _swept.add(folder)
        remove_leftovers(folder)


def remove_leftovers(folder: Path, prefix: str = "", *, alone: bool = False) -> None:
    """Remove temporary files and folders whose process has ended; never those of another machine.

    What a killed process had moved aside for its replacement returns to its place where that is empty.
    """
    with suppress(OSError):  # no such folder, or closed to us: whoever writes there will be told
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(prefix or ".")]
        for path in (folder / name for name in names):
            if _is_left(path, alone=alone):
                _restore_or_discard(path)


def discard(path: Path) -> None:
    """Remove a temporary file or folder if it is still there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # the folder may have gone, or may be closed to us
            path.unlink(missing_ok=True)


def _is_left(path: Path, *, alone: bool) -> bool:
    """Whether a name is one of ours and its owner has ended."""
    found = _OWNED.fullmatch(path.name)
    if found is None:
        return _had_no_owner(path, alone=alone) and (alone or _is_old(path))
    if found["machine"] != _machine():
        return False
    ended = has_ended(int(found["pid"]), int(found["start"], 16))
    return _is_old(path) if ended is None else ended


def _had_no_owner(path: Path, *, alone: bool) -> bool:
    """Whether a name is one that earlier versions gave."""
    if path.is_dir() and not path.is_symlink():
        # One that was moved aside may be all that is left of a result: in a run folder it is made again.
        return bool(_OLD_FOLDER.fullmatch(path.name) or (alone and _OLD_REPLACED.fullmatch(path.name)))
    return bool(_OLD_FILE.fullmatch(path.name) or _OLD_HIDDEN.fullmatch(path.name))


def _restore_or_discard(path: Path) -> None:
    """Remove what was left, or put it back where its replacement did not arrive."""
    found = _OWNED.fullmatch(path.name)
    if found and found["suffix"] == REPLACED:
        target = path.with_name(found["name"])
        if not target.exists():
            if _cut(found["name"], LONGEST_NAME - 4) == found["name"]:  # else the name may have been cut
                with suppress(OSError):
                    path.rename(target)
            return
    discard(path)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.lstat().st_mtime > OLD_S
    except OSError:
        return False


def _cut(name: str, most: int = LONGEST_NAME) -> str:
    """Shorten a name to so many bytes, between characters."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= most else encoded[:most].decode("utf-8", "ignore")


def _owner(pid: int) -> str:
    """Mark of a process of this machine; of one number there may be another tomorrow, with another start."""
    return f"tmp-{_machine()}-{pid}-{int(process_start(pid)):x}"


@cache
def _machine() -> str:
    """Mark of this machine; of copies of one machine, which share its mark, the names differ."""
    return hashlib.sha256(f"{machine_id()} {socket.gethostname()}".encode()).hexdigest()[:16]
