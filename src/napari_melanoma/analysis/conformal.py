"""Sets of classes that hold the true one as often as was asked, whatever the model: "cannot tell" becomes an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.core.classifier import SetRule

ROUNDING = 1e-9


def conformal_sets(
    probabilities: ArrayLike,
    calibration_probabilities: ArrayLike,
    calibration_labels: ArrayLike,
    coverage: float,
    rule: SetRule = "class_conditional",
) -> NDArray[np.bool_]:
    """Say which classes cannot be ruled out (split conformal prediction; Angelopoulos and Bates, arXiv:2107.07511).

    Where new images are drawn as those of calibration were, the sets hold the true class at least as often as asked,
    on average over all images. ``lac``: classes above one common probability (Sadinle et al. 2019,
    doi:10.1080/01621459.2017.1395341), the smallest sets. ``aps``: the likeliest classes until their probabilities add
    up (Romano et al. 2020, arXiv:2006.02544), the last one counted half: the mean of their random draw, so that equal
    images get equal answers.
    ``class_conditional``: as ``lac`` with a limit for each class, so that each class by itself is covered as often as
    asked, the rare one too (Vovk 2012, arXiv:1209.2673). No set is empty: the likeliest class is always in it, which
    only adds to the coverage; a model that is right more often than was asked covers more than was asked.

    ``probabilities``: float (image, class). Returns bool (image, class). With too few cases for the coverage (fewer
    than 9 for 90 %) every class is in.
    """
    given = np.asarray(probabilities, np.float64)
    known, truth = np.asarray(calibration_probabilities, np.float64), np.asarray(calibration_labels, np.int64)
    nonconformity = _masses if rule == "aps" else _misses
    of_true = nonconformity(known)[np.arange(len(truth)), truth]
    if rule == "class_conditional":
        limits = np.array([_limit(of_true[truth == one], coverage) for one in range(given.shape[1])])
    else:
        limits = np.full(given.shape[1], _limit(of_true, coverage))
    sets = nonconformity(given) <= limits + ROUNDING
    empty = np.flatnonzero(~sets.any(axis=1))
    sets[empty, given[empty].argmax(axis=1)] = True
    return sets


def _misses(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each class lacks to certainty, (image, class)."""
    return 1.0 - probabilities


def _masses(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of all classes that are likelier than each, and half its own, (image, class)."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    sorted_ones = np.take_along_axis(probabilities, order, axis=1)
    masses = np.empty_like(sorted_ones)
    np.put_along_axis(masses, order, np.cumsum(sorted_ones, axis=1) - sorted_ones / 2, axis=1)
    return masses


def _limit(of_true: NDArray[np.float64], coverage: float) -> float:
    """Quantile of what the true classes had, corrected for the image that is to come; infinite of too few."""
    place = int(np.ceil((len(of_true) + 1) * coverage - ROUNDING))
    return float(np.sort(of_true)[place - 1]) if place <= len(of_true) else np.inf
