"""Which prediction is shown, and why there is no current one, without widgets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from napari_melanoma.ui.sections.prediction.resolve import (
    NO_MODEL_SELECTED,
    NOT_ANALYZED,
    OUTDATED,
    STOPPED,
    PredictionContext,
    resolve_prediction,
)
from napari_melanoma.ui.session.lesion_prediction import (
    ClassifierInput,
    LesionPredictionOutcome,
    LesionPredictionRequest,
    SavedPrediction,
)

ANSWER: Any = SimpleNamespace(model=SimpleNamespace(name="small"), provenance={"created": "2026-11-20T14:05:09+00:00"})
OLD: Any = SimpleNamespace(model=SimpleNamespace(name="small"), provenance={"created": "2026-11-20T14:05:09+00:00"})
REQUEST = LesionPredictionRequest("mole", ClassifierInput("small", "image", "mask"), ())
EDITED = LesionPredictionRequest("mole", ClassifierInput("small", "image", "edited"), ())
LARGE = LesionPredictionRequest("mole", ClassifierInput("large", "image", "mask"), ())
DONE, FAILED = LesionPredictionOutcome(REQUEST, ANSWER), LesionPredictionOutcome(REQUEST, error="no <lesion> found.")
SAVED = SavedPrediction(OLD, {}, "mask", True)
IDLE = PredictionContext("automatic", "small")
PENDING, CHANGING = IDLE._replace(is_pending=True), IDLE._replace(is_changing=True)
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
    Case("no photograph", None, None, IDLE, None, False, NOT_ANALYZED),
    Case("no classifier", None, None, PredictionContext("", ""), None, False, NO_MODEL_SELECTED),
    Case(
        "no classifier installed",
        None,
        None,
        PredictionContext("", "", has_models=False),
        None,
        False,
        "No classification model is installed. [Train one], or add one with <i>napari-melanoma models import</i>.",
    ),
    Case("predicting", None, REQUEST, PENDING, None, False, "Predicting ..."),
    Case("canceled", None, REQUEST, IDLE, None, False, f"{STOPPED} {AGAIN}"),
    Case("predicted", DONE, REQUEST, IDLE, ANSWER, True, ""),
    Case("predicted, and a heatmap is pending", DONE, REQUEST, PENDING, ANSWER, True, ""),
    Case("a control was moved", DONE, REQUEST, CHANGING, ANSWER, False, OUTDATED),
    Case("the mask was edited", DONE, EDITED, PENDING, ANSWER, False, OUTDATED),
    Case("the mask was edited, and canceled", DONE, EDITED, IDLE, None, False, f"{STOPPED} {AGAIN}"),
    Case("another model", DONE, LARGE, PENDING._replace(model="large"), None, False, "Predicting ..."),
    Case("failed", FAILED, REQUEST, IDLE, None, False, f"No &lt;lesion&gt; found. {AGAIN}"),
    Case("failed, then edited", FAILED, EDITED, PENDING, None, False, "Predicting ..."),
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
        (None, IDLE, "Saved on 2026-11-20 14:05 UTC.", NOT_ANALYZED),
        (REQUEST, PENDING, "Saved on 2026-11-20 14:05 UTC.", "Predicting ..."),
        (
            EDITED,
            PENDING._replace(row={"age": "54"}),
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
    new = resolve_prediction(DONE, REQUEST, SAVED, IDLE, link)
    assert (new.prediction, new.note, new.reason) == (ANSWER, "", "")
