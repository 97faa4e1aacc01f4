"""What the dock shows of a result is computed in the thread that makes the result, not when it is shown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.lesion.analysis import LesionResult, ModelStamp
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.segmentation import LesionPrediction
from napari_melanoma.ui.lesion.analysis import analyze_photograph
from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion, LesionUpdate
from napari_melanoma.ui.session.lesion_updates import prepare_replacement, update_from_mask
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource

SHOWN = {"mask_parts", "other_masks", "other_contours", "has_largest_in_mask"}
MODEL = ModelStamp("none", "", "cpu", 0.5)


@pytest.fixture
def result() -> LesionResult:
    probability = np.zeros((200, 300), np.float32)
    probability[20:60, 20:60] = probability[100:180, 100:200] = 0.9
    source = LayerPhotographSource(np.full((200, 300, 3), 200, np.uint8), "two", None, None)
    client: Any = SimpleNamespace(call=lambda *given: (LesionPrediction(probability), MODEL))
    return analyze_photograph(client, source, LesionOptions(), RunContext())[0]


def test_analysis(result: LesionResult) -> None:
    assert vars(result).keys() >= SHOWN
    assert len(result.other_contours) == 1
    assert result.has_largest_in_mask


def test_replaced_and_edited_masks(result: LesionResult) -> None:
    replaced = prepare_replacement(LesionUpdate(result), np.zeros(result.mask.shape, np.uint8), None)
    lesion = AnalyzedLesion.from_model(result, "image", "mask", None)
    edited = update_from_mask(lesion, ~result.mask, result.options)
    for update in (replaced, edited):
        assert update is not None
        assert update.result is not None
        assert vars(update.result).keys() >= SHOWN
