"""From a path to an open slide: the one place that chooses between the readers of the formats."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.core.errors import InputError, MelanomaError, UnreadableImage
from napari_melanoma.core.files import check_name, open_regular
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.parsing import shortened
from napari_melanoma.io.formats import DAMAGE, HEAD_BYTES, identify
from napari_melanoma.io.slides.recognising import dicom_in, find_slides, is_slide, is_zarr
from napari_melanoma.io.slides.tiled import TiledSlide

__all__ = ["find_slides", "is_slide", "open_slide"]

# Formats of OpenSlide that tifffile decodes faster, and which it reads here.
_OF_TIFFFILE = {"aperio", "generic-tiff"}
_JPEG2000_YCBCR = 33003
_EXPECTED = "a slide (SVS, NDPI, MRXS, SCN, BIF, VMS, SVSLIDE, TIFF, OME-TIFF, DICOM, OME-Zarr, large PNG or JPEG)"
_ADVICE = " Name the slide itself."


def open_slide(path: Path, pixel_size: PixelSize | None = None) -> TiledSlide:
    """Open a slide of any format.

    Parameters
    ----------
    path : pathlib.Path
        A file; or a folder of DICOM files or of OME-Zarr. A photograph opens as a slide too, where it is asked for.
    pixel_size : PixelSize, optional
        The user's own size of a pixel of level 0. It wins over what the file says, and ``info.pixel_size`` says by its
        source that it was given.

    Returns
    -------
    TiledSlide
        Open; use it in a ``with`` block, or close it.

    Raises
    ------
    UnreadableImage
        Where it is no slide, or one that is damaged as a whole.
    InputError
        Where it does not exist or may not be read.
    """
    check_name(path)
    try:
        return _opened(path, pixel_size)
    except MelanomaError:
        raise
    except Exception as error:  # OpenSlide, libdicom, tifffile and zarr raise many kinds on damaged files
        raise UnreadableImage(
            f"{path.name} cannot be opened as a slide ({type(error).__name__}: {shortened(str(error))}). It is "
            "damaged, or files that belong to it are missing. Copy it again from its source, with all its files."
        ) from error


def _opened(path: Path, pixel_size: PixelSize | None) -> TiledSlide:
    """Open a slide with the library of its format."""
    if not path.exists():
        raise InputError(f"{path} does not exist. Name an existing slide.")
    if path.is_dir():
        return _open_folder(path, pixel_size)
    try:
        with open_regular(path) as file:
            kind = identify(file.read(HEAD_BYTES))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}. Ask for permission.") from error
    if kind in ("JPEG", "PNG", "BMP", "WebP") and path.suffix.lower() != ".mrxs":
        from napari_melanoma.io.slides.picture_slide import open_picture

        return open_picture(path, pixel_size)
    from napari_melanoma.io.slides.openslide_slide import open_with_openslide, vendor_of

    vendor = vendor_of(path)
    if (vendor in _OF_TIFFFILE and not _has_raw_ycbcr(path)) or (vendor is None and kind == "TIFF"):
        from napari_melanoma.io.slides.tiff_slide import open_tiff

        return open_tiff(path, pixel_size)
    if vendor is None:
        raise UnreadableImage(
            f"{path} holds nothing that is known here, but {_EXPECTED} was expected. Name the slide itself."
        )
    return open_with_openslide(path, pixel_size)


def _open_folder(folder: Path, pixel_size: PixelSize | None) -> TiledSlide:
    """Open a folder that is one slide."""
    if is_zarr(folder):
        from napari_melanoma.io.slides.zarr_slide import open_zarr

        return open_zarr(folder, pixel_size)
    file = dicom_in(folder)
    if file is None:
        raise UnreadableImage(
            f"{folder} is a folder that is no slide: DICOM files of a slide or an OME-Zarr image were expected in it. "
            "Name the slide's file, or a folder that is one slide."
        )
    from napari_melanoma.io.slides.openslide_slide import open_with_openslide

    return open_with_openslide(file, pixel_size)


def _has_raw_ycbcr(path: Path) -> bool:
    """Whether a TIFF file is in the JPEG 2000 of Aperio's first scanners, whose YCbCr tifffile takes for RGB."""
    from tifffile import TiffFile

    try:
        with TiffFile(path) as tiff:
            return int(tiff.pages[0].aspage().compression) == _JPEG2000_YCBCR
    except DAMAGE:
        return False
