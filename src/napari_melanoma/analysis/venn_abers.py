"""Two probabilities instead of one, of which one is calibrated whatever the scores: Venn-Abers prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Point = tuple[float, float]  # counts of all cases and of the positives, from the lowest score on


class Between(NamedTuple):
    """Probability of the positive class, float64 (image,): at least, at most, and the one between that loses least."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    merged: NDArray[np.float64]


@dataclass(frozen=True)
class VennAbers:
    """Isotonic fits to cases with one more of either label, for each place that it can have.

    ``scores`` are the distinct scores of the cases, ascending, float64 (place,); ``with_negative`` and
    ``with_positive`` what the fit gives at each, once a negative or a positive case stands there too.
    """

    scores: NDArray[np.float64]
    with_negative: NDArray[np.float64]
    with_positive: NDArray[np.float64]

    @classmethod
    def fit(cls, scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Fit all of them in one sweep (Vovk et al. 2015, arXiv:1511.00213).

        ``labels``: bool (case,).
        """
        weight = np.ones(np.size(scores)) if weights is None else np.asarray(weights, np.float64)
        there = weight > 0
        distinct, index = np.unique(np.asarray(scores, np.float64)[there], return_inverse=True)
        counts = np.bincount(index, weights=weight[there]).astype(np.float64)
        found = np.bincount(index, weights=(weight * np.asarray(labels, np.float64))[there]).astype(np.float64)
        return cls(distinct, 1.0 - _with_one(counts[::-1], (counts - found)[::-1])[::-1], _with_one(counts, found))

    def of(self, scores: ArrayLike) -> Between:
        """Say how likely the positive class is.

        ``scores``: float (image,). Returns ``merged`` is high / (1 - low + high), which has the least regret in log
        loss.
        """
        asked = np.asarray(scores, np.float64)
        below = np.searchsorted(self.scores, asked, side="right")
        above = np.searchsorted(self.scores, asked, side="left")
        low = np.append(0.0, self.with_negative)[below]
        high = np.append(self.with_positive, 1.0)[above]
        return Between(low, high, high / (1.0 - low + high))


def _with_one(counts: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Isotonic fit at each place of (place,) once a positive case more is there.

    The fit is the slope of the lower hull of the cumulative counts. One more positive at a place moves all points
    before it by (-1, -1), so the slope there is that of the edge between the points that were moved and the others. The
    sweep moves point after point; ``hull`` holds the other end of that edge last but one, its moved end last.
    """
    points = list(zip(np.cumsum(counts).tolist(), np.cumsum(found).tolist(), strict=True))
    hull: list[Point] = []
    for point in reversed(points):
        _push(hull, point)
    _push(hull, (-1.0, -1.0))
    slopes = np.empty(len(counts))
    for place, (across, up) in enumerate(points):
        left, right = hull[-1], hull[-2]
        slopes[place] = (right[1] - left[1]) / (right[0] - left[0])
        moved = (across - 1.0, up - 1.0)
        if _side(left, right, moved) < 0:  # below the edge
            hull.pop()
            _push(hull, moved)
    return slopes


def _push(hull: list[Point], point: Point) -> None:
    """Add a point on the left of a lower hull, whose leftmost is its last; what is no corner any more goes."""
    while len(hull) > 1 and _side(point, hull[-2], hull[-1]) >= 0:
        hull.pop()
    hull.append(point)


def _side(left: Point, right: Point, point: Point) -> float:
    """Above 0 where a point lies above the line through two others, below 0 where it lies below."""
    return (right[0] - left[0]) * (point[1] - left[1]) - (right[1] - left[1]) * (point[0] - left[0])
