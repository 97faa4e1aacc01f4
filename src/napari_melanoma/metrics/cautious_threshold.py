"""A decision threshold for few positives: at the lower end of the interval of its sensitivity, or one that is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_melanoma.metrics.calibration import wilson_interval

Basis = Literal["shown", "kept", "lowered", "chosen"]


class ThresholdChoice(NamedTuple):
    """A decision threshold, and what it rests on.

    ``basis``: ``shown`` by the positives; a known threshold that is ``kept``, or ``lowered`` as it misses too many of
    them; ``chosen`` by them without a known one. ``target``: sensitivity. ``positives``, ``groups``: number of positive
    images, and of their patients or lesions. ``known``: the known threshold.
    """

    threshold: float
    basis: Basis
    target: float
    positives: int
    groups: int
    known: float | None = None

    def describe(self, positive: str, model: str) -> str:
        """State the threshold and its basis; ``positive``: name of the class; ``model``: of the known threshold."""
        counts = f"{self.positives} of {positive} ({self.groups} patients or lesions)"
        if self.basis == "shown":
            return f"Decision threshold {self.threshold:.3f}: {counts} show a sensitivity of {self.target:g} or more."
        source = {
            "kept": f", that of '{model}'",
            "lowered": f", lowered from {self.known or 0:.3f} of '{model}', which misses too many of them",
            "chosen": ", so low that it finds nearly all of them",
        }[self.basis]
        needed = count_groups_needed(self.target)
        return (
            f"Decision threshold {self.threshold:.3f}{source}: {counts} cannot show a sensitivity of {self.target:g}, "
            f"for which {needed} patients or lesions are needed."
        )


def count_groups_needed(sensitivity: float) -> int:
    """Return how many positive patients, all found, show a sensitivity: the 95 % Wilson interval begins there."""
    return math.ceil(1.96**2 * sensitivity / (1 - sensitivity))


def choose_cautious_threshold(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[object] | NDArray[Any],
    sensitivity: float,
    known: float | None = None,
) -> ThresholdChoice:
    """Choose the highest threshold whose sensitivity has a 95 % Wilson interval at or above the given one.

    The interval is that of as many patients or lesions as are positive, as images of one are not independent. If they
    are too few, the ``known`` threshold is kept. Without one, or if it is above the score at which the sensitivity
    expected for new patients reaches the given one, that score is the threshold: with k of n positives found, k / (n +
    1) is expected, so of few positives it is the lowest score.

    ``scores``: probability of the positive class, float (image,). ``labels``: bool (image,). Scores at or above the
    threshold are positive.
    """
    truth = np.asarray(labels, bool)
    found = np.sort(np.asarray(scores, np.float64)[truth])[::-1]
    if not len(found):
        raise ValueError("expected at least one positive image for a decision threshold, found none.")
    count = len(np.unique(np.asarray(groups)[truth]))
    shares = np.arange(1, len(found) + 1) / len(found)
    is_shown = wilson_interval(shares * count, count)[0] >= sensitivity
    if is_shown.any():
        return ThresholdChoice(float(found[is_shown.argmax()]), "shown", sensitivity, len(found), count, known)
    needed = min(1.0, sensitivity * (count + 1) / count)
    own = float(found[math.ceil(needed * len(found) - 1e-9) - 1])
    if known is None:
        return ThresholdChoice(own, "chosen", sensitivity, len(found), count)
    basis: Basis = "lowered" if own < known else "kept"
    return ThresholdChoice(min(own, known), basis, sensitivity, len(found), count, known)
