"""Tiles are the same with and without helper threads, and only what is displayed is cached until an analysis reads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.reading import tiled
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import DamagedTile
from napari_melanoma.slides.reading.tiled import TileCache, decode_in_this_thread, start_in_thread

CELLS = [(row, column) for row in range(5) for column in range(8)]
WHOLE = Box(0, 0, 410, 300)


def decode(cell: tuple[int, int]) -> np.ndarray:
    return np.full((2, 2, 3), 8 * cell[0] + cell[1], np.uint8)


@pytest.fixture(params=[1, 2, 4])
def helpers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of threads."""
    pool = ThreadPoolExecutor(request.param, initializer=decode_in_this_thread)
    monkeypatch.setattr(tiled, "_thread_count", lambda: request.param)
    monkeypatch.setattr(tiled, "_decoder_threads", lambda: pool)
    return int(request.param)


def test_tiles_are_in_order_with_any_number_of_threads(helpers: int) -> None:
    found = tiled._map_with_helpers(decode, CELLS)
    np.testing.assert_array_equal(found, [decode(cell) for cell in CELLS])


def test_the_error_is_that_of_the_first_tile_with_one(helpers: int) -> None:
    def fail(cell: tuple[int, int]) -> np.ndarray:
        if cell[1] >= 3:
            raise OSError(str(cell))
        return decode(cell)

    for _ in range(20):
        with pytest.raises(OSError, match=r"\(0, 3\)"):
            tiled._map_with_helpers(fail, CELLS)


def test_a_helper_that_is_busy_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(tiled, "_thread_count", lambda: 2)
        monkeypatch.setattr(tiled, "_decoder_threads", lambda: pool)
        pool.submit(done.wait, 60)
        assert len(tiled._map_with_helpers(decode, CELLS)) == len(CELLS)
        assert start_in_thread(decode, (0, 7))()[0, 0, 0] == 7
        done.set()


def test_a_slide_is_the_same_with_helpers(
    write_svs, damage, tissue: np.ndarray, helpers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiled, "MIN_TILES_FOR_THREADS", 2)
    path = write_svs(compression="zlib")
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read_region(0, WHOLE), tissue)
    for index in (23, 7, 12):
        damage(path, 0, index)
    with open_slide(path) as slide, pytest.raises(DamagedTile, match="row 64, column 128"):
        slide.read_region(0, WHOLE)


def test_displayed_slides_are_cached_for_a_few_views_and_analyzed_ones_as_far_as_possible(
    write_svs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = TileCache(2**24, least_bytes=1000)
    monkeypatch.setattr(tiled, "shared_cache", lambda: cache)
    tile = 64 * 64 * 3
    with open_slide(write_svs()) as slide, open_slide(write_svs("other.svs")) as other:
        slide.read_for_display(0, Box(0, 0, 64, 64))
        assert cache.size_bytes == tiled.KEPT_VIEWS * tile
        slide.read_for_display(0, Box(10, 10, 64, 128))
        assert cache.size_bytes == tiled.KEPT_VIEWS * 6 * tile
        other.read_for_display(0, Box(0, 0, 64, 64))
        assert cache.size_bytes == tiled.KEPT_VIEWS * 7 * tile
        for left in range(0, 256, 16):
            slide.read_for_display(0, Box(300, left, 110, 44))
            assert cache.used_bytes <= cache.size_bytes
        other.read_region(0, Box(0, 0, 64, 64))
        assert cache.size_bytes == cache.limit_bytes
    cache.put("later", np.zeros(10, np.uint8))
    assert cache.size_bytes == 1000
