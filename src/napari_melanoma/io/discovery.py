"""Discovery of photographs, slides and tables: a sorted list of the files that a user specifies."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

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


class FileKind(NamedTuple):
    """Which files are searched for, and how messages name one of them."""

    accept: FileFilter
    name: str
    expected: str


def is_image_file(path: Path) -> bool:
    """Return whether a file is an image, by both its suffix and its first bytes, as either alone is unreliable."""
    if not path.name.lower().endswith((*SUFFIXES, *SLIDE_SUFFIXES)):
        return False
    try:
        with open_regular(path) as file:
            return identify_format(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def find_photographs(inputs: Iterable[str | Path]) -> list[Path]:
    """List the photographs in files, folders and glob patterns.

    Folders are searched recursively; in them, and among the matches of a pattern, hidden files, OME-TIFF files and
    files whose suffix is not in ``SUFFIXES`` are left out. A file that is specified directly is included with any
    suffix. Patterns (``*``, ``?``, ``[...]``, ``**``) are expanded here as well, because the Windows shell does not.

    Each file once, in natural order (``photo2`` before ``photo10``).
    """
    return _find_files(inputs, FileKind(_is_photograph, "photograph", f"file ending in {', '.join(sorted(SUFFIXES))}"))


def find_images_and_tables(inputs: Iterable[str | Path]) -> list[Path]:
    """List photographs, slides and tables like ``find_photographs``, including DICOM files without a suffix.

    Each file once, in natural order.
    """

    def accept(path: Path) -> bool:
        return _is_photograph(path) or _is_slide_or_table(path) or _is_bare_dicom(path)

    return _find_files(inputs, FileKind(accept, "image", "photograph, slide, DICOM file or table (CSV) of images"))


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Return a sort key that compares runs of digits as numbers and ignores case."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def _find_files(inputs: Iterable[str | Path], kind: FileKind) -> list[Path]:
    """Accepted files, each once, in natural order."""
    found = {path.resolve(): path for named in inputs for path in _expand_input(named, kind)}
    if not found:
        raise InputError(
            f"no {kind.name} was specified. Specify at least one {kind.expected}, a folder that contains one, or a "
            "pattern such as photos/*.jpg."
        )
    return sorted(found.values(), key=natural_key)


def _expand_input(named: str | Path, kind: FileKind) -> list[Path]:
    """Files of one input, at least one."""
    accept = kind.accept
    path = Path(os.path.expanduser(named))  # noqa: PTH111 - Path.expanduser raises for a file such as ~copy.png
    if path.is_dir():
        files = list(_walk(path, accept))
    elif path.exists():
        return [path]
    elif glob.has_magic(str(path)):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob does not support absolute patterns
        files = [file for match in matches for file in _expand_match(Path(match), accept)]
    else:
        raise InputError(f"{path} does not exist. Specify an existing image file, folder or pattern.")
    if not files:
        raise InputError(
            f"no {kind.name} in {path}: expected at least one {kind.expected}. "
            f"Check the {'folder' if path.is_dir() else 'pattern'}."
        )
    return files


def _expand_match(match: Path, accept: FileFilter) -> Iterator[Path]:
    """Files of one match of a pattern: the file itself, or those in the folder."""
    if match.is_dir():
        yield from _walk(match, accept)
    elif accept(match):
        yield match


def _walk(folder: Path, accept: FileFilter) -> Iterator[Path]:
    """Files in a folder and its subfolders, without hidden ones; links to folders are not followed."""
    for parent, subfolders, names in os.walk(folder, onerror=_raise_unlisted):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield from (path for name in names if accept(path := Path(parent, name)))


def _raise_unlisted(error: OSError) -> None:
    """Raise an error for a folder that cannot be listed, instead of skipping its photographs silently."""
    raise InputError(
        f"the folder {error.filename} cannot be read: {error.strerror}. "
        "Check the permissions, or specify the photographs themselves."
    ) from error


def _is_photograph(path: Path) -> bool:
    """Whether a file name is that of a photograph and not hidden."""
    lower = path.name.lower()
    return path.suffix.lower() in SUFFIXES and not lower.startswith(".") and not lower.endswith(SLIDE_SUFFIXES)


def _is_slide_or_table(path: Path) -> bool:
    """Whether a file name is that of a slide or a table and not hidden."""
    lower = path.name.lower()
    return lower.endswith((*SLIDE_SUFFIXES, *TABLE_SUFFIXES)) and not lower.startswith(".")


def _is_bare_dicom(path: Path) -> bool:
    """Whether a file without a suffix is DICOM by its content, as on discs from hospitals."""
    if path.suffix or path.name.startswith("."):
        return False
    try:
        with open_regular(path) as file:
            return identify_format(file.read(HEAD_BYTES)) == "DICOM"
    except OSError:
        return False
