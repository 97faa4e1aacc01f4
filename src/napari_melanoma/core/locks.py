"""Locks of folders that end with their process, and heartbeats for observers on other machines."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import FolderInUse, SaveError
from napari_melanoma.core.files import remove_leftovers, save_error, write_json, write_text
from napari_melanoma.core.parsing import read_object

if TYPE_CHECKING:
    from filelock import FileLock

HEARTBEAT_S = 60.0
OWNER_WAIT_S = 1.0
OUTPUT_LOCK_FILE = ".output.lock"


@contextmanager
def hold_lock(path: Path, timeout_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file ``path`` of its folder, which is created if it is missing.

    Raises ``FolderInUse`` if another process still holds the lock after ``timeout_s``, ``SaveError`` if the folder
    cannot be written or locked.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=timeout_s, thread_local=False)  # another thread may release it
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise FolderInUse(
            f"another process works in {path.parent} ({describe_lock_holder(path)}). Wait until it has ended or cancel "
            "it, or choose another folder."
        ) from None
    except OSError as error:
        raise save_error(path.parent, error) from error
    except NotImplementedError as error:
        raise SaveError(
            f"cannot write {path.parent}: its file system does not support locks, so two windows could overwrite each "
            "other. Copy the folder elsewhere, or choose another one."
        ) from error
    try:
        with _holder_recorded(path) if not timeout_s else nullcontext():  # a lock held for a moment needs no record
            remove_leftovers(path.parent)
            yield
    finally:
        lock.release()


@contextmanager
def hold_output_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of results while they are written; an empty folder is removed again."""
    lock = folder / OUTPUT_LOCK_FILE
    try:
        with hold_lock(lock):
            try:
                yield
            finally:
                with suppress(OSError):  # Windows removes it on release
                    lock.unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # usually it is not empty
            folder.rmdir()


class Claims:
    """Names in a folder that this process has claimed, so that several processes share the work on them.

    A claim is a lock file in a hidden folder, and ends with its process. Beside it, a file states the owner, which is a
    text that identifies the work.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[str, FileLock] = {}

    def claim(self, name: str, owner: str) -> bool | None:
        """Claim a name; False if another process has claimed it for the same owner, None if for any other."""
        from filelock import FileLock, Timeout

        lock = FileLock(self._path(name, "lock"), timeout=0, thread_local=False)
        while True:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                lock.acquire()
                break
            except Timeout:
                found = self._read_owner(name)
                if found or is_locked(self._path(name, "lock")):  # otherwise it was just released
                    return False if found == owner else None
            except OSError as error:
                raise save_error(self._folder, error) from error
        self._locks[name] = lock
        write_text(self._path(name, "owner"), owner)
        return True

    def owners(self) -> set[str]:
        """Return the owners of the names that processes hold; the files of ended processes are removed."""
        held = set()
        for path in self._folder.glob("*.owner"):
            lock = path.with_suffix(".lock")
            with suppress(OSError):
                if is_locked(lock):
                    held.add(path.read_text(encoding="utf-8"))
                else:
                    path.unlink()
                    lock.unlink(missing_ok=True)
        return held

    def release(self, name: str) -> None:
        """Release a name, if it is claimed."""
        if (lock := self._locks.pop(name, None)) is None:
            return
        self._path(name, "owner").unlink(missing_ok=True)
        with suppress(OSError):  # Windows removes it on release
            self._path(name, "lock").unlink(missing_ok=True)  # not after it, when another process may hold it
        lock.release()

    def close(self) -> None:
        for name in list(self._locks):
            self.release(name)
        with suppress(OSError):  # another process may have claims
            self._folder.rmdir()

    def _path(self, name: str, suffix: str) -> Path:
        return self._folder / f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.{suffix}"  # names may be long

    def _read_owner(self, name: str) -> str:
        """Read the owner of a claim; "" if it was just released, cannot be read, or is not written within a second."""
        path = self._path(name, "owner")
        end = time.monotonic() + OWNER_WAIT_S
        while not path.exists() and time.monotonic() < end and is_locked(self._path(name, "lock")):
            time.sleep(0.01)
        with suppress(OSError):
            return path.read_text(encoding="utf-8")
        return ""


def lock_holder(path: Path) -> dict[str, Any]:
    """Return the recorded holder of a lock: ``user``, ``host``, ``pid`` and ``since``; empty if unknown."""
    try:
        values = read_object(_holder_path(path))
        return {"pid": int(values["pid"]), **{key: str(values[key]) for key in ("user", "host", "since")}}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def describe_lock_holder(path: Path) -> str:
    """Describe the holder of a lock for a message: process, user, machine and time."""
    holder = lock_holder(path)
    if not holder:
        return "which one is unknown"
    return f"process {holder['pid']} of {holder['user'] or 'a user'} on {holder['host']}, since {holder['since']}"


@contextmanager
def _holder_recorded(path: Path) -> Iterator[None]:
    """Record the holder of a lock during the block, for the messages of other processes.

    The record is a separate file because on Windows other processes cannot read the locked file.
    """
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container without a user
        user = ""
    since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    with suppress(SaveError):  # the lock works without it
        write_json(_holder_path(path), {"user": user, "host": platform.node(), "pid": os.getpid(), "since": since})
    try:
        yield
    finally:
        with suppress(OSError):  # on a lost network share; the lock ends with the process
            _holder_path(path).unlink(missing_ok=True)


def _holder_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}.owner.json")


def is_locked(path: Path) -> bool:
    """Whether a lock is held; writes nothing. False if the file does not exist or cannot be opened."""
    from filelock import FileLock, Timeout

    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # writing there will report it
        return False


@contextmanager
def heartbeat(path: Path) -> Iterator[None]:
    """Touch a file regularly: on other machines this is the only sign that a paused run is alive."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_S):
            with suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
