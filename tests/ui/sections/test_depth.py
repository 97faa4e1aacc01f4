"""The Depth section: draw, drag, enter, undo and save readings; readers, proposals of a model, and what is stated."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from canvas_mouse import drags, event
from fake_models import make_risk_prediction
from fake_slides import MPP, FakeAnalysis, draw_slide
from napari.layers import Shapes
from napari.utils.colormaps.standardize_color import transform_color
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from qtpy.QtCore import Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDialog,
    QLabel,
    QPlainTextEdit,
    QTableWidget,
)
from slide_fixtures import UNSEEN

from conftest import wait_until_idle
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.core.run_folder import RunState
from napari_melanoma.core.validity import Validity
from napari_melanoma.depth.findings import read_findings
from napari_melanoma.depth.readings import (
    DepthProposal,
    DepthReading,
    SlideDepthProposals,
    SlideDepthReadings,
    compare_readings,
    describe_entered_thickness,
    describe_hidden_readings,
    format_headline,
    format_line_label,
    reader_rows,
    reading_warnings,
    set_values,
    values_for_line,
)
from napari_melanoma.depth.synoptic import SynopticAnswer, describe_finding
from napari_melanoma.extensions.risk.ui.results import RISK_DOCUMENT
from napari_melanoma.io.results import read_table
from napari_melanoma.slides import background_runs, depth_readings
from napari_melanoma.slides.background_runs import SlideRunStatus
from napari_melanoma.slides.depth_readings import KnownDepth
from napari_melanoma.slides.marked_tumor import read_tumor
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.slides.regions import DEFAULT_CLASSES, region_from_polygons
from napari_melanoma.ui.sections.depth.layer import LINE_COLOR, MODEL_COLOR, READER_COLOR, list_compared_lines
from napari_melanoma.ui.sections.depth.section import (
    LISTING_MODELS,
    MODEL_MEASURED,
    NEEDS_BRIGHTFIELD,
    NEEDS_SCALE,
    NO_MODEL,
    NO_TUMOR,
    RUNNING,
    find_blocker,
)
from napari_melanoma.ui.session.depth import DepthPredictions, DepthState
from napari_melanoma.ui.session.run_status import SlideRunUpdate
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.viewer.shape_layers import GAP_SPACES, offset_label
from napari_melanoma.ui.widgets.dock_layout import SummarySection

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
TOP, DEEP = (60.0, 100.0), (460.0, 100.0)  # 0.2 mm at 0.5 µm a pixel
DEEPEST = "Predicted by risk-test from a patch at the deepest position: "
HALF_UM = PixelSize(0.5, 0.5, "file")
WHEN = "2026-01-01T10:00:00+00:00"
HAND, MODEL, SECOND = (((60.0, column), (460.0, column)) for column in (100.0, 150.0, 200.0))
PROPOSALS = SlideDepthProposals(
    proposals=(
        DepthProposal(line=MODEL, mm=0.2, interval_mm=(0.15, 0.25), notes=("reaches the edge",)),
        DepthProposal(line=SECOND, mm=0.12),
    ),
    clark=4,
)
INVALID = PROPOSALS.model_copy(update={"validity": Validity.from_json({"reasons": [{"code": "x", "text": "a fold"}]})})
EMPTY = DepthState(size=HALF_UM)
PROPOSED = replace(EMPTY, predicted=DepthPredictions(PROPOSALS))
BLIND = replace(PROPOSED, reader="B", is_blind=True)
INFO = SlideInfo(Path("a.tif"), "a", "tiff", (), HALF_UM)


def near(value):
    """Approximate a number, because the file stores its scale in whole pixels per cm."""
    return pytest.approx(value, rel=1e-3)


@pytest.fixture
def measuring(person, slide_path):
    """User with an open slide and Depth section."""
    person.opens_slides(slide_path)
    opens(person)
    return person


def opens(person):
    """Open the section."""
    person.until(lambda: is_read(person))
    person.dock.depth_section.expand()
    person.until(lambda: section(person) is not None)
    person.waits()


def document(person):
    """The depth readings of the displayed slide."""
    return person.dock.sections.hosted.session.findings


def is_read(person):
    session = person.dock.sections.hosted.session
    return session is not None and session.findings.is_ready


def reading(person):
    return document(person).state.reading


def section(person):
    """The section of the displayed slide; None before it was expanded."""
    return person.dock.sections.hosted.sections["Depth"].widget


def line_layer(person):
    return slide_layers.find_layer(person.viewer, person.dock.slide, "depth")


def line_style(person):
    """Return the label of the line and the color of both."""
    layer = line_layer(person)
    color = transform_color(layer.edge_color[0])[0]
    (name,) = (one for one in (LINE_COLOR, MODEL_COLOR) if np.allclose(transform_color(one)[0], color))
    np.testing.assert_allclose(layer.text.color(layer.features), transform_color(name)[0], atol=1e-6)
    return layer.features["shown"][0].strip(), name


def draws(person, start=TOP, end=DEEP):
    person.until(lambda: is_read(person))
    camera = get_camera(person.viewer)
    camera.zoom = max(camera.zoom, 1.0)  # in a small view, a short line is a click
    person.presses("depth_draw")
    drags(person, line_layer(person), start, np.add(start, end) / 2, end)
    person.until(lambda: reading(person).line is not None)
    person.waits()


def sets_reader(person, name):
    person.dock.context.set_reader(name)


def answers(person, **values):
    """Set findings of the reader, as the section Report does."""
    document(person).set_findings({name: SynopticAnswer(value=value) for name, value in values.items()})


def acts(person, name):
    """Choose an action of the menu More."""
    person.finds(QAction, name).trigger()
    person.waits()


def kept(person, reader=""):
    return read_findings(person.dock.result_location.folder).reading_by(reader)


def proposes(folder, *depths, **more):
    """Write proposals as an analysis would."""
    lines = [
        {"surface": [60, 100 + 50 * at], "deepest": [60 + mm * 1000 / MPP, 100 + 50 * at], "mm": mm,
         "interval_mm": [mm - 0.05, mm + 0.05], "ulcerated": False, "section": 0}
        for at, mm in enumerate(depths)
    ]  # fmt: skip
    depth = {"candidates": lines, "clark_estimate": 4, "notes": [], **more}
    content = {"depth": depth, "seconds": 3.0, "validity": {"valid": True}}
    write_json(folder / "result.json", content)


def test_another_analysis_is_noticed_though_it_took_as_long(person, slide_path):
    """The proposed depth, and the risk that was estimated from it, are read again."""
    person.opens_slides(slide_path)
    opens(person)
    folder, session, reads = person.session.folder, person.session, []
    session.document(RISK_DOCUMENT).ready.connect(lambda: reads.append(1))
    person.waits()
    for minute, mm in ((1, 0.2), (1, 0.2), (2, 0.12)):
        proposes(folder, mm)
        content = read_json(folder / "result.json")
        content["provenance"] = {"created": f"2026-01-01T00:0{minute}:00+00:00"}
        update = SlideRunUpdate(SlideRunStatus(folder, RunState.finished), content=content)
        session.run.set(update)
        person.waits()
        assert person.label_text("depth_head").startswith(f"{mm:.2f} mm")
    assert len(reads) == 2  # for each of the analyses


@pytest.mark.path
def test_section_is_created_when_it_is_opened_and_a_drawn_line_is_measured_saved_and_restored(person, slide_path):
    person.opens_slides(slide_path)
    assert person.dock.findChild(QLabel, "depth_head") is None
    assert line_layer(person) is None
    opens(person)
    assert person.label_text("depth_head") == "Not measured."
    assert line_layer(person) is None

    # A line drawn by hand is measured, saved and restored.
    sets_reader(person, "Reader A")
    draws(person)
    assert person.label_text("depth_head") == "0.20 mm, T1"
    assert "by hand, Reader A, 20" in person.label_text("depth_origin")
    layer = line_layer(person)
    assert (layer.name, str(layer.mode), layer.scale.tolist()) == ("section depth", "direct", [MPP, MPP])
    assert [text.strip() for text in layer.text.values] == ["0.20 mm"]
    stored = kept(person, "Reader A")
    assert (stored.method, stored.mm) == ("hand", near(0.2))
    np.testing.assert_allclose(stored.line, (TOP, DEEP))

    person.viewer.layers.clear()
    person.waits()
    person.opens_slides(slide_path)  # as tomorrow
    person.until(lambda: person.label_text("depth_head") == "0.20 mm, T1")
    person.waits()  # the line is drawn after the text
    np.testing.assert_allclose(line_layer(person).data[0] + 0.5, (TOP, DEEP), atol=1e-3)


def predicts(person, mm, *reasons, known=None, reader="", what="deepest place", **more):
    """Write the stored risk of the slide, with a depth that the network predicted from the first patch.

    ``known``: thickness that was measured before the prediction, by a reader or by the analysis (``reader=None``).
    """
    answer = make_risk_prediction(0.5, {}, {}, known, fingerprint="f")
    if known is not None:
        answer["depth"] |= {"source": "automatic" if reader is None else "reader", "reader": reader or ""}
    answer["patches"][0] |= {"depth_mm": mm, "what": what}
    content = {**answer, "validity": {"reasons": reasons}, **more}
    write_json(person.dock.result_location.folder / "risk.json", content)
    document(person).reload_predictions()
    person.waits()


def test_depth_of_a_network_is_compared_with_the_reading(measuring, tmp_path):
    person = measuring

    def shown():
        return person.label_text("depth_network")

    assert not person.finds(QLabel, "depth_network").isVisibleTo(section(person))
    # The depth at a lesion is not compared.
    lesion = "Predicted by risk-test from a patch at a lesion: "
    predicts(person, 0.5, what="lesion")
    assert shown() == f"{lesion}0.50 mm."
    draws(person)
    assert shown() == f"{lesion}0.50 mm; estimate the risk again."

    # That at the deepest position is.
    mm = reading(person).mm
    predicts(person, 0.5, known=mm)
    assert shown() == f"{DEEPEST}0.50 mm (+0.30 mm)."
    sets_reader(person, "Reader A")  # the reading gets the name
    assert shown() == f"{DEEPEST}0.50 mm (+0.30 mm)."
    document(person).set_values(at_least=True)
    assert shown() == f"{DEEPEST}0.50 mm."
    person.presses("depth_undo")
    # For another line it is outdated.
    predicts(person, 0.5, known=mm, reader="Reader A")
    document(person).set_line((TOP, (260.0, 100.0)))
    assert shown() == f"{DEEPEST}0.50 mm, of an earlier line; estimate the risk again."
    person.presses("depth_undo")
    assert shown() == f"{DEEPEST}0.50 mm (+0.30 mm)."
    # It is not compared with a proposal that no one has confirmed.
    sets_reader(person, "")
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    person.until(lambda: is_read(person))
    proposes(person.dock.result_location.folder, 0.2, 0.12)
    predicts(person, 0.5, known=0.2, reader=None)
    assert person.label_text("depth_head").startswith("0.20 mm")
    assert shown() == f"{DEEPEST}0.50 mm."
    document(person).select_proposal(1)  # the patch is at the first line, which counts
    assert shown() == f"{DEEPEST}0.50 mm."
    document(person).select_proposal(0)
    document(person).accept_proposal()
    assert shown() == f"{DEEPEST}0.50 mm (+0.30 mm)."
    person.waits()


def test_lines_are_drawn_replaced_undone_and_dragged(measuring):
    person = measuring
    draws(person)
    person.presses("depth_draw")
    drags(person, line_layer(person), TOP, (260.0, 100.0))
    person.until(lambda: reading(person).mm == near(0.1))
    person.waits()
    assert len(line_layer(person).data) == 1
    assert person.dock.status.text.startswith("The new line (0.10 mm) replaces the previous one (0.20 mm). Undo")
    person.presses("depth_undo")
    assert person.label_text("depth_head").startswith("0.20")
    np.testing.assert_allclose(line_layer(person).data[0] + 0.5, (TOP, DEEP), atol=1e-3)
    person.presses("depth_undo")
    assert person.label_text("depth_head") == "Not measured."
    assert len(line_layer(person).data) == 0
    assert person.label_text("depth_origin").startswith("From the top")
    assert person.label_text("depth_hint") == ""  # there is no end to drag
    person.presses("depth_redo")
    assert person.label_text("depth_hint").startswith("Drag either end")
    person.presses("depth_redo")
    assert person.label_text("depth_head").startswith("0.10")
    line_layer(person).selected_data = {0}
    line_layer(person).remove_selected()
    person.until(lambda: person.label_text("depth_head") == "Not measured.")
    person.waits()
    assert kept(person).mm is None
    assert len([one for one in kept(person).history if one.field == "mm"]) == 7  # nothing that was done is unsaid

    # Clicks do not draw lines.
    person.presses("depth_draw")
    layer, texts = line_layer(person), []
    drags(person, layer, TOP)
    person.until(lambda: len(layer.data) == 0 and "That was a click" in person.dock.status.text)
    assert reading(person).line is None
    drags(person, layer, TOP, DEEP)
    person.until(lambda: reading(person).line is not None)
    person.waits()
    assert len(layer.data) == 1
    assert "That was a click" not in person.dock.status.text
    person.waits()

    # The thickness follows a dragged end.
    layer.get_value(person.dock.slide.to_world(DEEP), world=True)
    mouse_press_callbacks(layer, event(person, "mouse_press", DEEP))
    for row in (360.0, 260.0):
        mouse_move_callbacks(layer, event(person, "mouse_move", (row, 100.0)))
        texts.append(person.label_text("depth_head"))
    assert texts == ["0.15 mm, T1", "0.10 mm, T1"]
    assert [text.strip() for text in layer.text.values] == ["0.10 mm"]
    assert kept(person).mm == near(0.2)  # until the mouse is released
    mouse_release_callbacks(layer, event(person, "mouse_release", (260.0, 100.0)))
    person.until(lambda: reading(person).mm == near(0.1))
    person.waits()
    last = [one for one in kept(person).history if one.field == "mm"][-1]
    assert (last.before, last.after) == (near(0.2), near(0.1))


def test_a_path_that_is_drawn_with_a_tool_of_napari_is_shown_as_the_line_that_is_measured(measuring):
    person = measuring
    draws(person)
    person.presses("depth_undo")
    line_layer(person).add_paths(np.array([TOP, (200.0, 300.0), (260.0, 100.0)]) - 0.5)
    person.until(lambda: reading(person).mm == near(0.1))
    person.until(lambda: [len(data) for data in line_layer(person).data] == [2])
    np.testing.assert_allclose(line_layer(person).data[0] + 0.5, (TOP, (260.0, 100.0)), atol=1e-3)


def test_readings_stay_with_their_slide_and_need_a_scale(measuring, tmp_path):
    person = measuring
    person.presses("depth_draw")
    layer = line_layer(person)
    mouse_press_callbacks(layer, event(person, "mouse_press", TOP))
    mouse_move_callbacks(layer, event(person, "mouse_move", DEEP))
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    assert reading(person).line is None
    assert not person.finds(QAbstractButton, "depth_draw").isChecked()
    assert str(layer.mode) == "pan_zoom"
    draws(person, TOP, (260.0, 100.0))
    assert person.label_text("depth_head").startswith("0.10")
    person.clicks("previous_slide")
    person.until(lambda: person.dock.slide.info.name == "section" and is_read(person))
    person.waits()  # until the widgets of the other slide are deleted
    assert person.label_text("depth_head") == "Not measured."
    assert len(line_layer(person).data) == 0

    # The name of the reader that another dock stores is used from the next slide on.
    person.dock.settings.set("slide/region_reader", "Reader R")
    # Without a scale the dock shows how to set one.
    person.opens_slides(draw_slide(tmp_path / "bare.tif", mpp=None))
    person.until(lambda: is_read(person))
    assert document(person).reader == "Reader R"
    person.presses("depth_draw")
    assert "'bare' has no scale" in person.dock.status.text
    assert not person.finds(QAbstractButton, "depth_draw").isChecked()
    assert line_layer(person) is None
    automatic = person.finds(QAbstractButton, "depth_automatic")
    assert not automatic.isEnabled()
    assert person.label_text("depth_blocker") == automatic.toolTip() != ""
    person.finds(QLabel, "depth_warning").linkActivated.emit("scale")
    assert person.dock.scale_panel.isVisibleTo(person.dock)
    person.dock.scale_panel._number.setValue(1.0)
    person.clicks("scale_set")
    person.waits()
    draws(person)
    assert person.label_text("depth_head").startswith("0.40 mm")
    person.dock.picker.scale_button.click()
    person.dock.scale_panel._number.setValue(2.0)
    person.clicks("scale_set")
    person.until(lambda: person.label_text("depth_head").startswith("0.80 mm"))
    person.waits()
    assert kept(person, "Reader R").um_per_px == (2.0, 2.0)


def test_thickness_that_is_typed_and_notes_are_saved_and_a_report_is_written(measuring, tmp_path):
    person = measuring
    assert not person.finds(QAbstractButton, "depth_more").isEnabled()
    sets_reader(person, "Reader A")
    draws(person)
    answers(person, ulceration="present")
    assert person.label_text("depth_head") == "0.20 mm, T1b"
    assert not person.finds(QPlainTextEdit, "depth_notes").isVisibleTo(person.dock)
    folded = person.finds(SummarySection, "depth_folded")
    folded.expand()
    assert person.finds(QPlainTextEdit, "depth_notes").isVisibleTo(person.dock)
    person.finds(QPlainTextEdit, "depth_notes").setPlainText("two levels")
    person.until(lambda: reading(person).notes == "two levels")
    assert folded.title_button.text() == "Thickness as a number · with notes"
    line = person.finds(QComboBox, "depth_breslow").lineEdit()
    for typed in ("thick", "0,9 mm"):
        line.setText(typed)
        line.setModified(True)
        line.editingFinished.emit()
    assert person.label_text("depth_head") == "0.90 mm, T1b"
    assert person.label_text("depth_warning").startswith("The line measures 0.20 mm; 0.90 mm was entered.")
    person.presses("depth_breslow_at_least")
    assert person.label_text("depth_head") == "at least 0.90 mm, T1b or more"
    for _ in range(2):
        person.presses("depth_undo")
    person.waits()
    stored = kept(person, "Reader A")
    assert (stored.ulcerated, stored.notes, stored.mm) == (True, "two levels", near(0.2))
    assert {one.reader for one in stored.history} == {"Reader A"}

    line.setText("0.95")  # and is still being typed
    line.setModified(True)
    acts(person, "depth_report")
    assert person.label_text("depth_head") == "0.95 mm, T1b"
    person.presses("depth_undo")
    person.chooses_file("depth_report_dialog", tmp_path / "page 1.5")
    text = (tmp_path / "page 1.5.html").read_text(encoding="utf-8")
    assert "0.20 mm, T1b" in text
    assert "Reader A" in text
    assert "data:image/jpeg" in text


def test_reading_without_a_name_gets_the_name_that_is_entered_but_replaces_no_named_one(measuring, tmp_path):
    person = measuring
    draws(person)
    before = reading(person)
    sets_reader(person, "B")
    person.waits()
    after = reading(person)
    assert (after.reader, after.mm, after.line) == ("B", before.mm, before.line)
    assert "now the reading of B" in person.dock.status.text
    assert [(one.reader, one.mm) for one in read_findings(person.dock.result_location.folder).readings] == [
        ("B", near(0.2))
    ]
    assert {one.reader for one in after.history} <= {"B", "model"}
    person.presses("depth_undo")
    person.waits()
    assert reading(person).line is None
    person.presses("depth_redo")
    person.waits()
    assert reading(person).mm == before.mm
    # A reading without a name does not replace a named one.
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    person.until(lambda: is_read(person))
    sets_reader(person, "B")
    draws(person)
    sets_reader(person, "")
    draws(person, TOP, (260.0, 100.0))
    sets_reader(person, "B")
    person.waits()
    assert reading(person).mm == near(0.2)
    assert "B has measured this slide before" in person.dock.status.text
    assert {one.reader: one.mm for one in read_findings(person.dock.result_location.folder).readings} == {
        "B": near(0.2),
        "": near(0.1),
    }

    # The name of the model is reserved.
    sets_reader(person, "Model")
    assert "choose another name" in person.dock.status.text
    assert document(person).reader == person.dock.context.reader == "B"

    # A contradicting Clark level is not added to the case.
    answers(person, clark="I")
    person.waits()
    acts(person, "depth_case")
    assert "was not added to the case" in person.dock.status.text


def list_cells(table: QTableWidget) -> list[list[str]]:
    return [
        [table.item(row, column).text() for column in range(table.columnCount())] for row in range(table.rowCount())
    ]


def test_second_reader_is_blinded_and_then_compared(measuring):
    person = measuring
    sets_reader(person, "Reader A")
    draws(person)
    sets_reader(person, "Reader B")
    assert person.label_text("depth_head") == "Not measured."
    assert len(line_layer(person).data) == 0
    assert "after you have measured" in person.label_text("depth_others")
    assert not person.finds(QAbstractButton, "depth_undo").isEnabled()  # what another reader did stays
    assert person.finds(QTableWidget, "depth_readers").isHidden()
    draws(person, TOP, (260.0, 100.0))
    assert list_cells(person.finds(QTableWidget, "depth_readers")) == [["Reader A", "0.20 mm", "+0.10 mm"]]
    assert person.label_text("depth_others") == ""
    compared = slide_layers.find_layer(person.viewer, person.dock.slide, "readings")
    assert [text.strip() for text in compared.text.values] == ["Reader A: 0.20 mm"]
    assert np.allclose(compared.text.color(compared.features), transform_color(READER_COLOR))
    assert not compared.editable
    assert (kept(person, "Reader A").mm, kept(person, "Reader B").mm) == (near(0.2), near(0.1))


def test_proposal_becomes_a_reading_when_accepted_moved_or_confirmed(person, slide_path, tmp_path):
    person.opens_slides(slide_path)
    proposes(person.dock.result_location.folder, 0.2, 0.12)
    opens(person)
    document(person).reload_predictions()
    person.until(lambda: person.label_text("depth_head") == "0.20 mm (0.15 to 0.25), T1a")
    assert line_style(person) == ("model: 0.20 mm", MODEL_COLOR)
    assert "not confirmed" in person.label_text("depth_origin")
    assert "Clark level IV is an estimate" in person.label_text("depth_found")
    lines = person.finds(QTableWidget, "depth_lines")
    assert list_cells(lines)[1] == ["2, section 1", "0.12 mm (0.07 to 0.17)"]
    assert all(lines.item(row, 1).textAlignment() & Qt.AlignmentFlag.AlignRight for row in range(2))
    assert lines.viewport().height() >= 2 * lines.fontMetrics().height()
    assert kept(person) is None
    lines.cellClicked.emit(1, 0)
    assert person.sees((60 + 120, 150))
    assert person.label_text("depth_head").startswith("0.12 mm")
    person.presses("depth_take")
    person.waits()
    assert line_style(person) == ("0.12 mm", LINE_COLOR)
    assert (kept(person).method, kept(person).mm, kept(person).interval_mm) == ("automatic", 0.12, near((0.07, 0.17)))
    assert kept(person).all_authors() == {"mm": "reader"}
    person.opens_section("Report")
    person.waits()
    assert (person.finds(QComboBox, "synoptic_ulceration").currentText(), kept(person).ulcerated) == (
        "not identified",
        None,
    )
    suggestion = person.finds(QAbstractButton, "synoptic_ulceration_confirm")
    assert "Suggested by the model, not confirmed" in suggestion.toolTip()
    person.presses("synoptic_ulceration_confirm")
    assert (suggestion.isHidden(), reading(person).ulcerated) == (True, False)
    assert reading(person).all_authors() == {"mm": "reader", "ulcerated": "reader"}
    person.presses("depth_move")
    layer = line_layer(person)
    drags(person, layer, (300.0, 150.0), (460.0, 150.0))
    person.until(lambda: reading(person).method == "corrected")
    assert reading(person).mm == pytest.approx(0.2, abs=1e-3)
    assert reading(person).interval_mm is None

    # A thickness by a demonstration model is named as such until it is confirmed.
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    person.until(lambda: is_read(person))
    folder = person.dock.result_location.folder
    proposes(folder, 0.2, validity={"demonstration": True, "reasons": []})
    document(person).reload_predictions()
    person.until(lambda: person.label_text("depth_head") == "Demonstration model: 0.20 mm (0.15 to 0.25), T1a")
    sets_reader(person, "Reader A")
    person.presses("depth_take")
    person.waits()
    assert person.label_text("depth_head") == "0.20 mm (0.15 to 0.25), T1"

    # A line that another reader draws while a proposal is shown is by hand.
    proposes(folder, 0.2)
    document(person).reload_predictions()
    sets_reader(person, "Reader B")
    person.until(lambda: "not confirmed" in person.label_text("depth_origin"))
    draws(person, TOP, (260.0, 100.0))
    person.until(lambda: kept(person, "Reader B") is not None)
    assert kept(person, "Reader B").method == "hand"
    assert kept(person, "Reader B").ulcerated is None
    person.presses("depth_undo")
    person.presses("depth_redo")
    person.waits()
    assert kept(person, "Reader B").all_authors() == {"mm": "reader"}
    assert "ulcerated" not in {change.field for change in kept(person, "Reader B").history}


def test_lines_that_are_not_valid_are_neither_drawn_nor_listed_nor_exported(person, slide_path, tmp_path):
    def drawn():
        layers = (slide_layers.find_layer(person.viewer, person.dock.slide, role) for role in ("depth", "readings"))
        return [0 if layer is None else len(layer.data) for layer in layers]

    def exported(name):
        person.dock.exporter.choose_file("depth")
        person.chooses_file("export_dialog", tmp_path / name)
        return [row["reader"] for row in read_table(tmp_path / name)]

    person.opens_slides(slide_path)
    person.until(lambda: is_read(person))
    reasons = [{"code": "out_of_distribution", "text": "the slide differs from the training data"}]
    proposes(person.dock.result_location.folder, 0.2, 0.12, validity={"reasons": reasons})
    opens(person)
    document(person).reload_predictions()
    person.until(lambda: person.label_text("depth_validity").startswith("Not valid"))
    lines = person.finds(QTableWidget, "depth_lines")
    assert (drawn(), lines.rowCount()) == ([0, 0], 0)
    person.presses("depth_anyway")
    assert (drawn(), lines.rowCount()) == ([1, 1], 2)
    person.presses("depth_anyway")
    assert (drawn(), lines.rowCount()) == ([0, 0], 0)
    sets_reader(person, "Reader A")
    document(person).set_values(clark=3)
    person.waits()
    assert exported("hidden.csv") == ["Reader A"]
    person.presses("depth_anyway")
    assert exported("shown.csv") == ["Reader A", "model"]


def test_model_measures_in_the_background_and_proposals_are_read_when_it_ends(
    measuring, launched, monkeypatch, tmp_path
):
    person, dock = measuring, measuring.dock
    monkeypatch.setattr(depth_readings, "list_depth_models", lambda **_: ("skin-test",))
    dock.depth_section.collapse()
    dock.sections.hosted.show_slide(dock.slide)  # as when the slide is displayed again
    opens(person)
    person.until(lambda: section(person).analysis.models == ("skin-test",))
    person.waits()
    person.presses("depth_automatic")
    person.until(lambda: section(person).analysis.is_running and launched.last is not None)
    assert launched.last.path == dock.result_location.folder / "depth" / "section"
    assert launched.options[0].model == "skin-test"
    person.until(lambda: person.finds(QLabel, "run_state") is not None and not section(person).analysis.isHidden())
    assert not person.finds(QAbstractButton, "depth_automatic").isEnabled()
    launched.last.works(20)
    launched.last.finishes()
    proposes(launched.last.path, 0.2)
    person.until(lambda: person.label_text("depth_head").startswith("0.20 mm (0.15 to 0.25)"))
    assert section(person).analysis.isHidden()
    assert dock.run_panel.isHidden()
    person.waits()

    # Those of the analysis of a slide are read when it ends.
    other = draw_slide(tmp_path / "other.tif", tint=9)
    person.opens_slides(other)
    analysis = FakeAnalysis(dock.result_location.folder, other, dock.slide.info.fingerprint).begins()
    dock.run_panel.set_folder(dock.result_location.folder)
    person.until(lambda: dock.run_panel.active)
    analysis.finishes()
    content = json.loads((dock.result_location.folder / "result.json").read_text())
    proposes(dock.result_location.folder, 0.2)
    result = json.loads((dock.result_location.folder / "result.json").read_text())
    write_json(dock.result_location.folder / "result.json", {**content, "depth": result["depth"]})
    person.until(lambda: person.label_text("depth_head").startswith("0.20 mm (0.15"))


def test_an_outlined_tumor_is_measured_with_a_model_of_the_surface(measuring, launched, monkeypatch):
    person, dock = measuring, measuring.dock
    monkeypatch.setattr(depth_readings, "list_depth_models", lambda **_: ())
    monkeypatch.setattr(depth_readings, "list_surface_models", lambda: ("skin-tissue",))
    dock.depth_section.collapse()
    dock.sections.hosted.show_slide(dock.slide)  # as when the slide is displayed again
    opens(person)
    person.until(lambda: section(person).analysis.surface_models == ("skin-tissue",))
    person.waits()
    button = person.finds(QAbstractButton, "depth_automatic")
    assert not button.isEnabled()
    assert person.label_text("depth_blocker") == NO_TUMOR.format("skin-tissue")
    corners = Polygon(((60.0, 100.0), (60.0, 300.0), (460.0, 100.0)))
    melanoma, nevus = DEFAULT_CLASSES[:2]
    person.session.regions.apply(lambda _: (region_from_polygons((corners,), nevus),))
    assert not button.isEnabled()
    person.session.regions.apply(lambda regions: (*regions, region_from_polygons((corners,), melanoma)))
    person.until(button.isEnabled)
    person.presses("depth_automatic")
    person.until(lambda: launched.last is not None)
    (options,) = launched.options
    assert options.model == "skin-tissue"
    assert read_tumor(options.tumor_outlines) == (corners,)
    launched.last.finishes()
    person.waits()


def test_a_measurement_is_followed_when_its_slide_is_left_while_it_is_launched(
    measuring, launched, monkeypatch, tmp_path
):
    person, dock = measuring, measuring.dock
    begun, may_continue, launch = Event(), Event(), background_runs.launch_slide

    def launch_slowly(*arguments, **options):
        begun.set()
        assert may_continue.wait(30)
        return launch(*arguments, **options)

    monkeypatch.setattr(background_runs, "launch_slide", launch_slowly)
    monkeypatch.setattr(depth_readings, "list_depth_models", lambda **_: ("skin-test",))
    measured = dock.slide.identity
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    other = dock.slide.identity
    dock.picker.select_slide(measured)
    opens(person)
    person.until(lambda: section(person).analysis.models == ("skin-test",))
    launched.fingerprint = dock.slide.info.fingerprint
    person.presses("depth_automatic")
    person.until(begun.is_set)

    # Back before it was launched: it cannot be started twice, and is followed.
    for identity in (other, measured):
        dock.picker.select_slide(identity)
        person.until(lambda identity=identity: person.session is not None and person.session.identity == identity)
    person.until(lambda: section(person) is not None and section(person).analysis.models is not None)
    assert not person.finds(QAbstractButton, "depth_automatic").isEnabled()
    may_continue.set()
    person.until(lambda: not section(person).analysis.isHidden())
    person.until(lambda: dock.status.text.startswith("Measuring the depth"))

    # It ends while another slide is displayed: this is said on return, also if the section was collapsed meanwhile.
    dock.picker.select_slide(other)
    launched.last.finishes()
    proposes(launched.last.path, 0.12)
    dock.depth_section.collapse()
    dock.picker.select_slide(measured)
    person.until(lambda: person.session is not None and len(person.session.findings.state.proposals.proposals) == 1)
    opens(person)
    person.until(lambda: dock.status.text == MODEL_MEASURED)
    person.until(lambda: person.label_text("depth_head").startswith("0.12 mm"))

    # It asks to accept or move the line until this is done, or the report is signed.
    person.presses("depth_take")
    person.until(lambda: dock.status.text != MODEL_MEASURED)
    dock.context.set_reader("A. Reader")
    section(person).analysis.finished.emit(True, True)
    assert dock.status.text == MODEL_MEASURED
    session = person.session
    session.synoptic.confirm()
    session.findings.edit_form(session.synoptic.shown, session.synoptic.sign)
    person.until(lambda: session.synoptic.value.is_signed)
    assert dock.status.text != MODEL_MEASURED


@pytest.mark.both_qts
@pytest.mark.usefixtures("shown_viewer")
def test_closing_the_window_while_drawing_a_line(measuring):
    person = measuring
    proposes(person.dock.result_location.folder, 0.2, 0.12)
    document(person).reload_predictions()
    person.until(lambda: "0.20 mm" in person.label_text("depth_head"))
    draws(person)
    assert person.sees_something()
    person.finds(QPlainTextEdit, "depth_notes").setPlainText("typed at the last moment")
    person.presses("depth_draw")
    mouse_press_callbacks(line_layer(person), event(person, "mouse_press", TOP))
    folder = person.dock.result_location.folder
    person.viewer.close()
    person.qtbot.waitUntil(lambda: read_findings(folder).reading_by("").notes == "typed at the last moment")


def test_reading_is_added_to_the_open_case(measuring, tmp_path, slide_path):
    from napari_melanoma.case.model import Case, CaseImage, add_images, add_lesion

    person = measuring
    draws(person)
    answers(person, clark="III")
    acts(person, "depth_case")
    assert "No case is open" in person.dock.status.text
    _, case_dock = person.viewer.window.add_plugin_dock_widget("napari-melanoma", "Case")
    wait_until_idle(person.qtbot)
    case_dock.controller.create(tmp_path / "P-1", Case())
    wait_until_idle(person.qtbot)
    acts(person, "depth_case")
    assert "is not an image of the open case" in person.dock.status.text
    case = add_images(add_lesion(case_dock.controller.case), [CaseImage(id="", path=slide_path, modality="wsi")], "L1")
    case_dock.controller.edit(case, "a slide")
    wait_until_idle(person.qtbot)
    person.qtbot.mouseClick(person.dock, Qt.MouseButton.LeftButton)  # an error stays until the user acts
    acts(person, "depth_case")
    assert f"Added to the case, with {slide_path.name}" in person.dock.status.text
    lesion = case_dock.controller.case.lesions[0]
    assert (lesion.depth_mm, lesion.clark, lesion.ulceration) == (0.2, 3, None)
    assert case_dock.controller.case.find_image("I1").findings.document == person.session.findings.value

    # A thickness that is still being typed is applied first.
    line = person.finds(QComboBox, "depth_breslow").lineEdit()
    line.setText("0.9")
    line.setModified(True)
    acts(person, "depth_case")
    assert case_dock.controller.case.lesions[0].depth_mm == 0.9
    person.presses("depth_undo")
    case_dock.controller.undo()
    assert case_dock.controller.case.lesions[0].depth_mm == 0.2

    # The report of the slide shows it with its lesion.
    person.finds(QAction, "slide_report").trigger()
    person.until(lambda: person.dock.window().findChild(QDialog, "report_dialog") is not None)
    dialog = person.dock.window().findChild(QDialog, "report_dialog")
    command = dialog.options.make_command(tmp_path / "report.html")
    assert command[command.index("--case") + 1] == str(tmp_path / "P-1")
    dialog.reject()
    case_dock.controller.undo()
    assert case_dock.controller.case.lesions[0].depth_mm is None
    assert case_dock.controller.case.find_image("I1").findings is None
    wait_until_idle(person.qtbot)


def measured(*readers: str) -> SlideDepthReadings:
    """Readings of the same line by some readers."""
    depth = SlideDepthReadings()
    for number, reader in enumerate(readers):
        line = HAND if not number else ((60.0, 100.0), (260.0, 100.0))
        depth = set_values(depth, reader, WHEN, **values_for_line(DepthState(depth, reader).reading, line, HALF_UM))
    return depth


TWO_READERS = replace(BLIND, readings=measured("A", "B"))


@dataclass(frozen=True)
class Case:
    name: str
    state: DepthState
    headline: str
    labels: int = 0
    rows: tuple[str, ...] = ()
    others: str = ""
    line: str = ""
    compared: tuple[str, ...] = field(default=())


CASES = [
    Case("nothing is measured", EMPTY, "Not measured."),
    Case(
        "a proposal is shown until it is confirmed",
        PROPOSED,
        "0.20 mm (0.15 to 0.25), T1",
        labels=2,
        line="model: 0.20 mm",
        compared=("2",),
    ),
    Case(
        "another proposal is selected",
        replace(PROPOSED, selected=1),
        "0.12 mm, T1",
        2,
        (),
        "",
        "model: 0.12 mm",
        ("1",),
    ),
    Case(
        "nothing of a result that is not valid is listed or drawn",
        replace(EMPTY, predicted=DepthPredictions(INVALID)),
        "Not valid: a fold",
    ),
    Case(
        "a result that is not valid is shown anyway",
        replace(EMPTY, predicted=DepthPredictions(INVALID), shows_invalid=True),
        "Not valid: a fold",
        labels=2,
        line="model: 0.20 mm",
        compared=("2",),
    ),
    Case("a blind reader sees no proposal", BLIND, "Not measured."),
    Case(
        "a blind reader sees no other reader",
        replace(BLIND, readings=measured("A")),
        "Not measured.",
        others="1 other reader measured this slide.",
    ),
    Case(
        "who has measured sees all",
        TWO_READERS,
        "0.10 mm, T1",
        labels=2,
        rows=("A",),
        line="0.10 mm",
        compared=("1", "2", "A: 0.20 mm"),
    ),
]


def label(state: DepthState) -> str:
    return format_line_label(state.reading, state.size)


def test_the_label_of_a_line_at_another_scale_names_the_scale() -> None:
    state = replace(TWO_READERS, readings=measured("B"), reader="B")
    assert label(state) == "0.20 mm"
    reading = state.readings.readings[0].model_copy(update={"um_per_px": (0.5, 0.5)})
    readings = state.readings.model_copy(update={"readings": (reading,)})
    assert label(replace(state, readings=readings, size=PixelSize(0.5, 0.5))) == "0.20 mm"
    text = label(replace(state, readings=readings, size=PixelSize(1.0, 1.0)))
    assert text == "0.20 mm\nat 0.5 µm/px"
    padded = offset_label(Shapes(ndim=2), np.array(((0.0, 0.0), (9.0, 0.0))), "line", text).split("\n")
    spaces = [len(line) - len(line.lstrip()) for line in padded]
    assert min(spaces) > 2 * GAP_SPACES, "the line crosses no text"
    assert spaces[0] < spaces[1], "both are centered: each has as much space as it is wide"


def test_the_line_of_the_model_is_labeled_as_such_and_as_a_bound() -> None:
    bound = DepthProposal(line=MODEL, mm=0.55, at_least=True)
    state = replace(PROPOSED, predicted=DepthPredictions(SlideDepthProposals(proposals=(bound,))))
    assert label(state) == "model: at least 0.55 mm"
    moved = state.reading.model_copy(update=values_for_line(state.reading, HAND, HALF_UM))
    assert format_line_label(moved, HALF_UM) == "at least 0.20 mm"


def test_a_thickness_that_was_entered_is_not_the_label_of_a_line_of_another_length() -> None:
    size = PixelSize(0.5, 0.5)
    drawn = DepthState().reading.model_copy(update=values_for_line(DepthState().reading, ((0, 0), (1096, 0)), size))
    typed = drawn.model_copy(update={"mm": 1.23, "um_per_px": None, "when": WHEN})
    entered = "The line measures 0.54 mm; 1.23 mm was entered."  # 0.548 mm, which is recorded as 0.5 mm
    assert format_line_label(drawn, size) == format_line_label(typed, size) == "0.54 mm"
    assert (describe_entered_thickness(drawn, size), describe_entered_thickness(typed, size)) == ("", entered)
    assert entered in reading_warnings(typed, size)
    assert format_line_label(typed, None) == "", "the length of the line is unknown"
    same = typed.model_copy(update={"mm": 0.55})
    assert (format_line_label(same, size), describe_entered_thickness(same, size)) == ("0.55 mm", "")


def test_a_line_of_the_model_that_a_reader_has_accepted_is_drawn_once() -> None:
    accepted = values_for_line(EMPTY.reading, PROPOSED.proposals.proposals[0].line, HALF_UM)
    readings = set_values(measured("C", "B"), "A", WHEN, **accepted)
    labels = [one.label for one in list_compared_lines(replace(TWO_READERS, readings=readings, reader="B"))]
    assert labels == ["1, A: 0.20 mm", "2", "C: 0.20 mm"]
    both = set_values(readings, "D", WHEN, **accepted)
    labels = [one.label for one in list_compared_lines(replace(TWO_READERS, readings=both, reader="B"))]
    assert labels == ["1, A: 0.20 mm, D: 0.20 mm", "2", "C: 0.20 mm"]


@pytest.mark.parametrize("color", [LINE_COLOR, MODEL_COLOR, READER_COLOR])
@pytest.mark.parametrize("ground", ["#ffffff", "#e3a6c6", "#000000"], ids=["glass", "eosin", "beside the slide"])
def test_labels_can_be_read_on_all_grounds(color: str, ground: str) -> None:
    def luminance(text: str) -> float:
        parts = [int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(color), luminance(ground)))
    assert (high + 0.05) / (low + 0.05) >= 3, "WCAG 2.1 for large letters"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_thickness_proposals_and_other_readers(case: Case) -> None:
    state, validity = case.state, case.state.proposals.validity
    others = describe_hidden_readings(state.readings, state.reader)
    assert (format_headline(state.reading, validity), len(state.proposals.proposals)) == (case.headline, case.labels)
    assert tuple(row[0] for row in compare_readings(state.readings, state.reader)) == case.rows
    assert others.startswith(case.others)
    assert bool(others) == bool(case.others)
    assert label(case.state) == case.line
    assert tuple(one.label for one in list_compared_lines(case.state)) == case.compared


@pytest.mark.parametrize(
    ("info", "models", "is_running", "blocker"),
    [
        (INFO, ("skin",), False, ""),
        (INFO, None, False, LISTING_MODELS),
        (INFO, (), False, NO_MODEL),
        (INFO, ("skin",), True, RUNNING),
        (replace(INFO, kind="fluorescence"), ("skin",), False, NEEDS_BRIGHTFIELD),
        (replace(INFO, pixel_size=None), ("skin",), False, NEEDS_SCALE),
    ],
)
def test_why_the_model_cannot_measure(
    info: SlideInfo, models: tuple[str, ...] | None, is_running: bool, blocker: str
) -> None:
    assert find_blocker(info, models, is_running=is_running) == blocker


def test_one_thickness_has_one_number_everywhere() -> None:
    """0.548 mm is recorded as 0.5 mm, so that it is not shown as 0.55 mm."""
    measured = DepthReading(mm=0.548, when=WHEN, reader="A", line=HAND, um_per_px=(0.5, 0.5))
    readings = SlideDepthReadings(readings=(measured,))
    texts = (
        format_headline(measured),
        format_line_label(measured, HALF_UM),
        reader_rows(readings, "A", DepthReading(), Validity())[0][1],
        KnownDepth(0.548, "reader", reader="A").description,
        describe_finding(measured, "breslow"),
    )
    assert [("0.54" in text, "0.55" in text) for text in texts] == [(True, False)] * len(texts), texts
