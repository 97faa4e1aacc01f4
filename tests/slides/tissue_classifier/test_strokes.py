"""Strokes: the cells that they cover, the latest of overlapping strokes, and their file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import MapPlacement
from napari_melanoma.slides.tissue_classifier.strokes import (
    MAX_CELLS,
    PaintedCells,
    Stroke,
    cells_of_stroke,
    delete_class,
    read_stroke_file,
    read_strokes,
    rename_class,
    write_strokes,
)


@dataclass(frozen=True)
class Raster:
    """Cells of 100 pixels, the first corner at (50, 20)."""

    shape: tuple[int, int] = (30, 40)
    placement: MapPlacement = field(default_factory=lambda: MapPlacement(50, 20, 100, 100))


GRID = Raster()
BRUSH = Stroke("a", "dermis", "brush", ((250.0, 170.0), (250.0, 570.0)), 30.0, "Reader 1", "2026-01-02T10:00:00+00:00")


def at(*cells: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    """Convert positions in cells to pixels."""
    return tuple((float(row), float(column)) for row, column in GRID.placement.to_slide(cells).tolist())


def square(first: tuple[float, float], last: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    return at(first, (first[0], last[1]), last, (last[0], first[1]))


CASES = {
    "a thin line covers the cells that it runs through": (
        Stroke("s", "a", "brush", at((2.5, 1.5), (2.5, 4.5)), 1.0),
        [(2, 1), (2, 2), (2, 3), (2, 4)],
    ),
    "a brush covers the cells whose center is within its radius": (
        Stroke("s", "a", "brush", at((2.5, 2.5)), 100.0),
        [(1, 2), (2, 1), (2, 2), (2, 3), (3, 2)],
    ),
    "a point near a corner covers the cell under it": (Stroke("s", "a", "brush", at((2.95, 3.05)), 1.0), [(2, 3)]),
    "a polygon covers the cells whose center is inside": (
        Stroke("s", "a", "polygon", square((1.4, 1.6), (2.6, 3.6))),
        [(1, 2), (1, 3), (2, 2), (2, 3)],
    ),
    "a small polygon covers the cell under it": (Stroke("s", "a", "polygon", square((1.1, 1.1), (1.2, 1.2))), [(1, 1)]),
    "a polygon with a hole": (
        Stroke("s", "a", "polygon", square((0, 0), (3, 3)), holes=(square((1, 1), (2, 2)),)),
        [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)],
    ),
    "a polygon that crosses itself": (
        Stroke("s", "a", "polygon", at((0, 0), (0, 2), (2, 0), (2, 2))),
        [(0, 0), (0, 1), (1, 0), (1, 1)],
    ),
    "clicked cells": (Stroke("s", "a", "cells", at((3.2, 3.9), (0.1, 0.1), (3.3, 3.8))), [(0, 0), (3, 3)]),
    "a stroke partly outside the slide": (
        Stroke("s", "a", "brush", at((29.5, 38.5), (29.5, 45.0)), 1.0),
        [(29, 38), (29, 39)],
    ),
    "a stroke outside the slide": (Stroke("s", "a", "brush", at((-5.0, 3.0), (-4.0, 9.0)), 50.0), []),
}


@pytest.mark.parametrize("name", CASES)
def test_cells_of_a_stroke(name: str) -> None:
    stroke, expected = CASES[name]
    cells = cells_of_stroke(stroke, GRID)
    assert cells.dtype == np.int32
    assert [tuple(cell) for cell in cells.tolist()] == expected


@example([(3.0378681775235457, 0.0), (-0.5, 0.0)], 0.0, "brush")  # along a border of cells
@given(
    st.lists(st.tuples(st.floats(-5, 35), st.floats(-5, 45)), min_size=1, max_size=5),
    st.floats(0, 400),
    st.sampled_from(["brush", "polygon", "cells"]),
)
def test_a_shifted_stroke_covers_the_shifted_cells(points: list[tuple[float, float]], radius: float, kind: str) -> None:
    stroke = Stroke("s", "a", kind, at(*points), radius)  # type: ignore[arg-type]
    moved = replace(GRID, placement=MapPlacement(50 + 300, 20 + 200, 100, 100))
    shifted = replace(stroke, points=tuple((row + 300, column + 200) for row, column in stroke.points))
    cells = cells_of_stroke(stroke, GRID)
    assert abs(len(cells) - len(cells_of_stroke(shifted, moved))) <= 1  # a center may be on the border
    assert (cells >= 0).all()
    assert (cells < GRID.shape).all()
    assert len(np.unique(cells, axis=0)) == len(cells)


def test_each_cell_belongs_to_its_latest_stroke() -> None:
    first = Stroke("b", "dermis", "brush", at((2.5, 0.5), (2.5, 5.5)), 1.0, date="2026-01-01T10:00:00+02:00")
    second = Stroke("a", "fat", "brush", at((0.5, 3.5), (4.5, 3.5)), 1.0, date="2026-01-01T09:00:00+00:00")
    third = Stroke("c", "fat", "cells", at((4.5, 3.5)), date="2026-01-01T09:00:01+00:00")
    beyond = Stroke("d", "fat", "cells", at((-1, 3)), date="2026-01-01T09:00:02+00:00")
    painted = PaintedCells.of_slide([beyond, second, third, first], GRID)
    assert [stroke.id for stroke in painted.strokes] == ["b", "a", "c"]
    owners = [painted.strokes[index].id for index in painted.stroke]
    cells = dict(zip(map(tuple, painted.cells.tolist()), owners, strict=True))
    assert cells[2, 3] == "a"  # painted later, although its date has the smaller text
    assert cells[4, 3] == "c"
    assert [list(cells.values()).count(name) for name in "bac"] == [5, 4, 1]
    assert painted.notes == (
        "1 stroke outside the slide: left out.",
        "1 cell painted with two classes: the later stroke is used.",
    )


@given(st.permutations(range(6)))
def test_painted_cells_do_not_depend_on_the_order_of_strokes(order: list[int]) -> None:
    strokes = [
        Stroke(f"{index}", "ab"[index % 2], "brush", at((index, 0), (5 - index, 9)), 80.0, date="2026-01-01")
        for index in range(6)
    ]
    expected = PaintedCells.of_slide(strokes, GRID)
    painted = PaintedCells.of_slide([strokes[index] for index in order], GRID)
    assert painted.strokes == expected.strokes
    np.testing.assert_array_equal(painted.cells, expected.cells)
    np.testing.assert_array_equal(painted.stroke, expected.stroke)


def test_a_large_stroke_is_thinned_evenly() -> None:
    painted = PaintedCells.of_slide([Stroke("a", "a", "polygon", square((0, 0), (30, 40)))], GRID)
    assert len(painted.cells) == MAX_CELLS
    assert painted.cells[0].tolist() == [0, 0]
    assert painted.cells[-1].tolist() == [29, 39]
    assert np.diff(painted.cells[:, 0]).max() <= 1


def test_no_strokes() -> None:
    painted = PaintedCells.of_slide([], GRID)
    assert painted.cells.shape == (0, 2)
    assert (painted.strokes, painted.notes, len(painted.stroke)) == ((), (), 0)


def test_rename_and_delete_a_class() -> None:
    strokes = [BRUSH, replace(BRUSH, id="b", class_name="fat")]
    assert [stroke.class_name for stroke in rename_class(strokes, "dermis", "fat")] == ["fat", "fat"]
    assert delete_class(strokes, "dermis") == (strokes[1],)


STROKES = (
    BRUSH,
    Stroke("p", "fat", "polygon", ((0.5, 1.0), (0.5, 9.0), (7.0, 9.0)), holes=(((1.0, 6.0), (2.0, 7.0), (1.0, 7.0)),)),
    Stroke("c", "fat", "cells", ((10.0, 20.0), (30.5, 40.0))),
    Stroke("one", "fat", "cells", ((10.0, 20.0),)),
    Stroke("dot", "fat", "brush", ((10.0, 20.0),), 4.5),
)


@pytest.mark.parametrize("origin", [(0, 0), (100, 700)])
def test_strokes_are_read_as_written(tmp_path: Path, origin: tuple[int, int]) -> None:
    path = tmp_path / "strokes.geojson"
    classes = {"glass": None, "fat": (255, 200, 0), "dermis": (1, 2, 3)}
    write_strokes(path, STROKES, classes, origin=origin)
    stored = read_stroke_file(path, (5, 5))  # the file states its own origin
    assert stored.strokes == STROKES
    first = json.loads(path.read_text())["features"][0]["geometry"]["coordinates"][0]
    assert first == [170 - origin[1], 250 - origin[0]]  # x, y
    assert list(stored.classes.items()) == list(classes.items())
    assert read_strokes(path)[0].class_name == "dermis"
    assert stored.notes == ()


def test_strokes_of_qupath(tmp_path: Path) -> None:
    path = tmp_path / "qupath.geojson"
    fat = {"classification": {"name": "fat", "color": [9, 8, 7]}, "measurements": {"x": float("nan")}}
    ring = [[0, 0], [4, 0], [4, 4], [0, 0]]
    features = [
        {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, "properties": fat},
        {"id": "m", "geometry": {"type": "MultiPolygon", "coordinates": [[ring], [ring]]}, "properties": fat},
        {"geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}},
        {"geometry": None, "properties": fat},
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    stored = read_stroke_file(path, (10, 20))
    assert [(stroke.id, stroke.kind, stroke.points[0]) for stroke in stored.strokes] == [
        ("1", "brush", (12.0, 21.0)),
        ("m", "polygon", (10.0, 20.0)),
        ("m-2", "polygon", (10.0, 20.0)),
    ]
    assert stored.classes == {"fat": (9, 8, 7)}
    assert len(stored.unread) == 2
    assert "2 of 4 features" in stored.notes[0]


def test_a_file_without_features_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "strokes.geojson"
    path.write_text("[]")
    with pytest.raises(InputError, match="has no features: expected strokes as GeoJSON"):
        read_strokes(path)
