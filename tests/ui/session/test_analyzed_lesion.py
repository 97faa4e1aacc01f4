"""The lesion as a value: the origin of masks that are restored, and what is recorded about them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from lesion_fixtures import gradient

from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.lesion.analysis import LesionPrediction, LesionResult, ModelStamp, derive_result
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.session import recovery
from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion, MaskChange, MaskOrigin, derive_lesion
from napari_melanoma.ui.session.recovery import find_recovery, save_recovery
from napari_melanoma.ui.session.stated_values import StatedValues

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DIGEST = "d" * 64
PHOTOGRAPH = Photograph(gradient(), "mole")
DISTANCE = np.hypot(*(np.mgrid[:120, :160] - np.array([60, 80])[:, None, None]))


def predict(model: str, radius: float, *, flips: bool = False) -> LesionResult:
    """Return the result of a model that predicts a disk of half a radius; with flips, its border is uncertain."""
    stamp = ModelStamp(model, model * 64, "cpu", 0.5)
    spread = None if not flips else np.stack([logits(radius - 20), logits(radius + 20)])
    prediction = LesionPrediction(np.clip(1 - DISTANCE / radius, 0, 1).astype(np.float32), spread=spread)
    return derive_result(PHOTOGRAPH, prediction, LesionOptions(flips=flips), stamp)


def logits(radius: float) -> NDArray[np.float32]:
    """Return logits of a disk, float32 (side, side)."""
    probability = np.clip(1 - DISTANCE / radius, 0.001, 0.999)
    square = probability[:, 20:140]
    return np.log(square / (1 - square)).astype(np.float32)


def paint(lesion: AnalyzedLesion) -> AnalyzedLesion:
    """Paint a corner, as with the brush."""
    mask = lesion.result.mask.copy()
    mask[5:9, 5:9] = True
    return derive_lesion(lesion, mask)


def write(lesion: AnalyzedLesion, change: MaskChange) -> AnalyzedLesion:
    """Write a change, as the controller does."""
    return derive_lesion(lesion.add_origin(array_fingerprint(change.mask), change.origin), change.mask)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recovery folder of a photograph of a process that has ended."""
    monkeypatch.setattr(recovery, "recovery_root", lambda: tmp_path)
    monkeypatch.setattr(recovery, "_is_running", lambda owner: False)
    return recovery.recovery_folder(DIGEST, "photograph")


@pytest.mark.parametrize("is_painted", [False, True], ids=["predicted", "painted"])
def test_a_recovered_mask_is_recorded_as_it_was_made(folder: Path, is_painted: bool) -> None:
    lesion = AnalyzedLesion.from_model(predict("a", 51), DIGEST)
    lesion = paint(lesion) if is_painted else lesion
    save_recovery(folder, lesion, np.ones(lesion.result.mask.shape, np.uint8), StatedValues())
    recovered = find_recovery(DIGEST, PHOTOGRAPH)
    assert recovered is not None
    assert (recovered.result.mask != predict("a", 51).mask).any(), "a stored probability is rounded"
    restored = write(AnalyzedLesion.from_model(predict("b", 60), DIGEST), recovered.change)
    for one in (restored, recovered.derive()):
        assert np.array_equal(one.result.mask, lesion.result.mask)
        assert one.result.model.name == "a"
        assert one.corrected is one.result.corrected_by_hand is one.unsaved is is_painted


def test_a_recovery_file_without_a_record_of_it_is_compared_with_the_prediction(folder: Path) -> None:
    save_recovery(folder, AnalyzedLesion.from_model(predict("a", 80), DIGEST), None, StatedValues())
    values = json.loads((folder / "recovery.json").read_text())
    del values["is_predicted"]
    (folder / "recovery.json").write_text(json.dumps(values))
    recovered = find_recovery(DIGEST, PHOTOGRAPH)
    assert recovered is not None
    assert not recovered.change.origin.corrected
    assert recovered._replace(mask=~recovered.mask).change.origin.corrected
    assert recovered._replace(origin={"labels_layer": {"name": "mine"}}).change.origin.corrected, "made by a user"


@pytest.mark.parametrize("flips", [False, True], ids=["once", "with flips"])
def test_a_corrected_mask_has_the_uncertain_area_of_its_own_prediction(flips: bool) -> None:
    painted = paint(AnalyzedLesion.from_model(predict("a", 80, flips=flips), DIGEST))
    other = predict("b", 60, flips=not flips)
    replaced = write(painted, MaskChange(other.mask, MaskOrigin.from_result(other, None)))
    assert (painted.result.band is not None, replaced.result.band is not None) == (flips, not flips)
    undone = derive_lesion(replaced, painted.result.mask)
    assert undone.corrected
    assert np.array_equal(undone.result.band, painted.result.band)
    assert undone.result.model.name == "a"


def test_a_recovered_mask_has_the_probability_of_the_latest_analysis(folder: Path) -> None:
    results = [predict("a", radius) for radius in (80, 60)]  # by the same model
    for result in results:
        save_recovery(folder, paint(AnalyzedLesion.from_model(result, DIGEST)), None, StatedValues())
    recovered = find_recovery(DIGEST, PHOTOGRAPH)
    assert recovered is not None
    assert np.array_equal(recovered.result.mask, results[1].mask)
    assert len(list(folder.glob("probability-*.npy"))) == 1
