"""What the sections of the results show, as tables."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.ui.sections.results.resolve import (
    NO_HEATMAP,
    NO_RESULTS,
    NOT_SHOWN,
    HeatmapTexts,
    PredictionTexts,
    resolve_heatmap,
    resolve_prediction,
)
from napari_melanoma.ui.session.results import AnalysisResults
from napari_melanoma.ui.session.run_status import HeatmapData, SuspiciousTile

TILES = (SuspiciousTile(0.9, 10.0, 20.0, 32.0, 32.0),)
CLASSES = ("melanoma", "nevus")
HEAT = HeatmapData(np.zeros((2, 2), np.float32), MapPlacement(0, 0, 32, 32), "melanoma", CLASSES, (0, 1), TILES)
CONTENT = {"target": "melanoma", "probability": 0.21, "warnings": ["trained on synthetic slides", "small scan"]}
DEMO = ValidityInputs("tiny", demonstration=True).check()
NOT_VALID = {**CONTENT, "validity": DEMO.to_json()}
FOUND = HeatmapTexts("", CLASSES, "melanoma", TILES)


@dataclass(frozen=True)
class Case:
    name: str
    results: AnalysisResults
    expected: HeatmapTexts


CASES = [
    Case("nothing was analyzed", AnalysisResults(), HeatmapTexts(NO_RESULTS)),
    Case("the first tiles are computed", AnalysisResults(is_running=True), HeatmapTexts(NO_RESULTS)),
    Case("the model has no classes", AnalysisResults(content=CONTENT), HeatmapTexts(NO_HEATMAP)),
    Case("it is not known yet whether values are valid", AnalysisResults(is_running=True, heatmap=HEAT), FOUND),
    Case("finished", AnalysisResults(heatmap=HEAT, content=CONTENT), replace(FOUND, shows_values=True)),
    Case("not valid", AnalysisResults(heatmap=HEAT, content=NOT_VALID), HeatmapTexts(NOT_SHOWN)),
    Case(
        "not valid, but shown anyway",
        AnalysisResults(heatmap=HEAT, content=NOT_VALID, shows_invalid=True),
        replace(FOUND, shows_values=True),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_heatmap(case: Case) -> None:
    assert resolve_heatmap(case.results) == case.expected


def test_prediction_is_empty_without_results() -> None:
    assert resolve_prediction(AnalysisResults(heatmap=HEAT), None) == PredictionTexts()


def test_prediction_with_its_warnings() -> None:
    texts = resolve_prediction(AnalysisResults(content=CONTENT), None)
    assert "melanoma 0.21" in texts.prediction
    assert texts.warnings == "trained on synthetic slides\nsmall scan"


@pytest.mark.parametrize(("now", "warns"), [(0.25, False), (0.5, True)])
def test_a_result_of_another_scale_has_a_warning(now: float, warns: bool) -> None:
    texts = resolve_prediction(AnalysisResults(content={**CONTENT, "mpp": [0.25, 0.25]}), PixelSize(now, now))
    assert ("measured at 0.25 µm per pixel; the slide is now set to 0.5." in texts.warnings) is warns


def test_prediction_that_is_not_valid_has_no_headline_of_its_own() -> None:
    """The notice above it shows the reason, and hides it."""
    texts = resolve_prediction(AnalysisResults(content=NOT_VALID), None)
    assert "melanoma 0.21" in texts.prediction
    assert "Not valid" not in texts.prediction
