"""What the Prediction section shows of a photograph: which prediction and heatmap, or why there is none."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from napari_melanoma.core.formatting import capitalize, format_class, to_sentence
from napari_melanoma.data.taxonomy import load_taxonomy
from napari_melanoma.ui.session.heatmap_options import HeatmapOptions

if TYPE_CHECKING:
    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.ui.session.lesion_prediction import (
        LesionPredictionOutcome,
        LesionPredictionRequest,
        PredictionHeatmap,
        SavedPrediction,
    )

NOT_ANALYZED = "Analyze the photograph first. The prediction uses the segmented lesion."
NO_MODEL_SELECTED = "Select a <i>classifier</i> to predict the diagnosis."
OUTDATED = "Outdated: the inputs have changed since this prediction. A new one is being computed."
STOPPED = "Canceled. There is no prediction for this lesion."
HEATMAP_STOPPED = "Canceled. There is no heatmap for this prediction."
Link = Callable[[str, str], str]
"""Makes a link to a target with a text, for rich text."""


class PredictionContext(NamedTuple):
    """What a prediction depends on, beside its request.

    ``model``: for the photograph; empty for none. ``has_models``: whether any is installed. ``row``: the patient data.
    ``is_changing``: whether the mask does not match the controls yet.
    """

    model: str
    has_models: bool = True
    row: Mapping[str, str] = {}
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


@dataclass(frozen=True)
class HeatmapView:
    """The controls of the heatmap.

    ``classes``: to choose from. ``predicted``: the class that is explained unless another one is selected.
    ``notice``: as rich text, why there is no heatmap, or that it is empty, which otherwise looks as if it were missing.
    """

    options: HeatmapOptions = field(default_factory=HeatmapOptions)
    classes: tuple[str, ...] = ()
    predicted: str = ""
    notice: str = ""


class HeatmapLayerView(NamedTuple):
    """The layer of the heatmap.

    ``shown``: the heatmap that it shows. ``request``: of a heatmap to compute. ``is_kept``: until then, the previous
    one stays visible.
    """

    shown: PredictionHeatmap | None = None
    request: LesionPredictionRequest | None = None
    is_kept: bool = False


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
    is_current = outcome is not None and outcome.request == request and not context.is_changing
    if outcome is not None and outcome.prediction is not None:
        if is_current:
            return PredictionView(outcome.prediction, is_current=True)
        if request is not None and outcome.request.classifier_input.model == context.model:
            return PredictionView(outcome.prediction, note=OUTDATED)
    reason = _explain_missing(outcome if is_current else None, request is not None, context, link)
    if saved is None:
        return PredictionView(reason=reason)
    mask_digest = None if request is None else request.classifier_input.mask_digest
    note = saved.describe_status(context.model, mask_digest, context.row)
    return PredictionView(saved.prediction, note=note, reason=reason)


def _explain_missing(
    outcome: LesionPredictionOutcome | None, is_analyzed: bool, context: PredictionContext, link: Link
) -> str:
    """Explain why there is no prediction, as rich text; ``outcome``: of the current request."""
    if not context.model:
        add = f"{link('train', 'Train one')}, or add one with <i>napari-melanoma models import</i>"
        return NO_MODEL_SELECTED if context.has_models else f"No classification model is installed. {add}."
    if not is_analyzed:
        return NOT_ANALYZED
    if outcome is None:
        return "Predicting ..."
    return f"{html.escape(capitalize(outcome.error)) or STOPPED} {link('again', 'Predict again')}"


def resolve_heatmap(
    outcome: LesionPredictionOutcome | None, heatmap: PredictionHeatmap | None, options: HeatmapOptions, link: Link
) -> HeatmapView:
    """Return the controls of the heatmap of a prediction; ``heatmap``: the last one."""
    prediction = None if outcome is None else outcome.prediction
    if prediction is None:
        return HeatmapView(options)
    request, notice = options.make_request(outcome), ""
    if heatmap is not None and request is not None and heatmap.applies_to(request):
        notice = _explain_missing_heatmap(heatmap, class_title(request.target).lower(), link)
    return HeatmapView(options, prediction.classes, prediction.predicted, notice)


def _explain_missing_heatmap(heatmap: PredictionHeatmap, target: str, link: Link) -> str:
    """Explain why no heatmap can be seen, as rich text; empty if there is one."""
    from napari_melanoma.classification.prediction import EMPTY_HEATMAP

    if heatmap.values is None:
        return f"{html.escape(to_sentence(heatmap.error)) or HEATMAP_STOPPED} {link('heatmap', 'Compute again')}"
    return "" if heatmap.values.any() else html.escape(to_sentence(EMPTY_HEATMAP.format(target=target)))


def resolve_layer(
    outcome: LesionPredictionOutcome | None, heatmap: PredictionHeatmap | None, options: HeatmapOptions
) -> HeatmapLayerView:
    """Return the layer of the heatmap of a prediction; ``heatmap``: the last one."""
    request = options.make_request(outcome)
    if request is None:
        return HeatmapLayerView()
    if heatmap is not None and heatmap.applies_to(request):
        return HeatmapLayerView(None if heatmap.values is None else heatmap)
    return HeatmapLayerView(request=request, is_kept=options.method == "cam")


def class_title(word: str) -> str:
    """Return the title of a class from the taxonomy of diagnoses, else the capitalized name."""
    taxonomy = load_taxonomy("diagnosis")
    return taxonomy.title(word) if word in taxonomy.entries else capitalize(format_class(word.replace("_", " ")))
