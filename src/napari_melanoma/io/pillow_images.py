"""Decoding of JPEG, PNG, BMP, WebP and HEIC with Pillow, and date and camera from EXIF."""

from __future__ import annotations

import io
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.files import open_regular
from napari_melanoma.io import image_damage, jpeg_damage
from napari_melanoma.io.color_conversion import (
    apply_orientation,
    find_value_range,
    note_invisible,
    to_eight_bit,
    to_srgb8,
)
from napari_melanoma.io.formats import (
    DAMAGE_ERRORS,
    HEAD_BYTES,
    MIN_SIDE,
    UPRIGHT,
    DecodedPhotograph,
    Format,
    check_accepted,
    check_image_size,
    identify_format,
)
from napari_melanoma.io.image_damage import check_plausible

if TYPE_CHECKING:
    from PIL.Image import Exif, Image
    from PIL.ImageFile import ImageFile

_ORIENTATION_TAG = 0x0112
_PNG_DEPTH_OFFSET = 24
_PNG_HEADER_BYTES = 33
_DEEP = 16  # bits per channel
_WITH_ALPHA = (2, 4)  # channels of gray and of colors with opacity
_JPEG_END = b"\xff\xd9"
_TRUNCATED_LOCK = threading.Lock()

_MAKE, _MODEL, _SOFTWARE, _DATE_TIME = 0x010F, 0x0110, 0x0131, 0x0132
_EXIF_IFD, _DATE_TIME_ORIGINAL, _LENS = 0x8769, 0x9003, 0xA434
_INTEROP_IFD, _INTEROP_INDEX = 0xA005, 1
_SRGB_GAMMA, _GAMMA_TOLERANCE = 1 / 2.2, 0.03
_DAY = re.compile(r"((?:19|20)\d\d)[:-](\d\d)[:-](\d\d)")


def decode(file: IO[bytes], kind: Format, accept_damaged: bool = False) -> DecodedPhotograph:
    """Decode a photograph; raise ``DamagedImage`` for a damaged one, unless this is accepted.

    The resolution (dots per inch) in these formats is that of a print, not of the skin, and is ignored. The result has
    no pixel size and no modality.
    """
    content, damage = read_checked(file, kind)
    check_accepted(damage, accept_damaged)
    with _open_decoded(content, kind, damage) as image:
        profile = image.info.get("icc_profile")
        orientation = _read_orientation(image)
        is_deep = kind == "PNG" and content[_PNG_DEPTH_OFFSET] == _DEEP
        frames = getattr(image, "n_frames", 1)
        pixels, notes = _decode_deep_png(image, content, damage) if is_deep else (_without_inversion(image), ())
        notes += (*note_invisible(pixels), *(() if profile else _note_color_space(image)))
        if frames > 1:
            notes += (f"only one of {frames} pictures in the file was read",)
        return DecodedPhotograph(apply_orientation(to_srgb8(pixels, profile), orientation), damage=damage, notes=notes)


def _note_color_space(image: ImageFile) -> tuple[str, ...]:
    """Return the note on colors that are not sRGB by an image without a profile; none for other images."""
    gamma = image.info.get("gamma")
    if gamma and "srgb" not in image.info and abs(gamma - _SRGB_GAMMA) > _GAMMA_TOLERANCE:
        return (f"the file states a gamma of {1 / gamma:.2g} without a profile, but its colors were read as sRGB",)
    try:
        is_adobe = str(image.getexif().get_ifd(_INTEROP_IFD).get(_INTEROP_INDEX, "")).strip("\0 ") == "R03"
    except DAMAGE_ERRORS:
        return ()
    return ("the file states Adobe RGB without a profile, but its colors were read as sRGB",) if is_adobe else ()


def _without_inversion(image: Image) -> Image:
    """Return the inks of a CMYK JPEG: Pillow inverts them always, but only Adobe's files store them inverted."""
    from PIL import ImageChops

    is_inverted = image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info
    return ImageChops.invert(image) if is_inverted else image


def read_checked(file: IO[bytes], kind: Format, smallest: int = MIN_SIDE) -> tuple[bytes, str | None]:
    """Read a file and check the size of its image from the header, and its data for damage.

    ``smallest``: minimum of each side in pixels. Returns the bytes, and a description of the damage.
    """
    width, height = stored_size(file, kind)
    check_image_size(width, height, smallest)
    file.seek(0)
    content = file.read()
    check_plausible(width, height, len(content), _packing(content, kind))
    checks = {
        "JPEG": jpeg_damage.find_damage,
        "PNG": image_damage.find_png_damage,
        "BMP": _find_bmp_damage,
        "WebP": image_damage.find_webp_damage,
        "HEIC": image_damage.find_heif_damage,
    }
    return content, checks[kind](content)


def _find_bmp_damage(content: bytes) -> str | None:
    """Describe missing rows of a BMP; of uncompressed ones by Pillow's error."""
    if image_damage.has_run_lengths(content):
        return image_damage.find_run_length_damage(content)
    try:
        open_lazily(io.BytesIO(content), "BMP").load()
    except DAMAGE_ERRORS as error:
        return str(error)
    return None


def open_undamaged(file: IO[bytes], kind: Format) -> ImageFile:
    """Open an image that is not a photograph, such as a mask; raise ``ValueError`` if it is damaged."""
    content, damage = read_checked(file, kind, smallest=1)
    if damage:
        raise ValueError(damage)
    return open_lazily(io.BytesIO(content), kind)


def read_opaque_values(image: Image, mode: str) -> NDArray:
    """Return the samples of an image that is not a photograph, in a mode without opacity; 0 where it is transparent.

    They are upright by the orientation that the file states.
    """
    orientation = _read_orientation(image)
    if not image.has_transparency_data:
        return apply_orientation(np.asarray(image.convert(mode)), orientation)
    rgba = image.convert("RGBA")  # an opacity channel, or tRNS of a palette or of one color
    values = np.asarray(image if image.mode == mode else rgba.convert(mode))
    return apply_orientation(clear_transparent(values, np.asarray(rgba.getchannel("A"))), orientation)


def clear_transparent(values: NDArray, opacity: NDArray[np.integer]) -> NDArray:
    """Return samples with 0 where the image is transparent: programs keep arbitrary color there.

    Opacity below half of the largest counts as transparent, as an overlay may be saved at half opacity.

    ``values``: (row, column) or (row, column, channel). ``opacity``: (row, column).
    """
    largest = max(int(opacity.max(initial=0)), 1)
    cleared = np.array(values)
    cleared[opacity < (largest + 1) // 2] = 0
    return cleared


def _open_decoded(content: bytes, kind: Format, damage: str | None) -> ImageFile:
    """Open an image and decode its pixels, so that later only reading its EXIF can fail.

    ``damage``: description of known damage; missing parts of such a JPEG are gray, those of a PNG or BMP black.
    """
    try:
        # libjpeg pads data up to an end marker, which may be missing from an intact JPEG as well
        file = io.BytesIO(content + _JPEG_END if kind == "JPEG" else content)
        with _reading_truncated() if damage and kind in ("PNG", "BMP") else nullcontext():
            image = open_lazily(file, kind)
            image.load()
    except DAMAGE_ERRORS:
        if damage is None:
            raise
        raise UnreadableImage(
            f"is damaged: {damage}, and the rest cannot be decoded. Copy or export it again."
        ) from None
    return image


class _OneThread:
    """A value for a setting of a whole process that is true in the thread that created it only, until it is closed."""

    def __init__(self) -> None:
        self._thread: int | None = threading.get_ident()

    def __bool__(self) -> bool:
        return threading.get_ident() == self._thread

    def close(self) -> None:
        self._thread = None


@contextmanager
def _reading_truncated() -> Iterator[None]:
    """Make Pillow decode the present part of truncated images in this thread.

    Pillow has one setting for the process, with which other threads would read damaged images without an error.
    """
    from PIL import ImageFile

    with _TRUNCATED_LOCK:
        before, tolerant = ImageFile.LOAD_TRUNCATED_IMAGES, _OneThread()
        ImageFile.LOAD_TRUNCATED_IMAGES = tolerant  # type: ignore[assignment]
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before
            tolerant.close()


def stored_size(file: IO[bytes], kind: Format) -> tuple[int, int]:
    """Read width and height of an image in pixels from its header."""
    if kind == "PNG":  # Pillow also decompresses text, and refuses damaged text, before the pixels
        head = file.read(_PNG_HEADER_BYTES)
        if len(head) < _PNG_HEADER_BYTES or head[12:16] != b"IHDR":
            raise SyntaxError("its header is incomplete")
        width, height = struct.unpack_from(">II", head, 16)
        return width, height
    with open_lazily(file, kind) as image:
        return image.size


def _packing(content: bytes, kind: Format) -> str:
    """Return the key of ``image_damage.PIXELS_PER_BYTE`` for a file.

    It is empty for a compression in which a uniform image takes nearly no data.
    """
    if kind == "JPEG":
        return "" if jpeg_damage.JpegStream.parse(content).is_arithmetic else kind
    if kind == "BMP":
        return kind if image_damage.has_run_lengths(content) else "raw"
    return "" if kind == "WebP" and content[12:16] != b"VP8 " else kind


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


def _read_orientation(image: Image) -> int:
    """Return the EXIF orientation of an image; 1 (upright) if the EXIF block is malformed."""
    try:
        return image.getexif().get(_ORIENTATION_TAG, UPRIGHT)
    except DAMAGE_ERRORS:
        return UPRIGHT


def read_orientation(file: IO[bytes], kind: Format) -> int:
    """Read the EXIF orientation of an image; 1 if it is upright."""
    with open_lazily(file, kind) as image:
        return _read_orientation(image)


def is_deep_png(path: Path) -> bool:
    """Whether a PNG has 16 bits per channel."""
    with path.open("rb") as file:
        return file.read(_PNG_HEADER_BYTES)[_PNG_DEPTH_OFFSET] == _DEEP


def is_plain(content: bytes, kind: Format) -> bool:
    """Whether a file has a format, and all programs show it alike: 8 bits, upright, opaque, without a color profile.

    ``kind``: JPEG or PNG.
    """
    if identify_format(content[:HEAD_BYTES]) != kind or (kind == "PNG" and content[_PNG_DEPTH_OFFSET] == _DEEP):
        return False
    with open_lazily(io.BytesIO(content), kind) as image:
        is_opaque = image.mode in ("RGB", "L") and not image.has_transparency_data
        return is_opaque and "icc_profile" not in image.info and _read_orientation(image) == UPRIGHT


def _decode_deep_png(image: Image, png: bytes, damage: str | None) -> tuple[Image, tuple[str, ...]]:
    """Decode a PNG of 16 bits per channel to 8 bits; also return a note on its assumed range, if any.

    ``image``: as decoded by Pillow, which reduces channels of colors to 8 bits; used for a damaged PNG.
    """
    import imagecodecs
    from PIL import Image as PillowImage

    if damage and not image.mode.startswith("I;16"):
        return image, ()
    samples = np.asarray(image) if damage else imagecodecs.png_decode(png)
    values = find_value_range(samples, has_alpha=samples.ndim == 3 and samples.shape[2] in _WITH_ALPHA)
    return PillowImage.fromarray(to_eight_bit(samples, values)), (values.note,) if values.note else ()


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
