"""The validity policy is the same for every modality."""

from __future__ import annotations

from typing import Any

import pytest

from napari_melanoma.core.validity import ScaleMatch, Validity, ValidityInputs, is_scale_refused, read_validity

REASSURING = "Melanoma 0.02; at most 10 of 100 melanoma cases have such a low probability"
DERMOSCOPIC: dict[str, Any] = {
    "model": "own",
    "modalities": ("dermoscopic",),
    "calibrated": True,
    "distance": 1,
    "limit": 2,
}
UNSURE: dict[str, Any] = {**DERMOSCOPIC, "modality_certain": False}
SLIDE: dict[str, Any] = {"model": "own", "modalities": ("slide",), "modality": "slide", "scale": ScaleMatch(0.5, 0.5)}
DEMO: dict[str, Any] = {**SLIDE, "model": "tile-test", "demonstration": True}
RISK: dict[str, Any] = {**SLIDE, "scale": None, "field_mm": 3.0, "model_field_mm": 3.0, "calibrated": True}

CASES = {
    # name: facts, codes of the reasons that make it invalid, codes of the cautions
    "dermoscopic, right model": ({**DERMOSCOPIC, "modality": "dermoscopic"}, [], []),
    "photograph of unknown kind": (DERMOSCOPIC, [], []),
    "macroscopic, dermoscopic model": ({**DERMOSCOPIC, "modality": "macroscopic"}, ["modality"], []),
    "probably dermoscopic": ({**UNSURE, "modality": "dermoscopic"}, [], ["modality_uncertain"]),
    "probably macroscopic": ({**UNSURE, "modality": "macroscopic"}, ["modality"], []),
    "TBP tile, dermoscopic model": ({**DERMOSCOPIC, "modality": "tbp_tile"}, ["modality"], []),
    "TBP tile, own model": ({**DERMOSCOPIC, "modality": "tbp_tile", "modalities": ("tbp_tile",)}, [], []),
    "no photograph of skin": ({**DERMOSCOPIC, "modality": "neither"}, ["no_photograph"], []),
    "no photograph, modalities not stated": ({"model": "m", "modality": "neither"}, ["no_photograph"], []),
    "photograph, model of slides": ({**SLIDE, "modality": "macroscopic", "scale": None}, ["modality"], []),
    "dermoscopic, out of distribution": ({**DERMOSCOPIC, "distance": 2.01}, ["out_of_distribution"], []),
    "dermoscopic, at the limit": ({**DERMOSCOPIC, "distance": 2.0}, [], []),
    "distance is not a number": ({**DERMOSCOPIC, "distance": float("nan")}, ["out_of_distribution"], []),
    "dermoscopic, uncalibrated": ({**DERMOSCOPIC, "calibrated": False}, ["uncalibrated"], []),
    "dermoscopic, damaged but accepted": ({**DERMOSCOPIC, "damage": "rows 900 to 1200"}, ["damaged"], []),
    "dermoscopic, tiny": ({**DERMOSCOPIC, "detail": 0.2}, ["resolution"], []),
    "dermoscopic by statement, but no skin": (
        {**DERMOSCOPIC, "modality": "dermoscopic", "no_photograph": True}, ["no_photograph"], [],
    ),
    "macroscopic by statement, but no skin": (
        {**DERMOSCOPIC, "modality": "macroscopic", "no_photograph": True}, ["modality", "no_photograph"], [],
    ),
    "dermoscopic, a strip": ({**DERMOSCOPIC, "aspect": 5.0}, ["shape"], []),
    "dermoscopic, wide": ({**DERMOSCOPIC, "aspect": 4.9}, [], []),
    "dermoscopic, coverage 0.5": ({**DERMOSCOPIC, "coverage": 0.5}, [], ["coverage"]),
    "dermoscopic, coverage 0.9": ({**DERMOSCOPIC, "coverage": 0.9}, [], []),
    "slide, right scale": (SLIDE, [], []),
    "slide, slightly coarse": ({**SLIDE, "scale": ScaleMatch(0.65, 0.5)}, [], ["scale"]),
    "slide, wrong scale": ({**SLIDE, "scale": ScaleMatch(1.0, 0.5)}, ["scale"], []),
    "slide, too fine": ({**SLIDE, "scale": ScaleMatch(0.25, 0.5)}, ["scale"], []),
    "slide, hopeless scale accepted": ({**SLIDE, "scale": ScaleMatch(16.8, 0.5, accepted=True)}, ["scale"], []),
    "slide, unknown scale": ({**SLIDE, "scale": ScaleMatch(None, 0.5)}, ["scale_unknown"], []),
    "slide, too small": ({**SLIDE, "field_mm": 0.24, "model_field_mm": 0.512}, ["field_of_view"], []),
    "slide, a little small": ({**SLIDE, "field_mm": 0.4, "model_field_mm": 0.512}, [], ["field_of_view"]),
    "slide, out of distribution": ({**SLIDE, "distance": 0.4, "limit": 0.1}, ["out_of_distribution"], []),
    "slide, some tiles damaged": ({**SLIDE, "failed_share": 0.01}, [], ["damaged"]),
    "slide, many tiles damaged": ({**SLIDE, "failed_share": 0.2}, ["damaged"], []),
    "slide, shipped demonstration": (DEMO, ["demonstration"], []),
    "synthetic slide, demonstration": ({**DEMO, "synthetic_input": True}, [], []),
    "synthetic slide, demonstration, wrong scale": (
        {**DEMO, "synthetic_input": True, "scale": ScaleMatch(2, 0.5)}, ["scale"], [],
    ),
    "trained on synthetic data without saying so": ({**SLIDE, "synthetic_share": 1.0}, ["demonstration"], []),
    "trained on synthetic data mostly": ({**SLIDE, "synthetic_share": 0.6}, ["synthetic_training"], []),
    "trained on a few synthetic data": ({**SLIDE, "synthetic_share": 0.1}, [], ["synthetic_training"]),
    "depth, own model without measured error": ({**SLIDE, "calibrated": False}, ["uncalibrated"], []),
    "risk, own model": (RISK, [], []),
    "risk, shipped demonstration": ({**RISK, "synthetic_share": 1.0}, ["demonstration"], []),
    "risk, picture of 0.24 mm": ({**RISK, "field_mm": 0.24}, ["field_of_view"], []),
    "risk, unknown width": ({**RISK, "scale": ScaleMatch(None, 5.9)}, ["scale_unknown"], []),
    "risk, uncalibrated": ({**RISK, "calibrated": False}, ["uncalibrated"], []),
    "all at once": (
        {**RISK, "demonstration": True, "field_mm": 0.24, "distance": 9, "limit": 2, "calibrated": False},
        ["demonstration", "field_of_view", "out_of_distribution", "uncalibrated"],
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_policy_is_equal_for_every_modality(name: str) -> None:
    facts, invalid, cautions = CASES[name]
    found = ValidityInputs(**facts).check()
    assert [one.code for one in found.reasons if one.severity == "invalid"] == invalid
    assert [one.code for one in found.reasons if one.severity == "caution"] == cautions
    headline = found.headline(REASSURING)
    if invalid:
        assert found.invalid_headline is not None
        assert (found.invalid_headline.statement, found.invalid_headline.tone) == (headline, "invalid")
        assert len(found.invalid_headline.text) <= 2 * 45  # two lines of a dock
        assert not found.valid
        assert headline.startswith("Not valid: ")
        assert "nevus" not in headline.lower()
    else:
        assert found.valid
        assert found.invalid_headline is None
        assert headline.endswith(REASSURING)
    assert len(found.other_reasons) == len(found.reasons) - bool(invalid)


@pytest.mark.parametrize("name", CASES)
def test_a_validity_survives_a_file(name: str) -> None:
    found = ValidityInputs(**CASES[name][0]).check()
    assert Validity.from_json(found.to_json()) == found
    assert found.to_columns()["valid"] == str(found.valid).lower()


def test_a_share_that_is_almost_none_or_all_is_not_stated_as_such() -> None:
    found = ValidityInputs("m", failed_share=0.996, synthetic_share=0.004).check()
    assert [reason.text.partition(" of the ")[0] for reason in found.reasons] == ["99.6 %", "0.4 %"]


def test_a_demonstration_on_a_synthetic_slide_is_marked() -> None:
    found = ValidityInputs(**{**DEMO, "synthetic_input": True}).check()
    assert found.headline("3 lesions") == "Demonstration model: 3 lesions"
    assert found.headline("") == ""


def test_reasons_of_several_inputs_are_joined_once() -> None:
    first = ValidityInputs(**{**DERMOSCOPIC, "damage": "half of it"}).check()
    second = ValidityInputs(**{**DERMOSCOPIC, "distance": 9}).check()
    joined = Validity().with_reasons(second, first, second)
    assert [one.code for one in joined.reasons] == ["damaged", "out_of_distribution"]
    assert not joined.valid


@pytest.mark.parametrize(
    "stored",
    [
        *(None, {}, "damaged", {"valid": False}, {"valid": False, "reasons": ["text"]}, {"demonstration": True}),
        {"valid": True, "reasons": [{"severity": "soon"}]},
        {"valid": False, "headline": "x", "reasons": [{"kind": "something_new", "text": "t"}], "demonstration": False},
    ],
)
def test_a_result_whose_validity_is_missing_or_unreadable_is_not_valid(stored: object) -> None:
    found = read_validity({"validity": stored, "probability": 0.1})
    assert not found.valid
    assert found.headline("benign").endswith("is not stated or cannot be read. Analyze again")


def test_a_validity_is_read_as_it_was_stored() -> None:
    assert Validity.from_json(None) is None
    assert read_validity({}) == Validity(), "there is no result"
    assert read_validity({"probability": 0.1}).codes == ("unreadable",)
    assert read_validity({"validity": Validity().to_json()}) == Validity()
    caution = ValidityInputs(**{**DERMOSCOPIC, "coverage": 0.5}).check()
    assert read_validity({"validity": caution.to_json()}) == caution
    assert read_validity({"validity": {**caution.to_json(), "valid": False}}).codes == ("unreadable", "coverage")
    stored = ValidityInputs(**{**DERMOSCOPIC, "damage": "half"}).check().to_json() | {"valid": True}
    read = Validity.from_json(stored)
    assert read is not None
    assert not read.valid  # follows from the reasons, whatever a file claims


@pytest.mark.parametrize(("found", "hopeless"), [(0.5, False), (2.0, False), (2.1, True), (16.8, True), (0.1, True)])
def test_a_scale_that_is_far_off_is_hopeless_unless_accepted(found: float, hopeless: bool) -> None:
    assert is_scale_refused(ScaleMatch(found, 0.5)) is hopeless
    assert not is_scale_refused(ScaleMatch(found, 0.5, accepted=True))
    assert not is_scale_refused(ScaleMatch(None, 0.5))
