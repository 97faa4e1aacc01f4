"""The Measure section: lengths, areas and angles, points by class; saved, undone, exported, and left unfinished."""

from __future__ import annotations

import numpy as np
import pytest
from canvas_mouse import CanvasMouse, box, clicks_corners
from fake_slides import MPP, TILE, draw_slide
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QComboBox, QLabel, QListWidget
from region_access import are_read, document, opens_section, regions, selects
from slide_fixtures import UNSEEN

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.io.results import read_table
from napari_melanoma.slides.counts import COUNTS, CountedPoint, read_counts
from napari_melanoma.slides.notes import SlideMeasurement, SlideNotes, read_notes, write_notes
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.slides.regions import DEFAULT_CLASSES, region_from_vertices
from napari_melanoma.slides.result_folder import slide_folder
from napari_melanoma.ui.sections.measure.counting import OF_CLASS, SELECTED, SLIDE
from napari_melanoma.ui.sections.measure.layer import read_measures
from napari_melanoma.ui.session.counts import COUNT_DOCUMENT
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.viewer.shape_layers import GAP_SPACES, MAX_WIDTH_RATIO, WIDTHS
from napari_melanoma.ui.viewer.view_memory import center_view

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
COUNT_LAYER = "section counts"
LINE = SlideMeasurement("line", ((100.0, 100.0), (100.0, 300.0)))  # 0.1 mm at 0.5 µm a pixel
AREA = SlideMeasurement("area", ((10.0, 10.0), (10.0, 210.0), (110.0, 210.0), (110.0, 10.0)))  # 0.005 mm²
CORNERS = ((10, 10), (10, 200), (200, 200))


@pytest.fixture
def measuring(person, slide_path):
    """User with an open slide and Measure section."""
    person.opens_slides(slide_path)
    person.opens_section("Measure")
    person.until(lambda: are_read(person))
    person.waits()
    return person


def points(person):
    return person.session.document(COUNT_DOCUMENT).value


def within(person, area):
    combo = person.finds(QComboBox, "count_area")
    combo.setCurrentIndex(combo.findData(area))
    combo.activated.emit(combo.currentIndex())
    return person.label_text("count_text")


def listed(person):
    found = person.finds(QListWidget, "measures")
    return [found.item(index).text() for index in range(found.count())]


def layer_of(person):
    return slide_layers.find_layer(person.viewer, person.dock.slide, "measures")


def labels(person):
    return [text.strip() for text in layer_of(person).text.values]


def is_pressed(person, name):
    return person.finds(QAbstractButton, name).isChecked()


def draws(person, measure):
    """Draw with a tool as napari does when the mouse is released."""
    name = f"measure_{measure.kind}"
    if not is_pressed(person, name):
        person.presses(name)
    kind = "line" if measure.kind == "line" else "polygon"
    count = len(person.session.measures.value)
    layer_of(person).add(np.array(measure.points) - 0.5, shape_type=kind)
    person.until(lambda: len(person.session.measures.value) == count + 1)


def kept(person):
    return read_notes(person.dock.result_location.folder).measures


@pytest.mark.path
def test_points_are_clicked_counted_exported_and_restored(measuring, slide_path, tmp_path):
    person, dock, mouse = measuring, measuring.dock, CanvasMouse(measuring)
    classes = person.finds(QListWidget, "count_classes")
    export = person.finds(QAbstractButton, "measure_export")
    assert not export.isEnabled()
    person.presses("count_points")
    mouse.clicks((100, 100))
    person.until(lambda: len(points(person)) == 1)
    classes.setCurrentRow(1)
    mouse.clicks((200, 200))
    mouse.clicks((400, 100))
    person.until(lambda: len(points(person)) == 3)
    person.waits()
    # The view is the field.
    assert within(person, "view").startswith("3 points of 3")
    camera = get_camera(person.viewer)
    center, zoom = camera.center, camera.zoom
    camera.center, camera.zoom = dock.slide.to_world((100, 100)), zoom * 4
    person.until(lambda: person.label_text("count_text").startswith("1 point of 3"))
    camera.center, camera.zoom = center, zoom
    assert [one.class_name for one in points(person)] == ["Mitosis", "TIL", "TIL"]
    assert points(person)[1].at == pytest.approx((200, 200), abs=4)
    layer = person.viewer.layers[COUNT_LAYER]
    assert layer.border_color[0][:3] == pytest.approx((1, 149 / 255, 0), abs=0.01), "the color of the class"
    assert read_counts(dock.result_location.folder).points == points(person)

    # Density within the slide, selected regions, and regions of a class.
    mm2 = (512 * MPP / 1000) ** 2
    assert within(person, SLIDE).startswith(f"3 points of 3 in {mm2:.3g} mm²\nMitosis: 1, {1 / mm2:.3g} per mm²")
    made = region_from_vertices(box(0, 0, 8, 8), DEFAULT_CLASSES[0])
    document(person).apply(lambda regions: (*regions, made))
    person.waits()
    assert "Select regions" in within(person, SELECTED)
    selects(person, made.id)
    person.waits()
    area = (8 * TILE * MPP / 1000) ** 2
    assert f"2 points of 3 in {area:.3g} mm²" in within(person, SELECTED)
    assert f"TIL: 1, {1 / area:.3g} per mm² (95 % interval" in within(person, f"{OF_CLASS}Melanoma")

    # Undo goes back over everything that is drawn, states what has changed, and shows it.
    person.presses("measure_undo")
    assert (document(person).value, len(points(person))) == ((), 3)
    assert "Undone: 1 region removed." in dock.status.text
    camera.center = (-9000.0, 0.0)
    person.presses("measure_undo")
    assert (len(points(person)), len(layer.data)) == (2, 2)
    assert "Undone: 1 point removed." in dock.status.text
    assert tuple(camera.center[-2:]) == pytest.approx(dock.slide.to_world((400, 100)), abs=4)
    for _ in range(2):
        person.presses("measure_redo")
    assert (document(person).value, len(layer.data)) == ((made,), 3)

    # Class names and edits of the layer are followed.
    classes.item(0).setText("Mitotic figure")
    assert points(person)[0].class_name == "Mitotic figure"
    layer.selected_data = {1}
    layer.remove_selected()
    person.until(lambda: len(points(person)) == 2)
    person.viewer.layers.selection.active = dock.slide.layers[-1]
    assert not is_pressed(person, "count_points")
    assert "Counting has stopped" in dock.status.text
    person.presses("count_points")
    assert "Counting has stopped" not in dock.status.text
    person.presses("measure_export")
    person.chooses_file("measure_export_dialog", tmp_path / "out.csv")
    person.until((tmp_path / "out.csv").is_file)
    person.waits()
    rows = read_table(tmp_path / "out.csv")
    assert sum(int(row["count"]) for row in rows if row["within"] == "the whole slide") == 2
    person.waits()

    # The circle of 1 mm² is selected, but has no thin line of napari's over its own.
    person.presses("count_field")
    assert len(person.session.selected_regions.value) == 1
    assert not person.viewer.layers["section regions"].selected_data
    before = points(person)
    person.viewer.layers.clear()
    person.waits()  # as tomorrow
    person.opens_slides(slide_path)
    person.until(lambda: COUNT_LAYER in person.viewer.layers and len(person.viewer.layers[COUNT_LAYER].data) == 2)
    assert set(points(person)) == set(before)


@pytest.mark.usefixtures("shown_viewer")
def test_lines_areas_and_angles_are_labeled_saved_restored_and_undone(measuring, slide_path):
    person = measuring
    assert layer_of(person) is None
    draws(person, LINE)
    assert str(layer_of(person).features["label"][0]).endswith("\n "), "above the line"
    person.presses("rotate_right")
    assert str(layer_of(person).features["label"][0]).startswith(2 * GAP_SPACES * " "), "to the right of the line"
    person.presses("rotate_left")
    draws(person, AREA)
    assert listed(person) == ["0.1 mm", "0.005 mm²"]
    assert labels(person)[-1] == "0.005 mm²"
    assert person.sees_something()
    person.presses("measure_area")  # put away
    assert layer_of(person).mode == "pan_zoom"
    person.waits()
    assert kept(person) == (LINE, AREA)

    person.viewer.layers.remove(person.dock.slide.layers[0])  # as the button below napari's list of layers does
    person.until(lambda: not person.viewer.layers)  # the measurements go with the slide, and come back with it
    person.waits()
    person.opens_slides(slide_path)
    person.until(lambda: listed(person) == ["0.1 mm", "0.005 mm²"])
    assert read_measures(layer_of(person)) == (LINE, AREA)

    # Each change can be undone.
    items = person.finds(QListWidget, "measures")
    items.setCurrentRow(0)
    items.setFocus()
    person.qtbot.keyClick(items, Qt.Key.Key_Backspace)  # the Delete key of a MacBook
    person.until(lambda: listed(person) == labels(person) == ["0.005 mm²"])
    person.presses("measure_undo")
    assert read_measures(layer_of(person)) == (LINE, AREA)
    person.presses("measure_redo")
    assert listed(person) == ["0.005 mm²"]
    layer = layer_of(person)
    layer.selected_data = {0}
    layer.remove_selected()  # in napari's own way
    person.until(lambda: listed(person) == [])

    # An angle is drawn by three clicks; the tool stays active, also while the space bar is held.
    mouse = CanvasMouse(person)
    for tool in ("line", "area", "angle"):
        person.presses(f"measure_{tool}")
        mode, layer.mode = layer.mode, "pan_zoom"
        layer.mode = mode
        assert is_pressed(person, f"measure_{tool}")
    for point in ((100, 300), (100, 100), (300, 300), (400, 300), (400, 100), (300, 100)):
        mouse.clicks(point)
    person.until(lambda: len(listed(person)) == 2)
    assert [float(label.removesuffix("°")) for label in listed(person)] == pytest.approx([45, 90], abs=1.5)
    draws(person, LINE)
    person.waits()
    assert [one.kind for one in kept(person)] == ["angle", "angle", "line"]
    assert person.session.ruler_line == LINE
    layer.mode = "select"  # in napari's own controls
    assert not is_pressed(person, "measure_line")

    # Measurements are shown although the counts are damaged.
    before, folder = kept(person), person.session.folder
    person.dock.close_slide()
    person.waits()
    (folder / COUNTS).write_text("damaged")
    person.opens_slides(slide_path)
    person.until(lambda: len(listed(person)) == 3)
    assert read_measures(layer_of(person)) == before
    person.until(lambda: COUNTS in person.finds(QLabel, "count_text").text())
    assert not person.finds(QAbstractButton, "count_points").isEnabled()


def test_measurements_stay_with_slide_and_folder_and_follow_the_scale(person, slide_path, tmp_path):
    folder = slide_folder(person.dock.settings.slide_results, slide_path)
    scale = PixelSize(2.0, 2.0, "given")
    write_notes(folder, SlideNotes(slide_fingerprint(slide_path), (), scale, (LINE, AREA)))  # another day
    person.opens_slides(slide_path)
    person.until(lambda: len(person.session.measures.value) == 2)
    person.opens_section("Measure")
    assert listed(person) == ["0.4 mm", "0.08 mm²"]
    assert layer_of(person).scale == pytest.approx((2.0, 2.0))
    person.dock.add_bookmark()
    person.waits()
    assert (read_notes(folder).measures, read_notes(folder).pixel_size) == ((LINE, AREA), scale)

    person.opens_slides(draw_slide(tmp_path / "bare.tif", mpp=None))
    assert listed(person) == []
    draws(person, LINE)
    assert listed(person) == ["200 px"]
    person.waits()
    person.dock.picker.scale_button.click()
    person.dock.scale_panel._number.setValue(2.0)
    person.clicks("scale_set")
    person.until(lambda: listed(person) == labels(person) == ["0.4 mm"])
    person.waits()

    # Those of another window are kept on switching back.
    write_notes(folder, SlideNotes(measures=(AREA,)))
    person.clicks("previous_slide")
    person.until(lambda: person.session.measures.value == (AREA,))
    person.waits()
    assert read_notes(folder).measures == (AREA,)

    # Those of another results folder are shown.
    other = slide_folder(tmp_path / "other", slide_path)
    write_notes(other, SlideNotes(measures=(LINE,)))
    person.dock._on_root_chosen(tmp_path / "other")
    person.waits()
    assert person.session.measures.value == (LINE,)
    person.dock.add_bookmark()
    person.waits()
    assert read_notes(other).measures == (LINE,)


def test_an_unfinished_area_is_completed_or_removed_and_stays_with_its_slide(measuring, slide_path, tmp_path):
    person = measuring
    draws(person, LINE)

    def begins_area(*corners):
        if not is_pressed(person, "measure_area"):
            person.presses("measure_area")
        clicks_corners(layer_of(person), *corners)
        return layer_of(person)

    def is_completed():
        person.until(lambda: len(person.session.measures.value) == 2)
        area = person.session.measures.value[1]
        np.testing.assert_allclose(area.points, np.array(CORNERS) + 0.5, err_msg="without the position of the mouse")
        person.presses("measure_undo")
        assert read_measures(layer) == (LINE,)

    # It has no label, and not that of a selected shape. Two corners have no area: Escape and another layer remove them.
    layer, selection = layer_of(person), person.viewer.layers.selection
    for end in (layer._finish_drawing, lambda: setattr(selection, "active", person.dock.slide.layers[0])):
        layer.selected_data = {0}
        begins_area(*CORNERS[:2])
        assert labels(person) == ["0.1 mm", ""]
        end()
        person.waits()
        person.until(lambda: len(layer.data) == len(layer.features) == 1)
        assert labels(person) == ["0.1 mm"]
    assert not is_pressed(person, "measure_area")

    # It is complete when another tool is selected, or the view is moved with the space bar.
    begins_area(*CORNERS)
    person.presses("measure_line")
    is_completed()
    begins_area(*CORNERS).mode = "pan_zoom"
    is_completed()
    layer.mode = "add_polygon"

    # Undo removes it with the last measurement.
    begins_area(*CORNERS[:2])
    person.presses("measure_undo")
    assert read_measures(layer) == ()
    person.presses("measure_redo")
    assert read_measures(layer) == (LINE,)

    # Empty shapes are removed, others measured, and those that are moved measured again.
    layer.add(np.array([[5.0, 5.0], [5.0, 5.0]]), shape_type="line")
    person.until(lambda: len(layer.data) == 1)
    layer.add(np.array([[0.0, 0.0], [0.0, 200.0], [100.0, 200.0], [100.0, 0.0]]), shape_type="ellipse")
    person.until(lambda: len(listed(person)) == 2)
    assert float(listed(person)[1].split()[0]) == pytest.approx(np.pi * 100 * 50 * 0.25e-6, rel=0.01)
    layer.data = [(layer.data[0] + 50, "line")]
    person.until(lambda: [one.points[0] for one in person.session.measures.value] == [(150.0, 150.0)])

    # All is saved although another slide is displayed before it has settled, or it is closed at once.
    folder, other = person.session.folder, draw_slide(tmp_path / "other.tif", tint=9)
    layer.add(np.array(LINE.points) - 0.5, shape_type="line")
    begins_area(*CORNERS)
    person.dock.show_file(other)
    person.waits()
    assert person.dock.slide.info.path == other
    assert [one.kind for one in read_notes(folder).measures] == ["line", "line", "area"]
    folder = person.session.folder
    assert read_notes(folder).measures == ()
    person.presses("measure_line")
    layer_of(person).add(np.array(LINE.points) - 0.5, shape_type="line")
    person.dock.close_slide()
    person.waits()
    assert read_notes(folder).measures == (LINE,)


def fits(person, role):
    """Return whether a layer has lines of about the expected width on the screen."""
    layer, slide = person.viewer.layers[f"section {role}"], person.dock.slide
    widths = np.array(layer.edge_width) * slide.pixel_um[0] * get_camera(person.viewer).zoom
    return len(widths) > 0 and (abs(np.log(widths / WIDTHS[role])) <= np.log(MAX_WIDTH_RATIO) + 1e-6).all()


def test_lines_have_a_constant_width_on_the_screen_without_a_change(analysed):
    person, depth = analysed, analysed.session.findings
    person.until(lambda: depth.is_ready and are_read(person))
    person.session.measures.apply(lambda _: (LINE,))
    depth.set_line(((60.0, 100.0), (460.0, 100.0)))
    square = ((10.0, 10.0), (10.0, 110.0), (110.0, 110.0), (110.0, 10.0))
    document(person).apply(lambda _: (Annotation((Polygon(square),), "tumour"),))
    opens_section(person)

    def stored():
        return person.session.lesions.value, person.session.measures.value, depth.value, regions(person)

    before = stored()
    for zoom in (4.0, 0.8, 60.0):  # below 0.8 lines are capped at a hundredth of so small a slide
        get_camera(person.viewer).zoom = zoom
        for role in ("lesions", "measures", "depth", "regions"):
            person.until(lambda role=role: fits(person, role))
        person.waits()
        assert stored() == before

    # What is drawn next has this width at once, and a selected line is drawn again.
    person.session.measures.undo()
    person.session.measures.redo()
    person.dock.analysis.show_frame((10, 10, 100, 100))
    assert [role for role in ("measures", "view") if not fits(person, role)] == []
    layer, drawn = person.viewer.layers["section depth"], []
    layer.selected_data = {0}
    layer.events.edge_width.connect(drawn.append)
    get_camera(person.viewer).zoom = 2.0
    person.until(lambda: fits(person, "depth"))
    layer.events.edge_width.disconnect(drawn.append)
    assert drawn


@pytest.mark.usefixtures("shown_viewer")
def test_a_label_does_not_cover_that_of_a_later_measurement(measuring):
    person, rows = measuring, (100.0, 103.0, 900.0)
    lines = tuple(SlideMeasurement("line", ((row, 100.0), (row, 300.0))) for row in rows)
    person.session.measures.apply(lambda _: lines)
    assert [bool(text.strip()) for text in layer_of(person).features["label"]] == [False, True, True]
    assert len(listed(person)) == len(rows)
    center_view(person.viewer, person.dock.slide, (100.0, 200.0), 10.0)
    person.until(lambda: all(text.strip() for text in layer_of(person).features["label"]))


@pytest.mark.usefixtures("shown_viewer")
def test_a_label_does_not_cover_that_of_a_depth(measuring):
    person = measuring
    person.session.findings.set_line(((100.0, 100.0), (100.0, 300.0)))
    person.until(lambda: any("depth" in layer.name for layer in person.viewer.layers))
    lines = tuple(SlideMeasurement("line", ((row, 100.0), (row, 300.0))) for row in (103.0, 900.0))
    person.session.measures.apply(lambda _: lines)
    person.until(lambda: [bool(text.strip()) for text in layer_of(person).features["label"]] == [False, True])


def test_an_export_has_points_of_removed_classes_and_no_view_of_another_image(measuring, tmp_path):
    person, slide = measuring, measuring.dock.slide
    counted = CountedPoint("Mitosis", (100.0, 100.0)), CountedPoint("TIL", (400.0, 400.0))
    person.session.points.apply(lambda _: counted)
    person.waits()
    person.finds(QListWidget, "count_classes").setCurrentRow(1)
    person.presses("remove_count_class")
    assert within(person, SLIDE).startswith("2 points of 2")
    assert "TIL: 1" in person.label_text("count_text")
    for layer in slide.layers:
        layer.visible = False  # a photograph is displayed
    camera = get_camera(person.viewer)
    camera.center, camera.zoom = slide.to_world((100, 100)), camera.zoom * 4
    person.presses("measure_export")
    person.chooses_file("measure_export_dialog", tmp_path / "out.csv")
    person.until((tmp_path / "out.csv").is_file)
    person.waits()
    rows = read_table(tmp_path / "out.csv")
    assert {row["within"] for row in rows} == {"the whole slide"}
    assert {row["name"]: row["count"] for row in rows} == {"Mitosis": "1", "TIL": "1"}, "no zero of what nobody counted"


def test_sections_of_a_hidden_slide_do_not_follow_the_camera(measuring):
    person, slide = measuring, measuring.dock.slide
    person.opens_section("Overview")
    person.presses("count_points")
    for at in ((100, 100), (400, 400)):
        CanvasMouse(person).clicks(at)
    person.until(lambda: len(points(person)) == 2)
    person.waits()
    assert within(person, "view").startswith("2 points of 2")
    texts = [person.label_text(name) for name in ("magnification_now", "place", "count_text")]
    person.presses("count_points")
    for layer in slide.layers:
        layer.visible = False  # a photograph is displayed
    camera = get_camera(person.viewer)
    camera.center, camera.zoom = slide.to_world((100, 100)), camera.zoom * 4
    person.waits()
    assert [person.label_text(name) for name in ("magnification_now", "place", "count_text")] == texts
    for layer in slide.layers:
        layer.visible = True
    person.until(lambda: person.label_text("count_text").startswith("1 point of 2"))
    assert person.label_text("magnification_now") != texts[0]


@pytest.mark.usefixtures("shown_viewer")
def test_a_slide_that_is_removed_takes_the_active_tool_along(measuring):
    person, layers = measuring, measuring.viewer.layers
    person.presses("measure_area")
    assert layers.selection.active not in person.dock.slide.layers
    layers.remove(person.dock.slide.layers[-1])  # not by the dock, which would select the slide before
    person.until(lambda: not layers)
    assert person.dock.slide is None


@pytest.mark.usefixtures("shown_viewer")
def test_a_line_ends_where_the_mouse_is_released(measuring):
    person, mouse = measuring, CanvasMouse(measuring)
    person.presses("measure_line")
    start, end = (100.0, 100.0), (100.0, 300.0)
    mouse.drags(start, end)
    person.until(lambda: bool(person.session.measures.value))
    (drawn,) = person.session.measures.value
    pixel = 1 / get_camera(person.viewer).zoom / MPP  # of the screen, in pixels of the slide
    assert np.abs(np.array(drawn.points) - (start, end)).max() <= pixel
    assert drawn.points[0][0] == drawn.points[1][0]
    assert len(layer_of(person).data) == 1
    person.presses("measure_undo")
    person.until(lambda: not person.session.measures.value)
