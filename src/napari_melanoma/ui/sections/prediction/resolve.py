"""Which prediction of a photograph is shown, and why there is no current one."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.ui.session.lesion_prediction import (
        LesionPredictionOutcome,
        LesionPredictionRequest,
        SavedPrediction,
    )

NOT_ANALYZED = "Analyze the photograph first. The prediction uses the segmented lesion."
NO_MODEL_SELECTED = "Select a <i>classifier</i> to predict the diagnosis."
OUTDATED = "Outdated: the inputs have changed since this prediction. A new one is being computed."
STOPPED = "Canceled. There is no prediction for this lesion."
Link = Callable[[str, str], str]
"""Makes a link to a target with a text, for rich text."""


class PredictionContext(NamedTuple):
    """The state of the dock that a prediction depends on.

    ``classifier``: the selected model, empty for none. ``model``: for the photograph, which *automatic* selects.
    ``row``: the patient data. ``is_pending``: whether a prediction is being computed. ``is_changing``: whether the mask
    does not match the controls yet.
    """

    classifier: str
    model: str
    has_models: bool = True
    row: Mapping[str, str] = {}
    is_pending: bool = False
    is_changing: bool = False


@dataclass(frozen=True)
class PredictionView:
    """What is shown; ``reason``: why there is no prediction of this session, as rich text.

    ``note``: about a prediction that is not current. With a reason, the prediction is a saved one.
    """

    prediction: ClassPrediction | None = None
    is_current: bool = False
    note: str = ""
    reason: str = ""


def resolve_prediction(
    outcome: LesionPredictionOutcome | None,
    request: LesionPredictionRequest | None,
    saved: SavedPrediction | None,
    context: PredictionContext,
    link: Link,
) -> PredictionView:
    """Return what is shown of a photograph.

    ``outcome``: the last one, which may be of an earlier request. ``request``: for the current mask, patient data and
    model; None without analysis or model. ``saved``: shown until there is a new prediction.
    """
    is_pending = context.is_pending or context.is_changing
    is_current = outcome is not None and outcome.request == request and not context.is_changing
    if outcome is not None and outcome.prediction is not None:
        if is_current:
            return PredictionView(outcome.prediction, is_current=True)
        if is_pending and request is not None and outcome.request.classifier_input.model == context.model:
            return PredictionView(outcome.prediction, note=OUTDATED)
    error = outcome.error if outcome is not None and is_current else ""
    reason = _explain_missing(error, request is not None, context, link)
    if saved is None:
        return PredictionView(reason=reason)
    mask_digest = None if request is None else request.classifier_input.mask_digest
    note = saved.describe_status(context.model, mask_digest, context.row)
    return PredictionView(saved.prediction, note=note, reason=reason)


def _explain_missing(error: str, is_analyzed: bool, context: PredictionContext, link: Link) -> str:
    """Explain why there is no prediction, as rich text."""
    again = link("again", "Predict again")
    if not context.classifier:
        train = link("train", "Train one")
        add = f"{train}, or add one with <i>napari-melanoma models import</i>"
        return NO_MODEL_SELECTED if context.has_models else f"No classification model is installed. {add}."
    if not is_analyzed:
        return NOT_ANALYZED
    if error:
        return f"{html.escape(error[:1].upper() + error[1:])} {again}"
    return "Predicting ..." if context.is_pending or context.is_changing else f"{STOPPED} {again}"
