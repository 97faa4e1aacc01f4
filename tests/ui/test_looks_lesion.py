"""How the Lesion dock looks at the smallest size: nothing cut, blank or said twice, and nothing moves by its result."""

from __future__ import annotations

import pytest
from lesion_fixtures import FIXTURES, TWO
from looks import find_place, is_in_view, list_cut_texts, list_repeated_facts, list_section_blanks
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QScrollArea, QWidget
from steady import SETTLE_MS

from conftest import photograph

WIDTH, HEIGHT = 340, 690
PINNED = ("photograph", "photograph_description", "primary", "prediction_summary", "save", "share", "status")
STEADY = ("primary", "paint", "click", "threshold_slider", "save", "add_correction", "prediction_summary")
viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)


@pytest.fixture
def narrow(window):
    """A user of a dock of the smallest size, in a window of 700 pixels."""
    window.main.resize(900, HEIGHT)
    window.main.resizeDocks([window.dock.parentWidget()], [WIDTH], Qt.Orientation.Horizontal)
    settle(window)
    return window


def settle(person):
    person.waits()
    QTest.qWait(6 * SETTLE_MS)


def draws(person):
    person.draws(person.layer("mask"), [(10, 10), (10, 100)], brush=20)


STATES = {
    "opened": lambda person: person.opens(rgb=photograph(TWO)),
    "analyzed": lambda person: person.analyses(),
    "corrected": draws,
    "more tools": lambda person: person.clicks("more_scribbles"),
    "type and models": lambda person: person.dock.setup.expand(),
    "the ruler": lambda person: person.dock.picker.ruler_button.setChecked(True),
}


def test_the_dock_in_its_common_states(narrow):
    faults = []
    for state, enter in STATES.items():
        enter(narrow)
        settle(narrow)
        for kind, found in {
            "cut": list_cut_texts(narrow.dock),
            "blank": list_section_blanks(narrow.dock),
            "twice": list_repeated_facts(narrow.dock),
            "out of view": "\n".join(
                name for name in PINNED if not is_in_view(narrow.main, narrow.finds(QWidget, name))
            ),
        }.items():
            if found:
                faults.append(f"{state}, {kind}: {found}")
    assert not faults, "\n".join(faults)


def test_what_is_pressed_stays_where_it_is(narrow):
    narrow.opens(rgb=photograph(TWO))
    settle(narrow)
    before = {name: find_place(narrow.dock, name) for name in STEADY}
    steps = {
        "analyzed": narrow.analyses,
        "a stroke": lambda: draws(narrow),
        "reset": lambda: narrow.clicks("revert"),
        "clicks": lambda: narrow.clicks("click"),
        "strokes": lambda: narrow.clicks("outside"),
        "the ruler": lambda: narrow.dock.picker.ruler_button.setChecked(True),
        "stored": lambda: narrow.clicks("add_correction"),
    }
    bar = narrow.finds(QScrollArea, "lesion_scroll").verticalScrollBar()
    moved = []
    for step, act in steps.items():
        act()
        settle(narrow)
        bar.setValue(0)
        places = {name: find_place(narrow.dock, name) for name in STEADY}
        moved += [
            f"{name} after {step}: {before[name]}, {place}" for name, place in places.items() if place != before[name]
        ]
    assert not moved, "\n".join(moved)


def test_an_empty_dock_shows_only_the_invitation_and_the_status(narrow):
    shown = [one.objectName() for one in narrow.dock.findChildren(QAbstractButton) if one.isVisibleTo(narrow.dock)]
    assert shown == []
    assert narrow.dock.welcome.isVisibleTo(narrow.dock)


def test_one_line_sums_up_type_and_models_and_is_remembered(narrow):
    narrow.opens()
    settle(narrow)
    line = narrow.dock.setup.title_button
    assert line.text().startswith("type not stated · ")
    narrow.dock.picker.set_modality("macroscopic")
    narrow.dock.flips.setChecked(True)
    settle(narrow)
    assert "macroscopic" in line.toolTip()
    assert "test-time augmentation" in line.toolTip()
    line.click()
    assert narrow.dock.model.isVisibleTo(narrow.dock)
    narrow.reopens()
    narrow.waits()
    assert narrow.dock.setup.is_expanded


def test_a_brush_ends_when_its_button_is_pressed_again_and_with_its_photograph(person):
    person.opens(rgb=photograph(TWO))
    person.analyses()
    mask, paint = person.layer("mask"), person.finds(QAbstractButton, "paint")
    person.clicks("paint")
    assert (str(mask.mode), paint.isChecked(), person.viewer.cursor.style) == ("paint", True, "circle")
    mask.mode = "erase"  # with napari's own button
    assert (paint.isChecked(), person.finds(QAbstractButton, "erase").isChecked()) == (False, True)
    person.clicks("erase")
    assert (str(mask.mode), person.viewer.cursor.style) == ("pan_zoom", "standard")
    person.clicks("paint")
    person.opens("other", rgb=photograph(TWO))
    person.dock.picker.step(1)
    person.waits()
    assert (str(mask.mode), person.viewer.cursor.style) == ("pan_zoom", "standard")


def test_strokes_end_when_they_are_applied(person):
    person.opens(rgb=photograph(TWO))
    person.analyses()
    person.clicks("outside")
    assert person.finds(QAbstractButton, "outside").isChecked()
    person.draws(person.layer("scribbles"), [(60, 120), (60, 125)], label=2)
    person.clicks("apply")
    person.waits()
    assert str(person.layer("scribbles").mode) == "pan_zoom"
    assert person.viewer.cursor.style == "standard"
