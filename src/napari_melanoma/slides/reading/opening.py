"""Open slides of any format, and check that an open slide is still available."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from napari_melanoma.core.errors import InputError, MelanomaError, UnreadableImage
from napari_melanoma.core.files import check_name, open_regular
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.core.parsing import shorten
from napari_melanoma.io.formats import HEAD_BYTES, identify_format
from napari_melanoma.slides.reading.detection import find_dicom_slides, find_zarr_images, is_zarr
from napari_melanoma.slides.reading.files import read_compression, slide_fingerprint
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.slides.reading.tiled import TiledSlide

# OpenSlide's names of formats that are read with tifffile, which is faster.
_TIFFFILE_VENDORS = {"aperio", "generic-tiff"}
_JPEG2000_YCBCR = 33003  # value of the tag Compression
_SUPPORTED_FORMATS = (
    "a slide (SVS, NDPI, MRXS, SCN, BIF, VMS, SVSLIDE, CZI, VSI, iSyntax, TIFF, OME-TIFF, DICOM, OME-Zarr, large PNG "
    "or JPEG)"
)
REOPEN_INTERVAL = 8  # number of damaged tiles after which the slide is opened again


def open_slide(path: Path, pixel_size: PixelSize | None = None) -> TiledSlide:
    """Open a slide of any format: a file, a folder of DICOM files, or an OME-Zarr folder.

    Photographs can be opened as slides as well. Use the slide in a ``with`` block, or close it.

    ``pixel_size``: that of level 0, set by the user, which takes precedence over that in the file.
    """
    check_name(path)
    try:
        return _open_by_format(path, pixel_size)
    except MelanomaError:
        raise
    except ImportError as error:
        raise InputError(
            f"{path.name} cannot be opened: a package of this program is missing or damaged ({shorten(str(error))}). "
            "Install napari-melanoma again."
        ) from error
    except Exception as error:  # OpenSlide, libdicom, tifffile and zarr raise many kinds of errors for damaged files
        raise UnreadableImage(
            f"{path.name} cannot be opened as a slide ({type(error).__name__}: {shorten(str(error))}). It is "
            "damaged, or files that belong to it are missing. Copy it again with all its files."
        ) from error


def _open_by_format(path: Path, pixel_size: PixelSize | None) -> TiledSlide:
    """Open a slide with the library for its format."""
    if not path.exists():
        raise InputError(f"{path} does not exist. Select an existing slide.")
    if path.is_dir():
        return _open_folder(path, pixel_size)
    try:
        with open_regular(path) as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}. Check the permissions.") from error
    if not head:
        raise UnreadableImage(f"{path} is empty (0 bytes), but a slide was expected. Copy it again from its source.")
    kind = identify_format(head)
    if kind in ("JPEG", "PNG", "BMP", "WebP") and path.suffix.lower() != ".mrxs":
        from napari_melanoma.slides.reading.flat_images import open_flat_image

        return open_flat_image(path, pixel_size)
    from napari_melanoma.slides.reading.fastslide import FORMATS, open_with_fastslide
    from napari_melanoma.slides.reading.openslide import detect_vendor, open_with_openslide

    vendor = detect_vendor(path)
    if path.suffix.lower() in FORMATS:
        if vendor != "zeiss":
            return open_with_fastslide(path, pixel_size)
        try:
            return open_with_openslide(path, pixel_size)
        except UnreadableImage as error:  # OpenSlide supports a part of this format
            return open_with_fastslide(path, pixel_size, str(error.__cause__))
    if (vendor in _TIFFFILE_VENDORS and not _has_raw_ycbcr(path)) or (vendor is None and kind == "TIFF"):
        from napari_melanoma.slides.reading.tiff import open_tiff

        return open_tiff(path, pixel_size)
    if vendor is None:
        raise UnreadableImage(
            f"{path} has an unknown format, expected {_SUPPORTED_FORMATS}. Select the slide file itself."
        )
    return open_with_openslide(path, pixel_size)


def _open_folder(folder: Path, pixel_size: PixelSize | None) -> TiledSlide:
    if is_zarr(folder):
        from napari_melanoma.slides.reading.zarr import open_zarr

        images = find_zarr_images(folder)
        _check_one_slide(folder, images, "OME-Zarr images")
        return open_zarr(images[0] if images else folder, pixel_size)
    files = find_dicom_slides(folder)
    _check_one_slide(folder, files, "DICOM slides")
    if not files:
        raise UnreadableImage(
            f"{folder} is not a slide folder: expected DICOM files of a slide or an OME-Zarr image in it. "
            "Select the file of the slide, or a folder that contains a single slide."
        )
    from napari_melanoma.slides.reading.openslide import open_with_openslide

    return open_with_openslide(files[0], pixel_size)


def _check_one_slide(folder: Path, slides: Sequence[Path], kind: str) -> None:
    """Raise an error for a folder of several slides."""
    if len(slides) > 1:
        raise UnreadableImage(
            f"{folder} contains {len(slides)} {kind} ({format_names([path.name for path in slides])}), but one was "
            "expected. Select one of these."
        )


def _has_raw_ycbcr(path: Path) -> bool:
    """Whether a TIFF file has the JPEG 2000 of Aperio's first scanners, whose YCbCr tifffile mistakes for RGB."""
    return read_compression(path) == _JPEG2000_YCBCR


def find_scanned_area(path: Path) -> Box | None:
    """Return the scanned area of a slide, in pixels of level 0; None if it states none or cannot be read."""
    from openslide import OpenSlide, OpenSlideError

    from napari_melanoma.slides.reading.openslide import detect_vendor, scanned_bounds

    if not path.is_file() or detect_vendor(path) in (None, *_TIFFFILE_VENDORS):
        return None
    try:
        with OpenSlide(path) as slide:
            return scanned_bounds(slide.properties)
    except OpenSlideError:
        return None


class SlideFileMonitor:
    """Checks the file of a slide when damaged tiles are found; safe to use from several threads.

    The first damaged tile after readable ones triggers a check of the content. The eighth of successive damaged tiles
    also reopens the slide, which checks all of its files; this is repeated after eight more.
    """

    def __init__(self, info: SlideInfo) -> None:
        self._info = info
        self._lock = Lock()
        self._damaged = 0

    def record_success(self) -> None:
        """Record that a tile was read."""
        self._damaged = 0

    def record_damage(self) -> bool:
        """Record a damaged tile, and check the slide if due.

        Returns whether the slide was checked, so that reading the tile can be tried again. Raises InputError if the
        slide is no longer available.
        """
        with self._lock:
            count, self._damaged = self._damaged % REOPEN_INTERVAL, self._damaged + 1
            if count not in (0, REOPEN_INTERVAL - 1):
                return False
            self._check_file(reopen=count > 0)
            return True

    def _check_file(self, *, reopen: bool) -> None:
        """Raise InputError if the file is not that of the slide that was opened."""
        info, same = self._info, True
        try:
            if info.fingerprint:
                same = slide_fingerprint(info.path) == info.fingerprint
            if reopen and same:
                with open_slide(info.path) as slide:
                    same = slide.info.levels == info.levels
        except (OSError, MelanomaError) as error:
            raise slide_unavailable_error(info.path, error) from error
        if not same:
            raise slide_unavailable_error(info.path, "its files have changed since it was opened")


def slide_unavailable_error(path: Path, reason: object) -> InputError:
    """Create the error for a slide that can no longer be read."""
    problem = f"{path} can no longer be read ({reason})" if path.exists() else f"{path} no longer exists"
    return InputError(
        f"{problem}: it was removed, or its drive was disconnected, during the analysis. Restore it and start "
        "the analysis again with the same options and folder. Finished tiles are kept, and it continues from there."
    )
