"""The Tissue section: detect, correct, detect again; each slide has its own, also while another one is displayed."""

from __future__ import annotations

from threading import Event

import numpy as np
import pytest
from fake_slides import draw_fluorescence, draw_slide
from qtpy.QtWidgets import QComboBox, QWidget
from slide_fixtures import UNSEEN

from napari_melanoma.core.errors import SaveError
from napari_melanoma.io.results import read_mask
from napari_melanoma.slides import tissue
from napari_melanoma.slides.tissue import read_overview
from napari_melanoma.ui.sections import tissue as section
from napari_melanoma.ui.sections.tissue import KEPT, NOT_BRIGHTFIELD
from napari_melanoma.ui.session.tissue import BACKUP_FILE, CORRECTED_FILE, DETECTED_FILE
from napari_melanoma.ui.widgets import dialogs

user, launched, slide_path, person, _ = map(pytest.fixture, UNSEEN)
LAYER = "section tissue"


def finds_tissue(person, name="tissue_find"):
    person.presses(name)
    person.until(lambda: LAYER in person.viewer.layers)
    person.waits()


def chooses_method(person, name):
    combo = person.dock.sections.hosted.sections["Tissue"].widget.findChild(QComboBox, "tissue_method")
    combo.setCurrentText(name)
    combo.textActivated.emit(name)


def corrects(person):
    """Paint what is not tissue, and erase what is; return the corrected labels."""
    layer = person.viewer.layers[LAYER]
    layer.data = 1 - np.array(layer.data)
    return np.array(layer.data)


def ends(person, launched):
    launched.last.finishes()
    person.until(person.dock.analyze_button.isEnabled)
    person.waits()


@pytest.fixture
def opened(person, slide_path):
    person.opens_slides(slide_path)
    person.opens_section("Tissue")
    return person


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


@pytest.mark.path
def test_corrected_tissue_is_saved_analyzed_and_restored_until_it_is_detected_again(
    opened, launched, slide_path, monkeypatch
):
    person, dock, questions = opened, opened.dock, []
    launched.fingerprint = dock.slide.info.fingerprint
    finds_tissue(person)
    assert dock.status.text == "section: tissue detected."
    assert "Paint or erase" in person.label_text("tissue_summary")
    assert person.session.corrected_tissue is None
    detected = np.array(person.viewer.layers[LAYER].data)
    drawn = corrects(person)
    person.waits()
    file = person.session.folder / CORRECTED_FILE
    np.testing.assert_array_equal(read_mask(file), drawn != 0)  # also if napari is killed now

    person.viewer.layers.clear()
    person.until(lambda: dock.slide is None)
    person.opens_slides(slide_path)
    assert LAYER not in person.viewer.layers
    assert "corrected by you" in person.label_text("tissue_summary")
    person.analyses()
    np.testing.assert_array_equal(read_mask(launched.options[-1].tissue_mask), drawn != 0)
    ends(person, launched)
    finds_tissue(person)
    np.testing.assert_array_equal(person.viewer.layers[LAYER].data, drawn)

    def answers(box):
        questions.append(box.text())
        box.deleteLater()
        return box.findChild(QWidget, "replace") if len(questions) > 1 else None

    monkeypatch.setattr(dialogs, "exec_question", answers)
    for mask in (drawn, detected):
        chooses_method(person, "auto")
        person.waits()
        np.testing.assert_array_equal(person.viewer.layers[LAYER].data, mask)
    assert questions == ["Detect the tissue again?"] * 2
    assert not file.exists()
    np.testing.assert_array_equal(read_mask(file.with_name(BACKUP_FILE)), drawn != 0)
    person.presses("primary")
    person.until(lambda: len(launched.options) == 2)
    ends(person, launched)
    assert launched.options[-1].tissue_mask is None


def test_detected_tissue_and_its_method_are_kept_when_the_slide_is_closed(opened, slide_path):
    person = opened
    for method in ("auto", "otsu"):
        chooses_method(person, method)
    finds_tissue(person)
    detected = np.array(person.viewer.layers[LAYER].data) != 0
    person.viewer.layers.clear()
    person.until(lambda: person.dock.slide is None)
    person.opens_slides(slide_path)
    tissue = person.session.tissue.value
    assert tissue.method == person.finds(QComboBox, "tissue_method").currentText() == "otsu"
    np.testing.assert_array_equal(tissue.mask, detected)
    assert not tissue.is_corrected
    finds_tissue(person)  # shows it
    corrects(person)
    person.waits()
    person.viewer.layers.clear()
    person.until(lambda: person.dock.slide is None)
    person.opens_slides(slide_path)
    np.testing.assert_array_equal(person.session.corrected_tissue, ~detected)
    np.testing.assert_array_equal(person.session.tissue.value.detected, detected)


def test_a_canceled_detection_changes_nothing_and_corrections_since_its_start_are_kept(opened, slow_overview):
    person, (begun, goes_on) = opened, slow_overview
    goes_on.set()
    chooses_method(person, "otsu")
    finds_tissue(person)
    assert person.session.tissue.value.method == "otsu"
    shown = np.array(person.viewer.layers[LAYER].data)
    begun.clear()
    goes_on.clear()
    chooses_method(person, "entropy")
    person.until(begun.is_set)
    assert person.dock.status.text == "Detecting tissue ..."
    person.presses("cancel")
    goes_on.set()
    person.waits()
    assert person.dock.status.text == "Canceled."
    assert not person.dock.status.cancel_button.isEnabled()
    assert person.session.tissue.value.method == "otsu"
    assert person.finds(QComboBox, "tissue_method").currentText() == "otsu"
    np.testing.assert_array_equal(person.viewer.layers[LAYER].data, shown)

    begun.clear()
    goes_on.clear()
    person.presses("tissue_anew")
    person.until(begun.is_set)
    drawn = corrects(person)
    goes_on.set()
    person.waits()
    assert person.dock.status.text == KEPT.format("section")
    np.testing.assert_array_equal(person.session.corrected_tissue, drawn != 0)


def test_a_stroke_on_the_previous_tissue_is_not_undone_on_the_next(opened, monkeypatch):
    person = opened
    finds_tissue(person)
    layer = person.viewer.layers[LAYER]
    detected = np.array(layer.data)
    layer.fill((0, 0), 0)
    person.waits()
    assert person.session.tissue.value.is_corrected
    monkeypatch.setattr(section, "confirm", lambda *_: True)
    person.presses("tissue_anew")
    person.waits()
    layer.undo()
    layer.redo()
    person.waits()
    np.testing.assert_array_equal(layer.data, detected)
    assert person.session.corrected_tissue is None
    assert layer.mode == "paint"


def test_a_detection_ends_in_its_own_section_and_with_its_slide(opened, tmp_path, slow_overview):
    person, dock, (begun, goes_on) = opened, opened.dock, slow_overview
    session = person.session
    person.opens_slides(draw_slide(tmp_path / "other.tif"))
    person.clicks("previous_slide")
    person.until(lambda: person.session is session)
    person.presses("tissue_find")
    person.until(begun.is_set)
    person.clicks("next_slide")
    person.until(lambda: person.session not in (None, session))
    assert dock.status.cancel_button.isEnabled()
    active = person.viewer.layers.selection.active
    goes_on.set()
    person.until(lambda: not dock.status.is_busy)
    person.waits()
    assert dock.status.text == "section: tissue detected.", "another slide is displayed"
    assert not person.viewer.layers[LAYER].visible
    assert person.viewer.layers.selection.active == active
    assert "Detect it now" in dock.sections.hosted.sections["Tissue"].widget._text.text()
    person.clicks("previous_slide")
    person.until(lambda: person.session is session)
    person.waits()
    assert person.viewer.layers[LAYER].visible
    np.testing.assert_array_equal(person.viewer.layers[LAYER].data != 0, session.tissue.value.mask)

    begun.clear()
    goes_on.clear()
    chooses_method(person, "entropy")
    person.until(begun.is_set)
    person.viewer.layers.clear()
    person.until(lambda: dock.slide is None)
    goes_on.set()
    person.waits()
    assert LAYER not in person.viewer.layers
    assert not dock.status.is_busy


def test_a_correction_is_restored_also_if_the_detected_tissue_is_unreadable(opened, slide_path):
    person = opened
    finds_tissue(person)
    drawn = corrects(person) != 0
    person.waits()
    file = person.session.folder / DETECTED_FILE.format("auto")
    file.write_bytes(b"no picture")
    person.viewer.layers.clear()
    person.until(lambda: person.dock.slide is None)
    person.opens_slides(slide_path)
    assert file.name in person.dock.status.text
    np.testing.assert_array_equal(person.session.corrected_tissue, drawn)


def test_tissue_that_cannot_be_saved_is_reported_and_kept(opened, monkeypatch):
    person = opened

    def fails(*_):
        raise SaveError("the disk is full.")

    monkeypatch.setattr(section, "write_corrected_mask", fails)
    finds_tissue(person)
    corrects(person)
    person.until(lambda: person.dock.status.text == "The disk is full.")
    assert person.session.corrected_tissue is not None


def test_no_tissue_is_detected_on_a_fluorescence_slide(person, tmp_path):
    person.opens_slides(draw_fluorescence(tmp_path / "fluorescence.ome.tif"))
    assert not person.opens_section("Tissue").isEnabled()
    assert person.label_text("tissue_summary") == NOT_BRIGHTFIELD
