"""The headline of a photograph: the side of the threshold, what cannot be ruled out, and what is missed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest

from napari_melanoma.classification.prediction import (
    ClassifierStamp,
    ClassifyOptions,
    ClassPrediction,
    NoveltyDistance,
)
from napari_melanoma.core.prediction_config import AgeGroup, OperatingPoint
from napari_melanoma.core.validity import Validity

POINT = OperatingPoint(
    target_sensitivity=0.9,
    threshold=0.08,
    sensitivity=0.91,
    sensitivity_interval=(0.86, 0.95),
    specificity=0.55,
    specificity_interval=(0.5, 0.6),
)
ABOVE, BELOW = "Above the melanoma threshold (sensitivity 90 %)", "Below the melanoma threshold (sensitivity 90 %)"
MISSED = "5 to 14 of 100 melanoma cases are below the threshold"


def predict(probabilities: Mapping[str, float], possible: tuple[str, ...], **changes: Any) -> ClassPrediction:
    values: dict[str, Any] = {
        "positive": "melanoma",
        "interval": (0.01, 0.35),
        "coverage": 0.9,
        "operating_point": POINT,
        "novelty": None,
        "contributions": (),
        "from_image": 0.2,
        "neighbours": (),
        "missing": (),
        "unused": (),
        "warnings": (),
        "model": ClassifierStamp("small", "Small", "0" * 64, "cpu"),
        "options": ClassifyOptions(),
    }
    return ClassPrediction(
        classes=tuple(probabilities),
        probabilities=tuple(probabilities.values()),
        possible=possible,
        **(values | changes),
    )


THREE = {"melanoma": 0.22, "nevus": 0.58, "seborrheic keratosis": 0.20}
LOW = {"melanoma": 0.04, "nevus": 0.92, "seborrheic keratosis": 0.04}
FIVE = {"melanoma": 0.12, "nevus": 0.40, "wart": 0.25, "scar": 0.13, "other": 0.10}
LIKELY = {"melanoma": 0.7, "nevus": 0.2, "wart": 0.1}
CASES = {
    "above": (THREE, ("melanoma", "nevus", "seborrheic keratosis"), ABOVE, 0.22,
              ("Cannot be ruled out: nevus 0.58, seborrheic keratosis 0.20",)),
    "above, though the set excludes it": (THREE, ("nevus",), ABOVE, 0.22, ("Cannot be ruled out: nevus 0.58",)),
    "above, alone": (LIKELY, ("melanoma",), ABOVE, 0.7,
                     ("Only melanoma is likely enough (90 % coverage); next: nevus 0.20",)),
    "above, more probable classes are possible, too": (THREE, ("melanoma",), ABOVE, 0.22,
                                                        ("Cannot be ruled out: nevus 0.58",)),
    "above, of five classes": (FIVE, tuple(FIVE), ABOVE, 0.12,
                               ("Cannot be ruled out: nevus 0.40, wart 0.25, scar 0.13, 1 other class",)),
    "below, in the set": (LOW, ("melanoma", "nevus"), BELOW, 0.04,
                          ("Cannot be ruled out: melanoma, nevus 0.92", MISSED)),
    "below, not in the set": (LOW, ("nevus",), BELOW, 0.04, (MISSED, "Cannot be ruled out: nevus 0.92")),
    "below, an empty set": (LOW, (), BELOW, 0.04,
                            ("Cannot be ruled out: melanoma, nevus 0.92, seborrheic keratosis 0.04", MISSED)),
    "two classes, above": ({"other": 0.7, "melanoma": 0.3}, ("other", "melanoma"), ABOVE, 0.3,
                           ("Cannot be ruled out: other diagnoses",)),
    "two classes, above, alone": ({"other": 0.1, "melanoma": 0.9}, ("melanoma",), ABOVE, 0.9,
                                  ("Only melanoma is likely enough (90 % coverage)",)),
    "two classes, below": ({"other": 0.95, "melanoma": 0.05}, ("other",), BELOW, 0.05, (MISSED,)),
    "two classes, below, in the set": ({"other": 0.95, "melanoma": 0.05}, ("other", "melanoma"), BELOW, 0.05,
                                       ("Cannot be ruled out: melanoma, other diagnoses", MISSED)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_side_of_the_threshold_comes_first(case: tuple[Any, ...]) -> None:
    probabilities, possible, side, value, parts = case
    found = predict(probabilities, possible).headline
    assert found.text == f"{side}: melanoma {value:.2f}, 0.01 to 0.35"
    assert found.parts == parts
    assert found.tone == ("alert" if side == ABOVE else "neutral")
    assert found.statement == ". ".join((found.text, *parts))
    assert found.detail.startswith("95 % interval of the probability: 0.01 to 0.35. Decision threshold 0.08 ")


def test_the_sensitivity_is_that_of_the_model() -> None:
    point = POINT.model_copy(update={"target_sensitivity": 0.975})
    found = predict(THREE, ("nevus",), operating_point=point).headline
    assert found.text.startswith("Above the melanoma threshold (sensitivity 97.5 %): ")
    point = POINT.model_copy(update={"target_shown": False})
    found = predict(THREE, ("nevus",), operating_point=point).headline
    assert found.text.startswith("Above the melanoma threshold (sensitivity 90 %, not confirmed): ")


@pytest.mark.parametrize(
    ("positive", "side"),
    [
        ("malignant", "Above the malignancy threshold (sensitivity 90 %): malignant 0.30"),
        (
            "basal cell carcinoma",
            "Above the basal cell carcinoma threshold (sensitivity 90 %): basal cell carcinoma 0.30",
        ),
    ],
)
def test_models_without_a_class_of_melanoma(positive: str, side: str) -> None:
    found = predict({"other": 0.7, positive: 0.3}, ("other", positive), positive=positive).headline
    assert found.text.startswith(side)
    assert "melanoma" not in found.statement


def test_a_model_without_a_threshold() -> None:
    unknown = predict(THREE, ("melanoma", "nevus"), operating_point=None).headline
    assert unknown.text == "No melanoma threshold in this model: melanoma 0.22, 0.01 to 0.35"
    assert unknown.parts == ("Cannot be ruled out: melanoma, nevus 0.58",)
    excluded = predict(LOW, ("nevus",), operating_point=None).headline
    assert excluded.parts[0] == "at most 10 of 100 melanoma cases have such a low probability"
    assert (unknown.tone, excluded.tone) == ("neutral", "neutral")


def test_what_is_missed_at_the_age_of_the_patient() -> None:
    values = {"images": 500, "sensitivity": 0.54, "specificity": 0.8, "specificity_interval": (0.7, 0.9)}
    young = AgeGroup(at_least=0, below=30, positives=25, sensitivity_interval=(0.27, 0.83), **values)
    few = AgeGroup(at_least=0, below=30, positives=1, sensitivity_interval=(0.0, 1.0), **values)
    none = few.model_copy(update={"sensitivity_interval": (math.nan, math.nan)})
    assert predict(LOW, ("nevus",), age_group=young).headline.parts[0] == (
        "17 to 73 of 100 melanoma cases of this age are below the threshold"
    )
    for group in (few, none):
        assert predict(LOW, ("nevus",), age_group=group).headline.parts[0] == (
            "It is unknown how many melanoma cases of this age are below the threshold"
        )


def test_a_model_that_missed_none_is_no_reassurance() -> None:
    point = POINT.model_copy(update={"sensitivity": 1.0, "sensitivity_interval": (1.0, 1.0)})
    parts = predict(LOW, ("nevus",), operating_point=point).headline.parts
    assert parts[0] == "0 to 1 of 100 melanoma cases are below the threshold"


@pytest.mark.parametrize("changes", [{"novelty": NoveltyDistance(3.0, 2.0)}, {"interval": None}])
def test_a_prediction_that_is_not_valid_has_no_numbers(changes: dict[str, Any]) -> None:
    found = predict(THREE, tuple(THREE), **changes).headline
    assert found.text.startswith("Not valid: ")
    assert (found.tone, found.detail) == ("invalid", "")
    assert not any(character.isdigit() for character in found.statement)
    assert "0.22" not in found.statement


def test_a_demonstration_says_so_first() -> None:
    found = predict(THREE, ("nevus",), validity=Validity(demonstration=True)).headline
    assert found.text.startswith("Demonstration model: above the melanoma threshold (")


def test_a_stored_prediction_gets_the_headline_of_today() -> None:
    prediction = predict(THREE, ("melanoma", "nevus"))
    stored = json.loads(json.dumps(prediction.to_json()))
    assert stored["verdict"] == prediction.headline.statement
    assert stored["side"].startswith("at or above the decision threshold 0.08 for melanoma: sensitivity 91 % (86–95)")
    earlier = stored | {"verdict": "Inconclusive: nevus 0.58 or melanoma 0.22 (95 % interval 0.01–0.35)"}
    assert ClassPrediction.from_json(earlier).headline == prediction.headline
