"""The list of regions: sorted, filtered, renamed, locked, followed on the slide, and quick with thousands."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from canvas_mouse import CanvasMouse
from qtpy.QtCore import QModelIndex, Qt
from qtpy.QtWidgets import QAbstractButton, QApplication, QLineEdit
from region_access import document, opens_section, regions, selected, tools, view
from slide_fixtures import UNSEEN

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.io.geojson import Annotation, read_geojson
from napari_melanoma.slides.region_files import REGIONS
from napari_melanoma.slides.regions import DEFAULT_CLASSES, is_locked, region_from_vertices
from napari_melanoma.ui.sections.regions.region_list import (
    AREA,
    CLASS,
    DATE,
    MONTHS,
    NAME,
    RegionRow,
    RegionTable,
    RegionTableModel,
)
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.viewer.view_memory import fit_view

from ..slide.test_drawing import box

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
LAYER = "section regions"


@pytest.fixture
def listing(person, slide_path):
    """User with three regions on a slide."""
    person.opens_slides(slide_path)
    opens_section(person)
    corners = (box(1, 1, 3, 3), box(5, 5, 9, 9), box(11, 2, 14, 4))
    classes = (DEFAULT_CLASSES[0], DEFAULT_CLASSES[2], DEFAULT_CLASSES[1])
    made = [region_from_vertices(one, kind, "Reader A") for one, kind in zip(map(list, corners), classes, strict=True)]
    named = [replace(one, name=name) for one, name in zip(made, ("tip", "base", ""), strict=True)]
    document(person).apply(lambda _: tuple(named))
    person.waits()
    return person


def table_of(person):
    return view(person).region_list.table


def names(person):
    return [row.region.name for row in table_of(person).table_model.rows]


def clicks_row(person, row, modifier=Qt.KeyboardModifier.NoModifier):
    table = table_of(person)
    table.scrollTo(table.table_model.index(row, NAME))
    where = table.visualRect(table.table_model.index(row, CLASS)).center()
    person.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, modifier, where)


def presses(person, name):
    """Click a button regardless of the scroll position."""
    button = person.finds(QAbstractButton, name)
    assert button.isEnabled(), button.toolTip()
    button.click()


@pytest.mark.both_qts
@pytest.mark.usefixtures("shown_viewer")
def test_rows_show_select_and_follow_regions(listing):
    person, table = listing, table_of(listing)
    model = table.table_model
    cells = [[model.index(row, column).data() for column in range(3)] for row in range(3)]
    assert cells == [["tip", "Melanoma", "0.00102"], ["base", "Epidermis", "0.0041"], ["", "Nevus", "0.00154"]]
    today = datetime.now().astimezone()
    assert model.index(0, DATE).data() == f"{today.day} {MONTHS[today.month - 1]}"
    tip = model.index(0, NAME).data(Qt.ItemDataRole.ToolTipRole)
    assert "Reader A" in tip
    assert f"drawn {today.date()}" in tip

    clicks_row(person, 1)
    middle = (7 * 32.0, 7 * 32.0)
    person.until(lambda: person.sees(middle))
    layer = person.viewer.layers[LAYER]
    assert (str(layer.mode), set(layer.selected_data)) == ("pan_zoom", {1})
    assert person.viewer.layers.selection.active == layer  # else napari highlights nothing
    camera = get_camera(person.viewer)
    zoom = camera.zoom
    presses(person, "fit_slide")
    assert camera.zoom < zoom
    clicks_row(person, 1)  # selected already
    person.until(lambda: camera.zoom == pytest.approx(zoom))
    clicks_row(person, 2, Qt.KeyboardModifier.ControlModifier)
    assert set(layer.selected_data) == {1, 2}
    assert person.sees(middle)  # several are selected without a flight

    mouse, before = CanvasMouse(person), regions(person)
    presses(person, "fit_slide")
    person.waits()
    mouse.drags(middle, (9 * 32.0, 9 * 32.0))  # pans
    assert regions(person) == before
    presses(person, "region_select")
    person.viewer.layers.selection.active = person.dock.slide.layers[-1]
    clicks_row(person, 0)
    assert str(layer.mode) == "pan_zoom"
    presses(person, "fit_slide")
    presses(person, "region_select")
    mouse.clicks((2 * 32.0, 2 * 32.0))
    person.until(lambda: set(layer.selected_data) == {0})
    assert table.selected == (regions(person)[0].id,)
    presses(person, "region_undo")
    assert regions(person) == ()
    presses(person, "region_redo")
    assert len(regions(person)) == 3

    # Names are edited in place.
    clicks_row(person, 2)
    table.setCurrentIndex(table.table_model.index(2, NAME))
    table.setFocus()
    person.qtbot.keyClick(table, Qt.Key.Key_F2)
    person.until(lambda: table.findChild(QLineEdit) is not None)
    editor = table.findChild(QLineEdit)
    editor.setText(" left edge ")
    person.qtbot.keyClick(editor, Qt.Key.Key_Return)
    person.waits()
    assert regions(person)[2].name == "left edge"
    assert read_geojson(person.dock.result_location.folder / REGIONS).annotations == regions(person)
    assert table.selected == (regions(person)[2].id,)
    presses(person, "region_undo")
    assert regions(person)[2].name == ""


def test_locked_regions_are_not_changed_and_rows_are_sorted_and_filtered(listing):
    person, dock, table = listing, listing.dock, table_of(listing)
    clicks_row(person, 1)
    presses(person, "region_lock")
    before = regions(person)
    assert [is_locked(one) for one in before] == [False, True, False]
    assert person.finds(QAbstractButton, "region_lock").text() == "unlock"
    assert not table.table_model.flags(table.table_model.index(1, NAME)) & Qt.ItemFlag.ItemIsEditable

    layer = person.viewer.layers[LAYER]
    layer.data = [data + 20 * (index == 1) for index, data in enumerate(layer.data)]  # moved with the mouse
    person.until(lambda: "Locked: 'base'" in dock.status.text)
    assert regions(person) == before
    assert (layer.data[1] == layer.data[1].round(3)).all()
    layer.selected_data = {1}
    layer.remove_selected()
    person.waits()
    assert regions(person) == before
    assert len(layer.data) == 3
    clicks_row(person, 1)
    for name in ("region_remove", "region_class", "region_grow"):
        dock.status.show_message("")
        presses(person, name)
        person.until(lambda: "Locked: 'base'" in dock.status.text)
    assert regions(person) == before
    person.waits()
    assert read_geojson(dock.result_location.folder / REGIONS).annotations[1].properties["isLocked"] is True

    view(person).class_list.set_color(2, (1, 2, 3))  # a class is recolored everywhere
    assert regions(person)[1].color == (1, 2, 3)
    presses(person, "region_lock")
    presses(person, "region_remove")
    assert [one.name for one in regions(person)] == ["tip", ""]
    presses(person, "region_undo")
    assert len(regions(person)) == 3

    # Delete in the list removes several.
    clicks_row(person, 0)
    clicks_row(person, 2, Qt.KeyboardModifier.ShiftModifier)
    person.qtbot.keyClick(table, Qt.Key.Key_Backspace, Qt.KeyboardModifier.AltModifier)  # undo on Windows
    assert len(regions(person)) == 3
    person.qtbot.keyClick(table, Qt.Key.Key_Backspace)  # the Delete key of a MacBook
    assert regions(person) == ()
    assert not view(person).region_list.isVisible()

    # Rows are sorted and filtered.
    presses(person, "region_undo")
    assert len(regions(person)) == 3
    table.select(())
    table.sortByColumn(AREA, Qt.SortOrder.DescendingOrder)
    assert names(person) == ["base", "", "tip"]
    table.sortByColumn(NAME, Qt.SortOrder.DescendingOrder)
    assert names(person) == ["tip", "base", ""]  # empty ones last
    clicks_row(person, 0)
    field = person.finds(QLineEdit, "region_filter")
    person.qtbot.keyClicks(field, "epid")
    assert names(person) == ["base"]
    assert selected(person) == ()  # nothing unseen is deleted
    field.clear()
    assert len(names(person)) == 3
    clicks_row(person, 1)
    person.waits()
    fit_view(person.viewer)
    center = get_camera(person.viewer).center
    person.qtbot.keyClicks(field, "base")
    assert selected(person) == (regions(person)[1].id,)
    assert get_camera(person.viewer).center == center


@pytest.mark.parametrize(("size", "title", "text"), [(None, "px²", "4,096"), (PixelSize(2, 2), "mm²", "0.0164")])
def test_areas_are_in_pixels_without_a_scale(size, title, text):
    model = RegionTableModel()
    model.set_rows(model.measure((region_from_vertices(box(1, 1, 3, 3), DEFAULT_CLASSES[0]),), size))
    assert model.headerData(AREA, Qt.Orientation.Horizontal) == title
    assert model.index(0, AREA).data() == text


def test_old_properties_survive_and_a_region_beyond_the_drawn_ones_is_drawn_when_it_is_selected(listing):
    person = listing
    old = Annotation(regions(person)[0].polygons, "Melanoma", id="old", properties={"other_program": [1, {"a": 2}]})
    document(person).apply(lambda regions: (*regions, old))
    clicks_row(person, 3)
    presses(person, "region_lock")
    presses(person, "region_lock")
    table_of(person).table_model.renamed.emit("old", "new name")
    person.waits()
    kept = read_geojson(person.dock.result_location.folder / REGIONS).annotations[3]
    assert kept == replace(old, name="new name")
    assert table_of(person).table_model.index(3, DATE).data() == ""  # no date

    # A region beyond those that are drawn is drawn when it is selected.
    many = tuple(
        Annotation((Polygon(tuple(map(tuple, box(0, 0, 1, 1)))),), "Melanoma", id=f"r{number}") for number in range(450)
    )
    document(person).apply(lambda regions: (*many, *regions))
    person.waits()
    assert "54 are saved, and drawn when you select them" in person.label_text("region_summary")
    table_of(person).select(())
    clicks_row(person, 451)
    layer = person.viewer.layers[LAYER]
    assert len(layer.selected_data) == 1
    assert tools(person).selected == (regions(person)[451].id,)


def test_dates_of_earlier_years_have_the_year():
    old = Annotation(
        (Polygon(((0.0, 0.0), (0.0, 9.0), (9.0, 9.0))),), properties={"created": "2019-03-05T12:00:00+00:00"}
    )
    assert RegionRow.measure(old).short_date == "Mar 2019"
    assert RegionRow.measure(replace(old, properties={"created": "yesterday"})).short_date == ""


def test_thousands_of_regions_are_measured_once_and_read_where_they_are_visible(qtbot, monkeypatch):
    measured, rows = [], set()
    measure, data = RegionRow.measure, RegionTableModel.data

    def read(model, index, role=Qt.ItemDataRole.DisplayRole):
        rows.add(index.row())
        return data(model, index, role)

    monkeypatch.setattr(RegionRow, "measure", staticmethod(lambda region: measured.append(region) or measure(region)))
    monkeypatch.setattr(RegionTableModel, "data", read)
    table = RegionTable()
    qtbot.addWidget(table)
    table.resize(320, 180)
    table.show()
    model: RegionTableModel = table.table_model
    ring = ((0.0, 0.0), (0.0, 9.0), (9.0, 9.0))
    many = tuple(
        Annotation((Polygon(ring),), f"class {number % 7}", (9, 9, 9), f"region {number}", id=str(number))
        for number in range(5000)
    )
    model.set_rows(model.measure(many, None))
    model.set_rows(model.measure((replace(many[0], name="renamed"), *many[1:]), None))
    assert len(measured) == 5001
    table.sortByColumn(CLASS, Qt.SortOrder.AscendingOrder)
    for text in ("region 4", ""):
        model.set_filter(text)
        QApplication.processEvents()
    changes = []
    table.selectionModel().selectionChanged.connect(lambda *_: changes.append(table.selected))
    table.select([str(number) for number in range(0, 5000, 2)])
    QApplication.processEvents()
    assert len(measured) == 5001
    assert len(changes) == 1
    assert 0 < len(rows) < 100
    assert model.rowCount(QModelIndex()) == 5000
    assert len(table.selected) == 2500
