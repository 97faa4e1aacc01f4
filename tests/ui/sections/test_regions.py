"""The Regions section: draw, paint, wand, classify, edit, list, lock, undo, save, exchange, and make tiles."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Event, Timer

import numpy as np
import pytest
import tifffile
from canvas_mouse import CanvasMouse, box, clicks_corners, drags, goes_around, sends
from fake_slides import MPP, TILE, draw_slide
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QCheckBox,
    QDialog,
    QDoubleSpinBox,
    QLineEdit,
    QListWidget,
)
from region_access import are_read, document, opens_section, regions, section, selected, selects, tools, view
from slide_fixtures import UNSEEN

from conftest import wait_until_idle
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.polygons import Polygon, to_shape
from napari_melanoma.depth.findings import read_findings
from napari_melanoma.io.geojson import Annotation, read_geojson
from napari_melanoma.io.results import read_table
from napari_melanoma.slides import regions as regions_module
from napari_melanoma.slides import synoptic_files, tile_sets
from napari_melanoma.slides.notes import NOTES
from napari_melanoma.slides.regions import (
    DEFAULT_CLASSES,
    REGIONS,
    Regions,
    is_locked,
    region_date,
    region_from_vertices,
    region_reader,
)
from napari_melanoma.slides.result_folder import slide_folder
from napari_melanoma.slides.tile_sets import TileDataOptions, read_tile_set
from napari_melanoma.ui.sections.regions.data_set import CUTTING, TRAIN_LINK
from napari_melanoma.ui.sections.regions.region_list import (
    AREA,
    CLASS,
    DATE,
    MONTHS,
    NAME,
    RegionTableModel,
)
from napari_melanoma.ui.sections.regions.section import (
    NEEDS_SCALE,
    NO_REGIONS,
    NOTHING_COPIED,
    SELECTION_HINTS,
    describe_regions,
    find_blockers,
)
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.viewer.pixel_tools import (
    NOTHING_FOUND,
    TOLERANCE_PER_NOTCH,
    TOLERANCE_PER_PX,
    DisplayedWindow,
)
from napari_melanoma.ui.viewer.shape_layers import HALF
from napari_melanoma.ui.viewer.view_memory import fit_view
from napari_melanoma.ui.widgets.job import is_job_running

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
RING = Polygon(((0.0, 0.0), (0.0, 9.0), (9.0, 9.0)))
TWO = tuple(Annotation((RING,), name, id=name) for name in ("Melanoma", "Nevus"))
BOTH = ("Melanoma", "Nevus")
LAYER, PAINTING = "section regions", "section painting"
MM2 = (TILE * MPP / 1000) ** 2  # area of a tile


@dataclass(frozen=True)
class Case:
    name: str
    regions: Regions
    blocked: dict[str, str]
    enabled: tuple[str, ...] = field(default=())
    selected: tuple[str, ...] = ()
    can_paste: bool = False
    has_scale: bool = True


CASES = [
    Case("nothing can be done with no regions", (), {"class": NO_REGIONS, "export": NO_REGIONS}),
    Case("regions are exported and cut to tiles", TWO, {}, ("export", "data", "remove")),
    Case("operations need a selection", TWO, {"grow": SELECTION_HINTS[1], "union": SELECTION_HINTS[2]}),
    Case("one is not united", TWO, {"union": SELECTION_HINTS[2]}, ("fill", "copy"), ("Nevus",)),
    Case("two regions are united", TWO, {"paste": NOTHING_COPIED}, ("union", "subtract", "intersect", "grow"), BOTH),
    Case("copies are pasted without selection", (), {"copy": SELECTION_HINTS[1]}, ("paste",), can_paste=True),
    Case(
        "distances need a scale",
        TWO,
        {"grow": NEEDS_SCALE, "shrink": NEEDS_SCALE},
        ("simplify", "lock"),
        BOTH,
        has_scale=False,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_disabled_buttons_say_why(case):
    blockers = find_blockers(case.regions, case.selected, can_paste=case.can_paste, has_scale=case.has_scale)
    assert {name: blockers[name] for name in case.blocked} == case.blocked
    assert [name for name in case.enabled if blockers[name]] == []


@pytest.mark.parametrize(
    ("regions", "drawn", "summary"),
    [
        ((), 0, NO_REGIONS),
        (TWO[:1], 1, "1 region: Melanoma 1."),
        ((*TWO, replace(TWO[0], id="other")), 3, "3 regions: Melanoma 2, Nevus 1."),
        (TWO * 1000, 400, "2,000 regions: Melanoma 1000, Nevus 1000. 1,600 are saved, and drawn when you select them."),
    ],
)
def test_the_summary_counts_regions_by_class(regions, drawn, summary):
    assert describe_regions(regions, drawn) == summary


@pytest.fixture
def annotating(person, slide_path):
    """User with an open slide and Regions section."""
    person.opens_slides(slide_path)
    opens_section(person)
    return person


def kept(person):
    return read_geojson(person.dock.result_location.folder / REGIONS).annotations


@pytest.mark.path
def test_section_is_created_when_it_is_opened_and_regions_are_drawn_classified_undone_and_restored(person, slide_path):
    person.opens_slides(slide_path)
    assert person.dock.findChild(QListWidget, "region_classes") is None
    opens_section(person)
    assert person.finds(QListWidget, "region_classes").count() == 6

    # Regions are drawn, classified, undone and restored.
    dock = person.dock
    person.finds(QLineEdit, "region_reader").setText("Reader A")
    person.clicks("region_add_polygon_lasso")
    assert str(person.viewer.layers[LAYER].mode) == "add_polygon_lasso"
    goes_around(person, "regions", box(2, 2, 5, 5))
    person.waits()
    view(person).class_list.select_class(3)
    goes_around(person, "regions", box(8, 8, 12, 12))
    person.waits()
    assert [one.class_name for one in regions(person)] == ["Melanoma", "Epidermis"]
    assert regions(person)[0].polygons[0].area == pytest.approx((3 * TILE) ** 2, rel=0.03)
    assert kept(person) == regions(person)
    assert kept(person)[0].properties["reader"] == "Reader A"
    assert region_date(kept(person)[0]) is not None
    assert "2 regions: Melanoma 1, Epidermis 1" in person.label_text("region_summary")
    layer = person.viewer.layers[LAYER]
    np.testing.assert_allclose(layer.data[0] + HALF, np.array(regions(person)[0].polygons[0].outer))

    person.clicks("region_select")
    layer.selected_data = {1}
    view(person).class_list.select_class(2)
    layer.selected_data = {1}
    person.clicks("region_class")
    person.waits()
    assert [one.class_name for one in kept(person)] == ["Melanoma", "Nevus"]
    person.clicks("region_undo")
    person.waits()
    assert [one.class_name for one in kept(person)] == ["Melanoma", "Epidermis"]
    person.clicks("region_redo")
    person.waits()

    before = regions(person)
    person.viewer.layers.clear()
    person.waits()
    assert dock.sections.hosted.session is None
    person.opens_slides(slide_path)
    person.until(lambda: LAYER in person.viewer.layers)
    assert regions(person) == before


def test_the_backups_of_two_files_are_named_together(person, slide_path):
    folder = slide_folder(person.dock.settings.slide_results, slide_path)
    folder.mkdir(parents=True)
    (folder / NOTES).write_text("damaged")
    person.opens_slides(slide_path)
    opens_section(person)
    QTest.mouseClick(person.dock, Qt.MouseButton.LeftButton)  # until then, the error on the notes stays
    person.clicks("region_add_polygon_lasso")
    goes_around(person, "regions", box(2, 2, 5, 5))
    person.waits()
    with (folder / REGIONS).open("a") as file:
        file.write("\n")  # in another program
    goes_around(person, "regions", box(8, 8, 12, 12))
    person.waits()
    person.dock.add_bookmark()
    person.waits()
    backups = [*folder.glob("regions-*"), *folder.glob("view-*")]
    assert len(backups) == 2
    assert all(backup.name in person.dock.status.text for backup in backups)


def test_only_finished_shapes_are_regions_and_follow_their_shape(annotating):
    person = annotating
    person.clicks("region_add_polygon_lasso")
    layer = person.viewer.layers[LAYER]
    for _ in range(2):
        person.dock.status.show_message("")
        drags(person, layer, (3.0 * TILE, 3.0 * TILE))
        person.until(lambda: "Nothing was drawn" in person.dock.status.text)
    assert (len(layer.data), len(layer.features), str(layer.mode)) == (0, 0, "add_polygon_lasso")
    goes_around(person, "regions", box(2, 2, 5, 5))
    person.waits()
    person.until(lambda: "Nothing was drawn" not in person.dock.status.text)
    drags(person, layer, (9.0 * TILE, 9.0 * TILE))  # a press that another press follows at once
    goes_around(person, "regions", box(8, 8, 12, 12))
    person.waits()
    assert len(regions(person)) == len(layer.data) == len(layer.features) == 2

    # Moved or deleted shapes change their region.
    document(person).apply(lambda _: ())
    person.waits()
    goes_around(person, "regions", box(2, 2, 5, 5))
    person.waits()
    goes_around(person, "regions", box(8, 8, 12, 12))
    person.waits()
    first, second = regions(person)
    layer.mode = "select"
    layer.selected_data = {0}
    layer.remove_selected()
    person.until(lambda: len(regions(person)) == 1)
    assert regions(person) == (second,)
    moved = [layer.data[0] + 2 * TILE]
    layer.data = moved
    person.until(lambda: regions(person) != (second,))
    assert regions(person)[0].id == second.id
    np.testing.assert_allclose(
        np.array(regions(person)[0].polygons[0].outer).min(0), np.array(second.polygons[0].outer).min(0) + 2 * TILE
    )
    document(person).undo()
    document(person).undo()
    person.waits()
    assert regions(person) == (first, second)


def test_painting_becomes_regions_of_each_class_on_its_own_slide(annotating, tmp_path):
    person = annotating
    person.clicks("region_brush")
    layer = person.viewer.layers[PAINTING]
    assert person.viewer.layers.selection.active == layer
    assert layer.ndim == 2
    place = tools(person).brush._placement
    rows, columns = (int(4 * TILE / place.step_y), int(6 * TILE / place.step_x))
    layer.data[:rows, :rows] = 1
    layer.data[rows:, columns:] = 5
    person.clicks("region_brush")
    person.waits()
    assert PAINTING not in person.viewer.layers
    assert sorted(one.class_name for one in kept(person)) == ["Background", "Melanoma"]
    assert min(one.polygons[0].area for one in kept(person)) == pytest.approx((4 * TILE) ** 2, rel=0.05)

    # What is painted stays with its slide.
    document(person).apply(lambda _: ())
    person.clicks("region_brush")
    person.viewer.layers[PAINTING].data[:200, :200] = 1
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    person.until(lambda: are_read(person))
    assert regions(person) == ()
    person.clicks("previous_slide")
    person.until(lambda: len(regions(person)) == 1)

    # The class stays when another open slide is displayed, and a tool ends with its painting saved.
    document(person).apply(lambda _: ())
    view(person).class_list.select_class(3)
    name = view(person).class_list.current.name
    person.clicks("region_brush")
    person.viewer.layers[PAINTING].data[:200, :200] = 1
    painted = document(person)
    person.dock.picker.step(1)
    assert (view(person).class_list.current.name, tools(person).region_class.name) == (name, name)
    assert not any(layer.name.endswith("painting") for layer in person.viewer.layers)
    assert (len(painted.value), regions(person)) == (1, ())


def test_steps_of_a_painting_that_became_regions_are_not_repeated(annotating):
    """Redo and undo of the brush would draw a phantom on the empty layer, which becomes another region."""
    person = annotating
    person.clicks("region_brush")
    layer = person.viewer.layers[PAINTING]
    layer.paint((60, 60), 1)
    layer.paint((160, 160), 1)
    layer.undo()
    person.session.commit_requested.emit()
    person.waits()
    assert len(regions(person)) == 1
    for step in (layer.redo, layer.undo, layer.undo, layer.redo):
        step()
        assert not np.asarray(layer.data).any()
    assert (person.viewer.layers.selection.active, str(layer.mode)) == (layer, "paint")
    layer.paint((160, 160), 1)
    layer.undo()
    assert not np.asarray(layer.data).any()
    person.clicks("region_brush")
    person.waits()
    assert len(regions(person)) == 1


@pytest.mark.slow
def test_unfinished_shapes_and_paintings_become_regions_of_their_slide(annotating, tmp_path):
    person, hosted = annotating, annotating.dock.sections.hosted
    first, document_of = hosted.session.identity, lambda slide: hosted.sessions.get(slide).regions

    # A polygon ends, without the vertex below the mouse.
    person.clicks("region_add_polygon")
    clicks_corners(person.viewer.layers[LAYER], *box(2, 2, 6, 6))
    hosted.flush()
    assert [one.polygons[0].area / TILE**2 for one in document_of(first).value] == [pytest.approx(16)]
    assert person.viewer.layers[LAYER].mode == "add_polygon"

    # The outline of a hole stays one when another layer is selected.
    person.clicks("region_hole")
    layer, outline = person.viewer.layers[LAYER], (*box(3, 3, 5, 5), (4.9 * TILE, 3.0 * TILE))
    sends(layer, "mouse_press", outline[0])
    for place in outline[1:]:
        sends(layer, "mouse_move", place)
    person.viewer.layers.selection.active = person.dock.slide.layers[-1]
    assert [len(one.polygons[0].holes) for one in regions(person)] == [1]

    # What is unfinished stays with its slide.
    document_of(first).apply(lambda _: ())
    person.clicks("region_add_polygon")
    clicks_corners(person.viewer.layers[LAYER], *box(2, 2, 6, 6))
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    person.until(lambda: are_read(person))
    assert regions(person) == ()
    assert [one.polygons[0].area / TILE**2 for one in document_of(first).value] == [pytest.approx(16)]
    person.clicks("previous_slide")
    person.waits()
    assert len(document_of(first).value) == 1
    assert len(regions(person)) == 1


@pytest.mark.parametrize("undo", ["key", "button"])
def test_undo_removes_the_polygon_that_is_being_drawn_and_no_other(annotating, undo):
    person = annotating
    document(person).apply(lambda _: (region_from_vertices(box(8, 8, 9, 9), DEFAULT_CLASSES[0]),))
    (kept,) = regions(person)
    person.clicks("region_add_polygon")
    layer = person.viewer.layers[LAYER]
    clicks_corners(layer, *box(2, 2, 6, 6))
    if undo == "key":
        layer.keymap[coerce_keybinding("Control-Z")](layer)
    else:
        person.presses("region_undo")
    person.waits()
    assert regions(person) == (kept,)
    person.presses("region_redo")
    assert [one.polygons[0].area / TILE**2 for one in regions(person)] == [pytest.approx(1), pytest.approx(16)]


def test_slides_are_closed_while_a_tool_is_active(annotating, slide_path):
    person, dock = annotating, annotating.dock
    for tool in ("scale", "region_wand", "region_select", "region_rectangle", "region_brush"):
        person.clicks(tool)
        if tool == "region_brush":
            person.viewer.layers[PAINTING].data[:200, :200] = 1
        dock.close_slide()
        assert list(person.viewer.layers) == [], tool
        assert dock.slide is None
        person.opens_slides(slide_path)
        person.until(lambda: section(person) is not None)
        assert len(regions(person)) == (tool == "region_brush"), tool


@pytest.mark.usefixtures("shown_viewer")
def test_changes_during_a_write_are_saved_when_the_window_closes(annotating, monkeypatch):
    person, depth, goes_on = annotating, annotating.dock.sections.hosted.session.findings, Event()
    folder = person.dock.result_location.folder

    def write_slowly(module, name):
        write, begun = getattr(module, name), Event()

        def slow(*content):
            if not begun.is_set():
                begun.set()
                assert goes_on.wait(10)
            write(*content)

        monkeypatch.setattr(module, name, slow)
        return begun

    def stored():
        return len(read_geojson(folder / REGIONS).annotations), read_findings(folder).reading_by("").clark

    person.clicks("region_add_polygon_lasso")
    goes_around(person, "regions", box(2, 2, 5, 5))
    person.waits()
    goes_around(person, "regions", box(8, 8, 12, 12))
    person.waits()
    begun = write_slowly(regions_module, "write_geojson"), write_slowly(synoptic_files, "write_findings")
    document(person).undo()
    depth.set_values(clark=2)
    person.until(lambda: all(one.is_set() for one in begun))
    document(person).redo()
    depth.set_values(clark=4)
    Timer(0.1, goes_on.set).start()
    person.viewer.close()
    assert stored() == (2, 4)  # no turn of Qt came after
    wait_until_idle(person.qtbot)
    assert stored() == (2, 4)
    assert list(folder.glob("depth-*.json")) == []


def test_tiles_of_all_slides_with_regions_become_a_data_set(annotating, tmp_path, monkeypatch):
    person, dock = annotating, annotating.dock
    person.clicks("region_add_polygon_lasso")
    goes_around(person, "regions", box(2, 2, 9, 9))
    person.waits()
    view(person).class_list.select_class(4)
    goes_around(person, "regions", box(9, 2, 14, 9))
    person.waits()
    person.clicks("region_data")
    dialog = next(one for one in dock.window().findChildren(QDialog) if one.objectName() == "tile_data_dialog")
    dialog.folder_field.setText(str(tmp_path / "tiles"))
    person.qtbot.keyClick(dialog.findChild(QAbstractSpinBox, "mpp"), Qt.Key.Key_Return)  # the end of a number, no more
    assert dialog.isVisible()
    assert not is_job_running(dock.status, CUTTING)
    dialog.form.set_values(TileDataOptions(mpp=MPP, tile_px=TILE))
    dialog._on_make()
    person.until(lambda: (tmp_path / "tiles" / "dataset.csv").is_file())
    person.waits()
    rows = read_table(tmp_path / "tiles" / "dataset.csv")
    assert {row["tissue"] for row in rows} == {"Melanoma", "Dermis"}
    assert read_tile_set(tmp_path / "tiles").tile.mpp == MPP
    assert "Train on them" in dock.status.text
    dock.status.link_activated.emit(f"{TRAIN_LINK} {tmp_path / 'tiles'}")
    assert dock.context.workspace.training.value.datasets == (str(tmp_path / "tiles"),)

    # It can be canceled.
    begun = Event()

    def never_ends(*_, run):
        begun.set()
        while not Event().wait(0.01):
            run.check()

    monkeypatch.setattr(tile_sets, "make_tile_data", never_ends)
    person.clicks("region_data")
    (dialog,) = (one for one in dock.window().findChildren(QDialog, "tile_data_dialog") if one.isVisible())
    dialog.folder_field.setText(str(tmp_path / "tiles"))
    dialog._on_make()
    person.until(begun.is_set)
    dock.status.cancel_button.click()
    person.waits()
    assert dock.status.text == "Canceled."


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
    person.presses("fit_slide")
    assert camera.zoom < zoom
    clicks_row(person, 1)  # selected already
    person.until(lambda: camera.zoom == pytest.approx(zoom))
    clicks_row(person, 2, Qt.KeyboardModifier.ControlModifier)
    assert set(layer.selected_data) == {1, 2}
    assert person.sees(middle)  # several are selected without a flight

    mouse, before = CanvasMouse(person), regions(person)
    person.presses("fit_slide")
    person.waits()
    mouse.drags(middle, (9 * 32.0, 9 * 32.0))  # pans
    assert regions(person) == before
    person.presses("region_select")
    person.viewer.layers.selection.active = person.dock.slide.layers[-1]
    clicks_row(person, 0)
    assert str(layer.mode) == "pan_zoom"
    person.presses("fit_slide")
    person.presses("region_select")
    mouse.clicks((2 * 32.0, 2 * 32.0))
    person.until(lambda: set(layer.selected_data) == {0})
    assert table.selected == (regions(person)[0].id,)

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
    person.presses("region_undo")
    assert regions(person)[2].name == ""


def test_locked_regions_are_not_changed_and_rows_are_sorted_and_filtered(listing):
    person, dock, table = listing, listing.dock, table_of(listing)
    clicks_row(person, 1)
    person.presses("region_lock")
    before = regions(person)
    assert [is_locked(one) for one in before] == [False, True, False]
    assert person.finds(QAbstractButton, "region_lock").text() == "Unlock"
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
        person.presses(name)
        person.until(lambda: "Locked: 'base'" in dock.status.text)
    assert regions(person) == before
    person.waits()
    assert read_geojson(dock.result_location.folder / REGIONS).annotations[1].properties["isLocked"] is True

    view(person).class_list.set_color(2, (1, 2, 3))  # a class is recolored everywhere
    assert regions(person)[1].color == (1, 2, 3)
    person.presses("region_lock")
    person.presses("region_remove")
    assert [one.name for one in regions(person)] == ["tip", ""]
    person.presses("region_undo")
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
    person.presses("region_undo")
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
    person.presses("region_lock")
    person.presses("region_lock")
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


def opens(person, path):
    person.opens_slides(path)
    opens_section(person)
    return person


def area(region):
    return sum(polygon.area for polygon in region.polygons)


def puts(person, *boxes):
    """Add regions, in tiles, and select all of them."""
    made = tuple(region_from_vertices(box(*one), DEFAULT_CLASSES[0]) for one in boxes)
    document(person).apply(lambda regions: (*regions, *made))
    selects(person, *(one.id for one in made))
    return made


def tiles(*points):
    return [(row * TILE, column * TILE) for row, column in points]


def test_drawn_shapes_create_split_and_hole_regions(annotating):
    person, mouse = annotating, CanvasMouse(annotating)
    person.presses("region_rectangle")
    mouse.drags(*tiles((2, 2), (6, 5)))
    person.until(lambda: len(regions(person)) == 1)
    person.waits()
    assert area(regions(person)[0]) == pytest.approx(12 * TILE**2, rel=0.03)
    person.presses("region_ellipse")
    mouse.drags(*tiles((8, 8), (12, 12)))
    person.until(lambda: len(regions(person)) == 2)
    person.waits()
    assert area(regions(person)[1]) == pytest.approx(np.pi * 4 * TILE**2, rel=0.05)

    document(person).apply(lambda _: ())
    (neighbor,) = puts(person, (2, 2, 8, 6))
    snap = person.finds(QCheckBox, "region_snap")
    person.presses("region_rectangle")
    for on in (False, True):
        snap.setChecked(on)
        mouse.drags(*tiles((3, 6.1), (7, 9)))
        person.until(lambda on=on: len(regions(person)) == 2)
        person.waits()
        gap = to_shape(regions(person)[1].polygons[0]).distance(to_shape(neighbor.polygons[0]))
        assert (gap < 1e-6) == on
        if not on:
            person.presses("region_undo")

    # A line splits a region, and an outline cuts a hole.
    snap.setChecked(False)
    document(person).apply(lambda _: ())
    puts(person, (2, 2, 8, 8))
    person.presses("region_split")
    mouse.drags(*tiles((4, 4), (6, 4)))
    person.until(lambda: "does not split" in person.dock.status.text)
    person.waits()
    mouse.drags(*tiles((1, 4), (9, 4)))
    person.until(lambda: len(regions(person)) == 2)
    person.waits()
    assert sorted(round(area(one) / TILE**2) for one in regions(person)) == [12, 24]
    assert "does not split" not in person.dock.status.text
    person.presses("region_undo")
    assert len(regions(person)) == 1

    person.presses("region_hole")
    mouse.drags(*tiles((4, 4), (4, 6), (6, 6), (6, 4), (4, 4.2)))
    person.until(lambda: len(regions(person)[0].polygons[0].holes) == 1)
    layer = tools(person).layer
    holed = [one.ring_key[0] == regions(person)[0].id for one in tools(person).outlines]
    assert holed.count(True) == 2
    assert not layer.face_color[holed, 3].any(), "the hole is as dark as its region, or darker"
    person.waits()
    assert area(regions(person)[0]) == pytest.approx(32 * TILE**2, rel=0.05)
    person.presses("region_fill")
    assert area(regions(person)[0]) == pytest.approx(36 * TILE**2)


def test_tools_follow_each_other_and_end_with_their_layer(annotating, slide_path):
    person, active, controls = annotating, annotating.viewer.layers.selection, view(annotating)
    for name in ("rectangle", "wand", "split", "brush", "select", "hole"):
        person.presses(f"region_{name}")
        assert [one for one, button in controls.tool_buttons.items() if button.isChecked()] == [name]
        assert (PAINTING in person.viewer.layers) == (name in ("brush", "wand"))
    person.viewer.layers[LAYER].mode = "select"  # in napari's layer controls
    assert not any(button.isChecked() for button in controls.tool_buttons.values())

    # Selecting another layer leaves the wand, and that layer stays selected.
    own = person.viewer.add_labels(np.zeros((8, 8), np.uint8), name="own")
    person.presses("region_wand")
    active.active = own
    assert (active.active, set(active)) == (own, {own})
    assert PAINTING not in person.viewer.layers

    # A tool ends when its layer is removed; the other layers stay.
    layers = person.viewer.layers
    for tool in ("refine", "wand", "brush"):
        own = starts(person, tool)
        before = [one.name for one in layers]
        layers.remove_selected()
        person.waits()
        assert [one.name for one in layers] == [name for name in before if name != own], tool
    layers.clear()
    opens(person, slide_path)
    starts(person, "brush")
    layers.clear()
    person.waits()
    assert not layers


def test_operations_are_one_step_each_and_copies_have_the_size_of_their_source(annotating, tmp_path):
    person = annotating
    first, second = puts(person, (1, 1, 5, 5), (3, 3, 6, 6))
    before = regions(person)
    for name, areas in (("union", [21]), ("subtract", [12, 9]), ("intersect", [4])):
        person.presses(f"region_{name}")
        assert [round(area(one) / TILE**2) for one in regions(person)] == areas, name
        person.presses("region_undo")
        assert regions(person) == before
        selects(person, first.id, second.id)
    selects(person, second.id)
    person.finds(QDoubleSpinBox, "region_distance").setValue(16.0)  # a tile
    person.presses("region_grow")
    side = 3 * TILE * MPP
    grown = side**2 + 4 * side * 16 + np.pi * 16**2
    assert area(regions(person)[1]) * MPP**2 == pytest.approx(grown, rel=3e-3)
    person.presses("region_simplify")
    assert len(regions(person)[1].polygons[0].outer) < 60
    person.presses("region_undo")
    person.presses("region_undo")
    person.finds(QDoubleSpinBox, "region_distance").setValue(100.0)
    person.presses("region_shrink")
    assert "Nothing would be left" in person.dock.status.text
    assert regions(person) == before

    # Regions are copied between slides in their size.
    dock = person.dock
    document(person).apply(lambda _: ())
    puts(person, (1, 1, 3, 3), (4, 4, 5, 6))
    person.presses("region_lock")
    person.presses("region_copy")
    assert "2 regions copied" in dock.status.text
    opens(person, draw_slide(tmp_path / "coarse.tif", mpp=1.0, tint=9))
    get_camera(person.viewer).center = dock.slide.to_world((256, 256))
    person.presses("region_paste")
    person.waits()
    assert [area(one) * 1.0**2 / 1e6 for one in regions(person)] == pytest.approx([4 * MM2, 2 * MM2])
    assert not any(map(is_locked, regions(person)))
    assert set(selected(person)) == {one.id for one in regions(person)}
    middle = np.vstack([one.polygons[0].outer for one in regions(person)])
    np.testing.assert_allclose((middle.min(0) + middle.max(0)) / 2, (256, 256), atol=1)
    person.presses("region_undo")
    assert regions(person) == ()

    opens(person, draw_slide(tmp_path / "bare.tif", mpp=None, tint=20))
    person.presses("region_paste")
    assert "on which they are pasted has no scale" in dock.status.text
    assert regions(person) == ()


def paints(person, *corners):
    """Paint a rectangle on the slide with the brush, given by two corners in tiles, and convert it to a region."""
    person.presses("region_brush")
    place = tools(person).brush._placement
    (top, left), (bottom, right) = place.to_map(tiles(*corners)).round().astype(int)
    person.viewer.layers[PAINTING].data[top:bottom, left:right] = 1
    return place


def test_what_the_brush_has_painted_so_far_is_exported_and_cut_to_tiles(annotating, tmp_path):
    person = annotating
    puts(person, (2, 2, 8, 6))
    paints(person, (3, 8), (7, 9))
    person.presses("region_export")
    person.chooses_file("region_export_dialog", tmp_path / "out.geojson")
    person.until((tmp_path / "out.geojson").is_file)
    person.waits()
    assert len(read_geojson(tmp_path / "out.geojson").annotations) == 2
    person.viewer.layers[PAINTING].data[:8, :8] = 1
    person.presses("region_data")
    (dialog,) = person.dock.window().findChildren(QDialog, "tile_data_dialog")
    assert len(kept(person)) == 3
    dialog.reject()
    person.waits()


def test_painting_snaps_to_neighbors_in_one_step(annotating):
    person = annotating
    locked, changed = puts(person, (2, 2, 8, 6), (2, 10, 8, 12))
    selects(person, locked.id)
    person.presses("region_lock")
    before = regions(person)
    snap = person.finds(QCheckBox, "region_snap")
    for on in (False, True):
        snap.setChecked(on)
        paints(person, (3, 6.1), (7, 9.95))
        person.presses("region_brush")
        person.waits()
        assert regions(person)[:2] == before
        painted = to_shape(regions(person)[2].polygons[0])
        for neighbor in (locked, changed):
            shape = to_shape(neighbor.polygons[0])
            assert (painted.distance(shape) < 1e-6) == on
            assert painted.intersection(shape).area < 1e-6
        assert painted.area == pytest.approx((16.0 if on else 15.4) * TILE**2, rel=0.01)
        person.presses("region_undo")
        assert regions(person) == before


@pytest.mark.both_qts
@pytest.mark.usefixtures("shown_viewer")
def test_the_wand_finds_the_color_that_is_clicked_on_a_rotated_slide(annotating):
    person, dock = annotating, annotating.dock
    slide_layers.set_angle(person.viewer, dock.slide, 37.0)
    mouse = CanvasMouse(person)
    person.presses("region_wand")
    assert person.finds(QDoubleSpinBox, "region_tolerance").isVisibleTo(dock)
    assert person.sees_something()
    clean = person.viewer.screenshot(canvas_only=True, flash=False)
    mouse.presses(tiles((6, 8))[0])  # the dark lesion
    person.until(lambda: person.viewer.layers[PAINTING].data.any())
    mouse.releases(tiles((6, 8))[0])
    person.until(lambda: len(regions(person)) == 1)
    person.waits()
    (found,) = regions(person)
    person.presses("region_undo")
    person.waits()
    assert np.array_equal(person.viewer.screenshot(canvas_only=True, flash=False), clean), "no fill stays"
    person.presses("region_redo")
    person.waits()
    assert area(found) == pytest.approx(16 * TILE**2, rel=0.06)
    corners = np.array(found.polygons[0].outer)
    np.testing.assert_allclose(corners.min(0), (4 * TILE, 6 * TILE), atol=4)
    assert (found.class_name, region_reader(found)) == ("Melanoma", "")
    assert (person.viewer.layers[PAINTING].data == 0).all()
    assert person.sees_something()

    tolerance = person.finds(QDoubleSpinBox, "region_tolerance").value()
    at = np.array(tiles((10, 3))[0])
    mouse.presses(tuple(at))
    here = mouse.at(tuple(at))
    for step in range(1, 30):
        mouse.moves_to(here.x() + 10 * step, here.y())
    person.until(lambda: (person.viewer.layers[PAINTING].data == 1).sum() > 0)
    mouse.releases(tuple(at))
    person.until(lambda: len(regions(person)) == 2)
    dragged = person.finds(QDoubleSpinBox, "region_tolerance").value() - tolerance
    assert dragged == pytest.approx(290 * TOLERANCE_PER_PX, abs=0.5)
    person.presses("region_wand")
    assert PAINTING not in person.viewer.layers
    person.presses("region_undo")
    assert regions(person) == (found,)


def test_the_wand_reads_in_the_background_is_limited_and_leaves_with_its_layer(annotating, tmp_path, monkeypatch):
    person, mouse, at = annotating, CanvasMouse(annotating), tiles((6, 8))[0]
    tolerance, reach = (person.finds(QDoubleSpinBox, f"region_{name}") for name in ("tolerance", "reach"))
    unlimited = reach.value()
    person.presses("region_wand")
    # Nothing around a point is similar.
    noise, before = np.random.default_rng(0).integers(0, 256, (4096, 4096, 3), dtype=np.uint8), tolerance.value()
    with monkeypatch.context() as patch:
        patch.setattr(DisplayedWindow, "read_colors", lambda window: noise[: window.box.height, : window.box.width])
        tolerance.setValue(1.0)
        mouse.clicks(at)
        person.until(lambda: NOTHING_FOUND in person.dock.status.text)
        person.waits()
    assert regions(person) == ()

    # The region is limited to a distance.
    reach.setValue(20.0)  # µm
    tolerance.setValue(60.0)
    mouse.clicks(tiles((11, 6))[0])
    person.until(lambda: len(regions(person)) == 1)
    person.waits()
    assert area(regions(person)[0]) * MPP**2 == pytest.approx(np.pi * 20**2, rel=0.05)

    # The wheel with Shift changes the tolerance, and does not zoom.
    tolerance.setValue(before)
    mouse.moves(at)
    zoom = get_camera(person.viewer).zoom
    mouse.turns_wheel(at, 3, Qt.KeyboardModifier.ShiftModifier)
    assert tolerance.value() == before + 3 * TOLERANCE_PER_NOTCH
    assert tools(person).wand.tolerance == tolerance.value()
    assert get_camera(person.viewer).zoom == zoom
    mouse.turns_wheel(at, 1)
    assert get_camera(person.viewer).zoom > zoom

    # It works on fluorescence.
    tolerance.setValue(before)
    reach.setValue(unlimited)
    pixels = np.full((2, 256, 256), 100, np.uint16)
    pixels[0, 60:120, 80:160] = pixels[1, 60:120, 160:200] = 3000
    named = {"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC"]}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(path, pixels, ome=True, tile=(128, 128), photometric="minisblack", metadata=named)
    opens(person, path)
    person.presses("region_wand")
    mouse.clicks((90, 120))
    person.until(lambda: len(regions(person)) == 1)
    assert area(regions(person)[0]) == pytest.approx(60 * 80, rel=0.06)
    mouse.clicks((90, 180))  # of the other channel
    person.until(lambda: len(regions(person)) == 2)
    assert area(regions(person)[1]) == pytest.approx(60 * 40, rel=0.06)
    assert person.viewer.layers[-1].name.endswith("painting")


def starts(person, tool):
    """Start a tool, and return the name of its layer."""
    person.presses(f"region_{tool}")
    name = person.viewer.layers.selection.active.name
    assert name in (LAYER, PAINTING)
    return name


def test_locked_regions_stay_and_clicks_refine_others_on_a_rotated_slide(annotating):
    person, dock = annotating, annotating.dock
    slide_layers.set_angle(person.viewer, dock.slide, 37.0)
    mouse = CanvasMouse(person)
    free, shut = puts(person, (2, 2, 6, 6), (8, 8, 12, 12))
    selects(person, shut.id)
    person.presses("region_lock")
    selects(person)
    person.presses("region_select")
    before = regions(person)
    mouse.clicks(tiles((10, 10))[0])
    person.until(lambda: selected(person) == (shut.id,))
    mouse.drags(*tiles((10, 10), (11, 7)))
    person.until(lambda: "Locked" in dock.status.text)
    person.waits()
    assert regions(person) == before
    np.testing.assert_allclose(person.viewer.layers[LAYER].data[1].min(0), (8 * TILE - 0.5,) * 2, atol=0.01)
    mouse.clicks(tiles((4, 4))[0])
    mouse.drags(*tiles((4, 4), (5, 5)))
    person.until(lambda: regions(person)[0] != free)
    assert area(regions(person)[0]) == pytest.approx(area(free), rel=1e-3)
    person.presses("region_undo")
    assert regions(person) == before

    # Clicks refine the region next to them.
    document(person).apply(lambda _: ())
    (cut,) = puts(person, (4, 6, 8, 8))  # half of the dark lesion
    selects(person)
    true_area = 16 * TILE**2
    person.presses("region_refine")
    assert "Click next to an outline" in dock.status.text
    mouse.clicks(tiles((6, 9))[0])
    person.until(lambda: area(regions(person)[0]) > 1.5 * area(cut))
    person.waits()
    (refined,) = regions(person)
    assert to_shape(refined.polygons[0]).is_valid
    assert area(refined) == pytest.approx(true_area, rel=0.12)
    assert refined.id == cut.id
    assert person.finds(QAbstractButton, "region_refine").isChecked()
    person.presses("region_undo")
    assert regions(person) == (cut,)
    person.presses("region_redo")

    mouse.clicks(tiles((6, 5))[0], Qt.MouseButton.RightButton)
    person.until(lambda: "not inside an outline" in dock.status.text)
    mouse.clicks(tiles((6, 8))[0])
    person.until(lambda: "already inside" in dock.status.text)
    selects(person, cut.id)
    person.presses("region_lock")
    mouse.clicks(tiles((6, 8))[0], Qt.MouseButton.RightButton)
    person.until(lambda: "Locked" in dock.status.text)
    assert area(regions(person)[0]) == area(refined)

    person.presses("region_refine")
    assert PAINTING not in person.viewer.layers
