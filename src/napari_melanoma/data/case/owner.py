"""Who may write a case: a lock that ends with its process, and beside it who holds it, for whoever comes second."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from napari_melanoma.core.errors import RunError, SaveError
from napari_melanoma.core.ownership import holder, locked

LOCK = ".case.lock"


def take(folder: Path) -> tuple[str, ExitStack]:
    """Take the right to write a case.

    Why it is not to be had; "" where it is.
    """
    held = ExitStack()
    try:
        held.enter_context(locked(folder / LOCK))
    except RunError:
        return f"{_owner(folder)} has the case open. Close it there, and open it again here.", held
    except SaveError as error:
        held.close()
        return f"it is open to look at alone: {error}", ExitStack()
    except NotImplementedError:
        return "its file system has no locks, so that two windows could overwrite each other. Copy it elsewhere.", held
    return "", held


def _owner(folder: Path) -> str:
    """Say who has the case, from what they left beside it."""
    found = holder(folder / LOCK)
    if not found:
        return "another window or process"
    who = "another window of yours" if found["pid"] == os.getpid() else found["user"] or "somebody"
    return f"{who} (on {found['host']}, since {found['since']})"
