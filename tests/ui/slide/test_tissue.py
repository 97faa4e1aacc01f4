"""Corrected tissue in the Slide dock is restored, analyzed, and can be reset."""

from __future__ import annotations

from threading import Event

import numpy as np
import pytest
from fake_slides import draw_slide
from qtpy.QtWidgets import QAbstractButton, QComboBox, QWidget
from slide_fixtures import UNSEEN

from napari_melanoma.io.results import read_mask
from napari_melanoma.slides import tissue
from napari_melanoma.slides.tissue import read_overview
from napari_melanoma.ui.session.tissue import BACKUP_FILE, CORRECTED_FILE

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
    person.opens_section("Tissue")
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

    for module in ("slide.analysis", "sections.tissue.section"):
        monkeypatch.setattr(f"napari_melanoma.ui.{module}.exec_question", answered)
    return person


def test_corrected_tissue_is_restored_and_analyzed_until_it_is_reset_or_detected_again(tomorrow, launched, slide_path):
    person, dock = tomorrow, tomorrow.dock
    assert LAYER not in person.viewer.layers
    assert "corrected by you" in person.label_text("tissue_summary")
    person.clicks("primary")
    person.until(lambda: len(launched.options) == 2)
    person.waits()
    assert person.requested == []  # it is what there is
    np.testing.assert_array_equal(read_mask(launched.options[-1].tissue_mask), person.drawn != 0)

    finds_tissue(person, "tissue_find")
    np.testing.assert_array_equal(person.viewer.layers[LAYER].data, person.drawn)
    np.testing.assert_array_equal(person.session.corrected_tissue, person.drawn != 0)
    ends(person, launched)

    # It can be reset.
    finds_tissue(person, "tissue_anew")
    assert len(person.requested) == 1
    person.until(lambda: person.session.corrected_tissue is None)
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
    assert person.session.corrected_tissue is None


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
    combo = person.finds(QComboBox, "tissue_method")
    combo.setCurrentIndex(index)
    combo.activated.emit(index)


def test_a_detection_that_is_canceled_changes_nothing_and_continues_when_another_slide_is_displayed(
    person, slide_path, tmp_path, slow_overview
):
    dock, (begun, goes_on) = person.dock, slow_overview
    person.opens_slides(slide_path)
    person.opens_section("Tissue")

    # The method of a first detection stays.
    chooses_method(person, 1)
    presses(person, "tissue_find")
    person.until(begun.is_set)
    assert dock.status.text == "Detecting tissue ..."
    presses(person, "cancel")
    goes_on.set()
    person.waits()
    assert dock.status.text == "Canceled."
    assert not dock.status.cancel_button.isEnabled()
    assert person.session.tissue.value.method == "otsu"

    finds_tissue(person, "tissue_find")
    assert dock.status.text == "Tissue detected."
    shown, text = person.viewer.layers[LAYER].data.copy(), person.label_text("tissue_summary")
    begun.clear()
    goes_on.clear()
    chooses_method(person, 2)
    person.until(begun.is_set)
    presses(person, "cancel")
    goes_on.set()
    person.waits()
    assert person.session.tissue.value.method == "otsu"
    assert person.label_text("tissue_summary") == text
    np.testing.assert_array_equal(person.viewer.layers[LAYER].data, shown)

    # It continues while another slide is displayed, whose tissue it does not touch.
    person.opens_slides(draw_slide(tmp_path / "other.tif"))
    person.clicks("previous_slide")
    person.until(lambda: person.session is not None and person.session.slide.info.name == "section")
    session = person.session
    begun.clear()
    goes_on.clear()
    chooses_method(person, 1)
    person.until(begun.is_set)
    person.clicks("next_slide")
    person.until(lambda: person.session is not None and person.session is not session)
    assert dock.status.text == "Detecting the tissue of section.tif ..."
    assert dock.status.cancel_button.isEnabled()
    active = person.viewer.layers.selection.active
    goes_on.set()
    person.until(lambda: not dock.status.is_busy)
    assert dock.status.text == "The tissue of section.tif is detected."
    assert not person.viewer.layers[LAYER].visible
    assert person.viewer.layers.selection.active == active
    assert "Detect it now" in person.label_text("tissue_summary")
    person.clicks("previous_slide")
    person.until(lambda: person.session is session)
    person.waits()
    assert session.tissue.value.method == session.tissue.value.detected.method == "otsu"
    assert person.viewer.layers[LAYER].visible
    np.testing.assert_array_equal(person.viewer.layers[LAYER].data != 0, session.tissue.value.detected.mask)

    # It is given up when its slide is closed.
    begun.clear()
    goes_on.clear()
    chooses_method(person, 2)
    person.until(begun.is_set)
    person.viewer.layers.clear()
    person.until(lambda: not dock.status.is_busy)
    goes_on.set()
    person.waits()
    assert LAYER not in person.viewer.layers


def test_unreadable_correction_is_reported(person, slide_path):
    dock = person.dock
    person.opens_slides(slide_path)
    dock.result_location.folder.mkdir(parents=True, exist_ok=True)
    (dock.result_location.folder / CORRECTED_FILE).write_bytes(b"no picture")
    person.viewer.layers.clear()
    person.opens_slides(slide_path)
    assert CORRECTED_FILE in dock.status.text
    assert person.session.corrected_tissue is None
