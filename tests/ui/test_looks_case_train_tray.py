"""How the Case dock, the Train dock and the Tray look in a window of 1366 x 768 pixels."""

import shutil
from pathlib import Path

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QWidget
from tests.ui.looks import (
    find_place,
    is_in_view,
    list_blanks,
    list_cut_texts,
    list_repeated_facts,
    list_section_blanks,
    visible,
)

from conftest import wait_until_idle
from napari_melanoma.ui.case.tree import PICTURE_PX
from napari_melanoma.ui.viewer.docking import show_dock

EXAMPLES = Path(__file__).parents[2] / "examples" / "photographs"
WINDOW, WIDTH = (1366, 768), 340


@pytest.fixture
def opens(home, shared_client, shown_viewer, qtbot):
    """Open a dock of the smallest supported width."""

    def open_dock(name):
        shown_viewer.window.resize(*WINDOW)
        dock = show_dock(shown_viewer, name)
        dock.window().resizeDocks([dock.parentWidget()], [WIDTH], Qt.Orientation.Horizontal)
        wait_until_idle(qtbot)
        qtbot.wait(200)
        return dock

    yield open_dock
    wait_until_idle(qtbot)


def rests(qtbot):
    """Wait until a dock is laid out."""
    wait_until_idle(qtbot)
    qtbot.wait(300)


def test_the_train_dock(opens, qtbot, tmp_path):
    dock = opens("Train")
    assert list_cut_texts(dock) == ""
    dock.data_picker.training_list.add([shutil.copytree(EXAMPLES, tmp_path / "photographs")])
    qtbot.waitUntil(dock.start_button.isEnabled, timeout=30_000)
    rests(qtbot)
    assert list_cut_texts(dock) == ""
    assert list_blanks(dock.data_picker) == ""
    assert list_section_blanks(dock) == ""
    assert list_repeated_facts(dock) == ""
    shown = " ".join(label.text() for label in visible(dock, QLabel))
    assert (shown.count("32"), dock.facts.text()) == (1, "photographs: 32 images with masks")
    assert find_place(dock, "recipe_summary")[1] < find_place(dock, "name")[1], "below the recipe"
    before = find_place(dock, "primary")
    for part in (dock.answer, dock.start_button):
        assert is_in_view(dock.window(), part)
    dock.data_picker.training_list.rows[-1].check.setChecked(False)
    rests(qtbot)
    assert "Tick a data set" in dock.warning_label.text()
    assert find_place(dock, "primary") == before
    assert is_in_view(dock.window(), dock.warning_label)


def test_the_case_dock(opens, qtbot, tmp_path):
    dock = opens("Case")
    assert list_cut_texts(dock) == ""
    dock.importer.open_sample(tmp_path / "P-0042")
    qtbot.waitUntil(lambda: dock.controller.case is not None, timeout=30_000)
    rests(qtbot)
    assert list_cut_texts(dock) == ""
    assert list_section_blanks(dock) == ""
    assert list_repeated_facts(dock) == ""
    before = find_place(dock, "primary")
    tree = dock.tree
    for row in range(2):
        tree.setCurrentItem(tree.topLevelItem(row))
        rests(qtbot)
        assert find_place(dock, "primary") == before
        assert is_in_view(dock.window(), dock.answer)
    # Diagnoses, predictions and the names of these files are whole, and move nothing below.
    patient = find_place(dock, "patient_age")
    dock.predict_button.click()
    qtbot.waitUntil(lambda: dock.predictor.predictions is not None, timeout=60_000)
    rests(qtbot)
    for item in tree.iterate_items():
        for text in item.text(1).splitlines():
            assert tree.fontMetrics().horizontalAdvance(text) <= tree.columnWidth(1), text
        room = tree.visualItemRect(item).intersected(tree.viewport().rect()).right() - tree.columnWidth(1)
        name = tree.visualItemRect(item).left() + PICTURE_PX + tree.fontMetrics().horizontalAdvance(item.text(0))
        assert name <= room, item.text(0)
    assert list_cut_texts(dock) == ""
    assert find_place(dock, "primary") == before
    assert find_place(dock, "patient_age") == patient


@pytest.mark.parametrize("height", [236, 600], ids=["below the image", "high"])
def test_the_tray(opens, qtbot, tmp_path, height):
    dock = opens("Tray")
    shutil.copytree(EXAMPLES / "images", tmp_path / "a folder with a name that is longer than the row of the controls")
    dock.open([next(tmp_path.iterdir())])
    qtbot.waitUntil(lambda: dock.content is not None, timeout=30_000)
    dock.window().resizeDocks([dock.parentWidget()], [height], Qt.Orientation.Vertical)
    rests(qtbot)
    assert list_cut_texts(dock) == ""
    assert dock.list_view.height() > 0.6 * dock.height(), "the room is for the tiles"
    notice = dock.findChild(QWidget, "notice_of_use")
    for part in (notice, dock.open_button):
        assert is_in_view(dock.window(), part)
    assert list_blanks(dock) == ""
    # The notice is among the controls; a message takes room from the tiles, and moves nothing.
    places = find_place(dock, "notice_of_use"), find_place(dock, "tray_list")
    assert abs(places[0][1] - find_place(dock, "primary")[1]) < dock.open_button.height()
    dock.status.show_message("A message.")
    rests(qtbot)
    assert is_in_view(dock.window(), dock.findChild(QWidget, "status"))
    assert (find_place(dock, "notice_of_use"), find_place(dock, "tray_list")) == places
