"""Agreement of masks and label images: Dice, Jaccard, thresholded Jaccard and border distances."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.imaging.masks import bounding_box, grow_box
from napari_melanoma.metrics.statistics import Estimate, few_groups_factor

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.core.geometry import PixelSize

METRICS = ("TJA", "JA", "DI", "AC", "SE", "SP")
TJA_LIMIT = 0.65


def overlap_metrics(mask: NDArray[np.bool_], reference: NDArray[np.bool_]) -> dict[str, float]:
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
    jaccard = _ratio_or_one(both, found + true - both)
    return {
        "TJA": jaccard if jaccard >= TJA_LIMIT else 0.0,
        "JA": jaccard,
        "DI": _ratio_or_one(2 * both, found + true),
        "AC": _ratio_or_one(both + neither, mask.size),
        "SE": _ratio_or_one(both, true),
        "SP": _ratio_or_one(neither, mask.size - true),
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


def choose_best_setting(curves: NDArray[np.float64], usual: int | None = None) -> int:
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


def _ratio_or_one(part: int, whole: int) -> float:
    """Divide, with 1 for a share of nothing."""
    return part / whole if whole else 1.0


BOUNDARY_METRICS = ("HD95_px", "HD95_relative", "HD95_mm", "BF1")
TOLERANCE = 0.0075  # of the image's diagonal, as Csurka et al. take it


def border_pixels(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the pixels of a mask that have an edge neighbour outside of it; outside the image counts as outside.

    ``mask``: bool (row, column). Returns bool (row, column).
    """
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def hausdorff_distance(
    mask: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing: tuple[float, float] = (1.0, 1.0),
    percentile: float = 95.0,
) -> float:
    """Measure how far apart two borders are: the larger of the two directed percentile Hausdorff distances.

    Of all distances from a border pixel of one mask to the nearest one of the other, the percentile is taken, in both
    directions, and the larger is given. With 100 it is the Hausdorff distance itself; 95 leaves single outliers out
    (Huttenlocher, Klanderman and Rucklidge 1993, doi:10.1109/34.232073; Maier-Hein et al. 2024,
    doi:10.1038/s41592-023-02151-z).

    ``mask``, ``reference``: bool (row, column), of one shape. ``spacing``: height and width of a pixel. In the unit of
    ``spacing``; 0 where both masks are empty, and the diagonal of the image, the largest distance that there can be,
    where one of them is.
    """
    return _percentile_distance(*_border_distances(mask, reference, spacing), _diagonal(mask, spacing), percentile)


def boundary_f1(
    mask: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    tolerance: float | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> float:
    """Measure how much of two borders agrees within a tolerance.

    After Csurka, Larlus and Perronnin 2013, What is a good evaluation measure for semantic segmentation?
    (doi:10.5244/C.27.32). Precision is the share of the mask's border pixels with one of the reference at most so far
    away, recall the other way round; their harmonic mean is given.

    ``mask``, ``reference``: bool (row, column), of one shape. ``spacing``: height and width of a pixel. In [0, 1]; 1
    where both masks are empty, 0 where one of them is.
    """
    limit = TOLERANCE * _diagonal(mask, spacing) if tolerance is None else tolerance
    return _f1_within(*_border_distances(mask, reference, spacing), limit)


def boundary_metrics(
    mask: NDArray[np.bool_], reference: NDArray[np.bool_], pixel_size: PixelSize | None
) -> dict[str, float]:
    """Compare the borders of a mask and its reference.

    ``mask``, ``reference``: bool (row, column), of one shape. Returns ``HD95_px`` the 95th percentile Hausdorff
    distance in pixels, ``HD95_relative`` the same over the image's diagonal, so that images of different sizes can be
    averaged, ``HD95_mm`` in millimetres, and ``BF1`` the boundary F1 within 0.75 % of the diagonal. An empty mask
    against one that is not is a whole diagonal away.
    """
    there, back = _border_distances(mask, reference, (1.0, 1.0))
    diagonal = _diagonal(mask, (1.0, 1.0))
    distance = _percentile_distance(there, back, diagonal, 95.0)
    found = {"HD95_px": distance, "HD95_relative": distance / diagonal}
    if pixel_size is not None:
        square = pixel_size.y_um == pixel_size.x_um
        found["HD95_mm"] = distance * pixel_size.mm[0] if square else hausdorff_distance(mask, reference, pixel_size.mm)
    return {**found, "BF1": _f1_within(there, back, TOLERANCE * diagonal)}


def _diagonal(mask: NDArray[np.bool_], spacing: tuple[float, float]) -> float:
    """Length of the image's diagonal."""
    return math.hypot(mask.shape[0] * spacing[0], mask.shape[1] * spacing[1])


def _border_distances(
    mask: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of each border pixel to the nearest of the other border, both ways; infinite where there is none.

    A tree of border pixels, because a distance map of a photograph of 12 megapixels takes seconds.
    """
    from scipy.spatial import cKDTree

    if mask.shape != reference.shape:
        raise ValueError(f"mask {mask.shape} and reference {reference.shape} differ in shape.")
    ours, theirs = (_border_points(item) * spacing for item in (mask, reference))
    if not len(ours) or not len(theirs):
        return np.full(len(ours), np.inf), np.full(len(theirs), np.inf)
    return cKDTree(theirs).query(ours)[0], cKDTree(ours).query(theirs)[0]


def _border_points(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Border pixels as (row, column), looked for only where the mask is."""
    box = bounding_box(mask)
    if box is None:
        return np.zeros((0, 2))
    near = grow_box(box, 1, (mask.shape[0], mask.shape[1]))  # the pixels around tell whether the mask goes on
    found = np.argwhere(border_pixels(mask[near.slices])).astype(np.float64)
    found += (near.top, near.left)
    return found


def _percentile_distance(
    there: NDArray[np.float64], back: NDArray[np.float64], diagonal: float, percentile: float
) -> float:
    """Larger of both percentiles."""
    if not len(there) and not len(back):
        return 0.0
    if not len(there) or not len(back):
        return diagonal
    return float(max(np.percentile(there, percentile), np.percentile(back, percentile)))


def _f1_within(there: NDArray[np.float64], back: NDArray[np.float64], limit: float) -> float:
    """Harmonic mean of the shares of both borders that lie within a limit."""
    if not len(there) and not len(back):
        return 1.0
    if not len(there) or not len(back):
        return 0.0
    precision, recall = float(np.mean(there <= limit)), float(np.mean(back <= limit))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def count_class_pairs(predicted: ArrayLike, truth: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count how often pixels of each class were found to be of each class.

    Returns int64 (true class, found class).
    """
    pairs = np.asarray(truth, np.int64).ravel() * classes + np.asarray(predicted, np.int64).ravel()
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def dice_per_class(counts: ArrayLike) -> NDArray[np.float64]:
    """Dice index of each class over all pixels that were counted.

    Returns float64 (..., class); not a number where a class neither is nor was found.
    """
    common, total = _pixel_sums(counts)
    return np.divide(2 * common, total, out=np.full(total.shape, np.nan), where=total > 0)


def jaccard_per_class(counts: ArrayLike) -> NDArray[np.float64]:
    """Jaccard index of each class over all pixels that were counted.

    Returns float64 (..., class); not a number where a class neither is nor was found.
    """
    common, total = _pixel_sums(counts)
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
    dice, jaccard = dice_per_class(counts), jaccard_per_class(counts)
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

    return _estimate_pooled([counts], groups, measured, (0, 1), rounds, seed)


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

    return _estimate_pooled([old, new], groups, measured, (-1, 1), rounds, seed)


def _estimate_pooled(
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
            low, high = np.clip(mean + few_groups_factor(len(names)) * (ends - mean), *bounds)
        found[name] = Estimate(mean, float(low), float(high), len(counts[0]))
    return found


def _pixel_sums(counts: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels on which both agree, and the sum of both, for each class."""
    table = np.asarray(counts, np.float64)
    common = np.diagonal(table, axis1=-2, axis2=-1)
    return common, table.sum(-1) + table.sum(-2)
