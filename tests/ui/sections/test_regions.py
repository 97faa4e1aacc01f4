"""The Regions section: draw, paint, classify, undo, save, exchange, and make tiles."""

from __future__ import annotations

from threading import Event, Timer

import numpy as np
import pytest
from fake_slides import MPP, TILE, draw_slide
from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractSpinBox, QDialog, QLineEdit, QListWidget
from region_access import are_read, document, opens_section, regions, section, tools, view
from slide_fixtures import UNSEEN

from conftest import wait_until_idle
from napari_melanoma.io.geojson import read_geojson
from napari_melanoma.io.results import read_table
from napari_melanoma.slides import depth_readings, region_files, tile_sets
from napari_melanoma.slides.region_files import REGIONS
from napari_melanoma.slides.regions import region_date
from napari_melanoma.slides.synoptic_files import read_depth
from napari_melanoma.slides.tile_sets import TileDataOptions, read_tile_set
from napari_melanoma.ui.sections.regions.data_set import CUTTING
from napari_melanoma.ui.session.annotations import export_region_file, import_region_file
from napari_melanoma.ui.viewer.shape_layers import HALF
from napari_melanoma.ui.widgets.job import is_job_running

from ..slide.test_drawing import box, event
from ..slide.test_drawing_moments import moves_mouse

REGIONS_LAYER, PAINTING = "section regions", "section painting"

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)


@pytest.fixture
def annotating(person, slide_path):
    """User with an open slide and Regions section."""
    person.opens_slides(slide_path)
    opens_section(person)
    return person


def goes_around(person, corners):
    """Draw with the lasso."""
    layer = person.viewer.layers[REGIONS_LAYER]
    closed = [*corners[1:], corners[0]]
    points = [place for a, b in zip(corners, closed, strict=True) for place in np.linspace(a, b, 12)]
    mouse_press_callbacks(layer, event(person, "mouse_press", points[0]))
    for place in points[1:]:
        mouse_move_callbacks(layer, event(person, "mouse_move", place))
    mouse_release_callbacks(layer, event(person, "mouse_release", points[-1]))
    person.waits()


def strokes(person, *points):
    """Drag the mouse through all points without pausing."""
    layer = person.viewer.layers[REGIONS_LAYER]
    mouse_press_callbacks(layer, event(person, "mouse_press", points[0]))
    for place in points[1:]:
        mouse_move_callbacks(layer, event(person, "mouse_move", place))
    mouse_release_callbacks(layer, event(person, "mouse_release", points[-1]))


def begins_polygon(person, corners):
    """Click the corners, and move the mouse on without the double click that ends the polygon."""
    layer = person.viewer.layers[REGIONS_LAYER]
    for place in corners:
        for kind in ("mouse_move", "mouse_press", "mouse_release"):
            moves_mouse(layer, kind, place)
    moves_mouse(layer, "mouse_move", (9.0 * TILE, 1.0 * TILE))


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
    assert str(person.viewer.layers[REGIONS_LAYER].mode) == "add_polygon_lasso"
    goes_around(person, box(2, 2, 5, 5))
    view(person).class_list.select_class(3)
    goes_around(person, box(8, 8, 12, 12))
    assert [one.class_name for one in regions(person)] == ["Melanoma", "Epidermis"]
    assert regions(person)[0].polygons[0].area == pytest.approx((3 * TILE) ** 2, rel=0.03)
    assert kept(person) == regions(person)
    assert kept(person)[0].properties["reader"] == "Reader A"
    assert region_date(kept(person)[0]) is not None
    assert "2 regions: Melanoma 1, Epidermis 1" in person.label_text("region_summary")
    view(person).class_list.select_class(2)
    goes_around(person, box(14, 2, 17, 5))
    assert [one.class_name for one in regions(person)][2:] == ["Nevus"]
    assert person.label_text("region_summary").endswith("Nevus 1.")
    person.clicks("region_undo")
    layer = person.viewer.layers[REGIONS_LAYER]
    np.testing.assert_allclose(layer.scale, (MPP, MPP))
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
    person.until(lambda: REGIONS_LAYER in person.viewer.layers)
    assert regions(person) == before


def test_only_finished_shapes_are_regions_and_follow_their_shape(annotating):
    person = annotating
    person.clicks("region_add_polygon_lasso")
    for _ in range(2):
        person.dock.status.show_message("")
        strokes(person, (3.0 * TILE, 3.0 * TILE))
        person.until(lambda: "Nothing was drawn" in person.dock.status.text)
    layer = person.viewer.layers[REGIONS_LAYER]
    assert (len(layer.data), len(layer.features), str(layer.mode)) == (0, 0, "add_polygon_lasso")
    goes_around(person, box(2, 2, 5, 5))
    person.until(lambda: "Nothing was drawn" not in person.dock.status.text)
    strokes(person, (9.0 * TILE, 9.0 * TILE))  # a press that another press follows at once
    goes_around(person, box(8, 8, 12, 12))
    assert len(regions(person)) == len(layer.data) == len(layer.features) == 2

    # An abandoned polygon leaves nothing.
    person.waits()
    person.clicks("region_add_polygon")
    mouse_press_callbacks(layer, event(person, "mouse_press", (2.0 * TILE, 2.0 * TILE)))
    mouse_release_callbacks(layer, event(person, "mouse_release", (2.0 * TILE, 2.0 * TILE)))
    layer.mode = "pan_zoom"
    person.waits()
    assert len(regions(person)) == 2

    # Short quick strokes are regions.
    document(person).apply(lambda _: ())
    person.waits()
    person.clicks("region_add_polygon_lasso")
    for left in (2, 6, 10):
        strokes(person, (2.0 * TILE, left * TILE), (4.0 * TILE, (left + 1.0) * TILE), (2.0 * TILE, (left + 2.0) * TILE))
    person.waits()
    assert len(regions(person)) == 3
    assert all(one.polygons[0].area == pytest.approx(2 * TILE**2, rel=0.1) for one in regions(person))

    # Moved or deleted shapes change their region.
    document(person).apply(lambda _: ())
    person.waits()
    goes_around(person, box(2, 2, 5, 5))
    goes_around(person, box(8, 8, 12, 12))
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
    person, dock = annotating, annotating.dock
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

    # It keeps its classes while the list of classes changes.
    document(person).apply(lambda _: ())
    classes = view(person).class_list
    first, second = classes.classes[:2]
    person.clicks("region_brush")
    person.viewer.layers[PAINTING].data[:40, :40] = 2
    classes.select_class(1)
    classes.remove()
    assert first not in classes.classes
    person.clicks("region_brush")
    person.waits()
    assert [one.class_name for one in kept(person)] == [second.name]

    # What is painted stays with its slide.
    document(person).apply(lambda _: ())
    person.clicks("region_brush")
    person.viewer.layers[PAINTING].data[:200, :200] = 1
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    person.until(lambda: are_read(person))
    assert regions(person) == ()
    person.clicks("previous_slide")
    person.until(lambda: len(regions(person)) == 1)

    # Tools end when another open slide is displayed.
    document(person).apply(lambda _: ())
    first = dock.slide.identity
    view(person).class_list.select_class(3)
    name = view(person).class_list.current.name
    dock.picker.step(1)
    second = dock.slide.identity
    assert second != first
    assert (view(person).class_list.current.name, tools(person).region_class.name) == (name, name)
    for tool in ("wand", "brush", "select"):
        for leave in (lambda: person.clicks("previous_slide"), lambda: dock.picker.select_slide(first)):
            dock.picker.select_slide(second)
            person.waits()
            person.clicks(f"region_{tool}")
            if tool == "brush":
                person.viewer.layers["other painting"].data[:200, :200] = 1
            leave()
            assert dock.picker.slide.identity == dock.slide.identity == dock.sections.hosted.session.identity == first
            assert person.viewer.layers.selection.active == dock.slide.layers[-1]
            assert not any(layer.name.endswith("painting") for layer in person.viewer.layers)
            assert regions(person) == ()
            other = dock.sections.hosted.sessions.get(second).regions
            assert len(other.value) == (tool == "brush")
            other.apply(lambda _: ())


@pytest.mark.slow
def test_unfinished_shapes_and_paintings_become_regions_of_their_slide(annotating, tmp_path):
    person, hosted = annotating, annotating.dock.sections.hosted
    first, document_of = hosted.session.identity, lambda slide: hosted.sessions.get(slide).regions

    # The brush stays active while its painting is saved.
    person.clicks("region_brush")
    person.viewer.layers[PAINTING].data[:200, :200] = 1
    hosted.flush()
    assert len(document_of(first).value) == len(kept(person)) == 1
    assert not person.viewer.layers[PAINTING].data.any()
    person.clicks("region_brush")
    assert len(document_of(first).value) == 1
    document_of(first).apply(lambda _: ())

    # A polygon ends, without the vertex below the mouse.
    person.clicks("region_add_polygon")
    begins_polygon(person, box(2, 2, 6, 6))
    hosted.flush()
    assert [one.polygons[0].area / TILE**2 for one in document_of(first).value] == [pytest.approx(16)]
    assert person.viewer.layers[REGIONS_LAYER].mode == "add_polygon"

    # The outline of a hole stays one when another layer is selected.
    person.clicks("region_hole")
    layer, outline = person.viewer.layers[REGIONS_LAYER], (*box(3, 3, 5, 5), (4.9 * TILE, 3.0 * TILE))
    moves_mouse(layer, "mouse_press", outline[0])
    for place in outline[1:]:
        mouse_move_callbacks(layer, event(person, "mouse_move", place))
    person.viewer.layers.selection.active = person.dock.slide.layers[-1]
    assert [len(one.polygons[0].holes) for one in regions(person)] == [1]

    # What is unfinished stays with its slide.
    document_of(first).apply(lambda _: ())
    person.clicks("region_add_polygon")
    begins_polygon(person, box(2, 2, 6, 6))
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    person.until(lambda: are_read(person))
    assert regions(person) == ()
    assert [one.polygons[0].area / TILE**2 for one in document_of(first).value] == [pytest.approx(16)]
    person.clicks("previous_slide")
    person.waits()
    assert len(document_of(first).value) == 1
    assert len(regions(person)) == 1


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


def test_edited_classes_and_imported_files_change_the_regions(annotating, tmp_path):
    person, dock = annotating, annotating.dock
    person.clicks("region_add_polygon_lasso")
    goes_around(person, box(2, 2, 5, 5))
    classes = view(person).class_list
    classes.list.item(0).setText("Spitz naevus")
    classes.set_color(0, (1, 2, 3))
    person.waits()
    assert [(one.class_name, one.color) for one in kept(person)] == [("Spitz nevus", (1, 2, 3))]
    classes.list.item(1).setText("Spitz naevus")
    assert classes.list.item(1).text() == "Nevus", "two classes of one name"

    # Regions are exported and imported.
    document(person).apply(lambda _: ())
    classes.select_class(1)
    person.waits()
    goes_around(person, box(2, 2, 5, 5))
    export_region_file(document(person), tmp_path / "out.geojson")
    person.waits()
    assert read_geojson(tmp_path / "out.geojson").annotations == regions(person)
    text = (tmp_path / "out.geojson").read_text(encoding="utf-8").replace("Spitz nevus", "Tumor").replace('"id"', '"x"')
    (tmp_path / "other.geojson").write_text(text, encoding="utf-8")
    import_region_file(person.session, tmp_path / "other.geojson")
    person.waits()
    assert [one.class_name for one in kept(person)] == ["Spitz nevus", "Tumor"]
    assert view(person).class_list.classes[-1].name == "Tumor"
    assert dock.status.text == "1 region imported."

    # A file that another process has written is backed up.
    document(person).apply(lambda regions: regions[:1])
    person.waits()
    path = dock.result_location.folder / REGIONS
    path.write_text('{"type": "FeatureCollection", "features": []}', encoding="utf-8")
    goes_around(person, box(8, 8, 12, 12))
    assert len(kept(person)) == 2
    assert len(list(path.parent.glob("regions-*.geojson"))) == 1
    assert "changed by another program" in dock.status.text


@pytest.mark.path
@pytest.mark.usefixtures("shown_viewer")
def test_changes_during_a_write_are_saved_when_the_window_closes(annotating, monkeypatch):
    person, depth, goes_on = annotating, annotating.dock.sections.hosted.session.depth, Event()
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
        return len(read_geojson(folder / REGIONS).annotations), read_depth(folder).reading_by("").clark

    person.clicks("region_add_polygon_lasso")
    goes_around(person, box(2, 2, 5, 5))
    goes_around(person, box(8, 8, 12, 12))
    begun = write_slowly(region_files, "write_geojson"), write_slowly(depth_readings, "write_depth")
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
    goes_around(person, box(2, 2, 9, 9))
    view(person).class_list.select_class(4)
    goes_around(person, box(9, 2, 14, 9))
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

    # It can be canceled.
    begun = Event()

    def never_ends(*_, run):
        begun.set()
        while not Event().wait(0.01):
            run.check()

    monkeypatch.setattr(tile_sets, "make_tile_data", never_ends)
    for _ in range(2):
        person.clicks("region_data")
        (dialog,) = (one for one in dock.window().findChildren(QDialog, "tile_data_dialog") if one.isVisible())
        dialog.folder_field.setText(str(tmp_path / "tiles"))
        dialog._on_make()
        person.until(begun.is_set)
    # The second data set, into the same folder, is refused while the first one is being made.
    assert dock.status.text == "The previous data set is still being made or canceled. Try again soon."
    dock.status.cancel_button.click()
    person.waits()
    assert dock.status.text == "Canceled."
