"""The class ``Photograph``, and reading photographs from files of all formats."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import IO, TYPE_CHECKING

from napari_melanoma.core.errors import DamagedImage, UnreadableImage
from napari_melanoma.core.files import check_name, open_regular
from napari_melanoma.core.formatting import format_names, format_repr
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.formats import (
    DAMAGE_ERRORS,
    HEAD_BYTES,
    UPRIGHT,
    DecodedPhotograph,
    Format,
    Modality,
    identify_format,
    unknown_content_error,
)
from napari_melanoma.samples.catalog import find_credit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Photograph"]

_ACCEPT_DAMAGED_VARIABLE = "NAPARI_MELANOMA_ACCEPT_DAMAGED"

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Photograph:
    """An upright photograph in 8-bit sRGB.

    Parameters
    ----------
    rgb : numpy.ndarray
        uint8 (row, column, channel=3), sRGB, upright, contiguous.
    name : str
        File name without suffix; used for layers and result folders.
    pixel_size : PixelSize, optional
        Micrometers per pixel, if the file states a real scale; ``pixel_size_um`` has its two numbers.
    modality : {"dermoscopic", "macroscopic", "tbp_tile"}, optional
        How it was taken, if the file states it.
    damage : str, optional
        Missing or corrupt parts of the file, if it was read nevertheless.
    notes : tuple of str
        Assumptions made in reading the file.
    credit : str
        Attribution to state where the photograph is shown; empty if none is required.
    """

    rgb: NDArray[np.uint8]
    name: str
    pixel_size: PixelSize | None = None
    modality: Modality | None = None
    damage: str | None = None
    notes: tuple[str, ...] = ()
    credit: str = ""

    @property
    def pixel_size_um(self) -> tuple[float, float] | None:
        """Micrometers per pixel, (y, x); None if unknown."""
        return None if self.pixel_size is None else (self.pixel_size.y_um, self.pixel_size.x_um)

    @property
    def aspect(self) -> float:
        """The longer side, relative to the shorter one."""
        return max(self.rgb.shape[:2]) / min(self.rgb.shape[:2])

    def __repr__(self) -> str:
        """Return a short text without the pixels."""
        metadata = {"pixel_size_um": self.pixel_size_um, "modality": self.modality, "damage": self.damage}
        metadata = {name: value for name, value in metadata.items() if value is not None}
        return format_repr(self, name=self.name, shape=self.rgb.shape, **metadata)


def read_photograph(path: Path, *, accept_damaged: bool | None = None) -> Photograph:
    """Read a photograph as upright 8-bit sRGB; its name is the stem of the file.

    The formats are JPEG, PNG, TIFF, BMP, WebP, HEIC and DICOM, recognized by content; see ``io.color_conversion`` for
    depth, transparency and color profiles. Only pixels, pixel size and modality are taken from the file, so that names
    and positions in its metadata are not passed on. Only DICOM provides a pixel size: the dots per inch of other
    formats are those of a print.

    Raises ``UnreadableImage`` for a file that is missing, unreadable, of another format, a stack or a slide, smaller
    than ``formats.MIN_SIDE`` on a side or larger than ``formats.MAX_PIXELS``.

    ``accept_damaged``: if parts of the file are missing or corrupt, read the remaining part and describe the damage in
    ``damage``, instead of raising ``DamagedImage``; by default as set by ``accepting_damaged``.
    """
    check_name(path)
    accepted = accepts_damaged() if accept_damaged is None else accept_damaged
    try:
        with open_regular(path) as file:
            decoded = _decode(file, accepted)
    except DamagedImage as fault:
        raise DamagedImage(f"{path} {fault}", fault.damage) from None
    except UnreadableImage as fault:
        raise UnreadableImage(f"{path} {fault}") from None
    except OSError as error:
        raise UnreadableImage(f"{path} {_describe_open_error(path, error)}") from error
    return Photograph(
        decoded.rgb,
        path.stem,
        decoded.pixel_size,
        decoded.modality,
        damage=decoded.damage,
        notes=decoded.notes,
        credit=find_credit(path),
    )


def find_damage(path: Path) -> str | None:
    """Describe the missing or corrupt parts of a photograph.

    Returns None if it is intact, or if it cannot be read at all, which ``read_photograph`` reports.
    """
    try:
        with open_regular(path) as file:
            kind = identify_format(file.read(HEAD_BYTES))
            file.seek(0)
            if kind in ("TIFF", "DICOM"):
                return _decode(file, accept_damaged=True).damage
            if kind is None:
                return None
            from napari_melanoma.io import pillow_images

            return pillow_images.read_checked(file, kind)[1]
    except (UnreadableImage, *DAMAGE_ERRORS):
        return None


def summarize_notes(notes_of: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Summarize what was assumed in reading several photographs, as topics and messages.

    ``notes_of``: the notes of each photograph, by its name.
    """
    names_by_note: dict[str, list[str]] = {}
    for name, notes in notes_of.items():
        for note in notes:
            names_by_note.setdefault(note, []).append(name)
    return [("images", f"{format_names(names)}: {note}") for note, names in names_by_note.items()]


def format_damage_warning(damage: str | None) -> str:
    """Format the warning about a damaged photograph; empty for an intact one."""
    return f"Damaged photograph: {damage}. The result may be wrong." if damage else ""


def accepts_damaged() -> bool:
    """Return whether damaged photographs are read in this process, as set by ``accepting_damaged``."""
    return bool(os.environ.get(_ACCEPT_DAMAGED_VARIABLE))


@contextmanager
def accepting_damaged(accepted: bool = True) -> Iterator[None]:
    """Make ``read_photograph`` accept damaged files, in this process and its child processes.

    ``accepted=False`` changes nothing.
    """
    previous = os.environ.get(_ACCEPT_DAMAGED_VARIABLE)
    if accepted:
        os.environ[_ACCEPT_DAMAGED_VARIABLE] = "1"  # threads and child processes also read photographs
    try:
        yield
    finally:
        if accepted and previous is None:
            os.environ.pop(_ACCEPT_DAMAGED_VARIABLE, None)


def read_image_size(path: Path) -> tuple[int, int] | None:
    """Read width and height in pixels from the header of an image file, without decoding it.

    The EXIF orientation is not applied. Returns None for a file that ``read_photograph`` cannot read either.
    """
    try:
        with open_regular(path) as file:
            kind = identify_format(file.read(HEAD_BYTES))
            file.seek(0)
            return None if kind is None else _read_size(file, kind)
    except DAMAGE_ERRORS:
        return None


def is_stored_upright(path: Path) -> bool:
    """Whether a photograph is stored as it is read, without an EXIF orientation; also for one that cannot be read."""
    try:
        with open_regular(path) as file:
            kind = identify_format(file.read(HEAD_BYTES))
            file.seek(0)
            if kind == "TIFF":
                from napari_melanoma.io import tiff

                return tiff.read_orientation(file) == UPRIGHT
            if kind is None or kind == "DICOM":
                return True
            from napari_melanoma.io import pillow_images

            return pillow_images.read_orientation(file, kind) == UPRIGHT
    except DAMAGE_ERRORS:
        return True


def count_pixels(path: Path) -> int:
    """Count the pixels of an image from its header, to estimate its memory; 0 if they are unknown."""
    try:
        width, height = read_image_size(path) or (0, 0)
    except Exception:  # any error: reading the image reports it
        log.debug("the size of %s is unknown", path, exc_info=True)
        return 0
    return width * height


def _read_size(file: IO[bytes], kind: Format) -> tuple[int, int]:
    if kind == "TIFF":
        from napari_melanoma.io import tiff

        return tiff.stored_size(file)
    if kind == "DICOM":
        from napari_melanoma.io import dicom

        return dicom.stored_size(file)
    from napari_melanoma.io import pillow_images

    return pillow_images.stored_size(file, kind)


def _describe_open_error(path: Path, error: OSError) -> str:
    """Describe why a file could not be opened, and what to do."""
    if path.is_dir():
        return "is a folder, but an image file was expected. Select the files in it."
    if isinstance(error, FileNotFoundError):
        return "does not exist. Select an existing image file."
    if isinstance(error, PermissionError):
        return "cannot be read: permission denied. Change the permissions, or select a copy."
    return f"cannot be read: {error.strerror or error}. Check the drive, or copy the file to another drive."


def _decode(file: IO[bytes], accept_damaged: bool) -> DecodedPhotograph:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    kind = identify_format(head)
    if kind is None:
        raise unknown_content_error(head)
    try:
        if kind == "TIFF":
            from napari_melanoma.io import tiff

            return tiff.decode(file, accept_damaged)
        if kind == "DICOM":
            from napari_melanoma.io import dicom

            return dicom.decode(file, accept_damaged)
        from napari_melanoma.io import pillow_images

        return pillow_images.decode(file, kind, accept_damaged)
    except DAMAGE_ERRORS as error:
        reason = shorten(str(error), width=200, placeholder=" ...")
        raise UnreadableImage(
            f"begins as a {kind} image but cannot be decoded ({reason}): it is truncated or damaged. "
            "Copy or export it again."
        ) from error
