"""How the Case dock, the Train dock and the Tray look in a window of 1366 x 768 pixels."""

import shutil
from pathlib import Path

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget
from tests.ui.looks import find_place, is_in_view, list_blanks, list_cut_texts, list_repeated_facts, list_section_blanks

from conftest import wait_until_idle
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
    assert list_repeated_facts(dock, "32 images with masks") == ""  # of the only data set, and of all
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
    # Diagnoses and predictions are whole; names of files are elided.
    dock.predict_button.click()
    qtbot.waitUntil(lambda: dock.predictor.predictions is not None, timeout=60_000)
    rests(qtbot)
    for item in tree.iterate_items():
        for index in (1, 2):
            text = item.text(index)
            assert tree.fontMetrics().horizontalAdvance(text) <= tree.columnWidth(index), text
    assert list_cut_texts(dock) == ""
    assert find_place(dock, "primary") == before


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
    assert is_in_view(dock.window(), dock.findChild(QWidget, "notice_of_use"))
    assert is_in_view(dock.window(), dock.open_button)
