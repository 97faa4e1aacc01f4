"""Who may write a case: a lock that ends with its process, and beside it who holds it, for whoever comes second."""

from __future__ import annotations

import getpass
import os
import platform
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path

from napari_melanoma.core.errors import RunError, SaveError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.ownership import locked
from napari_melanoma.core.parsing import read_json

LOCK, OWNER = ".case.lock", ".case.owner.json"


def take(folder: Path) -> tuple[str, ExitStack]:
    """Take the right to write a case.

    Parameters
    ----------
    folder : pathlib.Path
        Of the case; made where it is missing.

    Returns
    -------
    reason : str
        Why it is not to be had; "" where it is.
    held : contextlib.ExitStack
        Closing it gives the right back.
    """
    held = ExitStack()
    try:
        held.enter_context(locked(folder / LOCK))
        write_json(folder / OWNER, _ourselves())
        held.callback(_forget, folder / OWNER)
    except RunError:
        return f"{_owner(folder)} has the case open. Close it there, and open it again here.", held
    except SaveError as error:
        held.close()
        return f"it is open to look at alone: {error}", ExitStack()
    except NotImplementedError:
        return "its file system has no locks, so that two windows could overwrite each other. Copy it elsewhere.", held
    return "", held


def _forget(path: Path) -> None:
    """Remove who we are, before the lock is given back."""
    with suppress(OSError):  # on a share that went away; the lock goes with the process
        path.unlink(missing_ok=True)


def _ourselves() -> dict[str, object]:
    """Who has the case now."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container without a user
        user = ""
    since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    return {"user": user, "host": platform.node(), "pid": os.getpid(), "since": since}


def _owner(folder: Path) -> str:
    """Say who has the case, from what they left beside it."""
    try:
        found = read_json(folder / OWNER)
        who = "another window of yours" if found["pid"] == os.getpid() else f"{found['user'] or 'somebody'}"
        return f"{who} (on {found['host']}, since {found['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another window or process"
