"""The fingerprint of a slide: the same for copies, another where tiles are, quick, and never an error."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_melanoma.slides.reading.files import (
    BLOCK_BYTES,
    BLOCKS,
    read_compression,
    slide_fingerprint,
    tile_length_tables,
)


def drawn(path: Path, *, big: bool = False, order: str = "<", changed: bool = False) -> Path:
    """A pyramid with a level within its first page; ``changed`` redraws one tile."""
    rgb = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    if changed:
        rgb[256:384, 384:512] = 200
    how = {"tile": (128, 128), "photometric": "rgb", "compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as tiff:
        tiff.write(rgb, subifds=1, **how)
        tiff.write(rgb[::2, ::2], subfiletype=1, **how)
        tiff.write(rgb[::8, ::8].copy(), **how)
    return path


@pytest.mark.parametrize(("big", "order"), [(False, "<"), (True, "<"), (False, ">"), (True, ">")])
def test_the_lengths_of_all_tiles_are_read(tmp_path: Path, big: bool, order: str) -> None:
    path = drawn(tmp_path / "a.tif", big=big, order=order)
    with tifffile.TiffFile(path) as tiff:
        pages = [tiff.pages[0], tiff.pages[0].pages[0], tiff.pages[1]]
        expected = [list(page.databytecounts) for page in pages]
    with path.open("rb") as file:
        tables = list(tile_length_tables(file))
    assert [len(lengths) for lengths in expected] == [64, 16, 1]
    for lengths in expected:
        written = [np.array(lengths).astype(f"{order}u{width}").tobytes() for width in (2, 4, 8)]
        assert any(table in written for table in tables)


def test_a_copy_is_the_same_slide_and_one_other_tile_makes_another(tmp_path: Path) -> None:
    path = drawn(tmp_path / "a.tif")
    copy = tmp_path / "b.tif"
    shutil.copy(path, copy)
    assert slide_fingerprint(copy) == slide_fingerprint(path)
    other = drawn(tmp_path / "c.tif", changed=True)
    size = max(path.stat().st_size, other.stat().st_size)
    for file in (path, other):  # so that the sizes are equal
        file.write_bytes(file.read_bytes().ljust(size, b"\0"))
    assert slide_fingerprint(other) != slide_fingerprint(path)


def test_a_slide_of_which_much_is_lost_is_another_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path, bad = tmp_path / "a.bin", tmp_path / "b.bin"
    content = bytearray(rng.bytes(2**25))
    path.write_bytes(content)
    last = len(content) - BLOCK_BYTES
    start, end = last * 3 // (BLOCKS - 1) + BLOCK_BYTES, last * 4 // (BLOCKS - 1)
    content[start:end] = bytes(end - start)  # between two of the larger blocks
    bad.write_bytes(content)
    assert slide_fingerprint(bad) != slide_fingerprint(path)


@pytest.mark.parametrize("length", [0, 3, 8, 16, 200, 5000])
def test_a_truncated_or_damaged_file_is_not_an_error(tmp_path: Path, length: int) -> None:
    path = drawn(tmp_path / "a.tif")
    path.write_bytes(path.read_bytes()[:length])
    assert len(slide_fingerprint(path)) == 64
    path.write_bytes(b"II*\0\x08\0\0\0" + np.random.default_rng(length).bytes(4000))
    assert len(slide_fingerprint(path)) == 64


def test_cyclic_pages_end(tmp_path: Path) -> None:
    path = tmp_path / "circle.tif"
    path.write_bytes(b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0" + bytes(64))
    assert len(slide_fingerprint(path)) == 64


def test_mirax_fingerprint_includes_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a.mrxs").write_bytes(b"index")
    (tmp_path / "a" / "Data0001.dat").write_bytes(b"tiles")
    before = slide_fingerprint(tmp_path / "a.mrxs")
    (tmp_path / "a" / "Data0001.dat").write_bytes(b"other")
    assert slide_fingerprint(tmp_path / "a.mrxs") != before


def test_an_offset_beyond_any_file_is_no_error(tmp_path: Path) -> None:
    path = drawn(tmp_path / "a.tif", big=True)
    with path.open("rb+") as file:
        file.seek(8)
        file.write(b"\xff" * 8)
    assert len(slide_fingerprint(path)) == 64


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_the_compression_of_the_first_page_is_read(tmp_path: Path, big: bool, order: str) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), compression="zlib", bigtiff=big, byteorder=order)
    assert read_compression(path) == 8
    path.write_bytes(path.read_bytes()[:20])
    assert read_compression(path) is None
    path.write_bytes(b"no slide")
    assert read_compression(path) is None
