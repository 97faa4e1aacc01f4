"""The metadata of a Zarr folder, checked before zarr parses it without limits."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.core.parsing import read_object
from napari_melanoma.core.paths import is_inside

MARKS = ("zarr.json", ".zattrs", ".zgroup", ".zarray", ".zmetadata")


def check_metadata(folder: Path) -> None:
    """Refuse a Zarr group whose metadata, or that of its members, is not valid JSON within the limits."""
    for place in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        for path in (place / mark for mark in MARKS):
            if path.is_file() and is_inside(path, folder):  # the others are not read at all
                read_object(path)
