"""Decoding of JPEG, PNG, BMP, WebP and HEIC with Pillow, and date and camera from EXIF."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.files import open_regular
from napari_melanoma.io.color_conversion import apply_orientation, detect_bit_depth, to_eight_bit, to_srgb8
from napari_melanoma.io.formats import (
    DAMAGE_ERRORS,
    HEAD_BYTES,
    MIN_SIDE,
    DecodedPhotograph,
    Format,
    check_image_size,
    identify_format,
)
from napari_melanoma.io.image_damage import IntegrityCheck, check_plausible

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Exif, Image
    from PIL.ImageFile import ImageFile

_ORIENTATION_TAG = 0x0112
_PNG_DEPTH_OFFSET = 24
_PNG_HEADER_BYTES = 33

_MAKE, _MODEL, _SOFTWARE, _DATE_TIME = 0x010F, 0x0110, 0x0131, 0x0132
_EXIF_IFD, _DATE_TIME_ORIGINAL, _LENS = 0x8769, 0x9003, 0xA434
_DAY = re.compile(r"((?:19|20)\d\d)[:-](\d\d)[:-](\d\d)")


def decode(file: IO[bytes], kind: Format) -> DecodedPhotograph:
    """Decode a photograph.

    The resolution (dots per inch) in these formats is that of a print, not of the skin, and is ignored. The result has
    no pixel size and no modality.
    """
    checked = check(file, kind)
    content = io.BytesIO(checked.content)
    with _open_decoded(content, kind, checked.damage) as image:
        profile = image.info.get("icc_profile")
        orientation = _read_orientation(image)
        is_deep = kind == "PNG" and _has_16_bits(checked.content)
        pixels, notes = _decode_deep_png(checked.content) if is_deep else (_without_inversion(image), ())
        return DecodedPhotograph(
            apply_orientation(to_srgb8(pixels, profile), orientation), damage=checked.damage, notes=notes
        )


def _without_inversion(image: Image) -> Image:
    """Return the inks of a CMYK JPEG: Pillow inverts them always, but only Adobe's files store them inverted."""
    from PIL import ImageChops

    is_inverted = image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info
    return ImageChops.invert(image) if is_inverted else image


def check(file: IO[bytes], kind: Format, smallest: int = MIN_SIDE) -> IntegrityCheck:
    """Check the size of an image from its header, and the integrity of the file.

    ``smallest``: minimum of each side in pixels. Returns the bytes for the decoder, and what is missing or corrupt.
    """
    width, height = stored_size(file, kind)
    check_image_size(width, height, smallest)
    file.seek(0)
    content = file.read()
    check_plausible(width, height, len(content), _packing(content, kind))
    return _check_format(content, kind)


def open_undamaged(file: IO[bytes], kind: Format) -> ImageFile:
    """Open an image that is not a photograph, such as a mask; raise ``ValueError`` if it is damaged."""
    checked = check(file, kind, smallest=1)
    if checked.damage:
        raise ValueError(checked.damage)
    return open_lazily(io.BytesIO(checked.content), kind)


def read_opaque_values(image: Image, mode: str) -> NDArray:
    """Return the samples of an image that is not a photograph, in a mode without opacity; 0 where it is transparent."""
    import numpy as np

    if not image.has_transparency_data:
        return np.asarray(image.convert(mode))
    rgba = image.convert("RGBA")  # an opacity channel, or tRNS of a palette or of one color
    values = np.asarray(image if image.mode == mode else rgba.convert(mode))
    return clear_transparent(values, np.asarray(rgba.getchannel("A")))


def clear_transparent(values: NDArray, opacity: NDArray[np.integer]) -> NDArray:
    """Return samples with 0 where the image is transparent: programs keep arbitrary color there.

    Opacity below half of the largest counts as transparent, as an overlay may be saved at half opacity.

    ``values``: (row, column) or (row, column, channel). ``opacity``: (row, column).
    """
    import numpy as np

    largest = max(int(opacity.max(initial=0)), 1)
    cleared = np.array(values)
    cleared[opacity < (largest + 1) // 2] = 0
    return cleared


def _open_decoded(content: IO[bytes], kind: Format, damage: str | None) -> ImageFile:
    """Open an image and decode its pixels, so that later only reading its EXIF can fail.

    ``damage``: description of known damage, for the error if decoding fails.
    """
    try:
        image = open_lazily(content, kind)
        image.load()
    except DAMAGE_ERRORS:
        if damage is None:
            raise
        raise UnreadableImage(
            f"is damaged: {damage}, and the rest cannot be decoded. Copy or export it again."
        ) from None
    return image


def stored_size(file: IO[bytes], kind: Format) -> tuple[int, int]:
    """Read width and height of an image in pixels from its header."""
    if kind == "PNG":  # Pillow also decompresses text before the pixels
        from napari_melanoma.io import image_damage

        head = image_damage.read_png_header(file.read(_PNG_HEADER_BYTES))
        if head is None:
            raise SyntaxError("its header is incomplete")
        return head.width, head.height
    with open_lazily(file, kind) as image:
        return image.size


def _packing(content: bytes, kind: Format) -> str:
    """Return the key of ``image_damage.PIXELS_PER_BYTE`` for a file.

    It is empty for a compression in which a uniform image takes nearly no data.
    """
    from napari_melanoma.io import image_damage, jpeg_damage

    if kind == "JPEG":
        return "" if jpeg_damage.JpegStream.parse(content).is_arithmetic else kind
    if kind == "BMP":
        return kind if image_damage.has_run_lengths(content) else "raw"
    return "" if kind == "WebP" and content[12:16] != b"VP8 " else kind


def _check_format(content: bytes, kind: Format) -> IntegrityCheck:
    """Check an image by the rules of its format."""
    from napari_melanoma.io import image_damage, jpeg_damage

    checks = {
        "JPEG": jpeg_damage.check,
        "PNG": image_damage.check_png,
        "BMP": image_damage.check_bmp,
        "WebP": image_damage.check_webp,
    }
    return checks.get(kind, image_damage.check_heif)(content)


def open_lazily(file: IO[bytes], kind: Format) -> ImageFile:
    """Open an image with the Pillow class of its format; pixels are decoded on access."""
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
        from PIL.Image import DecompressionBombError
        from PIL.WebPImagePlugin import WebPImageFile

        try:
            return WebPImageFile(file)
        except DecompressionBombError as error:  # only this class checks Pillow's own limit
            raise ValueError(str(error)) from error
    from pillow_heif import HeifImageFile

    return HeifImageFile(file)


def _read_orientation(image: ImageFile) -> int:
    """Return the EXIF orientation of a decoded image; 1 (upright) if the EXIF block is malformed."""
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except DAMAGE_ERRORS:
        return 1


def _has_16_bits(png: bytes) -> bool:
    """Whether a PNG has 16 bits per channel."""
    return png[_PNG_DEPTH_OFFSET : _PNG_DEPTH_OFFSET + 1] == b"\x10"


def _decode_deep_png(png: bytes) -> tuple[Image, tuple[str, ...]]:
    """Decode a PNG of 16 bits per channel to 8 bits; also return a note on its assumed range, if any."""
    import imagecodecs
    from PIL import Image

    samples = imagecodecs.png_decode(png)
    bits, note = detect_bit_depth(samples)
    return Image.fromarray(to_eight_bit(samples, bits)), (note,) if note else ()


@dataclass(frozen=True)
class ExifHints:
    """Camera and date of a photograph from its EXIF; empty if unknown.

    ``camera``: maker, model, lens and software in lower case; ``taken_on``: YYYY-MM-DD.
    """

    camera: str = ""
    taken_on: str = ""


def read_exif(path: Path) -> ExifHints:
    """Read date and camera of a photograph without decoding pixels; empty without readable EXIF."""
    try:
        with open_regular(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF is ignored
            kind = identify_format(file.read(HEAD_BYTES))
            if kind not in ("JPEG", "PNG", "WebP", "HEIC"):
                return ExifHints()
            file.seek(0)
            with open_lazily(file, kind) as image:
                return _read_hints(image.getexif())
    except DAMAGE_ERRORS:
        return ExifHints()


def _read_hints(exif: Exif) -> ExifHints:
    details = exif.get_ifd(_EXIF_IFD)
    texts = (exif.get(_MAKE), exif.get(_MODEL), details.get(_LENS), exif.get(_SOFTWARE))
    day = _DAY.match(str(details.get(_DATE_TIME_ORIGINAL) or exif.get(_DATE_TIME) or ""))
    camera = " ".join(text.strip("\0 ").lower() for text in texts if isinstance(text, str))
    return ExifHints(camera, "-".join(day.groups()) if day else "")
