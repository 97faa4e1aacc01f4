"""Who works in a folder: a lock that ends with its process, and signs of life for whoever watches from elsewhere."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_melanoma.core.errors import RunError
from napari_melanoma.core.files import save_error

BEAT_S = 60.0


@contextmanager
def locked(path: Path, patience_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of a folder, which is made where it is missing.

    Parameters
    ----------
    path : pathlib.Path
        The file of the lock, in that folder.
    patience_s : float
        How long to wait for another process that holds it.

    Yields
    ------
    None
        While it is held.

    Raises
    ------
    RunError
        Where another process holds it, also after that.
    SaveError
        Where the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=patience_s, thread_local=False)  # another thread may be the one that lets go
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunError(f"another process works in {path.parent}. Wait until it has ended, or cancel it.") from None
    except OSError as error:
        raise save_error(path.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Say whether a lock is held; writes nothing.

    Parameters
    ----------
    path : pathlib.Path
        The file of the lock.

    Returns
    -------
    bool
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
def beating(path: Path) -> Iterator[None]:
    """Touch a file now and then: whoever watches from another machine sees nothing else of a run that is paused.

    Parameters
    ----------
    path : pathlib.Path
        The file; it need not exist yet, and is not made.

    Yields
    ------
    None
        While it is touched.
    """
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_S):
            with suppress(OSError):
                os.utime(path)

    heart = threading.Thread(target=beat, daemon=True, name="signs of life")
    heart.start()
    try:
        yield
    finally:
        done.set()
        heart.join()
