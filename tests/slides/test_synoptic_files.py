"""The file of a synoptic report: atomic, kept if it is damaged, and described by the published schema."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fake_dicom import write_level
from fake_slides import SIDE, FakeAnalysis
from finding_files import load_synoptic, read_stored_report, save_synoptic, write_depth, write_stored_report
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_melanoma.case.lesion_content import LesionContent
from napari_melanoma.case.model import Case, CaseImage, CaseLesion, add_lesion, set_lesion
from napari_melanoma.case.store import CaseStore
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.depth.findings import FINDINGS_FILE, SlideFindings, read_findings
from napari_melanoma.depth.readings import (
    DepthReading,
    ExcisionMargins,
    MitosisCount,
    SlideDepthReadings,
    list_all_changes,
    restore_values,
    set_values,
)
from napari_melanoma.depth.report_blocks import lesion_block
from napari_melanoma.depth.shown_blocks import group, known
from napari_melanoma.depth.signatures import IN_WORDS, NOT_RECORDED, ONLY_HASH
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport, set_finding
from napari_melanoma.depth.synoptic_fields import FIELDS_BY_NAME
from napari_melanoma.figures.page import Table
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.io.results import read_slide_result
from napari_melanoma.reports.case_report import OUTDATED_COPY, collect_report, summarize_lesion
from napari_melanoma.reports.report_records import ReportRecords
from napari_melanoma.reports.report_sections import SlidePart
from napari_melanoma.reports.slide import NO_NOTES, NO_READING, change_section, list_scale_changes, write_slide_report
from napari_melanoma.reports.slide_export import export_results, read_exported_slide, write_export
from napari_melanoma.slides.counts import CountedPoint, save_counts
from napari_melanoma.slides.lesion_files import read_lesions, save_lesions
from napari_melanoma.slides.lesions import LesionConfig, SlideLesion
from napari_melanoma.slides.notes import NOTES, ScaleChange, SlideMeasurement, SlideNotes, read_notes, write_notes
from napari_melanoma.slides.regions import save_regions
from napari_melanoma.slides.result_folder import open_fingerprint, record_slide, recorded_slide
from napari_melanoma.slides.slide_content import lesions_block, read_slide_content
from napari_melanoma.slides.synoptic_files import read_synoptic, store_findings

READING = DepthReading(
    reader="A",
    when="2026-01-02T09:00:00+00:00",
    line=((60.0, 100.0), (460.0, 100.0)),
    um_per_px=(0.5, 0.5),
    mm=1.34,
    ulcerated=False,
    margins=ExcisionMargins(lateral_mm=2.5),
    mitoses=MitosisCount(
        points=((70.0, 80.0),), areas=(((0.0, 0.0), (0.0, 90.0), (90.0, 90.0)),), counted=1, mm2=0.5, per_mm2=2.0
    ),
)
LESION_OF_CASE = add_lesion(
    Case(),
    site="torso",
    laterality="left",
    diagnosis_detail="nodular melanoma",
    depth_mm=2.2,
    ulceration=True,
    mitoses_per_mm2=4.0,
).lesions[0]


def change_lesion(**values: object) -> CaseLesion:
    """Return the lesion of the case with other values."""
    return set_lesion(Case(lesions=(LESION_OF_CASE,)), LESION_OF_CASE.id, **values).lesions[0]


LATER = "2026-01-03T10:00:00+00:00"
SQUARE = Polygon(((0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (10.0, 0.0)))
SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "synoptic.schema.json"
KEYS = st.sampled_from(
    [
        *(
            "format_version",
            "answers",
            "other_answers",
            "more",
            "signed_by",
            "signed_at",
            "history",
            "derived",
            "newer",
        ),
        *("ulceration", "breslow", "mitotic_rate", "state", "value", "at_least", "detail", "suggested_by", "newer"),
    ]
)
WHEN = "2026-01-02T10:00:00+00:00"
REPORT = (
    SynopticReport()
    .set_answer("breslow", SynopticAnswer(value=1.34), "A", WHEN)
    .set_answer("mitotic_rate", SynopticAnswer(state="not assessed"), "A", WHEN)
    .sign("A", WHEN)
)


def test_report_is_read_as_it_was_saved(tmp_path: Path) -> None:
    assert load_synoptic(tmp_path / "none") is None
    save_synoptic(tmp_path / "section", REPORT)
    assert load_synoptic(tmp_path / "section") == REPORT
    assert [path.name for path in (tmp_path / "section").iterdir()] == [FINDINGS_FILE]
    stored = read_stored_report(tmp_path / "section")
    assert stored["answers"]["mitotic_rate"] == {"state": "not assessed"}
    jsonschema.validate(stored, json.loads(SCHEMA.read_text(encoding="utf-8")))


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """The results of a DICOM slide with a reading, lesions and a signed report."""
    slide = write_level(tmp_path / "archive" / "level0.dcm", SIDE, SIDE, 0.0005)
    folder = tmp_path / "results" / "section"
    analysis = FakeAnalysis(folder, slide, open_fingerprint(slide))
    analysis.spec = analysis.spec.model_copy(update={"size": (SIDE, SIDE)})
    analysis.begins().finishes()
    record_slide(folder, slide, record_name=True)
    edit_result(folder, model={"name": "tiny", "fingerprint": "0123456789"}, tissue_mm2=2.5, mpp=[0.5, 0.5])
    write_depth(folder, SlideDepthReadings(readings=(READING,)))
    report = REPORT.reopen("A", WHEN).drop_findings().complete_from(READING)
    shown = read_slide_content(folder, LESION_OF_CASE).list_blocks(report, "A")
    save_synoptic(folder, report.sign("A", WHEN, shown))
    return folder


def edit_result(folder: Path, **values: object) -> None:
    write_json(folder / "result.json", {**read_slide_result(folder), **values})


def edit_reading(folder: Path, **values: object) -> None:
    write_depth(folder, set_values(read_findings(folder), "A", LATER, **values))


def edit_finding(folder: Path, name: str, answer: SynopticAnswer) -> None:
    write_depth(folder, set_finding(read_findings(folder), name, answer, "A", LATER))


def edit_lesions(folder: Path, change: Callable[[list[SlideLesion]], list[SlideLesion]], high: float = 0.6) -> None:
    save_lesions(folder, change(list(read_lesions(folder))), LesionConfig(high=high, low=0.1))


def edit_slide(folder: Path) -> None:
    """Replace pixels of the slide by others."""
    slide = recorded_slide(folder)
    content = bytearray(slide.read_bytes())
    middle = len(content) // 2
    content[middle - 4096 : middle + 4096] = bytes(value ^ 1 for value in content[middle - 4096 : middle + 4096])
    slide.write_bytes(content)


def edit_mitoses(folder: Path, **values: object) -> None:
    edit_reading(folder, mitoses=READING.mitoses.model_copy(update=values))


def add_region(folder: Path) -> None:
    save_regions(folder, recorded_slide(folder), (Annotation((SQUARE,), "Hot spot", id="r1"),), None)


# What another process changes in the result folder, and what is stated
CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "slide file": (edit_slide, "Slide, slide file: signed: "),
    "scale": (
        lambda folder: write_notes(folder, SlideNotes(pixel_size=PixelSize(1.0, 1.0, "given"))),
        "Slide, scale: signed: 0.5 µm per pixel (file); now: 1 µm per pixel (given).",
    ),
    "height of a pixel": (
        lambda folder: write_notes(folder, SlideNotes(pixel_size=PixelSize(0.50000001, 0.5, "file"))),
        "Slide, scale: signed: 0.5 µm per pixel (file); now: 0.5 µm per pixel (given).",
    ),
    "line": (
        lambda folder: edit_reading(folder, line=((60.0, 100.0), (460.0, 130.0))),
        "Depth reading, line of the thickness: signed: (60.0, 100.0) to (460.0, 100.0); now: (60.0, 100.0) to (460.0, ",
    ),
    "thickness": (
        lambda folder: edit_reading(folder, mm=0.7),
        "Depth reading, Breslow thickness: signed: 1.34 mm, recorded as 1.3 mm; now: 0.70 mm, recorded as 0.7 mm.",
    ),
    "a thickness within the displayed digits": (
        lambda folder: edit_reading(folder, mm=1.3401),
        "Depth reading, Breslow thickness: signed: 1.34 mm; now: 1.3401 mm.",
    ),
    "at least": (
        lambda folder: edit_reading(folder, at_least=True),
        "Depth reading, lower bound: not in the signed report; now: yes.",
    ),
    "state of the thickness": (
        lambda folder: edit_finding(folder, "breslow", SynopticAnswer(state="cannot be determined")),
        "Depth reading, Breslow thickness: signed: 1.34 mm, recorded as 1.3 mm; now: cannot be determined.",
    ),
    "ulceration": (
        lambda folder: edit_finding(folder, "ulceration", SynopticAnswer(state="not assessed")),
        "Depth reading, Ulceration: signed: not identified; now: not assessed.",
    ),
    "Clark level": (
        lambda folder: edit_finding(folder, "clark", SynopticAnswer(value="IV")),
        "Depth reading, Clark level: not in the signed report; now: IV.",
    ),
    "mitotic rate": (
        lambda folder: edit_finding(folder, "mitotic_rate", SynopticAnswer(value=5.0)),
        "Depth reading, Mitotic rate: signed: 2 per mm²; now: 5 per mm².",
    ),
    "number of mitoses": (
        lambda folder: edit_mitoses(folder, counted=9),
        "Depth reading, Mitoses counted: signed: 1; now: 9.",
    ),
    "marks of mitoses": (
        lambda folder: edit_mitoses(folder, points=((70.0, 81.0),)),
        "Depth reading, marks of mitoses: signed: 1 drawn; now: 1 drawn differently.",
    ),
    "area of the mitoses": (
        lambda folder: edit_mitoses(folder, areas=(((0.0, 0.0), (0.0, 90.0), (95.0, 90.0)),)),
        "Depth reading, area of the mitoses: signed: 1 drawn; now: 1 drawn differently.",
    ),
    "entered area": (
        lambda folder: edit_mitoses(folder, mm2=9.0),
        "Depth reading, Area counted for mitoses: signed: 0.5 mm²; now: 9 mm².",
    ),
    "lateral margin": (
        lambda folder: edit_reading(folder, margins=ExcisionMargins(lateral_mm=1.0)),
        "Depth reading, Distance to peripheral margin, invasive melanoma: signed: 2.5 mm; now: 1 mm.",
    ),
    "deep margin": (
        lambda folder: edit_reading(folder, margins=ExcisionMargins(lateral_mm=2.5, deep_mm=3.0)),
        "Depth reading, Distance to deep margin, invasive melanoma: not in the signed report; now: 3 mm.",
    ),
    "notes": (
        lambda folder: edit_reading(folder, notes="Of Ms. Secret"),
        "Depth reading, notes: not in the signed report; now: a text.",
    ),
    "another reader": (
        lambda folder: write_depth(folder, set_values(read_findings(folder), "B. Secret", LATER, mm=3.7)),
        "Reading of another reader, Breslow thickness: not in the signed report; now: 3.70 mm, recorded as 3.7 mm.",
    ),
    "lesions": (
        lambda folder: edit_lesions(folder, lambda lesions: lesions[1:]),
        "Lesions, number: signed: 2; now: 1.",
    ),
    "class of a lesion": (
        lambda folder: edit_lesions(folder, lambda lesions: [replace(lesions[0], label="benign"), *lesions[1:]]),
        "Lesions, lesion 1, Class: signed: malignant; now: benign.",
    ),
    "outline of a lesion": (
        lambda folder: edit_lesions(folder, lambda lesions: [replace(lesions[0], polygons=(SQUARE,)), *lesions[1:]]),
        "Lesions, classes and outlines: signed: drawn; now: drawn differently.",
    ),
    "threshold": (
        lambda folder: edit_lesions(folder, list, high=0.601),
        "Lesions, threshold: signed: 0.6; now: 0.601.",
    ),
    "model": (
        lambda folder: edit_result(folder, model={"name": "tiny", "fingerprint": "0123456780"}),
        'Analysis, model: signed: ["tiny", "0123456789"]; now: ["tiny", "0123456780"].',
    ),
    "probability": (
        lambda folder: edit_result(folder, probability=0.12, scores={}),
        "Analysis, Prediction, probability: signed: 0.210; now: 0.120.",
    ),
    "tissue": (
        lambda folder: edit_result(folder, tissue_mm2=2.5001),
        "Analysis, Tissue: signed: 2.5 mm²; now: 2.5001 mm².",
    ),
    "area of a class": (
        lambda folder: edit_result(folder, areas={"dermis": {"mm2": 0.5, "percent": 20.0}}),
        "Analysis, Areas of classes, dermis, Area, mm²: not in the signed report; now: 0.5.",
    ),
    "scale of the analysis": (
        lambda folder: edit_result(folder, mpp=[0.25, 0.25]),
        "Analysis, scale of the analysis: signed: 0.5 µm per pixel (unknown); now: 0.25 µm per pixel (unknown).",
    ),
    "region": (add_region, "Regions, Hot spot, Count: not in the signed report; now: 1."),
    "measurement": (
        lambda folder: write_notes(folder, SlideNotes(measures=(SlideMeasurement("line", ((0, 0), (0, 100))),))),
        "Measured on the slide, length 1: not in the signed report; now: 0.05 mm.",
    ),
    "mark": (
        lambda folder: save_counts(folder, recorded_slide(folder), (CountedPoint("Mitosis", (9.0, 9.0)),) * 2, None),
        "Measured on the slide, Mitosis in the whole slide: signed: 1, 15.3 per mm²; now: 2, 30.5 per mm².",
    ),
    "risk": (
        lambda folder: write_json(folder / "risk.json", {"probability": 0.3, "model": {"name": "risk"}}),
        "Risk of metastasis, probability: not in the signed report; now: 0.3.",
    ),
}
CASE_CHANGES: dict[str, tuple[dict[str, object], str]] = {
    "thickness": ({"depth_mm": 0.5}, "Depth, entered in the case: signed: 2.20 mm; now: 0.50 mm."),
    "ulceration": ({"ulceration": None}, "Ulceration, entered in the case: signed: yes; now: not in the report."),
    "mitoses": ({"mitoses_per_mm2": 5.0}, "Mitoses, entered in the case: signed: 4 1/mm²; now: 5 1/mm²."),
    "side": ({"laterality": "right"}, "Side: signed: Left; now: Right."),
    "sub-site": ({"sub_site": "chest"}, "Sub-site: not in the signed report; now: Chest."),
    "subtype": ({"diagnosis_detail": ""}, "Subtype: signed: Nodular melanoma; now: not in the report."),
    "diagnosis": ({"diagnosis": "nevus"}, "Diagnosis: not in the signed report; now: Nevus."),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_after_the_signature_is_stated(signed: Path, name: str) -> None:
    change, expected = CHANGES[name]
    report, changes = read_synoptic(signed, LESION_OF_CASE)
    assert changes == (), "nothing has changed yet"
    change(signed)
    stated = read_synoptic(signed, LESION_OF_CASE)[1]
    assert [one for one in stated if one.startswith(f"Changed after signature: {expected}")], stated
    assert "Secret" not in str(stated)
    assert load_synoptic(signed) == report, "what was signed stays"


def test_a_region_is_stated_also_if_counts_or_the_slide_cannot_be_read(signed: Path) -> None:
    add_region(signed)
    stated = "Changed after signature: Regions, Hot spot, Count: not in the signed report; now: 1."
    counts = signed / "counts.geojson"
    counts.write_text("{", encoding="utf-8")
    assert stated in read_synoptic(signed, LESION_OF_CASE)[1]
    counts.unlink()
    slide = recorded_slide(signed)
    slide.rename(slide.with_name("moved.dcm"))
    changes = read_synoptic(signed, LESION_OF_CASE)[1]
    assert stated in changes
    assert not any("Area, mm²" in one for one in changes), "which is unknown without a scale"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["malignant", "benign"], ["2", "1"]),
        (["benign", "benign"], ["2", "0"]),
        (["Tumor", "Tumor"], ["2"]),
        (["Tumor", "benign"], ["2"]),
        ([], ["0"]),
    ],
)
def test_malignant_lesions_are_counted_if_the_model_distinguishes_them(
    signed: Path, labels: list[str], expected: list[str]
) -> None:
    lesions = [replace(read_lesions(signed)[0], label=label, area_mm2=None) for label in labels]
    summary = lesions_block(lesions, {}).find("summary")
    found = (summary.find(key) for key in ("count", "malignant"))
    assert [one.text for one in found if one is not None] == expected


@pytest.mark.parametrize("name", CASE_CHANGES)
def test_a_change_of_the_case_after_the_signature_is_stated(signed: Path, name: str) -> None:
    values, expected = CASE_CHANGES[name]
    stated = f"Changed after signature: Lesion of the case, {expected}"
    changed = change_lesion(**values)
    assert stated in read_synoptic(signed, changed)[1]
    content, other = LesionContent(LESION_OF_CASE), LesionContent(changed)
    report = REPORT.reopen("A", WHEN)
    in_case = report.sign("A", WHEN, content.list_blocks(report))
    assert stated in map(str, other.list_changes(in_case))
    assert content.list_changes(in_case) == ()
    empty = report.sign("A", WHEN, LesionContent(CaseLesion(id="L1")).list_blocks(report))
    added = [*map(str, other.list_changes(empty))]
    assert all("not in the signed report; now: " in one for one in added if one.startswith("Changed"))
    assert sum(one.startswith("Changed") for one in added) == len(lesion_block(changed).blocks)


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/New_York"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another local time."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the system cannot change the time zone of a process")
@pytest.mark.usefixtures("zone")
def test_all_changes_are_one_list_by_time_in_which_the_signature_is_a_line(tmp_path: Path) -> None:
    """Instants are stored in UTC, and printed in local time."""
    at = [f"2026-01-02T10:{minute:02}:00+00:00" for minute in range(8)]
    folder = tmp_path / "section"
    depth = set_values(SlideDepthReadings(), "A", at[0], mm=0.5)
    report = SynopticReport().set_answer("procedure", SynopticAnswer(value="punch"), "A", at[1])
    depth = set_finding(depth, "ulceration", SynopticAnswer(value="not_identified"), "A", at[2])
    report = report.set_answer("procedure", SynopticAnswer(value="excision"), "A", at[3])
    report = report.complete_from(depth.reading_by("A")).sign("A", at[4])
    write_depth(folder, set_values(depth, "A", at[5], mm=0.9))
    save_synoptic(folder, report)
    sizes = PixelSize(0.5266, 0.5266, "file"), PixelSize(1.0, 1.0, "given"), PixelSize(1.0, 1.0, "ruler")
    scales = (ScaleChange(*sizes[:2], "A", at[6]), ScaleChange(*sizes[1:], "B", at[7]))
    write_notes(folder, SlideNotes(pixel_size=sizes[2], scale_changes=scales))
    assert read_notes(folder).scale_changes == scales
    local = [datetime.fromisoformat(one).astimezone().strftime("%Y-%m-%d %H:%M") for one in at]
    expected = [
        (local[0], "Thickness, mm", "–", "0.50"),
        (local[1], "Procedure", "", "punch biopsy"),
        (local[2], "Ulceration", "unknown", "not identified"),
        (local[3], "Procedure", "punch biopsy", "excision"),
        (local[4], "Signature", "–", "A"),
        (local[5], "Thickness, mm", "0.50", "0.90"),
        (local[6], "Scale", "0.5266 µm per pixel (file)", "1 µm per pixel (given)"),
        (local[7], "Scale", "1 µm per pixel (given)", "1 µm per pixel (ruler)"),
    ]
    whole = collect_report([folder], personal=True, run=RunContext()).report
    (rows,) = (
        one.rows for one in find_tables(whole) if one.caption == "Changes of readings, scales and synoptic reports"
    )
    assert [(row[1], *row[3:]) for row in rows] == expected
    anonymous = collect_report([folder], run=RunContext()).report
    (rows,) = (
        one.rows for one in find_tables(anonymous) if one.caption == "Changes of readings, scales and synoptic reports"
    )
    assert [row[1] for row in rows] == [
        "at the start",
        *("1 minute later",),
        *(f"{n} minutes later" for n in range(2, 8)),
    ]
    reading = read_findings(folder).reading_by("A")
    section = change_section(reading, read_synoptic(folder)[0], read_notes(folder))
    assert [(row[0], *row[2:]) for row in section.blocks[0].rows] == expected
    write_export("synoptic", tmp_path / "history.json", replace(read_exported_slide(folder), personal=True))
    exported = json.loads((tmp_path / "history.json").read_text(encoding="utf-8"))
    jsonschema.validate(exported, json.loads(SCHEMA.read_text(encoding="utf-8")))
    fields = ["mm", "procedure", "ulcerated", "procedure", "signature", "mm", "scale", "scale"]
    assert [(one["field"], one["when"]) for one in exported["history"]] == list(zip(fields, at, strict=True))
    last = exported["history"][-1]
    assert (last["reader"], last["before"]["source"], last["after"]["source"]) == ("B", "given", "ruler")


def test_a_scale_that_another_program_has_set_is_a_change_by_an_unknown_person() -> None:
    file, given = PixelSize(0.5, 0.5, "file"), PixelSize(1.0, 1.0, "given")
    recorded = ScaleChange(file, given, "A", WHEN)
    for notes, expected in (
        (SlideNotes(), []),
        (SlideNotes(pixel_size=given, scale_changes=(recorded,)), ["A"]),
        (SlideNotes(scale_changes=(recorded, ScaleChange(given, file, "A", WHEN))), ["A", "A"]),
        (SlideNotes(pixel_size=given), ["unknown"]),
        (SlideNotes(scale_changes=(recorded,)), ["A", "unknown"]),
    ):
        assert [row.reader for row in list_scale_changes(notes)] == expected


def find_tables(block: Any) -> Iterator[Table]:
    """Find the tables of a page."""
    if isinstance(block, Table):
        yield block
    for inner in getattr(block, "blocks", ()):
        yield from find_tables(inner)


def test_a_rotated_view_changes_nothing_and_a_missing_slide_is_stated(signed: Path) -> None:
    write_notes(signed, SlideNotes(angle=90.0))
    report, changes = read_synoptic(signed, LESION_OF_CASE)
    assert changes == ()
    not_verified = "Not verified since the signature: {}. It was not found.".format
    assert read_synoptic(signed)[1] == (not_verified("lesion of the case"),)
    recorded_slide(signed).rename(signed / "moved.dcm")
    names = ("slide file", "scale", "marked mitoses", "measurements and counts")
    assert {*read_synoptic(signed, LESION_OF_CASE)[1]} == {*map(not_verified, names)}
    assert report.reopen("A", WHEN).signed_report == ()


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"answers": {"clark": {"value": "VI"}}}', '{"format_version": 2}', "\udcff"),
        *('{"other_answers": 3}', '{"answers": []}', '{"signed_by": "A"}'),
    ],
)
def test_damaged_file_is_reported_and_kept(text: str, tmp_path: Path) -> None:
    for path in (tmp_path / name for name in ("synoptic.json", FINDINGS_FILE)):  # an earlier version's, and ours
        raw = text if path.name == "synoptic.json" else f'{{"report": {text}}}'
        path.write_bytes(raw.encode("utf-8", "surrogateescape"))
        with pytest.raises(InputError, match="does not contain valid findings of a slide"):
            read_findings(tmp_path)
        slide = tmp_path / "slide.tif"
        slide.write_bytes(b"x")
        with pytest.raises(InputError, match="it is not overwritten"):
            store_findings(tmp_path, slide, SlideFindings(report=REPORT), SlideFindings(), None)
        assert path.read_bytes() == raw.encode("utf-8", "surrogateescape")


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 999)
    | st.floats()
    | st.sampled_from(["present", "I", "not assessed", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=st.dictionaries(KEYS, JSON_VALUES, max_size=6))
def test_any_content_is_read_or_reported_and_saved_unchanged(values: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / FINDINGS_FILE
    path.write_text(json.dumps({"report": values}), encoding="utf-8")
    try:
        found = load_synoptic(tmp_path)
    except InputError:
        return
    assert found is not None
    save_synoptic(tmp_path, found)
    assert load_synoptic(tmp_path) == found


@pytest.mark.parametrize(
    "answers",
    [
        {"clark": {"value": "VI"}},
        {"breslow": {"state": "answered"}},
        {"breslow": {"value": -1}},
        {"ulceration": {"state": "not assessed", "value": "present"}},
        {"procedure": {"state": "not assessed"}},
    ],
)
def test_schema_and_model_reject_the_same(answers: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"answers": answers}, json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_case_keeps_the_report_of_a_lesion(tmp_path: Path) -> None:
    case = set_lesion(add_lesion(Case()), "L1", synoptic=REPORT)
    with CaseStore.create(tmp_path / "case", case):
        pass
    path = tmp_path / "case" / "case.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert stored["lesions"][0]["synoptic"] == REPORT.model_dump(mode="json")
    stored["lesions"][0]["synoptic"]["answers"]["biomarkers"] = {"value": ["newer"]}
    path.write_text(json.dumps(stored), encoding="utf-8")
    with CaseStore.open(tmp_path / "case") as store:
        found = store.case.lesions[0].synoptic
        assert found.answers == REPORT.answers
        store.save(set_lesion(store.case, "L1", laterality="left"))
    kept = json.loads(path.read_text(encoding="utf-8"))["lesions"][0]
    assert kept["laterality"] == "left"
    assert kept["synoptic"]["answers"]["biomarkers"] == {"value": ["newer"]}
    with CaseStore.open(tmp_path / "case") as store:
        assert set_lesion(store.case, "L1", synoptic=None).lesions[0].synoptic is None


def test_signed_answers_that_another_program_has_changed_are_stated(signed: Path) -> None:
    content = read_stored_report(signed)
    content["answers"] |= {
        "ulceration": {"value": "present"},
        "subtype": {"value": "desmoplastic_pure"},
        "comment": {"value": "Deeper levels were cut."},
    }
    del content["answers"]["mitotic_rate"]
    write_stored_report(signed, content)
    start = "Changed after signature: Synoptic report, "
    stated = [one for one in read_synoptic(signed, LESION_OF_CASE)[1] if one.startswith(start)]
    assert {one.removeprefix(start) for one in stated} == {
        "Histologic subtype: not in the signed report; now: desmoplastic melanoma, pure.",
        "Ulceration: signed: not identified; now: present.",
        "Mitotic rate: signed: 2 per mm²; now: not in the report.",
        "Comment: not in the signed report; now: a text.",
        "T category (AJCC 8): signed: pT2a; now: pT2b.",
    }
    assert "Deeper" not in str(stated), "texts may be private"


# As version 0.9 has stored it with the signature of the fixture ``signed``
EARLIER_VALUES = {
    "scale": [0.5, 0.5, "file"],
    "line": [[60.0, 100.0], [460.0, 100.0]],
    "breslow": [1.34, False],
    "ulceration": "not identified",
    "clark": "unknown",
    "mitoses": {"counted": 1, "per_mm2": 2.0},
    "mitosis_marks": [[70.0, 80.0]],
    "mitosis_areas": [0.5, [[[0.0, 0.0], [0.0, 90.0], [90.0, 90.0]]]],
    "lateral_margin": 2.5,
    "deep_margin": "not measured",
    "lesions": {"count": 2, "malignant": 2, "mm2": 0.00435},
    "outlines": "fb00f57d",
    "threshold": 0.6,
    "model": ["tiny", "0123456789"],
    "probability": 0.21,
    "tissue": {"": 2.5},
    "analysis_scale": [0.5, 0.5, "unknown"],
    "case_breslow": 2.2,
    "case_ulceration": "present",
    "case_mitoses": 4.0,
    "case_site": ["left", "torso", ""],
    "case_diagnosis": ["nodular melanoma"],
    "answers": {
        "breslow": {"state": "answered", "value": 1.34},
        "ulceration": {"state": "answered", "value": "not_identified"},
        "mitotic_rate": {"state": "answered", "value": 2.0},
        "mitoses_counted": {"state": "answered", "value": 1.0},
        "mitoses_area": {"state": "answered", "value": 0.5},
        "peripheral_distance_invasive": {"state": "answered", "value": 2.5},
    },
}
NOT_IN_EARLIER = {"notes", "another reader", "class of a lesion", "region", "measurement", "mark", "risk"}


@pytest.fixture
def earlier(signed: Path) -> Path:
    """The same report, as an earlier version has signed it."""
    content = read_stored_report(signed)
    content.pop("signed_report")
    content["signed_values"] = EARLIER_VALUES | {"slide_file": open_fingerprint(recorded_slide(signed))}
    write_stored_report(signed, content)
    return signed


def test_a_signature_of_an_earlier_version_states_what_is_compared(earlier: Path) -> None:
    (only,) = read_synoptic(earlier, LESION_OF_CASE)[1]
    assert only.startswith("Signed with an earlier version: only slide file, scale, line of the thickness, Breslow ")
    assert only.endswith("diagnosis in the case, answers are compared.")
    content = read_stored_report(earlier)
    write_stored_report(earlier, content | {"signed_values": {"breslow": [0.9, False], "biomarkers": [1]}})
    assert read_synoptic(earlier)[1] == (
        "Changed after signature: depth reading, Breslow thickness: signed: 0.9 mm; now: 1.34 mm, recorded as 1.3 mm.",
        "Signed with an earlier version: only Breslow thickness is compared.",
    )
    write_stored_report(earlier, content | {"signed_values": {"breslow": "thick"}})
    assert "Breslow thickness: signed: thick; now: 1.34 mm" in read_synoptic(earlier)[1][0]
    write_stored_report(earlier, content | {"signed_values": {"answers": "7478ab12"}})
    assert read_synoptic(earlier)[1][0] == ONLY_HASH
    write_stored_report(earlier, content | {"signed_values": {}})
    assert read_synoptic(earlier)[1] == (NOT_RECORDED,)
    words = {"Breslow thickness": "1.34 mm", "ulceration": "not identified", "mitoses": "not assessed"}
    write_stored_report(earlier, content | {"signed_values": words})
    assert read_synoptic(earlier)[1] == (IN_WORDS,)


@pytest.mark.parametrize("state", ["not assessed", "cannot be determined"])
def test_an_earlier_signature_of_findings_without_a_value_is_read(earlier: Path, state: str) -> None:
    names = ("breslow", "ulceration", "clark", "mitotic_rate", "mitoses_counted", "mitoses_area")
    depth = read_findings(earlier)
    for name in names:
        depth = set_finding(depth, name, SynopticAnswer(state=state), "A", WHEN)
    write_depth(earlier, depth)
    stated = {key: {"state": state} for key in names}
    values = {"breslow": [None, False, state], "ulceration": state, "clark": state, "answers": stated}
    values |= {"mitosis_areas": [None, EARLIER_VALUES["mitosis_areas"][1]]}
    states = {"state": state, "count_state": state, "area_state": state}
    values |= {"mitoses": {"counted": None, "per_mm2": None, **states}}
    edit_earlier(earlier, values, stated)
    (only,) = read_synoptic(earlier, LESION_OF_CASE)[1]
    assert only.startswith("Signed with an earlier version: only ")
    edit_mitoses(earlier, mm2=9.0)
    assert (
        f"Changed after signature: depth reading, Area counted for mitoses: signed: {state}; now: 9 mm²."
        in read_synoptic(earlier, LESION_OF_CASE)[1]
    )


def edit_earlier(folder: Path, values: dict[str, Any], answers: dict[str, Any]) -> None:
    """Set values of the signature and answers of the report."""
    content = read_stored_report(folder)
    content["signed_values"] |= values
    content["answers"] = answers
    write_stored_report(folder, content)


@pytest.mark.parametrize(
    ("signed_as", "now", "expected"),
    [
        ({"at_least": True}, {}, "at least: signed: yes; now: not in the report."),
        ({}, {"at_least": True}, "at least: not in the signed report; now: yes."),
        ({"detail": "Of Ms. Secret"}, {}, "detail: signed: a text; now: not in the report."),
        ({"detail": "Of Ms. Secret"}, {"detail": "Mr. Secret"}, "detail: signed: a text; now: another text."),
    ],
)
def test_what_was_stated_with_an_answer_of_an_earlier_signature_is_compared(
    earlier: Path, signed_as: dict[str, Any], now: dict[str, Any], expected: str
) -> None:
    answers = EARLIER_VALUES["answers"]
    own = {"breslow": answers["breslow"] | signed_as}
    edit_earlier(earlier, {"answers": answers | own}, answers | {"breslow": answers["breslow"] | now})
    stated = read_synoptic(earlier, LESION_OF_CASE)[1]
    assert f"Changed after signature: synoptic report, Breslow thickness, {expected}" in stated
    assert "Secret" not in str(stated)


def test_findings_that_were_added_to_the_case_after_an_earlier_signature_are_no_change(earlier: Path) -> None:
    values = {"case_breslow": "not measured", "case_ulceration": "unknown", "case_mitoses": "unknown"}
    edit_earlier(earlier, values, EARLIER_VALUES["answers"])
    (only,) = read_synoptic(earlier, change_lesion(depth_mm=1.34, ulceration=False, mitoses_per_mm2=2.0))[1]
    assert only.startswith("Signed with an earlier version: only ")
    stated = read_synoptic(earlier, change_lesion(depth_mm=2.2, ulceration=False, mitoses_per_mm2=2.0))[1]
    assert len(stated) == 2
    assert stated[0].endswith("Breslow thickness: not in the signed report; now: 2.20 mm.")


def test_an_earlier_signature_of_a_slide_is_compared_with_its_lesion(earlier: Path) -> None:
    report = load_synoptic(earlier)
    (only,) = LesionContent(LESION_OF_CASE).list_changes(report)
    names = ("Breslow thickness", "ulceration", "mitoses", "site", "diagnosis")
    listed = ", ".join(f"{name} in the case" for name in names)
    assert only == f"Signed with an earlier version: only {listed}, answers are compared."
    stated = LesionContent(change_lesion(laterality="right")).list_changes(report)
    assert tuple(map(str, stated)) == (
        "Changed after signature: lesion of the case, Laterality: signed: left; now: Right.",
        only,
    )


@pytest.mark.parametrize("name", sorted(CHANGES.keys() - NOT_IN_EARLIER))
def test_a_change_after_an_earlier_signature_is_stated(earlier: Path, name: str) -> None:
    CHANGES[name][0](earlier)
    assert any(one.startswith("Changed after signature: ") for one in read_synoptic(earlier, LESION_OF_CASE)[1])


@pytest.mark.parametrize("name", sorted(CASE_CHANGES.keys() - {"diagnosis"}))
def test_a_change_of_the_case_after_an_earlier_signature_is_stated(earlier: Path, name: str) -> None:
    changed = change_lesion(**CASE_CHANGES[name][0])
    (stated, _) = read_synoptic(earlier, changed)[1]
    assert stated.startswith("Changed after signature: lesion of the case, ")


def test_changes_by_another_program_that_left_no_record_are_in_the_history(tmp_path: Path) -> None:
    folder, subtype = tmp_path / "section", FIELDS_BY_NAME["subtype"]
    depth = set_values(SlideDepthReadings(), "A", WHEN, mm=0.5, line=READING.line)
    depth = set_values(depth, "A", WHEN, clark=2)
    depth = restore_values(depth, set_values(depth, "A", LATER, mitoses=READING.mitoses), "A", LATER)
    reading = depth.reading_by("A")
    assert list_all_changes(reading) == reading.history
    write_depth(folder, depth)
    report = SynopticReport().set_answer("subtype", SynopticAnswer(value="nodular"), "A", WHEN)
    save_synoptic(folder, report)
    content = json.loads((folder / FINDINGS_FILE).read_text(encoding="utf-8"))
    content["readings"][0]["clark"] = 3
    content["report"]["answers"]["subtype"]["value"] = "desmoplastic_pure"
    write_json(folder / FINDINGS_FILE, content)

    # It stays in the history when the report is signed, and when the reader changes the value again.
    for later in (read_findings(folder), set_values(read_findings(folder), "A", LATER, clark=4)):
        signed = load_synoptic(folder).complete_from(later.reading_by("A")).sign("A", LATER)
        rows = change_section(later.reading_by("A"), signed, SlideNotes()).blocks[0].rows
        expected = [
            ("unknown", "unknown", "Clark level", "II", "III"),
            ("unknown", "unknown", subtype.label, "nodular melanoma", "desmoplastic melanoma, pure"),
        ]
        assert [row for row in rows if row[1] == "unknown"] == expected
    part = collect_report([folder], run=RunContext()).report
    (table,) = (one for one in find_tables(part) if "Changes of readings" in one.caption)
    assert {tuple(row[2:]) for row in table.rows if row[1] == "unknown"} == {row[1:] for row in expected}


def test_a_damaged_report_is_stated_in_every_output(signed: Path, tmp_path: Path) -> None:
    (signed / FINDINGS_FILE).write_text("{", encoding="utf-8")
    written = export_results([signed], tmp_path / "out", ["depth", "report", "dicom-sr"], run=RunContext())
    assert all("findings.json does not contain valid findings" in one.error for one in written)
    page = collect_report([signed], run=RunContext()).report
    assert "its findings are damaged, and are not shown" in str(page)


def test_a_damaged_scale_is_stated_in_every_output(signed: Path, tmp_path: Path) -> None:
    """As the scale of the file may be another one, and measurements are missing."""
    (signed / NOTES).write_text("{", encoding="utf-8")
    written = export_results([signed], tmp_path / "out", ["counts", "dicom-sr"], run=RunContext())
    assert [one for one in written if "view.json" not in one.error] == []
    page = collect_report([signed], run=RunContext()).report
    assert NO_NOTES in str(page)
    assert NO_READING not in str(page)


def test_changes_of_the_case_are_exported_with_its_slide(signed: Path, tmp_path: Path) -> None:
    changed = change_lesion(depth_mm=0.5)
    exported = replace(read_exported_slide(signed), lesion=changed)
    stated = "Depth, entered in the case: signed: 2.20 mm; now: 0.50 mm."
    for kind in ("synoptic", "depth", "dicom-sr"):
        path = tmp_path / kind
        write_export(kind, path, exported)
        assert stated.encode() in path.read_bytes(), kind


def test_the_summary_of_a_case_uses_the_latest_signature() -> None:
    def create(mm: float, when: str) -> SynopticReport:
        report = SynopticReport()
        for name, value in {"extent": "invasive", "breslow": mm, "ulceration": "not_identified"}.items():
            report = report.set_answer(name, SynopticAnswer(value=value), "A", when)
        return report.sign("A", when)

    copy, later = create(0.5, WHEN), create(2.5, LATER)
    lesion = CaseLesion(id="L1", synoptic=copy)
    part = SlidePart(None, None, SlideDepthReadings(), later)
    values, status = summarize_lesion(
        lesion, {"Slide": part}, {}, "", ReportRecords(personal=False, run=RunContext(), readers={"A": "A"})
    )
    assert values["T category (AJCC 8)"].startswith("pT3a")
    assert OUTDATED_COPY in status
    _, status = summarize_lesion(
        lesion,
        {"Slide": replace(part, synoptic=None)},
        {},
        "",
        ReportRecords(personal=False, run=RunContext(), readers={"A": "A"}),
    )
    assert OUTDATED_COPY not in status


def test_the_summary_of_a_case_keeps_the_report_that_was_added_from_one_of_two_slides() -> None:
    def create(mm: float, when: str, file: str) -> SynopticReport:
        report = SynopticReport()
        for name, value in {"extent": "invasive", "breslow": mm, "ulceration": "not_identified"}.items():
            report = report.set_answer(name, SynopticAnswer(value=value), "A", when)
        return report.sign("A", when, (group("slide", "Slide", (known("file", "slide file", file),)),))

    def summarize(first: SynopticReport) -> tuple[str, str]:
        other = SlidePart(None, None, SlideDepthReadings(), create(0.4, LATER, "second"))
        parts = {"Image 1": SlidePart(None, None, SlideDepthReadings(), first), "Image 2": other}
        records = ReportRecords(personal=False, run=RunContext(), readers={"A": "A"})
        values, status = summarize_lesion(CaseLesion(id="L1", synoptic=copy), parts, {}, "", records)
        return values["T category (AJCC 8)"], status

    copy = create(2.5, WHEN, "first")
    category, status = summarize(copy)
    assert category.startswith("pT3a")
    assert OUTDATED_COPY not in status
    assert "0.40 mm, recorded as 0.4 mm in that of image 2." in status
    category, status = summarize(create(1.5, LATER, "first"))
    assert category.startswith("pT2a")
    assert OUTDATED_COPY in status


OTHER_READING = READING.model_copy(update={"reader": "B", "when": LATER, "mm": 3.7, "ulcerated": True, "clark": 4})


@pytest.fixture
def draft(signed: Path) -> Path:
    """The draft of reader A, who has measured 1.34 mm; later, reader B has measured 3.7 mm."""
    report = SynopticReport().set_answer("extent", SynopticAnswer(value="invasive"), "A", WHEN)
    save_synoptic(signed, report)
    write_depth(signed, SlideDepthReadings(readings=(READING, OTHER_READING)))
    return signed


def test_a_draft_has_no_finding_of_another_reader_in_any_output(draft: Path, tmp_path: Path) -> None:
    report, _ = read_synoptic(draft)
    assert report is not None
    assert (report.value("breslow"), report.value("ulceration"), report.answer("clark")) == (
        1.34,
        "not_identified",
        None,
    )
    exported = read_exported_slide(draft)
    for kind in ("synoptic", "synoptic.csv", "fhir"):
        write_export(kind, tmp_path / kind, exported)
        text = (tmp_path / kind).read_text(encoding="utf-8")
        assert ("1.3" in text, "3.7" in text) == (True, False), kind
    part = SlidePart.from_folder(draft)
    image = SlidePart.from_image(CaseImage(id="I1", path=recorded_slide(draft) or draft), [draft])
    for one in (part, image):
        assert one.synoptic is not None
        assert one.synoptic.value("breslow") == 1.34


def test_two_spellings_of_a_reader_in_one_file_are_one_reading_in_reports(tmp_path: Path) -> None:
    """As earlier versions stored them."""
    first = DepthReading(reader="anna berg", when="2024-01-02T10:00:00+00:00", mm=0.9)
    second = DepthReading(reader="Anna Berg", when="2025-01-02T10:00:00+00:00", mm=1.5)
    for number, both in enumerate(((first, second), (second, first))):
        (tmp_path / str(number)).mkdir()
        write_depth(tmp_path / str(number), SlideDepthReadings(readings=both))
        part = SlidePart.from_folder(tmp_path / str(number))
        assert [one.mm for one in part.depth.readings] == [1.5]


def test_a_draft_of_a_reader_without_a_reading_has_no_findings_of_others(draft: Path) -> None:
    write_depth(draft, SlideDepthReadings(readings=(OTHER_READING,)))
    report, _ = read_synoptic(draft)
    assert report is not None
    assert set(report.answers) == {"extent"}


def test_a_reader_exports_the_own_findings_with_the_draft(draft: Path) -> None:
    report, _ = read_synoptic(draft, reader="B")
    assert report is not None
    assert report.value("breslow") == 3.7


def test_findings_of_a_draft_without_other_answers_have_their_reader(draft: Path) -> None:
    for report, expected in (
        (SynopticReport(reader="A"), 1.34),
        (SynopticReport(reader="B"), 3.7),
        (SynopticReport(), None),
    ):
        save_synoptic(draft, report)
        found, _ = read_synoptic(draft)
        assert found is not None
        assert found.value("breslow") == expected


def test_a_signature_without_its_date_is_stated_in_every_export(signed: Path, tmp_path: Path) -> None:
    exported = read_exported_slide(signed)
    for kind in ("synoptic", "synoptic.csv", "fhir"):
        write_export(kind, tmp_path / kind, exported)
        text = (tmp_path / kind).read_text(encoding="utf-8").lower()
        assert "signed; name and date left out: they are personal data" in text, kind
        assert "2026-01" not in text, kind


def test_the_depth_report_states_changes_of_the_case_as_the_report_of_the_case_does(
    signed: Path, tmp_path: Path
) -> None:
    changed = change_lesion(depth_mm=3.1)
    expected = "Changed after signature: Lesion of the case, Depth, entered in the case: signed: 2.20 mm; now: 3.10 mm."
    image = CaseImage(id="I1", path=recorded_slide(signed) or signed)
    assert SlidePart.from_image(image, [signed], changed).changes == (expected,)
    write_export("report", tmp_path / "report.html", replace(read_exported_slide(signed), lesion=changed))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert expected in text
    assert expected not in write_slide_report(tmp_path / "other.html", signed, lesion=LESION_OF_CASE).read_text("utf-8")


def test_the_summary_names_what_case_and_slide_answer_differently() -> None:
    def create(regression: str) -> SynopticReport:
        return SynopticReport().set_answer("regression", SynopticAnswer(value=regression), "A", WHEN)

    part = SlidePart(None, None, SlideDepthReadings(), create("below_75"))
    for regression, expected in (
        (
            "not_identified",
            "regression: not identified in the report of the case, present, below 75 % in that of image 3",
        ),
        ("below_75", ""),
    ):
        lesion = CaseLesion(id="L1", synoptic=create(regression))
        _, status = summarize_lesion(lesion, {"Image 3": part}, {}, "", ReportRecords(True, RunContext()))
        assert ("Two answers: " in status) == bool(expected)
        assert expected in status.lower()
