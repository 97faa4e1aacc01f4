"""Count points by class in the Measure section: click, undo, area, density, saving and export."""

from __future__ import annotations

import pytest
from canvas_mouse import CanvasMouse
from fake_slides import MPP, TILE, draw_slide
from qtpy.QtWidgets import QAbstractButton, QComboBox, QListWidget
from region_access import are_read, document, selects
from slide_fixtures import UNSEEN

from napari_melanoma.io.results import read_table
from napari_melanoma.slides import counts
from napari_melanoma.slides.counts import read_counts
from napari_melanoma.slides.regions import DEFAULT_CLASSES, region_from_vertices
from napari_melanoma.ui.sections.measure.counting import OF_CLASS, SELECTED, SLIDE
from napari_melanoma.ui.session.counts import COUNT_DOCUMENT
from napari_melanoma.ui.viewer.camera import get_camera

from .test_drawing import box
from .test_measuring import presses

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
LAYER = "section counts"


@pytest.fixture
def counting(person, slide_path):
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


@pytest.mark.path
def test_points_are_clicked_counted_and_restored(counting, slide_path):
    person, dock, mouse = counting, counting.dock, CanvasMouse(counting)
    classes = person.finds(QListWidget, "count_classes")
    presses(person, "count_points")
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
    layer = person.viewer.layers[LAYER]
    assert layer.border_color[0][:3] == pytest.approx((1, 149 / 255, 0), abs=0.01)
    assert read_counts(dock.result_location.folder).points == points(person)

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
    presses(person, "measure_undo")
    assert (document(person).value, len(points(person))) == ((), 3)
    assert "Undone: 1 region removed." in dock.status.text
    camera.center = (-9000.0, 0.0)
    presses(person, "measure_undo")
    assert (len(points(person)), len(layer.data)) == (2, 2)
    assert "Undone: 1 point removed." in dock.status.text
    assert tuple(camera.center[-2:]) == pytest.approx(dock.slide.to_world((400, 100)), abs=4)
    presses(person, "measure_redo")
    presses(person, "measure_redo")
    assert (document(person).value, len(layer.data)) == ((made,), 3)
    presses(person, "count_points")
    assert str(layer.mode) == "pan_zoom"
    person.waits()
    before = points(person)
    person.viewer.layers.clear()
    person.waits()  # as tomorrow
    person.opens_slides(slide_path)
    person.until(lambda: LAYER in person.viewer.layers)
    assert points(person) == before
    assert len(person.viewer.layers[LAYER].data) == 3


def test_the_circle_of_1_mm2_looks_the_same_before_and_after_another_slide_is_displayed(counting):
    person = counting
    presses(person, "count_field")
    layer = person.viewer.layers["section regions"]
    assert len(person.session.selected_regions.value) == 1
    assert not layer.selected_data, "napari's thin line of a selected shape would cover that of the circle"
    person.viewer.layers.selection.active = layer
    assert layer.selected_data == {0}


def test_layer_edits_are_exported_and_followed_and_areas_united_once(counting, tmp_path, monkeypatch):
    person, dock = counting, counting.dock
    export = person.finds(QAbstractButton, "measure_export")
    assert not export.isEnabled()
    presses(person, "measure_line")
    person.viewer.layers["section measures"].add([[10, 10], [10, 90]], shape_type="line")
    person.until(export.isEnabled)
    presses(person, "measure_undo")
    assert not export.isEnabled()
    presses(person, "count_points")
    person.viewer.layers[LAYER].add([50, 60])
    person.until(export.isEnabled)
    presses(person, "measure_export")
    person.chooses_file("measure_export_dialog", tmp_path / "out.csv")
    person.until((tmp_path / "out.csv").is_file)
    rows = read_table(tmp_path / "out.csv")
    assert {row["within"] for row in rows} == {"the view", "the whole slide"}
    assert sum(int(row["count"]) for row in rows if row["within"] == "the whole slide") == 1
    assert "Saved" in dock.status.text

    # Class names and edits of the layer are followed.
    layer = person.viewer.layers[LAYER]
    assert len(points(person)) == 1
    person.finds(QListWidget, "count_classes").item(0).setText("Mitotic figure")
    assert points(person)[0].class_name == "Mitotic figure"
    layer.selected_data = {0}
    layer.remove_selected()
    person.until(lambda: points(person) == ())
    presses(person, "measure_undo")
    assert len(layer.data) == 1
    person.viewer.layers.selection.active = dock.slide.layers[-1]
    assert not person.finds(QAbstractButton, "count_points").isChecked()
    assert "Counting has stopped" in dock.status.text
    presses(person, "count_points")
    assert "Counting has stopped" not in dock.status.text
    presses(person, "count_points")

    # An area is united once for all points.
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    person.opens_section("Measure")
    person.until(lambda: are_read(person))
    made = [region_from_vertices(box(0, 0, side, side), DEFAULT_CLASSES[0]) for side in (4, 8)]
    document(person).apply(lambda _: tuple(made))
    person.waits()
    united = []

    class Counted(counts.CountArea):
        def __init__(self, polygons):
            united.append(polygons)
            super().__init__(polygons)

    monkeypatch.setattr(counts, "CountArea", Counted)
    within(person, f"{OF_CLASS}Melanoma")
    presses(person, "count_points")
    for number in range(1, 6):
        person.viewer.layers["other counts"].add([9 * number, 9 * number])
        person.until(lambda number=number: person.label_text("count_text").startswith(f"{number} point"))
    assert len(united) == 1
    document(person).apply(lambda _: (made[0],))
    person.until(lambda: len(united) == 2)


def test_sections_of_a_hidden_slide_do_not_follow_the_camera(counting):
    person, slide = counting, counting.dock.slide
    person.opens_section("Overview")
    presses(person, "count_points")
    for at in ((100, 100), (400, 400)):
        CanvasMouse(person).clicks(at)
    person.until(lambda: len(points(person)) == 2)
    person.waits()
    assert within(person, "view").startswith("2 points of 2")
    texts = [person.label_text(name) for name in ("magnification_now", "place", "count_text")]
    presses(person, "count_points")
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
