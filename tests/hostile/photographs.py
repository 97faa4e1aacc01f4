"""Photographs in all supported formats, and ways to damage them; pure functions of a random generator."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable

import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

Random = np.random.Generator

_PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"
_PILLOW = {
    "jpeg": {"format": "JPEG", "quality": 88},
    "jpeg progressive": {"format": "JPEG", "quality": 88, "progressive": True},
    "jpeg optimized": {"format": "JPEG", "quality": 70, "optimize": True, "subsampling": 0},
    "jpeg restart": {"format": "JPEG", "quality": 88, "restart_marker_rows": 1},
    "png": {"format": "PNG"},
    "bmp": {"format": "BMP"},
    "webp": {"format": "WEBP", "quality": 85},
    "webp lossless": {"format": "WEBP", "lossless": True},
}
_TIFF = {
    "tiff": {"rowsperstrip": 10_000},
    "tiff strips": {"rowsperstrip": 16},
    "tiff lzw": {"compression": "lzw", "rowsperstrip": 32},
    "tiff deflate": {"compression": "zlib", "predictor": True, "rowsperstrip": 32},
    "tiff packbits": {"compression": "packbits", "rowsperstrip": 32},
    "tiff jpeg": {"compression": "jpeg", "rowsperstrip": 32},
    "tiff tiles": {"tile": (64, 64), "compression": "zlib"},
}
KINDS = (
    *_PILLOW, "jpeg gray", "jpeg cmyk", "jpeg no end", "png gray", "png 16", "heic", *_TIFF,
    "dicom", "dicom jpeg", "dicom jpeg2000", "dicom rle",
)  # fmt: skip
# No checksum, and every value is a color: zeroed, swapped or flipped bytes are undetectable.
UNCHECKED = ("bmp", "tiff", "tiff strips", "dicom")


def encoded(kind: str, rgb: np.ndarray) -> bytes:
    """Encode a picture, uint8 (row, column, channel=3), as one of ``KINDS``."""
    if kind in _TIFF:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, rgb, photometric="rgb", metadata=None, **_TIFF[kind])
        return buffer.getvalue()
    if kind.startswith("dicom"):
        return _dicom(kind, rgb)
    if kind == "png 16":
        return bytes(imagecodecs.png_encode(rgb.astype(np.uint16) * 257))
    image, buffer = Image.fromarray(rgb), io.BytesIO()
    if kind == "heic":
        pillow_heif.from_pillow(image).save(buffer, quality=80)
    elif kind == "png gray":
        return bytes(imagecodecs.png_encode(np.asarray(image.convert("L"))))
    elif kind in ("jpeg gray", "jpeg cmyk"):
        image.convert("L" if kind == "jpeg gray" else "CMYK").save(buffer, "JPEG", quality=88)
    elif kind == "jpeg no end":
        image.save(buffer, "JPEG", quality=88)
        return buffer.getvalue()[:-2]
    else:
        image.save(buffer, **_PILLOW[kind])
    return buffer.getvalue()


def zeroed(content: bytes, random: Random) -> bytes:
    """Set a range of 2 to 40 % of the file to zero."""
    start, stop = _range(content, random)
    return content[:start] + bytes(stop - start) + content[stop:]


def cut(content: bytes, random: Random) -> bytes:
    """Cut the file off at a random place behind its head."""
    return content[: random.integers(_head(content), len(content))]


def ended_early(content: bytes, random: Random) -> bytes:
    """Cut a JPEG off and end it properly, wherever it is inside of the file; cut another format off."""
    end = content.rfind(b"\xff\xd9")
    if b"\xff\xd8\xff" not in content[: len(content) // 2] or end < 0:
        return cut(content, random)
    place = int(random.integers(_head(content), end))
    return content[:place] + b"\xff\xd9" + content[end + 2 :]


def swapped(content: bytes, random: Random) -> bytes:
    """Swap two blocks of 2 to 10 % of the file behind its head."""
    head = _head(content)
    size = max(8, int((len(content) - head) * random.uniform(0.02, 0.1)))
    first = int(random.integers(head, max(head + 1, len(content) - 2 * size)))
    second = int(random.integers(first + size, max(first + size + 1, len(content) - size)))
    one, other = content[first : first + size], content[second : second + size]
    return content[:first] + other + content[first + size : second] + one + content[second + size :]


def without_interval(content: bytes, random: Random) -> bytes:
    """Drop a restart interval of a JPEG; drop 1 to 10 % of the bytes of another."""
    markers = [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7]", content)]
    if len(markers) > 3 and content.startswith(b"\xff\xd8"):
        first = int(random.integers(0, len(markers) - 1))
        return content[: markers[first]] + content[markers[first + 1] :]
    head = _head(content)
    size = max(4, int((len(content) - head) * random.uniform(0.01, 0.1)))
    start = int(random.integers(head, len(content) - size))
    return content[:start] + content[start + size :]


def flipped(content: bytes, random: Random) -> bytes:
    """Flip 1 to 20 bits behind the head."""
    damaged = bytearray(content)
    for place in random.integers(_head(content), len(content), random.integers(1, 21)):
        damaged[place] ^= 1 << int(random.integers(8))
    return bytes(damaged)


def padded(content: bytes, random: Random) -> bytes:
    """Add bytes behind the file, which costs the picture nothing."""
    return content + random.choice([bytes(1), bytes(4096), random.bytes(700), b"\xff\xd8\xff\xe0 a preview"])


DAMAGES: dict[str, Callable[[bytes, Random], bytes]] = {
    "zeroed": zeroed,
    "cut": cut,
    "ended early": ended_early,
    "swapped": swapped,
    "without interval": without_interval,
    "flipped": flipped,
    "padded": padded,
}


def damaged(kind: str, content: bytes, random: Random) -> bytes:
    """Damage an encoded image in one of ``DAMAGES``."""
    return DAMAGES[kind](content, random)


def _head(content: bytes) -> int:
    """Where the head of a file ends, for damage to it is met by what reads headers, not by what counts pixels."""
    if content.startswith(b"\xff\xd8"):
        return content.find(b"\xff\xda") + 14
    if content[128:132] == b"DICM":
        return max(content.find(b"\xe0\x7f\x10\x00"), 132) + 40
    if content.startswith(b"\x89PNG"):
        return content.find(b"IDAT") + 6
    if content[4:8] == b"ftyp":
        return content.find(b"mdat") + 200
    return min(700, len(content) // 4)


def _range(content: bytes, random: Random) -> tuple[int, int]:
    head = _head(content)
    size = int((len(content) - head) * random.uniform(0.02, 0.4))
    start = int(random.integers(head, len(content) - size))
    return start, start + size


def _dicom(kind: str, rgb: np.ndarray) -> bytes:
    """A visible light photograph in DICOM."""
    syntax, photometric, data = ExplicitVRLittleEndian, "RGB", rgb.tobytes()
    if kind == "dicom jpeg":
        syntax, photometric = JPEGBaseline8Bit, "YBR_FULL_422"
        data = encapsulate([bytes(imagecodecs.jpeg8_encode(rgb, level=88))])
    elif kind == "dicom jpeg2000":
        syntax, photometric = JPEG2000Lossless, "YBR_RCT"
        data = encapsulate([bytes(imagecodecs.jpeg2k_encode(rgb, reversible=True, codecformat="j2k", mct=True))])
    elif kind == "dicom rle":
        syntax, data = RLELossless, encapsulate([_run_lengths(rgb)])
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = _PHOTOGRAPHIC, "1.2.3", "XC"
    dataset.Rows, dataset.Columns = rgb.shape[:2]
    dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PixelRepresentation = 3, 0, 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelData = data
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _run_lengths(rgb: np.ndarray) -> bytes:
    """A frame in the run lengths of DICOM: a segment a channel, each row packed by itself."""
    segments = []
    for channel in range(3):
        packed = b"".join(bytes(imagecodecs.packbits_encode(row.tobytes())) for row in rgb[..., channel])
        segments.append(packed + bytes(len(packed) % 2))
    starts = [64 + sum(map(len, segments[:number])) for number in range(3)]
    return struct.pack("<16L", 3, *starts, *[0] * 12) + b"".join(segments)
