"""Difference of two areas under the ROC curve with the test of DeLong, also for several images of a patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class AucDifference(NamedTuple):
    """The difference of the AUCs of two models on the same images.

    ``first`` and ``second`` are the AUCs, ``low`` to ``high`` is the 95 % interval of ``difference``, second minus
    first; ``p`` is two-sided.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float


def compare_aucs(
    first: ArrayLike, second: ArrayLike, labels: ArrayLike, groups: Sequence[object] | NDArray | None = None
) -> AucDifference:
    """Test whether two models have the same AUC on the same images.

    DeLong et al. 1988, doi:10.2307/2531595, by ranks as in Sun and Xu 2014, doi:10.1109/LSP.2014.2337313. With
    ``groups`` the images of a patient are not independent (Obuchowski 1997, doi:10.2307/2533958); if each image has a
    group of its own, both are equal.

    ``first``, ``second``: scores of the positive class, float (image,). ``labels``: bool (image,). ``groups``: patient
    or lesion of each image.
    """
    from scipy.stats import norm

    truth = np.asarray(labels, bool)
    scores = np.stack([np.asarray(first, np.float64), np.asarray(second, np.float64)])
    if scores.shape[1] != len(truth):
        raise ValueError(f"a comparison needs the scores of the same images; found {scores.shape[1]} and {len(truth)}.")
    if min(truth.sum(), (~truth).sum()) < 2:
        raise ValueError("DeLong's test needs two positive images and two others.")
    names = np.arange(len(truth)) if groups is None else np.unique(np.asarray(groups, str), return_inverse=True)[1]
    shares = np.stack([_concordant_shares(row, truth) for row in scores])
    areas = shares[:, truth].mean(axis=1)
    variance = _variance(shares[1] - shares[0] - (areas[1] - areas[0]), truth, names)
    difference, error = float(areas[1] - areas[0]), float(np.sqrt(max(variance, 0.0)))
    reach = float(norm.ppf(0.975)) * error
    p = float(2 * norm.sf(abs(difference) / error)) if error else float(difference == 0)
    return AucDifference(float(areas[0]), float(areas[1]), difference, difference - reach, difference + reach, p)


def _concordant_shares(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return, for each image, the share of the images of the other class that it is ranked correctly with."""
    from scipy.stats import rankdata

    shares = np.empty(len(scores))
    ranks = rankdata(scores)
    for part in (truth, ~truth):
        below = (ranks[part] - rankdata(scores[part])) / np.count_nonzero(~part)
        shares[part] = below if part is truth else 1 - below
    return shares


def _variance(deviations: NDArray[np.float64], truth: NDArray[np.bool_], groups: NDArray[np.intp]) -> float:
    """Return the variance of a difference of AUCs from the deviations of the shares from their means."""
    count = int(groups.max()) + 1
    sums = [np.bincount(groups[part], deviations[part], count) / np.count_nonzero(part) for part in (truth, ~truth)]
    of_positives, of_others = sums
    with_class = [len(np.unique(groups[part])) for part in (truth, ~truth)]
    factors = [number / (number - 1) if number > 1 else np.nan for number in (*with_class, count)]
    parts = (of_positives @ of_positives, of_others @ of_others, 2 * of_positives @ of_others)
    return float(sum(factor * part for factor, part in zip(factors, parts, strict=True)))
