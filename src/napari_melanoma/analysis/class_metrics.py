"""Figures of merit of a classifier, of many draws of the same images at once: what a bootstrap of them needs.

Every function takes how often each image was drawn, so that one sorting of the scores serves all draws, and paired
draws of two models are the same draws. A draw that lacks what a figure needs, such as a positive image, gives NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_SENSITIVITY = 0.8  # of the partial area of ISIC 2024
ECE_BINS = 15


@dataclass(frozen=True)
class Drawn:
    """Scores of images under several draws.

    ``scores``: float64 (image,): the probability of the positive class. ``positive``: bool (image,): whether it is one.
    ``times``: float64 (draw, image): how often each draw has the image; ones for the images as they are.
    """

    scores: NDArray[np.float64]
    positive: NDArray[np.bool_]
    times: NDArray[np.float64]

    @cached_property
    def _curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positives and others at each different score, the highest first: float64 (draw, score) each."""
        order = np.argsort(-self.scores, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(self.scores[order]) != 0])
        times, positive = self.times[:, order], self.positive[order]
        there = np.add.reduceat(times * positive, starts, axis=1)
        return there, np.add.reduceat(times * ~positive, starts, axis=1)

    @cached_property
    def positives(self) -> NDArray[np.float64]:
        """How many positive images each draw has, float64 (draw,)."""
        return self.times @ self.positive

    @cached_property
    def others(self) -> NDArray[np.float64]:
        """How many other images each draw has, float64 (draw,)."""
        return self.times @ ~self.positive

    def auc(self) -> NDArray[np.float64]:
        """Area under the ROC curve: how often a positive image has the higher score of a pair, ties half.

        Returns float64 (draw,) in [0, 1].
        """
        return _ratio(self.concordant(), self.positives * self.others)

    def concordant(self) -> NDArray[np.float64]:
        """Count the pairs of a positive and another image in which the positive one has the higher score.

        Returns float64 (draw,); a tie counts half.
        """
        there, not_there = self._curve
        above = np.cumsum(there, axis=1) - there / 2
        return (not_there * above).sum(axis=1)

    def average_precision(self) -> NDArray[np.float64]:
        """Average precision: the precision at each score, weighted by the positives that it adds.

        Returns float64 (draw,) in (0, 1].
        """
        there, not_there = self._curve
        found = np.cumsum(there, axis=1)
        said = found + np.cumsum(not_there, axis=1)
        return _ratio((there * _ratio(found, said, 0.0)).sum(axis=1), self.positives)

    def partial_auc(self) -> NDArray[np.float64]:
        """Area under the ROC curve above 80 % sensitivity, as ISIC 2024 ranks by: at most 0.2, by chance 0.02.

        Returns float64 (draw,) in [0, 0.2].
        """
        there, not_there = self._curve
        rise = (
            np.pad(np.cumsum(there, axis=1), ((0, 0), (1, 0)))
            / np.where(self.positives, self.positives, np.nan)[:, None]
        )
        run = (
            np.pad(np.cumsum(not_there, axis=1), ((0, 0), (1, 0))) / np.where(self.others, self.others, np.nan)[:, None]
        )
        low, high = (np.clip(part, LEAST_SENSITIVITY, None) for part in (rise[:, :-1], rise[:, 1:]))
        # a tie is a slope: where it is cut at 80 %, only its upper part counts
        cut = _ratio(low - rise[:, :-1], rise[:, 1:] - rise[:, :-1], 0.0)
        begin = run[:, :-1] + cut * (run[:, 1:] - run[:, :-1])
        return ((high - low) * (1 - (begin + run[:, 1:]) / 2)).sum(axis=1)

    def decisions(self, cut: float) -> dict[str, NDArray[np.float64]]:
        """Say how well a cut divides the images.

        Returns ``sensitivity``, ``specificity``, ``precision``, ``F1``, ``accuracy`` and ``balanced_accuracy``, float64
        (draw,) each. Precision is NaN where nothing is said to be positive; F1 is 0 there.
        """
        said = self.scores >= cut
        hits, false = self.times @ (said & self.positive), self.times @ (said & ~self.positive)
        sensitivity, specificity = _ratio(hits, self.positives), 1 - _ratio(false, self.others)
        return {
            "sensitivity": sensitivity,
            "specificity": specificity,
            "precision": _ratio(hits, hits + false),
            "F1": _ratio(2 * hits, hits + false + self.positives),
            "accuracy": _ratio(hits + self.others - false, self.positives + self.others),
            "balanced_accuracy": (sensitivity + specificity) / 2,
        }

    def calibration_error(self, bins: int = ECE_BINS) -> NDArray[np.float64]:
        """Expected calibration error: how far probability and share of positives lie apart, in bins of as many images.

        Returns float64 (draw,) in [0, 1].
        """
        order = np.argsort(self.scores, kind="stable")
        number = min(bins, len(order))
        starts = -(-np.arange(number) * len(order) // number)  # as ``analysis.calibration`` fills its bins
        over = self.times[:, order] * (self.scores - self.positive)[order]
        return _ratio(np.abs(np.add.reduceat(over, starts, axis=1)).sum(axis=1), self.times.sum(axis=1))

    def brier(self) -> NDArray[np.float64]:
        """Brier score: the mean squared distance of the probability from 1 or 0 (Brier 1950).

        Returns float64 (draw,) in [0, 1].
        """
        return _ratio(self.times @ (self.scores - self.positive) ** 2, self.times.sum(axis=1))


def class_recalls(
    said: NDArray[np.intp], labels: NDArray[np.intp], classes: int, times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of the images of each class that are said to be of it.

    ``said``, ``labels``: int (image,): the class that is said, and the true one. ``times``: float64 (draw, image), as
    ``Drawn`` takes it. Returns float64 (draw, class); NaN where a draw has no image of a class.
    """
    each = [times @ (labels == one) for one in range(classes)]
    right = [times @ ((labels == one) & (said == one)) for one in range(classes)]
    return np.stack([_ratio(hits, there) for hits, there in zip(right, each, strict=True)], axis=1)


def _ratio(over: NDArray[np.float64], under: NDArray[np.float64], otherwise: float = np.nan) -> NDArray[np.float64]:
    """Divide, with a value of its own where there is nothing to divide by."""
    return np.divide(over, under, out=np.full(np.broadcast(over, under).shape, otherwise), where=under != 0)
