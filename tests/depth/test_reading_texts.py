"""Formatting of thickness, T category, warnings, mitoses and readings of other readers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.validity import Validity, ValidityInputs
from napari_melanoma.depth.readings import (
    DepthProposal,
    DepthReading,
    FindingRemark,
    MitosisCount,
    SlideDepthProposals,
    SlideDepthReadings,
    compare_readings,
    describe_hidden_readings,
    describe_mitoses,
    describe_proposals,
    format_category,
    format_headline,
    format_mitoses,
    proposal_row,
    reader_rows,
    reading_warnings,
)
from napari_melanoma.depth.t_category import CATEGORY_LIMITS_MM, TumorFindings, stage_primary_tumor

LINE = ((0.0, 0.0), (100.0, 0.0))
SIZE = PixelSize(0.5, 0.5)


def reading(mm: float | None, **values: object) -> DepthReading:
    return DepthReading(mm=mm, line=LINE, when="2026-01-02T10:00:00+00:00", **values)


@pytest.mark.parametrize(
    ("given", "head"),
    [
        (reading(None), "Not measured."),
        (reading(1.34, interval_mm=(1.2, 1.5), ulcerated=False), "1.34 mm (1.20 to 1.50), T2a"),
        (reading(3.2, at_least=True, ulcerated=True), "at least 3.20 mm, T3b or more"),
        (reading(4.2, at_least=True, ulcerated=True), "at least 4.20 mm, T4b"),
        (reading(0.9), "0.90 mm, T1b"),
        (reading(3.0), "3.00 mm, T3"),
        (reading(0.0), "0.00 mm, Tis"),
        (reading(1.048, interval_mm=(1.0465, 1.09)), "1.04 mm (1.04 to 1.09), T1b"),
    ],
    ids=[
        "none",
        "interval",
        "edge",
        "highest",
        "T1b needs no ulceration",
        "no letter",
        "in situ",
        "interval at a limit",
    ],
)
def test_thickness_and_category_are_on_one_line(given: DepthReading, head: str) -> None:
    assert format_headline(given) == head


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (reading(1.9, interval_mm=(1.7, 2.2), ulcerated=True), "the interval covers T2b to T3b"),
        (reading(0.77), "0.77 mm is close to the T1a/T1b limit (0.75 mm"),
        (reading(1.03), "1.03 mm is close to the T1b/T2 limit (1.05 mm"),
        (reading(2.03, ulcerated=False), "2.03 mm is close to the T2a/T3a limit (2.05 mm"),
        (reading(3.0), "has no letter (ulceration: unknown)"),
        (reading(3.0, at_least=True, ulcerated=True), "reaches the edge of the section"),
        (
            reading(3.0, um_per_px=(0.25, 0.25), ulcerated=True),
            "Measured at 0.25 µm per pixel; the slide is now",
        ),
        (
            reading(3.0, um_per_px=(0.5, 0.25), ulcerated=True),
            "Measured at 0.25 x 0.5 µm per pixel; the slide is now set to 0.5.",
        ),
    ],
    ids=["straddles", "near T1b", "near T2", "near a border", "no ulceration", "edge", "scale", "scale along columns"],
)
def test_warnings_of_a_reading(given: DepthReading, message: str) -> None:
    assert message in " ".join(reading_warnings(given, SIZE))


@pytest.mark.parametrize("away", [-0.06, -0.05, 0.05, 0.06])
def test_a_thickness_is_as_close_to_each_limit(away: float) -> None:
    for limit in CATEGORY_LIMITS_MM:
        warnings = reading_warnings(reading(round(limit + away, 2), ulcerated=False), None)
        assert any("is close to" in text for text in warnings) is (abs(away) <= 0.05), limit


@given(st.floats(0, 20), st.booleans(), st.sampled_from([None, False, True]))
def test_a_reading_has_the_category_of_the_synoptic_report(mm: float, at_least: bool, ulcerated: bool | None) -> None:
    found = format_category(reading(mm, at_least=at_least and mm > 0, ulcerated=ulcerated))
    stage = stage_primary_tumor(TumorFindings(mm=mm, at_least=at_least and mm > 0, ulcerated=ulcerated)).category
    bound, _, category = stage.rpartition("p")
    assert found == category + (" or more" if bound else "")


def test_a_certain_reading_has_no_warning() -> None:
    assert reading_warnings(reading(3.0, interval_mm=(2.8, 3.2), ulcerated=False, um_per_px=(0.5, 0.5)), SIZE) == ()
    assert reading_warnings(reading(0.77, ulcerated=True, um_per_px=(0.5, 0.5)), SIZE) == (), (
        "T1b on both sides of the limit"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (MitosisCount(), "Not counted."),
        (
            MitosisCount(areas=(((0, 0), (0, 9), (9, 9)),), mm2=1.0),
            "Not counted in 1.00 mm². Count mitoses in Measure, or press None found.",
        ),
        (
            MitosisCount(areas=(((0, 0), (0, 9), (9, 9)),), none_found=True, counted=0, mm2=1.0, per_mm2=0.0),
            "None found in 1.00 mm²: 0.0 per mm².",
        ),
        (MitosisCount(points=((1, 1),), counted=1), "1 counted. Select the counted region to get the number per mm²."),
        (
            MitosisCount(points=((1, 8), (20, 2)), areas=(((0, 0), (0, 9), (9, 9)),), counted=1, mm2=0.5, per_mm2=2.0),
            "1 counted in 0.50 mm²: 2.0 per mm² (imprecise: the area is below 1 mm²); 1 outside the area not counted.",
        ),
        (
            MitosisCount(areas=(((0, 0), (0, 9), (9, 9)),), counted=3, mm2=0.002344, per_mm2=1280.0),
            "3 counted in 0.00234 mm²: 1280.0 per mm² (imprecise: the area is below 1 mm²).",
        ),
        (MitosisCount(counted=5), "5 counted. Select the counted region to get the number per mm²."),
        (
            MitosisCount(points=((1, 8), (20, 2)), areas=(((0, 0), (0, 9), (9, 9)),), counted=5, mm2=2.0, per_mm2=2.5),
            "5 counted in 2.00 mm²: 2.5 per mm²; 1 outside the area not counted.",
        ),
    ],
    ids=["none", "area only", "none found", "no area", "small area", "tiny area", "entered", "entered besides marks"],
)
def test_mitoses_state_the_counted_area(given: MitosisCount, message: str) -> None:
    assert format_mitoses(given) == message


def test_other_readers_come_when_the_own_reading_is_there() -> None:
    other = reading(1.5).model_copy(update={"reader": "B"})
    model = DepthReading(mm=1.4, method="automatic")
    depth = SlideDepthReadings(readings=(other, DepthReading(reader="A", when="2026", clark=3)))
    assert reader_rows(depth, "A", model, Validity()) == compare_readings(depth, "A") == []
    assert "1 other reader measured this slide" in describe_hidden_readings(depth, "A")
    depth = SlideDepthReadings(readings=(other, reading(1.0).model_copy(update={"reader": "A"})))
    assert [row[:2] for row in reader_rows(depth, "A", model, Validity())] == [
        ("A", "1.00"),
        ("B", "1.50"),
        ("model", "1.40"),
    ]
    assert describe_hidden_readings(depth, "A") == ""
    assert compare_readings(depth, "A") == [("B", "1.50 mm", "+0.50 mm")]
    depth = SlideDepthReadings(readings=(reading(1.048, reader="A"), reading(1.052, reader="B")))
    assert compare_readings(depth, "A") == [("B", "1.05 mm", "+0.01 mm")], "of the values that are shown: 1.04 and 1.05"


def test_lower_bounds_are_marked_in_the_table_of_readings() -> None:
    own = reading(1.0).model_copy(update={"reader": "A"})
    other = reading(1.5, at_least=True, ulcerated=True).model_copy(update={"reader": "B"})
    model = DepthReading(mm=0.3868, at_least=True, ulcerated=False, method="automatic")
    depth = SlideDepthReadings(readings=(own, other))
    assert [row[1:3] for row in reader_rows(depth, "A", model, Validity())] == [
        ("1.00", "T1b"),
        ("at least 1.50", "T2b or more"),
        ("at least 0.39", "T1a or more"),
    ]
    undetermined = {"breslow": FindingRemark(state="cannot be determined")}
    depth = SlideDepthReadings(readings=(own, reading(None, reader="B", remarks=undetermined)))
    assert reader_rows(depth, "A", DepthReading(), Validity())[1][1:3] == ("cannot be determined", "–")
    depth = SlideDepthReadings(readings=(own, other))
    assert compare_readings(depth, "A") == [("B", "at least 1.50 mm", "–")]


def test_description_of_depth_proposals() -> None:
    one = DepthProposal(line=LINE, mm=0.6, section=0, lesion=2, notes=("lies apart from the surface",))
    found = SlideDepthProposals(proposals=(one,), clark=4, notes=("no interval: not tried",))
    message = describe_proposals(found, DepthReading())
    assert message.startswith("Lies apart from the surface. Clark level IV is an")
    assert message.endswith("No interval: not tried.")
    assert proposal_row(1, one) == ("1, section 1, lesion 2", "0.60 mm")


@pytest.mark.parametrize(
    ("validity", "row"),
    [
        (Validity(demonstration=True), ("demonstration model", "3.30", "T3")),
        (ValidityInputs("m", damage="half of it").check(), ("model", "not valid", "not valid", "–", "–", "–")),
    ],
)
def test_the_row_of_a_model_states_whether_it_is_valid(validity: Validity, row: tuple[str, ...]) -> None:
    depth = SlideDepthReadings(readings=(reading(1.0).model_copy(update={"reader": "A"}),))
    found = reader_rows(depth, "A", DepthReading(mm=3.3, clark=4, method="automatic"), validity)
    assert [len(one) for one in found] == [6] * 2
    assert found[-1][: len(row)] == row


def test_mitoses_have_one_answer() -> None:
    remarks = {"mitotic_rate": FindingRemark(state="not assessed")}
    assert describe_mitoses(DepthReading(remarks=remarks)) == "Not assessed."
    counted = DepthReading(remarks=remarks, mitoses=MitosisCount(counted=2))
    assert describe_mitoses(counted) == "2 counted; rate not assessed."
    rated = DepthReading(remarks=remarks, mitoses=MitosisCount(per_mm2=2.0))
    assert describe_mitoses(rated) == "2 per mm², entered as a number."
