"""Integrity checks of BMP and WebP, both of which state their size."""

from __future__ import annotations

from collections.abc import Iterator

from napari_melanoma.io.damage.integrity import IntegrityCheck, describe_missing_bytes, describe_missing_rows

__all__ = ["check_bmp", "check_webp", "has_run_lengths"]

_BMP_RUN_LENGTHS = (1, 2)  # RLE8 and RLE4
_END_OF_BITMAP = b"\x00\x01"
# Compressed data have no long runs of zeros: in arithmetic-coded (lossy) data they would encode tens of thousands of
# symbols, and lossless encoders write repetitions as such. libwebp writes at most 1e-4 zero bytes per pixel, for
# uniform images.
_FEWEST_ZEROS = 64
_ZEROS_PER_PIXEL = 2e-4


def check_bmp(content: bytes) -> IntegrityCheck:
    """Check that a BMP has the rows that its header states.

    Zeroed bytes of an uncompressed BMP are black pixels and cannot be detected.

    Parameters
    ----------
    content : bytes
        The file.

    Returns
    -------
    IntegrityCheck
        With the missing bytes filled with zeros.
    """
    offset, header_bytes = (int.from_bytes(content[start : start + 4], "little") for start in (10, 14))
    old = header_bytes == 12
    widths = (18, 20, 24, 2) if old else (18, 22, 28, 4)
    width, height = (
        int.from_bytes(content[start : start + widths[3]], "little", signed=not old) for start in widths[:2]
    )
    bits = int.from_bytes(content[widths[2] : widths[2] + 2], "little")
    rows = abs(height)
    if len(content) < 14 + header_bytes or not rows:
        return IntegrityCheck(content, "its header is incomplete")
    if has_run_lengths(content):
        return _check_run_lengths(content, offset, rows)
    stride = -(-width * bits // 32) * 4
    found = (len(content) - offset) // stride if stride > 0 else rows
    if stride * rows - 3 <= len(content) - offset:  # the padding of the last row may be missing
        return IntegrityCheck(content + bytes(3))
    return IntegrityCheck(
        content + bytes(max(0, stride * rows - (len(content) - offset))), describe_missing_rows(found, rows)
    )


def has_run_lengths(content: bytes) -> bool:
    """Whether the pixels of a BMP are run-length encoded; those with the oldest header never are.

    Parameters
    ----------
    content : bytes
        The file.

    Returns
    -------
    bool
        False where the header is incomplete.
    """
    return content[14:18] != b"\x0c\0\0\0" and int.from_bytes(content[30:34], "little") in _BMP_RUN_LENGTHS


def _check_run_lengths(content: bytes, offset: int, rows: int) -> IntegrityCheck:
    """Follow the runs of a compressed BMP to its end marker."""
    position, done = offset, 0
    while position + 2 <= len(content):
        count, value = content[position], content[position + 1]
        position += 2
        if count == 0:
            if value == 1:
                return IntegrityCheck(content)
            done += value == 0 or (value == 2 and content[position + 1 : position + 2] > b"\0")
            rle4 = int.from_bytes(content[30:34], "little") == 2
            literal = -(-value // 2) if rle4 else value
            position += 2 if value == 2 else literal + literal % 2 if value > 2 else 0
        if done >= rows:
            return IntegrityCheck(content + _END_OF_BITMAP)
    return IntegrityCheck(content + _END_OF_BITMAP, describe_missing_rows(done, rows))


def check_webp(content: bytes) -> IntegrityCheck:
    """Check that a WebP has the stated number of bytes, and no run of zeros in its compressed data.

    Parameters
    ----------
    content : bytes
        The file.

    Returns
    -------
    IntegrityCheck
        With the missing bytes filled with zeros.
    """
    stated = 8 + int.from_bytes(content[4:8], "little")
    for kind, start, stop in _webp_chunks(content):
        if kind not in (b"VP8 ", b"VP8L", b"ALPH", b"ANMF"):
            continue
        if stop > len(content):
            padded = content + bytes(max(stop, stated) - len(content))
            return IntegrityCheck(padded, describe_missing_bytes(len(content) - start, stop - start))
        if kind in (b"VP8 ", b"VP8L"):
            most = max(_FEWEST_ZEROS, int(_ZEROS_PER_PIXEL * _webp_pixels(content, kind, start)))
            if bytes(most) in content[start:stop]:
                wrong = f"its compressed data are corrupt (a run of {most} zero bytes)"
                return IntegrityCheck(content, f"{wrong}: an unknown part of the picture is wrong")
        if kind != b"ALPH":  # only the first picture of an animation is read
            return IntegrityCheck(content)
    return IntegrityCheck(content, "no picture data were found")


def _webp_pixels(content: bytes, kind: bytes, start: int) -> int:
    """Number of pixels of a picture, from the header of its data."""
    if kind == b"VP8L":
        packed = int.from_bytes(content[start + 1 : start + 5], "little")
        return ((packed & 0x3FFF) + 1) * ((packed >> 14 & 0x3FFF) + 1)
    width, height = (int.from_bytes(content[position : position + 2], "little") for position in (start + 6, start + 8))
    return (width & 0x3FFF) * (height & 0x3FFF)


def _webp_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and stop of the data of each chunk; the last may extend beyond the file."""
    position = 12
    while position + 8 <= len(content):
        length = int.from_bytes(content[position + 4 : position + 8], "little")
        yield content[position : position + 4], position + 8, position + 8 + length
        position += 8 + length + length % 2
