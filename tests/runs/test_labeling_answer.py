"""The headlines of labels: both models compared, what more labels bring, and which model would be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_melanoma.classification.adaptation import LabelCounts
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.runs.labeling import AdaptationChoice, LabelingState, LearningCurve
from napari_melanoma.runs.labeling_answer import KEPT, NOT_KNOWN, USED, describe_choice, describe_labels

PATHS = [Path(f"p{number}.png") for number in range(46)]
FIT: Any = SimpleNamespace(is_drawn=np.arange(46) % 4 == 3, curve_sizes=[15, 37])
STATE = LabelingState(
    positive="melanoma",
    labels=dict.fromkeys(PATHS, "nevus"),
    counts=LabelCounts(46, 12, 12, 34),
    accuracy=Estimate(0.66, 0.40, 0.85, 11),
    shipped_accuracy=Estimate(0.58, 0.32, 0.80, 11),
    labeled_drawn=11,
    fit=FIT,
)


def curve(low: float, mean: float, high: float) -> LearningCurve:
    losses = Estimate(1.3, 1.1, 1.5, 11), Estimate(1.2, 1.0, 1.4, 11)
    return LearningCurve((15, 37), losses, Estimate(mean, low, high, 11))


@pytest.mark.parametrize(
    ("gain", "more"),
    [
        (curve(0.04, 0.1, 0.15), "; about 50 more would help"),
        (curve(-0.04, 0.1, 0.15), "; 50 more may help"),
        (curve(-0.2, -0.1, 0.1), "; 50 more would hardly help"),
        (None, ""),
    ],
)
def test_both_models_and_what_more_labels_bring(gain: LearningCurve | None, more: str) -> None:
    found = describe_labels(STATE, gain)
    assert found.text == f"46 labels: your model would be right in 66 of 100, the shipped one in 58{more}"
    assert found.parts == ("Labels of melanoma: 12",)
    assert found.detail.startswith(
        "Accuracy of your model 66 % (95 % interval 40–85), of the shipped one 58 % (95 % interval 32–80), "
        "on 11 photographs drawn at random. "
    )


def test_the_gain_is_stated_with_its_interval_on_request() -> None:
    detail = describe_labels(STATE, curve(0.04, 0.1, 0.15)).detail
    assert detail.endswith("50 more labels: probability of the true diagnosis 0.30 → about 0.33 (0.31–0.35).")
    assert describe_labels(STATE, None).detail.endswith("The learning curve is being computed.")


def test_what_is_missing_before_the_models_are_compared() -> None:
    few = replace(STATE, labels=dict.fromkeys(PATHS[:12], "nevus"), counts=LabelCounts(12, 2, 2, 10), fit=None)
    assert describe_labels(few, None).text == "12 labels: 8 more photographs, 3 more of melanoma before the first fit"
    unfit = replace(STATE, fit=None, accuracy=None, notice="The photographs are of several types.")
    assert describe_labels(unfit, None).text == "46 labels, not fitted"
    assert describe_labels(unfit, None).parts[-1] == "The photographs are of several types"
    drawn: Any = SimpleNamespace(is_drawn=np.arange(46) < 5, curve_sizes=[])
    text = describe_labels(replace(STATE, fit=drawn, counts=LabelCounts(25, 6, 6, 19)), None)
    assert text.text == "46 labels: 3 more drawn at random until both models are compared"
    assert text.parts == (
        "25 can be used, 6 of melanoma",
        "Only the calibration is fitted; for more: 5 more photographs, 2 more of melanoma",
    )


def test_which_model_would_be_used() -> None:
    verdict = "Melanoma: better by chance"
    reason = f"{verdict}: log loss -0.01. Label more."
    kept = describe_choice(STATE, AdaptationChoice(False, verdict, reason))
    assert (kept.text, kept.detail) == (KEPT, reason)
    assert kept.parts == (verdict,)
    assert describe_choice(STATE, AdaptationChoice(True, verdict, reason)).text == USED
    assert describe_choice(STATE, None).text == NOT_KNOWN
    assert describe_choice(replace(STATE, fit=None), None).text == ""
