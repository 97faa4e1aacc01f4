"""Checks of the frames of a DICOM slide before OpenSlide reads it, which would crash or take gigabytes."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.files import open_regular
from napari_melanoma.io.formats import HEAD_BYTES, identify
from napari_melanoma.io.slides.tiff_sources import MOST_TILE_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

_PIXELS, _ITEM, _UNDEFINED = b"\xe0\x7f\x10\x00", b"\xfe\xff\x00\xe0", b"\xff\xff\xff\xff"
_LOOKED_AT = ["SeriesInstanceUID", "Rows", "Columns", "NumberOfFrames", "ExtendedOffsetTable"]
_ITEM_BYTES = 8  # tag and length in front of each frame
_BYTES_PER_PIXEL = 4  # as OpenSlide decodes


def check_frames(file: Path) -> None:
    """Refuse a DICOM slide whose frames are absurdly large, or listed in another order than they can be stored in.

    OpenSlide reads the files of a series that lie beside each other; all of them are checked.
    """
    first = _read(file)
    if first is None:
        return
    series = first[0].get("SeriesInstanceUID")
    others = (other for other in sorted(file.parent.iterdir()) if other != file and other.is_file())
    for path, found in chain([(file, first)], ((other, _read(other)) for other in others)):
        if found is not None and found[0].get("SeriesInstanceUID") == series:
            _check_size(path, found[0])
            _check_order(path, found[1])


def _read(path: Path) -> tuple[Dataset, NDArray[np.uint64]] | None:
    """Head and table of frames of a DICOM file; None for any other, and where OpenSlide says what is wrong with it."""
    from pydicom import dcmread

    try:
        with open_regular(path) as content:
            if identify(content.read(HEAD_BYTES)) != "DICOM":
                return None
            content.seek(0)
            head = dcmread(content, stop_before_pixels=True, specific_tags=_LOOKED_AT)
            return head, _offsets(head, content)
    except Exception:  # noqa: BLE001 - pydicom raises many kinds; a file of another slide may be closed to the user
        return None


def _check_size(path: Path, head: Dataset) -> None:
    frames = int(head.get("NumberOfFrames") or 0)
    if frames > path.stat().st_size:  # memory is taken for each
        raise UnreadableImage(
            f"{path.name} states {frames:,} frames, but is of {path.stat().st_size:,} bytes. It is damaged: copy it "
            "again from its source."
        )
    rows, columns = int(head.get("Rows") or 0), int(head.get("Columns") or 0)
    if rows * columns * _BYTES_PER_PIXEL > MOST_TILE_BYTES:
        raise UnreadableImage(
            f"{path.name} states frames of {rows:,} x {columns:,} pixels, but frames of at most "
            f"{MOST_TILE_BYTES / 2**20:.0f} MB are read. It is damaged: copy it again from its source."
        )


def _check_order(path: Path, offsets: NDArray[np.uint64]) -> None:
    """Refuse frames that do not follow one another: OpenSlide crashes on a length of 0 or less."""
    before, after = offsets[:-1], offsets[1:]
    # Compared without a sum, which starts again at 0 beyond the largest number.
    wrong = ((after < before) | (after - before <= _ITEM_BYTES)).nonzero()[0]
    if wrong.size:
        raise UnreadableImage(
            f"{path.name} has a damaged table of frames: frame {int(wrong[0]) + 2} of {len(offsets)} begins before "
            "the end of the one before it. Copy the slide again from its source."
        )


def _offsets(head: Dataset, content: BinaryIO) -> NDArray[np.uint64]:
    """Where the compressed frames begin, in bytes; empty where they are not compressed or not listed.

    ``content``: at the element of the pixels, where pydicom has stopped.
    """
    if "ExtendedOffsetTable" in head:
        return np.frombuffer(head.ExtendedOffsetTable, "<u8")
    element, item = content.read(12), content.read(_ITEM_BYTES)
    if element[:4] != _PIXELS or element[8:] != _UNDEFINED or item[:4] != _ITEM:
        return np.empty(0, np.uint64)
    table = content.read(int.from_bytes(item[4:], "little"))
    return np.frombuffer(table[: len(table) // 4 * 4], "<u4").astype(np.uint64)
