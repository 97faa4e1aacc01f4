"""Manual edits of lesions survive changes of the threshold."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QComboBox, QDoubleSpinBox, QSlider
from slide_fixtures import UNSEEN

from napari_melanoma.io.results import read_slide_result

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)


def moves(person, threshold):
    """Enter another threshold, and wait for the lesions."""
    box = person.finds(QDoubleSpinBox, "slide_threshold_number")
    box.setValue(threshold)
    person.waits()
    person.until(lambda: person.dock.lesions.findings.config.high == pytest.approx(threshold))


def removes(person, row):
    person.dock.lesion_table.clearSelection()
    person.dock.lesion_table.selectRow(row)
    person.qtbot.keyClick(person.dock.lesion_table, Qt.Key.Key_Backspace)  # the Delete key of a MacBook
    person.waits()


@pytest.mark.path
def test_manual_class_survives_every_threshold_and_edits_a_change_of_class(analysed):
    person, before = analysed, analysed.rows()
    person.dock.lesion_table.selectRow(1)
    person.clicks("lesion_class")
    person.until(lambda: person.rows()[1][1] == "benign *")
    person.waits()
    for threshold in (0.95, 0.3, 0.6):
        moves(person, threshold)
        assert [row for row in person.rows() if row[1] == "benign *"], threshold
    assert len(person.rows()) == len(before)
    person.clicks("save")
    person.waits()
    assert read_slide_result(person.dock.result_location.folder)["corrected_by_hand"] is True
    person.clicks("lesion_undo")
    person.until(lambda: person.rows()[1][1] == "benign *")
    person.clicks("lesion_undo")
    person.until(lambda: person.rows() == before)

    # Edits survive a change of class.
    person.waits()
    classes = person.finds(QComboBox, "slide_class")
    first = classes.currentIndex()
    removes(person, 1)
    left = person.rows()
    for index in (1 - first, first):
        classes.setCurrentIndex(index)
        classes.activated.emit(index)
        person.waits()
    person.until(lambda: [row[1:] for row in person.rows()] == [row[1:] for row in left])


def test_removed_lesion_does_not_come_back(analysed, slide_path):
    person = analysed
    removes(person, 1)
    left = person.rows()
    assert len(left) == 1
    moves(person, 0.95)
    moves(person, 0.6)
    assert [row[1:] for row in person.rows()] == [row[1:] for row in left]
    person.viewer.layers.clear()
    person.opens_slides(slide_path)  # another day: what was removed is known by what is missing
    person.until(lambda: len(person.rows()) == 1)
    person.waits()
    moves(person, 0.55)
    assert len(person.rows()) == 1


def test_thresholds_without_lesions_and_removal_of_all_are_described(analysed, slide_path):
    person = analysed
    moves(person, 1.0)
    assert person.label_text("lesion_count") == "No lesion at this threshold."
    moves(person, 0.6)
    removes(person, 1)
    removes(person, 0)
    assert person.rows() == []
    assert person.label_text("lesion_count") == "No lesions left: 2 lesions were removed manually."
    moves(person, 0.99)
    assert person.label_text("lesion_count") == "No lesion at this threshold; 2 lesions were removed manually."
    moves(person, 0.6)
    assert person.dock.lesions.findings.saved  # as they were when they were removed
    person.viewer.layers.clear()
    person.opens_slides(slide_path)  # another day
    person.until(lambda: person.label_text("lesion_count") == "No lesions left: 2 lesions were removed manually.")


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
    assert read_slide_result(person.dock.result_location.folder)["corrected_by_hand"] is False
