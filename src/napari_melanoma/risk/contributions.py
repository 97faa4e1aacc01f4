"""Contributions of image, depth and patient data to a predicted risk: exact Shapley values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.prediction_config import DEPTH_COLUMN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.classifier import Classifier, EncoderOutput

TableRow = Mapping[str, object]
PARTS = ("image", "depth", "patient")  # the three branches of P3


@dataclass(frozen=True)
class ShapleyShares:
    """Contribution of each part to a probability, and the probability without any input."""

    shares: dict[str, float]
    baseline: float


def explain_by_part(
    model: Classifier, features: Sequence[EncoderOutput], row: TableRow, max_background: int
) -> list[ShapleyShares] | None:
    """Explain the predictions for the patches of a patient by the contributions of image, depth and metadata.

    Exact Shapley values over the three parts; None if the bundle stores no training cases.
    """
    others = _background_features(model, max_background)
    if others is None:
        return None
    found = []
    for one in features:
        predictions = {known: _predict_known_parts(model, one, row, known, others) for known in coalitions(PARTS)}
        found.append(ShapleyShares(shapley_shares(predictions, PARTS), predictions[frozenset()]))
    return found


def image_log_odds(model: Classifier, features: Sequence[EncoderOutput]) -> NDArray[np.float64]:
    """Return the log odds of the positive class from the image only, before calibration, float64 (patch,)."""
    logits = model.run_head(features, [{}] * len(features)).astype(np.float64)
    rest = np.delete(logits, model.calibration.positive_index, axis=1)
    return logits[:, model.calibration.positive_index] - np.logaddexp.reduce(rest, axis=1)


def _background_features(model: Classifier, max_count: int) -> NDArray[np.float32] | None:
    """Features of evenly spaced training cases of the bundle, float32 (case, feature)."""
    reference = model.calibration.reference
    if reference is None or not len(reference.embeddings):
        return None
    count = len(reference.embeddings)
    indices = np.unique(np.linspace(0, count - 1, min(max_count, count)).round().astype(int))
    return reference.embeddings[indices].astype(np.float32)


def _predict_known_parts(
    model: Classifier, encoded: EncoderOutput, row: TableRow, known: KnownParts, others: NDArray[np.float32]
) -> float:
    """Probability of the positive class when only some parts are known."""
    columns = _known_columns(row, known)
    if {"image", "depth"} <= known:
        logits = model.run_head([encoded], [columns])
    else:
        logits = model.run_head(_mix_features(model, encoded, known, others), [columns] * len(others))
    return float(model.calibration.probabilities(logits)[:, model.calibration.positive_index].mean())


def _known_columns(row: TableRow, known: KnownParts) -> dict[str, object]:
    """The columns of a row that belong to known parts."""
    return {name: cell for name, cell in row.items() if ("depth" if name == DEPTH_COLUMN else "patient") in known}


def _mix_features(
    model: Classifier, encoded: EncoderOutput, known: KnownParts, others: NDArray[np.float32]
) -> list[EncoderOutput]:
    """The features of the case for known parts, those of training cases for others; each as a 1 x 1 map."""
    from napari_melanoma.classification.classifier import EncoderOutput

    own, mixed = encoded.deepest_maps.mean(axis=(0, 2, 3)), others.copy()
    at = getattr(model.network, "image_features", len(own))  # predicted depth follows the image features
    for part, where in (("image", np.s_[:at]), ("depth", np.s_[at:])):
        if part in known:
            mixed[:, where] = own[where]
    return [EncoderOutput(one[None, :, None, None], one) for one in mixed]


KnownParts = frozenset[str]


def coalitions(parts: Sequence[str]) -> tuple[KnownParts, ...]:
    """List all subsets of parts, the empty one first."""
    return tuple(frozenset(chosen) for size in range(len(parts) + 1) for chosen in combinations(parts, size))


def shapley_shares(predictions: Mapping[KnownParts, float], parts: Sequence[str]) -> dict[str, float]:
    """Attribute the difference between knowing all parts and knowing none to the parts.

    The mean of the contribution of a part over all orders in which parts may become known (Shapley 1953,
    doi:10.1515/9781400881970-018). The shares add up to the prediction with all parts minus the one with none.
    """
    count, found = len(parts), dict.fromkeys(parts, 0.0)
    for part in parts:
        for known in coalitions([one for one in parts if one != part]):
            orders = factorial(len(known)) * factorial(count - len(known) - 1) / factorial(count)
            found[part] += orders * (predictions[known | {part}] - predictions[known])
    return found
