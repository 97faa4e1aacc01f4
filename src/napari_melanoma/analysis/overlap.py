"""How well a mask agrees with a reference: the metrics of the ISIC 2018 challenge, image by image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = ("TJA", "JA", "DI", "AC", "SE", "SP")
TJA_LIMIT = 0.65


def overlap(mask: NDArray[np.bool_], reference: NDArray[np.bool_]) -> dict[str, float]:
    """Compare a mask with its reference (Codella et al. 2019, arXiv:1902.03368).

    ``mask``, ``reference``: bool (row, column), of one shape. Returns ``JA`` Jaccard index, ``TJA`` the same but 0
    below 0.65, ``DI`` Dice index, ``AC`` accuracy, ``SE`` sensitivity and ``SP`` specificity of the pixels, each in [0,
    1]. A share of nothing counts as 1: two empty masks agree.
    """
    if mask.shape != reference.shape:
        raise ValueError(f"mask {mask.shape} and reference {reference.shape} differ in shape.")
    both = int(np.count_nonzero(mask & reference))
    found, true = int(np.count_nonzero(mask)), int(np.count_nonzero(reference))
    neither = mask.size - found - true + both
    jaccard = _share(both, found + true - both)
    return {
        "TJA": jaccard if jaccard >= TJA_LIMIT else 0.0,
        "JA": jaccard,
        "DI": _share(2 * both, found + true),
        "AC": _share(both + neither, mask.size),
        "SE": _share(both, true),
        "SP": _share(neither, mask.size - true),
    }


def jaccard_by_threshold(
    probability: NDArray[np.float32], reference: NDArray[np.bool_], thresholds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Jaccard index of one image at many thresholds, in one pass over its pixels.

    ``probability``: float32 (row, column) in [0, 1]. ``reference``: bool (row, column). ``thresholds``: float64
    (threshold,), rising; a pixel at or above one is lesion. Returns float64 (threshold,).
    """
    level = np.searchsorted(thresholds, probability, side="right")  # how many thresholds the pixel reaches
    bins = len(thresholds) + 1
    found = np.bincount(level.ravel(), minlength=bins)[::-1].cumsum()[::-1][1:]
    both = np.bincount(level[reference].ravel(), minlength=bins)[::-1].cumsum()[::-1][1:]
    union = found + np.count_nonzero(reference) - both
    return np.where(union > 0, both / np.maximum(union, 1), 1.0)


def choose_best(curves: NDArray[np.float64], usual: int | None = None) -> int:
    """Choose one of several settings by the values that images gave it.

    With a usual setting, another is chosen only where it is better by more than one standard error of the paired
    differences (the one-standard-error rule, Breiman et al. 1984, Classification and Regression Trees, section 3.4.3):
    the best of many settings on six images is chance.

    ``curves``: float64 (image, setting); more is better.
    """
    best = int(curves.mean(axis=0).argmax())
    if usual is None:
        return best
    gain = curves[:, best] - curves[:, usual]
    if len(gain) < 2:
        return usual
    return best if gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)) else usual


def _share(part: int, whole: int) -> float:
    """Divide, with 1 for a share of nothing."""
    return part / whole if whole else 1.0
