"""Two slides are registered by their tissue, whatever their scales."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides.notes import register_slides
from napari_melanoma.slides.reading.opening import open_slide

SIDE = 400


def write_slide(path: Path, amount: np.ndarray, mpp: float | None, color: tuple[float, float, float]) -> Path:
    rgb = (255 * 10 ** (-amount[..., None] * np.array(color))).astype(np.uint8)
    size = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, rgb, tile=(128, 128), photometric="rgb", metadata=None, **size)
    return path


@pytest.fixture
def amount() -> np.ndarray:
    """Tissue with structure on glass."""
    rng = np.random.default_rng(3)
    layers = [ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), sigma) * sigma for sigma in (4, 8, 16, 24)]
    rows, columns = np.indices((SIDE, SIDE))
    inside = np.hypot((rows - 195) / 155, (columns - 185) / 110) + 0.3 * layers[3] < 1
    return np.where(inside, np.clip(0.5 + 0.25 * sum(layers[:3]), 0.1, 1), 0)


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False], ids=["scale in the file and from the user", "no scales"])
def test_another_stain_at_another_scale_is_registered(tmp_path: Path, amount: np.ndarray, known: bool) -> None:
    half = ndimage.zoom(np.rot90(amount), 0.5, order=1, grid_mode=True, mode="nearest")
    first = open_slide(write_slide(tmp_path / "he.tif", amount, 2.0 if known else None, (0.4, 0.8, 0.5)))
    second = open_slide(write_slide(tmp_path / "ihc.tif", half, 1.0 if known else None, (0.9, 0.7, 0.3)))
    given = PixelSize(4.0, 4.0, "given") if known else None  # that in the file is wrong
    with first, second:
        found = register_slides(first, second, first.info.pixel_size, given)
    unit = 2.0 if known else 1.0  # of a pixel of the first slide
    here = np.array([(130.0, 150.0), (270.0, 200.0)])  # from the corner
    there = np.stack([SIDE - here[:, 1], here[:, 0]], axis=1) / 2  # rot90 turns counterclockwise
    np.testing.assert_allclose(found.transform(there * (4.0 if known else 1.0)), here * unit, atol=1.5 * unit)
    assert found.scale == pytest.approx(1.0 if known else 2.0, rel=0.01)
    assert found.error is not None
    assert found.error < 2 * unit


def test_one_slide_without_a_scale_is_refused(tmp_path: Path, amount: np.ndarray) -> None:
    first = open_slide(write_slide(tmp_path / "he.tif", amount, 2.0, (0.4, 0.8, 0.5)))
    second = open_slide(write_slide(tmp_path / "ihc.tif", amount, None, (0.4, 0.8, 0.5)))
    with first, second, pytest.raises(InputError, match="ihc has no scale"):
        register_slides(first, second, first.info.pixel_size, None)
