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
    """Read a column; an empty cell is NaN."""
    return np.array([float(image.get(name) or "nan") for image in images])


def _estimates(images: Sequence[Image]) -> dict[str, Estimate]:
    """Pool the folds."""
    return predictions.estimate_metrics(pool(images), [image["group"] for image in images])


def _changes(less: Sequence[Image], more: Sequence[Image]) -> dict[str, Estimate]:
    """Pool the folds of two rows, and compare them on the same images."""
    return predictions.estimate_changes(pool(less), pool(more), [image["group"] for image in less])


def _remark(images: Sequence[Image], trained: bool) -> str:
    """Note photographs without a lesion that were used as a whole, and constant predictions."""
    whole = sum(image.get("no_lesion") == "1" for image in images)
    remarks = [f"no lesion found in {whole} of {len(images)}: the whole photograph was used"] if whole else []
    predictions_made = Counter(image["probability"] for image in images)
    if trained and len(predictions_made) == 1:
        remarks.append("the same prediction for every image: training failed")
    return "; ".join(remarks)


def _explain_unlearned(row: Row, images: Sequence[Image], evaluation: Mapping[str, Any]) -> str:
    """Return that the AUC of a network is not above chance on any role that it was trained on, in the folds."""
    if row.file.predictor != "network":
        return ""
    inside = [image for image in images if image.get("part") != UNTOUCHED]
    roles = [[image for image in inside if image.get("role", role) == role] for role in row.file.learns]
    areas = [estimate_auc(pool(known), [image["group"] for image in known]) for known in roles if known]
    chance = [area for area in areas if area is not None and area.low <= CHANCE]
    if not areas or len(chance) < len(areas):
        return ""
    where = dict.fromkeys("lies below 50" if area.high < CHANCE else "contains 50" for area in chance)
    return f"the interval of its AUC {' or '.join(where)}"


KIND = RowKind(
    "classification", METRICS, make_predictor, _estimates, _changes, _remark, _explain_unlearned, crossed=True
)
