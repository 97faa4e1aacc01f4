"""Which files are photographs, slides and tables: what a user names becomes one sorted list before any is read."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import open_regular
from napari_melanoma.io.formats import HEAD_BYTES, identify_format

SUFFIXES: frozenset[str] = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".heic", ".heif"}
    | {".hif", ".dcm", ".dicom"}
)
SLIDE_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".qptiff", ".ome.tif", ".ome.tiff")
TABLE_SUFFIXES = (".csv", ".tsv")
FileFilter = Callable[[Path], bool]


def is_image_file(path: Path) -> bool:
    """Return whether a file is an image, by its suffix and by its first bytes; one of them alone is easily wrong."""
    if not path.name.lower().endswith((*SUFFIXES, *SLIDE_SUFFIXES)):
        return False
    try:
        with open_regular(path) as file:
            return identify_format(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def find_photographs(inputs: Iterable[str | Path]) -> list[Path]:
    """List the photographs that files, folders and glob patterns name.

    Folders are searched with all their subfolders; in them, and among the matches of a pattern, hidden files, OME-TIFF
    files and files whose suffix is not in ``SUFFIXES`` are passed over. A file that is named outright is kept whatever
    its suffix. Patterns (``*``, ``?``, ``[...]``, ``**``) are expanded here too, because the shell of Windows does not.

    Each file once, in natural order (``photo2`` before ``photo10``).
    """
    return _find_files(inputs, _is_photograph)


def find_images_and_tables(inputs: Iterable[str | Path]) -> list[Path]:
    """List photographs, slides and tables, as ``find_photographs`` does; also DICOM files without a suffix.

    Each file once, in natural order.
    """
    return _find_files(inputs, lambda path: _is_photograph(path) or _is_slide_or_table(path) or _is_bare_dicom(path))


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key in which runs of digits compare as numbers and letters without their case."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def _find_files(inputs: Iterable[str | Path], wanted: FileFilter) -> list[Path]:
    """Files that are wanted, each once, in natural order."""
    found = {path.resolve(): path for named in inputs for path in _expand_input(named, wanted)}
    if not found:
        raise InputError(
            "no photograph was named. Name at least one image file, folder or pattern such as photos/*.jpg."
        )
    return sorted(found.values(), key=natural_key)


def _expand_input(named: str | Path, wanted: FileFilter) -> list[Path]:
    """Files that one input stands for, at least one."""
    path = Path(named).expanduser()
    if path.is_dir():
        files = list(_walk(path, wanted))
    elif path.exists():
        return [path]
    elif glob.has_magic(str(path)):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob refuses patterns that are absolute
        files = [file for match in matches for file in _expand_match(Path(match), wanted)]
    else:
        raise InputError(f"{path} does not exist. Name an existing image file, folder or pattern.")
    if not files:
        raise InputError(
            f"{path} holds no photograph: expected at least one file ending in {', '.join(sorted(SUFFIXES))}. "
            "Check the folder or the pattern."
        )
    return files


def _expand_match(match: Path, wanted: FileFilter) -> Iterator[Path]:
    """Files behind one match of a pattern: the file itself, or those in the folder."""
    if match.is_dir():
        yield from _walk(match, wanted)
    elif wanted(match):
        yield match


def _walk(folder: Path, wanted: FileFilter) -> Iterator[Path]:
    """Files in a folder and its subfolders, hidden ones left out; links to folders are not followed."""
    for parent, subfolders, names in os.walk(folder, onerror=_raise_unlisted):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield from (path for name in names if wanted(path := Path(parent, name)))


def _raise_unlisted(error: OSError) -> None:
    """Stop at a folder that cannot be listed rather than pass over its photographs in silence."""
    raise InputError(
        f"the folder {error.filename} cannot be read: {error.strerror}. "
        "Ask for permission to read it, or name the photographs themselves."
    ) from error


def _is_photograph(path: Path) -> bool:
    """Whether a file's name looks like a photograph that was not hidden."""
    lower = path.name.lower()
    return path.suffix.lower() in SUFFIXES and not lower.startswith(".") and not lower.endswith(SLIDE_SUFFIXES)


def _is_slide_or_table(path: Path) -> bool:
    """Whether a file's name looks like a slide or a table that was not hidden."""
    lower = path.name.lower()
    return lower.endswith((*SLIDE_SUFFIXES, *TABLE_SUFFIXES)) and not lower.startswith(".")


def _is_bare_dicom(path: Path) -> bool:
    """Whether a file without a suffix is DICOM by its content, as folders on discs from hospitals hold them."""
    if path.suffix or path.name.startswith("."):
        return False
    try:
        with open_regular(path) as file:
            return identify_format(file.read(HEAD_BYTES)) == "DICOM"
    except OSError:
        return False
