"""How well label images agree, class by class: counts of pixels, and Dice and Jaccard indices that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.statistics import Estimate, stretch

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def count_pairs(found: ArrayLike, truth: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count how often pixels of each class were found to be of each class.

    Returns int64 (true class, found class).
    """
    pairs = np.asarray(truth, np.int64).ravel() * classes + np.asarray(found, np.int64).ravel()
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def dice_of(counts: ArrayLike) -> NDArray[np.float64]:
    """Dice index of each class over all pixels that were counted.

    Returns float64 (..., class); not a number where a class neither is nor was found.
    """
    common, total = _sums(counts)
    return np.divide(2 * common, total, out=np.full(total.shape, np.nan), where=total > 0)


def jaccard_of(counts: ArrayLike) -> NDArray[np.float64]:
    """Jaccard index of each class over all pixels that were counted.

    Returns float64 (..., class); not a number where a class neither is nor was found.
    """
    common, total = _sums(counts)
    return np.divide(common, total - common, out=np.full(total.shape, np.nan), where=total > 0)


def mean_over_classes(index: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average an index over the classes that it is known of.

    ``index``: float64 (..., class). Returns float64 (...); not a number where it is known of none.
    """
    known = ~np.isnan(index)
    count = known.sum(-1)
    total = np.where(known, index, 0).sum(-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def label_metrics(counts: NDArray, classes: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Give every metric of label images.

    Returns ``DI`` and ``JA``, the means over classes, ``AC``, the share of pixels that are right, and ``DI <class>``
    and ``JA <class>``: each float64 (...).
    """
    dice, jaccard = dice_of(counts), jaccard_of(counts)
    right, total = np.trace(counts, axis1=-2, axis2=-1), counts.sum((-2, -1))
    found = {
        "DI": mean_over_classes(dice),
        "JA": mean_over_classes(jaccard),
        "AC": np.divide(right, total, out=np.full(total.shape, np.nan), where=total > 0),
    }
    for index, values in (("DI", dice), ("JA", jaccard)):
        found |= {f"{index} {name}": values[..., place] for place, name in enumerate(classes)}
    return found


def estimate_label_metrics(
    counts: NDArray[np.int64], groups: ArrayLike, classes: Sequence[str], *, rounds: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """Estimate every metric over images, with 95 % intervals by bootstrap over patients or lesions.

    The pixels of all images are counted together, as a tile that hardly shows a class says little of it by itself;
    each round draws whole groups. Intervals are widened where there are few, as ``bootstrap_mean`` does.

    ``counts``: int64 (image, true class, found class). Metric to estimate; metrics that no image has are left out.
    """

    def measured(tables: Sequence[NDArray]) -> dict[str, NDArray[np.float64]]:
        return label_metrics(tables[0], classes)

    return _estimated([counts], groups, measured, (0, 1), rounds, seed)


def label_differences(
    old: NDArray[np.int64],
    new: NDArray[np.int64],
    groups: ArrayLike,
    classes: Sequence[str],
    *,
    rounds: int = 2000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Estimate what a new model does better than an old one on the same images, in every metric.

    As ``estimate_label_metrics``, paired: each round takes the same patients or lesions for both models, so that what
    makes an image difficult for either cancels out.

    ``old``, ``new``: int64 (image, true class, found class), of the same images in the same order. Metric to new less
    old; metrics that one of the two has not are left out.
    """
    if old.shape != new.shape:
        raise ValueError(f"a paired difference needs both counts of every image; found {len(old)} and {len(new)}.")

    def measured(tables: Sequence[NDArray]) -> dict[str, NDArray[np.float64]]:
        before, after = (label_metrics(table, classes) for table in tables)
        return {name: after[name] - before[name] for name in before}

    return _estimated([old, new], groups, measured, (-1, 1), rounds, seed)


def _estimated(
    counts: Sequence[NDArray[np.int64]],
    groups: ArrayLike,
    measured: Callable[[Sequence[NDArray]], dict[str, NDArray[np.float64]]],
    bounds: tuple[float, float],
    rounds: int,
    seed: int,
) -> dict[str, Estimate]:
    """Estimate what follows from pooled counts of one model or of several; all draw the same groups."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    side = counts[0].shape[-1]
    sums = [np.zeros((len(names), side, side), np.float64) for _ in counts]
    for total, table in zip(sums, counts, strict=True):
        np.add.at(total, index, table)
    centre = measured([total.sum(0) for total in sums])
    drawn: dict[str, NDArray[np.float64]] = {}
    if len(names) > 1:
        random = np.random.default_rng(seed)
        times = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=rounds)
        drawn = measured([(times @ total.reshape(len(names), -1)).reshape(rounds, side, side) for total in sums])
    found = {}
    for name, value in centre.items():
        mean = float(value)
        if np.isnan(mean):
            continue
        low, high = np.nan, np.nan
        if drawn:
            ends = np.nanpercentile(drawn[name], [2.5, 97.5])
            low, high = np.clip(mean + stretch(len(names)) * (ends - mean), *bounds)
        found[name] = Estimate(mean, float(low), float(high), len(counts[0]))
    return found


def _sums(counts: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels on which both agree, and the sum of both, for each class."""
    table = np.asarray(counts, np.float64)
    common = np.diagonal(table, axis1=-2, axis2=-1)
    return common, table.sum(-1) + table.sum(-2)
