"""The T category of AJCC 8 with its reason: edges, unknown findings, contradictions; it never falls with thickness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_melanoma.depth.t_category import (
    TumorFindings,
    format_recorded_thickness,
    format_thickness,
    stage_primary_tumor,
)

BELOW = "below 0.8 mm"
THIN = "at least 0.8 and at most 1.0 mm"
MEDIUM = "above 1.0 and at most 2.0 mm"
THICK = "above 2.0 and at most 4.0 mm"
EDGES = [
    (0.01, "less than 0.1 mm", BELOW, "pT1a", "pT1b", "pT1"),
    (0.74, "0.7 mm", BELOW, "pT1a", "pT1b", "pT1"),
    (0.75, "0.8 mm", THIN, "pT1b", "pT1b", "pT1b"),
    (0.8, "0.8 mm", THIN, "pT1b", "pT1b", "pT1b"),
    (1.0, "1.0 mm", THIN, "pT1b", "pT1b", "pT1b"),
    (1.04, "1.0 mm", THIN, "pT1b", "pT1b", "pT1b"),
    (1.05, "1.1 mm", MEDIUM, "pT2a", "pT2b", "pT2"),
    (2.04, "2.0 mm", MEDIUM, "pT2a", "pT2b", "pT2"),
    (2.05, "2.1 mm", THICK, "pT3a", "pT3b", "pT3"),
    (4.04, "4.0 mm", THICK, "pT3a", "pT3b", "pT3"),
    (4.05, "4.1 mm", "above 4.0 mm", "pT4a", "pT4b", "pT4"),
    (60.0, "60.0 mm", "above 4.0 mm", "pT4a", "pT4b", "pT4"),
]


@pytest.mark.parametrize(("mm", "recorded", "range_text", "intact", "ulcerated", "unknown"), EDGES)
def test_category_by_recorded_thickness_and_ulceration(
    mm: float, recorded: str, range_text: str, intact: str, ulcerated: str, unknown: str
) -> None:
    for value, category in ((False, intact), (True, ulcerated), (None, unknown)):
        stage = stage_primary_tumor(TumorFindings(mm=mm, ulcerated=value, ulceration="ulceration in words"))
        assert stage.category == category
        assert stage.reason.startswith(f"recorded as {recorded}, {range_text}; ulceration in words")
        assert stage.text == f"{category}: {format_thickness(mm)}, {stage.reason}"


@pytest.mark.parametrize(
    ("findings", "category", "reason"),
    [
        (TumorFindings(), "", "Breslow thickness not filled in"),
        (TumorFindings(thickness="not assessed"), "", "Breslow thickness not assessed"),
        (
            TumorFindings(not_measurable=True, thickness="cannot be determined: curettage"),
            "pTX",
            "Breslow thickness cannot be determined: curettage",
        ),
        (TumorFindings(extent="none"), "pT0", "no evidence of a primary tumor"),
        (TumorFindings(extent="none", not_measurable=True), "pT0", "no evidence of a primary tumor"),
        (TumorFindings(extent="in_situ"), "pTis", "melanoma in situ"),
        (TumorFindings(mm=0.0), "pTis", "Breslow thickness 0 mm, which is melanoma in situ"),
        (TumorFindings(clark=1), "pTis", "Clark level I, which is melanoma in situ"),
        (TumorFindings(mm=0.5), "pT1", "so the category has no letter"),
        (TumorFindings(mm=0.9), "pT1b", "which does not change the category"),
        (TumorFindings(mm=2.5, at_least=True), "at least pT3", "the category may be higher"),
        (TumorFindings(mm=2.5, at_least=True, ulcerated=True), "at least pT3b", "at least 2.5 mm"),
        (
            TumorFindings(mm=5.0, at_least=True, ulcerated=False),
            "pT4a",
            "recorded as at least 5.0 mm",
        ),
        (TumorFindings(extent="in_situ", mm=1.2), "", "a Breslow thickness of 1.20 mm contradicts melanoma in situ."),
        (TumorFindings(extent="invasive", mm=0.0), "", "contradicts invasive melanoma"),
        (TumorFindings(extent="none", clark=2, mm=1.0), "", "1.00 mm and Clark level II contradict no evidence"),
        (TumorFindings(extent="in_situ", clark=3), "", "Clark level III contradicts melanoma in situ"),
        (TumorFindings(mm=1.2, clark=1), "", "Clark level I (in situ) contradicts"),
        (TumorFindings(mm=0.0, clark=4), "", "Clark level IV (invasive) contradicts"),
    ],
)
def test_category_of_unusual_findings(findings: TumorFindings, category: str, reason: str) -> None:
    stage = stage_primary_tumor(findings)
    assert (stage.category, reason in stage.reason) == (category, True), stage.reason
    assert stage.text.startswith(category or "no T category")


THICKNESS = st.floats(0.001, 100)


@given(THICKNESS, THICKNESS, st.sampled_from([None, False, True]))
def test_category_does_not_fall_with_thickness(one: float, other: float, ulcerated: bool | None) -> None:
    thin, thick = (
        stage_primary_tumor(TumorFindings(mm=mm, ulcerated=ulcerated)).category for mm in sorted((one, other))
    )
    assert thin <= thick  # pT1 < pT1a < pT1b < pT2 in the order of the alphabet


@given(THICKNESS, st.sampled_from([None, False, True]))
def test_lower_bound_gives_the_same_category_as_a_bound(mm: float, ulcerated: bool | None) -> None:
    exact, bound = (
        stage_primary_tumor(TumorFindings(mm=mm, ulcerated=ulcerated, at_least=least)).category
        for least in (False, True)
    )
    assert bound == (exact if exact.startswith("pT4") else f"at least {exact}")


@pytest.mark.parametrize(
    ("mm", "measured", "recorded"),
    [
        (1.34, "1.34 mm", "1.3 mm"),
        (1.3, "1.30 mm", "1.3 mm"),
        (1.046, "1.04 mm", "1.0 mm"),  # 1.05 would be recorded as 1.1
        (1.0499, "1.04 mm", "1.0 mm"),
        (2.3172, "2.32 mm", "2.3 mm"),
        (0.0, "0.00 mm", "0.0 mm"),
        (0.04, "0.04 mm", "less than 0.1 mm"),
    ],
)
def test_thickness_is_shown_and_recorded_with_two_digits(mm: float, measured: str, recorded: str) -> None:
    assert (format_thickness(mm), format_recorded_thickness(mm)) == (measured, recorded)


@pytest.mark.parametrize(
    ("mm", "recorded"), [(0.04, "at least 0.04 mm"), (0.05, "at least 0.1 mm"), (0, "at least 0.0 mm")]
)
def test_a_lower_bound_is_never_recorded_as_an_upper_one(mm: float, recorded: str) -> None:
    assert format_recorded_thickness(mm, at_least=True) == recorded
    if mm:
        stage = stage_primary_tumor(TumorFindings(mm=mm, at_least=True, ulcerated=False))
        assert "less than" not in stage.text
        assert f"recorded as {recorded}" in stage.text
