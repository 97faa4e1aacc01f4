"""How far the slides of a folder are, in words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fake_slides import FakeAnalysis, draw_slide
from finding_files import save_synoptic

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.depth.findings import FINDINGS_FILE
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.slides import result_folder, slide_table
from napari_melanoma.slides.notes import SlideNotes, write_notes
from napari_melanoma.slides.reading.detection import find_slides
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.result_folder import record_slide
from napari_melanoma.slides.slide_content import read_slide_content
from napari_melanoma.slides.slide_table import WorkItem, WorkItemReader


def analysis(slide: Path, out: Path) -> FakeAnalysis:
    with open_slide(slide) as opened:
        return FakeAnalysis(out / slide.stem, slide, opened.info.fingerprint)


def list_work_items(folder: Path, out: Path) -> tuple[WorkItem, ...]:
    return tuple(WorkItemReader(out).read(find_slides([folder]), RunContext()).values())


def test_states_of_slides(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    slides = [draw_slide(tmp_path / "in" / f"s{n}.tif", tint=n) for n in range(1, 7)]
    out = tmp_path / "out"
    analysis(slides[0], out).begins().works(112)
    analysis(slides[1], out).begins().finishes()
    failed = analysis(slides[2], out).begins()
    failed.place.append_event("failed", type="InputError", message="the file is truncated")
    analysis(slides[3], out).begins().works(56).dies()
    cancelled = analysis(slides[4], out).begins().works(56)
    cancelled.place.append_event("cancelled")
    cancelled.dies()
    found = list_work_items(tmp_path / "in", out)
    assert [item.slide.name for item in found] == [f"s{n}.tif" for n in range(1, 7)]
    assert [(item.state, item.description) for item in found] == [
        ("running", "running 50 %"),
        ("done", "done with tiny"),
        ("failed", "failed: the file is truncated"),
        ("stopped", "stopped 25 %"),
        ("stopped", "stopped 25 %"),
        ("waiting", "waiting"),
    ]


def test_a_slide_of_the_same_name_is_another_one(tmp_path: Path) -> None:
    for name, tint in (("a", 0), ("b", 9)):
        (tmp_path / "in" / name).mkdir(parents=True)
        draw_slide(tmp_path / "in" / name / "s.tif", tint=tint)
    analysis(tmp_path / "in" / "b" / "s.tif", tmp_path / "out").begins().finishes()
    found = list_work_items(tmp_path / "in", tmp_path / "out")
    assert {item.slide.parent.name: item.state for item in found} == {"a": "waiting", "b": "done"}


def test_reading_states_can_be_cancelled(tmp_path: Path) -> None:
    draw_slide(tmp_path / "s.tif")
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        WorkItemReader(tmp_path / "out").read(find_slides([tmp_path]), run)


WHEN = "2026-01-01T10:00:00+00:00"
DRAFT = SynopticReport().set_answer("procedure", SynopticAnswer(value="punch"), "B", WHEN)


def test_a_signed_report_is_the_state_of_its_slide_unless_it_is_analyzed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    slides = [draw_slide(tmp_path / f"s{n}.tif", tint=n) for n in range(5)]
    analysis(slides[0], out).begins().finishes()
    analysis(slides[1], out).begins().works(112)
    for slide, report in zip(slides, [DRAFT.sign("B", WHEN)] * 3 + [DRAFT, DRAFT], strict=True):
        (out / slide.stem).mkdir(parents=True, exist_ok=True)
        record_slide(out / slide.stem, slide)
        save_synoptic(out / slide.stem, report)
    (out / "s4" / FINDINGS_FILE).write_text("{ damaged")
    found = WorkItemReader(out).read(slides, RunContext())
    assert [(item.state, item.description) for item in found.values()] == [
        ("signed", "signed by B"),
        ("running", "running 50 %"),
        ("signed", "signed by B"),
        ("waiting", "waiting"),
        ("failed", found[slides[4]].description),
    ]
    damaged = f"results cannot be read: {out / 's4' / FINDINGS_FILE} does not contain valid findings"
    assert found[slides[4]].description.startswith(damaged)
    shown = read_slide_content(out / "s0", slide=slides[0]).list_blocks(DRAFT, "B")
    save_synoptic(out / "s0", DRAFT.sign("B", WHEN, shown))
    (item,) = WorkItemReader(out).read(slides[:1], RunContext()).values()
    assert item.description == "signed by B"
    write_notes(out / "s0", SlideNotes(pixel_size=PixelSize(1.0, 1.0)))
    (item,) = WorkItemReader(out).read(slides[:1], RunContext()).values()
    assert (item.state, item.description) == ("signed", "signed by B, changed after signature")


def test_only_slides_with_results_are_read_and_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    slides = [draw_slide(tmp_path / f"s{n}.tif", tint=n) for n in range(3)]
    analysis(slides[1], out).begins().finishes()
    read = []
    fingerprint = result_folder.slide_fingerprint
    monkeypatch.setattr(result_folder, "slide_fingerprint", lambda path: read.append(path) or fingerprint(path))
    reader = WorkItemReader(out)
    for _ in range(2):
        assert [item.state for item in reader.read(slides, RunContext()).values()] == ["waiting", "done", "waiting"]
    assert read == [slides[1]]
    draw_slide(slides[1], tint=9)  # another slide of the same name
    assert reader.read(slides, RunContext())[slides[1]].state == "waiting"


def test_a_vacant_folder_becomes_that_of_another_slide(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "s").mkdir(parents=True)
    slides = []
    for name, tint in (("a", 0), ("b", 9)):
        (tmp_path / name).mkdir()
        slides.append(draw_slide(tmp_path / name / "s.tif", tint=tint))
    reader = WorkItemReader(out)

    def states() -> list[str]:
        return [item.state for item in reader.read(slides, RunContext()).values()]

    assert states() == ["waiting", "waiting"]
    analysis(slides[1], out).begins().finishes()
    assert states() == ["waiting", "done"]
    shutil.rmtree(out / "s")
    analysis(slides[0], out).begins().finishes()
    record_slide(out / "s", slides[0])
    assert states() == ["done", "waiting"]


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), InputError("s0 is damaged")])
def test_results_that_cannot_be_read_fail_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    out = tmp_path / "out"
    slides = [draw_slide(tmp_path / f"s{n}.tif", tint=n) for n in range(2)]
    for slide in slides:
        analysis(slide, out).begins().finishes()
    read = slide_table.read_slide_run_status

    def read_status(folder: Path) -> object:
        if folder.name == "s0":
            raise error
        return read(folder)

    monkeypatch.setattr(slide_table, "read_slide_run_status", read_status)
    failed, done = WorkItemReader(out).read(slides, RunContext()).values()
    reason = "Permission denied" if isinstance(error, OSError) else "s0 is damaged"
    assert (failed.state, failed.description) == ("failed", f"results cannot be read: {reason}")
    assert done.state == "done"
