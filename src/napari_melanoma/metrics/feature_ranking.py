"""Which of many numbers of images tell two classes apart: ranked by a named statistic, each with its uncertainty."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_melanoma.metrics.ranking import area_under_roc
from napari_melanoma.metrics.statistics import Estimate, bootstrap_statistic

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_CASES_PER_CLASS = 3  # patients of each class: of fewer there is nothing to rank by


class RankedFeature(NamedTuple):
    """A number that tells the classes apart.

    ``place`` is its place among all, ``auc`` how often a positive patient has the higher value of it, with a 95 %
    interval over patients; below 0.5 it is lower in positives. ``p`` is Mann and Whitney's, two-sided; ``q`` the same,
    corrected for all numbers that were looked at (Benjamini and Hochberg 1995).
    """

    rank: int
    auc: Estimate
    p: float
    q: float

    @property
    def strength(self) -> float:
        """Rank-biserial correlation, in [-1, 1]: 2 AUC - 1."""
        return 2 * self.auc.mean - 1


def rank_features(
    values: NDArray[np.floating], positive: NDArray[np.bool_], groups: NDArray[np.str_], count: int
) -> list[RankedFeature]:
    """Rank numbers by how far their area under the ROC curve lies from one half.

    The values of a patient's images of one class are averaged first, so that a patient counts once. The interval is
    that of a number looked at by itself: of those that were picked as the strongest of many it is too favourable, which
    ``q`` takes into account and other images settle.

    ``values``: float (image, number), finite. ``positive``: bool (image,). Returns the strongest first; numbers that
    are the same everywhere are left out.
    """
    rows, truth, names = average_by_patient(np.asarray(values, np.float64), positive, groups)
    if min(truth.sum(), (~truth).sum()) < MIN_CASES_PER_CLASS:
        raise ValueError(
            f"to rank by class takes {MIN_CASES_PER_CLASS} patients of each; found {int(truth.sum())} positive and "
            f"{int((~truth).sum())} others."
        )
    areas, chances = _mann_whitney(rows, truth)
    corrected = adjust_p_values(chances)
    varied = np.flatnonzero(np.ptp(rows, axis=0) > 0)
    ordered = varied[np.argsort(-np.abs(areas[varied] - 0.5), kind="stable")][:count]
    return [
        RankedFeature(
            int(place),
            bootstrap_statistic(partial(_weighted_auc, rows[:, place], truth), names, bounds=(0, 1)),
            float(chances[place]),
            float(corrected[place]),
        )
        for place in ordered
    ]


def average_by_patient(
    values: NDArray[np.float64], positive: NDArray[np.bool_], groups: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_]]:
    """Average over the images of a patient that are of one class.

    ``values``: float64 (image, number). ``positive``: bool (image,). Returns float64 (row, number). Returns bool
    (row,). Patient of each row; one who has images of both classes has two.
    """
    names, index = np.unique(np.asarray(groups, str), return_inverse=True)
    kinds, place = np.unique(2 * index + positive, return_inverse=True)
    counts = np.bincount(place).astype(np.float64)
    summed = np.zeros((len(kinds), values.shape[1]))
    np.add.at(summed, place, values)
    return summed / counts[:, None], kinds % 2 == 1, names[kinds // 2]


def adjust_p_values(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correct p-values for their number (Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x).

    ``p``: float64 (test,). Returns float64 (test,): the share of false findings among all that are at least as small.
    """
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    found = np.empty_like(p)
    found[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    return found


def _mann_whitney(rows: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[NDArray[np.float64], ...]:
    """Area under the ROC curve and p-value of each number."""
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(rows[truth], rows[~truth], axis=0, method="asymptotic")
    same = np.ptp(rows, axis=0) == 0
    area = found.statistic / (truth.sum() * (~truth).sum())
    return np.where(same, 0.5, area), np.where(same, 1.0, found.pvalue)


def _weighted_auc(scores: NDArray[np.float64], truth: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Area under the ROC curve of weighted rows, NaN where one class was not drawn."""
    drawn = weights > 0
    if truth[drawn].all() or not truth[drawn].any():
        return float("nan")
    return area_under_roc(scores, truth, weights)
