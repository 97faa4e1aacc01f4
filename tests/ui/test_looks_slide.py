"""How the Slide dock looks in its common states: no text is cut, nothing is kept empty, and what matters is in view."""

from __future__ import annotations

import pytest
from looks import find_place, is_in_view, list_cut_texts, list_repeated_facts, list_section_blanks
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QListWidget, QScrollArea, QWidget
from slide_fixtures import UNSEEN
from steady import SETTLE_MS

from napari_melanoma.ui.sections.lesions.section import LesionTable
from napari_melanoma.ui.session.run_status import FLUORESCENCE, NO_MODEL, NO_SCALE
from napari_melanoma.ui.widgets.style import REST_MS

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
pytestmark = pytest.mark.usefixtures("shown_viewer")
SIZE = (1366, 700)
# Findings of readers have tests of their own.
SECTIONS = ("Paint", "Measure", "Heatmap", "Lesions", "Regions", "Overview", "Tissue", "Side by side", "Display")
PINNED = ("slide", "slide_setup", "primary", "analyse_view", "slide_answer", "save", "share", "status")


@pytest.fixture
def reading(analysed):
    """User of a window of a common size, with an analyzed slide and all sections collapsed."""
    window, frame = analysed.dock.window(), analysed.dock.parentWidget()
    window.resize(*SIZE)
    window.resizeDocks([frame], [analysed.dock.minimumWidth()], Qt.Orientation.Horizontal)
    analysed.waits()
    for frame in analysed.dock.choice.list_frames().values():
        frame.collapse()
    rests(analysed)
    return analysed


def rests(person):
    person.waits()
    person.qtbot.wait(2 * REST_MS + SETTLE_MS)


@pytest.mark.both_qts
def test_no_text_is_cut_and_nothing_is_kept_empty_in_a_section(reading):
    dock, faults = reading.dock, {}
    for title in SECTIONS:
        reading.opens_section(title)
        rests(reading)
        faults[title] = list_cut_texts(dock) + list_section_blanks(dock) + list_repeated_facts(dock)
        dock.list_places()[title].collapse()
    assert not any(faults.values()), faults


@pytest.mark.both_qts
def test_the_answer_and_what_belongs_to_it_are_in_view_with_all_sections(reading):
    dock = reading.dock
    places = {name: find_place(dock, name) for name in PINNED}
    for title in SECTIONS:
        reading.opens_section(title)
    rests(reading)
    bar = dock.content_scroll.verticalScrollBar()
    for position in (0, bar.maximum()):
        bar.setValue(position)
        rests(reading)
        for name in PINNED:
            assert is_in_view(dock.window(), dock.findChild(QWidget, name)), name
        assert {name: find_place(dock, name) for name in PINNED} == places


@pytest.mark.parametrize("blocker", [NO_MODEL, NO_SCALE, FLUORESCENCE])
def test_results_keep_their_answer_while_the_slide_cannot_be_analyzed_again(reading, blocker):
    """The reason is stated whole beside it."""
    dock = reading.dock
    headline, details = dock.answer.headline, dock.answer.details
    assert details
    dock.answers.show_blocker(blocker)
    rests(reading)
    assert (dock.answer.headline, dock.answer.details) == (headline, details)
    assert reading.label_text("analysis_blocker") == blocker
    assert list_cut_texts(dock) + list_repeated_facts(dock) == ""
    assert is_in_view(dock.window(), dock.findChild(QWidget, "analysis_blocker"))
    dock.answers.show_blocker("")
    assert dock.findChild(QWidget, "analysis_blocker").isHidden()


def test_the_primary_button_stays_while_a_slide_is_opened_and_analyzed(person, slide_path, launched):
    dock = person.dock
    dock.window().resize(*SIZE)
    person.opens_slides(slide_path)
    launched.fingerprint = dock.slide.info.fingerprint
    before = {name: find_place(dock, name) for name in PINNED}
    assert before["slide_setup"] < before["primary"]
    assert is_in_view(dock.window(), dock.answer)
    person.clicks("primary")
    person.until(lambda: dock.run_panel.active)
    rests(person)
    assert {name: find_place(dock, name) for name in PINNED} == before
    assert dock.run_panel.isVisible()
    launched.last.finishes()
    person.until(lambda: bool(person.session.results.value.content))
    rests(person)
    assert {name: find_place(dock, name) for name in PINNED} == before
    assert not dock.run_panel.isVisible()
    assert not list_cut_texts(dock)


def test_model_and_options_are_one_line_until_they_are_opened(reading):
    dock, picker = reading.dock, reading.dock.model_picker
    assert not picker.isVisible()
    assert dock.setup_rows.title_button.text() == picker.model
    dock.settings.set("slide/options", {"tile_um": 100.0})
    dock.options_controller.set_options()
    dock.show_setup()
    assert dock.setup_rows.title_button.text() == f"{picker.model} · 1 option changed"
    dock.setup_rows.title_button.click()
    dock.options_section.title_button.click()
    rests(reading)
    assert picker.isVisible()
    assert is_in_view(dock.window(), dock.options_section.title_button)
    assert dock.content_scroll.isAncestorOf(dock.options_section)
    assert not dock.options_section.findChildren(QScrollArea)
    assert is_in_view(dock.window(), dock.answer)
    assert is_in_view(dock.window(), dock.share_button)
    assert not list_cut_texts(dock)
    dock.setup_rows.title_button.click()
    assert not dock.options_section.isVisible()


def test_lists_show_all_their_rows_up_to_ten(reading):
    reading.opens_section("Lesions")
    reading.opens_section("Paint")
    rests(reading)
    classes = reading.finds(QListWidget, "tissue_classes")
    assert classes.verticalScrollBar().maximum() == 0
    for _ in range(10 - classes.count()):
        reading.presses("add_tissue_class")
    rests(reading)
    assert (classes.count(), classes.verticalScrollBar().maximum()) == (10, 0)
    table = reading.finds(LesionTable, "lesion_table")
    assert table.verticalScrollBar().maximum() == 0
    assert table.height() < 4 * table.rowHeight(0) + table.horizontalHeader().height(), "no room for rows to come"


def test_tools_have_their_names_in_tooltips(reading):
    names = {"Paint": ("paint_brush", "Brush:"), "Regions": ("region_wand", "Wand:")}
    for title, (name, start) in names.items():
        reading.opens_section(title)
        button = reading.finds(QAbstractButton, name)
        assert button.text() == ""
        assert not button.icon().isNull()
        assert button.toolTip().startswith(start)


def test_tabs_of_the_reading_mode_keep_the_answer_in_view(reading):
    dock = reading.dock
    dock.reading_mode.toggle()
    rests(reading)
    tabs = dock.reading_mode.mode.tabs
    assert not list_cut_texts(tabs)
    for label in ("Results", "Analysis", "Slide"):
        tabs.open_tab(label)
        rests(reading)
        assert is_in_view(dock.window(), dock.answer), label
        assert not list_cut_texts(dock.body), label
    assert not dock.reading_mode.mode.toolbar.findChild(QWidget, "reading_name")
    dock.reading_mode.leave()
    rests(reading)
    assert is_in_view(dock.window(), dock.analyze_button)
