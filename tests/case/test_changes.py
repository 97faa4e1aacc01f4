"""Which photographs of a lesion are compared, and what is listed beside each other without a combined value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_case import PREDICTION

from napari_melanoma.case.changes import (
    ImagePair,
    compare_images,
    explain_incomparable,
    list_follow_ups,
    list_photographs,
)
from napari_melanoma.case.fusion import fuse_lesion
from napari_melanoma.case.model import Case, CaseImage, CaseLesion, CaseResult, CaseRisk
from napari_melanoma.case.results import CaseLesionPrediction
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.validity import Validity, ValidityReason


def image(number: int, day: str = "", modality: str = "dermoscopic", *, has_mask: bool = True) -> CaseImage:
    results = (CaseResult(path=Path(f"results/I{number}"), model="m", created="2026"),) if has_mask else ()
    return CaseImage(id=f"I{number}", path=Path(f"{number}.png"), modality=modality, taken_on=day, results=results)


@pytest.mark.slow
def test_photographs_with_masks_are_listed_by_day() -> None:
    images = (
        image(1, "2025-05-01"),
        image(2),
        image(3, "2024-05-01"),
        image(4, "2023-01-01", has_mask=False),
        image(5, "2022-01-01", "wsi"),
        CaseImage(id="I6", path=Path("slide.svs"), results=image(6).results),
    )
    assert [one.id for one in list_photographs(CaseLesion(id="L1", images=images))] == ["I3", "I1", "I2"]


def test_the_first_and_the_last_day_of_each_modality_are_a_follow_up() -> None:
    lesion = CaseLesion(
        id="L1",
        images=(
            image(1, "2025-05-01"),
            image(2, "2024-05-01"),
            image(3, "2024-11-01"),
            image(4, "2024-05-01", "macroscopic"),
            image(5, "2024-05-01", "macroscopic"),
            image(6, "", "tbp_tile"),
            image(7, "2021-01-01", "tbp_tile"),
        ),
    )
    pairs = list_follow_ups(lesion)
    assert [(one.first.id, one.second.id) for one in pairs] == [("I2", "I1")]


def test_a_reason_is_given_where_nothing_can_be_compared() -> None:
    assert "requires two photographs" in explain_incomparable([image(1)])
    assert "different modalities" in explain_incomparable([image(1), image(2, modality="macroscopic")])
    assert explain_incomparable([image(1), image(2)]) == explain_incomparable([image(1), image(2, modality="")]) == ""


def test_missing_files_and_cancelling(tmp_path: Path) -> None:
    pair = ImagePair(image(1), image(2))
    with pytest.raises(InputError):
        compare_images(pair, RunContext())
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        compare_images(pair, run)


FOUND = CaseLesionPrediction("L1", ("I1", "I2"), PREDICTION, None, "")
RISK = CaseRisk(
    path=Path("risk/I3.json"),
    verdict="Inconclusive",
    probability=0.61,
    interval=(0.42, 0.9),
    shares={"image": 0.2, "depth": 0.15, "patient": -0.04},
    without=0.3,
    model="risk-model",
    fingerprint="d" * 64,
    validity=Validity().to_json(),
)
INVALID = Validity(reasons=(ValidityReason(code="scale", text="the scale does not fit"),))


def case_with(risk: CaseRisk | None) -> Case:
    slide = CaseImage(id="I3", path=Path("slide.svs"), modality="wsi", risk=risk)
    return Case(lesions=(CaseLesion(id="L1", images=(image(1), image(2), slide)),))


def test_parts_are_listed_with_their_effects_and_have_no_invented_sum() -> None:
    case = case_with(RISK)
    fused = fuse_lesion(case, case.lesions[0], FOUND, is_current=True)
    assert fused is not None
    assert [(one.part, one.value, one.effect) for one in fused.parts] == [
        ("2 photographs and patient data", "0.31 (0.20 to 0.44)", ""),
        ("Without patient data", "0.29", "+0.02"),
        ("Slide, thickness and patient data", "0.61 (0.42 to 0.90)", ""),
        ("Baseline without any data of this case", "0.30", ""),
        ("Contribution: slide", "", "+0.20"),
        ("Contribution: thickness", "", "+0.15"),
        ("Contribution: patient data", "", "-0.04"),
    ]
    assert [one.outcome for one in fused.parts[:3]] == ["melanoma", "melanoma", "metastasis"]
    assert "they predict melanoma and metastasis, and no installed model states" in fused.reason


@pytest.mark.parametrize(
    ("validity", "is_current", "value"),
    [(INVALID, True, "Not valid: the scale does not fit"), (Validity(), False, "Outdated")],
)
def test_an_unusable_part_has_its_reason_in_place_of_the_number(
    validity: Validity, is_current: bool, value: str
) -> None:
    found = replace(FOUND, prediction=replace(PREDICTION, validity=validity))
    case = case_with(RISK)
    fused = fuse_lesion(case, case.lesions[0], found, is_current=is_current)
    assert fused is not None
    assert fused.parts[0].value.startswith(value)
    assert not any("0.31" in one.value for one in fused.parts)
    assert "2 photographs is not valid or outdated" in fused.reason


def test_a_demonstration_is_named_and_not_used() -> None:
    case = case_with(RISK.model_copy(update={"validity": Validity(demonstration=True).to_json()}))
    fused = fuse_lesion(case, case.lesions[0], FOUND, is_current=True)
    assert fused is not None
    assert fused.parts[2].value.startswith("Demonstration model: 0.61")
    assert "is not valid" in fused.reason


def test_one_part_alone_is_no_table() -> None:
    case = case_with(None)
    assert fuse_lesion(case, case.lesions[0], FOUND, is_current=True) is None
    case = case_with(RISK)
    assert fuse_lesion(case, case.lesions[0], None, is_current=False) is None
