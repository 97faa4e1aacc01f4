"""Find the cells of one or many slides whose features are most similar to those of a cell.

Features are standardized by their mean and spread on the searched slides, and compared by the cosine of their angle: of
the measures that were compared (docs/explanation/measurements.md), it finds the same tissue most often.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import NULL_CONTEXT, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.polygons import Point
from napari_melanoma.slides.tissue_classifier.cells import MARGIN_CELLS
from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures
from napari_melanoma.slides.tissue_classifier.stored_features import StoredFeatures

APART_CELLS = 2 * MARGIN_CELLS + 1  # rows or columns from which two cells have no context in common
SAMPLED_BLOCKS, SAMPLED_EVERY = 256, 4  # that features are standardized by: blocks of all slides, and step of cells
MIN_SPREAD = 1e-6  # of a feature
DEFAULT_COUNT = 10


@dataclass(frozen=True)
class SimilarCell:
    """A cell with its ``similarity``, -1 to 1.

    ``cell``: row and column in the grid of its slide. ``center``: (row, column) in pixels of the finest level.
    """

    slide: Path
    cell: tuple[int, int]
    center: Point
    similarity: float


@dataclass(frozen=True)
class SimilarCells:
    """The most similar cells of all slides, in descending order; ``cells``: number of searched cells of ``slides``."""

    found: tuple[SimilarCell, ...]
    cells: int
    slides: int


@dataclass(frozen=True, eq=False)
class FeatureScale:
    """Mean and spread of each feature, float32 (feature,)."""

    mean: NDArray[np.float32]
    spread: NDArray[np.float32]

    @classmethod
    def fit(cls, features: NDArray[np.floating]) -> Self:
        """Fit the scale on features (cell, feature)."""
        values = np.asarray(features, np.float64)
        spread = np.maximum(values.std(axis=0), MIN_SPREAD)
        return cls(values.mean(axis=0).astype(np.float32), spread.astype(np.float32))

    @classmethod
    def sample(cls, stores: Sequence[StoredFeatures], run: RunContext = NULL_CONTEXT) -> Self:
        """Fit the scale on evenly spaced cells of evenly spaced blocks, of each slide as many."""
        values = [np.zeros((0, stores[0].spec.features), np.float32)]
        for store in stores:
            blocks = store.list_blocks()
            chosen = np.linspace(0, len(blocks) - 1, min(len(blocks), max(1, SAMPLED_BLOCKS // len(stores))))
            for _, block in store.read_blocks(blocks[chosen.round().astype(int)], run):
                cells = block[::SAMPLED_EVERY, ::SAMPLED_EVERY].reshape(-1, block.shape[-1])
                values.append(cells[np.isfinite(cells).all(axis=1)])
        sampled = np.concatenate(values)
        return cls.fit(sampled if len(sampled) else np.zeros((1, sampled.shape[1])))

    def directions(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return standardized features of length 1, float32 (..., feature)."""
        scaled = (np.asarray(features, np.float32) - self.mean) / self.spread
        length = np.linalg.norm(scaled, axis=-1, keepdims=True)
        return np.asarray(scaled / np.maximum(length, MIN_SPREAD), np.float32)


def find_similar_cells(
    query: NDArray[np.floating],
    stores: Sequence[StoredFeatures],
    count: int = DEFAULT_COUNT,
    *,
    exclude: tuple[Path, tuple[int, int]] | None = None,
    run: RunContext = NULL_CONTEXT,
) -> SimilarCells:
    """Find the cells that are most similar to a cell.

    Found cells have no pixels in common, neither with each other nor with the cell of the query. One block and the
    similarities of one slide are in memory at a time: 3 MB for a slide of 600,000 cells.

    ``query``: features of the cell, float (feature,). ``stores``: of the same source of features. ``exclude``: slide
    and cell of the query.
    """
    if not stores:
        return SimilarCells((), 0, 0)
    scale = FeatureScale.sample(stores, run)
    direction = scale.directions(query)
    found: list[SimilarCell] = []
    searched = []
    for store in stores:
        similarity = compare_slide(direction, store, scale, run)
        searched.append(int(np.isfinite(similarity).sum()))
        near = [exclude[1]] if exclude is not None and exclude[0] == store.slide else []
        cells = choose_apart(similarity, count, near)
        centers = store.placement.to_slide(np.array(cells, np.float64).reshape(-1, 2) + 0.5).tolist()
        found += [
            SimilarCell(store.slide, cell, (center[0], center[1]), float(similarity[cell]))
            for cell, center in zip(cells, centers, strict=True)
        ]
    best = sorted(found, key=lambda one: -one.similarity)[:count]
    return SimilarCells(tuple(best), sum(searched), sum(count > 0 for count in searched))


def compute_query(
    slide: Path, features: SlideFeatures, at: Point, run: RunContext = NULL_CONTEXT
) -> tuple[SimilarCell, NDArray[np.float32]]:
    """Return the cell at a position with its features, float32 (feature,), which are computed if they are not known.

    ``slide``: its file. ``at``: (row, column) in pixels of the finest level. Raises ``InputError`` for positions
    without features.
    """
    cell = features.grid.cell_of(at)
    if features.grid.contains(cell):
        features.compute(features.grid.blocks_of(cell), run)
    values = features.read(cell)[0]
    if not np.isfinite(values).all():
        raise InputError(
            f"there is no cell at row {at[0]:.0f}, column {at[1]:.0f}: the position is outside the slide, or in a "
            "damaged part of it. Choose a position on the slide, in pixels of the finest level."
        )
    row, column = cell.tolist()
    center = features.grid.center_of(cell).tolist()
    return SimilarCell(slide, (row, column), (center[0], center[1]), 1.0), values


def compare_slide(
    direction: NDArray[np.float32], store: StoredFeatures, scale: FeatureScale, run: RunContext = NULL_CONTEXT
) -> NDArray[np.float32]:
    """Return the similarity of each cell of a slide, float32 (row, column); minus infinity where it is not known."""
    similarity = np.full((store.spec.rows, store.spec.columns), -np.inf, np.float32)
    for box, block in store.read_blocks(store.list_blocks(), run):
        values = scale.directions(block) @ direction
        similarity[box.slices] = np.where(np.isfinite(values), values, -np.inf)
    return similarity


def choose_apart(
    similarity: NDArray[np.float32], count: int, near: Iterable[tuple[int, int]] = ()
) -> list[tuple[int, int]]:
    """Return the most similar cells that are ``APART_CELLS`` rows or columns from each other and from cells ``near``.

    ``similarity``: (row, column), minus infinity for cells to leave out.
    """
    remaining, chosen = similarity.copy(), list[tuple[int, int]]()
    for cell in near:
        _clear_around(remaining, cell)
    while remaining.size and len(chosen) < count:
        row, column = (int(at) for at in np.unravel_index(remaining.argmax(), remaining.shape))
        if not np.isfinite(remaining[row, column]):
            break
        chosen.append((row, column))
        _clear_around(remaining, (row, column))
    return chosen


def _clear_around(similarity: NDArray[np.float32], cell: tuple[int, int]) -> None:
    rows, columns = (slice(max(0, at - APART_CELLS + 1), max(0, at + APART_CELLS)) for at in cell)
    similarity[rows, columns] = -np.inf
