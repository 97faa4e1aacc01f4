"""Areas and outlines of the classes of a map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_melanoma.core.geometry import MapPlacement, PixelSize
from napari_melanoma.slides.maps import SlideMaps
from napari_melanoma.slides.results import describe_class_areas, measure_class_areas, outline_classes

NAMES = ("glass", "tumor")
PLACE = MapPlacement(100, 200, 64, 64, PixelSize(0.5, 0.5))  # cells of 32 um


def two_tumors(place: MapPlacement = PLACE) -> SlideMaps:
    """A tumor of 3 x 4 cells, another of one cell, and a column that is unknown."""
    probability = np.zeros((2, 10, 12), np.float32)
    probability[1, 2:5, 3:7] = probability[1, 8, 9] = 0.9
    probability[0] = 1 - probability[1]
    probability[:, :, 11] = np.nan
    return SlideMaps(probability, place)


def test_areas_of_classes() -> None:
    areas = measure_class_areas(two_tumors(), NAMES)
    assert areas["tumor"]["mm2"] == pytest.approx(13 * 0.032**2)
    assert areas["tumor"]["percent"] == pytest.approx(100 * 13 / 110)
    assert areas["glass"]["percent"] == pytest.approx(100 * 97 / 110)
    assert describe_class_areas(areas) == "glass 0.0993 mm² (88.2 %), tumor 0.0133 mm² (11.8 %) of the analyzed area"
    without_scale = measure_class_areas(two_tumors(MapPlacement(0, 0, 64, 64)), NAMES)
    assert without_scale["tumor"]["mm2"] is None
    assert describe_class_areas(without_scale) == "glass (88.2 %), tumor (11.8 %) of the analyzed area"
    assert describe_class_areas({}) == ""


def test_areas_and_outlines_end_with_the_slide() -> None:
    maps = replace(two_tumors(), end=(100 + 9.5 * 64, 200 + 6.5 * 64))
    areas, regions = measure_class_areas(maps, NAMES), outline_classes(maps, NAMES, {})
    assert areas["tumor"]["mm2"] == pytest.approx(3 * 3.5 * 0.032**2)
    assert areas["glass"]["mm2"] == pytest.approx((9.5 * 6.5 - 3 * 3.5) * 0.032**2)
    for region in regions:
        assert region.measurements["area_mm2"] == pytest.approx(areas[region.class_name]["mm2"])
        assert (np.array(region.polygons[0].outer).max(axis=0) <= maps.end).all()


def test_nothing_is_known() -> None:
    maps = SlideMaps(np.full((2, 3, 3), np.nan, np.float32), PLACE)
    assert measure_class_areas(maps, NAMES)["tumor"] == {"mm2": 0.0, "percent": 0.0}
    assert outline_classes(maps, NAMES, {}) == ()


def test_outlines_of_classes() -> None:
    regions = outline_classes(two_tumors(), NAMES, {"tumor": (200, 0, 0)})
    glass, tumor = regions
    assert (glass.class_name, glass.color, tumor.class_name, tumor.color) == ("glass", None, "tumor", (200, 0, 0))
    assert tumor.measurements["area_mm2"] == pytest.approx(12 * 0.032**2)
    rows, columns = np.array(tumor.polygons[0].outer).T
    assert (rows.min(), rows.max()) == (100 + 2 * 64, 100 + 5 * 64)
    assert (columns.min(), columns.max()) == (200 + 3 * 64, 200 + 7 * 64)
    assert len(outline_classes(two_tumors(), NAMES, {}, min_cells=1)) == 3


def test_a_part_of_a_cell_is_all_of_the_analyzed_area() -> None:
    maps = SlideMaps(np.ones((1, 1, 1), np.float32), MapPlacement(0, 0, 100, 100, PixelSize(1, 1)), (50, 50))
    assert measure_class_areas(maps, ("glass",)) == {"glass": {"mm2": pytest.approx(0.0025), "percent": 100.0}}
