"""Which prediction and heatmap are shown, and why there is no current one, without widgets."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from napari_melanoma.ui.sections.prediction.resolve import (
    HEATMAP_STOPPED,
    NO_MODEL_SELECTED,
    NOT_ANALYZED,
    OUTDATED,
    STOPPED,
    HeatmapLayerView,
    HeatmapView,
    PredictionContext,
    resolve_heatmap,
    resolve_layer,
    resolve_prediction,
)
from napari_melanoma.ui.session.heatmap_options import HeatmapOptions
from napari_melanoma.ui.session.lesion_prediction import (
    ClassifierInput,
    LesionPredictionOutcome,
    LesionPredictionRequest,
    PredictionHeatmap,
    SavedPrediction,
)

ANSWER: Any = SimpleNamespace(model=SimpleNamespace(name="small"), provenance={"created": "2026-11-20T14:05:09+00:00"})
OLD: Any = SimpleNamespace(**vars(ANSWER), used_columns={"age", "sex"})
REQUEST = LesionPredictionRequest("mole", ClassifierInput("small", "image", "mask"), ())
EDITED = LesionPredictionRequest("mole", ClassifierInput("small", "image", "edited"), ())
LARGE = LesionPredictionRequest("mole", ClassifierInput("large", "image", "mask"), ())
CANCELED, CANCELED_EDITED = LesionPredictionOutcome(REQUEST), LesionPredictionOutcome(EDITED)
DONE, FAILED = LesionPredictionOutcome(REQUEST, ANSWER), LesionPredictionOutcome(REQUEST, error="no <lesion> found.")
SAVED = SavedPrediction(OLD, {}, "mask", True)
SMALL = PredictionContext("small")
CHANGING = SMALL._replace(is_changing=True)
AGAIN = "[Predict again]"


class Case(NamedTuple):
    name: str
    outcome: LesionPredictionOutcome | None
    request: LesionPredictionRequest | None
    context: PredictionContext
    prediction: Any
    is_current: bool
    text: str  # the note or the reason


CASES = [
    Case("not analyzed", None, None, SMALL, None, False, NOT_ANALYZED),
    Case("no classifier", None, None, PredictionContext(""), None, False, NO_MODEL_SELECTED),
    Case(
        "no classifier installed",
        None,
        None,
        PredictionContext("", has_models=False),
        None,
        False,
        "No classification model is installed. [Train one], or add one with <i>napari-melanoma models import</i>.",
    ),
    Case("predicting", None, REQUEST, SMALL, None, False, "Predicting ..."),
    Case("canceled", CANCELED, REQUEST, SMALL, None, False, f"{STOPPED} {AGAIN}"),
    Case("canceled, then edited", CANCELED, EDITED, SMALL, None, False, "Predicting ..."),
    Case("predicted", DONE, REQUEST, SMALL, ANSWER, True, ""),
    Case("a control was moved", DONE, REQUEST, CHANGING, ANSWER, False, OUTDATED),
    Case("the mask was edited", DONE, EDITED, SMALL, ANSWER, False, OUTDATED),
    Case("the mask was edited, and canceled", CANCELED_EDITED, EDITED, SMALL, None, False, f"{STOPPED} {AGAIN}"),
    Case("another model", DONE, LARGE, SMALL._replace(model="large"), None, False, "Predicting ..."),
    Case("failed", FAILED, REQUEST, SMALL, None, False, f"No &lt;lesion&gt; found. {AGAIN}"),
    Case("failed, and a control was moved", FAILED, REQUEST, CHANGING, None, False, "Predicting ..."),
    Case("failed, then edited", FAILED, EDITED, SMALL, None, False, "Predicting ..."),
]


def link(target: str, text: str) -> str:
    return f"[{text}]"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_shown_prediction(case: Case) -> None:
    view = resolve_prediction(case.outcome, case.request, None, case.context, link)
    assert (view.prediction, view.is_current) == (case.prediction, case.is_current)
    assert (view.note or view.reason) == case.text
    assert not (view.note and view.reason)


@pytest.mark.parametrize(
    ("request_now", "context", "note", "reason"),
    [
        (None, SMALL, "Saved on 2026-11-20 14:05 UTC.", NOT_ANALYZED),
        (REQUEST, SMALL, "Saved on 2026-11-20 14:05 UTC.", "Predicting ..."),
        (REQUEST, SMALL._replace(row={"site": "torso"}), "Saved on 2026-11-20 14:05 UTC.", "Predicting ..."),
        (
            EDITED,
            SMALL._replace(row={"age": "54"}),
            "Saved on 2026-11-20 14:05 UTC. Outdated. Changed since then: the mask, the patient data.",
            "Predicting ...",
        ),
    ],
)
def test_a_saved_prediction_until_there_is_a_new_one(
    request_now: LesionPredictionRequest | None, context: PredictionContext, note: str, reason: str
) -> None:
    view = resolve_prediction(None, request_now, SAVED, context, link)
    assert (view.prediction, view.is_current, view.note, view.reason) == (OLD, False, note, reason)
    new = resolve_prediction(DONE, REQUEST, SAVED, SMALL, link)
    assert (new.prediction, new.note, new.reason) == (ANSWER, "", "")


HEAT, EMPTY = np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32)
SHOWN = HeatmapOptions(is_shown=True)
SHOWN_OCCLUSION = replace(SHOWN, method="occlusion")
TWO: Any = SimpleNamespace(classes=("nevus", "melanoma"), positive="melanoma", predicted="melanoma")
THREE: Any = SimpleNamespace(classes=("nevus", "melanoma", "lentigo"), positive="melanoma", predicted="lentigo")
OF_TWO, OF_THREE = LesionPredictionOutcome(REQUEST, TWO), LesionPredictionOutcome(REQUEST, THREE)
EXPLAIN_TWO = REQUEST._replace(method="cam", target="melanoma")
EXPLAIN_NEVUS = REQUEST._replace(method="cam", target="nevus")
OCCLUDE = REQUEST._replace(method="occlusion", target="melanoma")
FAILED_HEATMAP = PredictionHeatmap(OCCLUDE, error="this <network> has none.")
CANCELED_HEATMAP = PredictionHeatmap(EXPLAIN_TWO)
EDITED_TWO = LesionPredictionOutcome(EDITED, TWO)
LARGE_TWO = LesionPredictionOutcome(LARGE, TWO)


class HeatmapCase(NamedTuple):
    name: str
    outcome: LesionPredictionOutcome | None
    heatmap: PredictionHeatmap | None
    options: HeatmapOptions
    classes: tuple[str, ...]
    predicted: str
    notice: str


EMPTY_NOTICE = (
    "The heatmap is empty: the method found no image region that increases the probability of {}. Try another method."
)
FAILED_NOTICE = "This &lt;network&gt; has none. [Compute again]"
CANCELED_NOTICE = f"{HEATMAP_STOPPED} [Compute again]"
HEATMAP_CASES = [
    HeatmapCase("no prediction", None, None, SHOWN, (), "", ""),
    HeatmapCase("canceled", CANCELED, None, SHOWN, (), "", ""),
    HeatmapCase("two classes", OF_TWO, None, SHOWN, TWO.classes, "melanoma", ""),
    HeatmapCase("three classes", OF_THREE, None, SHOWN, THREE.classes, "lentigo", ""),
    HeatmapCase("a selected class", OF_THREE, None, replace(SHOWN, target="nevus"), THREE.classes, "lentigo", ""),
    HeatmapCase(
        "a class of another model", OF_THREE, None, replace(SHOWN, target="wart"), THREE.classes, "lentigo", ""
    ),
    HeatmapCase(
        "an empty heatmap",
        OF_TWO,
        PredictionHeatmap(EXPLAIN_TWO, EMPTY),
        SHOWN,
        TWO.classes,
        "melanoma",
        EMPTY_NOTICE.format("melanoma"),
    ),
    HeatmapCase(
        "an empty heatmap of a selected class",
        OF_THREE,
        PredictionHeatmap(EXPLAIN_NEVUS, EMPTY),
        replace(SHOWN, target="nevus"),
        THREE.classes,
        "lentigo",
        EMPTY_NOTICE.format("nevus"),
    ),
    HeatmapCase(
        "an empty heatmap of another class",
        OF_THREE,
        PredictionHeatmap(EXPLAIN_NEVUS, EMPTY),
        SHOWN,
        THREE.classes,
        "lentigo",
        "",
    ),
    HeatmapCase("failed", OF_TWO, FAILED_HEATMAP, SHOWN_OCCLUSION, TWO.classes, "melanoma", FAILED_NOTICE),
    HeatmapCase(
        "failed, then edited", EDITED_TWO, FAILED_HEATMAP, SHOWN_OCCLUSION, TWO.classes, "melanoma", FAILED_NOTICE
    ),
    HeatmapCase("failed with another model", LARGE_TWO, FAILED_HEATMAP, SHOWN_OCCLUSION, TWO.classes, "melanoma", ""),
    HeatmapCase(
        "failed, and hidden",
        OF_TWO,
        FAILED_HEATMAP,
        replace(SHOWN_OCCLUSION, is_shown=False),
        TWO.classes,
        "melanoma",
        "",
    ),
    HeatmapCase("another method failed", OF_TWO, FAILED_HEATMAP, SHOWN, TWO.classes, "melanoma", ""),
    HeatmapCase("a heatmap was canceled", OF_TWO, CANCELED_HEATMAP, SHOWN, TWO.classes, "melanoma", CANCELED_NOTICE),
    HeatmapCase(
        "a heatmap was canceled, then edited", EDITED_TWO, CANCELED_HEATMAP, SHOWN, TWO.classes, "melanoma", ""
    ),
]


@pytest.mark.parametrize("case", HEATMAP_CASES, ids=lambda case: case.name)
def test_heatmap_controls(case: HeatmapCase) -> None:
    view = resolve_heatmap(case.outcome, case.heatmap, case.options, link)
    assert view == HeatmapView(case.options, case.classes, case.predicted, case.notice)


@pytest.mark.parametrize(("selected", "explained"), [("", "lentigo"), ("nevus", "nevus"), ("wart", "lentigo")])
def test_a_heatmap_explains_the_predicted_class_unless_another_is_selected(selected: str, explained: str) -> None:
    request = replace(SHOWN, target=selected).make_request(OF_THREE)
    assert request is not None
    assert (request.method, request.target) == ("cam", explained)


OLD_HEATMAP, NEW_HEATMAP = PredictionHeatmap(EXPLAIN_NEVUS, HEAT), PredictionHeatmap(EXPLAIN_TWO, HEAT)


@pytest.mark.parametrize(
    ("outcome", "heatmap", "options", "expected"),
    [
        pytest.param(None, NEW_HEATMAP, SHOWN, HeatmapLayerView(), id="no prediction"),
        pytest.param(OF_TWO, NEW_HEATMAP, HeatmapOptions(), HeatmapLayerView(), id="switched off"),
        pytest.param(OF_TWO, NEW_HEATMAP, SHOWN, HeatmapLayerView(NEW_HEATMAP), id="shown"),
        pytest.param(OF_TWO, NEW_HEATMAP, replace(SHOWN, opacity=5), HeatmapLayerView(NEW_HEATMAP), id="faded"),
        pytest.param(OF_TWO, OLD_HEATMAP, SHOWN, HeatmapLayerView(None, EXPLAIN_TWO, True), id="soon replaced"),
        pytest.param(
            OF_TWO,
            NEW_HEATMAP,
            SHOWN_OCCLUSION,
            HeatmapLayerView(request=OCCLUDE),
            id="replaced after seconds",
        ),
        pytest.param(OF_TWO, FAILED_HEATMAP, SHOWN_OCCLUSION, HeatmapLayerView(), id="failed"),
        pytest.param(EDITED_TWO, FAILED_HEATMAP, SHOWN_OCCLUSION, HeatmapLayerView(), id="failed, then edited"),
        pytest.param(OF_TWO, CANCELED_HEATMAP, SHOWN, HeatmapLayerView(), id="canceled"),
    ],
)
def test_heatmap_layer(
    outcome: LesionPredictionOutcome | None,
    heatmap: PredictionHeatmap,
    options: HeatmapOptions,
    expected: HeatmapLayerView,
) -> None:
    assert resolve_layer(outcome, heatmap, options) == expected
