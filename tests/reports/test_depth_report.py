"""The report of a reading: the picture of its line, the page, and the transfer to a case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_slides import MPP, draw_slide

from napari_melanoma.case.model import (
    Case,
    CaseImage,
    add_images,
    add_lesion,
    add_slide_findings,
    set_lesion,
    set_lesion_answers,
)
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.validity import Validity, ValidityInputs, ValidityReason
from napari_melanoma.depth.findings import SlideFindings
from napari_melanoma.depth.readings import (
    DepthReading,
    ExcisionMargins,
    FindingRemark,
    MitosisCount,
    ReadingChange,
    SlideDepthProposals,
    SlideDepthReadings,
    reader_rows,
    set_values,
    values_for_line,
)
from napari_melanoma.depth.report_blocks import lesion_block
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport, describe_finding
from napari_melanoma.depth.t_category import t_category
from napari_melanoma.figures.page import Notice, Table, Text
from napari_melanoma.reports.pictures import LINE_COLOR, draw_depth_line
from napari_melanoma.reports.slide import (
    create_slide_reading,
    depth_blocks,
    describe_slide_agreement,
    find_case_image,
    format_report_fields,
    list_changes,
    reader_sections,
    reading_scale,
    set_lesion_reading,
    write_depth_report,
)
from napari_melanoma.slides.reading.opening import open_slide

WHEN = "2026-01-02T10:00:00+00:00"
LINE = ((60.0, 100.0), (460.0, 100.0))
READING = DepthReading(
    reader="A <b>",
    when="2026-01-02T10:00:00+00:00",
    line=LINE,
    um_per_px=(MPP, MPP),
    mm=0.2,
    clark=4,
    margins=ExcisionMargins(deep_mm=2.5),
    mitoses=MitosisCount(counted=3, mm2=1.0, per_mm2=3.0),
    notes="two levels",
    history=(
        ReadingChange(
            field="line", after=[[60.2, 100.0], [460.0, 100.0]], reader="A <b>", when="2026-01-02T10:00:00+00:00"
        ),
        ReadingChange(
            field="margins", before={"lateral_mm": None}, after={"lateral_mm": 2.5}, reader="A <b>", when="2026"
        ),
        ReadingChange(field="ulcerated", before=True, reader="model", when="2026-01-02T10:00:00+00:00"),
    ),
)

RECORD = ("60, 100 to 460, 100", ">Margins</td>", ">lateral mm 2.50</td>", ">present</td>")


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """A small slide."""
    return draw_slide(tmp_path / "section.tif")


def test_the_picture_shows_the_line_where_it_is(slide: Path) -> None:
    with open_slide(slide) as opened:
        found = draw_depth_line(opened, LINE)
    assert found is not None
    picture = found.rgb
    rows, columns = np.nonzero((np.abs(picture.astype(int) - LINE_COLOR) < 3).all(axis=2))
    assert abs(rows.max() - rows.min() - 400) < 6
    assert abs(columns.mean() - picture.shape[1] / 2) < 2


def test_the_page_contains_fields_and_changes(slide: Path, tmp_path: Path) -> None:
    with open_slide(slide) as opened:
        info = opened.info
    page = write_depth_report(
        tmp_path / "page.html", info, SlideDepthReadings(readings=(READING,)), READING, DepthReading()
    )
    text = page.read_text(encoding="utf-8")
    for expected in (
        "0.20 mm, T1",
        "IV",
        "2.5 mm",
        "3 counted in 1.00 mm²",
        "two levels",
        "A &lt;b&gt;",
        "image/jpeg",
        *RECORD,
    ):
        assert expected in text
    assert "not for diagnosis" in text
    slide.unlink()
    assert "image/jpeg" not in write_depth_report(page, info, SlideDepthReadings(), READING, DepthReading()).read_text()
    with pytest.raises(InputError, match="nothing is measured"):
        write_depth_report(page, info, SlideDepthReadings(), DepthReading(), DepthReading())


def test_known_values_are_transferred_to_a_case(slide: Path, tmp_path: Path) -> None:
    case = add_images(add_lesion(Case(), ulceration=True), [CaseImage(id="", path=slide, modality="wsi")], "L1")
    assert find_case_image(case, tmp_path / "other.tif") is None
    image = find_case_image(case, tmp_path / "." / "section.tif")
    assert image is not None
    lesion = set_lesion_reading(case, image.id, READING).lesions[0]
    assert (lesion.depth_mm, lesion.clark, lesion.mitoses_per_mm2, lesion.ulceration) == (0.2, 4, 3.0, True)


def test_a_reading_replaces_what_another_one_has_added_from_the_slide(slide: Path) -> None:
    """The findings of two readers together would be a category that neither has found."""
    case = add_images(add_lesion(Case()), [CaseImage(id="", path=slide, modality="wsi")], "L1")
    found = set_values(SlideFindings(), "A", WHEN, mm=1.2, ulcerated=True, at_least=True)
    found = set_values(found, "B", WHEN, mm=0.6)
    by_a, by_b = found.readings
    case = add_slide_findings(set_lesion_reading(case, "I1", by_a), "I1", found)
    (lesion,) = case.lesions
    assert (lesion.depth_at_least, lesion_block(lesion).blocks[0].text) == (True, "at least 1.20 mm")
    suggested = SynopticReport().prefill(DepthReading(), lesion).answer("breslow")
    assert suggested is not None
    assert suggested.at_least
    (lesion,) = set_lesion_reading(case, "I1", by_b).lesions
    assert (lesion.depth_mm, lesion.ulceration, lesion.report.stage.category) == (0.6, None, "pT1")
    case = set_lesion_answers(case, "L1", {"ulceration": SynopticAnswer(value="not_identified")}, "A", WHEN)
    assert set_lesion_reading(case, "I1", by_b).lesions[0].ulceration is False, "it was not added from the slide"
    case = set_lesion_answers(case, "L1", {"ulceration": SynopticAnswer(value="present")}, "A", WHEN)
    (lesion,) = set_lesion_reading(case, "I1", by_b).lesions
    assert lesion.ulceration is True, "it was entered by hand, and is the same in a reading of the slide"


def test_a_reading_replaces_what_came_with_the_report_of_the_slide_or_was_redone(slide: Path) -> None:
    case = add_images(add_lesion(Case()), [CaseImage(id="", path=slide, modality="wsi")], "L1")
    found = set_values(SlideFindings(), "A", WHEN, mm=1.2, ulcerated=True)
    by_a, by_b = found.readings[0], DepthReading(reader="B", when=WHEN, mm=0.6)
    with_report = set_lesion(case, "L1", synoptic=SynopticReport(reader="A").complete_from(by_a))
    added = set_lesion_reading(case, "I1", by_a)
    report = added.lesions[0].synoptic
    redone = set_lesion(added, "L1", synoptic=report.restore(SynopticReport(), "A", WHEN).restore(report, "A", WHEN))
    for one in (with_report, redone):
        assert one.lesions[0].ulceration is True
        both = set_lesion_reading(add_slide_findings(one, "I1", found), "I1", by_b)
        assert (both.lesions[0].depth_mm, both.lesions[0].ulceration) == (0.6, None)


def test_a_thickness_has_the_same_category_in_the_case_as_on_the_slide(slide: Path) -> None:
    case = add_images(add_lesion(Case()), [CaseImage(id="", path=slide, modality="wsi")], "L1")
    reading = READING.model_copy(update={"mm": 0.7496})
    stored = set_lesion_reading(case, case.lesions[0].images[0].id, reading).lesions[0].depth_mm
    assert stored is not None
    assert t_category(stored, ulcerated=False) == t_category(0.7496, ulcerated=False) == "T1a"


def test_an_unassigned_slide_is_rejected(slide: Path) -> None:
    case = add_images(Case(), [CaseImage(id="", path=slide, modality="wsi")])
    with pytest.raises(InputError, match="not assigned to a lesion"):
        set_lesion_reading(case, case.images[0].id, READING)


def test_a_reading_keeps_the_scale_of_both_axes() -> None:
    size = PixelSize(0.5, 0.25)
    assert reading_scale(DepthReading(**values_for_line(DepthReading(), LINE, size))) == size


INVALID = ValidityInputs("m", damage="half of it").check()


@pytest.mark.parametrize(
    ("when", "validity", "recorded"),
    [
        ("", INVALID, None),
        ("", Validity(demonstration=True), "Demonstration model: 1.3 mm"),
        ("", Validity(), "1.3 mm"),
        ("2026-01-02T10:00:00+00:00", INVALID, "1.3 mm"),
        ("2026-01-02T10:00:00+00:00", Validity(demonstration=True), "1.3 mm"),
    ],
)
def test_a_recorded_thickness_is_confirmed_or_labeled(when: str, validity: Validity, recorded: str | None) -> None:
    values = format_report_fields(DepthReading(mm=1.31, method="automatic", when=when), validity)
    assert values.get("Thickness recorded (AJCC 8)") == recorded


def test_margins_are_as_in_the_synoptic_report() -> None:
    remarks = {"deep_distance_invasive": FindingRemark(state="cannot be determined")}
    values = format_report_fields(DepthReading(margins=ExcisionMargins(lateral_mm=12.345), remarks=remarks))
    assert values["Distance to peripheral margin"] == describe_finding(
        DepthReading(margins=ExcisionMargins(lateral_mm=12.345)), "peripheral_distance_invasive"
    )
    assert values["Distance to deep margin"] == "cannot be determined"
    assert format_report_fields(DepthReading())["Distance to deep margin"] == "–"


def test_the_table_of_readings_hides_a_prediction_that_is_not_valid(slide: Path) -> None:
    with open_slide(slide) as opened:
        info = opened.info
    depth, found = SlideDepthReadings(readings=(READING,)), SlideDepthProposals(validity=INVALID)
    shown = create_slide_reading(info, depth, READING, DepthReading(mm=3.3, method="automatic"), found)
    (table,) = (one for one in reader_sections(shown)[0].blocks if isinstance(one, Table))
    assert table.rows[-1][:3] == ("model", "not valid", "not valid")


PAINTED = "suggestion from a painted classifier, not measured by a reader"


def test_a_reading_is_compared_with_a_lower_bound_of_a_painted_model(slide: Path) -> None:
    """The caution precedes the number, and the number is not shown as a value."""
    with open_slide(slide) as opened:
        info = opened.info
    second = READING.model_copy(update={"reader": "B", "mm": 0.5, "at_least": True})
    depth = SlideDepthReadings(readings=(READING, second))
    validity = Validity(reasons=(ValidityReason(code="painted", severity="caution", text=PAINTED),))
    base = DepthReading(mm=0.3868, at_least=True, ulcerated=False, method="automatic")
    shown = create_slide_reading(info, depth, READING, base, SlideDepthProposals(validity=validity))
    notice, table, agreement = reader_sections(shown)[0].blocks
    assert notice == Notice(f"Line of the model: {PAINTED[:1].upper()}{PAINTED[1:]}.")
    assert isinstance(table, Table)
    assert table.rows[-1][:3] == ("model", "at least 0.39", "T1a or more")
    assert isinstance(agreement, Text)
    assert agreement.text.endswith("At least one thickness is a lower bound.")


def test_warnings_and_bounds_come_with_the_thickness_of_the_analysis(slide: Path) -> None:
    with open_slide(slide) as opened:
        info = opened.info
    base = DepthReading(mm=0.3868, at_least=True, ulcerated=False, method="automatic")
    blocks = depth_blocks(create_slide_reading(info, SlideDepthReadings(), base, base, SlideDepthProposals()))
    assert isinstance(blocks[0], Notice)
    assert format_report_fields(base, Validity())["Thickness recorded (AJCC 8)"] == "at least 0.4 mm"


def counting(before: int, after: int, when: str = "2026-01-02T10:00:00+00:00") -> ReadingChange:
    values = ({"points": [[1.0, 1.0]] * count, "counted": count} for count in (before, after))
    before_json, after_json = ({**value, "points": None} for value in values)
    return ReadingChange(field="mitoses", before=before_json, after=after_json, reader="A", when=when)


def test_changes_without_a_visible_difference_are_left_out() -> None:
    later = "2026-01-02T11:30:00+00:00"
    history = [counting(0, 1), counting(1, 2), counting(2, 4), counting(4, 4, later), counting(4, 5, later)]
    rows = [row[2:] for row in list_changes(history)]
    assert rows == [("Mitoses", "counted 0", "counted 4"), ("Mitoses", "counted 4", "counted 5")]


@pytest.mark.parametrize(("first", "second", "difference"), [(0.345, 0.3551, "0.02"), (1.048, 1.1, "0.06")])
def test_a_thickness_is_rounded_equally_wherever_the_report_shows_it(
    first: float, second: float, difference: str
) -> None:
    readings = tuple(DepthReading(reader=name, mm=mm, when="2026-01-02") for name, mm in (("A", first), ("B", second)))
    rows = reader_rows(SlideDepthReadings(readings=readings), "A", DepthReading(), Validity())
    low, high = (row[1] for row in rows)
    assert f"thickness {low} to {high} mm, a difference of {difference} mm;" in describe_slide_agreement(readings)
    (changed,) = list_changes([ReadingChange(field="mm", before=first, after=second, reader="A")])
    assert (changed.before, changed.after) == (low, high)
