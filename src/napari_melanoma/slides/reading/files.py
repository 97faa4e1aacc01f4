"""Access to slide files: reading by several threads, and a fingerprint of the content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from napari_melanoma.core.errors import InputError
from napari_melanoma.io.tiff import TiffLayout, read_at

# Size and number of the parts of a file that the fingerprint includes, evenly spread over the file. The 15 intervals of
# the blocks and the 112 of the samples have no common factor, so that few parts coincide.
BLOCK_BYTES, BLOCKS = 65536, 16
SAMPLE_BYTES, SAMPLES = 4096, 113
MAX_FILES = 64  # approximate number of files of a slide in a folder that the fingerprint includes
SUFFIX_WITH_FOLDER = ".mrxs"  # the data of these slides is in a folder of the same name
_MAX_PAGES, _MAX_BYTES = 10_000, 2**26  # of a TIFF file that are read for the fingerprint
_COMPRESSION, _SUB_PAGES, _STRIP_BYTES, _TILE_BYTES = 259, 330, 279, 325  # TIFF tags
_TABLE_TAGS = (_SUB_PAGES, _STRIP_BYTES, _TILE_BYTES)
_TYPE_BYTES = {3: 2, 4: 4, 13: 4, 16: 8, 18: 8}  # SHORT, LONG, IFD, LONG8, IFD8


class FileReader:
    """An open file that several threads can read independently."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self._lock = Lock()
        self.size = os.fstat(self._file.fileno()).st_size

    def read(self, offset: int, count: int) -> bytes:
        """Read ``count`` bytes at a position; raise EOFError if the file ends before."""
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
        """Read at a position, in one call if the system supports it."""
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), count, offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.read(count)


def image_name(path: Path) -> str:
    """Return the file or folder name of an image; within a Zarr folder, preceded by the name of that folder."""
    parent = path.absolute().parent
    return f"{parent.stem}-{path.name}" if parent.suffix == ".zarr" else path.name


def slide_fingerprint(path: Path) -> str:
    """Hash the content of a slide without reading all of it.

    The hash includes the sizes of the files, blocks and samples that are evenly spread over each file, and the lengths
    of all tiles in TIFF files, which differ between images. It does not include names and paths, so that a renamed copy
    has the same fingerprint. Changes between the samples that keep all lengths are not detected.
    """
    digest = hashlib.sha256()
    files = [path] if path.is_file() else []
    folder = path.with_suffix("") if path.suffix.lower() == SUFFIX_WITH_FOLDER else path
    if folder.is_dir():
        inside = sorted(file for file in folder.rglob("*") if file.is_file())
        files += inside[:: max(1, len(inside) // MAX_FILES)]  # fewer than twice ``MAX_FILES``
    for file in files:
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
    return digest.hexdigest()


def tile_length_tables(file: BinaryIO) -> Iterator[bytes]:
    """Yield the table with the lengths of tiles or strips of each page of a TIFF file, as bytes in the file.

    Nested pages are included; other files have no tables.
    """
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


def read_compression(path: Path) -> int | None:
    """Read the tag Compression of the first page of a TIFF file; None if it cannot be read."""
    with path.open("rb") as file:
        layout = TiffLayout.read(file)
        directory = None if layout is None else layout.read_directory(file, layout.first)
        if layout is None or directory is None:
            return None
        found = _relevant_tags(file, directory[0], layout, (_COMPRESSION,))
        return next((layout.read_number(values) for _, values, _ in found), None)


def _relevant_tags(
    file: BinaryIO, tags: bytes, layout: TiffLayout, relevant: Sequence[int] = _TABLE_TAGS
) -> Iterator[tuple[int, bytes, int]]:
    """Yield each relevant tag of a page, its values as bytes, and the length of one value in bytes."""
    for start in range(0, len(tags), layout.entry):
        tag, kind = layout.read_number(tags[start : start + 2]), layout.read_number(tags[start + 2 : start + 4])
        width = _TYPE_BYTES.get(kind, 0)
        if tag in relevant and width:
            field = tags[start + 4 : start + layout.entry]
            length = width * layout.read_number(field[: layout.offset])
            yield tag, _read_values(file, field[layout.offset :], length, layout), width


def _read_values(file: BinaryIO, field: bytes, length: int, layout: TiffLayout) -> bytes:
    """Return the values of a tag as bytes; empty if they are too long or beyond the end of the file.

    ``field``: the field of the tag that contains the values if they fit into it, else their offset in the file.
    """
    if length <= layout.offset:
        return field[:length]
    return b"" if length > _MAX_BYTES else read_at(file, layout.read_number(field), length) or b""
