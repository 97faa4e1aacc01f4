"""The shipped model of a risk: it says that it has learnt from drawn patients, and goes by what their law put there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_melanoma.analysis.pointing import pointed
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.phantom.cohort.config import CohortConfig
from napari_melanoma.data.phantom.cohort.patch import Patch, draw_patch
from napari_melanoma.data.phantom.cohort.patients import draw_patients
from napari_melanoma.inference.classification import Lesion
from napari_melanoma.inference.explanation import explain
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.workflows.risk import assess, load_risk_model
from napari_melanoma.workflows.risk_answer import RiskAnswer, RiskOptions
from napari_melanoma.workflows.risk_comparators import read_comparators
from napari_melanoma.workflows.risk_known import known_of_patch
from napari_melanoma.workflows.risk_pictures import PatchPicture

NAME = "risk-demo"
FORM = {"age": "60", "sex": "female", "site": "lower extremity"}


@pytest.fixture(scope="module")
def patches() -> tuple[Patch, Patch]:
    """The patch of a patient in looks that no training had, with necrosis, and the same without."""
    config = CohortConfig(seed=5, count=30)
    kept = (one for one in draw_patients(config) if one.split == "test" and one.necrosis and 1 < one.depth_mm < 2)
    patient = next(kept)
    return draw_patch(patient, config), draw_patch(replace(patient, necrosis=0.0), config)


def told(patch: Patch, **form: str) -> RiskAnswer:
    known = known_of_patch({**FORM, **form})
    return assess([PatchPicture(patch.rgb, "patch")], known, load_risk_model(NAME), RiskOptions(model=NAME))


def test_it_says_what_it_is() -> None:
    info = find_bundle(NAME)
    assert "phantom-trained, demonstration" in info.config.title
    assert "**A demonstration, trained on drawn patients alone.**" in info.card
    assert info.config.drawn_share == 1
    assert read_comparators(info.path).phantom


def test_what_the_law_looks_at_moves_its_answer(patches: tuple[Patch, Patch]) -> None:
    with_necrosis, without = patches
    usual = told(without, depth_mm="1.5").probability
    assert told(with_necrosis, depth_mm="1.5").probability > usual
    assert told(without, depth_mm="5").probability > usual
    assert told(without, depth_mm="1.5", age="85", sex="male", site="palms/soles").probability > usual + 0.1


def test_an_empty_form_is_answered(patches: tuple[Patch, Patch]) -> None:
    answer = assess(
        [PatchPicture(patches[0].rgb, "patch")], known_of_patch({}), load_risk_model(NAME), RiskOptions(model=NAME)
    )
    assert 0 < answer.probability < 1
    assert answer.depth.mm is not None


def test_grad_cam_points_at_necrosis(patches: tuple[Patch, Patch]) -> None:
    patch = patches[0]
    lesion = Lesion(patch.rgb, np.ones(patch.rgb.shape[:2], bool), {**FORM, "depth_mm": "1.5"})
    heat = explain(load_risk_model(NAME), lesion, "grad_cam", None, RunContext())
    assert pointed(heat, patch.necrosis, 16).hit
