"""The types of rows of a paper's tables: how they are evaluated, and their metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import Sample
from napari_melanoma.evaluation.masks import measure_sample
from napari_melanoma.extensions.papers import predictions
from napari_melanoma.extensions.papers.papers import Image, ImageMeasurement, Row, RowKind, RowSubject
from napari_melanoma.extensions.papers.predictions import (
    CHANCE,
    LARGEST_FILLED,
    METRICS,
    NO_REFINEMENT,
    PooledPredictions,
    estimate_auc,
    make_predictor,
)
from napari_melanoma.extensions.papers.split import UNTOUCHED
from napari_melanoma.figures.evaluation import comparison_image
from napari_melanoma.io.results import read_mask, read_table
from napari_melanoma.metrics.metric_table import OVERLAP_METRICS
from napari_melanoma.metrics.overlap import overlap_metrics
from napari_melanoma.metrics.statistics import Estimate, bootstrap_means
from napari_melanoma.training.run_data import read_data

VALIDATION_DICE, CONSTANT_DICE = "validation_dice", "constant_dice"  # in evaluation.json
SMALL_SIDE = 256  # side in pixels to which P2 resizes images and masks before it compares them
SMALL_METRICS = {f"{name}{SMALL_SIDE}": name for name in ("AC", "DI")}
MASK_COLUMNS = (*OVERLAP_METRICS, *SMALL_METRICS)


# Segmentation: masks compared with reference masks by the metrics of ISIC 2018, averaged over images.


def _make_mask_measure(subject: RowSubject, run: RunContext) -> Callable[[Sample], ImageMeasurement]:
    """Load the model, and return the function that measures an image."""
    from napari_melanoma.lesion.segmentation import Segmenter

    assert subject.bundle is not None
    bundle, refinement = subject.bundle, LARGEST_FILLED if subject.row.file.refine else NO_REFINEMENT
    model = Segmenter.load(bundle)

    def measure(sample: Sample) -> ImageMeasurement:
        compared, metrics = measure_sample(sample, model, bundle.config.threshold, refinement)
        small = overlap_metrics(_resize_mask(compared.mask), _resize_mask(compared.reference))
        columns = {name: metrics[name] for name in OVERLAP_METRICS}
        columns |= {name: small[full] for name, full in SMALL_METRICS.items()} | {"found": int(compared.mask.any())}
        return ImageMeasurement(
            columns, lambda: compared.rgb, partial(comparison_image, compared.mask, compared.reference)
        )

    return measure


def _resize_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Resize a mask, bool (row, column), to a square of ``SMALL_SIDE``, by the nearest pixel."""
    from PIL import Image

    return np.asarray(Image.fromarray(mask).resize((SMALL_SIDE, SMALL_SIDE), Image.Resampling.NEAREST))


def _mask_estimates(images: Sequence[Image]) -> dict[str, Estimate]:
    """Average over images, with intervals over patients or lesions."""
    return _means(images, _table(images), (0, 1))


def _mask_changes(first: Sequence[Image], second: Sequence[Image]) -> dict[str, Estimate]:
    """Average the differences of images."""
    return _means(first, _table(second) - _table(first), (-1, 1))


def _table(images: Sequence[Image]) -> np.ndarray:
    """Read the metrics, float64 (image, metric)."""
    return np.array([[float(image[name]) for name in MASK_COLUMNS] for image in images])


def _means(images: Sequence[Image], table: np.ndarray, bounds: tuple[float, float]) -> dict[str, Estimate]:
    """Average the columns of a table."""
    groups = [image["group"] for image in images]
    return dict(zip(MASK_COLUMNS, bootstrap_means(table, groups, bounds=bounds), strict=True))


def _mask_remark(images: Sequence[Image], trained: bool) -> str:
    """Note a model that finds no lesion in half of the images or more, and a training that failed."""
    empty_masks = sum(image.get("found") == "0" for image in images)
    if 2 * empty_masks < len(images):
        return ""
    failure = ": training failed" if empty_masks == len(images) and trained else ""
    return f"found no lesion in {empty_masks} of {len(images)}{failure}"


def measure_validation(run: RunFolder) -> dict[str, float]:
    """Return the best mean Dice index on the validation images, and that of masks of the whole image.

    Empty if one of them is unknown.
    """
    epochs = read_table(run.path / "metrics.csv")
    dice = [float(row["validation_dice"]) for row in epochs if row.get("validation_dice")]
    if not dice:
        return {}
    masks = [row.sample.mask for row in read_data(run.data) if row.part == "validation" and row.sample.mask]
    shares = [read_mask(mask).mean() for mask in masks]
    if not shares:
        return {}
    return {VALIDATION_DICE: max(dice), CONSTANT_DICE: float(np.mean([2 * share / (1 + share) for share in shares]))}


def pool_validation(folds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the means of the values of ``measure_validation`` over folds; empty if a fold has none."""
    names = (VALIDATION_DICE, CONSTANT_DICE)
    if not all(name in fold for fold in folds for name in names):
        return {}
    return {name: float(np.mean([fold[name] for fold in folds])) for name in names}


def _explain_unlearned_masks(row: Row, images: Sequence[Image], evaluation: Mapping[str, Any]) -> str:
    """Return a reason if no epoch had a higher Dice index on validation images than masks of the whole image."""
    achieved, constant = evaluation.get(VALIDATION_DICE), evaluation.get(CONSTANT_DICE)
    if achieved is None or constant is None or achieved > constant:
        return ""
    return f"Dice of {100 * achieved:.1f} on the validation images, {100 * constant:.1f} for masks of the whole image"


# Classification: out-of-fold predictions, pooled over the folds of a cross-validation.


def pool(images: Sequence[Image]) -> PooledPredictions:
    """Convert rows of ``per_image.csv`` to arrays."""
    truth = np.array([image["label"] == "1" for image in images])
    columns = ("as_trained", "probability", "above", "covered", "several")
    return PooledPredictions(truth, *(_column(images, name) for name in columns))


def _column(images: Sequence[Image], name: str) -> NDArray[np.float64]:
    """Read a column, float64 (image,); NaN for an empty cell."""
    return np.array([float(image.get(name) or "nan") for image in images])


def _class_estimates(images: Sequence[Image]) -> dict[str, Estimate]:
    """Estimate the metrics of images."""
    return predictions.estimate_metrics(pool(images), [image["group"] for image in images])


def _class_changes(first: Sequence[Image], second: Sequence[Image]) -> dict[str, Estimate]:
    """Estimate the changes of the metrics on the same images of two rows."""
    return predictions.estimate_changes(pool(first), pool(second), [image["group"] for image in first])


def _class_remark(images: Sequence[Image], trained: bool) -> str:
    """Note photographs that were used as a whole, since no lesion was found, and constant predictions."""
    without_lesion = sum(image.get("no_lesion") == "1" for image in images)
    remarks = (
        [f"no lesion found in {without_lesion} of {len(images)}: the whole photograph was used"]
        if without_lesion
        else []
    )
    predictions_made = Counter(image["probability"] for image in images)
    if trained and len(predictions_made) == 1:
        remarks.append("the same prediction for every image: training failed")
    return "; ".join(remarks)


def _explain_unlearned_classes(row: Row, images: Sequence[Image], evaluation: Mapping[str, Any]) -> str:
    """Return a reason if the AUC of a network in the folds is not above chance on any role that it was trained on."""
    if row.file.predictor != "network":
        return ""
    inside = [image for image in images if image.get("part") != UNTOUCHED]
    roles = [[image for image in inside if image.get("role", role) == role] for role in row.file.train_roles]
    aucs = [estimate_auc(pool(known), [image["group"] for image in known]) for known in roles if known]
    at_chance = [auc for auc in aucs if auc is not None and auc.low <= CHANCE]
    if not aucs or len(at_chance) < len(aucs):
        return ""
    where = dict.fromkeys("lies below 50" if auc.high < CHANCE else "contains 50" for auc in at_chance)
    return f"the interval of its AUC {' or '.join(where)}"


SEGMENTATION = RowKind(
    "segmentation",
    MASK_COLUMNS,
    _make_mask_measure,
    _mask_estimates,
    _mask_changes,
    _mask_remark,
    _explain_unlearned_masks,
)
CLASSIFICATION = RowKind(
    "classification",
    METRICS,
    make_predictor,
    _class_estimates,
    _class_changes,
    _class_remark,
    _explain_unlearned_classes,
    cross_validated=True,
)
# Each image is segmented by the network that was not trained on its fold.
CROSSED_SEGMENTATION = replace(
    SEGMENTATION, name="cross_validated_segmentation", cross_validated=True, needs_masks=True
)
KINDS = {kind.name: kind for kind in (CLASSIFICATION, CROSSED_SEGMENTATION, SEGMENTATION)}
