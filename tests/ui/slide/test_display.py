"""The Display section: colors of the displayed slide change, are kept with it, and do not reach the analysis."""

from __future__ import annotations

import numpy as np
import pytest
from fake_slides import draw_fluorescence, draw_slide
from qtpy.QtWidgets import QAbstractButton, QComboBox, QLabel, QSlider
from slide_stage import UNSEEN

from napari_melanoma.core.geometry import Box
from napari_melanoma.imaging.stain_view import DisplayColors
from napari_melanoma.slides.notes import read_notes

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)


@pytest.fixture
def displaying(person, slide_path):
    """User with an open slide and Display section."""
    person.opens_slides(slide_path)
    person.until(lambda: person.dock.context.location is not None)
    person.dock.display_section.expand(animate=False)
    person.waits()
    return person


def shown(person) -> np.ndarray:
    return np.asarray(person.dock.slide.layers[0].data[-1])


def chooses(person, text: str) -> None:
    combo = person.dock.findChild(QComboBox, "display_stain")
    combo.setCurrentIndex(combo.findText(text))
    combo.activated.emit(combo.currentIndex())
    person.waits()


def slides(person, name: str, value: int) -> None:
    person.dock.findChild(QSlider, f"display_{name}").setValue(value)
    person.waits()


def test_a_stain_is_displayed_and_the_analysis_reads_the_scan(displaying) -> None:
    person, slide = displaying, displaying.dock.slide.slide
    before, scan = shown(person).copy(), slide.read_region(0, Box(0, 0, 64, 64)).copy()
    chooses(person, "hematoxylin (H&E)")
    np.testing.assert_array_equal(shown(person), DisplayColors(stain="hematoxylin_he").apply(before))
    assert not np.array_equal(shown(person), before)
    np.testing.assert_array_equal(slide.read_region(0, Box(0, 0, 64, 64)), scan)
    person.dock.findChild(QAbstractButton, "display_reset").click()
    person.waits()
    np.testing.assert_array_equal(shown(person), before)


def test_brightness_and_contrast_are_kept_with_the_slide(displaying, tmp_path) -> None:
    person = displaying
    slides(person, "brightness", 20)
    slides(person, "contrast", 50)
    slides(person, "gamma", -30)
    colors = person.dock.sections.display.colors
    assert colors.brightness == pytest.approx(0.2)
    assert colors.contrast == pytest.approx(5**0.5)
    folder = person.dock.context.location.folder
    person.until(lambda: read_notes(folder).colors == colors)
    first = person.dock.slide.identity
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=20))
    assert person.dock.sections.display.colors.is_default
    assert person.dock.findChild(QSlider, "display_brightness").value() == 0
    person.dock.picker.select_slide(first)
    person.waits()
    assert person.dock.sections.display.colors == colors
    assert person.dock.findChild(QSlider, "display_contrast").value() == 50


def test_a_slide_is_opened_again_in_its_colors(displaying, slide_path) -> None:
    person = displaying
    chooses(person, "DAB (H-DAB)")
    person.until(lambda: not read_notes(person.dock.context.location.folder).colors.is_default)
    person.viewer.layers.clear()
    person.waits()
    person.opens_slides(slide_path)
    person.until(lambda: person.dock.sections.display.colors.stain == "dab_dab")
    assert person.dock.findChild(QComboBox, "display_stain").currentText() == "DAB (H-DAB)"


def test_fluorescence_points_to_the_controls_of_its_layers(person, tmp_path) -> None:
    person.opens_slides(draw_fluorescence(tmp_path / "fluorescence.ome.tif"))
    person.dock.display_section.expand(animate=False)
    person.waits()
    assert not person.dock.findChild(QComboBox, "display_stain").isEnabled()
    assert "layer controls" in person.dock.findChild(QLabel, "display_hint").text()
