"""Contributions of image, depth and patient data to a predicted risk: exact Shapley values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.prediction_config import DEPTH_COLUMN

if TYPE_CHECKING:
    from napari_melanoma.classification.classifier import Classifier, EncoderOutput

TableRow = Mapping[str, object]
PARTS = ("image", "depth", "patient")  # the three branches of P3
KnownParts = frozenset[str]  # parts whose input is known; the others are replaced


@dataclass(frozen=True)
class ShapleyShares:
    """Contribution of each part to a probability, and the probability without any input (``baseline``)."""

    shares: dict[str, float]
    baseline: float


def explain_by_part(
    model: Classifier, features: Sequence[EncoderOutput], row: TableRow, max_background: int
) -> list[ShapleyShares] | None:
    """Compute the contributions of image, depth and patient data to the prediction for each patch of a case.

    Features of unknown parts are replaced by those of training cases, over which the prediction is averaged; columns of
    unknown parts are missing values. None if the bundle stores no training cases.

    ``features``: of each patch. ``row``: patient data. ``max_background``: maximum number of training cases.
    """
    background = _background_features(model, max_background)
    if background is None:
        return None
    explanations = []
    for encoded in features:
        predictions = {
            known: _predict_known_parts(model, encoded, row, known, background) for known in coalitions(PARTS)
        }
        explanations.append(ShapleyShares(shapley_shares(predictions, PARTS), predictions[frozenset()]))
    return explanations


def _background_features(model: Classifier, max_count: int) -> NDArray[np.float32] | None:
    """Return the features of evenly spaced training cases in the bundle, float32 (case, feature); None without."""
    reference = model.calibration.reference
    if reference is None or not len(reference.embeddings):
        return None
    count = len(reference.embeddings)
    indices = np.unique(np.linspace(0, count - 1, min(max_count, count)).round().astype(int))
    return reference.embeddings[indices].astype(np.float32)


def _predict_known_parts(
    model: Classifier, encoded: EncoderOutput, row: TableRow, known: KnownParts, background: NDArray[np.float32]
) -> float:
    """Predict the probability of the positive class when only some parts are known."""
    columns = {name: cell for name, cell in row.items() if ("depth" if name == DEPTH_COLUMN else "patient") in known}
    if {"image", "depth"} <= known:
        logits = model.run_head([encoded], [columns])
    else:
        logits = model.run_head(_mix_features(encoded, known, background), [columns] * len(background))
    return float(model.calibration.probabilities(logits)[:, model.calibration.positive_index].mean())


def _mix_features(encoded: EncoderOutput, known: KnownParts, background: NDArray[np.float32]) -> list[EncoderOutput]:
    """Combine features of the case (known parts) with those of each training case (other parts), as constant maps."""
    from napari_melanoma.classification.classifier import EncoderOutput

    case_features, mixed = encoded.deepest_maps.mean(axis=(0, 2, 3)), background.copy()
    # The predicted depth follows the image features.
    split = encoded.image_maps
    for part, columns in (("image", np.s_[:split]), ("depth", np.s_[split:])):
        if part in known:
            mixed[:, columns] = case_features[columns]
    shape = encoded.deepest_maps.shape  # as graphs have fixed sizes
    return [EncoderOutput(np.broadcast_to(features[None, :, None, None], shape), features) for features in mixed]


def coalitions(parts: Sequence[str]) -> tuple[KnownParts, ...]:
    """List all subsets of parts, the empty one first."""
    return tuple(frozenset(subset) for size in range(len(parts) + 1) for subset in combinations(parts, size))


def shapley_shares(predictions: Mapping[KnownParts, float], parts: Sequence[str]) -> dict[str, float]:
    """Compute the Shapley value of each part (Shapley 1953, doi:10.1515/9781400881970-018).

    It is the mean change of the prediction when the part becomes known, over all orders in which the parts may become
    known. The values add up to the prediction with all parts minus the prediction with none.

    ``predictions``: for each subset of the parts.
    """
    count, shares = len(parts), dict.fromkeys(parts, 0.0)
    for part in parts:
        for known in coalitions([other for other in parts if other != part]):
            orders = factorial(len(known)) * factorial(count - len(known) - 1) / factorial(count)
            shares[part] += orders * (predictions[known | {part}] - predictions[known])
    return shares
