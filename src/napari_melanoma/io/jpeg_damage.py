"""Integrity check of JPEG, from the warnings of libjpeg and the result of decoding.

libjpeg fills missing scan data with gray and only warns, and Pillow does not forward the warnings. simplejpeg reports
the last warning. It is therefore given a copy of the stream without the causes of warnings for intact images: JFIF
version, Adobe and ICC segments, a missing end marker, spectral limits of a sequential scan.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import UnreadableImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SOI, _EOI, _SOS, _DRI, _DQT, _DHT, _DAC = 0xD8, 0xD9, 0xDA, 0xDD, 0xDB, 0xC4, 0xCC
_END = b"\xff\xd9"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, _DAC}
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1, 0xC9), (0xC2, 0xCA)
_MARKERS_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)  # ends entropy-coded data
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_WARNINGS = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression")
_MAX_EXTRANEOUS = 16  # bytes of padding before the end marker; 0.5 % of any photograph takes more bytes
_MAX_FLAT_SHARE = 0.005  # of a picture that may have the color of its last pixel at its end, if followed by padding
# Optimized tables give areas of one color codes of one bit, so that a zero byte encodes two blocks or more. Runs of up
# to 13 occur in a sample of real photographs, and of up to 39 after re-encoding.
ZEROS = bytes(64)
_FILL_VALUE = 128  # of blocks without data, by libjpeg
_EIGHTH = {"min_height": 1, "min_width": 1, "min_factor": 8}  # of the size: all bits are read, few pixels are computed


@dataclass(frozen=True)
class JpegScan:
    """A scan: its components, the range of its coefficients, and the bit positions of successive approximation."""

    components: tuple[int, ...]
    first: int
    last: int
    high_bit: int
    low_bit: int


@dataclass
class JpegStream:
    """The segments of a JPEG up to its end marker, as far as they are complete.

    ``parts``: segments and data that determine the pixels; ``has_end_marker``: whether an end marker follows;
    ``frame``: marker of the frame. ``frame``, ``precision``, ``height`` and ``width`` are 0 without a frame header.
    """

    parts: list[bytes] = field(default_factory=list)
    scans: list[JpegScan] = field(default_factory=list)
    has_end_marker: bool = False
    frame: int = 0
    precision: int = 0
    height: int = 0
    width: int = 0
    components: tuple[int, ...] = ()

    @classmethod
    def parse(cls, content: bytes) -> JpegStream:
        """Find the segments of a JPEG, up to the first incomplete one.

        Data after the end marker (further pictures of a phone, padding) are not read.
        """
        stream = cls()
        position = 2
        while (position := content.find(b"\xff", position)) >= 0:
            while position < len(content) and content[position] == 0xFF:  # fill bytes
                position += 1
            if position >= len(content):
                return stream
            marker, position = content[position], position + 1
            if marker == _EOI:
                stream.has_end_marker = True
                return stream
            if marker in _MARKERS_WITHOUT_LENGTH or marker == 0:
                continue
            length = int.from_bytes(content[position : position + 2], "big")
            if length < 2 or position + length > len(content):
                return stream
            body = content[position + 2 : position + length]
            position += length
            if marker == _SOS:
                next_marker = _NEXT_MARKER.search(content, position)
                data_end = next_marker.start() if next_marker else len(content)
                stream._add_scan(body, content[position:data_end])
                position = data_end
            else:
                stream._add(marker, body)
        return stream

    @property
    def is_arithmetic(self) -> bool:
        """Whether the data are arithmetic coded, so that a uniform image takes nearly no bytes."""
        return self.frame >= 0xC8

    def stripped(self, left_out: int | None = None) -> bytes:
        """Return the stream without segments that do not affect its entropy-coded data, with an end marker.

        ``left_out``: number of bytes to leave out at the end.
        """
        parts = b"".join(self.parts)
        return b"\xff\xd8" + (parts[:-left_out] if left_out else parts) + _END

    def missing_scans(self) -> str | None:
        """Describe which color components or details are missing because they are in no scan; None if complete.

        A sequential JPEG may have a scan for each of its components.
        """
        scanned = {name for scan in self.scans for name in scan.components}
        if missing := len(set(self.components) - scanned):
            return f"the data of {missing} of its {len(self.components)} color components are missing"
        if self.frame not in _PROGRESSIVE:
            return None
        missing_bits = {name: [99] * 64 for name in self.components}  # of each coefficient
        for scan in self.scans:
            for name in scan.components:
                missing_bits.get(name, [])[scan.first : scan.last + 1] = [scan.low_bit] * (scan.last + 1 - scan.first)
        if all(bits == 0 for coefficients in missing_bits.values() for bits in coefficients):
            return None
        return f"the stream ends after {len(self.scans)} of its scans, so details of the whole picture are missing"

    def _add(self, marker: int, body: bytes) -> None:
        if marker in _FRAMES and len(body) >= 6 and not self.frame:
            self.frame, self.precision = marker, body[0]
            self.height, self.width = (int.from_bytes(body[start : start + 2], "big") for start in (1, 3))
            self.components = tuple(body[6 : 6 + 3 * body[5] : 3])
        if marker in _FRAMES or marker in (_DQT, _DHT, _DAC, _DRI):
            self.parts.append(_encode_segment(marker, body))

    def _add_scan(self, header: bytes, data: bytes) -> None:
        count = header[0] if header else 0
        names, limits = tuple(header[1 : 1 + 2 * count : 2]), header[1 + 2 * count : 4 + 2 * count]
        if len(limits) == 3:
            self.scans.append(JpegScan(names, limits[0], min(limits[1], 63), limits[2] >> 4, limits[2] & 15))
            if self.frame in _SEQUENTIAL:  # some cameras write other limits, about which libjpeg only warns
                header = header[: 1 + 2 * count] + b"\x00\x3f\x00"
        self.parts += [_encode_segment(_SOS, header), data.rstrip(b"\xff")]


def find_damage(content: bytes) -> str | None:
    """Check that the entropy-coded data of a JPEG cover its picture; return a description of damage, None without it.

    Trailing bytes, further pictures, a missing end marker and unusual segments do not count as damage.
    """
    stream = JpegStream.parse(content)
    if stream.precision not in (0, 8):
        raise UnreadableImage(
            f"is a JPEG of {stream.precision} bits per sample, but only 8 are supported for JPEG. Export it as PNG or "
            "TIFF."
        )
    if not stream.scans:
        return "no picture data were found"
    return _find_fault(stream) or stream.missing_scans() or _find_zero_run(stream)


def _find_fault(stream: JpegStream) -> str | None:
    """Describe errors in the entropy-coded data that libjpeg warns of; None if there are none."""
    stripped = stream.stripped()
    warning = _libjpeg_warning(stripped)
    if warning is None:
        return None
    extraneous = _EXTRANEOUS.search(warning)
    if extraneous and _is_padding(stream, int(extraneous[1])):
        return None
    eighth = _decode_eighth(stripped)
    if eighth is None:
        return f"its compressed data are corrupt ({warning})"
    rows = _count_rows_with_data(eighth) * stream.height // len(eighth)
    if rows == 0:
        raise UnreadableImage(
            f"is damaged: none of its {stream.height} rows could be decoded. Copy or export it again."
        )
    if rows < stream.height:
        percent = math.ceil(100 * (1 - rows / stream.height))
        fault = f"{percent} % of the picture is missing: {rows} of {stream.height} rows could be decoded"
        return f"{fault}; rows above may be wrong too" if stream.has_end_marker else fault
    filled = float((eighth == _FILL_VALUE).all(axis=2).mean())
    share = f"at least {100 * filled:.2g} %" if filled > 0.01 else "an unknown part"
    reason = warning.removeprefix("Corrupt JPEG data: ")
    return f"its compressed data are corrupt ({reason}): {share} of the picture is wrong"


def _find_zero_run(stream: JpegStream) -> str | None:
    """Describe a run of zeros that overwrote data, without a warning of libjpeg; None if there is none.

    In an intact image such a run encodes a uniform area of at least as many blocks.
    """
    data = b"".join(stream.parts)
    if ZEROS not in data:
        return None
    longest = max(map(len, re.findall(rb"\x00{%d,}" % len(ZEROS), data)))
    eighth = _decode_eighth(stream.stripped())
    if eighth is None or int((eighth[:, 1:] == eighth[:, :-1]).all(axis=2).sum()) >= longest:
        return None
    return f"its compressed data are corrupt (a run of {longest} zero bytes): an unknown part of the picture is wrong"


def _is_padding(stream: JpegStream, count: int) -> bool:
    """Whether the last ``count`` bytes before the end marker are padding, as some cameras write it."""
    if _libjpeg_warning(stream.stripped(count)) is not None:
        return False
    if len(set(b"".join(stream.parts)[-count:])) > 1:
        return False
    if count <= _MAX_EXTRANEOUS or stream.frame not in _SEQUENTIAL:
        return count <= _MAX_EXTRANEOUS
    # Overwritten with zeros, the end of a picture decodes to a uniform area in few bits, and most zeros are left over.
    eighth = _decode_eighth(stream.stripped())
    return eighth is not None and _flat_end_share(eighth) < _MAX_FLAT_SHARE


def _libjpeg_warning(content: bytes) -> str | None:
    """Return the last warning of libjpeg about a stream; None without warnings, or if it cannot decode such streams."""
    import simplejpeg

    try:
        simplejpeg.decode_jpeg(content, _color_space(content), **_EIGHTH, strict=True)
    except ValueError as error:
        message = str(error)
        return message if message.startswith(_WARNINGS) else None
    return None


def _decode_eighth(content: bytes) -> NDArray[np.uint8] | None:
    """Decode a stream at an eighth of its size as far as possible: uint8 (row, column, channel); None if impossible."""
    import simplejpeg

    try:
        return simplejpeg.decode_jpeg(content, _color_space(content), **_EIGHTH, strict=False)
    except ValueError:
        return None


def _color_space(content: bytes) -> str:
    """Return the color space to which a stream is decoded, with as little conversion as libjpeg allows."""
    import simplejpeg

    try:
        stored = simplejpeg.decode_jpeg_header(content, strict=False)[2]
    except ValueError:
        return "RGB"
    return {"Gray": "GRAY", "CMYK": "CMYK", "YCCK": "CMYK"}.get(stored, "RGB")


def _count_rows_with_data(image: NDArray[np.uint8]) -> int:
    """Count the rows up to the last one that libjpeg has not filled."""
    with_data = (image != _FILL_VALUE).any(axis=(1, 2)).nonzero()[0]
    return int(with_data[-1]) + 1 if with_data.size else 0


def _flat_end_share(image: NDArray[np.uint8]) -> float:
    """Return the share of an image at its end, in reading order, with the color of its last pixel."""
    pixels = image.reshape(-1, image.shape[2])
    different = (pixels != pixels[-1]).any(axis=1).nonzero()[0]
    return 1 - (int(different[-1]) + 1 if different.size else 0) / len(pixels)


def _encode_segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body
