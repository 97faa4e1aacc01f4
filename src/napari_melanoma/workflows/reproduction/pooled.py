"""Figures of answers pooled over the folds of a cross-validation, with a bootstrap over patients or lesions.

A draw of the bootstrap is a weight for each image, so that all figures of all draws are sums over the same table; what
two rows are compared by is drawn once for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.class_metrics import Drawn
from napari_melanoma.analysis.resampling import draws, interval
from napari_melanoma.analysis.statistics import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = ("AC", "PR", "SE", "SP", "F1", "AUC", "AP", "ECE", "SE90", "SP90", "COV", "CT")
OF_ALL, OF_POSITIVES, OF_OTHERS = (
    ("AC", "ECE", "COV", "CT"),
    ("SE", "SE90"),
    ("SP", "SP90"),
)  # the rest: of both classes
BIASED = ("ECE",)  # above 0 by chance alone, and more so in draws
HALF = 0.5  # where both papers cut
Figures = Callable[["NDArray[np.float64]"], "dict[str, NDArray[np.float64]]"]


@dataclass(frozen=True, eq=False)
class Pooled:
    """Out-of-fold answers to a question with two answers.

    ``truth``: bool (image,): whether it is the positive class. ``probability``: float64 (image,), calibrated, 0 to 1.
    ``above``: float64 (image,): 1 at or above the operating point of the image's fold, else 0; NaN where there is none.
    ``covered``, ``several``: float64 (image,): 1 where the conformal set holds the truth, and where it holds both
    classes; NaN: no set.
    """

    truth: NDArray[np.bool_]
    probability: NDArray[np.float64]
    above: NDArray[np.float64]
    covered: NDArray[np.float64]
    several: NDArray[np.float64]

    def figures(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Compute every metric under each weighting.

        ``weights``: float64 (draw, image), how often each image was drawn. Metric to float64 (draw,); NaN where a draw
        leaves nothing to divide by.
        """
        drawn = Drawn(self.probability, self.truth, weights)
        said = drawn.decisions(HALF)
        return {
            "AC": said["accuracy"],
            "PR": np.nan_to_num(said["precision"]),  # nothing said: no hit among none
            "SE": said["sensitivity"],
            "SP": said["specificity"],
            "F1": said["F1"],
            "AUC": drawn.auc(),
            "AP": drawn.average_precision(),
            "ECE": drawn.calibration_error(),
            **self._kept(weights),
        }

    def _kept(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """How far operating point and conformal sets keep what they promise."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "SE90": _share(weights * self.truth, self.above),
                "SP90": 1 - _share(weights * ~self.truth, self.above),
                "COV": _share(weights, self.covered),
                "CT": _share(weights, self.several),
            }


def estimates(pooled: Pooled, groups: Sequence[str]) -> dict[str, Estimate]:
    """Estimate every metric with a 95 % bootstrap interval, as ``analysis.resampling.interval`` gives it.

    Those that can be computed; intervals are NaN where there is one group.
    """
    return _estimated(pooled, pooled.figures, groups, (0, 1))


def changes(less: Pooled, more: Pooled, groups: Sequence[str]) -> dict[str, Estimate]:
    """Estimate by how much the second is above the first, on the same images and the same draws."""

    def differences(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        before, after = less.figures(weights), more.figures(weights)
        return {name: after[name] - before[name] for name in METRICS}

    return _estimated(less, differences, groups, (-1, 1))


def _share(weights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean of values that are all known; NaN where one is not."""
    return weights @ values / weights.sum(axis=1)


def _estimated(
    pooled: Pooled, figures: Figures, groups: Sequence[str], bounds: tuple[float, float]
) -> dict[str, Estimate]:
    """Put what all images give and what the draws give together."""
    whole, drawn = figures(np.ones((1, len(groups)))), [figures(weights) for weights in draws(groups)]
    names = np.asarray(groups)
    positives, others = (len(np.unique(names[chosen])) for chosen in (pooled.truth, ~pooled.truth))
    behind = dict.fromkeys(METRICS, min(positives, others)) | dict.fromkeys(OF_ALL, len(np.unique(names)))
    behind |= dict.fromkeys(OF_POSITIVES, positives) | dict.fromkeys(OF_OTHERS, others)
    found = {}
    for name in METRICS:
        mean = float(whole[name][0])
        if np.isfinite(mean):
            known = np.concatenate([draw[name] for draw in drawn]) if drawn else np.array([])
            ends = interval(mean, known, behind[name], bounds=bounds, biased=name in BIASED)
            found[name] = Estimate(mean, *ends, len(groups))
    return found
