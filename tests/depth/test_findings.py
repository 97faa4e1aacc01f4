"""The findings of a slide in one document: views that agree, merged changes of two windows, and earlier files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.depth.findings import (
    EARLIER_FILES,
    FINDINGS_FILE,
    SlideFindings,
    merge_findings,
    read_findings,
    write_findings,
)
from napari_melanoma.depth.readings import FINDINGS, DepthReading, set_values
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport, find_answer, set_finding
from napari_melanoma.slides.synoptic_files import read_synoptic

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


def test_files_of_an_earlier_version_show_the_same_and_are_replaced(tmp_path: Path) -> None:
    with zipfile.ZipFile(PAST) as archive:
        archive.extractall(tmp_path, [f"results/slide_0001/{name}" for name in EARLIER_FILES])
    folder = tmp_path / "results" / "slide_0001"
    findings, shown = read_findings(folder), read_synoptic(folder)
    assert findings.report.is_signed
    assert len(findings.readings) == 2
    write_findings(folder, findings)
    assert [path.name for path in folder.iterdir()] == [FINDINGS_FILE]
    assert (read_findings(folder), read_synoptic(folder)) == (findings, shown)
