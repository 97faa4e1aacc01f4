"""The threshold and the class of the heatmap determine the lesions."""

from __future__ import annotations

import numpy as np
import pytest
from fake_slides import FakeAnalysis
from qtpy.QtWidgets import QAbstractButton, QComboBox, QDoubleSpinBox, QSlider
from slide_fixtures import UNSEEN

from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.io.results import read_slide_result
from napari_melanoma.slides import background_runs
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.ui.viewer.slide_layers import find_layer

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


def test_results_of_a_tissue_classifier_are_a_class_map_also_when_they_are_opened_again(person, slide_path):
    def find(role):
        return find_layer(person.viewer, person.dock.slide, role)

    def chooses(name):
        classes = person.finds(QComboBox, "slide_class")
        classes.setCurrentIndex(classes.findData(name))
        classes.activated.emit(classes.currentIndex())

    folder = background_runs.slide_folder(person.dock.run_manager.root, slide_path)
    FakeAnalysis(folder, slide_path, slide_fingerprint(slide_path)).begins().finishes()
    class_map = {"colors": {"benign": "#00ff00", "melanoma": "#ff0000"}, "background": "benign"}
    areas = {name: {"mm2": 0.1, "percent": 50.0} for name in ("benign", "melanoma")}
    content = {**read_json(folder / "result.json"), "areas": areas, "class_map": class_map}
    write_json(folder / "result.json", content)
    for _ in range(2):
        person.opens_slides(slide_path)
        person.opens_section("Heatmap")
        person.until(lambda: find("classes") is not None)
        assert find("classes").visible
        assert find("classes").data is person.session.results.value.shown_class_map.labels
        assert find("heatmap") is None or not np.isfinite(find("heatmap").data).any()
        assert person.finds(QComboBox, "slide_class").currentText() == "all classes"
        assert "melanoma" in person.label_text("slide_class_colors")
        chooses("melanoma")
        person.until(lambda: find("classes") is None)
        assert np.isfinite(find("heatmap").data).any()
        assert person.tiles
        chooses("benign")
        person.until(lambda: all(tile.isHidden() for tile in person.tiles))
        person.waits()
        person.viewer.layers.clear()
        person.waits()
