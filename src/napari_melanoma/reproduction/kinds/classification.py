"""Classification rows: out-of-fold predictions, pooled over the folds of a cross-validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.reproduction import predictions
from napari_melanoma.reproduction.papers import Image, Row, RowKind
from napari_melanoma.reproduction.predictions import (
    CHANCE,
    METRICS,
    PooledPredictions,
    estimate_auc,
    make_predictor,
)
from napari_melanoma.reproduction.split import UNTOUCHED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.metrics.statistics import Estimate


def pool(images: Sequence[Image]) -> PooledPredictions:
    """Convert rows of ``per_image.csv`` to arrays."""
    truth = np.array([image["label"] == "1" for image in images])
    columns = ("as_trained", "probability", "above", "covered", "several")
    return PooledPredictions(truth, *(_column(images, name) for name in columns))


def _column(images: Sequence[Image], name: str) -> NDArray[np.float64]:
    """Read a column, float64 (image,); NaN for an empty cell."""
    return np.array([float(image.get(name) or "nan") for image in images])


def _estimates(images: Sequence[Image]) -> dict[str, Estimate]:
    """Estimate the metrics of images."""
    return predictions.estimate_metrics(pool(images), [image["group"] for image in images])


def _changes(first: Sequence[Image], second: Sequence[Image]) -> dict[str, Estimate]:
    """Estimate the changes of the metrics on the same images of two rows."""
    return predictions.estimate_changes(pool(first), pool(second), [image["group"] for image in first])


def _remark(images: Sequence[Image], trained: bool) -> str:
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


def _explain_unlearned(row: Row, images: Sequence[Image], evaluation: Mapping[str, Any]) -> str:
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


KIND = RowKind(
    "classification", METRICS, make_predictor, _estimates, _changes, _remark, _explain_unlearned, cross_validated=True
)
