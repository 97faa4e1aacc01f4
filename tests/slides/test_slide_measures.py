"""Lengths and areas in mm, angles in degrees, with pixels that are not square, and in pixels without a scale."""

from __future__ import annotations

import pytest

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides.notes import SlideMeasurement, format_measurement, measure_shape

SIZE = PixelSize(0.5, 0.25)
PATH = SlideMeasurement("line", ((0.0, 0.0), (600.0, 1600.0), (600.0, 2000.0)))
SQUARE = SlideMeasurement("area", ((0.0, 0.0), (0.0, 4000.0), (2000.0, 4000.0), (2000.0, 0.0)))
EIGHT = SlideMeasurement("area", ((0.0, 0.0), (10.0, 10.0), (10.0, 0.0), (0.0, 10.0)))
CASES = [
    ("a path", PATH, SIZE, 0.6, "0.6 mm"),
    ("a short line", SlideMeasurement("line", ((0.0, 0.0), (0.0, 100.0))), SIZE, 0.025, "25 µm"),
    ("an area", SQUARE, SIZE, 1.0, "1 mm²"),
    ("a small area", SlideMeasurement("area", ((0.0, 0.0), (0.0, 40.0), (20.0, 0.0))), SIZE, 0.5e-4, "50 µm²"),
    ("a figure of eight", EIGHT, None, 50.0, "50 px²"),
    ("an angle", SlideMeasurement("angle", ((0.0, 9.0), (0.0, 0.0), (4.0, 8.0))), SIZE, 45.0, "45.0°"),
    ("a straight angle", SlideMeasurement("angle", ((0.0, 9.0), (0.0, 0.0), (0.0, -1.0))), SIZE, 180.0, "180.0°"),
    ("an angle without a scale", SlideMeasurement("angle", ((9.0, 0.0), (0.0, 0.0), (0.0, 3.0))), None, 90.0, "90.0°"),
    ("a line without a scale", SlideMeasurement("line", ((0.0, 0.0), (3000.0, 4000.0))), None, 5000.0, "5,000 px"),
]


@pytest.mark.parametrize(("name", "measure", "size", "value", "message"), CASES, ids=[case[0] for case in CASES])
def test_measures(name: str, measure: SlideMeasurement, size: PixelSize | None, value: float, message: str) -> None:
    assert measure_shape(measure, size) == pytest.approx(value), name
    assert format_measurement(measure, size) == message
