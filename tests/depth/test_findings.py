"""The findings of a slide in one document: views that agree, merged changes of two windows, and earlier files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import file_stamp
from napari_melanoma.depth.findings import (
    EARLIER_FILES,
    FINDINGS_FILE,
    SlideFindings,
    describe_earlier_files,
    merge_findings,
    read_findings,
    write_findings,
)
from napari_melanoma.depth.readings import FINDINGS, DepthReading, SlideDepthReadings, set_values
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport, find_answer, set_finding
from napari_melanoma.slides.synoptic_files import read_synoptic, store_findings

WHEN, LATER = "2026-01-02T10:00:00+00:00", "2026-01-03T10:00:00+00:00"
PAST = Path(__file__).parents[1] / "relations" / "past" / "2026-11-25.zip"
MEASURED = set_values(SlideFindings(), "A", WHEN, mm=1.2, ulcerated=False)


def answer(findings: SlideFindings, name: str, value: str | float | None, reader: str = "A") -> SlideFindings:
    """Answer a field in the form, as a window does."""
    form = findings.with_report(findings.report or SynopticReport()).view_report(reader)
    edited = form.set_answer(name, None if value is None else SynopticAnswer(value=value), reader, LATER)
    changed = {one: edited.answer(one) for one in FINDINGS if edited.answer(one) != form.answer(one)}
    return findings.edit_form(form, edited).set_answers(changed, reader, LATER, DepthReading()).with_report_of(reader)


def sign(findings: SlideFindings) -> SlideFindings:
    return findings.with_report(findings.view_report("A").sign("A", LATER))


def test_the_form_and_the_reading_show_one_value_after_each_edit() -> None:
    findings = MEASURED
    for edit in (
        lambda one: answer(one, "procedure", "punch"),
        lambda one: answer(one, "breslow", 2.5),
        lambda one: set_finding(one, "clark", SynopticAnswer(value="IV"), "A", LATER),
        lambda one: answer(one, "clark", None),
        lambda one: one.restore(MEASURED, "A", LATER),
        lambda one: answer(one, "mitotic_rate", 3.0),
        sign,
        lambda one: one.reopen("A", LATER),
    ):
        findings = edit(findings)
        reading = findings.reading_by("A")
        assert all(findings.view_report("A").answer(name) == find_answer(reading, name) for name in FINDINGS if reading)
        if not findings.report.is_signed:
            assert findings.report.answers.keys().isdisjoint(FINDINGS), "they are stored once"
    assert (findings.view_report("A").value("breslow"), findings.report.answer("procedure")) == (1.2, None)
    assert findings.view_report("B").value("breslow") is None, "those of another reader are not shown"


def test_changes_of_two_windows_are_both_kept() -> None:
    base = answer(MEASURED, "procedure", "punch")
    here = set_values(base, "A", LATER, clark=4)
    there = answer(set_values(base, "B", LATER, mm=2.0), "procedure", "excision")
    merged, _, is_lossy = merge_findings(here, there, base)
    assert (merged.reading_by("A").clark, merged.reading_by("B").mm, is_lossy) == (4, 2.0, False)
    assert merged.report.value("procedure") == "excision"
    assert merge_findings(base, base, base) == (base, (), False)
    same, _, is_lossy = merge_findings(here, set_values(base, "A", LATER, clark=2), base)
    assert (same.reading_by("A").clark, is_lossy) == (4, True), "the file is backed up"


def test_what_was_signed_in_another_window_is_not_changed() -> None:
    base = MEASURED.with_report(SynopticReport())
    signed = sign(base)
    here = answer(set_values(base, "A", LATER, mm=9.0), "procedure", "punch")
    merged, notes, is_lossy = merge_findings(here, signed, base)
    assert (merged, is_lossy) == (signed, False)
    assert "was signed by A in another window" in notes[0]
    other, _, _ = merge_findings(set_values(base, "B", LATER, mm=2.0), signed, base)
    assert (other.report, other.reading_by("B").mm) == (signed.report, 2.0)
    reopened = signed.reopen("A", LATER)
    assert merge_findings(reopened, signed, signed)[0] == reopened
    with pytest.raises(InputError, match="signed by A"):
        answer(signed, "procedure", "punch")


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The result folder of an earlier version, with a signed report."""
    with zipfile.ZipFile(PAST) as archive:
        archive.extractall(tmp_path, [f"results/slide_0001/{name}" for name in EARLIER_FILES])
    return tmp_path / "results" / "slide_0001"


def read_texts(folder: Path, *names: str) -> set[str]:
    return {path.read_text(encoding="utf-8") for name in names for path in folder.glob(name)}


def test_files_of_an_earlier_version_show_the_same_and_are_renamed(earlier: Path) -> None:
    findings, shown, texts = read_findings(earlier), read_synoptic(earlier), read_texts(earlier, "*.json")
    assert findings.report.is_signed
    assert len(findings.readings) == 2
    slide = earlier / "slide.tif"
    slide.write_bytes(b"slide")
    findings, notes = store_findings(earlier, slide, findings, findings, None)
    assert (notes, describe_earlier_files(earlier)) == ((), ())
    assert not [name for name in EARLIER_FILES if (earlier / name).exists()]
    assert read_texts(earlier, "depth-*.json", "synoptic-*.json") == texts
    assert (read_findings(earlier), read_synoptic(earlier)) == (findings, shown)


def test_what_an_earlier_version_stores_later_is_stated_and_kept(earlier: Path) -> None:
    slide, texts = earlier / "slide.tif", read_texts(earlier, *EARLIER_FILES)
    slide.write_bytes(b"slide")
    write_findings(earlier, MEASURED)
    for name, text in zip(EARLIER_FILES, sorted(texts), strict=True):
        (earlier / name).write_text(text, encoding="utf-8")  # the earlier version was opened again, and has signed
    (note,) = describe_earlier_files(earlier)
    assert "depth.json, synoptic.json of an earlier version of the program: not read" in note
    changed = set_values(MEASURED, "B", LATER, mm=2.0)
    saved, notes = store_findings(earlier, slide, changed, MEASURED, file_stamp(earlier / FINDINGS_FILE))
    assert (saved.readings, len(notes)) == (changed.readings, 1)
    assert "backed up: depth.json as depth-2" in notes[0]
    assert read_texts(earlier, "depth-*.json", "synoptic-*.json") == texts
    assert describe_earlier_files(earlier) == ()


def test_a_change_of_an_earlier_version_that_is_left_out_is_backed_up(earlier: Path) -> None:
    (earlier / "synoptic.json").unlink()
    slide, base = earlier / "slide.tif", read_findings(earlier)
    slide.write_bytes(b"slide")
    reader = base.readings[0].reader
    other = set_values(base, reader, LATER, mm=3.3).readings
    text = SlideDepthReadings(readings=other).model_dump_json()
    (earlier / "depth.json").write_text(text, encoding="utf-8")
    saved, notes = store_findings(earlier, slide, set_values(base, reader, LATER, mm=1.5), base, None)
    assert saved.reading_by(reader).mm == 1.5
    assert "backed up: depth.json as depth-2" in notes[0]
    assert read_texts(earlier, "depth-*.json") == {text}
