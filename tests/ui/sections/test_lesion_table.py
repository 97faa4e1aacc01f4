"""The table of lesions: sorting by clicks, and selection."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt

from napari_melanoma.ui.sections.lesions.section import LesionTable

from .test_lesions_resolve import find_example


@pytest.fixture
def table(qtbot):
    made = LesionTable()
    qtbot.addWidget(made)
    made.resize(300, 200)
    made.show()
    made.show_lesions(find_example(), "", ())
    return made


def numbers(table):
    return [lesion.index for lesion in table.table_model.rows]


def clicks(qtbot, table, title):
    header = table.horizontalHeader()
    column = [one.title for one in table.table_model.columns].index(title)
    at = header.viewport().rect().center()
    at.setX(header.sectionViewportPosition(column) + header.sectionSize(column) // 2)
    qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=at)


def test_clicks_sort_reverse_and_restore_the_order(qtbot, table):
    for title, first, second in (("class", [3, 1, 2], [1, 2, 3]), ("p", [2, 1, 3], [3, 1, 2])):
        for expected in (first, second, [1, 2, 3]):
            clicks(qtbot, table, title)
            assert numbers(table) == expected


def test_selection_survives_sorting_and_new_lesions_which_are_sorted(qtbot, table):
    chosen = []
    table.chosen.connect(chosen.append)
    table.select((2,))
    clicks(qtbot, table, "p")
    assert (table.selected, chosen) == ((2,), [])
    table.selectRow(2)
    assert chosen == [(3,)]
    # A click on the selected row zooms to its lesion again.
    at = table.visualRect(table.table_model.index(2, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert chosen == [(3,), (3,)]
    table.show_lesions(find_example()[:2], "", (1,))
    assert (numbers(table), table.selected) == ([2, 1], (1,))
    assert len(chosen) == 2


def test_keys_and_clicks_extend_a_selection_that_is_stored_and_shown_again(qtbot, table):
    table.chosen.connect(table.select)  # as from the session
    table.selectRow(0)
    for _ in range(2):
        qtbot.keyClick(table, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    assert table.selected == (1, 2, 3)
    at = table.visualRect(table.table_model.index(1, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ControlModifier, at)
    assert table.selected == (1, 3)
    qtbot.keyClick(table, Qt.Key.Key_Down)  # from the row that was clicked, not from the first selected one
    assert table.selected == (3,)


def test_a_selection_that_is_cleared_with_the_rows_does_not_return(qtbot, table):
    table.select((2,))
    table.show_lesions(find_example(), "", ())
    clicks(qtbot, table, "p")
    assert table.selected == ()
