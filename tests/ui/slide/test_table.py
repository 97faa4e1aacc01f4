"""The table of lesions: order, sorting and selection."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.slides.lesions import LesionConfig, LesionMaps, build_lesion_maps, find_lesions
from napari_melanoma.ui.slide.lesions import COLUMNS, LesionTable, LesionTableModel, sort_lesions


def found():
    """Return a large lesion, a small one with higher probability, and a benign one."""
    presence = np.zeros((20, 30), np.float32)
    presence[2:8, 2:20] = 0.7
    presence[10, 2] = 0.99
    presence[14:18, 2:12] = 0.61
    return find_lesions(
        LesionMaps(presence, MapPlacement(0, 0, 100, 100, PixelSize(1, 1))), LesionConfig(malignant_from=0.65)
    )


@pytest.fixture
def table(qtbot):
    made = LesionTable()
    qtbot.addWidget(made)
    made.resize(300, 200)
    made.show()
    made.show_lesions(found())
    return made


def numbers(table):
    return [lesion.index for lesion in table.table_model.lesions]


def clicks(qtbot, table, column):
    header = table.horizontalHeader()
    at = header.viewport().rect().center()
    at.setX(header.sectionViewportPosition(COLUMNS.index(column)) + header.sectionSize(COLUMNS.index(column)) // 2)
    qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=at)


def test_malignant_lesions_come_first_by_size(table):
    assert [(one.label, round(one.area_mm2, 2)) for one in table.table_model.lesions] == [
        ("malignant", 1.08),
        ("malignant", 0.01),
        ("benign", 0.4),
    ]


@pytest.mark.parametrize(
    ("column", "first", "second"),
    [
        ("#", [1, 2, 3], [3, 2, 1]),
        ("class", [3, 1, 2], [1, 2, 3]),
        ("p", [2, 1, 3], [3, 1, 2]),
        ("area", [1, 3, 2], [2, 3, 1]),
        ("tissue", [1, 3, 2], [2, 3, 1]),
    ],
)
def test_clicks_sort_reverse_and_restore_the_order(qtbot, table, column, first, second):
    for expected in (first, second, [1, 2, 3]):
        clicks(qtbot, table, column)
        assert numbers(table) == expected


def test_selection_survives_sorting_without_zooming(qtbot, table):
    flown = []
    table.lesion_activated.connect(flown.append)
    table.select_lesion(2)
    clicks(qtbot, table, "p")
    assert table.selected == [2]
    assert flown == []
    table.selectRow(2)
    assert [one.index for one in flown] == [3]
    # A click on the selected row zooms to its lesion again.
    at = table.visualRect(table.table_model.index(2, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert [one.index for one in flown] == [3, 3]


def test_new_lesions_are_sorted(qtbot, table):
    clicks(qtbot, table, "area")
    table.show_lesions(found()[:2][::-1])
    assert numbers(table) == [1, 2]


def test_missing_values_come_last():
    one, two, three = found()
    lesions = (replace(one, probability=math.nan, malignancy=math.nan), two, three)
    for falling, expected in ((True, [2, 3, 1]), (False, [3, 2, 1])):
        assert [one.index for one in sort_lesions(lesions, COLUMNS.index("p"), descending=falling)] == expected
    assert sort_lesions(lesions, -1, descending=True) == lesions


def test_the_number_next_to_the_class_determines_it():
    values = np.broadcast_to(np.array([0.36, 0.28, 0.36], np.float32)[:, None, None], (3, 4, 4))
    place = MapPlacement(0, 0, 100, 100, PixelSize(1, 1))
    classes = ("normal", "nevus", "melanoma")
    lesions = find_lesions(build_lesion_maps(values, place, classes, "melanoma", is_dense=False), LesionConfig())
    model = LesionTableModel()
    model.set_lesions(lesions)
    model.target = "melanoma"
    assert [model.data(model.index(0, column)) for column in (1, 2)] == ["malignant", "0.56"]
    tip = model.data(model.index(0, 2), Qt.ItemDataRole.ToolTipRole)
    assert "probability of malignancy 0.563\nprobability of melanoma (mean of the heatmap) 0.360" in tip
