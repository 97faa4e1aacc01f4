"""The list of measurements: names, order, units and edge cases."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.imaging.color import ABCD_COLORS
from napari_melanoma.imaging.measurements import MEASUREMENT_COLUMNS, MEASUREMENTS, measure_lesion

MAY_BE_NAN = {"fractal_dimension", "color_difference"}
IN_MM = [column for column in MEASUREMENT_COLUMNS if column.endswith(("_mm", "_mm2"))]
IN_PIXELS = [column for column in MEASUREMENT_COLUMNS if column not in IN_MM]


def disk(radius: float, shape: tuple[int, int] = (220, 260)) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) < radius


def photograph(mask: np.ndarray) -> np.ndarray:
    """Brown on skin, with a little noise."""
    rgb = np.where(mask[..., None], (110, 75, 55), (220, 180, 160))
    return np.clip(rgb + np.random.default_rng(0).normal(0, 4, rgb.shape), 0, 255).astype(np.uint8)


def test_an_empty_mask_has_no_measurements() -> None:
    assert measure_lesion(np.zeros((5, 5), bool), np.zeros((5, 5, 3), np.uint8), PixelSize(10, 10)) == {}


def test_the_columns_are_in_order_and_pixels_come_first() -> None:
    mask = disk(60)
    assert tuple(measure_lesion(mask, photograph(mask), PixelSize(10, 10))) == MEASUREMENT_COLUMNS
    assert tuple(measure_lesion(mask, photograph(mask), None)) == tuple(IN_PIXELS)
    assert MEASUREMENT_COLUMNS[-len(IN_MM) :] == tuple(IN_MM)


NOTCHED_LESION = {
    "area_px": 9072,
    "perimeter_px": 540.1238,
    "equivalent_diameter_px": 107.4748,
    "max_diameter_px": 178.5497,
    "min_diameter_px": 125.7513,
    "parts": 2,
    "compactness": 2.568666,
    "eccentricity": 0.2247082,
    "axis_ratio": 0.9744261,
    "solidity": 0.5778712,
    "asymmetry_major": 0.287478,
    "asymmetry_minor": 0.317791,
    "border_irregularity": 1.097298,
    "fractal_dimension": 1.045522,
    "color_std_l": 0.658622,
    "color_std_a": 2.137112,
    "color_std_b": 0.9783113,
    "color_count": 1,
    "color_difference": 40.93848,
    "area_mm2": 1.63296,
    "perimeter_mm": 7.260166,
    "equivalent_diameter_mm": 1.441926,
    "max_diameter_mm": 2.494025,
    "min_diameter_mm": 1.677198,
}


def test_measurements_of_a_lesion_with_a_notch_a_hole_and_a_second_part_are_those_of_earlier_versions() -> None:
    rows, columns = np.mgrid[:220, :260]
    along, across = (rows - 110) * 0.9 + (columns - 120) * 0.4, (columns - 120) * 0.9 - (rows - 110) * 0.4
    mask = along**2 / 70**2 + across**2 / 45**2 < 1
    mask &= np.hypot(rows - 110, columns - 160) > 25
    mask &= np.hypot(rows - 120, columns - 110) > 9
    mask |= np.hypot(rows - 40, columns - 215) < 12
    channels = np.where(mask, 110 + rows // 8, 220), np.where(mask, 75, 180), np.where(mask, 55, 160 + columns // 16)
    rgb = np.stack(channels, axis=-1).astype(np.uint8)
    assert measure_lesion(mask, rgb, PixelSize(12, 15)) == pytest.approx(NOTCHED_LESION, rel=1e-6)


def test_every_measurement_is_explained_and_named_with_its_unit() -> None:
    assert len(set(MEASUREMENT_COLUMNS)) == len(MEASUREMENTS)
    for measurement in MEASUREMENTS:
        assert measurement.label
        assert measurement.explanation
        suffix = {"px": "_px", "px²": "_px", "mm": "_mm", "mm²": "_mm2", "": ""}[measurement.unit]
        assert measurement.name.endswith(suffix)


def test_a_disk_in_millimeters() -> None:
    mask = disk(100)
    found = measure_lesion(mask, photograph(mask), PixelSize(20, 20))
    assert found["area_mm2"] == pytest.approx(math.pi * 4, rel=0.01)
    assert found["perimeter_mm"] == pytest.approx(4 * math.pi, rel=0.02)
    for name in ("equivalent_diameter_mm", "max_diameter_mm", "min_diameter_mm"):
        assert found[name] == pytest.approx(4, rel=0.01)
    for name in ("compactness", "axis_ratio", "solidity", "border_irregularity"):
        assert found[name] == pytest.approx(1, abs=0.03)
    assert max(found["asymmetry_major"], found["asymmetry_minor"]) < 0.01
    assert found["parts"] == 1


def test_pixels_that_are_not_square_are_measured_in_physical_space() -> None:
    rows, columns = np.mgrid[:220, :260]
    mask = np.hypot((rows - 110) * 0.5, columns - 130) < 45
    found = measure_lesion(mask, photograph(mask), PixelSize(10, 20))
    assert found["max_diameter_px"] == pytest.approx(180, abs=1.5)
    assert found["max_diameter_mm"] == pytest.approx(1.8, abs=0.03)
    assert found["min_diameter_mm"] == pytest.approx(1.8, abs=0.03)
    assert found["axis_ratio"] == pytest.approx(1, abs=0.02)
    assert found["compactness"] == pytest.approx(1, abs=0.04)
    assert found["area_mm2"] == pytest.approx(math.pi * 0.81, rel=0.01)


def test_several_parts_are_measured_as_one_lesion() -> None:
    mask = np.zeros((100, 200), bool)
    mask[40:60, 20:40] = mask[40:60, 160:180] = True
    found = measure_lesion(mask, photograph(mask), None)
    assert found["parts"] == 2
    assert found["area_px"] == 800
    assert found["perimeter_px"] == pytest.approx(160, rel=0.05)
    assert found["max_diameter_px"] == pytest.approx(math.hypot(160, 20), abs=1)
    assert found["solidity"] < 0.3


def test_notches_raise_irregularity_and_lower_solidity() -> None:
    rows, columns = np.mgrid[:300, :300] - 150
    angle, away = np.arctan2(rows, columns), np.hypot(rows, columns)
    smooth, ragged = (
        measure_lesion(mask, photograph(mask), None) for mask in (away < 90, away < 90 + 20 * np.sin(9 * angle))
    )
    for name in ("compactness", "border_irregularity"):
        assert ragged[name] > smooth[name] + 0.2
    assert ragged["solidity"] < smooth["solidity"] - 0.1


@settings(max_examples=40)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any), st.booleans())
def test_measurements_are_finite_or_documented_nan(mask: np.ndarray, scaled: bool) -> None:
    found = measure_lesion(mask, photograph(mask), PixelSize(10, 15) if scaled else None)
    unknown = {name for name, value in found.items() if not math.isfinite(value)}
    assert unknown <= MAY_BE_NAN
    assert all(type(value) is float for value in found.values())
    for name in ("asymmetry_major", "asymmetry_minor", "axis_ratio", "eccentricity", "solidity"):
        assert 0 <= found[name] <= 1, name


@pytest.mark.parametrize("degrees", [15, 30, 60])
def test_rotating_the_lesion_changes_little(degrees: float) -> None:
    def turned(angle: float) -> dict[str, float]:
        rows, columns = np.mgrid[:400, :400] - 200
        turn = math.radians(angle)
        along, across = (
            columns * math.cos(turn) + rows * math.sin(turn),
            rows * math.cos(turn) - columns * math.sin(turn),
        )
        mask = (along / 140) ** 2 + (across / (80 + 0.25 * along)) ** 2 < 1
        return measure_lesion(mask, photograph(mask), None)

    straight, oblique = turned(0), turned(degrees)
    for name in (
        "area_px",
        "perimeter_px",
        "max_diameter_px",
        "min_diameter_px",
        "compactness",
        "axis_ratio",
        "solidity",
    ):
        assert oblique[name] == pytest.approx(straight[name], rel=0.03), name
    for name in ("asymmetry_major", "asymmetry_minor"):
        assert oblique[name] == pytest.approx(straight[name], abs=0.01), name


def test_the_documentation_lists_all_measurements_and_the_reference_colors(repository: Path) -> None:
    text = (repository / "docs" / "reference" / "measurements-reference.md").read_text(encoding="utf-8")
    # `max_diameter_px`, `_mm` names two columns.
    explained = set(re.findall(r"`(\w+)`", re.sub(r"`(\w+)_px`, `_mm`", r"`\1_px`, `\1_mm`", text)))
    assert set(MEASUREMENT_COLUMNS) <= explained
    for cells in (ABCD_COLORS, (", ".join(map(str, color)) for color in ABCD_COLORS.values())):
        assert "| " + " | ".join(cells) + " |" in text
