"""The Slide dock: open, name, scale, close, warnings, and what is read late."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import tifffile
from fake_slides import FakeAnalysis, draw_fluorescence, draw_slide
from finding_files import save_synoptic
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QMessageBox,
)
from slide_fixtures import UNSEEN

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.provenance import UNKNOWN_TIME, parse_time
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.slides.notes import (
    ScaleChange,
    SlideNotes,
    read_notes,
    write_notes,
)
from napari_melanoma.slides.plan import stated_pixel_size
from napari_melanoma.slides.reading.slide import NOT_STATED, LevelInfo, SlideInfo, validate_scale
from napari_melanoma.ui.launch import show_slide
from napari_melanoma.ui.slide import run_manager
from napari_melanoma.ui.slide.context import list_slide_facts, list_slide_warnings
from napari_melanoma.ui.slide.slide_picker import SlideMetadataLabel
from napari_melanoma.ui.viewer.slide_layers import slide_display_name
from napari_melanoma.ui.viewer.view_memory import show_photograph

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
CUT_OFF, PRINT = "the file is truncated: 3 tiles", "the file says 84.67 x 84.67 um per pixel: as of a print"
UM = {"file": PixelSize(0.5, 0.5, "file"), "given": PixelSize(0.5, 0.5, "given")}
SET = ScaleChange(UM["file"], UM["given"], "A. Meyer", "2026-01-01T10:00:00+00:00")


def test_a_scale_set_by_the_user_keeps_pixels_that_are_not_square(person, launched, tmp_path):
    """A line in any direction gives the same scale, which an analysis uses in both directions."""
    pixels = np.full((256, 256, 3), (215, 150, 190), np.uint8)
    stated = {"resolution": (1e4 / 0.25, 1e4 / 0.5), "resolutionunit": "CENTIMETER"}  # width, height
    tifffile.imwrite(tmp_path / "flat.tif", pixels, tile=(128, 128), photometric="rgb", metadata=None, **stated)
    person.opens_slides(tmp_path / "flat.tif")
    assert person.dock.slide.info.pixel_size == PixelSize(0.5, 0.25, "file")
    for end, length_um in ([10.0, 210.0], 200.0), ([210.0, 10.0], 400.0):  # 1 µm wide and 2 µm high
        person.clicks("scale")
        person.viewer.layers["flat ruler"].add_lines(np.array([[10.0, 10.0], end]))
        person.dock.scale_panel._length.setValue(length_um)
        person.clicks("scale_ruler")
        size = person.dock.slide.info.pixel_size
        assert (size.y_um, size.x_um, size.source) == (pytest.approx(2.0), pytest.approx(1.0), "ruler")
    options = person.dock.get_options(person.session)
    assert stated_pixel_size(options).is_close(size)
    person.clicks("scale")
    person.dock.scale_panel._number.setValue(0.3)
    person.clicks("scale_set")
    assert person.dock.slide.info.pixel_size == PixelSize(0.6, 0.3, "given")
    person.waits()


SCALES_BEFORE = {"none": None, "another": PixelSize(2.0, 2.0, "ruler"), "the same": PixelSize(0.5, 0.5, "ruler")}


@pytest.mark.parametrize("is_signed", [False, True], ids=["", "signed"])
@pytest.mark.parametrize("stored", SCALES_BEFORE.values(), ids=SCALES_BEFORE)
def test_a_scale_given_when_the_slide_is_opened_is_saved_as_set_by_the_user(person, tmp_path, stored, is_signed):
    path = draw_slide(tmp_path / "section.tif", 0.25)
    person.opens_slides(path)
    of_file, folder = person.dock.slide.info.pixel_size, person.session.folder
    person.dock.close_slide()
    person.waits()
    if is_signed:
        save_synoptic(folder, SynopticReport(signed_by="A. Meyer", signed_at="2026-01-02T10:00:00+00:00"))
    if stored is not None:
        write_notes(folder, SlideNotes(pixel_size=stored))
    show_slide(person.viewer, path, PixelSize(0.5, 0.5, "given"))
    person.until(lambda: person.session is not None and person.session.findings.is_ready)
    person.waits()
    notes, shown = read_notes(folder), person.dock.slide.info.pixel_size
    if is_signed:
        assert (notes.pixel_size, shown) == (stored, stored or of_file), "a signed report rests on it"
        assert "signed" in person.dock.status.text or stored == SCALES_BEFORE["the same"]
        return
    assert shown.mm == notes.pixel_size.mm == (0.0005, 0.0005)
    changes = [(one.before, one.after.mm) for one in notes.scale_changes]
    assert changes == ([] if stored == SCALES_BEFORE["the same"] else [(stored or of_file, (0.0005, 0.0005))])
    person.clicks("scale")
    person.clicks("scale_clear")
    assert person.dock.slide.info.pixel_size == of_file


@pytest.mark.path
def test_scale_set_by_the_user_is_saved(person, launched, tmp_path):
    dock, path = person.dock, draw_slide(tmp_path / "bare.tif", mpp=None)
    person.opens_slides(path)
    dock.model_picker.model = "tiny"
    dock.model_picker.changed.emit()
    assert not dock.analyze_button.isEnabled()
    assert "no scale" in dock.analyze_button.toolTip()
    assert dock.answer.text == dock.analyze_button.toolTip()
    assert "px" in person.label_text("place")

    person.clicks("scale")
    assert "bare ruler" in person.viewer.layers
    person.clicks("scale")
    assert "bare ruler" not in person.viewer.layers  # without a line
    person.clicks("scale")
    person.clicks("scale_ruler")
    assert "no line yet" in dock.status.text
    line = person.viewer.layers["bare ruler"]
    line.add_rectangles(np.array([[10.0, 10.0], [60.0, 210.0]]))
    person.clicks("scale_ruler")
    assert "not a straight line" in dock.status.text
    assert dock.slide.info.pixel_size is None
    line.add_lines(np.array([[10.0, 10.0], [10.0, 210.0]]))
    dock.scale_panel._length.setValue(50)
    person.clicks("scale_ruler")
    assert "0.25 µm/px (from a ruler, set on this computer)" in person.label_text("slide_about")
    assert not dock.picker.warning_label.isVisibleTo(dock)
    assert dock.analyze_button.isEnabled()
    np.testing.assert_allclose(person.viewer.layers["bare"].scale, (0.25, 0.25))
    assert [str(unit) for unit in person.viewer.layers["bare"].units] == ["micrometer", "micrometer"]
    assert dock.get_options(person.session).mpp == pytest.approx(0.25)
    person.waits()

    person.clicks("scale")
    dock.scale_panel._number.setValue(0.5)
    person.session.services.set_reader("A. Meyer")
    person.clicks("scale_set")
    assert "0.5 µm/px (set by A. Meyer)" in person.label_text("slide_about")
    person.clicks("scale")
    person.clicks("scale_set")  # the same scale again is no change
    person.clicks("scale")
    person.clicks("scale_clear")
    person.clicks("scale")
    person.clicks("scale_ruler")
    person.waits()
    changes = read_notes(person.session.folder).scale_changes
    sources = [tuple(size and size.source for size in (one.before, one.after)) for one in changes]
    assert sources == [(None, "ruler"), ("ruler", "given"), ("given", None), (None, "ruler")]
    assert all(parse_time(one.when) > UNKNOWN_TIME for one in changes)

    person.viewer.layers.clear()
    person.until(lambda: dock.welcome.isVisibleTo(dock))
    person.opens_slides(path)
    person.until(lambda: "0.25" in person.label_text("slide_about"))
    person.clicks("scale")
    person.clicks("scale_clear")
    assert "no scale" in person.label_text("slide_about")
    assert not dock.analyze_button.isEnabled()


@pytest.mark.path
def test_invalid_input_is_reported_and_fluorescence_not_analyzed(person, launched, slide_path, tmp_path):
    from napari_melanoma.core.errors import RunError

    dock, bad = person.dock, tmp_path / "letter.svs"
    bad.write_text("no slide")
    person.opens_slides(bad, slide_path)
    assert "letter.svs" in dock.status.text
    assert len(person.viewer.layers) == 1
    person.names("timm:nothing")
    assert dock.model_picker.model == "timm:nothing"
    assert dock.analyze_button.isEnabled()
    launched.error = RunError("section is being analyzed already.")
    person.clicks("primary")
    person.until(lambda: "already" in dock.status.text)
    person.waits()
    assert dock.analyze_button.isEnabled()
    person.qtbot.mouseClick(dock.analyze_button, Qt.MouseButton.LeftButton)
    person.qtbot.mouseClick(dock.analyze_button, Qt.MouseButton.LeftButton)
    person.waits()

    # Fluorescence is shown, but not analyzed.
    person.viewer.layers.clear()
    person.opens_slides(draw_fluorescence(tmp_path / "stained.ome.tif"))
    assert [layer.name.split()[-1] for layer in person.viewer.layers] == ["DAPI", "FITC"]
    assert "2 channels" in person.label_text("slide_about")
    dock.model_picker.model = "tiny"
    dock.model_picker.changed.emit()
    assert not dock.analyze_button.isEnabled()
    assert "fluorescence" in dock.analyze_button.toolTip()
    assert "brightfield stains" in dock.answer.text
    assert not person.opens_section("Tissue").isEnabled()


def test_viewer_process_does_not_import_torch():
    modules = "napari_melanoma.ui.slide.dock, napari_melanoma.slides.results"
    code = f"import sys, {modules}; assert not {{'torch', 'pandas', 'zarr', 'tifffile'}} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).stderr == b""


def known(path="slides/a.svs", name="a", doubts=(), **more):
    """Return metadata of a truncated slide."""
    levels = (LevelInfo(100, 80, 1.0),)
    return SlideInfo(Path(path), name, "TIFF", levels, warnings=(CUT_OFF, *doubts), scale_warnings=doubts, **more)


@pytest.mark.parametrize(
    ("info", "text"),
    [
        (known(doubts=(NOT_STATED,)), [CUT_OFF]),
        (known(doubts=(PRINT,)), [CUT_OFF, PRINT]),
        (known(doubts=(PRINT,), pixel_size=UM["file"]), [CUT_OFF, PRINT]),
        (known(doubts=(PRINT,), pixel_size=UM["given"]), [CUT_OFF]),
    ],
    ids=["no scale", "a scale that is not believed", "a doubtful scale", "a scale by the user"],
)
def test_user_scale_removes_only_scale_warnings(info, text):
    assert list_slide_warnings(info) == text


@pytest.mark.parametrize(
    ("notes", "text"),
    [
        (SlideNotes(pixel_size=UM["given"]), "0.5 µm/px (set on this computer)"),
        (SlideNotes(pixel_size=UM["given"], scale_changes=(SET,)), "0.5 µm/px (set by A. Meyer)"),
        (SlideNotes(pixel_size=PixelSize(1, 1), scale_changes=(SET,)), "1 µm/px (set on this computer)"),
        (SlideNotes(pixel_size=PixelSize(1, 1, "ruler")), "1 µm/px (from a ruler, set on this computer)"),
    ],
    ids=["another program", "a reader", "another program after a reader", "a ruler"],
)
def test_a_scale_is_attributed_to_the_recorded_reader_only(notes, text):
    info = known(pixel_size=notes.pixel_size)
    assert list_slide_facts(info, scale_reader=notes.scale_reader)[0] == text


@pytest.mark.parametrize("um", [28.97, 16.78])
def test_scale_warning_has_no_command_line_hints(um):
    scale = validate_scale(um, um)
    text = " ".join(list_slide_warnings(known(doubts=scale.warnings, pixel_size=scale.pixel_size)))
    assert f"{um} " in text
    assert "Models expect 0.25 to 4 um per pixel" in text
    assert "set the correct one under Scale in the Slide dock" in text
    assert "--" not in text


@pytest.mark.parametrize(
    ("path", "name", "text"),
    [
        ("slides/CMU-1.svs", "CMU-1", "CMU-1.svs"),
        ("slides/core.ome.tif", "core", "core.ome.tif"),
        ("slides/CMU-1_dicom/1.2.826.0.1.dcm", "CMU-1_dicom", "CMU-1_dicom"),
    ],
)
def test_slide_with_numbered_files_is_named_by_its_folder(path, name, text):
    assert slide_display_name(known(path, name)) == text


def test_level_sizes_are_listed_once(qtbot):
    facts = SlideMetadataLabel()
    qtbot.addWidget(facts)
    facts.show_info(known(properties={"openslide.level[0].height": "100", "hamamatsu.Product": "C9600"}))
    assert "C9600" in facts.text()
    assert "height" not in facts.text()


def test_a_photograph_in_view_hides_the_numbers_of_the_slide(analysed):
    dock, viewer = analysed.dock, analysed.viewer
    photograph = analysed.opens()
    dock.picker.show_selected()
    dock.targets.step(1)
    show_photograph(viewer, photograph)
    assert not dock.slide.is_shown
    assert not analysed.lesion_table.isVisibleTo(dock)
    assert dock.status.text == ""
    assert dock.answer.text.startswith("'section.tif' is hidden, and so are its results.")
    dock.answer.link_activated.emit("show")
    assert dock.slide.is_shown
    assert analysed.lesion_table.isVisibleTo(dock)
    assert "hidden" not in dock.answer.text


@pytest.mark.slow
def test_notes_that_are_edited_during_a_search_are_kept_although_other_slides_are_displayed(
    person, slide_path, tmp_path, monkeypatch
):
    person.opens_slides(slide_path)
    first = person.session
    person.opens_slides(draw_slide(tmp_path / "other.tif"))
    person.waits()
    find, has_read, may_return = run_manager._find_results, Event(), Event()

    def find_slowly(*args):
        location = find(*args)
        has_read.set()
        may_return.wait(30)
        return location

    monkeypatch.setattr(run_manager, "_find_results", find_slowly)
    person.dock.show_file(slide_path)
    person.until(has_read.is_set)
    first.edit_notes(lambda notes: replace(notes, angle=90.0))
    for path in (tmp_path / "other.tif", slide_path):
        person.dock.show_file(path)
    may_return.set()
    person.waits()
    assert person.session is first
    assert first.notes.value.angle == 90.0
    assert read_notes(first.folder).angle == 90.0


def open_located(person, path):
    """Open a slide, and wait until its stored view was restored."""
    person.opens_slides(path)
    person.until(lambda: person.dock.result_location is not None)
    person.waits()


def test_closing_a_slide_that_is_analyzed_is_confirmed(person, slide_path, monkeypatch):
    sent, pressed, ended, analyses = [], [], [], []
    monkeypatch.setattr(person.dock.run_panel, "send_command", lambda command, folder: sent.append((command, folder)))

    def press(box):
        if pressed[-1]:
            next(one for one in box.buttons() if one.text() == pressed[-1]).click()
            return
        box.finished.connect(ended.append)
        analyses[-1].finishes()
        person.until(lambda: bool(ended))  # the analysis has ended, which answers the question

    monkeypatch.setattr(QMessageBox, "exec", press)
    for button, is_closed, commands in (
        ("Do not close", False, []),
        ("Keep the analysis running", True, []),
        ("Cancel the analysis", True, ["cancel"]),
        ("", True, ["cancel"]),
    ):
        open_located(person, slide_path)
        folder = person.dock.result_location.folder
        if not folder.exists():
            analyses.append(FakeAnalysis(folder, slide_path, person.dock.slide.info.fingerprint).begins())
            person.dock._on_slide()
        person.until(lambda: person.dock.run_panel.active)
        pressed.append(button)
        person.clicks("close_slide")
        assert sent == [(command, folder) for command in commands], button
        assert (person.dock.slide is None) == is_closed, button
        assert bool(person.viewer.layers) != is_closed, button
