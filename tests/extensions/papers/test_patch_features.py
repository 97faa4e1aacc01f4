"""Features of a patch: the same names for every image, and values that follow color, texture and shape."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_melanoma.extensions.papers.image_features import measure_patch_features

DARK, PALE, GLASS = (110, 60, 140), (235, 150, 190), (244, 244, 244)


def section(side: int = 96) -> NDArray[np.uint8]:
    """Pale tissue with glass above and one dark square of a ninth of the image."""
    rgb = np.full((side, side, 3), PALE, np.uint8)
    rgb[: side // 6] = GLASS
    rgb[side // 3 : 2 * side // 3, side // 3 : 2 * side // 3] = DARK
    return rgb


def test_every_image_has_the_same_features() -> None:
    found = measure_patch_features(section(), 5.9)
    assert len(found) >= 60
    for other in (np.full((64, 64, 3), GLASS, np.uint8), np.zeros((64, 64, 3), np.uint8)):
        assert list(measure_patch_features(other, None)) == list(found)
    finite = {name for name, value in found.items() if np.isfinite(value)}
    assert set(found) - finite == {"nuclei_per_mm2"}  # not resolved


def test_regions_are_measured() -> None:
    found = measure_patch_features(section(), 5.9)
    assert found["tissue_share"] == pytest.approx(5 / 6, abs=0.01)
    assert found["dark_regions_count"] == 1
    assert found["dark_regions_share"] == pytest.approx(1 / 9, abs=0.01)
    assert found["dark_regions_extent"] == 1
    assert found["pale_regions_largest_share"] == pytest.approx(5 / 6 - 1 / 9, abs=0.01)


def test_texture_follows_the_grain_and_not_the_direction() -> None:
    noise = np.random.default_rng(0).integers(-20, 20, (96, 96, 1))
    rough = np.clip(section().astype(int) + noise, 0, 255).astype(np.uint8)
    smooth, grainy, turned = (measure_patch_features(one, 5.9) for one in (section(), rough, np.rot90(rough).copy()))
    assert grainy["glcm_contrast_1px"] > smooth["glcm_contrast_1px"]
    assert grainy["lightness_spread"] == pytest.approx(turned["lightness_spread"])
    assert grainy["glcm_contrast_2px"] == pytest.approx(turned["glcm_contrast_2px"])
    for radius in (1, 3):
        assert sum(grainy[f"lbp_{radius}px_{number}"] for number in range(10)) == pytest.approx(1)
