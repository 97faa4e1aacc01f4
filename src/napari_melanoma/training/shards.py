"""Shards: ``.npy`` files of decoded pixels, written once as a whole and mapped into memory wherever they are read.

A shard never changes, so that nothing half-written can be read, and a crash costs the one that was being written.
Pixels are written as plain bytes and not through a map: on a full disk that is an error, and a map ends the process.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.files import atomic_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARD_BYTES = (
    2**29
)  # 1,700 images of 320 px: 230 files for 400,000 of them, half a minute of decoding for a crash to cost
MOST_OPEN = 64  # maps in a process; macOS allows 256 open files


def per_shard(shape: Sequence[int]) -> int:
    """Count how many items a shard holds at most.

    ``shape``: of one item, uint8.
    """
    return max(1, SHARD_BYTES // int(np.prod(shape)))


def write_shard(folder: Path, shape: tuple[int, ...], items: Iterable[NDArray[np.uint8]]) -> str:
    """Write a shard, item by item as they come.

    ``items``: uint8, as many as the shape says. Its name, which no other has.
    """
    name = f"{uuid.uuid4().hex[:16]}.npy"
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with atomic_file(folder / name) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for item in items:
            file.write(np.ascontiguousarray(item).data)
    return name


def whole_shards(folder: Path) -> set[str]:
    """List the shards that have the size that their head states; a disk or a backup may have cut others off.

    Names; only the head of each file is read.
    """
    return {path.name for path in folder.glob("*.npy") if _is_whole(path)}


def _is_whole(path: Path) -> bool:
    """Compare the size of a shard with its head."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, _ = np.lib.format.read_array_header_1_0(file)
            return path.stat().st_size == file.tell() + int(np.prod(shape, dtype=np.int64))
    except (OSError, ValueError):
        return False


@lru_cache(maxsize=MOST_OPEN)
def open_shard(path: Path) -> NDArray[np.uint8]:
    """Map a shard into memory, and keep the map for the next time.

    Returns uint8 (item, ...), read-only.
    """
    return np.load(path, mmap_mode="r")


def read_items(
    folder: Path, names: Sequence[str], places: NDArray[np.int32], shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Copy items out of shards, in the order in which they lie on the disk.

    ``places``: int32 (item, 2): place of the shard among the names, and of the item in it. Returns uint8 (item, ...),
    in the order of the places.
    """
    items = np.empty((len(places), *shape), np.uint8)
    for item in np.lexsort(places.T[::-1]):
        shard, slot = places[item]
        items[item] = open_shard(folder / names[shard])[slot]
    return items
