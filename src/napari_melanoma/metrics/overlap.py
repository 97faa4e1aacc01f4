"""Comparison of masks and label images with references: overlap, boundaries, and classes of pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.imaging.masks import bounding_box, grow_box
from napari_melanoma.metrics.statistics import Estimate, bootstrap_interval, draw_statistics

UNLABELED_PIXEL = 255  # value of label images where no class is known; such pixels do not count
TJA_LIMIT = 0.65  # the thresholded Jaccard index is 0 below it


def overlap_metrics(mask: NDArray[np.bool_], reference: NDArray[np.bool_]) -> dict[str, float]:
    """Compare a mask with its reference (Codella et al. 2019, arXiv:1902.03368).

    ``mask``, ``reference``: bool (row, column), of the same shape. Returns ``JA`` Jaccard index, ``TJA`` the same but 0
    below 0.65, ``DI`` Dice index, ``AC`` accuracy, ``SE`` sensitivity and ``SP`` specificity of the pixels, each in [0,
    1]. An undefined ratio counts as 1: two empty masks agree.
    """
    if mask.shape != reference.shape:
        raise ValueError(f"mask {mask.shape} and reference {reference.shape} differ in shape.")
    both = int(np.count_nonzero(mask & reference))
    mask_area, reference_area = int(np.count_nonzero(mask)), int(np.count_nonzero(reference))
    neither = mask.size - mask_area - reference_area + both
    jaccard = _ratio_or_one(both, mask_area + reference_area - both)
    return {
        "TJA": jaccard if jaccard >= TJA_LIMIT else 0.0,
        "JA": jaccard,
        "DI": _ratio_or_one(2 * both, mask_area + reference_area),
        "AC": _ratio_or_one(both + neither, mask.size),
        "SE": _ratio_or_one(both, reference_area),
        "SP": _ratio_or_one(neither, mask.size - reference_area),
    }


def jaccard_by_threshold(
    probability: NDArray[np.float32], reference: NDArray[np.bool_], thresholds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the Jaccard index of one image at many thresholds, in one pass over its pixels.

    ``probability``: float32 (row, column) in [0, 1]. ``reference``: bool (row, column). ``thresholds``: float64
    (threshold,), ascending; a pixel at or above one is lesion. Returns float64 (threshold,).
    """
    level = np.searchsorted(thresholds, probability, side="right")  # number of thresholds that the pixel reaches
    bins = len(thresholds) + 1
    mask_areas = np.bincount(level.ravel(), minlength=bins)[::-1].cumsum()[::-1][1:]
    both = np.bincount(level[reference].ravel(), minlength=bins)[::-1].cumsum()[::-1][1:]
    union = mask_areas + np.count_nonzero(reference) - both
    return np.where(union > 0, both / np.maximum(union, 1), 1.0)


def choose_best_setting(curves: NDArray[np.float64], usual: int | None = None) -> int:
    """Choose the setting with the best mean over images; returns its index.

    With a usual setting, another is chosen only if it is better by more than one standard error of the paired
    differences (the one-standard-error rule, Breiman et al. 1984, Classification and Regression Trees, section
    3.4.3): the best of many settings on six images may be best by chance.

    ``curves``: float64 (image, setting); greater is better. ``usual``: index of the usual setting.
    """
    best = int(curves.mean(axis=0).argmax())
    if usual is None:
        return best
    gain = curves[:, best] - curves[:, usual]
    if len(gain) < 2:
        return usual
    return best if gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)) else usual


def _ratio_or_one(part: int, whole: int) -> float:
    """Divide; 0 / 0 is 1."""
    return part / whole if whole else 1.0


TOLERANCE = 0.0075  # share of the image's diagonal, as in Csurka et al.


def border_pixels(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the pixels of a mask with an edge neighbor outside it; the surroundings of the image count as outside.

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
    """Return the percentile Hausdorff distance of two borders, the greater of both directions.

    The percentile is computed from the distances of the border pixels of one mask to the nearest border pixel of the
    other, in both directions. With 100 it is the Hausdorff distance; 95 excludes single outliers (Huttenlocher,
    Klanderman and Rucklidge 1993, doi:10.1109/34.232073; Maier-Hein et al. 2024, doi:10.1038/s41592-023-02151-z).

    ``mask``, ``reference``: bool (row, column), of the same shape. ``spacing``: height and width of a pixel. The result
    is in the unit of ``spacing``; 0 if both masks are empty, and the diagonal of the image, the greatest possible
    distance, if one of them is.
    """
    return _percentile_distance(*_border_distances(mask, reference, spacing), _diagonal(mask, spacing), percentile)


def boundary_metrics(
    mask: NDArray[np.bool_], reference: NDArray[np.bool_], pixel_size: PixelSize | None
) -> dict[str, float]:
    """Compare the borders of a mask and its reference.

    ``mask``, ``reference``: bool (row, column), of the same shape. Returns ``HD95_px`` the 95th percentile Hausdorff
    distance in pixels, ``HD95_relative`` the same divided by the image's diagonal, so that images of different sizes
    can be averaged, ``HD95_mm`` in mm, and ``BF1`` the boundary F1 within 0.75 % of the diagonal. If only one mask is
    empty, the distance is the diagonal.
    """
    forward, backward = _border_distances(mask, reference, (1.0, 1.0))
    diagonal = _diagonal(mask, (1.0, 1.0))
    distance = _percentile_distance(forward, backward, diagonal, 95.0)
    metrics = {"HD95_px": distance, "HD95_relative": distance / diagonal}
    if pixel_size is not None:
        square = pixel_size.y_um == pixel_size.x_um
        metrics["HD95_mm"] = (
            distance * pixel_size.mm[0] if square else hausdorff_distance(mask, reference, pixel_size.mm)
        )
    return {**metrics, "BF1": _f1_within(forward, backward, TOLERANCE * diagonal)}


def _diagonal(mask: NDArray[np.bool_], spacing: tuple[float, float]) -> float:
    return math.hypot(mask.shape[0] * spacing[0], mask.shape[1] * spacing[1])


def _border_distances(
    mask: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distance of each border pixel to the nearest one of the other border, in both directions.

    Distances are infinite if the other border is empty.

    A tree of border pixels is used, as a distance map of a photograph of 12 megapixels takes seconds.
    """
    from scipy.spatial import cKDTree

    if mask.shape != reference.shape:
        raise ValueError(f"mask {mask.shape} and reference {reference.shape} differ in shape.")
    own_points, other_points = (_border_points(item) * spacing for item in (mask, reference))
    return cKDTree(other_points).query(own_points)[0], cKDTree(own_points).query(other_points)[0]


def _border_points(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the positions of border pixels, float64 (pixel, 2) of row and column."""
    box = bounding_box(mask)
    if box is None:
        return np.zeros((0, 2))
    near = grow_box(box, 1, (mask.shape[0], mask.shape[1]))  # includes the neighbors of the mask
    points = np.argwhere(border_pixels(mask[near.slices])).astype(np.float64)
    points += (near.top, near.left)
    return points


def _percentile_distance(
    forward: NDArray[np.float64], backward: NDArray[np.float64], diagonal: float, percentile: float
) -> float:
    """Return the greater percentile of both directions; the diagonal if only one border is empty."""
    if not len(forward) and not len(backward):
        return 0.0
    if not len(forward) or not len(backward):
        return diagonal
    return float(max(np.percentile(forward, percentile), np.percentile(backward, percentile)))


def _f1_within(forward: NDArray[np.float64], backward: NDArray[np.float64], limit: float) -> float:
    """Return the boundary F1 of Csurka, Larlus and Perronnin 2013 (doi:10.5244/C.27.32).

    Precision is the share of the mask's border pixels within a distance of the reference's border, recall is the
    converse; their harmonic mean is returned. It is 1 if both masks are empty, 0 if one of them is.
    """
    if not len(forward) and not len(backward):
        return 1.0
    if not len(forward) or not len(backward):
        return 0.0
    precision, recall = float(np.mean(forward <= limit)), float(np.mean(backward <= limit))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def count_class_pairs(predicted: ArrayLike, truth: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count the pixels, or images, of each pair of true and predicted class.

    ``predicted``, ``truth``: int, of the same shape: class indices; ``truth`` may be ``UNLABELED_PIXEL``, which is not
    counted. Returns int64 (true class, predicted class).
    """
    true, found = (np.asarray(values, np.int64).ravel() for values in (truth, predicted))
    is_labeled = true != UNLABELED_PIXEL
    if not is_labeled.all():
        true, found = true[is_labeled], found[is_labeled]
    pairs = true * classes + found
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def dice_per_class(counts: ArrayLike) -> NDArray[np.float64]:
    """Return the Dice index of each class over all counted pixels.

    ``counts``: int (..., true class, predicted class). Returns float64 (..., class); NaN for a class that does not
    occur, of which a single wrong pixel would otherwise lower the mean over classes.
    """
    common, total, occurs = _pixel_sums(counts)
    return np.divide(2 * common, total, out=np.full(total.shape, np.nan), where=occurs)


def jaccard_per_class(counts: ArrayLike) -> NDArray[np.float64]:
    """Return the Jaccard index of each class over all counted pixels.

    ``counts``: int (..., true class, predicted class). Returns float64 (..., class); NaN for a class that does not
    occur, of which a single wrong pixel would otherwise lower the mean over classes.
    """
    common, total, occurs = _pixel_sums(counts)
    return np.divide(common, total - common, out=np.full(total.shape, np.nan), where=occurs)


def mean_over_classes(index: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average an index over the classes for which it is defined.

    ``index``: float64 (..., class). Returns float64 (...); NaN if it is undefined for all classes.
    """
    known = ~np.isnan(index)
    count = known.sum(-1)
    total = np.where(known, index, 0).sum(-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def label_metrics(counts: NDArray, classes: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Compute all metrics of label images.

    ``counts``: int (..., true class, predicted class). Returns ``DI`` and ``JA``, the means over classes, ``AC``, the
    share of correct pixels, and ``DI <class>`` and ``JA <class>``: each float64 (...).
    """
    dice, jaccard = dice_per_class(counts), jaccard_per_class(counts)
    correct, total = np.trace(counts, axis1=-2, axis2=-1), counts.sum((-2, -1))
    metrics = {
        "DI": mean_over_classes(dice),
        "JA": mean_over_classes(jaccard),
        "AC": np.divide(correct, total, out=np.full(total.shape, np.nan), where=total > 0),
    }
    for index, values in (("DI", dice), ("JA", jaccard)):
        metrics |= {f"{index} {name}": values[..., number] for number, name in enumerate(classes)}
    return metrics


def estimate_label_metrics(
    counts: NDArray[np.int64], groups: ArrayLike, classes: Sequence[str], *, rounds: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """Estimate all metrics over images, with 95 % intervals by bootstrap over patients or lesions.

    The pixels of all images are counted together, since a tile that hardly shows a class has no meaningful index; each
    round draws whole groups. Intervals are widened for few groups, as in ``bootstrap_mean``.

    ``counts``: int64 (image, true class, predicted class). Returns estimates by metric; undefined metrics are omitted.
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
    """Estimate the difference of each metric between a new and an old model on the same images.

    Pixels are counted as for ``estimate_label_metrics``. Differences are paired: each round uses the same patients or
    lesions for both models, so that the difficulty of an image cancels out.

    ``old``, ``new``: int64 (image, true class, predicted class), of the same images in the same order. Returns new
    minus old by metric; metrics undefined for one of them are omitted.
    """
    if old.shape != new.shape:
        raise ValueError(
            f"expected counts of the same images for a paired difference, found {len(old)} and {len(new)}."
        )

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
    """Estimate metrics of pooled counts.

    ``counts``: for each model int64 (image, true class, predicted class). ``measured``: from the pooled counts of each
    model to each metric, float64 (draw,). ``groups``: the patient or lesion of each image.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    if not len(names):
        return {}
    shape = counts[0].shape[1:]
    sums = [np.zeros((len(names), *shape), np.float64) for _ in counts]
    for total, table in zip(sums, counts, strict=True):
        np.add.at(total, index, table)

    def statistics(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return measured([np.tensordot(times, total, axes=1) for total in sums])

    return {
        name: Estimate(value, *bootstrap_interval(value, drawn, len(names), bounds=bounds), len(counts[0]))
        for name, (value, drawn) in draw_statistics(statistics, range(len(names)), rounds=rounds, seed=seed).items()
        if np.isfinite(value)
    }


def _pixel_sums(counts: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return, of each class, the correct pixels, the sum of true and predicted pixels, and whether it occurs."""
    table = np.asarray(counts, np.float64)
    common = np.diagonal(table, axis1=-2, axis2=-1)
    return common, table.sum(-1) + table.sum(-2), table.sum(-1) > 0
