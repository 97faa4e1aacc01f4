"""The Display section: colors of the displayed slide change, are kept with it, and do not reach the analysis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from fake_slides import draw_fluorescence, draw_slide
from napari.utils.colormaps import Colormap
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QColorDialog,
    QComboBox,
    QDoubleSpinBox,
    QLabel,
    QSlider,
    QTreeWidget,
    QWidget,
)
from slide_fixtures import UNSEEN
from superqt import QDoubleRangeSlider

from napari_melanoma.core.geometry import Box
from napari_melanoma.imaging.stain_view import DisplayColors
from napari_melanoma.slides.notes import LayerDisplay, read_notes, write_notes
from napari_melanoma.slides.reading.layers import LevelArray
from napari_melanoma.slides.reading.slide import contrast_limits
from napari_melanoma.ui.sections.display.channels import VISIBLE_ROWS
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


CURRENT = [f"channel_{name}" for name in ("only", "color", "low", "high", "auto", "gamma")]


def channels(person) -> QTreeWidget:
    return person.dock.findChild(QTreeWidget, "channels")


def rows(person) -> list[tuple[bool, str, str]]:
    """Return visibility, color and name of each row."""
    items = [channels(person).topLevelItem(index) for index in range(channels(person).topLevelItemCount())]
    role = Qt.ItemDataRole.AccessibleTextRole
    return [(one.checkState(0) == Qt.CheckState.Checked, one.data(1, role), one.text(2)) for one in items]


def presses(person, name: str) -> None:
    person.dock.findChild(QAbstractButton, name).click()


def position(person, row: int, column: int) -> QPoint:
    """Return the center of a cell of the list."""
    listed = channels(person)
    return listed.visualRect(listed.model().index(row, column)).center()


def clicks(person, row: int, column: int) -> None:
    QTest.mouseClick(channels(person).viewport(), Qt.MouseButton.LeftButton, pos=position(person, row, column))


def visible(person) -> list[bool]:
    return [layer.visible for layer in person.dock.slide.layers]


def test_each_display_of_a_slide_leaves_no_connection_behind(person, slide_path) -> None:
    person.opens_slides(slide_path)
    section, hosted = person.dock.sections.hosted.sections["Display"].section, person.dock.sections.hosted
    connected, owned = hosted.receivers(hosted.destroyed), len(hosted.children())
    for _ in range(3):
        section.close()
        section.show(person.session)
    person.until(lambda: len(hosted.children()) == owned)
    assert hosted.receivers(hosted.destroyed) == connected


def test_channels_have_rows_instead_of_the_controls_of_brightfield(cells, slide_path, monkeypatch) -> None:
    assert rows(cells) == [(True, "#0000ff", "DAPI"), (True, "#00ff00", "FITC")]
    assert cells.dock.findChild(QComboBox, "display_stain") is None

    def read(*args):
        raise AssertionError("read in the thread of the window")

    limits = [tuple(layer.contrast_limits) for layer in cells.dock.slide.layers]
    with monkeypatch.context() as patch:
        patch.setattr(LevelArray, "__array__", read)  # not for the controls
        for index, layer in enumerate(cells.dock.slide.layers):
            layer.contrast_limits = (1, 2)
            channels(cells).setCurrentItem(channels(cells).topLevelItem(index))
            presses(cells, "channel_auto")
            assert tuple(layer.contrast_limits) == limits[index]

    # Measurements are visible on black.
    cells.opens_section("Measure")
    cells.clicks("measure_line")
    layer = cells.viewer.layers.selection.active
    layer.add_lines([[10, 10], [60, 60]])
    cells.waits()
    assert layer.edge_color[0][:3].mean() > 0.6
    cells.clicks("measure_line")

    cells.opens_slides(slide_path)
    cells.opens_section("Display")
    cells.waits()
    assert channels(cells) is None
    assert cells.dock.findChild(QComboBox, "display_stain").isEnabled()


def test_channels_are_shown_and_hidden_and_rows_follow_the_layers(cells) -> None:
    listed = channels(cells)
    listed.topLevelItem(0).setCheckState(0, Qt.CheckState.Unchecked)
    assert visible(cells) == [False, True]
    presses(cells, "channels_none")
    assert visible(cells) == [False, False]
    assert cells.dock.slide is not None
    presses(cells, "channels_all")
    assert visible(cells) == [True, True]
    clicks(cells, 1, 2)
    QTest.mouseDClick(listed.viewport(), Qt.MouseButton.LeftButton, pos=position(cells, 1, 2))
    assert visible(cells) == [False, True]
    QTest.keyClick(listed, Qt.Key.Key_Up)
    QTest.keyClick(listed, Qt.Key.Key_Space)
    assert visible(cells) == [True, True]
    QTest.keyClick(listed, Qt.Key.Key_Down)
    QTest.keyClick(listed, Qt.Key.Key_Return)
    assert visible(cells) == [False, True]
    listed.setCurrentItem(listed.topLevelItem(0))
    presses(cells, "channel_only")
    assert visible(cells) == [True, False]
    assert [row[0] for row in rows(cells)] == [True, False]
    presses(cells, "channels_all")
    check_rows(cells)


@pytest.mark.both_qts
def test_limits_gamma_and_color_of_the_current_channel_are_set(cells) -> None:
    first, second = cells.dock.slide.layers
    automatic, others = list(second.contrast_limits), list(first.contrast_limits)
    channels(cells).setCurrentItem(channels(cells).topLevelItem(1))
    low, high = (cells.dock.findChild(QDoubleSpinBox, f"channel_{name}") for name in ("low", "high"))
    slider = cells.dock.findChild(QDoubleRangeSlider, "channel_limits")
    assert (slider.minimum(), slider.maximum()) == pytest.approx((0, automatic[0] + 4 * (automatic[1] - automatic[0])))
    slider.setValue((500.4, 2000))
    assert list(second.contrast_limits) == [500, 2000]
    assert (low.value(), high.value()) == (500, 2000)
    low.setValue(800)
    high.setValue(60000)
    assert list(second.contrast_limits) == [800, 60000]
    assert slider.maximum() == 60000
    low.setValue(70000)
    low.editingFinished.emit()
    assert (low.value(), list(second.contrast_limits)) == (800, [800, 60000])
    cells.dock.findChild(QSlider, "channel_gamma").setValue(50)
    assert (second.gamma, cells.dock.findChild(QLabel, "channel_gamma_value").text()) == (0.5, "0.50")
    presses(cells, "channel_auto")
    assert list(second.contrast_limits) == automatic
    clicks(cells, 1, 1)
    dialog = cells.dock.window().findChild(QColorDialog, "channel_color_dialog")
    dialog.colorSelected.emit(QColor(255, 128, 0))
    dialog.reject()
    assert get_channel_color(second) == (255, 128, 0)
    assert rows(cells)[1][1] == "#ff8000"
    assert (list(first.contrast_limits), first.gamma, get_channel_color(first)) == (others, 1, (0, 0, 255))


def check_rows(cells) -> None:
    """Rows follow changes in the layer controls, and removed layers."""
    first, second = cells.dock.slide.layers
    first.visible, first.colormap, first.contrast_limits, first.gamma = False, "magenta", (10, 900), 0.8
    assert rows(cells)[0] == (False, "#ff00ff", "DAPI")
    assert cells.dock.findChild(QDoubleSpinBox, "channel_high").value() == 900
    assert cells.dock.findChild(QSlider, "channel_gamma").value() == 80
    second.colormap = "viridis"
    assert get_channel_color(second) is None
    cells.viewer.layers.remove(first)
    cells.waits()
    assert [row[2] for row in rows(cells)] == ["FITC"]
    first.gamma = 1.2
    QTest.keyClick(channels(cells), Qt.Key.Key_Space)
    assert not second.visible
    cells.viewer.layers.clear()
    cells.until(lambda: channels(cells) is None)


def test_channels_are_kept_with_the_slide(cells) -> None:
    cells.overview._memory._timer.setInterval(20)
    path, folder = cells.dock.slide.info.path, cells.dock.context.location.folder
    first, second = cells.dock.slide.layers
    cells.overview._memory.save()
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
    assert [row[:2] for row in rows(cells)] == [(False, "#0000ff"), (True, "#0ac81e")]


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
    cells.overview._memory.save()
    cells.waits()
    kept = read_notes(folder).layers["channel FITC"]
    assert (kept.gamma, kept.color, kept.colormap) == (0.7, None, "of a plugin that is gone")
    set_channel_color(second, (10, 200, 30))
    cells.overview._memory.save()
    cells.waits()
    kept = read_notes(folder).layers["channel FITC"]
    assert (kept.color, kept.colormap) == ((10, 200, 30), "")


def test_many_channels_of_small_floats_are_scrolled(person, tmp_path) -> None:
    """16 channels of float32 below 1: the dock does not grow, and the limits keep their digits."""
    pixels = np.random.default_rng(0).random((16, 64, 64), dtype=np.float32) / 500
    names = {"axes": "CYX", "Channel": {"Name": ["marker with a long name"] * 16}, "PhysicalSizeX": 0.5}
    path = tmp_path / "many.ome.tif"
    how = {"ome": True, "tile": (64, 64), "photometric": "minisblack", "metadata": {**names, "PhysicalSizeY": 0.5}}
    tifffile.imwrite(path, pixels, **how)
    person.opens_slides(path)
    person.opens_section("Display")
    person.waits()
    assert len(rows(person)) == 16 > VISIBLE_ROWS
    assert rows(person)[1][2] == "2 marker with a long name"
    listed = channels(person)
    assert listed.height() <= (VISIBLE_ROWS + 1) * listed.sizeHintForRow(0)
    assert listed.parentWidget().minimumSizeHint().width() <= 270  # in a dock of 320 pixels
    layer = person.dock.slide.layers[0]
    low = person.dock.findChild(QDoubleSpinBox, "channel_low")
    low.setValue(0.00123)
    assert layer.contrast_limits[0] == pytest.approx(0.00123)
    presses(person, "channel_auto")
    assert tuple(layer.contrast_limits) == contrast_limits(np.asarray(layer.data[-1]))
    named = [one for one in listed.parentWidget().findChildren(QWidget) if one.objectName().startswith("channel")]
    assert all(one.accessibleName() for one in named)
    order = [listed.objectName()]
    for _ in range(8):
        listed = next_control(listed)
        order.append(listed.objectName())
    assert order == ["channels", *(f"channels_{name}" for name in ("all", "none")), *CURRENT]


def next_control(widget: QWidget) -> QWidget:
    """Return the widget that the Tab key reaches next."""
    widget = widget.nextInFocusChain()
    while not widget.focusPolicy() & Qt.FocusPolicy.TabFocus or not widget.objectName().startswith("channel"):
        widget = widget.nextInFocusChain()
    return widget
