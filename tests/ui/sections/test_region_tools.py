"""Tools and operations of the Regions section, with the mouse on the canvas."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import tifffile
from canvas_mouse import CanvasMouse
from fake_slides import MPP, TILE, draw_slide
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QCheckBox, QDoubleSpinBox
from region_access import document, opens_section, regions, selected, selects, tools, view
from slide_fixtures import UNSEEN

from napari_melanoma.core.polygons import to_shape
from napari_melanoma.slides.regions import DEFAULT_CLASSES, is_locked, region_from_vertices, region_reader
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.viewer.pixel_tools import (
    NOTHING_FOUND,
    TOLERANCE_PER_NOTCH,
    TOLERANCE_PER_PX,
    DisplayedWindow,
)

from ..slide.test_drawing import box
from .test_region_list import presses

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
LAYER, PAINTING = "section regions", "section painting"
MM2 = (TILE * MPP / 1000) ** 2  # area of a tile


@pytest.fixture
def drawing(person, slide_path):
    """User with an open slide and Regions section."""
    return opens(person, slide_path)


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


def test_drawn_shapes_create_split_and_hole_regions(drawing):
    person, mouse = drawing, CanvasMouse(drawing)
    presses(person, "region_rectangle")
    mouse.drags(*tiles((2, 2), (6, 5)))
    person.until(lambda: len(regions(person)) == 1)
    person.waits()
    assert area(regions(person)[0]) == pytest.approx(12 * TILE**2, rel=0.03)
    presses(person, "region_ellipse")
    mouse.drags(*tiles((8, 8), (12, 12)))
    person.until(lambda: len(regions(person)) == 2)
    person.waits()
    assert area(regions(person)[1]) == pytest.approx(np.pi * 4 * TILE**2, rel=0.05)
    presses(person, "region_add_polygon_lasso")
    mouse.drags(*tiles((8, 2), (12, 2), (12, 5), (8, 5), (8, 2.2)))
    person.until(lambda: len(regions(person)) == 3)
    person.waits()
    assert area(regions(person)[2]) == pytest.approx(12 * TILE**2, rel=0.15)  # napari cuts corners

    document(person).apply(lambda _: ())
    (neighbor,) = puts(person, (2, 2, 8, 6))
    snap = person.finds(QCheckBox, "region_snap")
    presses(person, "region_rectangle")
    for on in (False, True):
        snap.setChecked(on)
        mouse.drags(*tiles((3, 6.1), (7, 9)))
        person.until(lambda on=on: len(regions(person)) == 2)
        person.waits()
        gap = to_shape(regions(person)[1].polygons[0]).distance(to_shape(neighbor.polygons[0]))
        assert (gap < 1e-6) == on
        if not on:
            presses(person, "region_undo")

    # A line splits a region, and an outline cuts a hole.
    snap.setChecked(False)
    document(person).apply(lambda _: ())
    puts(person, (2, 2, 8, 8))
    presses(person, "region_split")
    mouse.drags(*tiles((4, 4), (6, 4)))
    person.until(lambda: "does not split" in person.dock.status.text)
    person.waits()
    mouse.drags(*tiles((1, 4), (9, 4)))
    person.until(lambda: len(regions(person)) == 2)
    person.waits()
    assert sorted(round(area(one) / TILE**2) for one in regions(person)) == [12, 24]
    assert "does not split" not in person.dock.status.text
    presses(person, "region_undo")
    assert len(regions(person)) == 1

    presses(person, "region_hole")
    mouse.drags(*tiles((4, 4), (4, 6), (6, 6), (6, 4), (4, 4.2)))
    person.until(lambda: len(regions(person)[0].polygons[0].holes) == 1)
    layer = tools(person).layer
    holed = [one.ring_key[0] == regions(person)[0].id for one in tools(person).outlines]
    assert holed.count(True) == 2
    assert not layer.face_color[holed, 3].any(), "the hole is as dark as its region, or darker"
    person.waits()
    assert area(regions(person)[0]) == pytest.approx(32 * TILE**2, rel=0.05)
    before = regions(person)
    mouse.drags(*tiles((10, 10), (10, 12), (12, 12), (10, 10.2)))  # beside it
    person.until(lambda: "no overlap" in person.dock.status.text)
    person.waits()
    assert regions(person) == before
    assert len(person.viewer.layers[LAYER].data) == 2  # both rings, and not what was drawn
    presses(person, "region_fill")
    assert area(regions(person)[0]) == pytest.approx(36 * TILE**2)
    presses(person, "region_split")
    person.viewer.layers.selection.active = person.dock.slide.layers[-1]
    assert not person.finds(QAbstractButton, "region_split").isChecked()


def test_tools_follow_each_other_and_end_with_their_layer(drawing, slide_path):
    person, active, controls = drawing, drawing.viewer.layers.selection, view(drawing)
    order = ("rectangle", "wand", "split", "brush", "wand", "brush", "select", "wand", "hole")
    modes = {"rectangle": "add_rectangle", "split": "add_path", "hole": "add_polygon_lasso", "wand": "pick"}
    for name in order:
        presses(person, f"region_{name}")
        checked = [one for one, button in controls.tool_buttons.items() if button.isChecked()]
        assert checked == [name]
        assert active.active.name == (PAINTING if name in ("brush", "wand") else LAYER)
        assert str(active.active.mode) == modes.get(name, {"brush": "paint"}.get(name, name))
        assert (PAINTING in person.viewer.layers) == (name in ("brush", "wand"))
    presses(person, "region_hole")
    assert str(person.viewer.layers[LAYER].mode) == "pan_zoom"
    person.viewer.layers[LAYER].mode = "select"  # in napari's layer controls
    assert not any(button.isChecked() for button in controls.tool_buttons.values())

    # Selecting another layer leaves the wand, and that layer stays selected.
    own = person.viewer.add_labels(np.zeros((8, 8), np.uint8), name="own")
    presses(person, "region_wand")
    active.active = own
    assert (active.active, set(active)) == (own, {own})
    assert PAINTING not in person.viewer.layers

    puts(person, (1, 1, 3, 3))
    for button in controls.findChildren(QAbstractButton):
        if button.objectName().startswith("region_"):
            assert button.accessibleName()
            assert button.toolTip()
            assert button.focusPolicy()
    assert controls.sizeHint().width() <= 320
    assert controls.minimumSizeHint().width() <= 320

    # A tool ends when its layer is removed; the other layers stay.
    layers = person.viewer.layers
    for tool in ("refine", "wand", "brush"):
        own = starts(person, tool)
        before = [one.name for one in layers]
        layers.remove_selected()
        person.waits()
        assert [one.name for one in layers] == [name for name in before if name != own], tool
    for tool in ("brush", "refine"):
        layers.clear()
        opens(person, slide_path)
        starts(person, tool)
        layers.clear()
        person.waits()
        assert [one.name for one in layers] == [], tool


def test_operations_are_one_step_each_and_copies_have_the_size_of_their_source(drawing, tmp_path):
    person = drawing
    first, second = puts(person, (1, 1, 5, 5), (3, 3, 6, 6))
    before = regions(person)
    for name, areas in (("union", [21]), ("subtract", [12, 9]), ("intersect", [4])):
        presses(person, f"region_{name}")
        assert [round(area(one) / TILE**2) for one in regions(person)] == areas, name
        presses(person, "region_undo")
        assert regions(person) == before
        selects(person, first.id, second.id)
    selects(person, second.id)
    for name in ("union", "subtract", "intersect"):
        button = person.finds(QAbstractButton, f"region_{name}")
        assert not button.isEnabled()
        assert "Select two or more" in button.toolTip()
    person.finds(QDoubleSpinBox, "region_distance").setValue(16.0)  # a tile
    presses(person, "region_grow")
    side = 3 * TILE * MPP
    grown = side**2 + 4 * side * 16 + np.pi * 16**2
    assert area(regions(person)[1]) * MPP**2 == pytest.approx(grown, rel=3e-3)
    presses(person, "region_simplify")
    assert len(regions(person)[1].polygons[0].outer) < 60
    presses(person, "region_undo")
    presses(person, "region_undo")
    person.finds(QDoubleSpinBox, "region_distance").setValue(100.0)
    presses(person, "region_shrink")
    assert "Nothing would be left" in person.dock.status.text
    assert regions(person) == before

    # Regions are copied between slides in their size.
    dock = person.dock
    document(person).apply(lambda _: ())
    person.finds(QAbstractButton, "region_paste")
    assert "Nothing was copied" in person.finds(QAbstractButton, "region_paste").toolTip()
    puts(person, (1, 1, 3, 3), (4, 4, 5, 6))
    presses(person, "region_lock")
    presses(person, "region_copy")
    assert "2 regions copied" in dock.status.text
    opens(person, draw_slide(tmp_path / "coarse.tif", mpp=1.0, tint=9))
    get_camera(person.viewer).center = dock.slide.to_world((256, 256))
    presses(person, "region_paste")
    person.waits()
    assert [area(one) * 1.0**2 / 1e6 for one in regions(person)] == pytest.approx([4 * MM2, 2 * MM2])
    assert not any(map(is_locked, regions(person)))
    assert set(selected(person)) == {one.id for one in regions(person)}
    middle = np.vstack([one.polygons[0].outer for one in regions(person)])
    np.testing.assert_allclose((middle.min(0) + middle.max(0)) / 2, (256, 256), atol=1)
    presses(person, "region_undo")
    assert regions(person) == ()

    opens(person, draw_slide(tmp_path / "bare.tif", mpp=None, tint=20))
    presses(person, "region_paste")
    assert "on which they are pasted has no scale" in dock.status.text
    assert regions(person) == ()


def paints(person, *corners):
    """Paint a rectangle on the slide with the brush, given by two corners in tiles, and convert it to a region."""
    presses(person, "region_brush")
    place = tools(person).brush._placement
    (top, left), (bottom, right) = place.to_map(tiles(*corners)).round().astype(int)
    person.viewer.layers[PAINTING].data[top:bottom, left:right] = 1
    return place


def test_painting_snaps_to_neighbors_in_one_step_and_at_its_own_zoom(drawing, tmp_path):
    person, dock = drawing, drawing.dock
    locked, changed = puts(person, (2, 2, 8, 6), (2, 10, 8, 12))
    selects(person, locked.id)
    presses(person, "region_lock")
    before = regions(person)
    snap = person.finds(QCheckBox, "region_snap")
    for on in (False, True):
        snap.setChecked(on)
        paints(person, (3, 6.1), (7, 9.95))
        presses(person, "region_brush")
        person.waits()
        assert regions(person)[:2] == before
        painted = to_shape(regions(person)[2].polygons[0])
        for neighbor in (locked, changed):
            shape = to_shape(neighbor.polygons[0])
            assert (painted.distance(shape) < 1e-6) == on
            assert painted.intersection(shape).area < 1e-6
        assert painted.area == pytest.approx((16.0 if on else 15.4) * TILE**2, rel=0.01)
        presses(person, "region_undo")
        assert regions(person) == before

    # Another slide is shown before what was painted becomes a region.
    document(person).apply(lambda _: before[:1])
    paints(person, (3, 6.1), (7, 9))
    first = dock.slide.identity
    person.opens_slides(draw_slide(tmp_path / "coarse.tif", mpp=100.0, tint=9))
    assert dock.slide.identity != first
    painted = to_shape(dock.sections.hosted.sessions.get(first).regions.value[1].polygons[0])
    assert painted.distance(to_shape(locked.polygons[0])) < 1e-6
    assert painted.area == pytest.approx(12.0 * TILE**2, rel=0.01)


@pytest.mark.both_qts
@pytest.mark.usefixtures("shown_viewer")
def test_the_wand_finds_the_color_that_is_clicked_on_a_rotated_slide(drawing):
    person, dock = drawing, drawing.dock
    slide_layers.set_angle(person.viewer, dock.slide, 37.0)
    mouse = CanvasMouse(person)
    presses(person, "region_wand")
    assert person.finds(QDoubleSpinBox, "region_tolerance").isVisibleTo(dock)
    mouse.clicks(tiles((6, 8))[0])  # the dark lesion
    person.until(lambda: len(regions(person)) == 1)
    person.waits()
    (found,) = regions(person)
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
    presses(person, "region_wand")
    assert PAINTING not in person.viewer.layers
    presses(person, "region_undo")
    assert regions(person) == (found,)


def test_the_wand_reads_in_the_background_is_limited_and_leaves_with_its_layer(drawing, tmp_path, monkeypatch):
    person, mouse, at = drawing, CanvasMouse(drawing), tiles((6, 8))[0]
    tolerance, reach = (person.finds(QDoubleSpinBox, f"region_{name}") for name in ("tolerance", "reach"))
    unlimited = reach.value()
    may_read, requested, read = threading.Event(), [], DisplayedWindow.read_colors

    def read_slowly(window):
        requested.append(window)
        assert may_read.wait(60)
        return read(window)

    # The window does not wait while it reads.
    presses(person, "region_wand")
    with monkeypatch.context() as patch:
        patch.setattr(DisplayedWindow, "read_colors", read_slowly)
        mouse.presses(at)
        mouse.releases(at)
        person.until(lambda: bool(requested))
        assert regions(person) == ()
        may_read.set()
        person.until(lambda: len(regions(person)) == 1)
        person.waits()
    assert len(requested) == 1  # not once more for the outlines
    presses(person, "region_undo")
    assert regions(person) == ()

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
    mouse.turns_wheel(at, -60, Qt.KeyboardModifier.ShiftModifier)
    assert tolerance.value() == tolerance.minimum()
    assert get_camera(person.viewer).zoom == zoom
    mouse.turns_wheel(at, 1)
    assert get_camera(person.viewer).zoom > zoom
    assert tolerance.value() == tolerance.minimum()

    # Another layer is selected.
    person.viewer.layers.selection.active = person.dock.slide.layers[-1]
    person.until(lambda: PAINTING not in person.viewer.layers)
    assert not person.finds(QAbstractButton, "region_wand").isChecked()

    # It works on fluorescence.
    tolerance.setValue(before)
    reach.setValue(unlimited)
    pixels = np.full((2, 256, 256), 100, np.uint16)
    pixels[0, 60:120, 80:160] = pixels[1, 60:120, 160:200] = 3000
    named = {"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC"]}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(path, pixels, ome=True, tile=(128, 128), photometric="minisblack", metadata=named)
    opens(person, path)
    presses(person, "region_wand")
    mouse.clicks((90, 120))
    person.until(lambda: len(regions(person)) == 1)
    assert area(regions(person)[0]) == pytest.approx(60 * 80, rel=0.06)
    mouse.clicks((90, 180))  # of the other channel
    person.until(lambda: len(regions(person)) == 2)
    assert area(regions(person)[1]) == pytest.approx(60 * 40, rel=0.06)
    assert person.viewer.layers[-1].name.endswith("painting")


def starts(person, tool):
    """Start a tool, and return the name of its layer."""
    presses(person, f"region_{tool}")
    name = person.viewer.layers.selection.active.name
    assert name in (LAYER, PAINTING)
    return name


def test_locked_regions_stay_and_clicks_refine_others_on_a_rotated_slide(drawing):
    person, dock = drawing, drawing.dock
    slide_layers.set_angle(person.viewer, dock.slide, 37.0)
    mouse = CanvasMouse(person)
    free, shut = puts(person, (2, 2, 6, 6), (8, 8, 12, 12))
    selects(person, shut.id)
    presses(person, "region_lock")
    selects(person)
    presses(person, "region_select")
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
    presses(person, "region_undo")
    assert regions(person) == before

    # Clicks refine the region next to them.
    document(person).apply(lambda _: ())
    (cut,) = puts(person, (4, 6, 8, 8))  # half of the dark lesion
    selects(person)
    true_area = 16 * TILE**2
    presses(person, "region_refine")
    assert "Click next to an outline" in dock.status.text
    presses(person, "region_refine")
    assert dock.status.text == "", "the hint ends with the tool"
    presses(person, "region_refine")
    mouse.clicks(tiles((6, 9))[0])
    person.until(lambda: area(regions(person)[0]) > 1.5 * area(cut))
    person.waits()
    (refined,) = regions(person)
    assert to_shape(refined.polygons[0]).is_valid
    assert area(refined) == pytest.approx(true_area, rel=0.12)
    assert refined.id == cut.id
    assert person.finds(QAbstractButton, "region_refine").isChecked()
    presses(person, "region_undo")
    assert regions(person) == (cut,)
    presses(person, "region_redo")

    mouse.clicks(tiles((6, 5))[0], Qt.MouseButton.RightButton)
    person.until(lambda: "not inside an outline" in dock.status.text)
    mouse.clicks(tiles((6, 8))[0])
    person.until(lambda: "already inside" in dock.status.text)
    selects(person, cut.id)
    presses(person, "region_lock")
    mouse.clicks(tiles((6, 8))[0], Qt.MouseButton.RightButton)
    person.until(lambda: "Locked" in dock.status.text)
    assert area(regions(person)[0]) == area(refined)

    # On plain tissue, a click to exclude removes the region.
    slide_layers.set_angle(person.viewer, dock.slide, 0.0)
    puts(person, (11, 3, 12, 4))
    mouse.clicks(tiles((11.5, 3.5))[0], modifiers=Qt.KeyboardModifier.ShiftModifier)
    person.until(lambda: len(regions(person)) == 1)
    presses(person, "region_undo")
    assert len(regions(person)) == 2
    presses(person, "region_refine")
    assert PAINTING not in person.viewer.layers
