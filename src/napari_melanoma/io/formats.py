"""What all decoders of photographs share: recognition of formats by their first bytes, size limits, and the result."""

from __future__ import annotations

import string
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_melanoma.core.errors import DamagedImage, UnreadableImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import PixelSize

Modality = Literal["dermoscopic", "macroscopic", "tbp_tile"]
Format = Literal["JPEG", "PNG", "TIFF", "BMP", "WebP", "HEIC", "DICOM"]
# Errors that Pillow, tifffile, pydicom and their codecs raise for damaged files.
DAMAGE_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(RuntimeError, struct.error, zlib.error),
)
TRUTH_SUFFIX = ".truth.json"  # of the file of the ground truth beside a phantom
HEAD_BYTES = 132
UPRIGHT = 1  # EXIF orientation
MIN_SIDE = 16  # no lesion can be outlined in a smaller image
MAX_PIXELS = 200_000_000  # of the largest phone sensors: 600 MB in RGB, and decoding takes a few times as much memory
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OTHER_FORMATS = {
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive or an office document",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image",
    b"\x1f\x8b": "gzip-compressed data",
}


@dataclass(frozen=True)
class DecodedPhotograph:
    """Result of a decoder: uint8 (row, column, channel=3), upright sRGB, and metadata of the file.

    ``damage``: description of missing or corrupt parts; ``notes``: assumptions made in reading.
    """

    rgb: NDArray[np.uint8]
    pixel_size: PixelSize | None = None
    modality: Modality | None = None
    damage: str | None = None
    notes: tuple[str, ...] = ()


def identify_format(head: bytes) -> Format | None:
    """Recognize the format of a file by its first bytes; None if it is not supported for photographs.

    ``head``: the first ``HEAD_BYTES`` bytes, fewer for a shorter file.
    """
    if head[128:132] == b"DICM":  # first: the preamble may be the header of a TIFF (DICOM PS3.10, 7.1)
        return "DICOM"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(_TIFF_MAGIC):
        return "TIFF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "HEIC"
    return "BMP" if head.startswith(b"BM") else None


def unknown_content_error(head: bytes) -> UnreadableImage:
    """Create the error for a file that is not a photograph, with a guess of its type.

    ``head``: the first ``HEAD_BYTES`` bytes of the file.
    """
    if not head:
        return UnreadableImage("is empty (0 bytes), but an image was expected. Copy or export it again.")
    content = next((name for magic, name in _OTHER_FORMATS.items() if head.startswith(magic)), None)
    if content is None:
        is_text = all(chr(byte) in string.printable for byte in head)
        content = "text" if is_text else "data of an unknown type"
    return UnreadableImage(
        f"holds {content}, but a JPEG, PNG, TIFF, BMP, WebP, HEIC or DICOM image was expected. "
        "Open the original image, or export it again as PNG."
    )


def check_image_size(width: int, height: int, smallest: int = MIN_SIDE) -> None:
    """Raise an error for an image that is too small or too large; called before its pixels are decoded.

    ``width``, ``height``: in pixels, in either order. ``smallest``: minimum of each side in pixels.
    """
    if min(width, height) < smallest:
        raise UnreadableImage(
            f"is {width} x {height} pixels, but a photograph must have at least {smallest} on each side. "
            "Open the original instead of a thumbnail."
        )
    if width * height > MAX_PIXELS:
        raise UnreadableImage(
            f"is {width} x {height} pixels ({width * height / 1e6:.0f} million), but photographs are limited to "
            f"{MAX_PIXELS / 1e6:.0f} million. Crop or downscale it; open slides with a slide reader."
        )


def check_accepted(damage: str | None, accept_damaged: bool) -> None:
    """Raise an error for a damaged photograph, unless this is accepted; ``damage``: its description, if any."""
    if damage and not accept_damaged:
        raise DamagedImage(
            f"is damaged: {damage}. Copy or export it again. To read the remaining part, which marks every result, "
            "open it in the Lesion, Case or Review dock (Python: accept_damaged=True, command line: "
            "--accept-damaged).",
            damage,
        )
