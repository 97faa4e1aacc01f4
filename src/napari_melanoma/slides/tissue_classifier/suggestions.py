"""Where to paint next, and cells that are out of distribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import BundleError
from napari_melanoma.metrics.out_of_distribution import MIN_TRAINING_CASES, MahalanobisDetector
from napari_melanoma.slides.options import OUT_OF_DISTRIBUTION_SHARE
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
