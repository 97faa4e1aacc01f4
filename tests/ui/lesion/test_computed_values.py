"""What the dock shows of a result is computed in the thread that makes the result, not when it is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.lesion.analysis import LesionResult
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.lesion.analysis import derive_served_result
from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion, LesionUpdate
from napari_melanoma.ui.session.lesion_updates import prepare_replacement, update_from_mask

SHOWN = {"mask_parts", "other_masks", "other_contours", "has_largest_in_mask"}
MODEL = {"name": "none", "fingerprint": "", "device": "cpu", "threshold": 0.5}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The arrays of an analysis: image, probability, and no spread."""
    probability = np.zeros((200, 300), np.float32)
    probability[20:60, 20:60] = probability[100:180, 100:200] = 0.9
    np.save(tmp_path / "image.npy", probability)
    np.save(tmp_path / "out.npy", probability)
    return {name: tmp_path / f"{name}.npy" for name in ("image", "out", "spread")}


@pytest.fixture
def result(files: dict[str, Path]) -> LesionResult:
    photograph = Photograph(np.full((200, 300, 3), 200, np.uint8), "two")
    found, _ = derive_served_result(photograph, files, {"model": MODEL}, LesionOptions(), RunContext())
    return found


def test_analysis(result: LesionResult, files: dict[str, Path]) -> None:
    assert vars(result).keys() >= SHOWN
    assert len(result.other_contours) == 1
    assert result.has_largest_in_mask
    assert not any(path.exists() for path in files.values())


def test_replaced_and_edited_masks(result: LesionResult) -> None:
    replaced = prepare_replacement(LesionUpdate(result), np.zeros(result.mask.shape, np.uint8), None)
    lesion = AnalyzedLesion.from_model(result, "image", "mask", None)
    edited = update_from_mask(lesion, ~result.mask, result.options)
    for update in (replaced, edited):
        assert update is not None
        assert update.result is not None
        assert vars(update.result).keys() >= SHOWN
