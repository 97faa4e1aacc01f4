"""A signature stores what the report showed: whatever differs later is stated in every output."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pydicom
import pytest
from fake_case import PREDICTION as PREDICTED
from fake_dicom import write_level
from fake_slides import SIDE, FakeAnalysis
from finding_files import load_synoptic, save_synoptic, write_depth

from napari_melanoma.case.lesion_content import LesionContent, read_lesion_content
from napari_melanoma.case.model import (
    Case,
    CaseImage,
    CaseLesion,
    CaseResult,
    add_images,
    add_lesion,
    add_result,
    set_lesion,
    set_patient,
)
from napari_melanoma.case.results import CaseLesionPrediction, CasePredictions, compute_input_digest, save_predictions
from napari_melanoma.case.store import CaseStore
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.depth.readings import FINDINGS, DepthReading, SlideDepthReadings, set_values
from napari_melanoma.depth.report_blocks import GROUPS, IMAGES, LESION, PATIENT, PREDICTION, READING, SYNOPTIC
from napari_melanoma.depth.shown_blocks import (
    NOT_VERIFIED,
    BlockChange,
    KeyPath,
    ShownBlock,
    compare_blocks,
    iterate_values,
)
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport, set_finding
from napari_melanoma.depth.synoptic_fields import FIELDS, SynopticField
from napari_melanoma.figures.page import Bar, Section, Table, render_report
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.io.results import read_slide_result
from napari_melanoma.reports.case_report import collect_report
from napari_melanoma.reports.slide_export import export_results, read_exported_slide, write_export
from napari_melanoma.slides.counts import CountedPoint, save_counts
from napari_melanoma.slides.notes import SlideMeasurement, SlideNotes, write_notes
from napari_melanoma.slides.regions import save_regions
from napari_melanoma.slides.result_folder import open_fingerprint, record_slide
from napari_melanoma.slides.slide_content import SlideContent, read_slide_content
from napari_melanoma.slides.synoptic_files import read_synoptic

WHEN, LATER = "2026-01-02T10:00:00+00:00", "2026-01-03T10:00:00+00:00"
SQUARE = Polygon(((100.0, 100.0), (100.0, 300.0), (300.0, 300.0), (300.0, 100.0)))
MARKS = ((150.0, 150.0), (200.0, 200.0))
POINTS = (*(CountedPoint("Mitosis", at) for at in MARKS), CountedPoint("Cell", (9.0, 9.0)))
RISK = {
    "probability": 0.42,
    "interval": [0.3, 0.5],
    "verdict": "risk of metastasis 0.42",
    "number": "risk of metastasis 0.42",
    "positive": "metastasis",
    "model": {"name": "risk", "title": "Risk", "fingerprint": "0123456789abcdef"},
    "depth": {"mm": 1.34, "source": "reader", "reader": "A"},
    "depth_text": "depth 1.34 mm, measured by A",
    "patches": [{"what": "lesion", "probability": 0.4, "depth_mm": 1.2, "box": None}],
    "shares": {"image": 0.1, "depth": -0.05},
    "without": 0.37,
    "comparators": {"thickness": {"title": "Thickness alone", "probability": 0.33}},
    "known": {"age": "64", "sex": "male"},
    "missing": ["ulceration"],
    "options": {"patch_mm": 3.0},
    "warnings": [],
    "provenance": {},
}
CANDIDATE = {"surface": [60, 100], "deepest": [400, 100], "mm": 0.9, "interval_mm": [0.7, 1.1], "at_least": False}


def answer(field: SynopticField) -> SynopticAnswer:
    """Return an answer with all that an answer can have."""
    value: str | float = "a text" if field.kind == "text" else 1.0
    if field.kind == "choice":
        value = next(iter(field.choices))
    return SynopticAnswer(value=value, detail="a note", at_least=field.name == "breslow")


def fill_in(report: SynopticReport, depth: SlideDepthReadings) -> tuple[SynopticReport, SlideDepthReadings]:
    """Answer all fields of a report, whose findings are in the reading of A."""
    for field in FIELDS:
        report = report.set_answer(field.name, answer(field), "A", WHEN)
        depth = set_finding(depth, field.name, answer(field), "A", WHEN) if field.name in FINDINGS else depth
    return report, depth


AREA = ((100.0, 100.0), (100.0, 300.0), (300.0, 300.0))


def create_lesion(**values: object) -> CaseLesion:
    """Return a lesion of a case with all values."""
    columns = {
        "site": "head/neck",
        "sub_site": "scalp",
        "laterality": "left",
        "diagnosis": "melanoma",
        "diagnosis_detail": "nodular melanoma",
        "diagnosis_by": "histopathology",
        "itch": True,
        "hurt": False,
        "bleed": True,
        "elevation": False,
        "diameter_1_mm": 8.0,
        "diameter_2_mm": 5.0,
        "depth_mm": 2.2,
        "ulceration": False,
        "mitoses_per_mm2": 4.0,
        "clark": 4,
        "metastasis": False,
    }
    return add_lesion(Case(), **(columns | values)).lesions[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The results of a slide on which everything is known that a report shows, with a report that is signed."""
    slide = write_level(tmp_path / "archive" / "level0.dcm", SIDE, SIDE, 0.0005)
    folder = tmp_path / "results" / "section"
    analysis = FakeAnalysis(folder, slide, open_fingerprint(slide))
    analysis.spec = analysis.spec.model_copy(update={"size": (SIDE, SIDE)})
    analysis.begins().finishes()
    record_slide(folder, slide, record_name=True)
    entries = {"model": {"name": "tiny", "fingerprint": "0123456789"}, "tissue_mm2": 2.5, "mpp": [0.5, 0.5]}
    entries |= {"areas": {"dermis": {"mm2": 0.5, "percent": 20.0}}, "breslow_mm": 0.9, "t_category": "T1b"}
    reason = {"code": "coverage", "severity": "caution", "text": "the prediction set may be too small"}
    entries |= {"validity": {"reasons": [reason]}}
    entries |= {"depth": {"candidates": [CANDIDATE], "notes": [], "ulceration": False, "clark_estimate": 3}}
    write_json(folder / "result.json", {**read_slide_result(folder), **entries})
    depth = set_values(
        SlideDepthReadings(),
        "A",
        WHEN,
        line=((60.0, 100.0), (460.0, 100.0)),
        mm=0.2,
        um_per_px=(0.5, 0.5),
        interval_mm=(0.1, 0.3),
        notes="a text",
        mitoses={"points": [(150.0, 150.0), (200.0, 250.0)], "areas": [AREA]},
    )
    report, depth = fill_in(SynopticReport(), depth)
    depth = set_values(depth, "B", WHEN, mm=3.7, ulcerated=True, clark=4)
    write_depth(folder, depth)
    save_regions(folder, slide, (Annotation((SQUARE,), "Hot spot", id="r1"),), None)
    save_counts(folder, slide, POINTS, None)
    write_notes(folder, SlideNotes(measures=(SlideMeasurement("line", ((0.0, 0.0), (0.0, 100.0))),)))
    write_json(folder / "risk.json", RISK)
    report = report.complete_from(depth.reading_by("A"))
    save_synoptic(folder, report.sign("A", WHEN, read_slide_content(folder, create_lesion()).list_blocks(report, "A")))
    return folder


def alter(value: Any) -> Any:
    """Return another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, float | int):
        return value + 1
    if isinstance(value, str):
        return f"{value} before"
    if isinstance(value, dict):
        return {key: alter(one) for key, one in value.items()}
    return [alter(one) for one in value] if isinstance(value, list) else "known before"


def alter_block(block: ShownBlock, *, is_removed: bool = False) -> ShownBlock:
    """Return a tree in which each value is another one, or is missing."""
    blocks = tuple(alter_block(one, is_removed=is_removed) for one in block.blocks)
    update: dict[str, Any] = {"blocks": blocks}
    if block.value is not None:
        update |= {"value": None} if is_removed else {"value": alter(block.value), "text": f"{block.text} before"}
    return block.model_copy(update=update)


def expected_changes(signed: Sequence[ShownBlock], now: Sequence[ShownBlock]) -> dict[KeyPath, str]:
    """Return what is stated of each value of a tree that has another value, or none, when it was signed."""
    before = {path: block for path, _, block in iterate_values(signed)}
    return {
        path: str(BlockChange(path, ", ".join(labels), before.get(path), block))
        for path, labels, block in iterate_values(now)
    }


def read_outputs(folder: Path, lesion: CaseLesion | None, out: Path) -> dict[str, str]:
    """Return the text of each output of a slide that states its report."""
    exported = replace(read_exported_slide(folder), lesion=lesion)
    texts = {}
    for kind in ("synoptic", "synoptic.csv", "fhir", "depth", "report", "dicom-sr"):
        path = out / f"file-{kind}"
        path.parent.mkdir(exist_ok=True)
        write_export(kind, path, exported)
        if kind == "dicom-sr":
            found = (one.value for one in pydicom.dcmread(path).iterall() if one.keyword == "TextValue")
            texts[kind] = "\n".join(map(str, found))
        elif kind in ("depth", "synoptic.csv"):
            with path.open(encoding="utf-8", newline="") as table:
                texts[kind] = "\n".join(cell for row in csv.reader(table) for cell in row)
        elif kind == "report":
            texts[kind] = unescape(path.read_text(encoding="utf-8"))
        else:
            texts[kind] = "\n".join(iterate_texts(json.loads(path.read_text(encoding="utf-8"))))
    texts["form"] = "\n".join(read_synoptic(folder, lesion)[1])
    return texts


def iterate_texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for one in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from iterate_texts(one)


def test_a_full_report_has_a_value_in_each_group(folder: Path) -> None:
    signed = load_synoptic(folder).signed_report
    assert {one.key for one in signed} == GROUPS.keys() - {PATIENT, PREDICTION, IMAGES}
    assert {one.key for one in next(one for one in signed if one.key == SYNOPTIC).blocks} == {
        *(field.name for field in FIELDS),
        "t_category",
    }
    assert read_synoptic(folder, create_lesion())[1] == ()


@pytest.mark.parametrize("is_removed", [False, True], ids=["another value", "not there"])
@pytest.mark.slow
def test_each_value_that_differs_from_the_signed_report_is_stated_in_every_output(
    folder: Path, tmp_path: Path, *, is_removed: bool
) -> None:
    """The values are found by walking the tree, so that a new one is tested."""
    report = load_synoptic(folder)
    signed = tuple(alter_block(one, is_removed=is_removed) for one in report.signed_report)
    save_synoptic(folder, report.model_copy(update={"signed_report": signed}))
    expected = expected_changes(signed, report.signed_report)
    assert len(expected) > 100
    for name, text in read_outputs(folder, create_lesion(), tmp_path / "out").items():
        assert [path for path, stated in expected.items() if stated not in text] == [], name


def test_a_value_that_was_signed_and_is_not_shown_any_more_is_stated(folder: Path, tmp_path: Path) -> None:
    report = load_synoptic(folder)
    gone = ShownBlock(key="gone", label="Gone", value=3.0, text="3 mm")
    signed = tuple(one.with_blocks(gone) for one in report.signed_report)
    save_synoptic(folder, report.model_copy(update={"signed_report": signed}))
    expected = [str(change) for change in compare_blocks(signed, report.signed_report)]
    assert len(expected) == len(signed)
    for name, text in read_outputs(folder, create_lesion(), tmp_path / "out").items():
        assert [stated for stated in expected if stated not in text] == [], name


def test_another_wording_is_no_change(folder: Path) -> None:
    def reword(block: ShownBlock) -> ShownBlock:
        blocks = tuple(map(reword, block.blocks))
        return block.model_copy(update={"label": f"{block.label}!", "text": f"{block.text}!", "blocks": blocks})

    report = load_synoptic(folder)
    save_synoptic(folder, report.model_copy(update={"signed_report": tuple(map(reword, report.signed_report))}))
    assert read_synoptic(folder, create_lesion())[1] == ()


def test_the_page_of_a_slide_shows_nothing_that_is_not_signed(folder: Path) -> None:
    """Tables of changes, and what is computed from several readings, are left out."""
    report = collect_report([folder], personal=True, run=RunContext()).report
    signed = list(iterate_blocks(load_synoptic(folder).signed_report))
    texts, numbers = {one.text for one in signed}, set(iterate_numbers([one.value for one in signed]))
    tables = [one for one in find_tables(report.blocks) if one.caption in SIGNED_TABLES]
    assert {one.caption for one in tables} == SIGNED_TABLES
    for table in tables:
        for label, *cells in table.rows:
            for cell in cells:
                is_signed = round(cell.value, 9) in numbers if isinstance(cell, Bar) else is_known(cell, texts)
                assert is_signed, (table.caption, label, cell)


SIGNED_TABLES = {
    *("Analysis", "Areas of classes", "Lesions", "Regions", "Lengths, areas and angles", "Counts"),
    *("Probability of metastasis by method", "Contributions"),
}


def iterate_blocks(blocks: Sequence[ShownBlock]) -> Iterator[ShownBlock]:
    for block in blocks:
        yield block
        yield from iterate_blocks(block.blocks)


def is_known(cell: str, texts: set[str]) -> bool:
    return cell in texts or any(cell and cell.split(" (")[0] in text for text in texts) or cell in ("Mitosis", "Cell")


def iterate_numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float | int):
        yield round(float(value), 9)
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from iterate_numbers(one)


def find_tables(blocks: Sequence[Any]) -> Iterator[Table]:
    for block in blocks:
        if isinstance(block, Table):
            yield block
        elif isinstance(block, Section):
            yield from find_tables(block.blocks)


UNSIGNED = {"reader", "when", "authors", "history", "remarks"}  # who and when


@pytest.mark.parametrize("name", sorted(DepthReading.model_fields.keys() - UNSIGNED))
def test_each_field_of_a_reading_is_signed(folder: Path, name: str) -> None:
    content = read_slide_content(folder)
    reading = content.depth.reading_by("A")
    others: dict[str, Any] = {
        "method": "corrected",
        "line": ((60.0, 100.0), (470.0, 100.0)),
        "um_per_px": (0.6, 0.5),
        "mm": 1.5,
        "interval_mm": (0.1, 0.4),
        "at_least": not reading.at_least,
        "ulcerated": not reading.ulcerated,
        "clark": 5,
        "margins": reading.margins.model_copy(update={"deep_mm": 9.0}),
        "mitoses": reading.mitoses.model_copy(update={"per_mm2": 9.0}),
        "notes": "another text",
    }
    changed = reading.model_copy(update={name: others[name], "um_per_px": others.get(name) or reading.um_per_px})
    if name != "um_per_px":
        changed = reading.model_copy(update={name: others[name]})
    depth = SlideDepthReadings(readings=(changed,))
    report = load_synoptic(folder)
    before, after = (
        [one for one in found.list_blocks(report, "A") if one.key == READING]
        for found in (content, replace(content, depth=depth))
    )
    assert compare_blocks(before, after)


@pytest.mark.parametrize("name", [field.name for field in SlideContent.__dataclass_fields__.values()])
def test_each_part_of_the_content_of_a_slide_is_signed(folder: Path, name: str) -> None:
    content = read_slide_content(folder, create_lesion())
    if name in ("unread", "shape"):
        return
    empty = getattr(SlideContent(), name)
    report = load_synoptic(folder)
    before, after = (found.list_blocks(report, "A") for found in (content, replace(content, **{name: empty})))
    assert compare_blocks(before, after)


@pytest.fixture
def case(folder: Path, tmp_path: Path) -> Iterator[CaseStore]:
    """A case with a lesion of which everything is known that a report shows, with a report that is signed."""
    case = set_patient(Case(), patient_id="P-1", age=64.0, sex="male", fitzpatrick=2, ethnicity="known")
    case = set_patient(case, personal_history=True, family_history=False)
    case = replace_lesions(case, create_lesion())
    photograph, slide = CaseImage(id="", path=tmp_path / "p.png", modality="dermoscopic"), tmp_path / "archive"
    photograph.path.write_bytes(b"no photograph")
    case = add_images(case, [photograph, CaseImage(id="", path=slide / "level0.dcm", modality="wsi")], "L1")
    store = CaseStore.create(tmp_path / "case", case)
    results = store.folder / "results" / "I1"
    write_json(results / "result.json", {"measurements": {"area_mm2": 12.5, "area_px": 900.0}, "lesions_found": 1})
    case = add_result(case, "I1", CaseResult(path=results))
    digest = compute_input_digest(case, case.lesions[0], PREDICTED.used_columns)
    found = CaseLesionPrediction("L1", ("I1",), PREDICTED, None, digest)
    save_predictions(store, CasePredictions((found,), (), WHEN))
    report = SynopticReport().prefill(None, None)
    for field in FIELDS:
        report = report.set_answer(field.name, answer(field), "A", WHEN)
    case = set_lesion(case, "L1", synoptic=report)
    content = read_lesion_content(case, case.lesions[0], store.folder, lambda image: folder)
    case = set_lesion(case, "L1", synoptic=report.sign("A", WHEN, content.list_blocks(report)))
    store.save(case)
    yield store
    store.close()


def replace_lesions(case: Case, lesion: CaseLesion) -> Case:
    return case.model_copy(update={"lesions": (lesion,), "lesions_numbered": 1})


def test_each_value_that_differs_from_the_signed_report_of_a_lesion_is_stated_in_every_output(
    case: CaseStore, folder: Path, tmp_path: Path
) -> None:
    lesion = case.case.lesions[0]
    assert {one.key for one in lesion.report.signed_report} == {LESION, SYNOPTIC, PATIENT, PREDICTION, IMAGES}
    content = read_lesion_content(case.case, lesion, case.folder, lambda image: folder)
    assert content.list_changes(lesion.report) == ()
    signed = tuple(map(alter_block, lesion.report.signed_report))
    report = lesion.report.model_copy(update={"signed_report": signed})
    case.save(set_lesion(case.case, "L1", synoptic=report))
    expected = expected_changes(signed, content.list_blocks(report))
    assert len(expected) > 100
    texts = {"form": "\n".join(map(str, content.list_changes(report)))}
    texts["page"] = unescape(render_report(collect_report([case.folder, folder], run=RunContext()).report))
    for name, text in texts.items():
        assert [path for path, stated in expected.items() if stated not in text] == [], name
    written = export_results([case.folder], tmp_path / "out", ["synoptic", "synoptic.csv", "fhir"], run=RunContext())
    assert not [one.error for one in written if one.error]
    own = [stated for path, stated in expected.items() if path[0] in (LESION, SYNOPTIC, PATIENT)]
    for one in written:
        text = one.path.read_text(encoding="utf-8").replace('\\"', '"').replace('""', '"')
        assert [stated for stated in own if stated not in text] == [], one.format


def test_no_change_states_an_age_that_few_people_reach_or_a_text_of_a_user(case: CaseStore, folder: Path) -> None:
    write_json(folder / "risk.json", RISK | {"known": {"age": "97"}})
    lesion = case.case.lesions[0]
    changed = set_patient(case.case, age=97.0, patient_id="Smith")
    changed = set_lesion(changed, "L1", synoptic=set_comment(lesion.report, "About Smith"))
    content = read_lesion_content(changed, changed.lesions[0], case.folder, lambda image: folder)
    stated = "\n".join(map(str, content.list_changes(changed.lesions[0].report)))
    assert "Patient, Age: signed: a text; now: another text." in stated
    assert "Comment: signed: a text; now: another text." in stated
    assert "Smith" not in stated
    assert "97" not in stated


def set_comment(report: SynopticReport, text: str) -> SynopticReport:
    """Replace the comment of a signed report, as another program may do."""
    comment = report.answers["comment"].model_copy(update={"value": text, "detail": text})
    return report.model_copy(update={"answers": {**report.answers, "comment": comment}})


def test_a_report_that_was_signed_with_a_slide_is_compared_with_its_lesion(folder: Path) -> None:
    report = load_synoptic(folder)
    assert LesionContent(create_lesion()).list_changes(report) == (NOT_VERIFIED.format("slide"),)
    lesion = create_lesion(laterality="right", site="lower extremity", sub_site="", diagnosis="nevus")
    stated = [*map(str, LesionContent(lesion).list_changes(report))]
    assert "Changed after signature: Lesion of the case, Side: signed: Left; now: Right." in stated
    assert any(one.startswith("Contradiction since the signature: Site: ") for one in stated)
    assert any(one.startswith("Contradiction since the signature: Diagnosis: Nevus") for one in stated)


def test_a_report_that_was_signed_with_a_slide_states_its_changes_with_the_lesion(folder: Path, tmp_path: Path) -> None:
    """After it was added to the case, in the form of the lesion, the page and exports of the case."""
    slide = tmp_path / "archive" / "level0.dcm"
    case = add_images(replace_lesions(Case(), create_lesion()), [CaseImage(id="", path=slide, modality="wsi")], "L1")
    case = set_lesion(case, "L1", synoptic=load_synoptic(folder))
    with CaseStore.create(tmp_path / "case", case) as store:
        (lesion,) = store.case.lesions
        before = read_lesion_content(case, lesion, store.folder, lambda image: folder).list_changes(lesion.report)
        assert not any("Regions" in one or "Not verified" in one for one in map(str, before))
        save_regions(folder, slide, (), None)
        stated = "Changed after signature: Regions, Hot spot, Count: signed: 1; now: not in the report."
        content = read_lesion_content(case, lesion, store.folder, lambda image: folder)
        assert stated in map(str, content.list_changes(lesion.report))
        page = unescape(render_report(collect_report([store.folder, folder], run=RunContext()).report))
        assert page.count(stated) > 1  # with the lesion, and with the slide
        (written,) = export_results([store.folder], tmp_path / "out", ["synoptic"], run=RunContext())
        assert NOT_VERIFIED.format("slide") in written.path.read_text(encoding="utf-8")
