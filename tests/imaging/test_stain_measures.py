"""Stain, pigment and nuclei are measured in synthetic images with known amounts of each."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.imaging.stain import DEFAULT_STAINS, MEASURES, measure_stain

SIDE = 200
MELANIN = np.array([0.45, 0.9, 1.6])  # absorbs blue most


def painted(haematoxylin: np.ndarray, eosin: np.ndarray, melanin: np.ndarray | None = None) -> np.ndarray:
    density = haematoxylin[..., None] * DEFAULT_STAINS[0] + eosin[..., None] * np.array(DEFAULT_STAINS[1])
    density = density + (0 if melanin is None else melanin[..., None] * MELANIN)
    return (255 * np.exp(-density)).round().clip(0, 255).astype(np.uint8)


def half(value: float) -> np.ndarray:
    """A value in the left half, 0 in the right."""
    found = np.zeros((SIDE, SIDE))
    found[:, : SIDE // 2] = value
    return found


def test_shares_match_the_painted_areas() -> None:
    everywhere = np.full((SIDE, SIDE), 0.4)
    melanin = np.zeros((SIDE, SIDE))
    melanin[:50, 150:] = 1.0  # an eighth of a half: one sixteenth of all
    found = measure_stain(painted(half(0.9), everywhere, melanin), 0.5)
    assert found["haematoxylin_share"] == pytest.approx(0.5, abs=0.01)
    assert found["pigment_share"] == pytest.approx(1 / 16, abs=0.005)
    assert found["haematoxylin_density"] == pytest.approx(0.9 * 0.5 / (15 / 16), abs=0.02)


def test_glass_is_no_tissue() -> None:
    rgb = painted(half(0.9), half(0.3))
    found = measure_stain(rgb, None)
    assert found["haematoxylin_share"] == pytest.approx(1.0, abs=0.01)
    empty = measure_stain(np.full((20, 20, 3), 250, np.uint8), 0.5)
    assert set(empty) == set(MEASURES)
    assert np.isnan(list(empty.values())).all()


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_nuclei_are_counted_if_visible(mpp: float) -> None:
    side = round(150 / mpp)
    rows, columns = np.indices((side, side)) * mpp
    haematoxylin = np.zeros((side, side))
    centres = [(row, column) for row in range(15, 140, 20) for column in range(15, 140, 20)]
    for row, column in centres:
        haematoxylin[np.hypot(rows - row, columns - column) < 3.5] = 0.9
    found = measure_stain(painted(haematoxylin, np.full((side, side), 0.4)), mpp)
    assert found["nuclei_per_mm2"] == pytest.approx(len(centres) / 0.15**2, rel=0.03)


@pytest.mark.parametrize("mpp", [None, 2.0, 5.86])
def test_invisibly_small_nuclei_are_not_counted(mpp: float | None) -> None:
    found = measure_stain(painted(half(0.9), half(0.4)), mpp)
    assert np.isnan(found["nuclei_per_mm2"])
    assert not np.isnan(found["haematoxylin_share"])


def test_stained_tissue_without_pigment_has_none() -> None:
    amounts = np.random.default_rng(0).uniform(0.1, 1.2, (2, SIDE, SIDE))
    assert measure_stain(painted(*amounts), 0.5)["pigment_share"] < 0.002
