"""Which files are photographs: files, folders and glob patterns become one sorted list before any is opened."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from napari_melanoma.core.errors import InputError

SUFFIXES: frozenset[str] = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".heic", ".heif"}
    | {".hif", ".dcm", ".dicom"}
)


def find_photographs(inputs: Iterable[str | Path]) -> list[Path]:
    """List the photographs that files, folders and glob patterns name.

    Folders are searched with all their subfolders; in them, and among the matches of a pattern, hidden files, OME-TIFF
    files and files whose suffix is not in ``SUFFIXES`` are passed over. A file that is named outright is kept whatever
    its suffix. Patterns (``*``, ``?``, ``[...]``, ``**``) are expanded here too, because the shell of Windows does not.

    Parameters
    ----------
    inputs : iterable of str or pathlib.Path
        What the user named; ``~`` stands for the home folder.

    Returns
    -------
    list of pathlib.Path
        Each file once, in natural order (``photo2`` before ``photo10``).

    Raises
    ------
    InputError
        Where an input does not exist, a folder cannot be read or an input yields no photograph.
    """
    found = {path.resolve(): path for named in inputs for path in _expand(named)}
    if not found:
        raise InputError(
            "no photograph was named. Name at least one image file, folder or pattern such as photos/*.jpg."
        )
    return sorted(found.values(), key=_natural_key)


def _expand(named: str | Path) -> list[Path]:
    """Files that one input stands for, at least one."""
    path = Path(named).expanduser()
    if path.is_dir():
        files = list(_walk(path))
    elif path.exists():
        return [path]
    elif glob.has_magic(str(path)):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob refuses patterns that are absolute
        files = [file for match in matches for file in _matched(Path(match))]
    else:
        raise InputError(f"{path} does not exist. Name an existing image file, folder or pattern.")
    if not files:
        raise InputError(
            f"{path} holds no photograph: expected at least one file ending in {', '.join(sorted(SUFFIXES))}. "
            "Check the folder or the pattern."
        )
    return files


def _matched(match: Path) -> Iterator[Path]:
    """Photographs behind one match of a pattern: the file itself, or those in the folder."""
    if match.is_dir():
        yield from _walk(match)
    elif _is_photograph(match.name):
        yield match


def _walk(folder: Path) -> Iterator[Path]:
    """Photographs in a folder and its subfolders, hidden ones left out; links to folders are not followed."""
    for parent, subfolders, names in os.walk(folder, onerror=_refuse_folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names if _is_photograph(name))


def _refuse_folder(error: OSError) -> None:
    """Stop at a folder that cannot be listed rather than pass over its photographs in silence."""
    raise InputError(
        f"the folder {error.filename} cannot be read: {error.strerror}. "
        "Ask for permission to read it, or name the photographs themselves."
    ) from error


def _is_photograph(name: str) -> bool:
    """Whether a file name looks like a photograph that was not hidden."""
    lower = name.lower()
    return (
        Path(lower).suffix in SUFFIXES and not lower.startswith(".") and not lower.endswith((".ome.tif", ".ome.tiff"))
    )


def _natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key in which runs of digits compare as numbers and letters without their case."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]
