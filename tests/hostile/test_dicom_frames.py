"""DICOM slides that would crash OpenSlide, or take gigabytes, are refused before it reads them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from pydicom import Dataset

from hostile import dicom
from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.files import open_regular
from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.reading import openslide
from napari_melanoma.slides.reading.opening import open_slide

TISSUE = np.random.default_rng(0).integers(100, 255, (400, 300, 3)).astype(np.uint8)


def reordered(path: Path, change: str) -> None:
    """Change an entry of the table of frames."""
    content = bytearray(path.read_bytes())
    start = content.index(b"\xe0\x7f\x10\x00") + 20
    offsets = list(struct.unpack("<12I", content[start : start + 48]))
    offsets[5] = {"beyond the end": 2**30, "again": offsets[4], "before": offsets[1], "zero": 0}[change]
    content[start : start + 48] = struct.pack("<12I", *offsets)
    path.write_bytes(content)


@pytest.mark.parametrize("change", ["beyond the end", "again", "before", "zero"])
def test_frames_in_an_order_that_crashes_openslide_are_refused(tmp_path: Path, change: str) -> None:
    path = dicom.slide(tmp_path / "slide", TISSUE, compressed=True)
    with open_slide(path.parent) as slide:
        slide.read_region(0, Box(0, 0, 400, 300))
    reordered(path, change)
    with pytest.raises(UnreadableImage, match=r"level7\.1\.dcm has a damaged table of frames: frame [67] of 12"):
        open_slide(path.parent)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"NumberOfFrames": 2**31 - 1}, "states 2,147,483,647 frames, but has only"),
        ({"Rows": 65535, "Columns": 65535}, "states frames of 65,535 x 65,535 pixels"),
    ],
)
def test_absurd_frames_are_refused_before_memory_is_taken(tmp_path: Path, values: dict[str, int], message: str) -> None:
    def change(made: object) -> None:
        for name, value in values.items():
            setattr(made, name, value)

    path = dicom.slide(tmp_path / "slide", TISSUE, compressed=False, change=change)
    with pytest.raises(UnreadableImage, match=message):
        open_slide(path.parent)


def test_a_frame_at_the_largest_number_does_not_hide_the_next(tmp_path: Path) -> None:
    def change(made: Dataset) -> None:
        offsets = [1000 * frame for frame in range(12)]
        offsets[3] = 2**64 - 1
        made.ExtendedOffsetTable = struct.pack("<12Q", *offsets)

    path = dicom.slide(tmp_path / "slide", TISSUE, compressed=True, change=change)
    with pytest.raises(UnreadableImage, match="damaged table of frames: frame 5 of 12"):
        open_slide(path.parent)


def test_an_unreadable_file_next_to_a_slide_is_ignored(tmp_path: Path, monkeypatch) -> None:
    path = dicom.slide(tmp_path / "slide", TISSUE, compressed=False)
    (path.parent / "of_others.dcm").write_bytes(b"")

    def opened(one: Path) -> BinaryIO:
        if one.name == "of_others.dcm":
            raise PermissionError(13, "Permission denied")
        return open_regular(one)

    monkeypatch.setattr(openslide, "open_regular", opened)
    with open_slide(path) as slide:
        slide.read_region(0, Box(0, 0, 400, 300))


def test_a_damaged_file_does_not_use_its_neighbor(tmp_path: Path) -> None:
    def change(made: Dataset) -> None:
        made.Rows = made.Columns = 65535

    path = dicom.slide(tmp_path / "slide", TISSUE, compressed=False, change=change)
    cut = path.with_name("cut.dcm")
    cut.write_bytes(path.read_bytes()[:200])
    openslide.check_dicom_frames(cut)
