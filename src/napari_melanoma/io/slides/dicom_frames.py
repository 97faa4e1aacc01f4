"""Checks of the frames of a DICOM slide before OpenSlide reads it, which would crash or take gigabytes."""

from __future__ import annotations

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
    from pydicom import dcmread

    series = None
    for path in (file, *sorted(other for other in file.parent.iterdir() if other != file and other.is_file())):
        with open_regular(path) as content:
            if identify(content.read(HEAD_BYTES)) != "DICOM":
                continue
            content.seek(0)
            try:
                head = dcmread(content, stop_before_pixels=True, specific_tags=_LOOKED_AT)
                offsets = _offsets(head, content)
            except Exception:  # noqa: BLE001 - pydicom raises many kinds; OpenSlide says what is wrong with such a file
                continue
        series = series or head.get("SeriesInstanceUID")
        if head.get("SeriesInstanceUID") == series:
            _check_size(path, head)
            _check_order(path, offsets)


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
    wrong = (offsets[1:] <= offsets[:-1] + np.uint64(_ITEM_BYTES)).nonzero()[0]
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
