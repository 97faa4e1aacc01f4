"""The visited area of a slide: what a view covers, also rotated, and the highest magnification of each part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.slides.notes import (
    MAX_CELLS,
    SeenView,
    add_view,
    empty_visited,
    read_visited,
    seen_ratios,
    write_visited,
)

SIZE = (5120, 10240)  # a cell has 40 pixels


def view(center=(2000, 4000), extent=(400, 1200), angle=0.0, pixel_size=(1.0, 1.0), screen_px=1200.0):
    return SeenView(center, extent, pixel_size, angle, screen_px)


@pytest.mark.parametrize(
    ("seen", "rows", "columns"),
    [
        (view(), (1800, 2200), (3400, 4600)),
        (view(angle=90.0), (1400, 2600), (3800, 4200)),
        (view(angle=-90.0), (1400, 2600), (3800, 4200)),
        (view(angle=180.0), (1800, 2200), (3400, 4600)),
        (view(pixel_size=(0.5, 1.0)), (1600, 2400), (3400, 4600)),
        (view(center=(0, 0)), (0, 200), (0, 600)),
        (view(center=(2020, 4020), extent=(10, 10)), (2000, 2040), (4000, 4040)),
    ],
    ids=["upright", "a quarter", "the other quarter", "upside down", "rectangular pixels", "corner", "within a cell"],
)
def test_the_cells_of_a_view_are_seen(seen, rows, columns):
    visited = add_view(empty_visited(SIZE), SIZE, seen)
    assert visited.shape == (128, MAX_CELLS)
    marked = np.argwhere(visited)
    low, high = marked.min(axis=0) * 40, (marked.max(axis=0) + 1) * 40
    assert np.abs(low - (rows[0], columns[0])).max() <= 20
    assert np.abs(high - (rows[1], columns[1])).max() <= 20
    assert len(marked) == np.prod((high - low) / 40)


def test_a_tilted_view_covers_its_own_area():
    visited = add_view(empty_visited(SIZE), SIZE, view(angle=30.0, extent=(800, 2400)))
    assert np.count_nonzero(visited) * 40**2 == pytest.approx(800 * 2400, rel=0.03)
    # Rotated clockwise, the right end of the screen shows what is higher up on the slide.
    right, left = (2000 - 500, 4000 + 866), (2000 + 500, 4000 + 866)
    assert visited[right[0] // 40, right[1] // 40]
    assert not visited[left[0] // 40, left[1] // 40]


def test_a_view_outside_the_slide_is_not_recorded():
    assert not add_view(empty_visited(SIZE), SIZE, view(center=(9000, 9000))).any()


def test_the_highest_magnification_stays():
    visited = empty_visited(SIZE)
    for screen_px in (300.0, 1200.0, 600.0):
        visited = add_view(visited, SIZE, view(screen_px=screen_px))
    visited = add_view(visited, SIZE, view(extent=(2000, 4000), screen_px=400.0))
    ratios = seen_ratios(visited)
    assert ratios[2000 // 40, 4000 // 40] == 1
    assert ratios[1500 // 40, 4000 // 40] == pytest.approx(0.1, rel=0.1)
    assert ratios[0, 0] == 0


def test_it_is_kept_in_a_file(tmp_path: Path):
    path = tmp_path / "visited" / "a.png"
    visited = add_view(empty_visited(SIZE), SIZE, view())
    write_visited(path, visited)
    np.testing.assert_array_equal(read_visited(path, SIZE), visited)
    assert not read_visited(path, (300, 200)).any()  # of another slide
    write_visited(path, empty_visited(SIZE))
    assert not path.exists()
    path.write_bytes(b"no picture")
    assert not read_visited(path, SIZE).any()
