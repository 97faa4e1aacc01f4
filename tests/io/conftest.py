"""A small photograph with known colors, and profiles of known primaries, for the tests of reading and writing."""

import struct

import numpy as np
import pytest


@pytest.fixture
def scene() -> np.ndarray:
    """A smooth picture that no rotation or mirroring leaves as it is: uint8 (32, 48, 3)."""
    rows, columns = np.mgrid[:32, :48]
    return np.stack([40 + 4 * rows, 30 + 4 * columns, 200 - 2 * rows - columns], axis=-1).astype(np.uint8)


@pytest.fixture
def matrix_profile():
    """Make the ICC version 2 profile of a display: XYZ (D50) of red, green and blue, and one gamma."""
    return _matrix_profile


@pytest.fixture
def old_grey_profile() -> bytes:
    """ICC version 2 profile of gray with a gamma of 1.8, as old Macintoshes had it."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(1.8 * 256))
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _xyz(0.9642, 1.0, 0.8249), b"kTRC": curve})


def _matrix_profile(primaries, gamma: float) -> bytes:
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    tags = {b"wtpt": _xyz(0.9642, 1.0, 0.8249)}
    for letter, primary in zip("rgb", primaries, strict=True):
        tags[f"{letter}XYZ".encode()] = _xyz(*primary)
        tags[f"{letter}TRC".encode()] = curve
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


@pytest.fixture
def key_only_profile() -> bytes:
    """ICC profile of a press whose colored inks are invisible: lightness is what black leaves."""
    ramp = bytes(range(256))
    corners = b"".join(bytes([0 if corner & 1 else 255, 128, 128]) for corner in range(16))  # black varies fastest
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + 4 * ramp + corners + 3 * ramp
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz(0.9642, 1.0, 0.8249), b"A2B0": table})


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _profile(device: bytes, colours: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78), **tags}
    offset, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, device, colours, connection)
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
