"""Hairs are detected and removed, lesions and spots are kept; on phantoms with known hairs, and on lines."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_melanoma.imaging.hair import fill_holes_from_surroundings, hair_mask, inpaint_hair, remove_hair
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import ArtifactOptions, CameraOptions, LesionPhantomConfig

SIDE = 256
SKIN, DARK = (200, 160, 140), (30, 24, 20)
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
LINES = {
    "across": np.abs(ROWS - 100) < 1.5,
    "down": np.abs(COLUMNS - 60) < 1.5,
    "slanting": np.abs(ROWS - 0.6 * COLUMNS - 40) < 1.7,
    "bent": np.abs(np.hypot(ROWS - 128, COLUMNS - 300) - 160) < 1.5,
}
NO_HAIRS = {
    "even skin": np.zeros((SIDE, SIDE), bool),
    "a lesion": np.hypot(ROWS - 120, COLUMNS - 130) < 50,
    "dots": (ROWS % 24 < 4) & (COLUMNS % 24 < 4),
    "a short line": (np.abs(ROWS - 100) < 1.5) & (np.abs(COLUMNS - 100) < 9),
}


def drawn(dark: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(dark[..., None], DARK, SKIN).astype(np.uint8)


@pytest.mark.parametrize("name", LINES)
def test_a_line_is_detected_and_removed(name: str) -> None:
    rgb = drawn(LINES[name])
    found = hair_mask(rgb)
    inside = LINES[name].copy()
    inside[:8] = inside[-8:] = inside[:, :8] = inside[:, -8:] = False
    assert found[inside].mean() > 0.95
    assert found.mean() < 4 * LINES[name].mean()
    assert np.abs(remove_hair(rgb)[inside].astype(int) - SKIN).max() <= 2


@pytest.mark.parametrize("name", NO_HAIRS)
def test_other_structures_are_not_removed(name: str) -> None:
    rgb = drawn(NO_HAIRS[name])
    assert not hair_mask(rgb).any()
    assert remove_hair(rgb) is rgb


def test_a_hair_over_a_lesion_leaves_the_lesion() -> None:
    lesion = NO_HAIRS["a lesion"]
    skin = np.where(lesion[..., None], (120, 80, 60), SKIN).astype(np.uint8)
    bald = remove_hair(np.where(LINES["slanting"][..., None], DARK, skin).astype(np.uint8))
    deep = np.hypot(ROWS - 120, COLUMNS - 130) < 40
    assert np.abs(bald.astype(int) - skin)[deep].max() <= 2
    assert (np.abs(bald.astype(int) - skin).max(2) > 10).mean() < 0.01


def test_removing_the_hairs_equals_a_phantom_without_hairs() -> None:
    hairy, plain = (
        lesion_phantom(
            LesionPhantomConfig(
                seed=5,
                size=(SIDE, SIDE),
                skin_type=2,
                field_mm=6,
                artefacts=ArtifactOptions(hairs=hairs, ruler=False, bubbles=0, ink=False),
                camera=CameraOptions(aperture=False, noise=0.0, blur_mm=0.0),
            )
        ).rgb.astype(int)
        for hairs in (12, 0)
    )
    before = np.abs(hairy - plain).max(2) > 25
    after = np.abs(remove_hair(hairy.astype(np.uint8)).astype(int) - plain).max(2) > 25
    assert before.sum() > 1000
    assert after.sum() < 0.2 * before.sum()


def test_a_hole_is_filled_from_its_surroundings() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 64)[None, :, None], (64, 64, 3)).astype(np.uint8)
    hole = np.zeros((64, 64), bool)
    hole[20:44, 20:44] = True
    filled = fill_holes_from_surroundings(np.where(hole[..., None], 0, ramp).astype(np.uint8), hole)
    assert np.array_equal(filled[~hole], ramp[~hole])
    assert np.abs(filled[hole].astype(int) - ramp[hole]).max() < 50


STRIPES = np.broadcast_to((np.arange(512) % 8 < 4)[:, None], (512, 512))


def test_a_picture_that_is_nearly_all_hair_stays_as_it_is() -> None:
    rgb = drawn(STRIPES)
    assert hair_mask(rgb).mean() > 0.9
    assert remove_hair(rgb) is rgb


def test_a_hole_that_is_nearly_everything_is_filled_from_the_corner_that_is_left() -> None:
    hole = np.ones((200, 200), bool)
    hole[:20, :20] = False
    rgb = np.where(hole[..., None], 0, SKIN).astype(np.uint8)
    assert (fill_holes_from_surroundings(rgb, hole) == SKIN).all()


def test_a_hole_without_surroundings_is_not_filled() -> None:
    rgb = np.full((40, 50, 3), 7, np.uint8)
    assert np.array_equal(fill_holes_from_surroundings(rgb, np.ones((40, 50), bool)), rgb)


def test_hairs_found_in_a_small_copy_are_removed_from_the_image() -> None:
    rgb = drawn(LINES["slanting"])
    small = hair_mask(rgb[::2, ::2])
    inside = LINES["slanting"].copy()
    inside[:8] = inside[-8:] = inside[:, :8] = inside[:, -8:] = False
    assert np.abs(inpaint_hair(rgb, small)[inside].astype(int) - SKIN).max() <= 12
