"""Access to slide files: concurrent reading, and the fingerprint of the content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from napari_melanoma.core.errors import InputError
from napari_melanoma.io.tiff import TiffLayout, read_at

BLOCK_BYTES, BLOCKS = 65536, 16
# Between the blocks: their 112 intervals and the 15 of the blocks have no common factor, so that few coincide.
SAMPLE_BYTES, SAMPLES = 4096, 113
MAX_FILES = 64
SUFFIX_WITH_FOLDER = ".mrxs"  # its data is in a folder of the same name


class FileReader:
    """An open file that several threads can read independently."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self._lock = Lock()
        self.size = os.fstat(self._file.fileno()).st_size

    def read(self, offset: int, count: int) -> bytes:
        """Read bytes at a position."""
        try:
            data = self._read_at(offset, count)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.path} can no longer be read: {error}. Check the drive or the network, then open the slide "
                "again."
            ) from error
        if len(data) < count:
            raise EOFError(f"the file ends at byte {self.size}, before byte {offset + count}: it is truncated")
        return data

    def close(self) -> None:
        self._file.close()

    def _read_at(self, offset: int, count: int) -> bytes:
        """Read at a position, in one call where the system supports it."""
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), count, offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.read(count)


def image_name(path: Path) -> str:
    """Return the file or folder name of an image; for one in a Zarr folder, preceded by the name of that folder."""
    parent = path.absolute().parent
    return f"{parent.stem}-{path.name}" if parent.suffix == ".zarr" else path.name


def slide_fingerprint(path: Path) -> str:
    """Hash the content of a slide without reading all of it.

    Includes the sizes of the files, blocks and many small samples evenly spread over larger files, and the lengths of
    all tiles of TIFF files, which differ between different images. Names and paths are not included, so that a renamed
    copy has the same fingerprint. Changes between the samples that keep all lengths are not detected.
    """
    digest = hashlib.sha256()
    files = [path] if path.is_file() else []
    folder = path.with_suffix("") if path.suffix.lower() == SUFFIX_WITH_FOLDER else path
    files += _sample_files(sorted(file for file in folder.rglob("*") if file.is_file())) if folder.is_dir() else []
    for file in files:
        _hash_file_sample(digest, file)
    return digest.hexdigest()


def _sample_files(files: list[Path]) -> list[Path]:
    """Select evenly spaced files, fewer than twice ``MAX_FILES``."""
    return files[:: max(1, len(files) // MAX_FILES)]


def _hash_file_sample(digest: hashlib._Hash, file: Path) -> None:
    """Add the size of a file, samples of its content, and the lengths of its tiles."""
    size = file.stat().st_size
    digest.update(f"{size} ".encode())
    with file.open("rb") as content:
        for number, length in ((BLOCKS, BLOCK_BYTES), (SAMPLES, SAMPLE_BYTES)):
            last = max(size - length, 0)
            for offset in sorted({last * block // (number - 1) for block in range(number)}):
                content.seek(offset)
                digest.update(content.read(length))
        for table in tile_length_tables(content):
            digest.update(table)


_MAX_PAGES, _MAX_BYTES = 10_000, 2**26
_SUB_PAGES, _STRIP_BYTES, _TILE_BYTES = 330, 279, 325
_TYPE_BYTES = {3: 2, 4: 4, 13: 4, 16: 8, 18: 8}  # SHORT, LONG, IFD, LONG8, IFD8


def tile_length_tables(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lengths of tiles or strips of each page, including nested pages, as stored in the file."""
    layout = TiffLayout.read(file)
    if layout is None:
        return
    waiting, seen, total = [layout.first], set[int](), 0
    while waiting and len(seen) < _MAX_PAGES and total < _MAX_BYTES:
        offset = waiting.pop(0)
        if offset == 0 or offset in seen:
            continue
        seen.add(offset)
        tags, following = layout.read_directory(file, offset) or (b"", 0)
        waiting.append(following)
        for tag, values, width in _relevant_tags(file, tags, layout):
            if tag == _SUB_PAGES:
                waiting += [layout.read_number(values[at : at + width]) for at in range(0, len(values), width)]
            else:
                total += len(values)
                yield values


def _relevant_tags(file: BinaryIO, tags: bytes, layout: TiffLayout) -> Iterator[tuple[int, bytes, int]]:
    """Yield each relevant tag of a page, its values as bytes, and the length of one value in bytes."""
    for at in range(0, len(tags), layout.entry):
        tag, kind = layout.read_number(tags[at : at + 2]), layout.read_number(tags[at + 2 : at + 4])
        width = _TYPE_BYTES.get(kind, 0)
        if tag in (_SUB_PAGES, _STRIP_BYTES, _TILE_BYTES) and width:
            field = tags[at + 4 : at + layout.entry]
            length = width * layout.read_number(field[: layout.offset])
            yield tag, _values(file, field[layout.offset :], length, layout), width


def _values(file: BinaryIO, field: bytes, length: int, layout: TiffLayout) -> bytes:
    """Return the values of a tag, which contains them if they are short; empty if too long or beyond the file."""
    if length <= layout.offset:
        return field[:length]
    return b"" if length > _MAX_BYTES else read_at(file, layout.read_number(field), length) or b""
