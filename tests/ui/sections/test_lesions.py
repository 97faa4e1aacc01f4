"""The Lesions section: table, corrections, threshold, drawing, clicks, and what it states."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from canvas_mouse import CanvasMouse, box, goes_around
from fake_slides import MPP, TILE, FakeAnalysis
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QLabel,
    QSlider,
    QWidget,
)
from slide_fixtures import UNSEEN

from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.io.results import read_table
from napari_melanoma.slides import background_runs
from napari_melanoma.slides.lesion_files import read_analysis
from napari_melanoma.slides.lesions import LesionConfig, LesionMaps, build_lesion_maps, find_lesions
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.ui.sections.lesions.canvas import SPLIT_HINT
from napari_melanoma.ui.sections.lesions.resolve import (
    LESIONS_LATER,
    LESIONS_NOW,
    NO_CLASS,
    NO_LESIONS,
    NOT_ASSESSED,
    describe_lesion,
    describe_lesions,
    format_cells,
    sort_key,
)
from napari_melanoma.ui.sections.lesions.section import LesionTable
from napari_melanoma.ui.session.lesions import LesionSource, LesionState
from napari_melanoma.ui.session.results import AnalysisResults

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
PLACEMENT = MapPlacement(0, 0, 100, 100, PixelSize(1, 1))
CONFIG = LesionConfig(malignant_from=0.65)
HEATMAP: Any = SimpleNamespace(is_probability=True)
TARGET = {"target": "melanoma"}
DRAWING = "section drawing"


def find_example():
    """Return a large lesion, a small one with higher probability, and a benign one."""
    presence = np.zeros((20, 30), np.float32)
    presence[2:8, 2:20] = 0.7
    presence[10, 2] = 0.99
    presence[14:18, 2:12] = 0.61
    return find_lesions(LesionMaps(presence, PLACEMENT), CONFIG)


LESIONS = find_example()
STATE = LesionState(LesionSource(Path(), "melanoma", (2000, 3000)), LESIONS, CONFIG)
EMPTY = replace(STATE, lesions=())


@dataclass
class Case:
    name: str
    state: LesionState | None
    summary: str
    results: AnalysisResults = field(default_factory=AnalysisResults)
    is_corrected: bool = False


CASES = [
    Case("before an analysis", None, NO_LESIONS),
    Case("while it runs", None, LESIONS_LATER, AnalysisResults(is_running=True, heatmap=HEATMAP)),
    Case("while they are detected", None, LESIONS_NOW, AnalysisResults(content=TARGET, heatmap=HEATMAP)),
    Case("a model without lesions", None, NOT_ASSESSED, AnalysisResults(content={"score": 1})),
    Case("classified ones", STATE, "Malignant from a probability of 0.65."),
    Case(
        "of a class without a scale",
        replace(STATE, lesions=(replace(LESIONS[0], label="nevus", area_mm2=None, malignancy=math.nan),)),
        "",
    ),
    Case("none at this threshold", EMPTY, ""),
    Case(
        "all removed",
        replace(EMPTY, removed=LESIONS[:2]),
        "No lesions left: 2 lesions were removed manually.",
        is_corrected=True,
    ),
    Case(
        "one removed, others not detected",
        replace(EMPTY, removed=LESIONS[:1]),
        "1 lesion was removed manually.",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_summary(case):
    assert describe_lesions(case.state, case.results, is_corrected=case.is_corrected) == case.summary


def test_cells_and_their_order():
    drawn = replace(LESIONS[0], origin="drawn", probability=math.nan, malignancy=math.nan, area_mm2=None)
    assert format_cells(LESIONS[0])[:4] == ("1", "malignant", "0.70", "1.08")
    assert format_cells(drawn)[1:4] == ("malignant *", "–", f"{drawn.area_px:,.0f}")
    for column in range(5):
        assert all(sort_key(lesion, column)[0] is False for lesion in LESIONS)
    assert sort_key(drawn, 2) > max(sort_key(lesion, 2) for lesion in LESIONS)  # unknown values are last


def test_the_number_next_to_the_class_determines_it():
    values = np.broadcast_to(np.array([0.36, 0.28, 0.36], np.float32)[:, None, None], (3, 4, 4))
    classes = ("normal", "nevus", "melanoma")
    maps = build_lesion_maps(values, PLACEMENT, classes, "melanoma", is_dense=False)
    (lesion,) = find_lesions(maps, LesionConfig())
    assert format_cells(lesion)[1:3] == ("malignant", "0.56")
    tip = describe_lesion(lesion, "melanoma")
    assert "probability of malignancy 0.563\nprobability of melanoma (mean of the heatmap) 0.360" in tip


@pytest.fixture
def table(qtbot):
    made = LesionTable()
    qtbot.addWidget(made)
    made.resize(300, 200)
    made.show()
    made.show_lesions(find_example(), "", ())
    return made


def numbers(table):
    return [lesion.index for lesion in table.table_model.rows]


def clicks_header(qtbot, table, title):
    header = table.horizontalHeader()
    column = [one.title for one in table.table_model.columns].index(title)
    at = header.viewport().rect().center()
    at.setX(header.sectionViewportPosition(column) + header.sectionSize(column) // 2)
    qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=at)


def test_clicks_sort_reverse_and_restore_the_order(qtbot, table):
    for title, first, second in (("Class", [3, 1, 2], [1, 2, 3]), ("Prob.", [2, 1, 3], [3, 1, 2])):
        for expected in (first, second, [1, 2, 3]):
            clicks_header(qtbot, table, title)
            assert numbers(table) == expected


def test_selection_survives_sorting_and_new_lesions_which_are_sorted(qtbot, table):
    chosen = []
    table.chosen.connect(chosen.append)
    table.select((2,))
    clicks_header(qtbot, table, "Prob.")
    assert (table.selected, chosen) == ((2,), [])
    table.selectRow(2)
    assert chosen == [(3,)]
    # A click on the selected row zooms to its lesion again.
    at = table.visualRect(table.table_model.index(2, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert chosen == [(3,), (3,)]
    table.show_lesions(find_example()[:2], "", (1,))
    assert (numbers(table), table.selected) == ([2, 1], (1,))
    assert len(chosen) == 2


def test_keys_and_clicks_extend_a_selection_that_is_stored_and_shown_again(qtbot, table):
    table.chosen.connect(table.select)  # as from the session
    table.selectRow(0)
    for _ in range(2):
        qtbot.keyClick(table, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    assert table.selected == (1, 2, 3)
    at = table.visualRect(table.table_model.index(1, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ControlModifier, at)
    assert table.selected == (1, 3)
    qtbot.keyClick(table, Qt.Key.Key_Down)  # from the row that was clicked, not from the first selected one
    assert table.selected == (3,)


def test_a_selection_that_is_cleared_with_the_rows_does_not_return(qtbot, table):
    table.select((2,))
    table.show_lesions(find_example(), "", ())
    clicks_header(qtbot, table, "Prob.")
    assert table.selected == ()


def clicks_canvas(viewer, world):
    """Click on the canvas without moving the mouse."""
    from napari.utils._test_utils import read_only_mouse_event

    for callback in viewer.mouse_drag_callbacks:
        event = read_only_mouse_event(type="mouse_press", position=world, button=1, dims_displayed=(0, 1))
        steps = callback(viewer, event)
        if steps is not None and hasattr(steps, "__next__"):
            with contextlib.suppress(StopIteration):
                next(steps)
                next(steps)


@pytest.mark.path
def test_reopened_results_are_found_corrected_and_undone(person, slide_path, user):
    dock, viewer = person.dock, person.viewer
    person.opens_slides(slide_path)
    analysis = FakeAnalysis(dock.result_location.folder, slide_path, dock.slide.info.fingerprint).begins().finishes()
    viewer.layers.clear()
    person.opens_slides(slide_path)
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    assert "Previous analysis" in dock.status.text
    assert dock.analyze_button.text() == "Analyze again"
    assert {"section", "section heatmap", "section lesions"} == {layer.name for layer in viewer.layers}

    clicks_canvas(viewer, dock.slide.to_world((12.5 * TILE, 2.5 * TILE)))
    assert person.lesion_table.selected == (2,)
    person.clicks("lesion_class")
    person.until(lambda: [row[1] for row in person.rows()][1:] == ["benign *"])
    person.waits()
    assert [row["label"] for row in read_table(analysis.path / "lesions.csv")] == ["malignant", "benign"]

    person.lesion_table.selectAll()
    person.clicks("lesion_merge")
    person.until(lambda: len(person.rows()) == 1)
    person.waits()
    person.clicks("lesion_undo")
    person.until(lambda: len(person.rows()) == 2)
    person.waits()

    person.lesion_table.clearSelection()
    person.lesion_table.selectRow(0)
    person.cuts((6.0 * TILE, 4.0 * TILE), (6.0 * TILE, 12.0 * TILE))
    person.until(lambda: len(person.rows()) == 3)
    person.waits()
    person.lesion_table.clearSelection()
    person.lesion_table.selectRow(2)
    person.qtbot.keyClick(person.lesion_table, Qt.Key.Key_Delete)
    person.until(lambda: len(person.rows()) == 2)
    person.waits()

    viewer.layers.clear()
    person.opens_slides(slide_path)
    person.until(lambda: len(person.rows()) == 2)
    assert [row[1] for row in person.rows()] == ["malignant *", "benign *"]


def test_split_ends_other_tools_which_would_draw_along_its_line_and_is_ended_by_them(analysed):
    person, mouse = analysed, CanvasMouse(analysed)
    across = (6.0 * TILE, 4.0 * TILE), (6.0 * TILE, 12.0 * TILE)
    person.opens_section("Regions")
    person.presses("region_add_polygon_lasso")
    person.lesion_table.selectRow(0)
    person.clicks("lesion_split")
    assert person.dock.status.text == SPLIT_HINT
    mouse.drags(*across)
    person.until(lambda: len(person.rows()) == 3)
    person.waits()
    assert person.session.regions.value == ()
    person.clicks("lesion_undo")
    person.until(lambda: len(person.rows()) == 2)
    person.lesion_table.selectRow(0)
    person.clicks("lesion_split")
    person.presses("region_rectangle")
    assert person.dock.status.text != SPLIT_HINT
    mouse.drags((5.0 * TILE, 4.0 * TILE), (7.0 * TILE, 12.0 * TILE))
    person.until(lambda: len(person.session.regions.value) == 1)
    person.waits()
    assert len(person.rows()) == 2


def moves(person, threshold):
    """Enter another threshold, and wait for the lesions."""
    box = person.finds(QDoubleSpinBox, "slide_threshold_number")
    box.setValue(threshold)
    person.waits()
    person.until(lambda: person.session.lesions.value.config.high == pytest.approx(threshold))


def test_a_new_threshold_for_saved_lesions_can_be_undone(analysed):
    person, before = analysed, analysed.rows()
    stored = (person.dock.result_location.folder / "lesions.geojson").read_bytes()
    save, undo = (person.finds(QAbstractButton, name) for name in ("save", "lesion_undo"))
    assert not save.isEnabled()
    moves(person, 0.9)
    moves(person, 0.8)  # one step together: the values on the way are of no interest
    assert len(person.rows()) < len(before)
    assert save.isEnabled()
    assert undo.isEnabled()
    assert (person.dock.result_location.folder / "lesions.geojson").read_bytes() == stored
    person.clicks("lesion_undo")
    person.until(lambda: person.rows() == before)
    person.waits()
    assert person.finds(QDoubleSpinBox, "slide_threshold_number").value() == 0.6
    assert person.finds(QSlider, "slide_threshold").value() == 60
    assert not save.isEnabled()
    assert not undo.isEnabled()
    person.clicks("lesion_redo")
    person.until(lambda: len(person.rows()) < len(before))
    person.waits()
    assert save.isEnabled()  # a threshold is saved on request only, also by redo
    person.clicks("save")
    person.waits()
    content = read_analysis(person.dock.result_location.folder)
    assert content["options"]["lesions"]["high"] == 0.8
    assert person.session.results.value.content == content  # although the saved lesions were not read again

    # The lesions of another class are shown, and those of the first one again.
    classes = person.finds(QComboBox, "slide_class")
    first = classes.currentIndex()
    for index in (1 - first, first):
        classes.setCurrentIndex(index)
        classes.activated.emit(index)
        person.waits()
        assert person.session.lesions.value.source.target == classes.currentData()


def test_the_reader_chooses_the_class_of_interest(person, slide_path, monkeypatch):
    monkeypatch.setattr("fake_slides.CLASSES", ("Dermis", "Adnexa"))
    folder = background_runs.slide_folder(person.dock.settings.slide_results, slide_path)
    analysis = FakeAnalysis(folder, slide_path, slide_fingerprint(slide_path)).begins()
    analysis.works(len(analysis.order))
    areas = {name: {"mm2": 0.1, "percent": 50.0} for name in ("Dermis", "Adnexa")}
    content = {"slide": "section", "validity": {"valid": True}, "model": {"name": "skin-layers"}, "target": None}
    write_json(folder / "result.json", {**content, "areas": areas, "lesions": [], "seconds": 3.0, "options": {}})
    analysis.place.append_final_event("finished", tiles=analysis.done, failed=0)
    analysis.dies()

    # Without a tumor class, nothing is listed before a class is chosen.
    person.opens_slides(slide_path)
    person.opens_section("Lesions")
    person.waits()
    combo = person.finds(QComboBox, "lesion_target")
    names = [combo.itemText(index) for index in range(combo.count())]
    assert (names, combo.currentIndex(), person.rows()) == (["Dermis", "Adnexa"], -1, [])
    assert person.label_text("lesion_count") == NO_CLASS

    # The first choice is stored at once; no area is called a lesion, or malignant.
    combo.setCurrentIndex(1)
    combo.activated.emit(1)
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    assert {row[1] for row in person.rows()} == {"Adnexa"}
    assert not person.finds(QAbstractButton, "lesion_class").isEnabled()
    assert (read_analysis(folder)["target"], len(read_analysis(folder)["lesions"])) == ("Adnexa", 2)
    assert person.session.results.value.content["target"] == "Adnexa"
    assert not person.finds(QAbstractButton, "save").isEnabled()

    # Another one is stored on request.
    combo.setCurrentIndex(0)
    combo.activated.emit(0)
    person.until(lambda: person.session.lesions.value.source.target == "Dermis")
    person.waits()
    assert read_analysis(folder)["target"] == "Adnexa"
    person.clicks("save")
    person.waits()
    assert read_analysis(folder)["target"] == person.session.results.value.content["target"] == "Dermis"


@pytest.mark.usefixtures("shown_viewer")
def test_a_lesion_is_drawn_classed_measured_and_undone(analysed):
    person, dock = analysed, analysed.dock
    person.clicks("lesion_draw")
    panel = next(frame for frame in dock.findChildren(QFrame, "notice") if frame.isVisible())
    assert panel.accessibleName() == "Draw a lesion"
    dock.window().resizeDocks([dock.parentWidget()], [340], Qt.Orientation.Horizontal)
    hint = person.finds(QLabel, "draw_hint")
    person.waits()
    assert hint.height() >= hint.heightForWidth(hint.width()), "the hint is cut off"
    assert str(person.viewer.layers[DRAWING].mode) == "add_polygon_lasso"
    goes_around(person, "drawing", box(9, 9, 12, 13))
    person.until(lambda: len(person.rows()) == 3)
    person.waits()
    lesion = person.lesions[-1]
    assert (lesion.origin, lesion.label) == ("drawn", "benign")
    assert lesion.area_mm2 == pytest.approx(12 * (TILE * MPP / 1000) ** 2, rel=0.05)
    assert lesion.probability == pytest.approx(0.1)
    assert person.lesion_table.selected == (3,)
    assert "Lesion 3 drawn: benign" in dock.status.text or "Saved" in dock.status.text
    assert len(person.viewer.layers[DRAWING].data) == 0

    person.finds(QComboBox, "draw_class").setCurrentIndex(1)
    goes_around(person, "drawing", box(1, 1, 3, 3))
    person.until(lambda: len(person.rows()) == 4)
    person.waits()
    assert person.rows()[3][1] == "malignant *"
    assert [row["origin"] for row in read_table(person.analysis.path / "lesions.csv")][2:] == ["drawn", "drawn"]
    person.clicks("lesion_undo")
    person.until(lambda: len(person.rows()) == 3)
    person.waits()
    assert "Undone: 1 lesion removed. Saved in" in dock.status.text
    person.clicks("lesion_redo")
    person.until(lambda: len(person.rows()) == 4)
    person.waits()

    person.clicks("lesion_draw")
    assert not panel.isVisible()
    assert DRAWING not in person.viewer.layers
    person.viewer.layers.clear()
    person.opens_slides(person.analysis.slide)
    person.until(lambda: len(person.rows()) == 4)
    assert person.lesions[-1].label == "malignant"


def test_outlines_are_clipped_to_the_slide_and_may_follow_each_other_quickly(analysed):
    person = analysed
    person.clicks("lesion_draw")
    goes_around(person, "drawing", box(9, 9, 12, 13))
    goes_around(person, "drawing", box(1, 1, 3, 3))
    person.until(lambda: len(person.rows()) == 4)
    person.waits()

    goes_around(person, "drawing", box(14, 2, 20, 4))
    person.until(lambda: len(person.rows()) == 5)
    person.waits()
    area = person.lesions[-1].area_mm2
    assert area == pytest.approx(4 * (TILE * MPP / 1000) ** 2, rel=0.05)
    goes_around(person, "drawing", box(-9, -9, -4, -4))
    person.until(lambda: "Draw around the lesion" in person.dock.status.text)
    assert len(person.rows()) == 5
    goes_around(person, "drawing", box(5, 5, 7, 7))  # the outline outside the slide does not stand in its way
    person.until(lambda: len(person.rows()) == 6)
    person.waits()

    # The slide is closed while drawing.
    person.viewer.layers.remove(person.viewer.layers["section"])
    person.waits()
    assert not any(button.isChecked() for button in person.dock.context.tool_buttons)
    assert DRAWING not in person.viewer.layers


def presses_in_dialogs(monkeypatch, name):
    """Press the button of this name in every dialog."""
    requested = []

    def answered(box):
        requested.append(box.text())
        pressed = box.findChild(QWidget, name)
        box.deleteLater()
        return pressed

    monkeypatch.setattr("napari_melanoma.ui.sections.lesions.section.exec_question", answered)
    return requested


def test_rejected_outline_stays_until_a_class_makes_it_a_lesion(analysed, monkeypatch):
    person, dock, requested = analysed, analysed.dock, presses_in_dialogs(monkeypatch, "none")
    person.clicks("lesion_draw")
    goes_around(person, "drawing", box(2, 14.1, 4, 15.9))  # glass: nothing was asked of the model there
    person.until(lambda: "Choose malignant or benign" in dock.status.text)
    assert len(person.rows()) == 2
    assert len(person.viewer.layers[DRAWING].data) == 1
    assert "not a lesion yet" in person.label_text("draw_hint")
    person.clicks("lesion_draw")  # away with it, and on second thought not
    assert requested == ["Discard the outline that you drew?"]
    assert person.finds(QAbstractButton, "lesion_draw").isChecked()
    assert len(person.viewer.layers[DRAWING].data) == 1
    combo = person.finds(QComboBox, "draw_class")
    combo.setCurrentIndex(2)
    combo.activated.emit(2)
    person.until(lambda: len(person.rows()) == 3)
    person.waits()
    assert person.rows()[2][:3] == ["3", "benign *", "–"]
    assert "Choose malignant or benign" not in dock.status.text
    assert "not a lesion yet" not in person.label_text("draw_hint")
    person.clicks("lesion_draw")
    assert (person.finds(QAbstractButton, "lesion_draw").isChecked(), len(requested)) == (False, 1)

    # It is discarded only after confirmation.
    combo.setCurrentIndex(0)
    combo.activated.emit(0)
    person.clicks("lesion_draw")
    goes_around(person, "drawing", box(5, 14.1, 7, 15.9))
    person.until(lambda: "not a lesion yet" in person.label_text("draw_hint"))
    presses_in_dialogs(monkeypatch, "drop")
    person.clicks("lesion_draw")
    assert DRAWING not in person.viewer.layers
    assert "Choose malignant or benign" not in dock.status.text


def test_clicks_refine_a_lesion_in_single_steps_and_drawing_stops_with_its_layer_or_lesions(analysed):
    person, dock = analysed, analysed.dock
    mouse, before = CanvasMouse(person), person.lesions[0]
    person.clicks("lesion_refine")
    assert "Click next to an outline" in dock.status.text
    mouse.clicks((8.5 * TILE, 8 * TILE))  # tissue below the lesion
    person.until(lambda: person.lesions[0].origin == "refined")
    person.waits()
    grown = person.lesions[0]
    assert (grown.index, grown.label) == (before.index, before.label)
    assert grown.area_px > before.area_px
    assert person.rows()[0][1].endswith("*")
    mouse.clicks((8.5 * TILE, 8 * TILE), Qt.MouseButton.RightButton)
    person.until(lambda: person.lesions[0].area_px < grown.area_px)
    person.waits()
    assert person.lesions[0].area_px == pytest.approx(before.area_px, rel=0.03)
    assert read_table(person.analysis.path / "lesions.csv")[0]["origin"] == "refined"
    for expected in (grown, before):
        person.clicks("lesion_undo")
        person.until(lambda expected=expected: person.lesions[0] == expected)
    person.waits()
    mouse.clicks((6 * TILE, 8 * TILE))
    person.until(lambda: "already inside" in dock.status.text)
    person.viewer.layers.selection.active = dock.slide.layers[-1]
    assert not person.finds(QAbstractButton, "lesion_refine").isChecked()

    # Drawing stops with its layer or the lesions.
    button = person.finds(QAbstractButton, "lesion_draw")
    person.clicks("lesion_draw")
    person.viewer.layers.remove(person.viewer.layers[DRAWING])
    assert not button.isChecked()
    person.clicks("lesion_draw")
    assert button.isChecked()
    dock.context.session.results.reset(is_view=False)  # as another analysis does
    assert not button.isChecked()
    assert DRAWING not in person.viewer.layers
    assert not button.isEnabled()
    button.setChecked(True)
    assert not button.isChecked()


def test_closing_saves_unsaved_lesions(analysed):
    path = analysed.dock.slide.info.path
    moves(analysed, 0.8)
    assert not analysed.session.lesions.is_saved
    analysed.clicks("close_slide")
    analysed.waits()
    assert analysed.dock.slide is None
    analysed.opens_slides(path)
    analysed.until(lambda: len(analysed.rows()) == 1)
