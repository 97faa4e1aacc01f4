"""Ranking of image features by how well they separate two classes, with their uncertainty."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_melanoma.metrics.ranking import area_under_roc
from napari_melanoma.metrics.statistics import Estimate, bootstrap_statistic

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_CASES_PER_CLASS = 3  # fewest patients per class for a ranking


class RankedFeature(NamedTuple):
    """A feature that separates the classes.

    ``rank`` is its index among all features; ``auc`` is the probability that a positive patient has the greater value,
    with a 95 % interval over patients; below 0.5 positives have smaller values. ``p`` is that of Mann and Whitney,
    two-sided; ``q`` is corrected for the number of features (Benjamini and Hochberg 1995).
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
    """Rank features by the distance of their area under the ROC curve from one half.

    The values of a patient's images of one class are averaged first, so that each patient counts once. The interval
    is that of a single feature: for the best of many features it is too optimistic, which ``q`` accounts for and
    other images can verify.

    ``values``: float (image, feature), finite. ``positive``: bool (image,). Returns the strongest first; constant
    features are omitted.
    """
    rows, truth, names = average_by_patient(np.asarray(values, np.float64), positive, groups)
    if min(truth.sum(), (~truth).sum()) < MIN_CASES_PER_CLASS:
        raise ValueError(
            f"expected at least {MIN_CASES_PER_CLASS} patients per class for a ranking, found {int(truth.sum())} "
            f"positive and {int((~truth).sum())} others."
        )
    areas, p_values = _mann_whitney(rows, truth)
    corrected = adjust_p_values(p_values)
    varied = np.flatnonzero(np.ptp(rows, axis=0) > 0)
    ordered = varied[np.argsort(-np.abs(areas[varied] - 0.5), kind="stable")][:count]
    return [
        RankedFeature(
            int(index),
            bootstrap_statistic(partial(_weighted_auc, rows[:, index], truth), names, bounds=(0, 1)),
            float(p_values[index]),
            float(corrected[index]),
        )
        for index in ordered
    ]


def average_by_patient(
    values: NDArray[np.float64], positive: NDArray[np.bool_], groups: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_]]:
    """Average over the images of a patient with the same class.

    ``values``: float64 (image, feature). ``positive``: bool (image,). Returns float64 (row, feature), bool (row,),
    and the patient of each row; patients with images of both classes have two rows.
    """
    names, index = np.unique(np.asarray(groups, str), return_inverse=True)
    kinds, row = np.unique(2 * index + positive, return_inverse=True)
    counts = np.bincount(row).astype(np.float64)
    summed = np.zeros((len(kinds), values.shape[1]))
    np.add.at(summed, row, values)
    return summed / counts[:, None], kinds % 2 == 1, names[kinds // 2]


def adjust_p_values(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correct p-values for multiple tests (Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x).

    ``p``: float64 (test,). Returns float64 (test,): the false discovery rate among all values at least as small.
    """
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    found = np.empty_like(p)
    found[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    return found


def _mann_whitney(rows: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[NDArray[np.float64], ...]:
    """Area under the ROC curve and p-value of each feature."""
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(rows[truth], rows[~truth], axis=0, method="asymptotic")
    same = np.ptp(rows, axis=0) == 0
    area = found.statistic / (truth.sum() * (~truth).sum())
    return np.where(same, 0.5, area), np.where(same, 1.0, found.pvalue)


def _weighted_auc(scores: NDArray[np.float64], truth: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Area under the ROC curve of weighted rows, NaN if one class has no weight."""
    drawn = weights > 0
    if truth[drawn].all() or not truth[drawn].any():
        return float("nan")
    return area_under_roc(scores, truth, weights)
