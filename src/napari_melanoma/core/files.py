"""Writing so that nothing half-written is ever seen: a temporary name beside the target, then a rename."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from napari_melanoma.core.errors import DiskFull, SaveError, UnreadableImage
from napari_melanoma.core.leftovers import REPLACED, discard, sweep_once, temporary_name

# Windows refuses to rename what somebody, a reader or a virus scanner, has open at the moment.
IN_USE = (5, 32)  # ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION
PATIENCE_S, PAUSE_S = 1.0, 0.02


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; on leaving, it becomes ``path``, or vanishes if something failed.

    A path in the same folder, with the same suffix.
    """
    temporary = temporary_name(path, path.suffix)
    sweep_once(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        rename_patiently(lambda: temporary.replace(path))
    except OSError as error:
        raise save_error(path, error) from error
    finally:
        discard(temporary)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on leaving, it takes the place of ``path``, or vanishes if something failed.

    Yields an empty folder beside it.
    """
    temporary, replaced = temporary_name(path), temporary_name(path, REPLACED)
    sweep_once(path.parent)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            _refuse_file(path)
            rename_patiently(lambda: path.rename(replaced))
        rename_patiently(lambda: temporary.rename(path))
    except OSError as error:
        raise save_error(path, error) from error
    finally:
        _restore(path, replaced)
        discard(temporary)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(
            text, encoding="utf-8", errors="backslashreplace", newline="\n"
        )  # of names that are no UTF-8


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write a value as indented JSON, atomically; not-a-number becomes null."""
    write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def save_error(path: Path, error: OSError) -> SaveError:
    """Turn an error of the file system into one that a person can act on.

    With the reason and what to do, ``DiskFull`` where that is it; the caller raises it.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"cannot write {path}: the disk is full. Free some space or choose another folder.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return SaveError(f"cannot write {path}: no permission to write there. Choose a folder of your own.")
    return SaveError(f"cannot write {path}: {error.strerror or error}. Choose another folder.")


def rename_patiently(rename: Callable[[], object]) -> None:
    """Rename, and on Windows again for about a second while somebody has the file open."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            rename()
        except PermissionError as error:
            if getattr(error, "winerror", None) not in IN_USE or time.monotonic() > until:
                raise
            time.sleep(PAUSE_S)
        else:
            return


def finite(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Replace numbers that JSON does not know, not-a-number and infinities, by ``None``, all the way down.

    Returns the same with ``None`` in their place and tuples as lists.
    """
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def check_name(path: Path) -> None:
    """Refuse a file whose name cannot be written into a table, a JSON file or a page.

    ``path``: python carries bytes of a name that are not UTF-8 as lone surrogates.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise UnreadableImage(
            f"the name {shown} is not valid UTF-8, so no result could refer to it. Rename the file or its folder."
        ) from None


def open_regular(path: Path) -> BinaryIO:
    """Open a file of a folder to read its bytes; a pipe, which would wait for a writer for ever, is an error."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")
    return path.open("rb")


def plain_name(name: str) -> str:
    """Give a name without what some file systems do not tell apart: case, and how letters are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _refuse_file(path: Path) -> None:
    """Raise where a folder is to replace something that is none: a file of the user's is not ours to remove."""
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file of that name is in the way")


def _restore(path: Path, replaced: Path) -> None:
    """Remove what was replaced, or put it back where the replacement did not arrive."""
    with suppress(OSError):  # the error that is under way says more than a second one
        if path.exists():
            discard(replaced)
        elif replaced.exists():
            rename_patiently(lambda: replaced.rename(path))
