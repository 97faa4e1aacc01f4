"""The Display section: colors of the displayed slide change, are kept with it, and do not reach the analysis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fake_slides import draw_fluorescence, draw_slide
from napari.utils.colormaps import Colormap
from qtpy.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QSlider,
)
from slide_fixtures import UNSEEN

from napari_melanoma.core.geometry import Box
from napari_melanoma.imaging.stain_view import DisplayColors
from napari_melanoma.slides.notes import LayerDisplay, read_notes, write_notes
from napari_melanoma.ui.viewer.channel_layers import get_channel_color, set_channel_color

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)


@pytest.fixture
def displaying(person, slide_path):
    """User with an open slide and Display section."""
    person.opens_slides(slide_path)
    person.opens_section("Display")
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


@pytest.mark.path
def test_a_stain_is_displayed_and_the_analysis_reads_the_scan(displaying, slide_path, tmp_path) -> None:
    person, slide = displaying, displaying.dock.slide.slide
    before, scan = shown(person).copy(), slide.read_region(0, Box(0, 0, 64, 64)).copy()
    chooses(person, "hematoxylin (H&E)")
    np.testing.assert_array_equal(shown(person), DisplayColors(stain="hematoxylin_he").apply(before))
    assert not np.array_equal(shown(person), before)
    np.testing.assert_array_equal(slide.read_region(0, Box(0, 0, 64, 64)), scan)
    person.dock.findChild(QAbstractButton, "display_reset").click()
    person.waits()
    np.testing.assert_array_equal(shown(person), before)

    # Brightness and contrast are kept with the slide.
    slides(person, "brightness", 20)
    slides(person, "contrast", 50)
    slides(person, "gamma", -30)
    colors = person.session.notes.value.colors
    assert colors.brightness == pytest.approx(0.2)
    assert colors.contrast == pytest.approx(5**0.5)
    folder = person.dock.context.location.folder
    person.until(lambda: read_notes(folder).colors == colors)
    first = person.dock.slide.identity
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=20))
    person.opens_section("Display")
    assert person.session.notes.value.colors.is_default
    assert person.dock.findChild(QSlider, "display_brightness").value() == 0
    person.dock.picker.select_slide(first)
    person.waits()
    assert person.session.notes.value.colors == colors
    assert person.dock.findChild(QSlider, "display_contrast").value() == 50

    # It is opened again in its colors.
    chooses(person, "DAB (H-DAB)")
    person.until(lambda: not read_notes(person.dock.context.location.folder).colors.is_default)
    person.viewer.layers.clear()
    person.waits()
    person.opens_slides(slide_path)
    person.until(lambda: person.session.notes.value.colors.stain == "dab_dab")
    assert person.dock.findChild(QComboBox, "display_stain").currentText() == "DAB (H-DAB)"


@pytest.fixture
def cells(person, tmp_path):
    """User with an open fluorescence slide and Display section."""
    person.opens_slides(draw_fluorescence(tmp_path / "fluorescence.ome.tif"))
    person.opens_section("Display")
    person.waits()
    return person


def test_channels_are_layers_without_controls_of_brightfield(cells, slide_path) -> None:
    assert [layer.name.split()[-1] for layer in cells.dock.slide.layers] == ["DAPI", "FITC"]
    assert "layer controls" in cells.label_text("display_hint")
    assert cells.dock.findChild(QComboBox, "display_stain") is None

    cells.opens_slides(slide_path)
    cells.opens_section("Display")
    cells.waits()
    assert cells.dock.findChild(QComboBox, "display_stain").isEnabled()


def test_channels_are_kept_with_the_slide(cells) -> None:
    cells.memory._timer.setInterval(20)
    path, folder = cells.dock.slide.info.path, cells.dock.context.location.folder
    first, second = cells.dock.slide.layers
    cells.memory.save()
    cells.waits()
    assert read_notes(folder).layers == {}
    first.visible, second.contrast_limits, second.gamma = False, (100, 900), 0.5
    set_channel_color(second, (10, 200, 30))
    cells.until(lambda: "channel FITC" in read_notes(folder).layers)  # without another reason to save
    second.gamma = 0.6
    cells.clicks("close_slide")
    cells.waits()
    kept = read_notes(folder).layers
    assert kept["channel FITC"] == LayerDisplay(True, 1.0, (100, 900), 0.6, (10, 200, 30))
    cells.opens_slides(path)
    cells.until(lambda: not cells.dock.slide.layers[0].visible)
    second = cells.dock.slide.layers[1]
    assert (list(second.contrast_limits), second.gamma) == ([100, 900], 0.6)
    assert [get_channel_color(layer) for layer in cells.dock.slide.layers] == [(0, 0, 255), (10, 200, 30)]


def test_a_colormap_of_several_colors_is_kept_with_the_slide(cells) -> None:
    path, folder = cells.dock.slide.info.path, cells.dock.context.location.folder
    first, second = cells.dock.slide.layers
    first.colormap, second.colormap = "viridis", Colormap([[1, 0, 0], [0, 1, 0]], name="own")
    cells.clicks("close_slide")
    cells.waits()
    kept = read_notes(folder).layers
    assert [(one.color, one.colormap) for one in kept.values()] == [(None, "viridis"), (None, "")]
    kept = {**kept, "channel FITC": replace(kept["channel FITC"], colormap="of a plugin that is gone")}
    write_notes(folder, replace(read_notes(folder), layers=kept))
    cells.opens_slides(path)
    cells.until(lambda: cells.dock.slide.layers[0].colormap.name == "viridis")
    cells.waits()
    second = cells.dock.slide.layers[1]
    assert get_channel_color(second) == (0, 255, 0)
    second.gamma = 0.7
    cells.memory.save()
    cells.waits()
    kept = read_notes(folder).layers["channel FITC"]
    assert (kept.gamma, kept.color, kept.colormap) == (0.7, None, "of a plugin that is gone")
    set_channel_color(second, (10, 200, 30))
    cells.memory.save()
    cells.waits()
    kept = read_notes(folder).layers["channel FITC"]
    assert (kept.color, kept.colormap) == ((10, 200, 30), "")
