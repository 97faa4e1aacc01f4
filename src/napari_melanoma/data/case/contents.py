"""What is in a file, said in a digest by which the file is found again after it was moved or renamed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import open_regular

WHOLE_UP_TO = 64 * 1024 * 1024  # a slide of 4 GB would take half a minute
BLOCK, BLOCKS = 1024 * 1024, 16


def content_digest(path: Path) -> str:
    """SHA-256 of a file's size and content; of a file above 64 MiB, of 16 blocks of 1 MiB spread evenly over it."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            digest = hashlib.sha256(f"{size} ".encode())
            for start in _starts(size):
                file.seek(start)
                digest.update(file.read(BLOCK))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}. Check that it is still there.") from error
    return digest.hexdigest()


def _starts(size: int) -> list[int]:
    """Where the blocks begin that are read of a file of so many bytes."""
    if size <= WHOLE_UP_TO:
        return list(range(0, size, BLOCK))
    return [number * (size - BLOCK) // (BLOCKS - 1) for number in range(BLOCKS)]
