"""The difference of two maps between strokes: in which classes, how much, and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import RunError
from napari_melanoma.evaluation.map_difference import MIN_CELLS, MapDifference, UnpaintedCells
from napari_melanoma.slides.tissue_classifier.unpainted_tiles import UNPAINTED_TABLE

CELLS = 100  # of each class; those of a class are in a tile of their own


def make_cells(*, certain: int = 2 * CELLS) -> UnpaintedCells:
    """Cells of skin and of fat in a row, of which the first ones are certain."""
    return UnpaintedCells(
        image=("a",) * CELLS + ("b",) * CELLS,
        position=((0, 0),) * 2 * CELLS,
        fingerprint=("f",) * 2 * CELLS,
        center=tuple((0.0, 32.0 * column) for column in range(2 * CELLS)),
        painted=("skin",) * CELLS + ("fat",) * CELLS,
        probability=(0.95,) * certain + (0.6,) * (2 * CELLS - certain),
    )


def predict(skin: int, fat: int) -> np.ndarray:
    """Predict tumor in the first cells of each class, and the class of the painted classifier in the others."""
    return np.array(["tumor"] * skin + ["skin"] * (CELLS - skin) + ["tumor"] * fat + ["fat"] * (CELLS - fat))


def test_equal_maps() -> None:
    difference = MapDifference.measure(make_cells(), predict(0, 0))
    assert (difference.share, difference.places, difference.is_wide) == (0, (), False)
    assert difference.describe().endswith("in 100% of 200 cells with a probability of at least 90%.")


def test_a_class_that_differs_widely_is_named_with_its_places() -> None:
    difference = MapDifference.measure(make_cells(), predict(5, 31))
    assert difference.share == pytest.approx(0.18)
    assert [(one.name, one.cells, one.share, one.predicted) for one in difference.classes] == [
        ("fat", CELLS, 0.31, "tumor"),
        ("skin", CELLS, 0.05, "tumor"),
    ]
    assert difference.is_wide
    assert difference.describe().endswith("at least 90%. The maps differ widely: 31% of 'fat' become mostly 'tumor'.")
    first, second = difference.places
    assert (first.image, first.cells, first.painted, first.network) == ("b", 31, "fat", "tumor")
    assert first.center == (0.0, 32.0 * (CELLS + 15))
    assert (second.image, second.cells) == ("a", 5)


def test_uncertain_cells_and_classes_with_few_cells_do_not_count() -> None:
    difference = MapDifference.measure(make_cells(certain=CELLS + MIN_CELLS - 1), predict(0, CELLS))
    assert [one.name for one in difference.classes] == ["skin"]
    assert not difference.is_wide
    assert difference.cells == CELLS + MIN_CELLS - 1
    none = MapDifference.measure(make_cells(certain=0), predict(0, CELLS))
    assert "were not compared between the strokes" in none.describe()


def test_missing_and_damaged_cells(tmp_path: Path) -> None:
    assert UnpaintedCells.read(tmp_path) is None
    (tmp_path / UNPAINTED_TABLE).write_text("image_id,row\nt,x\n")
    with pytest.raises(RunError, match="cannot be read"):
        UnpaintedCells.read(tmp_path)
