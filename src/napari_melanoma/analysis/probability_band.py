"""How far a probability may be off because only so many cases were there to calibrate it by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from napari_melanoma.analysis.venn_abers import VennAbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ROUNDS = 200
MOST = 256  # places of scores: more cases share places, so that thousands of them take no longer


@dataclass(frozen=True, eq=False)
class ProbabilityBand:
    """Interval of the positive class's probability for each score.

    Both probabilities of Venn-Abers say what one more case changes, not what other cases would: in simulations the
    truth lies between them in 16 to 54 of 100 images (steps and logistic curves, 60 to 1000 cases). So cases are drawn
    again with replacement, whole patients or lesions at a time, and the interval reaches from the lower percentile of
    the lower probability to the upper one of the upper.

    ``bottoms`` and ``tops`` are the lowest and highest score of each place, float64 (place,), ascending; ``low`` and
    ``high`` the interval there.
    """

    bottoms: NDArray[np.float64]
    tops: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        scores: ArrayLike,
        labels: ArrayLike,
        groups: Sequence[object] | NDArray | None = None,
        *,
        coverage: float = 0.95,
        seed: int = 0,
    ) -> Self:
        """Draw cases again, and see how the probabilities move.

        ``labels``: bool (case,).
        """
        given, truth = np.asarray(scores, np.float64), np.asarray(labels, bool)
        if not len(given):
            raise ValueError("an interval of probabilities needs at least one case; found none.")
        place = _places(given)
        bottoms, tops = _ends(given, place)
        _, group = np.unique(np.arange(len(given)) if groups is None else np.asarray(groups), return_inverse=True)
        random, count = np.random.default_rng(seed), int(group.max()) + 1
        drawn = []
        for _ in range(ROUNDS):
            times = np.bincount(random.integers(count, size=count), minlength=count)
            drawn.append(VennAbers.fit(place, truth, times[group]).of(np.arange(len(tops))))
        tail = 50 * (1 - coverage)
        low = np.percentile([between.low for between in drawn], tail, axis=0)
        high = np.percentile([between.high for between in drawn], 100 - tail, axis=0)
        return cls(bottoms, tops, low, high)

    def of(self, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Say how low and how high the probability may be.

        ``scores``: float (image,). Both ends, float64 (image,), in [0, 1].
        """
        asked = np.asarray(scores, np.float64)
        low = np.append(0.0, self.low)[np.searchsorted(self.tops, asked, side="right")]
        high = np.append(self.high, 1.0)[np.searchsorted(self.bottoms, asked, side="left")]
        return low, high


def _places(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Place of each score by its rank, equal scores at one place, at most 256 of them and each with as many cases."""
    distinct, index, count = np.unique(scores, return_inverse=True, return_counts=True)
    if len(distinct) <= MOST:
        return index
    before = (np.cumsum(count) - count) * MOST // len(scores)
    return np.unique(before, return_inverse=True)[1][index]


def _ends(scores: NDArray[np.float64], place: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest score of each place."""
    order = np.argsort(scores, kind="stable")
    ranked, places = scores[order], place[order]
    first = np.flatnonzero(np.append(True, places[1:] != places[:-1]))
    return ranked[first], ranked[np.append(first[1:], len(ranked)) - 1]
