"""TensorFlow checkpoints (format V2) without TensorFlow: a sorted table of names beside files with the numbers.

The table is LevelDB's (blocks of keys that share prefixes, a footer with a magic number), its values are protocol
buffers; both are documented by their projects. The checksums of the numbers are not compared, sizes are. A file may
come from anywhere: nothing in it makes the reader go on for ever or fill the memory.
"""

from __future__ import annotations

import gzip
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import BundleError
from napari_melanoma.models.weights_files.finding import DATA, INDEX, data_files

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
SNAPPY = 1  # TensorFlow before 1.2 compressed its tables
BFLOAT16 = 14
DTYPES = {1: "<f4", 2: "<f8", 19: "<f2", BFLOAT16: "<u2"}  # numbers of TensorFlow's DataType; weights have no other
GZIP, TAR, TAR_AT = b"\x1f\x8b", b"ustar", 257  # how archives begin, and where a tar says what it is
# More than any published checkpoint has: bytes of an archive's contents, of a table, of a name; entries of a table.
MOST_BYTES, MOST_TABLE, MOST_NAME, MOST_ENTRIES = 1 << 32, 1 << 26, 1 << 12, 100_000
MOST_DIGITS = 10  # of seven bits, in a whole number of 64

Field = int | bytes


def is_archive(path: Path) -> bool:
    """Tell by its beginning whether a file is an archive, as checkpoints are published.

    True for a tar, and for whatever gzip compressed.
    """
    try:
        with path.open("rb") as file:
            start = file.read(TAR_AT + len(TAR))
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error}.") from error
    return start.startswith(GZIP) or start[TAR_AT:] == TAR


def read_tensorflow(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the floating-point tensors of a TensorFlow checkpoint.

    By TensorFlow's names, in TensorFlow's axis order: convolutions are (row, column, in, out).
    """
    try:
        index, parts = _from_archive(path) if is_archive(path) else _from_folder(path)
        return dict(_tensors(index, parts))
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise BundleError(f"cannot read {path}: {error}. Get the file again from where it came.") from error
    except (struct.error, IndexError, ValueError, KeyError, OverflowError) as error:
        raise BundleError(
            f"{path} is damaged, or no TensorFlow checkpoint of format V2 (model.ckpt.index beside "
            f"model.ckpt.data-00000-of-00001): {error}. Get it again from where it came."
        ) from error


def _from_folder(path: Path) -> tuple[bytes, list[NDArray[np.uint8]]]:
    """Open a checkpoint whose parts lie beside each other; numbers are read as they are asked for."""
    parts = data_files(path)
    if not parts:
        numbers = f"{path.name.removesuffix(INDEX)}{DATA}00000-of-00001"
        raise BundleError(f"{path.name} needs the file with the numbers beside it: {numbers}.")
    if path.stat().st_size > MOST_TABLE:
        raise ValueError("its table is too large")
    mapped = [np.memmap(part, np.uint8, "r") if part.stat().st_size else np.empty(0, np.uint8) for part in parts]
    return path.read_bytes(), mapped


def _from_archive(path: Path) -> tuple[bytes, list[NDArray[np.uint8]]]:
    """Open a checkpoint in its archive, without unpacking anything to the disk."""
    with path.open("rb") as file:
        zipped = file.read(len(GZIP)) == GZIP
    with _Unzipped(path) if zipped else path.open("rb") as source, tarfile.open(fileobj=source, mode="r:") as archive:
        members = {member.name: member for member in _bounded(archive) if member.isfile()}
        indices = [name for name in members if name.endswith(INDEX)]
        if len(indices) != 1:
            raise BundleError(f"{path} holds {len(indices)} TensorFlow checkpoints (*.index), expected one.")
        data = sorted(name for name in members if name.startswith(indices[0].removesuffix(INDEX) + DATA))
        contents = [archive.extractfile(members[name]) for name in (indices[0], *data)]
        index, *parts = [file.read() for file in contents if file is not None]
    return index, [np.frombuffer(part, np.uint8) for part in parts]


class _Unzipped(gzip.GzipFile):
    """Gives no more at once than a header can need: tarfile asks for as much as an archive says that one has."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MOST_TABLE:
            raise ValueError("a header of the archive is too large")
        return super().read(size)


def _bounded(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """List what is in an archive, up to as much as a checkpoint can have."""
    size = 0
    for number, member in enumerate(archive):
        size += max(0, member.size)
        if size > MOST_BYTES or number > MOST_ENTRIES:
            raise ValueError("there is more in it than in any checkpoint")
        yield member


def _tensors(index: bytes, parts: list[NDArray[np.uint8]]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Walk through the table; the entry without a name is the header."""
    room = sum(len(part) for part in parts)
    for key, value in _table(index):
        entry = _message(value)
        if not key:
            if entry.get(2):
                raise ValueError("its numbers are big-endian")
            continue
        kind, sliced = entry.get(1, 0), 7 in entry
        if kind in DTYPES and not sliced:
            room -= _whole(entry, 5)
            if room < 0:
                raise ValueError("its tensors lie over each other, or their numbers are cut off")
            yield key.decode(), _numbers(key.decode(), entry, parts)


def _numbers(name: str, entry: Mapping[int, Field], parts: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Cut one tensor out of the file that it is in."""
    kind, number, offset, size = (_whole(entry, field) for field in (1, 3, 4, 5))
    shape = _shape(entry.get(2, b""))
    dtype = np.dtype(DTYPES[kind])
    if size != prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} has {size} bytes for the shape {shape}")
    part = parts[number]
    if offset + size > len(part):
        raise ValueError(f"the numbers of {name} are cut off")
    found = np.frombuffer(part[offset : offset + size].tobytes(), dtype)
    if kind == BFLOAT16:  # the upper half of a float32
        found = (found.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large for a float32 becomes infinite
        return found.astype(np.float32).reshape(shape)


def _shape(value: Field) -> tuple[int, ...]:
    """Read a TensorShapeProto: its dimensions, each a message with a size."""
    if not isinstance(value, bytes):
        raise ValueError("a shape is a number")
    dimensions = (_message(part) for number, part in _fields(value) if number == 2 and isinstance(part, bytes))
    return tuple(_whole(dimension, 1) for dimension in dimensions)


def _whole(entry: Mapping[int, Field], number: int) -> int:
    """Take a whole number out of a message; one that is not written is 0."""
    value = entry.get(number, 0)
    if not isinstance(value, int):
        raise ValueError("a size is no number")
    return value


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """List the keys and values of a table: the index block names the blocks that hold them."""
    if len(data) < FOOTER or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise ValueError("its end is not that of a table")
    _, _, place = _handle(data[-FOOTER:], 0)  # of a block that says nothing to us
    offset, size, _ = _handle(data[-FOOTER:], place)
    entries = 0
    for _, handle in _entries(_block(data, offset, size)):
        offset, size, _ = _handle(handle, 0)
        for entry in _entries(_block(data, offset, size)):
            entries += 1
            if entries > MOST_ENTRIES:
                raise ValueError("it has more entries than any checkpoint")
            yield entry


def _handle(data: bytes, place: int) -> tuple[int, int, int]:
    """Read where a block lies: offset and size, and the place after them."""
    offset, place = _varint(data, place)
    size, place = _varint(data, place)
    return offset, size, place


def _block(data: bytes, offset: int, size: int) -> bytes:
    """Take a block out of a table; the byte after it says whether it is compressed."""
    content, kind = data[offset : offset + size], data[offset + size]
    if kind == SNAPPY:
        import imagecodecs

        if _varint(content, 0)[0] > MOST_TABLE:
            raise ValueError("a block of its table is too large")
        try:
            return bytes(imagecodecs.snappy_decode(content))
        except imagecodecs.SnappyError as error:
            raise ValueError(f"a block of its table cannot be unpacked ({error})") from error
    return content


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """List the entries of a block; each key says how much of its beginning it shares with the one before."""
    (restarts,) = struct.unpack("<I", block[-4:])
    end, place, key = len(block) - 4 * (restarts + 1), 0, b""
    while place < end:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        size, place = _varint(block, place)
        if shared + own > MOST_NAME or place + own + size > end:
            raise ValueError("an entry of its table is too long")
        key = key[:shared] + block[place : place + own]
        place += own
        yield key, block[place : place + size]
        place += size


def _message(data: bytes) -> dict[int, Field]:
    """Read a protocol buffer whose fields do not repeat (or whose last repetition is enough)."""
    return dict(_fields(data))


def _fields(data: bytes) -> Iterator[tuple[int, Field]]:
    """List the fields of a protocol buffer: their numbers, and whole numbers or bytes."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield number, value
        elif wire == 2:
            size, place = _varint(data, place)
            yield number, data[place : place + size]
            place += size
        elif wire in (1, 5):
            width = 8 if wire == 1 else 4
            yield number, int.from_bytes(data[place : place + width], "little")
            place += width
        else:
            raise ValueError(f"a field of the kind {wire}")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Read a whole number of seven bits a byte, and the place after it."""
    value = 0
    for digit in range(MOST_DIGITS):
        byte = data[place + digit]
        value |= (byte & 127) << 7 * digit
        if byte < 128:
            return value, place + digit + 1
    raise ValueError("a number is too long")
