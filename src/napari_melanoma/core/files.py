"""Write, replace and back up files and folders safely, and name files that several systems can read.

Files are written atomically: under a temporary name, which is replaced at the end. Temporary names identify the process
that owns them, so that those left by killed processes are found and removed.
"""

from __future__ import annotations

import errno
import filecmp
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BufferedReader
from itertools import chain, count
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import DiskFull, SaveError, UnreadableImage

# Error numbers of Windows, which refuses to rename or remove a file that is open, such as in a virus scanner.
FILE_IN_USE_ERRORS = (5, 32)  # ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION
PATH_TOO_LONG_ERROR = 206  # ERROR_FILENAME_EXCED_RANGE
IN_USE_TIMEOUT_S, IN_USE_RETRY_S = 1.0, 0.02
WINDOWS_PATH_LENGTH = 259  # characters, unless long paths are enabled in the system
TEMPORARY_LENGTH = 60  # characters that temporary names add
REPLACED_SUFFIX = ".old"  # suffix of a folder that was renamed before its replacement
KEPT_NAME_BYTES = 120  # of the original name that a temporary name contains; file systems allow 255 in all
MIN_AGE_S = 86_400.0  # age from which a temporary file is left over if another process may have its owner's number
_TEMPORARY_NAME = re.compile(
    r"\.?(?P<name>.+)\.tmp-(?P<machine>[0-9a-f]{16})-(?P<pid>[0-9]{1,10})-(?P<start>[0-9a-f]{1,12})-[0-9a-z_]{8}"
    r"(?P<suffix>\.\w{1,12})?",
    re.DOTALL,
)
_swept: set[Path] = set()  # folders in which this process has removed leftover files
LINUX_ID = Path("/etc/machine-id")
SAME_PROCESS_S = 2.0  # largest difference between two readings of a process's start, as clocks have whole seconds
PID_SPACE = Path("/proc/self/ns/pid")  # a container has its own process numbers
FileStamp = tuple[int, int]  # modification time in nanoseconds, size in bytes


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder and with the same suffix; the file is renamed to ``path`` at the end.

    After an error, the temporary file is removed.
    """
    temporary = temporary_name(path, path.suffix)
    sweep_once(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        move(temporary, path)
    except OSError as error:
        raise save_error(path, error) from error
    finally:
        discard(temporary)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder, which replaces the folder ``path`` at the end.

    After an error, the temporary folder is removed.
    """
    temporary, replaced = temporary_name(path), temporary_name(path, REPLACED_SUFFIX)
    sweep_once(path.parent)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            if not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "a file of that name exists")
            move(path, replaced)
        move(temporary, path)
    except OSError as error:
        raise save_error(path, error) from error
    finally:
        _restore(path, replaced)
        discard(temporary)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(
            text,
            encoding="utf-8",
            errors="backslashreplace",  # names may not be UTF-8
            newline="\n",
        )


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write a value as indented JSON, atomically; NaN becomes null."""
    write_text(path, json.dumps(replace_non_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def save_error(path: Path, error: OSError) -> SaveError:
    """Return an error for users that states why ``path`` could not be written and what to do.

    It is a ``DiskFull`` if the disk is full. The caller raises it.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"cannot write {path}: the disk is full. Free some space or choose another folder.")
    if _is_in_use(error):
        return SaveError(
            f"cannot write {path}: it may be open in another program: close it there and try again. If you have no "
            "permission to write there, choose a folder of your own."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return SaveError(f"cannot write {path}: no permission to write there. Choose a folder of your own.")
    if limit := exceeded_path_limit(path, error):
        return SaveError(f"cannot write {path}: the path is too long. {limit} Choose a folder with a shorter path.")
    return SaveError(f"cannot write {path}: {error.strerror or error}. Choose another folder.")


def exceeded_path_limit(path: Path, error: OSError) -> str:
    """State the limit of the file system that the length of a path exceeds; empty if the error has another reason."""
    if error.errno == errno.ENAMETOOLONG or getattr(error, "winerror", None) == PATH_TOO_LONG_ERROR:
        longest = max(map(len, path.parts), default=0)
        return f"It has {len(str(path))} characters, {longest} of them in one name; names can usually have 255."
    if sys.platform != "win32" or error.errno != errno.ENOENT or not path.parent.exists():
        return ""
    with suppress(OSError):  # the working folder was deleted
        path = path.absolute()
    length = len(str(path))
    if length + TEMPORARY_LENGTH > WINDOWS_PATH_LENGTH:  # the error of Windows is that the folder does not exist
        return (
            f"It has {length} characters, and about {TEMPORARY_LENGTH} more while writing; Windows allows "
            f"{WINDOWS_PATH_LENGTH}."
        )
    return ""


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Append lines to a text file, or nothing if not all can be written; a truncated last line is ended first."""
    with path.open("ab+", buffering=0) as file:  # a buffer would write its rest once more when the file is closed
        size = file.seek(0, os.SEEK_END)
        is_truncated = size > 0 and (file.seek(size - 1), file.read(1))[1] != b"\n"
        remaining = memoryview(("\n" * is_truncated + "".join(f"{line}\n" for line in lines)).encode())
        try:
            while remaining:
                remaining = remaining[file.write(remaining) :]
        except OSError:
            with suppress(OSError):  # the first error matters more
                file.truncate(size)
            raise


def move(source: Path, target: Path) -> None:
    """Rename a file or folder, replacing a file at ``target``; on Windows, retry while either is open elsewhere."""
    _retry_while_in_use(lambda: source.replace(target))


def remove_file(path: Path) -> None:
    """Remove a file if it exists; on Windows, retry while it is open elsewhere."""
    _retry_while_in_use(lambda: path.unlink(missing_ok=True))


def remove_folder(path: Path) -> None:
    """Remove a folder if it exists; it is renamed first, so that an interruption leaves no part under its name."""
    if path.exists():
        renamed = temporary_name(path)
        move(path, renamed)
        discard(renamed)


def _retry_while_in_use(operation: Callable[[], object]) -> None:
    """Rename or remove a file; retry for about a second while Windows refuses it because the file is open elsewhere."""
    deadline = time.monotonic() + IN_USE_TIMEOUT_S
    while True:
        try:
            operation()
        except PermissionError as error:
            if not _is_in_use(error) or time.monotonic() > deadline:
                raise
            time.sleep(IN_USE_RETRY_S)
        else:
            return


def _is_in_use(error: OSError) -> bool:
    """Whether Windows may have refused a change because a file is open elsewhere."""
    return getattr(error, "winerror", None) in FILE_IN_USE_ERRORS


def replace_non_finite(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Replace NaN and infinities, which JSON does not have, by ``None`` recursively; tuples become lists."""
    if isinstance(value, dict):
        return {key: replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_non_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def check_name(path: Path) -> None:
    """Raise for a file whose name cannot be written into a table, a JSON file or a page."""
    try:
        str(path).encode()  # Python represents bytes of a name that are not UTF-8 as lone surrogates
    except UnicodeEncodeError:
        readable = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise UnreadableImage(
            f"the name {readable} is not valid UTF-8, so no result could refer to it. Rename the file or its folder."
        ) from None


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading; raises for a pipe, which would wait for a writer forever."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")
    return path.open("rb")


def normalize_name(name: str) -> str:
    """Remove differences that some file systems ignore: case, and composition of letters."""
    return compose_name(compose_name(name).casefold())


def compose_name(name: str) -> str:
    """Compose the letters of a file name: macOS lists "ü" as two characters, and tables contain it as one."""
    return unicodedata.normalize("NFC", name)


def is_same_folder(first: Path, second: Path) -> bool:
    """Whether two paths are the same folder, also on a disk that ignores upper and lower case."""
    try:
        return first == second or first.samefile(second)
    except OSError:  # one of them does not exist
        return False


def _restore(path: Path, replaced: Path) -> None:
    """Remove a replaced folder, or restore it if the replacement failed."""
    with suppress(OSError):  # the current error matters more
        if path.exists():
            discard(replaced)
        elif replaced.exists():
            move(replaced, path)


def temporary_name(path: Path, suffix: str = "") -> Path:
    """Return a unique hidden name in the same folder, which identifies this process as the owner of the file."""
    return path.with_name(f".{_shorten_name(path.name)}.{_owner_mark(os.getpid())}-{uuid.uuid4().hex[:8]}{suffix}")


def has_temporary_folder() -> bool:
    """Whether one of the usual folders for temporary files can be written."""
    try:
        return bool(tempfile.gettempdir())
    except FileNotFoundError:
        return False


def temporary_prefix(purpose: str) -> str:
    """Return a prefix for temporary folders of ``tempfile``, after removing those left by killed processes."""
    prefix = f"napari-melanoma-{purpose}"
    remove_leftovers(Path(tempfile.gettempdir()), prefix)
    return f"{prefix}.{_owner_mark(os.getpid())}-"


def sweep_once(folder: Path) -> None:
    """Remove files left in a folder by killed processes, the first time that this process writes there."""
    if folder not in _swept:
        _swept.add(folder)
        remove_leftovers(folder)


def remove_leftovers(folder: Path, prefix: str = "") -> None:
    """Remove temporary files and folders of ended processes, except those of another machine.

    A folder that a killed process had renamed in order to replace it is restored if its name is free.
    """
    with suppress(OSError):  # no such folder, or no access: writing there will report it
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(prefix or ".")]
        for path in (folder / name for name in names):
            if _is_leftover(path):
                _restore_or_discard(path)


def discard(path: Path) -> None:
    """Remove a temporary file or folder if it still exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # the folder may not exist or be accessible
            path.unlink(missing_ok=True)


def _is_leftover(path: Path) -> bool:
    """Whether a path is a temporary file whose owner has ended."""
    match = _TEMPORARY_NAME.fullmatch(path.name)
    if match is None or match["machine"] != _machine_mark():
        return False
    ended = has_ended(int(match["pid"]), int(match["start"], 16))
    return _is_old(path) if ended is None else ended


def _restore_or_discard(path: Path) -> None:
    """Remove a leftover file or folder, or restore a folder whose replacement failed."""
    match = _TEMPORARY_NAME.fullmatch(path.name)
    if match and match["suffix"] == REPLACED_SUFFIX:
        target = path.with_name(match["name"])
        if not target.exists():
            if _shorten_name(match["name"], KEPT_NAME_BYTES - 4) == match["name"]:  # longer names may be incomplete
                with suppress(OSError):
                    move(path, target)
            return
    discard(path)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.lstat().st_mtime > MIN_AGE_S
    except OSError:
        return False


def _shorten_name(name: str, max_bytes: int = KEPT_NAME_BYTES) -> str:
    """Shorten a name to a number of bytes; no character is divided."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= max_bytes else encoded[:max_bytes].decode("utf-8", "ignore")


def _owner_mark(pid: int) -> str:
    """Return the part of a temporary name that identifies a process of this machine.

    It includes the start of the process, because process numbers are reused.
    """
    return f"tmp-{_machine_mark()}-{pid}-{int(process_start(pid)):x}"


def hash_file(path: Path) -> str:
    """Return the SHA-256 of the content of a file, which is read in parts."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _machine_mark() -> str:
    """Return 16 hexadecimal digits that identify this machine by id and name: copies of a machine have the same id."""
    return hashlib.sha256(f"{machine_id()} {platform.node()}".encode()).hexdigest()[:16]


@cache
def machine_id() -> str:
    """Return 16 hexadecimal digits that identify this machine and container, for files.

    They do not reveal the id of the system, or its name if it has no id.
    """
    identity = _system_id() or platform.node()
    return hashlib.sha256(f"napari-melanoma {identity}".encode()).hexdigest()[:16]


def process_start(pid: int) -> float:
    """Return when a process of this machine started, in seconds since the epoch; now if it has ended already."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return time.time()


def has_ended(pid: int, start: float) -> bool | None:
    """Return whether a process of this machine has ended, or is a zombie.

    None if another process seems to have its number, or the clock was changed.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - start) >= SAME_PROCESS_S:
            return None
        return process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.AccessDenied:
        return False  # it exists and belongs to another user
    except psutil.Error:
        return True


def _system_id() -> str:
    """Return the id of the system; empty if it has none."""
    if sys.platform == "win32":
        import winreg

        with suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\Microsoft\Cryptography") as key:
            return str(winreg.QueryValueEx(key, "MachineGuid")[0])
        return ""
    if sys.platform == "darwin":
        with suppress(OSError, subprocess.SubprocessError):
            command = ["/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice"]
            return platform_uuid(subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout)
        return ""
    with suppress(OSError):
        identity = LINUX_ID.read_text(encoding="utf-8").strip()
        return f"{identity} {PID_SPACE.readlink()}" if identity else ""
    return ""


def platform_uuid(output: str) -> str:
    """Find the id of a Mac in the output of ``ioreg``; empty if there is none."""
    match = re.search(r'"IOPlatformUUID"\s*=\s*"([^"]+)"', output)
    return match[1] if match else ""


def file_stamp(path: Path) -> FileStamp | None:
    """Return modification time and size of a file, which identify its version; None if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def back_up_if_changed(path: Path, last_stamp: FileStamp | None) -> tuple[str, ...]:
    """Copy a file that another program has changed since this one read or wrote it, before it is replaced.

    ``last_stamp``: its stamp at that time. Returns a message in a tuple; empty if nothing was backed up.
    """
    current = file_stamp(path)
    if current is None or current == last_stamp:
        return ()
    return (f"{path.name} was changed by another program. That version is backed up as {_copy_file(path).name}",)


def back_up_file(path: Path) -> Path:
    """Rename a file, which is not valid any more, to a free name with date and time, and return the new path."""
    backup = _free_backup_name(path)
    try:
        move(path, backup)
    except OSError as error:
        raise save_error(backup, error) from error
    return backup


def _copy_file(path: Path) -> Path:
    """Copy a file to a free name with date and time, unless it was copied before; return the path of the copy."""
    for earlier in path.parent.glob(f"{glob.escape(path.stem)}-*{path.suffix}"):
        if filecmp.cmp(path, earlier, shallow=False):  # the file could not be replaced then
            return earlier
    backup = _free_backup_name(path)
    with atomic_file(backup) as temporary:
        shutil.copyfile(path, temporary)
    return backup


def _free_backup_name(path: Path) -> Path:
    """Return a free path with date and time, and a number if needed."""
    stem = f"{path.stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = chain([stem], (f"{stem}-{number}" for number in count(2)))
    candidates = (path.with_name(f"{name}{path.suffix}") for name in names)
    return next(candidate for candidate in candidates if not candidate.exists())
