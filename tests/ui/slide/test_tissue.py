"""Corrected tissue in the Slide dock is restored, analyzed, and can be reset."""

from __future__ import annotations

import shutil
from threading import Event

import numpy as np
import pytest
from fake_slides import draw_slide
from napari_melanoma.ui.slide.tissue import BACKUP_FILE, CORRECTED_FILE
from qtpy.QtWidgets import QAbstractButton, QWidget
from slide_fixtures import UNSEEN

from napari_melanoma.io.results import read_mask
from napari_melanoma.slides import tissue
from napari_melanoma.slides.tissue import read_overview

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
LAYER = "section tissue"


def presses(person, name):
    """Click a button regardless of the scroll position."""
    button = person.finds(QAbstractButton, name)
    assert button.isEnabled()
    button.click()


def finds_tissue(person, name):
    presses(person, name)
    person.until(lambda: LAYER in person.viewer.layers)
    person.waits()


def ends(person, launched):
    launched.last.finishes()
    person.until(person.dock.analyze_button.isEnabled)
    person.waits()


@pytest.fixture
def tomorrow(person, launched, slide_path, monkeypatch):
    """User who erased tissue, analyzed the slide, and opened it again."""
    dock = person.dock
    person.opens_slides(slide_path)
    launched.fingerprint = dock.slide.info.fingerprint
    dock.findChild(QWidget, "slide_tissue_section").expand(animate=False)
    finds_tissue(person, "tissue_find")
    layer = person.viewer.layers[LAYER]
    person.drawn = np.array(layer.data)
    person.drawn[:, :200] = 0
    layer.data = person.drawn
    person.analyses()
    ends(person, launched)
    person.viewer.layers.clear()
    person.until(lambda: dock.slide is None)
    person.opens_slides(slide_path)
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    person.requested = []

    def answered(box):
        person.requested.append(box.text())
        pressed = box.findChild(QWidget, "replace")
        box.deleteLater()
        return pressed

    for module in ("analysis", "tissue"):
        monkeypatch.setattr(f"napari_melanoma.ui.slide.{module}.exec_question", answered)
    return person


def test_corrected_tissue_is_restored_and_analyzed_until_it_is_reset_or_detected_again(
    tomorrow, launched, slide_path, tmp_path, slow_overview
):
    person, dock = tomorrow, tomorrow.dock
    slow_overview[1].set()
    assert LAYER not in person.viewer.layers
    assert "corrected by you" in person.label_text("tissue_summary")
    person.clicks("primary")
    person.until(lambda: len(launched.options) == 2)
    person.waits()
    assert person.requested == []  # it is what there is
    np.testing.assert_array_equal(read_mask(launched.options[-1].tissue_mask), person.drawn != 0)

    finds_tissue(person, "tissue_find")
    np.testing.assert_array_equal(person.viewer.layers[LAYER].data, person.drawn)
    np.testing.assert_array_equal(dock.tissue_controller.get_corrected_mask(dock.slide), person.drawn != 0)
    ends(person, launched)

    # It can be reset.
    finds_tissue(person, "tissue_anew")
    assert len(person.requested) == 1
    person.until(lambda: dock.tissue_controller.get_corrected_mask(dock.slide) is None)
    assert "corrected by you" not in person.label_text("tissue_summary")
    assert person.viewer.layers[LAYER].data[:, :200].any()
    folder = dock.result_location.folder
    assert (folder / CORRECTED_FILE).is_file()  # nothing was analysed yet
    person.clicks("primary")
    person.until(lambda: len(launched.options) == 3)
    ends(person, launched)
    assert launched.options[-1].tissue_mask is None
    assert not (folder / CORRECTED_FILE).exists()
    np.testing.assert_array_equal(read_mask(folder / BACKUP_FILE), person.drawn != 0)

    person.viewer.layers.clear()
    person.opens_slides(slide_path)
    assert "corrected by you" not in person.label_text("tissue_summary")
    assert dock.tissue_controller.get_corrected_mask(dock.slide) is None

    # Detecting again replaces the correction while another slide is shown.
    shutil.copy(folder / BACKUP_FILE, folder / CORRECTED_FILE)
    person.viewer.layers.clear()
    person.opens_slides(slide_path)
    assert LAYER not in person.viewer.layers
    person.requested.clear()
    begun, goes_on = slow_overview
    begun.clear()
    goes_on.clear()
    other, slide = draw_slide(tmp_path / "other.tif", tint=30), dock.slide
    assert dock.tissue_controller.get_corrected_mask(slide) is not None
    presses(person, "tissue_anew")
    person.until(begun.is_set)
    dock.opener.open([other])
    person.until(lambda: dock.slide is not None and dock.slide.info.path == other)
    goes_on.set()
    person.waits()
    assert len(person.requested) == 1
    assert dock.tissue_controller.get_corrected_mask(slide) is None


def test_a_cancelled_detection_keeps_the_shown_lesions(person, slide_path, monkeypatch):
    dock = person.dock
    person.opens_slides(slide_path)
    dock.findChild(QWidget, "slide_tissue_section").expand(animate=False)
    finds_tissue(person, "tissue_find")
    shown, text = person.viewer.layers[LAYER].data.copy(), person.label_text("tissue_summary")
    begun, goes_on = Event(), Event()

    def read_slowly(slide):
        begun.set()
        assert goes_on.wait(30)
        return read_overview(slide)

    monkeypatch.setattr(tissue, "read_overview", read_slowly)
    dock.tissue_section.method_combo.setCurrentIndex(1)
    dock.tissue_section.method_combo.activated.emit(1)
    person.until(begun.is_set)
    assert dock.status.text == "Detecting tissue ..."
    presses(person, "cancel")
    goes_on.set()
    person.waits()
    assert dock.status.text == "Canceled."
    assert not dock.status.cancel_button.isEnabled()
    assert dock.tissue_section.method == "auto"
    assert person.label_text("tissue_summary") == text
    np.testing.assert_array_equal(person.viewer.layers[LAYER].data, shown)
    finds_tissue(person, "tissue_anew")
    assert dock.status.text == "Tissue detected."


def test_unreadable_correction_is_reported(person, slide_path):
    dock = person.dock
    person.opens_slides(slide_path)
    dock.result_location.folder.mkdir(parents=True, exist_ok=True)
    (dock.result_location.folder / CORRECTED_FILE).write_bytes(b"no picture")
    person.viewer.layers.clear()
    person.opens_slides(slide_path)
    assert CORRECTED_FILE in dock.status.text
    assert dock.tissue_controller.get_corrected_mask(dock.slide) is None


@pytest.fixture
def slow_overview(monkeypatch):
    """Detection that waits; returns whether it has begun, and lets it go on."""
    begun, goes_on = Event(), Event()

    def read_slowly(slide):
        begun.set()
        assert goes_on.wait(30)
        return read_overview(slide)

    monkeypatch.setattr(tissue, "read_overview", read_slowly)
    yield begun, goes_on
    goes_on.set()


def chooses_method(person, index):
    combo = person.dock.tissue_section.method_combo
    combo.setCurrentIndex(index)
    combo.activated.emit(index)


def test_the_chosen_method_stays_when_a_first_detection_or_that_of_another_slide_is_canceled(
    person, slide_path, tmp_path, slow_overview
):
    begun, goes_on = slow_overview
    person.opens_slides(slide_path)
    person.dock.findChild(QWidget, "slide_tissue_section").expand(animate=False)
    chooses_method(person, 1)
    presses(person, "tissue_find")
    person.until(begun.is_set)
    presses(person, "cancel")
    goes_on.set()
    person.waits()
    assert person.dock.tissue_section.method == "otsu"

    # The method that is chosen for another slide also stays when the detection in the first slide is canceled.
    goes_on.set()
    person.viewer.layers.clear()
    person.dock.tissue_section.method_combo.setCurrentIndex(0)
    other = draw_slide(tmp_path / "other.tif", tint=30)
    person.opens_slides(other)
    person.opens_slides(slide_path)
    finds_tissue(person, "tissue_find")
    begun.clear()
    goes_on.clear()
    chooses_method(person, 1)
    person.until(begun.is_set)
    person.dock.opener.open([other])
    person.until(lambda: person.dock.slide.info.path == other)
    chooses_method(person, 2)
    presses(person, "cancel")
    goes_on.set()
    person.waits()
    assert person.dock.tissue_section.method == "entropy"
