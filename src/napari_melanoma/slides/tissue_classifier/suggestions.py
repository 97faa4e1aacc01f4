"""Cells to inspect: where to paint next, which are out of distribution, and which are similar to a cell.

For similarity, features are standardized by their mean and spread on the searched slides, and compared by the cosine of
their angle: of the measures that were compared (docs/explanation/measurements.md), it finds the same tissue most often.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import NULL_CONTEXT, RunContext
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.core.polygons import Point
from napari_melanoma.metrics.out_of_distribution import MIN_TRAINING_CASES, MahalanobisDetector
from napari_melanoma.slides.options import OUT_OF_DISTRIBUTION_SHARE
from napari_melanoma.slides.tissue_classifier.cells import MARGIN_CELLS
from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures, StoredFeatures
from napari_melanoma.slides.tissue_classifier.fitting import TrainingCells

CANDIDATES = 16  # uncertain cells from which each suggestion is chosen
APART_CELLS = 4  # rows or columns between suggestions
MIN_SPREAD = 1e-6  # of a feature
NOVELTY_CELLS = 16  # of each stroke
NOVELTY_FOLDS = 5
NOVELTY_QUANTILE = 0.99  # of the distances of painted cells from the other strokes


def suggest_cells(
    probability: NDArray[np.floating],
    features: NDArray[np.floating],
    cells: NDArray[np.integer],
    painted: NDArray[np.integer],
    count: int = 8,
) -> NDArray[np.intp]:
    """Suggest cells to paint: the least certain ones that differ from each other.

    Of the cells with the smallest difference of the two highest probabilities, one after the other is chosen that is
    farthest from the chosen ones in its features; none is next to another or to a painted cell.

    ``probability``: float (cell, class). ``features``: float (cell, feature). ``cells``: int (cell, 2), row and column.
    ``painted``: those that have a stroke, int (painted, 2). Returns indices of cells, int (suggestion,), at most
    ``count``.
    """
    ordered = np.sort(probability, axis=1)
    margin = ordered[:, -1] - (ordered[:, -2] if probability.shape[1] > 1 else 0)
    free = np.flatnonzero(_distance_to(cells, painted) >= APART_CELLS)
    candidates = free[np.argsort(margin[free], kind="stable")[: CANDIDATES * count]]
    values = features[candidates] / _spread(features[candidates])
    positions = cells[candidates]
    chosen: list[int] = []
    farthest = np.full(len(candidates), np.inf)
    while len(chosen) < count and (farthest > 0).any():
        index = int(farthest.argmax())  # at first, the least certain one
        chosen.append(index)
        farthest = np.minimum(farthest, np.square(values - values[index]).sum(axis=1))
        farthest[_distance_to(positions, positions[index : index + 1]) < APART_CELLS] = 0
    return candidates[chosen]


def _distance_to(cells: NDArray[np.integer], others: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the distance of cells from the nearest of others, by rows or columns; infinite without others."""
    from scipy.spatial import KDTree

    if not len(others):
        return np.full(len(cells), np.inf)
    distance: NDArray[np.float64] = KDTree(others).query(cells, p=np.inf)[0]
    return distance


def _spread(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the standard deviation of each feature, float64 (feature,), positive."""
    if not len(features):
        return np.ones(features.shape[1])
    return np.maximum(features.std(axis=0, dtype=np.float64), MIN_SPREAD)


@dataclass(frozen=True, eq=False)
class CellNovelty:
    """The distribution of the painted cells, to find cells that are out of it.

    ``limit``: distance that one painted cell in a hundred exceeds if its stroke is left out.
    """

    detector: MahalanobisDetector
    limit: float

    @classmethod
    def fit(cls, cells: TrainingCells) -> Self | None:
        """Fit the distribution on painted cells; None with fewer than two strokes."""
        thinned = cells.thin(NOVELTY_CELLS)
        strokes = thinned.strokes
        if len(strokes) < 2 or len(thinned) < 2 * MIN_TRAINING_CASES:
            return None
        distances = []
        for number in range(min(NOVELTY_FOLDS, len(strokes))):
            fold = np.isin(thinned.stroke, strokes[number::NOVELTY_FOLDS])
            if (~fold).sum() >= MIN_TRAINING_CASES:
                detector = MahalanobisDetector.fit(thinned.features[~fold])
                distances.append(detector.distance(thinned.features[fold]))
        limit = float(np.quantile(np.concatenate(distances), NOVELTY_QUANTILE))
        return cls(MahalanobisDetector.fit(thinned.features), limit)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays to store, by name."""
        return {"mean": self.detector.mean, "root": self.detector.root.astype(np.float32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], limit: float, features: int) -> Self:
        """Restore the distribution from stored arrays; raise BundleError if they do not fit each other."""
        mean, root = arrays.get("mean"), arrays.get("root")
        if mean is None or root is None or mean.shape != (features,) or root.shape != (features, features):
            raise BundleError(
                f"the arrays for out-of-distribution cells do not fit {features} features. Download or copy the bundle "
                "again."
            )
        detector = MahalanobisDetector(
            mean.astype(np.float64), root.astype(np.float64), np.empty((0, features), np.float32)
        )
        return cls(detector, limit)

    def is_out_of_distribution(self, features: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which cells are out of distribution, bool (cell,); ``features``: float (cell, feature)."""
        return self.detector.distance(features) > self.limit

    def advise(self, share: float) -> str:
        """Return the advice for a slide; empty if few of its cells are out of distribution.

        ``share``: of the cells of the slide that are out of distribution.
        """
        if share <= OUT_OF_DISTRIBUTION_SHARE:
            return ""
        return (
            f"Out of distribution: {100 * share:.0f} % of this slide differs from all strokes; its map is not valid. "
            "Paint strokes on this slide."
        )


NO_OVERLAP_CELLS = 2 * MARGIN_CELLS + 1  # rows or columns from which two cells have no context in common
SAMPLED_BLOCKS, SAMPLED_EVERY = 256, 4  # that features are standardized by: blocks of all slides, and step of cells
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
    """Return the most similar cells that are ``NO_OVERLAP_CELLS`` from each other and from cells ``near``.

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
    rows, columns = (slice(max(0, at - NO_OVERLAP_CELLS + 1), max(0, at + NO_OVERLAP_CELLS)) for at in cell)
    similarity[rows, columns] = -np.inf
