"""The findings of slides in a case: copied by *Add to case*, read from files of earlier versions, and compared."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from napari_melanoma.case import lesion_content
from napari_melanoma.case.lesion_content import read_lesion_content
from napari_melanoma.case.model import (
    Case,
    CaseImage,
    CaseLesion,
    CaseSlideFindings,
    add_images,
    add_lesion,
    add_slide_findings,
    remove_image,
    set_image,
    set_lesion,
)
from napari_melanoma.case.store import CaseStore, case_to_json, parse_case
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import hash_file, write_json
from napari_melanoma.depth.findings import SlideFindings, read_findings, write_findings
from napari_melanoma.depth.readings import DepthReading, SlideDepthReadings, set_values
from napari_melanoma.depth.report_blocks import IMAGES
from napari_melanoma.depth.shown_blocks import ShownBlock
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.reports.case_report import collect_report, summarize_lesion
from napari_melanoma.reports.report_records import ReportRecords
from napari_melanoma.reports.report_sections import OTHER_FILE, SlidePart
from napari_melanoma.reports.slide import NO_READING
from napari_melanoma.slides.result_folder import record_slide
from napari_melanoma.slides.synoptic_files import compare_reports

WHEN, LATER = "2026-11-25T10:00:00+00:00", "2026-11-26T10:00:00+00:00"
REPORT = SynopticReport().set_answer("procedure", SynopticAnswer(value="punch"), "A", WHEN)
FINDINGS = set_values(SlideFindings(report=REPORT), "A", WHEN, mm=1.5, clark=3, line=((1.0, 2.0), (3.0, 4.0)))
READINGS = FINDINGS.model_dump(mode="json", include={"format_version", "fingerprint", "readings"})
OTHER = "The findings of a.tif differ from those that were added to the case{}. Press Add to case again to add them."


def make_case(root: Path) -> Case:
    """A lesion with a slide and the report that was added to it."""
    image = CaseImage(id="", path=root / "a.tif", modality="wsi")
    return add_images(add_lesion(Case(), synoptic=FINDINGS.view_report()), [image], "L1")


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The folder of a case as an earlier version wrote it."""
    folder = tmp_path / "P-0042"
    with CaseStore.create(folder, make_case(tmp_path)):
        (folder / "depth").mkdir()
    write_json(folder / "depth" / "I1.json", READINGS)
    return folder


def show(folder: Path) -> str:
    """What a report on the case shows of its findings."""
    return repr(collect_report([folder], personal=True, run=RunContext()).report)


@pytest.mark.slow
def test_readings_of_an_earlier_version_are_shown_the_same_and_saved_in_the_case(earlier: Path) -> None:
    with CaseStore.open(earlier) as store:
        (lesion,) = store.case.lesions
        assert (lesion.depth_mm, lesion.clark, lesion.report) == (1.5, 3, FINDINGS.view_report())
        assert lesion.images[0].readings.readings == FINDINGS.readings
        before = show(earlier)
        assert "1.50 mm" in before
        assert (earlier / "depth" / "I1.json").is_file(), "nothing is written before the case is saved"
        store.save(store.case)
    stored = json.loads((earlier / "case.json").read_text(encoding="utf-8"))
    assert stored["lesions"][0]["images"][0]["findings"]["document"]["readings"] == READINGS["readings"]
    (renamed,) = (earlier / "depth").iterdir()
    assert renamed.name != "I1.json"
    assert json.loads(renamed.read_text(encoding="utf-8")) == READINGS
    assert CaseStore.open_read_only(earlier).case == store.case
    assert show(earlier) == before


def test_readings_of_a_removed_slide_are_not_those_of_another_one(earlier: Path, tmp_path: Path) -> None:
    """Also if it gets the id of that slide, as after an undo."""
    with CaseStore.open(earlier) as store:
        store.save(remove_image(store.case, "I1").model_copy(update={"images_numbered": 0}))
    with CaseStore.open(earlier) as store:
        store.save(add_images(store.case, [CaseImage(id="", path=tmp_path / "b.tif", modality="wsi")], "L1"))
    (image,) = CaseStore.open_read_only(earlier).case.lesions[0].images
    assert (image.id, image.findings) == ("I1", None)


def test_damaged_readings_of_an_earlier_version_are_kept_and_stated(earlier: Path) -> None:
    path = earlier / "depth" / "I1.json"
    path.write_text("{", encoding="utf-8")
    with CaseStore.open(earlier) as store:
        assert "does not contain valid depth readings" in str(store.unread["I1"])
        assert NO_READING in show(earlier)
        store.save(set_lesion(store.case, "L1", site="torso"))
    assert path.read_text(encoding="utf-8") == "{"


def test_a_copy_is_stored_whole_and_replaced(tmp_path: Path) -> None:
    shown = (ShownBlock(key="file", label="file", value=["a", 1.5], text="a"),)
    signed = FINDINGS.with_report(FINDINGS.view_report().sign("A", LATER, shown))
    case = add_slide_findings(add_slide_findings(make_case(tmp_path), "I1", FINDINGS, WHEN), "I1", signed, LATER)
    assert case.lesions[0].images[0].findings == CaseSlideFindings(document=signed, added=LATER)
    assert parse_case(case_to_json(case, tmp_path), tmp_path) == case


@pytest.mark.parametrize(
    ("now", "is_other"),
    [
        (FINDINGS, False),
        (SlideFindings(), False),  # the slide is analyzed on another computer
        (set_values(FINDINGS, "A", LATER, mm=1.6), True),
        (set_values(FINDINGS, "B", LATER, clark=4), True),
        (FINDINGS.with_report(REPORT.set_answer("comment", SynopticAnswer(value="Deeper levels."), "A", LATER)), True),
        (FINDINGS.with_report(REPORT.set_answer("procedure", None, "A", LATER)), True),
    ],
    ids=["same", "none", "value", "reader", "text", "removed answer"],
)
def test_other_findings_of_the_slide_are_stated_until_they_are_added(
    now: SlideFindings, is_other: bool, tmp_path: Path
) -> None:
    write_findings(tmp_path, now.model_copy(update={"fingerprint": "of the file"}))
    stored = read_findings(tmp_path)
    added = CaseSlideFindings(document=FINDINGS, added=WHEN)
    assert added.describe_difference(stored, "a.tif") == (OTHER.format(" on 2026-11-25") if is_other else "")
    assert added.describe_difference(stored, "a.tif", personal=False) == (OTHER.format("") if is_other else "")
    assert CaseSlideFindings(document=stored, added=LATER).describe_difference(stored, "a.tif") == ""


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone cannot be changed")
def test_the_day_of_a_copy_is_that_of_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        copy = CaseSlideFindings(document=SlideFindings(), added="2026-11-29T23:30:00+00:00")
        other = SlideFindings(readings=(DepthReading(reader="A", when="2026-11-30T10:00:00+00:00", mm=1.0),))
        assert "added to the case on 2026-11-30." in copy.describe_difference(other, "a slide")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_earlier_copy_without_the_report_is_compared_by_its_readings() -> None:
    added = CaseSlideFindings(document=SlideFindings(readings=FINDINGS.readings))
    assert added.describe_difference(FINDINGS, "a.tif") == ""
    assert added.describe_difference(set_values(FINDINGS, "A", LATER, mm=1.6), "a.tif") == OTHER.format("")


def test_reports_show_the_copy_with_later_readings_of_the_slide(tmp_path: Path) -> None:
    """And state that they are not those that were added."""
    case = add_slide_findings(make_case(tmp_path), "I1", FINDINGS, WHEN)
    ((lesion, image),) = case.iterate_images()
    results = tmp_path / "results" / "a"
    results.mkdir(parents=True)
    image.path.write_bytes(b"no slide")
    record_slide(results, image.path, record_name=True)
    away = SlidePart.from_image(image, [], lesion)
    assert (away.depth.readings, away.changes) == (FINDINGS.readings, ())
    assert SlidePart.from_image(image, [results], lesion).changes == (), "no findings there"
    image.path.write_bytes(b"another slide")
    assert SlidePart.from_image(image, [results], lesion).changes == (OTHER_FILE,)
    image.path.write_bytes(b"no slide")
    both = set_values(SlideFindings(readings=(DepthReading(reader="A", when=LATER, mm=1.6),)), "B", LATER, clark=4)
    write_findings(results, both)
    part = SlidePart.from_image(image, [results], lesion)
    assert {one.reader: one.mm for one in part.depth.readings} == {"A": 1.6, "B": None}
    assert part.changes == (OTHER.replace("a.tif", "image 1").format(""),)
    content = read_lesion_content(case, lesion, None, lambda image: results)
    assert content.slides["I1"].depth == SlideDepthReadings(readings=part.depth.readings)


THICK = SynopticAnswer(value=2.0)
IMPORTED = SynopticAnswer(value=2.0, suggested_by="case")


@pytest.mark.parametrize(
    ("name", "slide", "case", "expected"),
    [
        ("breslow", THICK, THICK, ""),
        ("breslow", THICK, SynopticAnswer(value=1.0), "Breslow thickness 1.00 mm (here 2.00 mm)"),
        ("breslow", THICK, SynopticAnswer(state="not assessed"), "Breslow thickness not assessed (here 2.00 mm)"),
        (
            "breslow",
            THICK.model_copy(update={"at_least": True}),
            THICK,
            "Breslow thickness 2.00 mm (here at least 2.00 mm)",
        ),
        ("breslow", THICK.model_copy(update={"detail": "Secret"}), THICK, "Breslow thickness"),
        ("breslow", THICK.model_copy(update={"detail": "Secret"}), IMPORTED, ""),
        (
            "breslow",
            SynopticAnswer(value=1.0),
            IMPORTED,
            "Breslow thickness 2.00 mm, suggested by the case (here 1.00 mm)",
        ),
        ("breslow", SynopticAnswer(value=1.0, suggested_by="model"), THICK, ""),
        ("breslow", THICK, SynopticAnswer(value=1.0, suggested_by="model"), ""),
        ("breslow", None, THICK, ""),
        ("comment", SynopticAnswer(value="Secret"), SynopticAnswer(value="Other"), "Comment"),
    ],
)
def test_reports_are_compared_by_what_both_answer(
    name: str, slide: SynopticAnswer | None, case: SynopticAnswer, expected: str
) -> None:
    of_slide, in_case = (SynopticReport(answers={} if one is None else {name: one}) for one in (slide, case))
    assert compare_reports(of_slide, in_case) == expected
    part = SlidePart(None, None, SlideDepthReadings(), of_slide)
    own = in_case.set_answer("procedure", SynopticAnswer(value="punch"), "A", WHEN)
    status = summarize_lesion(
        CaseLesion(id="L1", synoptic=own), {"Image 3": part}, {}, "", ReportRecords(True, RunContext())
    )[1]
    assert ("Two answers: " in status) == (bool(expected) and name != "comment")


def test_photographs_are_read_only_for_a_signature_and_once_for_each_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, hashed = tmp_path / "a.jpg", list[Path]()
    file.write_bytes(b"photograph")
    case = add_images(add_lesion(Case()), [CaseImage(id="", path=file, modality="dermoscopic")], "L1")
    monkeypatch.setattr(lesion_content, "hash_file", lambda path: hashed.append(path) or hash_file(path))

    def read(*, identifies_files: bool) -> lesion_content.LesionContent:
        return read_lesion_content(case, case.lesions[0], None, lambda image: None, identifies_files=identifies_files)

    signed = REPORT.sign("A", LATER, read(identifies_files=True).list_blocks(REPORT))
    assert read(identifies_files=True).list_changes(signed) == ()
    read(identifies_files=False)
    assert hashed == [file]
    file.write_bytes(b"another one")
    assert len(read(identifies_files=True).list_changes(signed)) == 1
    assert hashed == [file, file]


def test_a_signature_covers_the_file_the_day_and_the_scale_of_a_photograph(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(b"photograph")
    image = CaseImage(id="", path=file, modality="dermoscopic", taken_on="2025-01-01", mpp_x=10, mpp_y=10)
    case = add_images(add_lesion(Case()), [image], "L1")

    def list_changes(case: Case, signed: SynopticReport) -> list[str]:
        content = read_lesion_content(case, case.lesions[0], None, lambda image: None)
        return [str(one).removeprefix("Changed after signature: Image 1, ") for one in content.list_changes(signed)]

    blocks = read_lesion_content(case, case.lesions[0], None, lambda image: None).list_blocks(REPORT)
    signed = REPORT.sign("A", LATER, blocks)
    other = set_image(case, "I1", taken_on="2026-01-01", mpp_x=20.0)
    assert list_changes(case, signed) == []
    assert list_changes(other, signed) == [
        "day: signed: a text; now: another text.",
        "scale: signed: 10 µm per pixel; now: 20 x 10 µm per pixel.",
    ]
    file.write_bytes(b"another photograph")
    assert [one[:13] for one in list_changes(case, signed)] == ["file: signed:"]
    earlier = [
        one.model_copy(update={"blocks": (one.blocks[0].model_copy(update={"blocks": one.blocks[0].blocks[:1]}),)})
        for one in blocks
        if one.key == IMAGES
    ]
    kept = [one for one in blocks if one.key != IMAGES]
    assert list_changes(case, REPORT.sign("A", LATER, (*kept, *earlier))) == [], "it did not record them"
    file.unlink()
    assert list_changes(case, signed) == ["Not verified since the signature: file. It was not found."]
