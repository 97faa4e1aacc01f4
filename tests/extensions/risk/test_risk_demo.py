"""The demonstration risk model: it is marked as trained on synthetic patients, and reproduces their risk factors."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Literal

import numpy as np
import pytest

from napari_melanoma.classification.classifier import Classifier, LesionInput
from napari_melanoma.classification.comparators import read_comparators
from napari_melanoma.classification.explanation import explain, score_pointing
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.geometry import Box
from napari_melanoma.extensions.risk.inputs import make_patch_case
from napari_melanoma.extensions.risk.maps import compose_patch_maps, explain_patches
from napari_melanoma.extensions.risk.patches import PatchImage
from napari_melanoma.extensions.risk.prediction import RiskOptions, RiskPrediction
from napari_melanoma.extensions.risk.predictor import load_risk_model, predict_risk
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.phantoms.cohort import CohortConfig, CohortPatch, draw_patch, draw_patients

pytestmark = pytest.mark.slow

NAME = "risk-demo"
FORM = {"age": "60", "sex": "female", "site": "lower extremity"}


@pytest.fixture(scope="module")
def patches() -> tuple[CohortPatch, CohortPatch]:
    """The patch of a patient in looks that no training had, with necrosis, and the same without."""
    config = CohortConfig(seed=5, count=30)
    kept = (one for one in draw_patients(config) if one.split == "test" and one.necrosis and 1 < one.depth_mm < 2)
    patient = next(kept)
    return draw_patch(patient, config), draw_patch(replace(patient, necrosis=0.0), config)


@pytest.fixture(scope="module")
def model() -> Classifier:
    """The demonstration model, loaded once."""
    return load_risk_model(NAME)


@pytest.fixture(scope="module")
def thin(patches: tuple[CohortPatch, CohortPatch]) -> list[CohortPatch]:
    """Four patches of thin melanomas with necrosis, in looks that no training had: chance finds it in one of eight."""
    config = CohortConfig(seed=5, count=200)
    kept = (one for one in draw_patients(config) if one.split == "test" and one.necrosis and one.depth_mm < 1.5)
    others = (draw_patch(one, config) for one in kept)
    return [patches[0], *islice((patch for patch in others if patch.necrosis.any()), 3)]


def reported(model: Classifier, patch: CohortPatch, **form: str) -> RiskPrediction:
    known = make_patch_case({**FORM, **form})
    return predict_risk([PatchImage(patch.rgb, "patch")], known, model, RiskOptions(model=NAME))


def test_demo_is_marked_as_phantom_trained() -> None:
    info = find_bundle(NAME)
    assert "phantom-trained, demonstration" in info.config.title
    assert "**A demonstration, trained on synthetic patients only. Not valid for real patients.**" in info.card
    assert info.config.synthetic_share == 1
    assert read_comparators(info.path).phantom


def test_inputs_of_the_phantom_law_change_the_risk(model: Classifier, patches: tuple[CohortPatch, CohortPatch]) -> None:
    with_necrosis, without = patches
    usual = reported(model, without, depth_mm="1.5").probability
    assert reported(model, with_necrosis, depth_mm="1.5").probability > usual
    assert reported(model, without, depth_mm="5").probability > usual
    assert reported(model, without, depth_mm="1.5", age="85", sex="male", site="palms/soles").probability > usual + 0.1


def test_both_back_ends_predict_the_same(patches: tuple[CohortPatch, CohortPatch]) -> None:
    pictures = [PatchImage(patch.rgb, "patch") for patch in patches]
    case, lesion = make_patch_case({**FORM, "depth_mm": "1.5"}), LesionInput(patches[0].rgb, row=FORM)
    models = [Classifier.load(find_bundle(NAME), "cpu", backend) for backend in ("onnxruntime", "torch")]
    onnx, torch = (predict_risk(pictures, case, model, RiskOptions(model=NAME)) for model in models)
    assert onnx.probability == pytest.approx(torch.probability, abs=1e-3)
    assert onnx.shares == pytest.approx(torch.shares, abs=1e-3)
    assert [patch.depth_mm for patch in onnx.patches] == pytest.approx([p.depth_mm for p in torch.patches], abs=1e-2)
    for method in ("cam", "attention"):
        np.testing.assert_allclose(*(explain(model, lesion, method) for model in models), atol=1e-3)


@pytest.mark.parametrize("method", ["cam", "grad_cam", "attention"])
def test_its_maps_point_at_necrosis(
    model: Classifier, thin: list[CohortPatch], method: Literal["cam", "grad_cam", "attention"]
) -> None:
    hits = []
    for patch in thin:
        lesion = LesionInput(patch.rgb, np.ones(patch.rgb.shape[:2], bool), {**FORM, "depth_mm": "1.5"})
        hits.append(score_pointing(explain(model, lesion, method, None, RunContext()), patch.necrosis, 16).hit)
    assert sum(hits) >= len(thin) - 1, hits


def test_its_map_of_a_slide_is_highest_at_necrosis(model: Classifier, patches: tuple[CohortPatch, CohortPatch]) -> None:
    with_necrosis, without = patches
    row, side = {**FORM, "depth_mm": "1.5"}, with_necrosis.rgb.shape[0]
    maps = explain_patches(model, [without.rgb, with_necrosis.rgb], row, "cam", RunContext())
    boxes = [Box(0, 0, side, side), Box(2 * side, side, side, side)]
    found = compose_patch_maps(maps, boxes, (4 * side, 4 * side))
    plain, heat = (found.crop(box, (side, side)) for box in boxes)
    assert score_pointing(heat, with_necrosis.necrosis, 16).hit
    assert heat.max() > plain.max()
