"""TIFF files with a loop in their chain of pages, which libraries would follow forever, are refused by every reader."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.extensions.privacy_audit.audit import audit
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.tiff import TiffLayout, check_page_chain, is_truncated
from napari_melanoma.slides.reading.detection import is_slide
from napari_melanoma.slides.reading.opening import open_slide


@pytest.fixture(params=[False, True], ids=["classic", "big"])
def endless(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Two pages, of which the second names the first as the next one."""
    path, pages = tmp_path / "round.tif", np.zeros((2, 64, 64, 3), np.uint8)
    with tifffile.TiffWriter(path, bigtiff=request.param) as writer:
        for page in pages:
            writer.write(page, photometric="rgb", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        first, second = tiff.pages[0], tiff.pages[1]
        end = second.offset + (8 + 20 * len(second.tags) if request.param else 2 + 12 * len(second.tags))
    with path.open("rb+") as file:
        file.seek(end)
        file.write(struct.pack("<Q" if request.param else "<I", first.offset))
    return path


@pytest.mark.parametrize("read", [read_photograph, open_slide], ids=["photograph", "slide"])
def test_an_endless_chain_of_pages_is_refused(endless: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(UnreadableImage, match=r"round\.tif.*has a loop"):
        read(endless)


def test_an_endless_chain_is_no_slide_and_ends_an_audit(endless: Path) -> None:
    assert not is_slide(endless)
    assert list(audit([endless], lambda finding: None, run=RunContext()).skipped) == [endless.name]
    assert not is_truncated(endless)


@pytest.mark.parametrize(
    "head", [b"MM, a text of two lines\n", b"IIRO\x08\0\0\0" + bytes(16)], ids=["text", "raw photograph"]
)
def test_a_file_with_another_number_than_tiff_is_not_checked_as_tiff(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(head * 100)
    with path.open("rb") as file:
        assert TiffLayout.read(file) is None
        check_page_chain(file)
    assert not is_truncated(path)
