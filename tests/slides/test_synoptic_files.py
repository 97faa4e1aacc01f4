"""The file of a synoptic report: atomic, kept if it is damaged, and described by the published schema."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import jsonschema
import pydicom
import pytest
from fake_dicom import write_level
from fake_slides import SIDE, FakeAnalysis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_melanoma.case.model import Case, CaseImage, CaseLesion, add_lesion, set_lesion
from napari_melanoma.case.store import CaseStore
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.depth.readings import (
    DepthReading,
    ExcisionMargins,
    MitosisCount,
    SlideDepthReadings,
    list_all_changes,
    restore_values,
    set_values,
    write_depth,
)
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport, set_finding
from napari_melanoma.depth.synoptic_fields import FIELDS_BY_NAME
from napari_melanoma.figures.page import Table
from napari_melanoma.io.results import read_slide_result
from napari_melanoma.reports.case_report import OUTDATED_COPY, collect_report, summarize_lesion
from napari_melanoma.reports.collector import Collector
from napari_melanoma.reports.report_sections import SlidePart
from napari_melanoma.reports.slide import change_section, list_scale_changes, write_slide_report
from napari_melanoma.reports.slide_export import export_results, read_exported_slide, write_export
from napari_melanoma.slides.lesion_files import read_lesions, save_lesions
from napari_melanoma.slides.lesions import LesionConfig, SlideLesion
from napari_melanoma.slides.notes import ScaleChange, SlideNotes, read_notes, write_notes
from napari_melanoma.slides.result_folder import open_fingerprint, record_slide, recorded_slide
from napari_melanoma.slides.synoptic_files import (
    BASIS,
    DAMAGED,
    NOT_RECORDED,
    SYNOPTIC_FILE,
    SignatureBasis,
    lesion_basis,
    list_changes_since_signature,
    load_synoptic,
    read_depth,
    read_signature_basis,
    read_synoptic,
    save_synoptic,
)

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
    assert [path.name for path in (tmp_path / "section").iterdir()] == [SYNOPTIC_FILE]
    stored = json.loads((tmp_path / "section" / SYNOPTIC_FILE).read_text(encoding="utf-8"))
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
    values = read_signature_basis(folder, read_depth(folder), "A", LESION_OF_CASE).values()
    save_synoptic(folder, REPORT.reopen("A", WHEN).without_findings().with_findings(READING).sign("A", WHEN, values))
    return folder


def edit_result(folder: Path, **values: object) -> None:
    write_json(folder / "result.json", {**read_slide_result(folder), **values})


def edit_reading(folder: Path, **values: object) -> None:
    write_depth(folder, set_values(read_depth(folder), "A", LATER, **values))


def edit_finding(folder: Path, name: str, answer: SynopticAnswer) -> None:
    write_depth(folder, set_finding(read_depth(folder), name, answer, "A", LATER))


def edit_lesions(folder: Path, change: Callable[[list[SlideLesion]], list[SlideLesion]], high: float = 0.6) -> None:
    save_lesions(folder, change(list(read_lesions(folder))), LesionConfig(high=high, low=0.1))


def edit_slide(folder: Path) -> None:
    """Replace pixels of the slide by others."""
    slide = recorded_slide(folder)
    content = bytearray(slide.read_bytes())
    middle = len(content) // 2
    content[middle - 4096 : middle + 4096] = bytes(value ^ 1 for value in content[middle - 4096 : middle + 4096])
    slide.write_bytes(content)


# What another process changes in the result folder, by entry of the table.
CHANGES: dict[str, Callable[[Path], None]] = {
    "slide_file": edit_slide,
    "scale": lambda folder: write_notes(folder, SlideNotes(pixel_size=PixelSize(1.0, 1.0, "given"))),
    "line": lambda folder: edit_reading(folder, line=((60.0, 100.0), (460.0, 130.0))),
    "breslow": lambda folder: edit_reading(folder, mm=0.7),
    "ulceration": lambda folder: edit_finding(folder, "ulceration", SynopticAnswer(state="not assessed")),
    "clark": lambda folder: edit_finding(folder, "clark", SynopticAnswer(state="cannot be determined")),
    "mitoses": lambda folder: edit_finding(folder, "mitotic_rate", SynopticAnswer(value=5.0)),
    "mitosis_marks": lambda folder: edit_reading(
        folder, mitoses=READING.mitoses.model_copy(update={"points": ((70.0, 81.0),)})
    ),
    "mitosis_areas": lambda folder: edit_reading(
        folder, mitoses=READING.mitoses.model_copy(update={"areas": (((0.0, 0.0), (0.0, 90.0), (95.0, 90.0)),)})
    ),
    "lateral_margin": lambda folder: edit_reading(folder, margins=ExcisionMargins(lateral_mm=1.0)),
    "deep_margin": lambda folder: edit_reading(folder, margins=ExcisionMargins(lateral_mm=2.5, deep_mm=3.0)),
    "lesions": lambda folder: edit_lesions(folder, lambda lesions: lesions[1:]),
    "outlines": lambda folder: edit_lesions(
        folder, lambda lesions: [replace(lesions[0], polygons=(SQUARE,)), *lesions[1:]]
    ),
    "threshold": lambda folder: edit_lesions(folder, list, high=0.3),
    "model": lambda folder: edit_result(folder, model={"name": "other", "fingerprint": "0123456789"}),
    "probability": lambda folder: edit_result(folder, probability=0.12, scores={}),
    "tissue": lambda folder: edit_result(folder, tissue_mm2=3.5),
    "analysis_scale": lambda folder: edit_result(folder, mpp=[0.25, 0.25]),
}
CASE_CHANGES: dict[str, dict[str, object]] = {
    "case_breslow": {"depth_mm": 0.5},
    "case_ulceration": {"ulceration": None},
    "case_mitoses": {"mitoses_per_mm2": 5.0},
    "case_site": {"laterality": "right"},
    "case_diagnosis": {"diagnosis_detail": ""},
}


def test_every_entry_is_changed_by_a_test() -> None:
    assert {*CHANGES, *CASE_CHANGES} == {*BASIS}


def change_entry(folder: Path, name: str) -> str:
    """Change an entry; the text that states it."""
    before = BASIS[name].format(load_synoptic(folder).signed_values[name])
    CHANGES[name](folder)
    after = BASIS[name].format(read_signature_basis(folder, read_depth(folder), "A").values()[name])
    assert before != after
    return f"Changed after signature: {BASIS[name].label}: {before} when signed, now {after}."


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_after_the_signature_is_stated(signed: Path, name: str) -> None:
    report, changes = read_synoptic(signed)
    assert changes == (), "nothing has changed yet"
    expected = change_entry(signed, name)
    assert expected in read_synoptic(signed)[1]
    assert load_synoptic(signed) == report, "what was signed stays"


def test_changes_after_the_signature_are_in_every_output(signed: Path, tmp_path: Path) -> None:
    for name in CHANGES:
        change_entry(signed, name)
    stated = read_synoptic(signed)[1]
    assert len(stated) == len(CHANGES) - 3  # later changes of margins and mitoses replace earlier ones
    files = {"synoptic": "synoptic.json", "synoptic.csv": "synoptic.csv", "fhir": "synoptic.fhir.json"}
    written = export_results([signed], tmp_path / "out", [*files, "depth", "report", "dicom-sr"], run=RunContext())
    assert not [one.error for one in written if one.error]
    out = tmp_path / "out" / "section"
    outputs = {file: (out / file).read_text(encoding="utf-8") for file in (*files.values(), "report.html")}
    with (out / "readings.csv").open(encoding="utf-8", newline="") as table:
        outputs["readings.csv"] = next(csv.DictReader(table))["changed_after_signature"]
    texts = [one.value for one in pydicom.dcmread(out / "measurements.dcm").iterall() if one.keyword == "TextValue"]
    outputs["measurements.dcm"] = "\n".join(texts)
    outputs["report of a case"] = str(collect_report([signed], run=RunContext()).report)
    for expected in stated:
        for name, text in outputs.items():
            assert (escape(expected) if name == "report.html" else expected) in text, name


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["malignant", "benign"], "2, 1 malignant"),
        (["benign", "benign"], "2, 0 malignant"),
        (["Tumor", "Tumor"], "2"),
        (["Tumor", "benign"], "2"),
        ([], "0"),
    ],
)
def test_malignant_lesions_are_counted_if_the_model_distinguishes_them(
    signed: Path, labels: list[str], expected: str
) -> None:
    lesions = [replace(read_lesions(signed)[0], label=label, area_mm2=None) for label in labels]
    values = SignatureBasis(lesions=lesions).values()
    assert BASIS["lesions"].format(values["lesions"]) == expected


@pytest.mark.parametrize("name", CASE_CHANGES)
def test_a_change_of_the_case_after_the_signature_is_stated(signed: Path, name: str) -> None:
    assert read_synoptic(signed, LESION_OF_CASE)[1] == ()
    changed = change_lesion(**CASE_CHANGES[name])
    (change,) = read_synoptic(signed, changed)[1]
    assert change.startswith(f"Changed after signature: {BASIS[name].label}: ")
    in_case = REPORT.reopen("A", WHEN).sign("A", WHEN, lesion_basis(LESION_OF_CASE).values())
    assert list_changes_since_signature(in_case, lesion_basis(changed)) == (change,)
    assert list_changes_since_signature(in_case, lesion_basis(LESION_OF_CASE)) == ()
    empty = REPORT.reopen("A", WHEN).sign("A", WHEN, lesion_basis(CaseLesion(id="L1")).values())
    assert list_changes_since_signature(empty, lesion_basis(changed)) == (), "findings were added to the case later"


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
    report = report.with_findings(depth.reading_by("A")).sign("A", at[4], {"breslow": [0.5, False]})
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
    reading = read_depth(folder).reading_by("A")
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


def test_a_rotated_view_changes_nothing_and_missing_or_unrecorded_values_are_stated(signed: Path) -> None:
    write_notes(signed, SlideNotes(angle=90.0))
    report, changes = read_synoptic(signed)
    assert changes == ()
    recorded_slide(signed).rename(signed / "moved.dcm")
    assert {text.split(":")[1].strip() for text in read_synoptic(signed)[1]} == {"slide file", "scale"}
    assert all(text.startswith("Not verified since the signature: ") for text in read_synoptic(signed)[1])

    basis = read_signature_basis(signed, read_depth(signed), "A")
    unsigned = report.reopen("A", WHEN)
    assert list_changes_since_signature(unsigned, basis) == ()
    assert list_changes_since_signature(unsigned.sign("A", WHEN), basis) == (NOT_RECORDED,)
    stated = list_changes_since_signature(unsigned.sign("A", WHEN, {"breslow": [0.9, False]}), basis)
    assert stated[0] == "Changed after signature: Breslow thickness: 0.90 mm when signed, now 1.34 mm."
    newer = {**report.signed_values, "breslow": "thick", "biomarkers": [1]}
    (other,) = list_changes_since_signature(
        unsigned.sign("A", WHEN, newer), replace(basis, left_out=frozenset({"slide_file", "scale"}))
    )
    assert other == 'Changed after signature: Breslow thickness: "thick" when signed, now 1.34 mm.'
    assert stated[1].startswith("Not recorded when signed, so that changes are unknown: slide file, scale, ")
    assert len(stated) == 2


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"answers": {"clark": {"value": "VI"}}}', '{"format_version": 2}', "\udcff"),
        *('{"other_answers": 3}', '{"answers": []}', '{"signed_by": "A"}'),
    ],
)
def test_damaged_file_is_reported_and_kept(text: str, tmp_path: Path) -> None:
    raw = text.encode("utf-8", "surrogateescape")
    (tmp_path / SYNOPTIC_FILE).write_bytes(raw)
    with pytest.raises(InputError, match="does not contain a valid synoptic report"):
        load_synoptic(tmp_path)
    with pytest.raises(InputError, match="it is not overwritten"):
        save_synoptic(tmp_path, REPORT)
    assert (tmp_path / SYNOPTIC_FILE).read_bytes() == raw


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
    path = tmp_path / SYNOPTIC_FILE
    path.write_text(json.dumps(values), encoding="utf-8")
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


def edit_mitoses(folder: Path, **values: object) -> None:
    edit_reading(folder, mitoses=READING.mitoses.model_copy(update=values))


# Changes of each field of the entries: name of the change, and the entry that states it
FIELD_CHANGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "height of a pixel": (
        "scale",
        lambda folder: write_notes(folder, SlideNotes(pixel_size=PixelSize(0.50000001, 0.5, "DICOM"))),
    ),
    "a thickness within the displayed digits": ("breslow", lambda folder: edit_reading(folder, mm=1.3401)),
    "at least": ("breslow", lambda folder: edit_reading(folder, at_least=True)),
    "state of the thickness": (
        "breslow",
        lambda folder: edit_finding(folder, "breslow", SynopticAnswer(state="cannot be determined")),
    ),
    "number of mitoses": ("mitoses", lambda folder: edit_mitoses(folder, counted=9)),
    "rate of mitoses": ("mitoses", lambda folder: edit_mitoses(folder, per_mm2=2.01)),
    "state of the rate": (
        "mitoses",
        lambda folder: edit_finding(folder, "mitotic_rate", SynopticAnswer(state="not assessed")),
    ),
    "state of the number": (
        "mitoses",
        lambda folder: edit_finding(folder, "mitoses_counted", SynopticAnswer(state="not assessed")),
    ),
    "area of the mitoses": ("mitosis_areas", lambda folder: edit_mitoses(folder, mm2=9.0)),
    "state of the lateral margin": (
        "lateral_margin",
        lambda folder: edit_finding(folder, "peripheral_distance_invasive", SynopticAnswer(state="not assessed")),
    ),
    "state of the deep margin": (
        "deep_margin",
        lambda folder: edit_finding(folder, "deep_distance_invasive", SynopticAnswer(state="not assessed")),
    ),
    "class of a lesion": (
        "outlines",
        lambda folder: edit_lesions(folder, lambda lesions: [replace(lesions[0], label="benign"), *lesions[1:]]),
    ),
    "threshold": ("threshold", lambda folder: edit_lesions(folder, list, high=0.601)),
    "fingerprint of the model": (
        "model",
        lambda folder: edit_result(folder, model={"name": "tiny", "fingerprint": "0123456780"}),
    ),
    "probability": ("probability", lambda folder: edit_result(folder, probability=0.9001, scores={})),
    "tissue": ("tissue", lambda folder: edit_result(folder, tissue_mm2=2.5001)),
    "area of a class": ("tissue", lambda folder: edit_result(folder, areas={"dermis": {"mm2": 0.5}})),
    "source of the analyzed scale": ("analysis_scale", lambda folder: edit_result(folder, mpp_source="given")),
}


@pytest.mark.parametrize("name", FIELD_CHANGES)
def test_a_change_of_each_field_is_stated_with_two_different_texts(signed: Path, name: str) -> None:
    entry, change = FIELD_CHANGES[name]
    assert read_synoptic(signed)[1] == ()
    change(signed)
    start = f"Changed after signature: {BASIS[entry].label}: "
    (stated,) = (text for text in read_synoptic(signed)[1] if text.startswith(start))
    before, after = stated.removeprefix(start).removesuffix(".").split(" when signed, now ")
    assert before != after


def test_what_was_unknown_when_signed_and_appears_later_is_stated(signed: Path) -> None:
    empty = SignatureBasis(reading=READING, left_out=frozenset({"slide_file"}))
    report = REPORT.reopen("A", WHEN).sign("A", WHEN, empty.values())
    assert list_changes_since_signature(report, empty) == ()
    later = read_signature_basis(signed, read_depth(signed), "A")
    stated = list_changes_since_signature(report, replace(later, left_out=frozenset({"slide_file"})))
    for entry in ("scale", "lesions", "outlines", "threshold", "model", "probability", "tissue", "analysis_scale"):
        start = f"Changed after signature: {BASIS[entry].label}: unknown when signed, now "
        assert any(text.startswith(start) for text in stated), entry


def test_signed_answers_that_another_program_has_changed_are_stated(signed: Path) -> None:
    path = signed / SYNOPTIC_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    content["answers"] |= {
        "ulceration": {"value": "present"},
        "subtype": {"value": "desmoplastic_pure"},
        "comment": {"value": "Deeper levels were cut."},
    }
    del content["answers"]["mitotic_rate"]
    write_json(path, content)
    stated = [one.removeprefix("Changed after signature: ") for one in read_synoptic(signed)[1]]
    assert stated == [
        "Histologic subtype (answer): not filled in when signed, now desmoplastic melanoma, pure.",
        "Ulceration (answer): not identified when signed, now present.",
        "Mitotic rate (answer): 2 per mm² when signed, now not filled in.",
        "Comment (answer): not filled in when signed, now text.",
    ]
    assert "Deeper" not in str(stated), "texts may be private"

    content["signed_values"]["answers"] = "7478ab12"  # a hash, by an earlier version
    write_json(path, content)
    (stated,) = read_synoptic(signed)[1]
    assert stated == "Changed after signature: answers: which ones is unknown, as only a hash was recorded when signed."


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
    for name, key, value in (("depth.json", "clark", 3), (SYNOPTIC_FILE, "value", "desmoplastic_pure")):
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        (content["readings"][0] if "readings" in content else content["answers"]["subtype"])[key] = value
        write_json(folder / name, content)

    # It stays in the history when the report is signed, and when the reader changes the value again.
    for later in (read_depth(folder), set_values(read_depth(folder), "A", LATER, clark=4)):
        signed = load_synoptic(folder).with_findings(later.reading_by("A")).sign("A", LATER, {})
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
    (signed / SYNOPTIC_FILE).write_text("{", encoding="utf-8")
    written = export_results([signed], tmp_path / "out", ["depth", "report", "dicom-sr"], run=RunContext())
    assert not [one.error for one in written if one.error]
    out = tmp_path / "out" / "section"
    with (out / "readings.csv").open(encoding="utf-8", newline="") as table:
        assert next(csv.DictReader(table))["changed_after_signature"] == DAMAGED
    assert escape(DAMAGED) in (out / "report.html").read_text(encoding="utf-8")
    texts = [one.value for one in pydicom.dcmread(out / "measurements.dcm").iterall() if one.keyword == "TextValue"]
    assert DAMAGED in texts


def test_changes_of_the_case_are_exported_with_its_slide(signed: Path, tmp_path: Path) -> None:
    changed = change_lesion(depth_mm=0.5)
    exported = replace(read_exported_slide(signed), lesion=changed)
    stated = "Breslow thickness in the case: 2.20 mm when signed, now 0.50 mm."
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
        lesion, {"Slide": part}, {}, "", Collector(personal=False, run=RunContext(), readers={"A": "A"})
    )
    assert values["T category (AJCC 8)"].startswith("pT3a")
    assert OUTDATED_COPY in status
    _, status = summarize_lesion(
        lesion,
        {"Slide": replace(part, synoptic=None)},
        {},
        "",
        Collector(personal=False, run=RunContext(), readers={"A": "A"}),
    )
    assert OUTDATED_COPY not in status


OTHER_READING = READING.model_copy(update={"reader": "B", "when": LATER, "mm": 3.7, "ulcerated": True, "clark": 4})


@pytest.fixture
def draft(signed: Path) -> Path:
    """The draft of reader A, who has measured 1.34 mm; later, reader B has measured 3.7 mm."""
    report = SynopticReport().set_answer("extent", SynopticAnswer(value="invasive"), "A", WHEN)
    write_json(signed / SYNOPTIC_FILE, report.model_dump(mode="json"))
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
    image = SlidePart.from_image(tmp_path, CaseImage(id="I1", path=recorded_slide(draft) or draft), [draft])
    for one in (part, image):
        assert one.synoptic is not None
        assert one.synoptic.value("breslow") == 1.34


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
        write_json(draft / SYNOPTIC_FILE, report.model_dump(mode="json"))
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
    expected = "Changed after signature: Breslow thickness in the case: 2.20 mm when signed, now 3.10 mm."
    image = CaseImage(id="I1", path=recorded_slide(signed) or signed)
    assert SlidePart.from_image(tmp_path, image, [signed], changed).changes == (expected,)
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
        _, status = summarize_lesion(lesion, {"Image 3": part}, {}, "", Collector(True, RunContext()))
        assert ("Two answers: " in status) == bool(expected)
        assert expected in status.lower()
