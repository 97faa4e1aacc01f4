"""Options belong to the dock; each result records those that it was made with."""

from __future__ import annotations

import numpy as np
import pytest
from lesion_fixtures import FIXTURES
from qtpy.QtWidgets import QDoubleSpinBox, QSlider

from napari_melanoma.data.corrections import Corrections
from napari_melanoma.ui.sections.mask import section as mask_section
from napari_melanoma.ui.session.corrections_store import ReviewSettings
from napari_melanoma.ui.viewer import photographs

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)

PATIENCE_MS = 60_000


def gradient(column=80):
    """Dark around a column and lighter outwards, so that each threshold gives another mask."""
    rows, columns = np.mgrid[:120, :160]
    distance = np.hypot(rows - 60, columns - column)
    return np.repeat(np.clip(2.5 * distance, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture
def corrections(tmp_path, home):
    ReviewSettings().corrections = tmp_path / "my corrections"
    return Corrections(tmp_path / "my corrections")


@pytest.fixture
def moved(corrections, person, qtbot):
    """A user who has set the threshold of ``first`` to 0.9 and opened ``second``."""
    person.opens("first", gradient())
    person.analyses()
    person.finds(QSlider, "threshold_slider").setValue(90)
    person.waits()
    person.opens("second", gradient(90))
    qtbot.waitUntil(lambda: person.dock.picker.session.image.name == "second", timeout=PATIENCE_MS)
    return person


def test_the_picture_of_the_region_of_interest_is_drawn_for_new_lesions_only(person, monkeypatch):
    person.opens(rgb=gradient())
    person.analyses()
    drawn, draw = [], mask_section.to_qimage
    monkeypatch.setattr(mask_section, "to_qimage", lambda image: drawn.append(image) or draw(image))
    for threshold in range(60, 90):
        person.finds(QSlider, "threshold_slider").setValue(threshold)
    person.finds(QDoubleSpinBox, "margin").setValue(40)
    assert drawn == []
    person.waits()
    assert drawn[-1] is person.lesion.result.roi.image
    assert person.lesion.result.options.roi.margin == 0.4


def test_a_threshold_of_the_dock_applies_to_later_analyses_and_not_to_other_results(moved, corrections):
    assert moved.finds(QDoubleSpinBox, "threshold").value() == 0.9
    moved.clicks("analyse_all")
    moved.waits()
    assert {session.name: session.lesion.result.threshold for session in moved.dock.sessions} == dict.fromkeys(
        ("first", "second"), 0.9
    )
    assert not moved.lesion.is_user_edited
    moved.clicks("add_correction")
    moved.waits()
    assert [row["review"] for row in corrections.rows()] == ["accepted"]
    moved.finds(QSlider, "threshold_slider").setValue(60)
    moved.waits()
    found = {session.name: session.lesion.result.threshold for session in moved.dock.sessions}
    assert found == {"first": 0.9, "second": 0.6}
    moved.dock.picker.step(-1)
    assert moved.finds(QDoubleSpinBox, "threshold").value() == 0.9


def test_a_mask_changed_and_changed_back_is_stored_as_accepted(corrections, person):
    person.opens("first", gradient())
    person.analyses()
    mask = person.layer("mask", "first")
    person.draws(mask, [(5, 5), (5, 60)])
    person.waits()
    person.draws(mask, [(5, 5), (5, 60)], label=0, mode="erase")
    person.waits()
    person.clicks("add_correction")
    person.waits()
    assert [row["review"] for row in corrections.rows()] == ["accepted"]
    assert "stored as accepted" in person.dock.status.text


def types(person, text, *, first=True):
    """Type into the threshold box, in the place of what it holds or after what was typed before."""
    box = person.finds(QDoubleSpinBox, "threshold")
    box.setFocus()
    person.qtbot.waitUntil(box.hasFocus, timeout=PATIENCE_MS)
    if first:
        box.selectAll()
    person.qtbot.keyClicks(box, text)


def starts(person):
    """Begin the first analysis of ``first``, with ``second`` beside it."""
    person.viewer.layers.clear()
    person.waits()
    person.opens("second", gradient(90))
    person.opens("first", gradient())
    person.main.activateWindow()
    person.qtbot.waitUntil(lambda: person.dock.picker.session.image.name == "first", timeout=PATIENCE_MS)
    person.dock.model.model = "slow-0.5"
    person.clicks("primary")
    person.qtbot.waitUntil(person.finds(QDoubleSpinBox, "threshold").isVisible, timeout=PATIENCE_MS)


def both(person):
    """The threshold in the box and that of the result, for both photographs."""
    person.waits()
    found = {}
    for _ in range(2):
        lesion = person.lesion
        known = None if lesion is None else lesion.result.threshold
        found[person.dock.picker.session.image.name] = (person.finds(QDoubleSpinBox, "threshold").value(), known)
        person.dock.picker.step(1)
    return found


TYPED = {"first": (0.66, 0.66), "second": (0.66, None)}


def test_a_threshold_typed_during_the_first_analysis_is_kept(window):
    starts(window)
    types(window, "0.66")
    window.dock.picker.step(1)
    assert both(window) == TYPED
    window.waits()
    assert both(window) == TYPED

    # Half of it is typed after the result has come, before its layers are added.
    def go_on(analyzed):
        types(window, "6", first=False)
        window.dock.picker.step(1)

    starts(window)
    types(window, "0.6")
    window.dock.analysis_controller.analyzed.connect(go_on)
    assert both(window) == TYPED
    window.dock.analysis_controller.analyzed.disconnect(go_on)

    # It is typed while the layers are added.
    def type_late(event):
        if photographs.get_role(event.value) == "mask":
            types(window, "0.66")

    starts(window)
    window.viewer.layers.events.inserted.connect(type_late)
    assert both(window) == TYPED
    window.viewer.layers.events.inserted.disconnect(type_late)


def test_returning_while_layers_are_added_shows_the_typed_threshold(window, qtbot):
    starts(window)
    types(window, "0.66")
    window.dock.picker.step(1)

    def return_to_first(session):
        window.dock.controller.changed.disconnect(return_to_first)
        window.dock.picker.step(1)

    window.dock.controller.changed.connect(return_to_first)
    qtbot.waitUntil(lambda: window.dock.picker.session.image.name == "first", timeout=PATIENCE_MS)
    assert window.finds(QDoubleSpinBox, "threshold").value() == 0.66
    assert both(window) == TYPED
