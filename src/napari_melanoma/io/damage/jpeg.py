"""Whether a JPEG is whole: libjpeg decodes its entropy-coded segments and its warnings are taken as what they are.

libjpeg fills missing scan data with gray and only warns, and Pillow does not pass the warnings on. simplejpeg does, but
names the last of them alone; therefore it is given a copy of the stream without all that libjpeg may warn of although
the picture is whole (JFIF version, Adobe and ICC segments, a missing end marker, spectral limits of a sequential scan).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.io.damage.integrity import IntegrityCheck, describe_missing_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ZEROS", "JpegStream", "check"]

_SOI, _EOI, _SOS, _DRI, _DQT, _DHT, _DAC = 0xD8, 0xD9, 0xDA, 0xDD, 0xDB, 0xC4, 0xCC
_END = b"\xff\xd9"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, _DAC}
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1, 0xC9), (0xC2, 0xCA)
_MARKERS_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)  # ends entropy-coded data
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_WARNINGS = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression")
_MAX_EXTRANEOUS = 16  # of padding before the end marker; fewer than any 0.5 % of a photograph takes
_MAX_FLAT_SHARE = (
    0.005  # share of a picture that may be one flat run at its end, where padding stands before the end marker
)
# Optimized tables give areas of one color codes of a bit, so that a byte of zeros stands for two blocks or more. Runs
# of up to 13 occur in a sample of real photographs, and of up to 39 where these are encoded again.
ZEROS = bytes(64)
_UNKNOWN = 128  # what libjpeg fills blocks without data with
_SMALL = {"min_height": 1, "min_width": 1, "min_factor": 8}  # an eighth: all bits are read, few pixels are made


@dataclass
class JpegStream:
    """The segments of a JPEG up to its end marker, as far as they are complete.

    ``kept`` are the parts that the pixels follow from; ``end`` is where the last complete part ends, and ``ended``
    whether an end marker follows there. What a frame header says is 0 where there is none.
    """

    kept: list[bytes] = field(default_factory=list)
    scans: list[tuple[tuple[int, ...], int, int, int, int]] = field(default_factory=list)
    end: int = 2
    has_end_marker: bool = False
    frame: int = 0
    precision: int = 0
    height: int = 0
    width: int = 0
    components: tuple[int, ...] = ()

    @classmethod
    def parse(cls, content: bytes) -> JpegStream:
        """Find the segments of a JPEG; stops where one is cut off.

        Parameters
        ----------
        content : bytes
            From the start marker on; what follows the end marker (other pictures of a phone, padding) is not read.

        Returns
        -------
        JpegStream
            Empty where there is no complete segment.
        """
        stream = cls()
        place = 2
        while (place := content.find(b"\xff", place)) >= 0:
            while place < len(content) and content[place] == 0xFF:  # fill bytes
                place += 1
            if place >= len(content):
                return stream
            marker, place = content[place], place + 1
            if marker == _EOI:
                stream.has_end_marker = True
                return stream
            if marker in _MARKERS_WITHOUT_LENGTH or marker == 0:
                continue
            length = int.from_bytes(content[place : place + 2], "big")
            if length < 2 or place + length > len(content):
                return stream
            body = content[place + 2 : place + length]
            place += length
            if marker == _SOS:
                found = _NEXT_MARKER.search(content, place)
                until = found.start() if found else len(content)
                stream._add_scan(body, content[place:until])
                place = until
            else:
                stream._add(marker, body)
            stream.end = place
        return stream

    @property
    def is_arithmetic(self) -> bool:
        """Whether it is arithmetic coded, so that a picture of one color takes nearly no bytes."""
        return self.frame >= 0xC8

    def stripped(self, last: int | None = None) -> bytes:
        """Return the stream without what has no influence on its entropy-coded data, with an end marker.

        Parameters
        ----------
        last : int, optional
            How many bytes to leave out at the end.

        Returns
        -------
        bytes
            A JPEG.
        """
        parts = b"".join(self.kept)
        return b"\xff\xd8" + (parts[:-last] if last else parts) + _END

    def missing_scans(self) -> str | None:
        """Return which part of the coefficients no scan holds.

        Returns
        -------
        str or None
            None where there is one for each; a sequential JPEG may have a scan for each of its components.
        """
        scanned = {name for names, *_ in self.scans for name in names}
        if lost := len(set(self.components) - scanned):
            return f"the data of {lost} of its {len(self.components)} color components are missing"
        if self.frame not in _PROGRESSIVE:
            return None
        left = {name: [99] * 64 for name in self.components}
        for names, first, last, _, low in self.scans:
            for name in names:
                left.get(name, [])[first : last + 1] = [low] * (last + 1 - first)
        if all(bits == 0 for bits_of in left.values() for bits in bits_of):
            return None
        return f"the stream ends after {len(self.scans)} of its scans, so that details of the whole picture are missing"

    def _add(self, marker: int, body: bytes) -> None:
        if marker in _FRAMES and len(body) >= 6 and not self.frame:
            self.frame, self.precision = marker, body[0]
            self.height, self.width = (int.from_bytes(body[start : start + 2], "big") for start in (1, 3))
            self.components = tuple(body[6 : 6 + 3 * body[5] : 3])
        if marker in _FRAMES or marker in (_DQT, _DHT, _DAC, _DRI):
            self.kept.append(_segment(marker, body))

    def _add_scan(self, header: bytes, data: bytes) -> None:
        count = header[0] if header else 0
        names, limits = tuple(header[1 : 1 + 2 * count : 2]), header[1 + 2 * count : 4 + 2 * count]
        if len(limits) == 3:
            self.scans.append((names, limits[0], min(limits[1], 63), limits[2] >> 4, limits[2] & 15))
            if self.frame in _SEQUENTIAL:  # some cameras write other limits, which libjpeg warns of and passes over
                header = header[: 1 + 2 * count] + b"\x00\x3f\x00"
        self.kept += [_segment(_SOS, header), data.rstrip(b"\xff")]


def check(content: bytes) -> IntegrityCheck:
    """Check that the entropy-coded data of a JPEG cover its picture.

    Trailing bytes, other pictures after the first, a missing end marker and odd segments are no damage.

    Parameters
    ----------
    content : bytes
        The file.

    Returns
    -------
    Checked
        With an end marker where there was none.

    Raises
    ------
    UnreadableImage
        Where the JPEG has other than 8 bits per sample.
    """
    stream = JpegStream.parse(content)
    if stream.precision not in (0, 8):
        raise UnreadableImage(
            f"is a JPEG of {stream.precision} bits per sample, but JPEG is read with 8. Export it as PNG or TIFF."
        )
    if not stream.scans:
        return IntegrityCheck(content, "no picture data were found")
    sound = content if stream.has_end_marker else content[: stream.end].rstrip(b"\xff") + _END
    return IntegrityCheck(sound, _find_fault(stream) or stream.missing_scans() or _find_zero_run(stream))


def _find_fault(stream: JpegStream) -> str | None:
    """What libjpeg says against the entropy-coded data of a stream."""
    plain = stream.stripped()
    warning = _libjpeg_warning(plain)
    if warning is None:
        return None
    extraneous = _EXTRANEOUS.search(warning)
    if extraneous and _is_padding(stream, int(extraneous[1])):
        return None
    small = _decoded(plain)
    if small is None:
        return f"its compressed data are corrupt ({warning})"
    rows = _rows_with_data(small) * stream.height // len(small)
    if rows < stream.height:
        return describe_missing_rows(rows, stream.height) + (
            "; rows above may be wrong too" if stream.has_end_marker else ""
        )
    filled = float((small == _UNKNOWN).all(axis=2).mean())
    share = f"at least {100 * filled:.2g} %" if filled > 0.01 else "an unknown part"
    reason = warning.removeprefix("Corrupt JPEG data: ")
    return f"its compressed data are corrupt ({reason}): {share} of the picture is wrong"


def _find_zero_run(stream: JpegStream) -> str | None:
    """Find a run of zeros that libjpeg decodes to as many blocks as there were, but to no area of one color."""
    plain = b"".join(stream.kept)
    if ZEROS not in plain:
        return None
    longest = max(map(len, re.findall(rb"\x00{%d,}" % len(ZEROS), plain)))
    small = _decoded(stream.stripped())
    if small is None or int((small[:, 1:] == small[:, :-1]).all(axis=2).sum()) >= longest:
        return None
    return f"its compressed data are corrupt (a run of {longest} zero bytes): an unknown part of the picture is wrong"


def _is_padding(stream: JpegStream, count: int) -> bool:
    """Whether the bytes that libjpeg left over before the end marker are those that some cameras fill up with."""
    if _libjpeg_warning(stream.stripped(count)) is not None:
        return False
    if len(set(b"".join(stream.kept)[-count:])) > 1:
        return False
    if count <= _MAX_EXTRANEOUS or stream.frame not in _SEQUENTIAL:
        return count <= _MAX_EXTRANEOUS
    # Zeroed data decode to a flat end in few bits, and leave the rest of the zeros over: that is no padding.
    small = _decoded(stream.stripped())
    return small is not None and _flat_end(small) < _MAX_FLAT_SHARE


def _libjpeg_warning(plain: bytes) -> str | None:
    """The last warning of libjpeg about a stream; None where there is none, or it cannot decode such streams."""
    import simplejpeg

    try:
        simplejpeg.decode_jpeg(plain, _colors(plain), **_SMALL, strict=True)
    except ValueError as error:
        said = str(error)
        return said if said.startswith(_WARNINGS) else None
    return None


def _decoded(plain: bytes) -> NDArray[np.uint8] | None:
    """Decode a stream at an eighth of its size as far as it goes: uint8 (row, column, channel)."""
    import simplejpeg

    try:
        return simplejpeg.decode_jpeg(plain, _colors(plain), **_SMALL, strict=False)
    except ValueError:
        return None


def _colors(plain: bytes) -> str:
    """Colors that libjpeg can decode a stream to without conversion of its own."""
    import simplejpeg

    try:
        stored = simplejpeg.decode_jpeg_header(plain, strict=False)[2]
    except ValueError:
        return "RGB"
    return {"Gray": "GRAY", "CMYK": "CMYK", "YCCK": "CMYK"}.get(stored, "RGB")


def _rows_with_data(small: NDArray[np.uint8]) -> int:
    """How many rows stand before those at the end that libjpeg has filled."""
    known = (small != _UNKNOWN).any(axis=(1, 2)).nonzero()[0]
    return int(known[-1]) + 1 if known.size else 0


def _flat_end(small: NDArray[np.uint8]) -> float:
    """Share of a picture that has the color of its last pixel, from the end backwards in reading order."""
    pixels = small.reshape(-1, small.shape[2])
    other = (pixels != pixels[-1]).any(axis=1).nonzero()[0]
    return 1 - (int(other[-1]) + 1 if other.size else 0) / len(pixels)


def _segment(marker: int, body: bytes) -> bytes:
    """A segment with its marker and length."""
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body
