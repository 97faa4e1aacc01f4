"""Suggested places to paint, and cells that are out of distribution."""

from __future__ import annotations

import numpy as np
import pytest
from painted_tables import Table

from napari_melanoma.core.errors import BundleError
from napari_melanoma.slides.tissue_classifier.suggestions import (
    APART_CELLS,
    CellNovelty,
    suggest_cells,
)

ROWS, COLUMNS = 20, 30
CELLS = np.argwhere(np.ones((ROWS, COLUMNS), bool)).astype(np.int32)
NONE = np.empty((0, 2), np.int32)


def uncertain_at(*places: tuple[int, int]) -> np.ndarray:
    """Probabilities of two classes: 0.9 everywhere, but nearly even at some cells, the first the least certain."""
    probability = np.full((ROWS, COLUMNS), 0.9)
    for number, place in enumerate(places):
        probability[place] = 0.5 + 0.01 * number
    return np.stack([probability.ravel(), 1 - probability.ravel()], axis=1)


def features_of_columns() -> np.ndarray:
    """The feature of a cell is its column, with a little noise."""
    return CELLS[:, 1:] + 1e-3 * np.random.default_rng(0).normal(size=(len(CELLS), 1))


def test_uncertain_and_different_cells_are_suggested() -> None:
    places = [(2, 3), (3, 4), (9, 3), (15, 28)]  # the second is next to the first, the third has its features
    suggested = suggest_cells(uncertain_at(*places), features_of_columns(), CELLS, NONE, 2)
    assert [tuple(cell) for cell in CELLS[suggested].tolist()] == [(2, 3), (15, 28)]


def test_suggestions_keep_away_from_strokes_and_from_each_other() -> None:
    painted = np.array([[2, 3]], np.int32)
    suggested = CELLS[suggest_cells(uncertain_at((2, 3), (4, 5), (10, 20)), features_of_columns(), CELLS, painted, 6)]
    assert suggested[0].tolist() == [10, 20]
    assert np.abs(suggested - painted).max(axis=1).min() >= APART_CELLS
    for index, cell in enumerate(suggested):
        assert np.abs(np.delete(suggested, index, axis=0) - cell).max(axis=1).min() >= APART_CELLS


@pytest.mark.parametrize("shape", [(0, 2), (3, 2), (1, 1)])
def test_few_cells_give_few_suggestions(shape: tuple[int, int]) -> None:
    cells = np.array([[0, 0], [0, 9], [9, 9]], np.int32)[: shape[0]]
    probability = np.full(shape, 1 / shape[1])
    features = np.arange(float(shape[0]))[:, None]
    assert sorted(suggest_cells(probability, features, cells, NONE)) == list(range(shape[0]))


def test_equal_cells_are_suggested_once() -> None:
    assert len(suggest_cells(uncertain_at(), np.zeros((len(CELLS), 4)), CELLS, NONE, 5)) == 1


def test_cells_out_of_distribution() -> None:
    cells, new = Table(strokes=10).build(), Table(strokes=10, seed=1).build()
    novelty = CellNovelty.fit(cells)
    assert novelty is not None
    inside = novelty.is_out_of_distribution(new.features).mean()
    assert 0 < inside < 0.05
    assert novelty.is_out_of_distribution(new.features + 4).mean() > 0.9
    assert novelty.advise(inside) == ""
    assert novelty.advise(0.834).startswith("Out of distribution: 83 % of this slide differs from all strokes")
    restored = CellNovelty.from_arrays(novelty.arrays, novelty.limit, 20)
    distances = [one.detector.distance(new.features) for one in (novelty, restored)]
    np.testing.assert_allclose(*distances, rtol=1e-4)
    with pytest.raises(BundleError, match="do not fit 21 features"):
        CellNovelty.from_arrays(novelty.arrays, novelty.limit, 21)


def test_one_stroke_has_no_novelty() -> None:
    assert CellNovelty.fit(Table(classes=1, strokes=1).build()) is None
