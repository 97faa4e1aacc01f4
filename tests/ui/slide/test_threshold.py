"""The threshold and the class of the heatmap determine the lesions."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import QAbstractButton, QComboBox, QDoubleSpinBox, QSlider
from slide_fixtures import UNSEEN

from napari_melanoma.io.results import read_slide_result

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)


def moves(person, threshold):
    """Enter another threshold, and wait for the lesions."""
    box = person.finds(QDoubleSpinBox, "slide_threshold_number")
    box.setValue(threshold)
    person.waits()
    person.until(lambda: person.session.lesions.value.config.high == pytest.approx(threshold))


@pytest.mark.path
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

    # The lesions of another class are shown, and those of the first one again.
    classes = person.finds(QComboBox, "slide_class")
    first = classes.currentIndex()
    for index in (1 - first, first):
        classes.setCurrentIndex(index)
        classes.activated.emit(index)
        person.waits()
        assert person.session.lesions.value.source.target == classes.currentData()
