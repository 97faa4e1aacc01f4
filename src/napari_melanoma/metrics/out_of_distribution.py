"""Distance of images from the training data of a model, and their nearest training cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_TRAINING_CASES = 2  # one case has no spread
MAX_VALUES_AT_ONCE = 2**22  # entries of the distance matrix in memory
EPSILON = 1e-12
# Share of the mean variance: a feature that is constant in the training data may differ by rounding.
MIN_VARIANCE_SHARE = 1e-6


class NearestCases(NamedTuple):
    """The nearest training cases of each image, nearest first: int64 and float64 (image, neighbor)."""

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MahalanobisDetector:
    """The distribution of the embeddings of training cases, to find out-of-distribution images and similar cases.

    ``mean``: float64 (feature,). ``root``: lower Cholesky factor of the covariance, float64 (feature, feature).
    ``directions``: direction of each case from the mean, of unit length, float32 (case, feature).

    The distance is that of Mahalanobis with a shrunk covariance (Ledoit and Wolf 2004,
    doi:10.1016/S0047-259X(03)00096-4), as in Lee et al. 2018 (arXiv:1807.03888), but with one mean: on dermoscopic
    images a mean per class was no better, and the distance to the k-th neighbor was worse
    (docs/explanation/calibration.md).
    """

    mean: NDArray[np.float64]
    root: NDArray[np.float64]
    directions: NDArray[np.float32]

    @classmethod
    def fit(cls, embeddings: ArrayLike) -> Self:
        """Fit the distribution; ``embeddings``: of the training cases, float (case, feature)."""
        array = np.asarray(embeddings, np.float64)
        if len(array) < MIN_TRAINING_CASES:
            raise ValueError(
                f"expected at least {MIN_TRAINING_CASES} training cases for a distance, found {len(array)}."
            )
        mean = array.mean(axis=0)
        covariance = _shrunk_covariance(array - mean)
        covariance[np.diag_indices_from(covariance)] += MIN_VARIANCE_SHARE * np.trace(covariance) / len(mean) + EPSILON
        root: NDArray[np.float64] = np.linalg.cholesky(covariance).astype(np.float64)
        return cls(mean, root, _normalize_rows(array - mean))

    def distance(self, embeddings: ArrayLike) -> NDArray[np.float64]:
        """Return the distance of images from the training cases.

        ``embeddings``: float (image, feature). Returns float64 (image,): Mahalanobis distance divided by the square
        root of the number of features, which is about 1 for a typical image.
        """
        from scipy.linalg import solve_triangular

        centered = np.asarray(embeddings, np.float64) - self.mean
        return np.linalg.norm(solve_triangular(self.root, centered.T, lower=True), axis=0) / np.sqrt(len(self.mean))

    def find_nearest(self, embeddings: ArrayLike, count: int) -> NearestCases:
        """Find the nearest training cases of each image.

        ``embeddings``: float (image, feature). Returns indices of the training cases, and cosine distances relative
        to their mean, in [0, 2].
        """
        directions = _normalize_rows(np.asarray(embeddings, np.float64) - self.mean)
        number = min(count, len(self.directions))
        step = max(1, MAX_VALUES_AT_ONCE // len(self.directions))
        blocks = [
            self._find_nearest_block(directions[first : first + step], number)
            for first in range(0, max(len(directions), 1), step)
        ]
        return NearestCases(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))

    def _find_nearest_block(self, directions: NDArray[np.float32], number: int) -> NearestCases:
        """Find the nearest training cases of some images."""
        distances = 1.0 - directions @ self.directions.T
        indices = np.argpartition(distances, number - 1, axis=1)[:, :number]
        near = np.take_along_axis(distances, indices, axis=1)
        order = np.argsort(near, axis=1, kind="stable")
        nearest_distances = np.take_along_axis(near, order, axis=1).astype(np.float64)
        return NearestCases(np.take_along_axis(indices, order, axis=1), np.clip(nearest_distances, 0.0, 2.0))


def choose_distance_threshold(distances: ArrayLike, share: float = 0.99) -> float:
    """Choose the distance above which images are out of distribution: a quantile of known distances, above 0.

    ``distances``: float (case,), of cases that the model was not trained on. ``share``: of the cases that is within the
    threshold.
    """
    values = np.asarray(distances, np.float64)
    if not len(values):
        raise ValueError("expected at least one calibration case for a distance threshold, found none.")
    return max(float(np.quantile(values, share, method="higher")), EPSILON)


def _shrunk_covariance(centered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the covariance, float64 (feature, feature), shrunk to equal variances by the Ledoit-Wolf formula.

    ``centered``: float64 (case, feature).
    """
    count, width = centered.shape
    covariance = centered.T @ centered / count
    equal = np.trace(covariance) / width
    squares = float(np.sum(covariance**2))  # computed here, as importing scikit-learn takes longer than all of this
    scatter = (np.sum(np.sum(centered**2, axis=1) ** 2) / count - squares) / count
    beyond = squares - width * equal**2
    share = min(scatter, beyond) / beyond if beyond > 0 else 0.0
    covariance *= 1.0 - share
    covariance[np.diag_indices_from(covariance)] += share * equal
    return covariance


def _normalize_rows(embeddings: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scale each embedding to unit length, float32 (image, feature)."""
    return (embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), EPSILON)).astype(np.float32)
