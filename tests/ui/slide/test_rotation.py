"""Rotation of a slide with all its layers."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from fake_slides import TILE
from qtpy.QtWidgets import QAbstractButton, QDoubleSpinBox
from slide_fixtures import UNSEEN

from napari_melanoma.slides.notes import read_notes
from napari_melanoma.ui.viewer.camera import get_visible_region, shows_whole_slide
from napari_melanoma.ui.viewer.shape_layers import LABEL_PADDING
from napari_melanoma.ui.viewer.slide_layers import find_layer
from napari_melanoma.ui.viewer.view_memory import center_view

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)


@pytest.mark.path
def test_all_layers_rotate_together(analysed):
    dock, viewer = analysed.dock, analysed.viewer
    slide, before = dock.slide, analysed.lesions
    center_view(viewer, slide, (6 * TILE, 8 * TILE), 6 * TILE)
    for press, expected in (("rotate_right", 90), ("rotate_right", 180), ("rotate_left", 90)):
        analysed.finds(QAbstractButton, press).click()
        assert (slide.angle, analysed.finds(QDoubleSpinBox, "rotation_angle").value()) == (expected, expected)
    affines = [np.asarray(layer.affine.affine_matrix) for layer in viewer.layers]
    assert len(affines) >= 3
    for affine in affines:
        np.testing.assert_array_equal(affine, slide.affine)
    assert get_visible_region(viewer, slide).center == pytest.approx((6 * TILE, 8 * TILE))
    # A quarter to the right: what was at the top left corner is at the top right.
    top, right = slide.to_world((0.0, 0.0)), slide.to_world((512.0, 0.0))
    assert top[0] == pytest.approx(right[0])
    assert top[1] > right[1]
    assert analysed.lesions == before


def test_labels_stay_next_to_their_lines(person, slide_path):
    person.opens_slides(slide_path)
    person.opens_section("Measure")
    person.finds(QAbstractButton, "measure_line").click()
    layer = find_layer(person.viewer, person.dock.slide, "measures")
    layer.add(np.array([[100.0, 100.0], [100.0, 300.0]]), shape_type="line")
    person.until(lambda: len(person.session.measures.value) == 1)
    person.waits()
    assert str(layer.features["label"][0]).endswith("\n ")  # above the line
    person.finds(QAbstractButton, "rotate_right").click()
    assert str(layer.features["label"][0]).startswith(LABEL_PADDING)  # to the right of the line
    person.finds(QAbstractButton, "rotate_left").click()
    assert str(layer.features["label"][0]).endswith("\n ")


def test_positions_agree_with_napari_the_angle_is_kept_and_the_view_fitted(person, slide_path, tmp_path):
    person.opens_slides(slide_path)
    person.until(lambda: person.dock.result_location is not None)
    folder = person.dock.result_location.folder
    slide, angle = person.dock.slide, person.finds(QDoubleSpinBox, "rotation_angle")
    for degrees in (33.0, -90.0, 180.0):
        angle.setValue(degrees)
        for point in ((0.5, 0.5), (100.5, 300.5), (512.5, 7.5)):
            world = slide.to_world(point)
            np.testing.assert_allclose(slide.layers[0].data_to_world(np.array(point) - 0.5), world, atol=1e-9)
            assert slide.to_slide(world) == pytest.approx(point)
        angle.setValue(0.0)
        np.testing.assert_array_equal(slide.layers[0].affine.affine_matrix, np.eye(3))

    # It is restored with the slide.
    person.finds(QAbstractButton, "rotate_right").click()
    person.waits()
    assert read_notes(folder).angle == 90
    person.viewer.layers.clear()
    person.opens_slides(slide_path)
    person.until(lambda: person.dock.slide.angle == 90)
    person.waits()
    assert person.finds(QDoubleSpinBox, "rotation_angle").value() == 90
    person.finds(QAbstractButton, "rotate_left").click()
    person.waits()
    assert read_notes(folder).angle == 0

    # Setting the scale keeps it.
    person.finds(QAbstractButton, "rotate_left").click()
    person.dock.picker.scale_button.click()
    person.dock.scale_panel._number.setValue(2.0)
    person.clicks("scale_set")
    slide = person.dock.slide
    np.testing.assert_allclose(slide.layers[0].data_to_world((10, 20)), slide.to_world((10.5, 20.5)))
    assert slide.angle == -90

    # A view of the whole slide is fitted after rotation.
    pixels = np.full((256, 2048, 3), (215, 150, 190), np.uint8)
    about = {"photometric": "rgb", "resolution": (20000, 20000), "resolutionunit": "CENTIMETER", "metadata": None}
    tifffile.imwrite(tmp_path / "long.tif", pixels, tile=(128, 128), **about)
    person.opens_slides(tmp_path / "long.tif")
    slide, viewer = person.dock.slide, person.viewer
    viewer.reset_view()
    person.finds(QAbstractButton, "rotate_right").click()
    assert shows_whole_slide(get_visible_region(viewer, slide), slide.size)
