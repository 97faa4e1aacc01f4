"""How unlike a picture is to those that a model was trained on, and which of them are most like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MIN_TRAINING_CASES = 2  # training cases: one has no spread
MAX_VALUES_AT_ONCE = 2**22  # numbers of the table of likenesses that are held at a time
EPSILON = 1e-12
MIN_VARIANCE_SHARE = (
    1e-6  # of the mean variance: a feature that is the same in all training cases may differ by rounding
)


class NearestCases(NamedTuple):
    """The training cases that are most like each image, nearest first: int64 and float64 (image, neighbour)."""

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MahalanobisDetector:
    """What training cases look like to a network: where their embeddings lie, how they scatter, and each of them.

    ``mean`` is float64 (feature,), ``root`` float64 (feature, feature) the lower Cholesky factor of their covariance,
    ``directions`` float32 (case, feature) the direction of each from the mean, of unit length.

    The distance is that of Mahalanobis, with one covariance that is shrunk (Ledoit and Wolf 2004,
    doi:10.1016/S0047-259X(03)00096-4), as Lee et al. 2018 (arXiv:1807.03888) use it, though with one mean: a mean for
    each class told no more on dermoscopic pictures, and the distance to the k-th neighbour less
    (docs/explanation/calibration.md).
    """

    mean: NDArray[np.float64]
    root: NDArray[np.float64]
    directions: NDArray[np.float32]

    @classmethod
    def fit(cls, embeddings: ArrayLike) -> Self:
        """Learn what is usual."""
        given = np.asarray(embeddings, np.float64)
        if len(given) < MIN_TRAINING_CASES:
            raise ValueError(
                f"how unlike a picture is needs {MIN_TRAINING_CASES} training cases or more; found {len(given)}."
            )
        mean = given.mean(axis=0)
        covariance = _shrunk_covariance(given - mean)
        covariance[np.diag_indices_from(covariance)] += MIN_VARIANCE_SHARE * np.trace(covariance) / len(mean) + EPSILON
        root: NDArray[np.float64] = np.linalg.cholesky(covariance).astype(np.float64)
        return cls(mean, root, _normalize_rows(given - mean))

    def distance(self, embeddings: ArrayLike) -> NDArray[np.float64]:
        """Say how far images lie from the training cases.

        ``embeddings``: float (image, feature). Returns float64 (image,): distance of Mahalanobis over the root of the
        number of features, so that it is about 1 for a usual picture.
        """
        from scipy.linalg import solve_triangular

        away = np.asarray(embeddings, np.float64) - self.mean
        return np.linalg.norm(solve_triangular(self.root, away.T, lower=True), axis=0) / np.sqrt(len(self.mean))

    def find_nearest(self, embeddings: ArrayLike, count: int) -> NearestCases:
        """Find the training cases that are most like each image.

        ``embeddings``: float (image, feature). Places among the training cases, and cosine distances as seen from their
        mean, in [0, 2].
        """
        asked = _normalize_rows(np.asarray(embeddings, np.float64) - self.mean)
        number = min(count, len(self.directions))
        step = max(1, MAX_VALUES_AT_ONCE // len(self.directions))
        found = [
            self._find_nearest_block(asked[first : first + step], number)
            for first in range(0, max(len(asked), 1), step)
        ]
        return NearestCases(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def _find_nearest_block(self, asked: NDArray[np.float32], number: int) -> NearestCases:
        """Do it for some images."""
        distances = 1.0 - asked @ self.directions.T
        places = np.argpartition(distances, number - 1, axis=1)[:, :number]
        near = np.take_along_axis(distances, places, axis=1)
        order = np.argsort(near, axis=1, kind="stable")
        sorted_ones = np.take_along_axis(near, order, axis=1).astype(np.float64)
        return NearestCases(np.take_along_axis(places, order, axis=1), np.clip(sorted_ones, 0.0, 2.0))


def choose_distance_threshold(distances: ArrayLike, share: float = 0.99) -> float:
    """Find the distance from which a picture counts as unlike the training cases.

    Returns their quantile; above 0.
    """
    values = np.asarray(distances, np.float64)
    if not len(values):
        raise ValueError("a limit of distances needs at least one case of calibration; found none.")
    return max(float(np.quantile(values, share, method="higher")), EPSILON)


def _shrunk_covariance(away: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance of (case, feature), moved towards equal variances as far as Ledoit and Wolf say."""
    count, width = away.shape
    covariance = away.T @ away / count
    equal = np.trace(covariance) / width
    squares = float(np.sum(covariance**2))  # by hand: importing scikit-learn takes longer than all of this
    scatter = (np.sum(np.sum(away**2, axis=1) ** 2) / count - squares) / count
    beyond = squares - width * equal**2
    share = min(scatter, beyond) / beyond if beyond > 0 else 0.0
    covariance *= 1.0 - share
    covariance[np.diag_indices_from(covariance)] += share * equal
    return covariance


def _normalize_rows(embeddings: NDArray[np.float64]) -> NDArray[np.float32]:
    """Embeddings of length 1, float32 (image, feature)."""
    return (embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), EPSILON)).astype(np.float32)
