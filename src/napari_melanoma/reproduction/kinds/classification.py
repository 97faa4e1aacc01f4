"""Rows that tell melanoma from the rest: out-of-fold answers, pooled over the folds of a cross-validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.reproduction import predictions
from napari_melanoma.reproduction.papers import Image, RowKind
from napari_melanoma.reproduction.predictions import METRICS, PooledPredictions, make_predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.metrics.statistics import Estimate


def pool(images: Sequence[Image]) -> PooledPredictions:
    """Turn rows of ``per_image.csv`` into arrays.

    In their order.
    """
    truth = np.array([image["label"] == "1" for image in images])
    return PooledPredictions(truth, *(_column(images, name) for name in ("probability", "above", "covered", "several")))


def _column(images: Sequence[Image], name: str) -> NDArray[np.float64]:
    """Read a column; an empty cell is NaN."""
    return np.array([float(image.get(name) or "nan") for image in images])


def _estimates(images: Sequence[Image]) -> dict[str, Estimate]:
    """Pool the folds."""
    return predictions.estimate_metrics(pool(images), [image["group"] for image in images])


def _changes(less: Sequence[Image], more: Sequence[Image]) -> dict[str, Estimate]:
    """Pool the folds of two rows, and compare them on the same images."""
    return predictions.estimate_changes(pool(less), pool(more), [image["group"] for image in less])


def _remark(images: Sequence[Image], learnt: bool) -> str:
    """Say where whole photographs stood for lesions that were not found, and where all answers are one."""
    whole = sum(image.get("no_lesion") == "1" for image in images)
    said = [f"no lesion found in {whole} of {len(images)}: the whole photograph was taken"] if whole else []
    answers = Counter(image["probability"] for image in images)
    if learnt and len(answers) == 1:
        said.append("the same answer for every image: learnt nothing")
    return "; ".join(said)


KIND = RowKind("classification", METRICS, make_predictor, _estimates, _changes, _remark, crossed=True)
