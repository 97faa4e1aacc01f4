"""Lesions that were drawn: measured as they were drawn, answered by the cells under them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.slides.lesion_edits import measure_drawn_lesion
from napari_melanoma.slides.lesions import LesionConfig, LesionMaps
from napari_melanoma.slides.regions import DEFAULT_CLASSES, region_from_vertices

# Cells of 100 x 100 pixels; a pixel is 2 micrometers high and 1 wide.
PLACE = MapPlacement(0.0, 0.0, 100.0, 100.0, PixelSize(2.0, 1.0))
CONFIG = LesionConfig()


def maps() -> LesionMaps:
    presence = np.full((10, 20), 0.2, np.float32)
    presence[2:6, 4:8] = 0.9
    presence[:, 16:] = np.nan
    return LesionMaps(presence, PLACE)


def box(top: float, left: float, bottom: float, right: float) -> Polygon:
    return Polygon(((top, left), (top, right), (bottom, right), (bottom, left)))


def drawn(*polygons: Polygon, label=None):
    return measure_drawn_lesion(polygons, maps(), CONFIG, index=7, label=label)


def test_a_box_is_measured_as_it_was_drawn() -> None:
    lesion = drawn(box(210, 420, 590, 780))
    assert (lesion.index, lesion.origin, lesion.label) == (7, "drawn", "malignant")
    assert lesion.polygons == (box(210, 420, 590, 780),)
    assert lesion.probability == pytest.approx(0.9)
    assert lesion.area_mm2 == pytest.approx(0.76 * 0.36, rel=3e-3)
    assert lesion.perimeter_mm == pytest.approx(2 * (0.76 + 0.36), rel=0.04)
    assert (lesion.height_mm, lesion.width_mm) == pytest.approx((0.76, 0.36), rel=3e-3)
    assert lesion.extent == pytest.approx(1)
    assert lesion.tissue_share == pytest.approx(380 * 360 / (160 * 100 * 100), rel=3e-3)


def test_a_circle_is_no_staircase_of_cells() -> None:
    turns = np.linspace(0, 2 * math.pi, 90, endpoint=False)
    ring = tuple((400 + 150 * math.sin(a), 600 + 300 * math.cos(a)) for a in turns)  # 300 um in each direction
    lesion = drawn(Polygon(ring))
    assert lesion.area_mm2 == pytest.approx(math.pi * 0.09, rel=4e-3)
    assert lesion.perimeter_mm == pytest.approx(2 * math.pi * 0.3, rel=0.04)
    assert lesion.extent == pytest.approx(math.pi / 4, rel=0.01)


def test_a_small_lesion_has_the_probability_of_its_cell() -> None:
    lesion = drawn(box(310, 510, 330, 530))
    assert lesion.probability == pytest.approx(0.9)
    assert lesion.area_px == pytest.approx(400, rel=3e-3)
    assert lesion.tissue_share == pytest.approx(0.04 / 160, rel=3e-3)


def test_the_users_class_overrides_the_model() -> None:
    lesion = drawn(box(210, 420, 590, 780), label="benign")
    assert (lesion.label, lesion.origin) == ("benign", "drawn")
    assert lesion.probability == pytest.approx(0.9)


def test_without_an_analysis_the_user_sets_the_class() -> None:
    aside = box(200, 1700, 400, 1900)
    with pytest.raises(InputError, match="Choose malignant or benign"):
        drawn(aside)
    lesion = drawn(aside, label="malignant")
    assert math.isnan(lesion.probability)
    assert (lesion.label, lesion.tissue_share) == ("malignant", 0.0)


def test_malignancy_is_not_reported_where_no_lesion_is_detected() -> None:
    presence = np.full((10, 20), 0.02, np.float32)
    presence[:, 10:] = 0.8
    shares = LesionMaps(presence, PLACE, malignancy=np.full((10, 20), 0.7, np.float32))
    inside, aside = box(200, 1200, 500, 1500), box(200, 300, 500, 600)
    assert measure_drawn_lesion([inside], shares, CONFIG, index=1).probability == pytest.approx(0.56)
    with pytest.raises(InputError, match=r"predicts no lesion in the drawn area .*: 0\.02"):
        measure_drawn_lesion([aside], shares, CONFIG, index=1)
    lesion = measure_drawn_lesion([aside], shares, CONFIG, index=1, label="malignant")
    assert (lesion.probability, lesion.presence) == (pytest.approx(0.014), pytest.approx(0.02))
    assert lesion.class_probability == pytest.approx(0.014)


def test_an_outline_that_crosses_itself_counts_with_all_its_inside() -> None:
    bow = Polygon(((200.0, 400.0), (600.0, 800.0), (200.0, 800.0), (600.0, 400.0)))
    assert bow.area == pytest.approx(0)
    lesion = drawn(bow)
    assert lesion.area_px == pytest.approx(2 * 400 * 200 / 2, rel=0.01)
    assert sum(polygon.area for polygon in lesion.polygons) == pytest.approx(lesion.area_px)


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        (box(5000, 5000, 5010, 5010), "outside the analyzed part"),
        (Polygon(((300.0, 500.0), (400.0, 500.0))), "encloses no area"),
    ],
)
def test_invalid_lesions_are_rejected(polygon: Polygon, message: str) -> None:
    with pytest.raises(InputError, match=message):
        drawn(polygon)


def test_the_size_of_a_drawing_does_not_limit_how_exactly_it_is_measured() -> None:
    """Two small parts far apart, and a strip across the slide, are as exact as a square."""
    large = LesionMaps(np.full((510, 510), 0.9, np.float32), PLACE)
    parts = box(0, 0, 100, 100), box(50_000, 0, 50_100, 100)
    strip = Polygon(((0.0, 0.0), (0.0, 8.0), (20_000.0, 20_008.0), (20_000.0, 20_000.0)))
    for drawing, area in ((parts, 20_000), ((strip,), 160_000)):
        lesion = measure_drawn_lesion(drawing, large, CONFIG, index=1)
        assert lesion.area_px == pytest.approx(area)
        assert lesion.polygons == drawing
    assert measure_drawn_lesion(parts, large, CONFIG, index=1).perimeter_mm == pytest.approx(2 * 0.6)


def test_a_freehand_line_that_passes_its_start_encloses_what_a_region_encloses() -> None:
    turns = np.linspace(0, 2.24 * math.pi, 200)
    radius = np.where(turns < 2 * math.pi, 200, 180)
    vertices = np.stack([400 + radius * np.sin(turns), 600 + radius * np.cos(turns)], axis=1)
    region = region_from_vertices(vertices, DEFAULT_CLASSES[0])
    lesion = drawn(Polygon(vertices))
    assert lesion.area_px == pytest.approx(sum(polygon.area for polygon in region.polygons))
    assert lesion.polygons == region.polygons


def test_small_parts_have_the_probabilities_of_their_own_cells() -> None:
    lesion = drawn(box(310, 510, 330, 530), box(310, 1510, 330, 1530))
    assert lesion.probability == pytest.approx((0.9 + 0.2) / 2)
