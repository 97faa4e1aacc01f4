"""Controls and sections keep their places while others are updated, and as soon as they are shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from canvas_mouse import CanvasMouse, box
from fake_slides import LESION, TILE, FakeAnalysis, draw_slide
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QCursor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QLabel,
)
from slide_fixtures import UNSEEN
from steady import LONG_TEXT, SETTLE_MS, SIZE, list_message_states, list_moved_controls

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.slides import background_runs
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.slides.regions import DEFAULT_CLASSES, region_from_vertices
from napari_melanoma.ui.session.document import Document
from napari_melanoma.ui.session.run_status import ClassMapData
from napari_melanoma.ui.slide.run_manager import SlideRunManager
from napari_melanoma.ui.viewer.docking import DeferredWidgets
from napari_melanoma.ui.viewer.slide_layers import toggle_overlays
from napari_melanoma.ui.widgets.dock_layout import SummarySection
from napari_melanoma.ui.widgets.style import READING, REST_MS

from ..sections.test_depth import draws
from ..sections.test_depth import opens as opens_depth
from ..sections.test_depth import section as depth_section

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
shown = pytest.mark.usefixtures("shown_viewer")
DARK = ((LESION[0].start + 1.5) * TILE, (LESION[1].start + 2.0) * TILE)
PALE = (10 * TILE, 3 * TILE)
ROUNDING_PX = 2  # between layouts of the same widgets
SETTLE_TURNS = 20  # waits for a layout on a busy machine
OPEN = ("Paint", "Measure", "Heatmap", "Depth", "Report", "Regions")


def test_no_control_moves_while_a_slide_is_read_and_analyzed(analysed, tmp_path):
    person, dock = analysed, analysed.dock
    rests(person)

    def shows(label, text=LONG_TEXT):
        label.setText(text)
        label.show()

    states = {
        "idle": lambda: None,
        **list_message_states(dock.status),
        "a warning": lambda: shows(dock.picker.warning_label),
        "slides are analyzed": lambda: shows(dock.notice),
        "no warning": dock.picker.warning_label.hide,
    }
    moved = list_moved_controls(dock, states, lambda: rests(person))
    run = {
        "queued": dock.run_panel.show,
        "running": lambda: shows(dock.run_panel.findChild(QLabel, "run_state")),
        "canceled": lambda: shows(dock.run_panel.findChild(QLabel, "run_state"), "Canceled."),
    }
    moved += list_moved_controls(dock, run, lambda: rests(person))
    others = {
        "a slide": lambda: None,
        "another slide": lambda: person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9)),
        "a slide without a scale": lambda: person.opens_slides(draw_slide(tmp_path / "bare.tif", mpp=None)),
    }
    moved += list_moved_controls(dock, others, lambda: rests(person), lambda: (dock.picker, dock._files, dock.status))
    assert not moved, moved


def test_no_control_moves_while_the_depth_is_measured_and_a_report_is_signed(person, slide_path):
    person.opens_slides(slide_path)
    opens_depth(person)
    view = depth_section(person)

    def shows(name, text):
        label = person.finds(QLabel, name)
        label.setText(text)
        label.setVisible(bool(text))

    def proposes(summary, *lengths):
        shows("depth_found", summary)
        view._proposal_table.show_rows([("1", length) for length in lengths])

    def list_tools():
        """The rows with what is pressed; texts that come and go are below them."""
        return view.column.itemAt(0).widget(), view.column.itemAt(1).widget()

    states = {
        "not measured": lambda: None,
        "measured": lambda: draws(person),
        "the ends are moved": lambda: person.clicks("depth_move"),
        "no tool": lambda: person.clicks("depth_move"),
        "a long headline": lambda: shows("depth_head", LONG_TEXT),
        "warnings": lambda: shows("depth_warning", f"{LONG_TEXT}<br>{LONG_TEXT}"),
        "a source": lambda: shows("depth_origin", LONG_TEXT),
        "the depth of a network": lambda: shows("depth_network", LONG_TEXT),
        "locked": lambda: shows("depth_lock", LONG_TEXT),
        "other readers": lambda: view._reader_table.show_rows((("A", "1.00 mm", "–"), ("B", "1.00 mm", "–"))),
        "others who are hidden": lambda: shows("depth_others", LONG_TEXT),
        "a model has found nothing": lambda: proposes("Nothing was found."),
        "a run": view.analysis.show,
        "no run": view.analysis.hide,
        "a prediction": lambda: proposes(LONG_TEXT, "0.20 mm", "0.10 mm"),
        "another text": lambda: proposes("One line."),
    }
    moved = list_moved_controls(view, states, person.waits, list_tools)

    view = person.opens_section("Report")
    form, empty, time = view.form, SynopticReport(), "2026-01-01T00:00:00+00:00"
    measured = empty.set_answer("breslow", SynopticAnswer(value=1.3), "A", time)
    suggested = measured.set_answer("ulceration", SynopticAnswer(value="present", suggested_by="case"), "A", time)
    signed = measured.sign("A", time, {})

    def shows_report(report, *changes):
        form.show_report(report, "A", changes, is_editable=True)

    def list_signing():
        """The rows of the reader, and of what is pressed to sign."""
        return form.reader_row, form.button_row

    states = {
        "empty": lambda: shows_report(empty),
        "a thickness": lambda: shows_report(measured),
        "suggestions": lambda: shows_report(suggested),
        "confirmed": lambda: shows_report(measured),
        "signed": lambda: shows_report(signed),
        "changed since": lambda: shows_report(signed, LONG_TEXT, LONG_TEXT),
        "an addendum": lambda: shows_report(signed.add_addendum(LONG_TEXT, "A", time)),
        "reopened": lambda: shows_report(measured),
    }
    moved += list_moved_controls(view, states, person.waits, list_signing)
    assert not moved, moved

    # What has changed since the signature is above the findings, and below all that is pressed.
    shows_report(signed, LONG_TEXT, LONG_TEXT)
    person.waits()
    assert form.change_notice.isVisibleTo(view)
    assert form.reader_row.y() < form.button_row.y() < form.change_notice.y() < form.stage_label.y() < form.findings.y()


def opens_sections(person):
    """Expand the sections of daily work; return their frames by title."""
    person.dock.window().resize(*SIZE)
    person.dock.choice.button.setChecked(False)
    for title in OPEN:
        person.opens_section(title)
    person.waits()
    person.mouse = CanvasMouse(person)
    QTest.qWait(2 * REST_MS)
    return {title: person.dock.list_places()[title] for title in OPEN}


def paints(person, start, class_number):
    controller = person.dock.sections.hosted.sections["Paint"].widget
    if controller._tool_name != "brush":
        person.clicks("paint_brush")
    controller.view.class_list.select_class(class_number)
    strokes = len(person.session.painted.value.strokes)
    person.mouse.drags(start, (start[0] + TILE / 2, start[1] + TILE))
    person.until(lambda: len(person.session.painted.value.strokes) > strokes)


def rests(person):
    person.waits()
    QTest.qWait(2 * REST_MS)


def list_paint_states(person):
    """Return the states of the Paint section, after the brush was selected."""
    return {
        "the brush": lambda: person.clicks("paint_brush"),
        "one class": lambda: paints(person, PALE, 2),
        "two classes": lambda: paints(person, DARK, 5),
        "several strokes": lambda: [paints(person, (row * TILE, 2 * TILE), 2) for row in (2, 9)],
        "similar cells": lambda: (person.clicks("paint_similar"), person.mouse.clicks(PALE)),
        "no similar cells": lambda: person.clicks("paint_similar"),
        "undone": lambda: [person.clicks("paint_undo") for _ in range(4)],
    }


@shown
def test_nothing_above_a_section_moves_while_it_is_updated(analysed):
    person, moved, dock = analysed, "", analysed.dock
    frames = opens_sections(person)
    pinned = (dock.picker, dock.analyze_button.parentWidget(), dock.answer, dock._files)
    for title, states in {"Paint": list_paint_states(person), "Heatmap": list_heatmap_states(person)}.items():
        above = [*pinned, *(frames[other] for other in OPEN[: OPEN.index(title)])]
        moved += list_moved_controls(dock, states, lambda: rests(person), lambda above=above: above)
    assert not moved, moved


def list_heatmap_states(person, colors=("#e69f00", "#0072b2")):
    """Return states of the Heatmap section, such as no tiles, and a map of classes with these colors."""
    results = person.session.results
    first = results.value

    def shows(**changes):
        return lambda: results.set(replace(first, **changes))

    labels = np.ones(first.heatmap.values.shape, np.uint8)
    named = {f"class {number}": color for number, color in enumerate(colors)}
    classes = ClassMapData(labels, first.heatmap.placement, named)
    return {
        "a class": shows(),
        "no tiles": shows(heatmap=replace(first.heatmap, tiles=())),
        "classes": shows(heatmap=replace(first.heatmap, class_map=classes, shows_classes=True)),
        "a class again": shows(),
        "no heatmap": shows(heatmap=None),
        "the end": shows(),
    }


def list_other_states(person):
    """Return states of Depth, Report, Regions, Measure and Heatmap, such as with long texts."""
    hosted, session = person.dock.sections.hosted.sections, person.session
    heatmap = list_heatmap_states(person, 30 * ("#e69f00",))

    def states(*names):
        for label in (hosted["Depth"].widget.findChild(QLabel, f"depth_{name}") for name in names):
            label.setText(LONG_TEXT)
            label.show()

    form = hosted["Report"].widget.form
    return {
        "nothing": lambda: None,
        "a result of a model": lambda: states("found"),
        "a locked reading": lambda: states("lock", "others", "network"),
        "a reading": session.findings.refresh,
        "changed since the signature": lambda: form.change_notice.show_changes((LONG_TEXT, LONG_TEXT)),
        "unchanged": lambda: form.change_notice.show_changes(()),
        "many regions": lambda: person.finds(QLabel, "region_summary").setText(2 * LONG_TEXT),
        "many points": lambda: person.finds(QLabel, "count_text").setText(2 * LONG_TEXT),
        **heatmap,
        "warnings": lambda: person.finds(QLabel, "slide_cautions").setText(LONG_TEXT),
        "no warning": lambda: person.finds(QLabel, "slide_cautions").setText(""),
    }


def is_back(widget, place):
    """Wait until a widget is at its place, which a busy machine reaches some layouts later; return whether it is."""
    for _ in range(SETTLE_TURNS):
        if widget.mapToGlobal(widget.rect().center()) == place:
            return True
        QTest.qWait(SETTLE_MS)
    return False


@shown
@pytest.mark.both_qts
def test_nothing_moves_under_the_pointer_while_other_sections_are_updated(analysed):
    person, dock = analysed, analysed.dock
    frame = opens_sections(person)["Regions"]
    pointed = next(one for one in frame.content.findChildren(QAbstractButton) if one.isVisible())
    dock.content_scroll.ensureWidgetVisible(pointed)
    rests(person)
    before = pointed.mapToGlobal(pointed.rect().center())
    QCursor.setPos(before)
    person.until(pointed.underMouse)
    moved = []
    for name, enter in (list_paint_states(person) | list_other_states(person)).items():
        QCursor.setPos(before)  # the mouse was on the canvas
        QTest.qWait(SETTLE_MS)
        enter()
        rests(person)
        if not is_back(pointed, before):
            moved.append((name, (pointed.mapToGlobal(pointed.rect().center()) - before).y()))
    assert not moved


def list_tops(person):
    """Return the titles of the sections that are shown, with their positions in the page."""
    page = person.dock.content_scroll.widget()
    shown = {title: one for title, one in person.dock.choice.list_frames().items() if one.isVisibleTo(page)}
    return {title: frame.title_button.mapTo(page, QPoint()).y() for title, frame in shown.items()}


def state_of(person, title):
    """Return the text of a section while it has no widgets; empty if it has."""
    frame = person.dock.list_places()[title]
    return frame.content.layout().itemAt(0).widget().text() if frame.is_waiting else ""


@shown
def test_sections_have_their_places_before_they_are_found(user, slide_path, person, monkeypatch):
    started = []
    monkeypatch.setattr(DeferredWidgets, "add_task", lambda waiting, task: started.append(task))
    person.viewer.window.remove_dock_widget(person.dock.parentWidget())
    _, person.dock = person.viewer.window.add_plugin_dock_widget("napari-melanoma", "Slide")
    person.opens_slides(slide_path)
    person.until(lambda: bool(list_tops(person)))
    assert next(iter(list_tops(person))) == "Paint"
    person.dock.list_places()["Paint"].expand()
    assert state_of(person, "Paint") == READING
    for frame in person.dock.choice.list_frames().values():
        frame.collapse()
    rests(person)
    before = list_tops(person)
    person.dock.sections.hosted._search.start()
    person.until(lambda: "Paint" in person.dock.sections.hosted.sections)
    rests(person)
    assert list_tops(person) == before


@shown
def test_sections_of_a_slide_that_is_opened_again_keep_room_for_what_is_read(analysed, slide_path, monkeypatch):
    person, dock = analysed, analysed.dock
    opens_sections(person)
    paints(person, PALE, 2)
    rests(person)
    before = list_tops(person)
    dock.close_slide()
    person.waits()
    read, withheld = Document._on_read, []
    monkeypatch.setattr(Document, "_on_read", lambda *values: withheld.append(values))
    person.opens_slides(slide_path)
    person.until(lambda: len(withheld) > 2)
    rests(person)
    assert list_tops(person) == pytest.approx(before, abs=ROUNDING_PX)
    assert {state_of(person, title) for title in ("Paint", "Depth", "Report", "Regions")} == {READING}
    monkeypatch.setattr(Document, "_on_read", read)
    for values in withheld:
        read(*values)
    person.until(lambda: not any(state_of(person, title) for title in OPEN))
    rests(person)
    assert list_tops(person) == pytest.approx(before, abs=ROUNDING_PX)


@shown
def test_the_scale_of_the_file_is_not_shown_before_that_of_the_user_was_searched(person, slide_path, monkeypatch):
    person.opens_slides(slide_path)
    person.dock.scale_panel.pixel_size_changed.emit(PixelSize(0.25, 0.25, "given"))
    person.waits()
    person.dock.close_slide()
    person.waits()
    find, requests = SlideRunManager.find_results, []
    monkeypatch.setattr(SlideRunManager, "find_results", lambda *values: requests.append(values))
    person.opens_slides(slide_path)
    person.until(lambda: bool(requests))
    assert person.label_text("slide_about") == "512 x 512 px · TIFF"
    assert not list_tops(person)
    assert person.dock.answer.text == READING
    find(*requests[-1])
    person.waits()
    assert person.label_text("slide_about").startswith("0.25 µm/px (set on this computer)")
    assert list_tops(person)
    assert person.dock.answer.text != READING


@shown
def test_results_of_a_slide_have_their_sections_before_they_are_read(user, request, slide_path, monkeypatch):
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.SHIPPED_FOLDER", user / "none")  # else always shown
    person = request.getfixturevalue("person")
    folder = background_runs.slide_folder(person.dock.settings.slide_results, slide_path)
    FakeAnalysis(folder, slide_path, slide_fingerprint(slide_path)).begins().finishes()
    person.dock.choice.button.setChecked(False)
    monkeypatch.setattr(person.dock.run_panel, "set_folder", lambda *_: None)  # which reads the results
    person.opens_slides(slide_path)
    rests(person)
    assert {"Heatmap", "Lesions"} <= set(list_tops(person))
    person.opens_slides(draw_slide(slide_path.with_name("other.tif"), tint=9))
    rests(person)
    assert not {"Heatmap", "Lesions"} & set(list_tops(person))


@shown
@pytest.mark.both_qts
def test_one_class_map_is_visible_at_a_time(analysed):
    person, layers = analysed, analysed.viewer.layers
    heat = person.session.results.value.heatmap
    labels = np.ones(heat.values.shape, np.uint8)
    classes = ClassMapData(labels, heat.placement, {"dermis": "#e69f00"})
    shown = replace(heat, class_map=classes, shows_classes=True)

    def visible():
        return [
            role for role in ("classes", "class map") if (name := f"section {role}") in layers and layers[name].visible
        ]

    def shows_results():
        person.session.results.set(replace(person.session.results.value, heatmap=shown))

    shows_results()
    assert visible() == ["classes"]
    opens_sections(person)
    paints(person, PALE, 2)
    paints(person, DARK, 5)
    rests(person)
    assert visible() == ["class map"]
    shows_results()
    assert visible() == ["class map"]
    person.clicks("paint_map")
    assert visible() == ["classes"]
    person.clicks("paint_map")
    assert visible() == ["class map"]
    slide = person.dock.slide
    for expected in ([], ["class map"]):
        toggle_overlays(person.viewer, slide, None)
        assert visible() == expected
    path = slide.info.path
    person.dock.close_slide()
    person.waits()
    person.opens_slides(path)
    person.until(lambda: "section class map" in layers)
    rests(person)
    shows_results()
    assert visible() == ["class map"]


@shown
def test_a_pressed_button_and_undo_stay_where_they_are(analysed):
    person = analysed
    opens_sections(person)
    person.opens_section("Lesions")
    person.finds(SummarySection, "region_more").expand()
    made = [region_from_vertices(box(row, 0, row + 8, 8), DEFAULT_CLASSES[0]) for row in (0, 4, 6, 12)]
    moved = []

    def presses(name, *others):
        """Press a button with the pointer on it, and list what has moved on the screen."""
        button = person.finds(QAbstractButton, name)
        person.dock.content_scroll.ensureWidgetVisible(button)
        rests(person)
        buttons = [person.finds(QAbstractButton, one) for one in (name, *others)]
        before = [one.mapToGlobal(one.rect().center()) for one in buttons]
        QCursor.setPos(before[0])
        QTest.qWait(SETTLE_MS)
        assert button.isEnabled(), name
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        rests(person)
        for one, place in zip(buttons, before, strict=True):
            if change := (one.mapToGlobal(one.rect().center()) - place).y():
                moved.append((f"{one.objectName()} by {name}", change))

    for name in ("region_brush", "region_brush", "region_select", "region_select"):
        presses(name)
    person.session.regions.apply(lambda regions: (*regions, *made))
    for name in ("region_union", "region_undo", "region_remove", "region_undo"):
        person.session.selected_regions.set(tuple(one.id for one in made))
        presses(name, "region_undo")
    person.session.selected_lesions.set((1,))
    for name in ("lesion_refine", "lesion_refine", "lesion_draw", "lesion_draw", "lesion_remove", "lesion_undo"):
        presses(name, "lesion_undo")
    assert not moved
