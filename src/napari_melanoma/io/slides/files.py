"""Bytes of a slide's file: read at a place by several threads at once, and hashed so that the slide is known again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from threading import Lock

from napari_melanoma.core.errors import InputError
from napari_melanoma.io.slides.tiff_tables import length_tables

BLOCK_BYTES, BLOCKS = 65536, 16
SAMPLE_BYTES, SAMPLES = 4096, 113  # between the blocks; a prime number, so that few of them fall on one
MOST_FILES = 64
FOLDER_BESIDE = ".mrxs"  # its content lies in a folder of its name


class FileReader:
    """An open file that several threads read without a common position."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self._lock = Lock()
        self.size = os.fstat(self._file.fileno()).st_size

    def read(self, offset: int, count: int) -> bytes:
        """Read bytes at a place."""
        try:
            data = self._at(offset, count)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.path} can be read no more: {error}. Check the drive or the network, then open the slide again."
            ) from error
        if len(data) < count:
            raise EOFError(f"the file ends at byte {self.size}, before byte {offset + count}: it is truncated")
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _at(self, offset: int, count: int) -> bytes:
        """Read at a place, in one call where the system has one."""
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), count, offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.read(count)


def fingerprint_of(path: Path) -> str:
    """Hash the content of a slide without reading all of it.

    Sizes of the files, blocks and many small samples evenly spread over the larger ones, and of TIFF files the lengths
    of all tiles, which differ wherever another picture was compressed. Names and places play no part, so that a copy
    under another name is the same slide. Bytes that were changed between the samples, and no lengths with them, are
    not seen.
    """
    digest = hashlib.sha256()
    files = [path] if path.is_file() else []
    folder = path.with_suffix("") if path.suffix.lower() == FOLDER_BESIDE else path
    files += _spread(sorted(file for file in folder.rglob("*") if file.is_file())) if folder.is_dir() else []
    for file in files:
        _add(digest, file)
    return digest.hexdigest()


def _spread(files: list[Path]) -> list[Path]:
    """Some of many files, evenly spread."""
    return files[:: max(1, len(files) // MOST_FILES)]


def _add(digest: hashlib._Hash, file: Path) -> None:
    """Add a file's size, some of its content, and how long its tiles are."""
    size = file.stat().st_size
    digest.update(f"{size} ".encode())
    with file.open("rb") as content:
        for number, length in ((BLOCKS, BLOCK_BYTES), (SAMPLES, SAMPLE_BYTES)):
            last = max(size - length, 0)
            for offset in sorted({last * block // (number - 1) for block in range(number)}):
                content.seek(offset)
                digest.update(content.read(length))
        for table in length_tables(content):
            digest.update(table)
