"""What a file is, told by its first bytes and not by its name, and the bounds within which a photograph is read."""

from __future__ import annotations

import string
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_melanoma.core.errors import UnreadableImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import PixelSize

Modality = Literal["dermoscopic", "macroscopic", "tbp_tile"]
Format = Literal["JPEG", "PNG", "TIFF", "BMP", "WebP", "HEIC", "DICOM"]
# What Pillow, tifffile, pydicom and their codecs raise on bytes that they cannot make sense of.
DAMAGE_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(RuntimeError, struct.error, zlib.error),
)
HEAD_BYTES = 132
MIN_SIDE = 16  # a smaller image holds no lesion that could be outlined
MAX_PIXELS = 200_000_000  # the largest phone sensors; in RGB this is 600 MB, and decoding takes a few times as much
# The most pixels that a byte of a file can stand for: JPEG needs a bit for each block of 64, lossy WebP 3 for 256;
# deflate packs 1032:1, LZW about 1300:1 and run lengths 128:1, with a bit a pixel. Plain pixels may be cut off.
PIXELS_PER_BYTE = {"JPEG": 512, "WebP": 1000, "BMP": 1024, "PNG": 8256, "deflate": 10_400, "rle": 1024, "raw": 64}
_MOST_PIXELS_PER_BYTE = 50_000  # where the format has no bound; no photograph comes near
ALWAYS_READ = 1_000_000  # pixels; they take 3 MB, whatever the file claims
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
    """What a decoder hands back: uint8 (row, column, channel=3), upright sRGB, and what the file says about it.

    ``damage`` says what of the picture is missing or corrupt, and ``notes`` what was assumed when it was read.
    """

    rgb: NDArray[np.uint8]
    pixel_size: PixelSize | None = None
    modality: Modality | None = None
    damage: str | None = None
    notes: tuple[str, ...] = ()


def identify_format(head: bytes) -> Format | None:
    """Tell the format of a file from its first bytes.

    ``head``: the first ``HEAD_BYTES`` bytes, fewer where the file is shorter. Returns the format, or None where it is
    none that is read as a photograph.
    """
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
    if head[128:132] == b"DICM":
        return "DICOM"
    return "BMP" if head.startswith(b"BM") else None


def unknown_content_error(head: bytes) -> UnreadableImage:
    """Error for a file that is no photograph, saying what it looks like instead.

    ``head``: the first ``HEAD_BYTES`` bytes of the file.
    """
    if not head:
        return UnreadableImage("is empty (0 bytes), but an image was expected. Copy or export it again.")
    found = next((name for magic, name in _OTHER_FORMATS.items() if head.startswith(magic)), None)
    if found is None:
        text = all(chr(byte) in string.printable for byte in head)
        found = "text" if text else "data of a kind that is not known here"
    return UnreadableImage(
        f"holds {found}, but a JPEG, PNG, TIFF, BMP, WebP, HEIC or DICOM image was expected. "
        "Open the original image, or export it again as PNG."
    )


def check_image_size(width: int, height: int, smallest: int = MIN_SIDE) -> None:
    """Refuse an image that is too small or too large, before its pixels are decoded.

    ``width``, ``height``: in pixels, in either order. ``smallest``: pixels that each side has at least.
    """
    if min(width, height) < smallest:
        raise UnreadableImage(
            f"is {width} x {height} pixels, but a photograph has at least {smallest} on each side. "
            "Open the original instead of a thumbnail."
        )
    if width * height > MAX_PIXELS:
        raise UnreadableImage(
            f"is {width} x {height} pixels ({width * height / 1e6:.0f} million), but photographs are read up to "
            f"{MAX_PIXELS / 1e6:.0f} million. Crop it or scale it down; a slide is opened by a slide reader."
        )


def check_plausible(width: int, height: int, found: int, packing: str = "") -> None:
    """Refuse an image that claims more pixels than its data can hold, before memory for them is taken.

    ``width``, ``height``: in pixels, in either order. ``found``: bytes of data in the file.
    """
    most = max(ALWAYS_READ, found * PIXELS_PER_BYTE.get(packing, _MOST_PIXELS_PER_BYTE))
    if width * height > most:
        raise UnreadableImage(
            f"claims {width} x {height} pixels, which {found} bytes of data cannot hold: its header is damaged, or "
            "most of its data are missing. Copy or export it again."
        )
