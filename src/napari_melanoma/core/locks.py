"""Who works in a folder: a lock that ends with its process, and signs of life for whoever watches from elsewhere."""

from __future__ import annotations

import getpass
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import RunError, SaveError
from napari_melanoma.core.files import remove_leftovers, save_error, write_json
from napari_melanoma.core.parsing import read_object

HEARTBEAT_S = 60.0
OUTPUT_LOCK_FILE = ".output.lock"


@contextmanager
def hold_lock(path: Path, patience_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of a folder, which is made where it is missing."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=patience_s, thread_local=False)  # another thread may be the one that lets go
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunError(
            f"another process works in {path.parent} ({describe_lock_holder(path)}). Wait until it has ended or cancel "
            "it, or choose another folder."
        ) from None
    except OSError as error:
        raise save_error(path.parent, error) from error
    try:
        with _holder_recorded(path) if not patience_s else nullcontext():  # what is held for a moment needs no name
            remove_leftovers(path.parent)
            yield
    finally:
        lock.release()


@contextmanager
def hold_output_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of results while they are written; a folder that stays empty is removed again."""
    lock = folder / OUTPUT_LOCK_FILE
    try:
        with hold_lock(lock):
            try:
                yield
            finally:
                with suppress(OSError):  # Windows removes it on release
                    lock.unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # it is not empty: the usual case
            folder.rmdir()


def lock_holder(path: Path) -> dict[str, Any]:
    """Return who holds a lock, as that process noted it.

    Returns ``user``, ``host``, ``pid`` and ``since``; empty where that is not known.
    """
    try:
        found = read_object(_holder_path(path))
        return {"pid": int(found["pid"]), **{key: str(found[key]) for key in ("user", "host", "since")}}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def describe_lock_holder(path: Path) -> str:
    """Return who holds a lock, for a message.

    Process, user, machine and time.
    """
    found = lock_holder(path)
    if not found:
        return "which one is not known"
    return f"process {found['pid']} of {found['user'] or 'a user'} on {found['host']}, since {found['since']}"


@contextmanager
def _holder_recorded(path: Path) -> Iterator[None]:
    """Note who holds a lock beside it, where a process that is refused can read it: Windows locks the file itself."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container without a user
        user = ""
    since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    with suppress(SaveError):  # the lock holds without it
        write_json(_holder_path(path), {"user": user, "host": platform.node(), "pid": os.getpid(), "since": since})
    try:
        yield
    finally:
        with suppress(OSError):  # on a share that went away; the lock goes with the process
            _holder_path(path).unlink(missing_ok=True)


def _holder_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}.owner.json")


def is_locked(path: Path) -> bool:
    """Say whether a lock is held; writes nothing.

    False where there is no such file, or it cannot be opened.
    """
    from filelock import FileLock, Timeout

    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # whoever writes there will be told
        return False


@contextmanager
def heartbeat(path: Path) -> Iterator[None]:
    """Touch a file now and then: whoever watches from another machine sees nothing else of a run that is paused."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_S):
            with suppress(OSError):
                os.utime(path)

    heart = threading.Thread(target=beat, daemon=True, name="signs of life")
    heart.start()
    try:
        yield
    finally:
        done.set()
        heart.join()
