"""Decoding of JPEG, PNG, BMP, WebP and HEIC through Pillow; deep PNG through imagecodecs, as Pillow cuts it to 8 bits.

The classes of Pillow are called by name rather than through ``Image.open``: the format is known already, and the global
limit on pixels (a warning, then an error) gives way to the bounds of ``formats``. A JPEG with several pictures (MPO, as
phones write) and an animation give their first picture.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from napari_melanoma.io.color import eight_bit, srgb, upright
from napari_melanoma.io.formats import DAMAGE, Decoded, Format, check_size

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_ORIENTATION_TAG = 0x0112
_PNG_DEPTH_OFFSET = 24


def decode(file: IO[bytes], kind: Format) -> Decoded:
    """Decode a photograph.

    The resolution (dots per inch) that such files state is that of a print, not of the skin, and is not used.

    Parameters
    ----------
    file : binary file
        Open at its start.
    kind : {"JPEG", "PNG", "BMP", "WebP", "HEIC"}
        What ``formats.identify`` found.

    Returns
    -------
    Decoded
        Upright sRGB, without pixel size and modality.

    Raises
    ------
    UnreadableImage
        Where the size is out of bounds.
    OSError, SyntaxError, ValueError
        And others that decoders raise where the file is damaged.
    """
    with open_lazily(file, kind) as image:
        check_size(*image.size)
        profile = image.info.get("icc_profile")
        image.load()  # a damaged picture is told here, so that what fails below is its EXIF alone
        orientation = _orientation(image)
        pixels = _deep_png(file) if kind == "PNG" and _is_deep(file) else image
        return Decoded(upright(srgb(pixels, profile), orientation))


def open_lazily(file: IO[bytes], kind: Format) -> ImageFile:
    """Open an image with the class of its format; pixels are decoded when they are asked for.

    Parameters
    ----------
    file : binary file
        Open at its start.
    kind : {"JPEG", "PNG", "BMP", "WebP", "HEIC"}
        What ``formats.identify`` found.

    Returns
    -------
    PIL.ImageFile.ImageFile
        With size, mode and metadata.

    Raises
    ------
    SyntaxError, OSError
        Where the header is damaged.
    """
    if kind == "JPEG":
        from PIL.JpegImagePlugin import JpegImageFile

        return JpegImageFile(file)
    if kind == "PNG":
        from PIL.PngImagePlugin import PngImageFile

        return PngImageFile(file)
    if kind == "BMP":
        from PIL.BmpImagePlugin import BmpImageFile

        return BmpImageFile(file)
    if kind == "WebP":
        from PIL.WebPImagePlugin import WebPImageFile

        return WebPImageFile(file)
    from pillow_heif import HeifImageFile

    return HeifImageFile(file)


def _orientation(image: ImageFile) -> int:
    """EXIF orientation of an image whose pixels are decoded; upright where the EXIF block is malformed."""
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except DAMAGE:
        return 1


def _is_deep(png: IO[bytes]) -> bool:
    """Whether a PNG has 16 bits per channel; the place in the file is kept."""
    place = png.tell()
    png.seek(_PNG_DEPTH_OFFSET)
    depth = png.read(1)
    png.seek(place)
    return depth == b"\x10"


def _deep_png(png: IO[bytes]) -> Image:
    """Decode a PNG of 16 bits per channel to a Pillow image of 8."""
    import imagecodecs
    from PIL import Image

    png.seek(0)
    return Image.fromarray(eight_bit(imagecodecs.png_decode(png.read())))
