"""Magnification buttons and worklist of the Slide dock."""

from __future__ import annotations

import pytest
from fake_slides import FakeAnalysis, draw_slide
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QToolButton
from slide_stage import FIXTURES

from napari_melanoma.ui.slide.navigation import STEPS
from napari_melanoma.ui.viewer.camera import get_camera, get_visible_region

user, launched, slide_path, person, analysed = map(pytest.fixture, FIXTURES)


def magnifiers(person):
    return {step: person.finds(QToolButton, f"magnify_{step}") for step in STEPS}


def test_magnification_1x_is_ten_micrometers_per_pixel(person, slide_path):
    dock, viewer = person.dock, person.viewer
    person.opens_slides(slide_path)  # 0.5 µm a pixel: 20x
    buttons = magnifiers(person)
    assert [step for step, button in buttons.items() if button.isEnabled()] == [1, 2, 4, 5, 10, 20]
    assert "scanned at 20x" in buttons[40].toolTip()
    middle = get_visible_region(viewer, dock.slide).center
    person.clicks("magnify_20")
    assert get_camera(viewer).zoom == pytest.approx(2.0)  # screen pixels a micrometre: a pixel of the slide is one
    assert get_visible_region(viewer, dock.slide).center == pytest.approx(middle)
    assert person.label_text("magnification_now") == "20x"
    assert [step for step, button in buttons.items() if button.isChecked()] == [20]
    get_camera(viewer).zoom = 0.32
    person.until(lambda: person.label_text("magnification_now") == "3.2x")
    assert not any(button.isChecked() for button in buttons.values())


def test_without_a_scale_there_is_no_magnification(person, tmp_path):
    person.opens_slides(draw_slide(tmp_path / "bare.tif", mpp=None))
    assert not any(button.isEnabled() for button in magnifiers(person).values())
    assert "set the scale" in magnifiers(person)[4].toolTip()
    assert person.label_text("magnification_now") == ""
    person.dock.picker.scale_button.click()
    person.dock.scale_panel._number.setValue(0.25)
    person.clicks("scale_set")
    assert magnifiers(person)[40].isEnabled()


@pytest.fixture
def folder(tmp_path):
    """Create three slides, of which the second is analyzed."""
    (tmp_path / "case").mkdir()
    return [draw_slide(tmp_path / "case" / f"s{n}.tif", tint=n) for n in range(3)]


def listed(person):
    table = person.dock.sections.worklist._view.table
    return [[table.item(line, column).text() for column in (0, 1)] for line in range(table.rowCount())]


def opens_list(person):
    person.dock.worklist_section.toggleButton().click()
    button = person.finds(QToolButton, "worklist_next")
    person.until(lambda: button.visibleRegion().boundingRect() == button.rect())  # the fold opens slowly


@pytest.mark.both_qts
def test_slides_of_the_folder_are_listed_and_opened(person, folder):
    dock = person.dock
    person.opens_slides(folder[1])
    FakeAnalysis(dock.result_location.folder, folder[1], dock.slide.info.fingerprint).begins().finishes()
    assert dock.sections.worklist._view is None  # created when the section is opened
    opens_list(person)
    expected = [["s0.tif", "waiting"], ["s1.tif", "done with tiny"], ["s2.tif", "waiting"]]
    person.until(lambda: dock.sections.worklist._view.table.rowCount() == 3)
    assert listed(person) == expected
    assert person.finds(QLabel, "worklist_words").text() == "case: 2 waiting, 1 done"
    assert dock.sections.worklist._view.table.item(1, 0).font().bold()

    person.clicks("worklist_next")
    person.until(lambda: dock.slide.info.path == folder[2])
    person.waits()
    person.clicks("worklist_next")  # there is none further
    person.waits()
    assert dock.slide.info.path == folder[2]
    table = dock.sections.worklist._view.table
    at = table.visualItemRect(table.item(0, 0)).center()
    person.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    person.until(lambda: dock.slide.info.path == folder[0])
    person.waits()
    assert len(person.viewer.layers) >= 3
    person.clicks("worklist_next")  # it is open already: shown, not opened again
    assert dock.slide.info.path == folder[1]
    assert sum(layer.name.startswith("s1") and layer.name == "s1" for layer in person.viewer.layers) == 1


def test_chosen_folder_is_stored(person, folder, slide_path):
    person.opens_slides(slide_path)
    opens_list(person)
    person.clicks("worklist_folder")
    person.chooses_file("worklist_dialog", folder[0].parent)
    person.until(lambda: person.dock.sections.worklist._view.table.rowCount() == 3)
    assert person.dock.sections.worklist.folder == folder[0].parent
