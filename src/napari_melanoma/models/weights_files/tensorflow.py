"""TensorFlow checkpoints (format V2) without TensorFlow: a sorted table of names beside files with the numbers.

The table is LevelDB's (blocks of keys that share prefixes, a footer with a magic number), its values are protocol
buffers; both are documented by their projects. The checksums of the numbers are not compared, sizes are.
"""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Iterator, Mapping
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

Field = int | bytes


def read_tensorflow(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the floating-point tensors of a TensorFlow checkpoint.

    Parameters
    ----------
    path : pathlib.Path
        Its ``.index``, with the ``.data-...`` files beside it; or the archive (``.tar.gz``) as it is published.

    Returns
    -------
    dict of str to numpy.ndarray
        By TensorFlow's names, in TensorFlow's axis order: convolutions are (row, column, in, out).

    Raises
    ------
    BundleError
        Where the files are no such checkpoint, are damaged, or a part is missing.
    """
    try:
        index, parts = _from_archive(path) if tarfile.is_tarfile(path) else _from_folder(path)
        return dict(_tensors(index, parts))
    except (OSError, EOFError, tarfile.TarError) as error:
        raise BundleError(f"cannot read {path}: {error}. Get the file again from where it came.") from error
    except (struct.error, IndexError, ValueError, KeyError) as error:
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
    mapped = [np.memmap(part, np.uint8, "r") if part.stat().st_size else np.empty(0, np.uint8) for part in parts]
    return path.read_bytes(), mapped


def _from_archive(path: Path) -> tuple[bytes, list[NDArray[np.uint8]]]:
    """Open a checkpoint in its archive, without unpacking anything to the disk."""
    with tarfile.open(path) as archive:
        members = {member.name: member for member in archive if member.isfile()}
        indices = [name for name in members if name.endswith(INDEX)]
        if len(indices) != 1:
            raise BundleError(f"{path} holds {len(indices)} TensorFlow checkpoints (*.index), expected one.")
        data = sorted(name for name in members if name.startswith(indices[0].removesuffix(INDEX) + DATA))
        contents = [archive.extractfile(members[name]) for name in (indices[0], *data)]
        index, *parts = [file.read() for file in contents if file is not None]
    return index, [np.frombuffer(part, np.uint8) for part in parts]


def _tensors(index: bytes, parts: list[NDArray[np.uint8]]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Walk through the table; the entry without a name is the header."""
    for key, value in _table(index):
        entry = _message(value)
        if not key:
            if entry.get(2):
                raise ValueError("its numbers are big-endian")
            continue
        kind, sliced = entry.get(1, 0), 7 in entry
        if kind in DTYPES and not sliced:
            yield key.decode(), _numbers(key.decode(), entry, parts)


def _numbers(name: str, entry: Mapping[int, Field], parts: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Cut one tensor out of the file that it is in."""
    kind, number, offset, size = (_whole(entry, field) for field in (1, 3, 4, 5))
    shape = _shape(entry.get(2, b""))
    dtype = np.dtype(DTYPES[kind])
    if size != int(np.prod(shape, dtype=np.int64)) * dtype.itemsize:
        raise ValueError(f"{name} has {size} bytes for the shape {shape}")
    part = parts[number]
    if offset + size > len(part):
        raise ValueError(f"the numbers of {name} are cut off")
    found = np.frombuffer(part[offset : offset + size].tobytes(), dtype)
    if kind == BFLOAT16:  # the upper half of a float32
        found = (found.astype(np.uint32) << 16).view(np.float32)
    return found.astype(np.float32).reshape(shape)


def _shape(value: Field) -> tuple[int, ...]:
    """Read a TensorShapeProto: its dimensions, each a message with a size."""
    assert isinstance(value, bytes)
    dimensions = (_message(part) for number, part in _fields(value) if number == 2 and isinstance(part, bytes))
    return tuple(_whole(dimension, 1) for dimension in dimensions)


def _whole(entry: Mapping[int, Field], number: int) -> int:
    """Take a whole number out of a message; one that is not written is 0."""
    value = entry.get(number, 0)
    assert isinstance(value, int)
    return value


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """List the keys and values of a table: the index block names the blocks that hold them."""
    if len(data) < FOOTER or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise ValueError("its end is not that of a table")
    _, _, place = _handle(data[-FOOTER:], 0)  # of a block that says nothing to us
    offset, size, _ = _handle(data[-FOOTER:], place)
    for _, handle in _entries(_block(data, offset, size)):
        offset, size, _ = _handle(handle, 0)
        yield from _entries(_block(data, offset, size))


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

        return bytes(imagecodecs.snappy_decode(content))
    return content


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """List the entries of a block; each key says how much of its beginning it shares with the one before."""
    (restarts,) = struct.unpack("<I", block[-4:])
    end, place, key = len(block) - 4 * (restarts + 1), 0, b""
    while place < end:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        size, place = _varint(block, place)
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
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return value, place
        shift += 7
