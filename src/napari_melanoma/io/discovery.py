"""Find the photographs, slides and tables in the files, folders and patterns that a user specifies."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import open_regular
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.paths import expand_input, real_path
from napari_melanoma.io.formats import HEAD_BYTES, Format, identify_format

SUFFIXES: frozenset[str] = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".heic", ".heif"}
    | {".hif", ".dcm", ".dicom"}
)
SLIDE_SUFFIXES = (
    *(".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".qptiff", ".ome.tif", ".ome.tiff"),
    *(".czi", ".vsi", ".isyntax", ".i2syntax"),
)
TABLE_SUFFIXES = (".csv", ".tsv")
# Images of other formats, and raw files of cameras.
_OTHER_SUFFIXES = frozenset(
    {".gif", ".avif", ".jp2", ".jxl", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"}
)
FileFilter = Callable[[Path], bool]


class FileKind(NamedTuple):
    """Files that are searched for: a filter, and their name and description in messages."""

    accept: FileFilter
    name: str
    description: str


def is_image_file(path: Path) -> bool:
    """Return whether a file is an image, by both its suffix and its first bytes, as either alone is unreliable."""
    return path.name.lower().endswith((*SUFFIXES, *SLIDE_SUFFIXES)) and has_image_content(path)


def has_image_content(path: Path) -> bool:
    """Return whether a file is an image by its first bytes; False if it cannot be read."""
    try:
        with open_regular(path) as file:
            return identify_format(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def find_photographs(inputs: Iterable[str | Path], left_out: list[Path] | None = None) -> list[Path]:
    """List the photographs in files, folders and glob patterns.

    Folders are searched recursively; in them, and among the matches of a pattern, hidden files, OME-TIFF files and
    files whose suffix is not in ``SUFFIXES`` are left out. A file that is specified directly is included with any
    suffix. Patterns (``*``, ``?``, ``[...]``, ``**``) are expanded here because the shell of Windows does not do it.
    ``left_out``: receives the files that were left out although they are images, see ``is_left_out``.

    Returns each file once, in natural order (``photo2`` before ``photo10``).
    """
    kind = FileKind(_is_photograph, "photograph", f"file ending in {', '.join(sorted(SUFFIXES))}")
    return _find_files(inputs, kind, left_out)


def find_images_and_tables(inputs: Iterable[str | Path], left_out: list[Path] | None = None) -> list[Path]:
    """List photographs, slides and tables as ``find_photographs`` does, including DICOM files without a suffix."""

    def accept(path: Path) -> bool:
        return _is_photograph(path) or _is_slide_or_table(path) or identify_without_suffix(path) == "DICOM"

    kind = FileKind(accept, "image", "photograph, slide, DICOM file or table (CSV) of images")
    return _find_files(inputs, kind, left_out)


def is_left_out(path: Path) -> bool:
    """Return whether a file is an image that is not listed: by its content, without a suffix, or of another format."""
    is_hidden = path.name.startswith(".")
    return (path.suffix.lower() in _OTHER_SUFFIXES and not is_hidden) or identify_without_suffix(path) is not None


def note_left_out(paths: Iterable[Path]) -> list[tuple[str, str]]:
    """Return the notes on images that were left out, see ``is_left_out``; none if there is no such file."""
    ordered = sorted(set(paths), key=natural_key)
    unnamed = [path.name for path in ordered if not path.suffix]
    others = [path.name for path in ordered if path.suffix]
    without_ending = (
        f"{format_names(unnamed)}: images by their content, but without an ending such as .jpg. Rename such files, or "
        "specify them one by one."
    )
    other_format = f"{format_names(others)}: images of formats that are not supported. Export them as PNG or JPEG."
    return [("left out", text) for names, text in ((unnamed, without_ending), (others, other_format)) if names]


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Return a sort key that compares runs of digits as numbers and ignores case."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def _find_files(inputs: Iterable[str | Path], kind: FileKind, left_out: list[Path] | None) -> list[Path]:
    """Return the accepted files, each once, in natural order."""
    found_beside: list[Path] = []

    def accept(path: Path) -> bool:
        is_accepted = kind.accept(path)
        if not is_accepted and left_out is not None and is_left_out(path):
            found_beside.append(path)
        return is_accepted

    noting = kind._replace(accept=accept)
    files = {real_path(path): path for name in inputs for path in _expand_input(name, noting)}
    if left_out is not None:
        left_out += [path for path in found_beside if real_path(path) not in files]
    if not files:
        raise InputError(
            f"no {kind.name} was specified. Specify at least one {kind.description}, a folder that contains one, or a "
            "pattern such as photos/*.jpg."
        )
    return sorted(files.values(), key=natural_key)


def _expand_input(name: str | Path, kind: FileKind) -> list[Path]:
    """Return the files of one file name, folder or pattern; raise an error if there are none."""
    accept = kind.accept
    path = expand_input(name)
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
            f"no {kind.name} in {path}: expected at least one {kind.description}. "
            f"Check the {'folder' if path.is_dir() else 'pattern'}."
        )
    return files


def _expand_match(match: Path, accept: FileFilter) -> Iterator[Path]:
    """Yield the files of one match of a pattern: the file itself, or those in the folder."""
    if match.is_dir():
        yield from _walk(match, accept)
    elif accept(match):
        yield match


def _walk(folder: Path, accept: FileFilter) -> Iterator[Path]:
    """Yield the accepted files in a folder and its subfolders; hidden folders and links to folders are left out."""
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
    """Whether a file is a photograph by its suffix, and not hidden."""
    lower = path.name.lower()
    return path.suffix.lower() in SUFFIXES and not lower.startswith(".") and not lower.endswith(SLIDE_SUFFIXES)


def _is_slide_or_table(path: Path) -> bool:
    """Whether a file is a slide or a table by its suffix, and not hidden."""
    lower = path.name.lower()
    return lower.endswith((*SLIDE_SUFFIXES, *TABLE_SUFFIXES)) and not lower.startswith(".")


def identify_without_suffix(path: Path) -> Format | None:
    """Return the format of an image whose name has no suffix, as on discs from hospitals; None for other files."""
    if path.suffix or path.name.startswith("."):
        return None
    try:
        with open_regular(path) as file:
            return identify_format(file.read(HEAD_BYTES))
    except OSError:
        return None
