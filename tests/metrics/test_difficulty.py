"""Difficulty of phantoms with and without hair, other spots, red skin and cropping."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest

from napari_melanoma.metrics.segmentation_difficulty import (
    DIFFICULTY_TRAITS,
    count_other_spots,
    measure_difficulty,
    measure_edge_share,
    measure_hair_share,
)
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

PLAIN: dict[str, Any] = {
    "size": (240, 320),
    "skin_type": 2,
    "field_mm": 18.0,
    "lesion": {"diameter_mm": 6.0, "centre": (0.5, 0.5), "darkness": 0.7, "variegation": 0.2, "asymmetry": 0.1},
    "skin": {"mottling": 0.1, "freckles": 0.0, "redness": 0.0, "furrows": 0.2},
    "artefacts": {"hairs": 0, "ruler": False, "bubbles": 0, "ink": False},
    "camera": {"aperture": False, "vignette": 0.1, "gradient": 0.1, "shine": 0.0, "cast": 0.0},
}
# What a phantom is drawn with, and which trait it must then have, and no other.
DRAWN: dict[str, tuple[str | None, dict[str, Any]]] = {
    "plain": (None, {}),
    "hairs": ("hair_share", {"artefacts": {"hairs": 45}}),
    "two more moles": (
        "other_spots",
        {"lesions": 3, "lesion": {"diameter_mm": 2.5, "centre": None, "elongation": 1.2}},
    ),
    "pale": ("contrast", {"lesion": {"darkness": 0.0, "veil": 0.0, "blotches": 0.0}}),
    "half outside": ("edge_share", {"lesion": {"centre": (0.5, 0.0)}}),
}


@cache
def measured(name: str, seed: int) -> dict[str, float]:
    changes = DRAWN[name][1]
    values = {key: {**old, **changes.get(key, {})} if isinstance(old, dict) else old for key, old in PLAIN.items()}
    values |= {key: value for key, value in changes.items() if not isinstance(value, dict)}
    phantom = lesion_phantom(LesionPhantomConfig.parse({**values, "seed": seed}, "the test"))
    return measure_difficulty(phantom.rgb, one_lesion(phantom.mask))


def one_lesion(mask: np.ndarray) -> np.ndarray:
    """The largest lesion of a phantom."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask)
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.slow
def test_a_phantom_has_exactly_the_requested_structures(name: str, seed: int) -> None:
    values = measured(name, seed)
    assert [trait.name for trait in DIFFICULTY_TRAITS if trait.applies_to(values[trait.name])] == [DRAWN[name][0]] * (
        name != "plain"
    )


@pytest.mark.parametrize(("name", "expected"), [("plain", 0), ("two more moles", 2)])
def test_moles_are_counted(name: str, expected: int) -> None:
    assert [measured(name, seed)["other_spots"] for seed in (0, 1)] == [expected] * 2


def disc(side: int = 100, radius: int = 20) -> np.ndarray:
    return np.hypot(*(np.indices((side, side)) - side / 2)) < radius


@pytest.mark.parametrize(("skin", "red"), [((215, 175, 150), False), ((215, 130, 130), True)])
def test_redness_is_that_of_the_skin_around(skin: tuple[int, int, int], red: bool) -> None:
    from skimage.color import rgb2lab

    rgb = np.where(disc()[..., None], (80, 50, 40), skin).astype(np.uint8)
    found = measure_difficulty(rgb, disc())
    lab = rgb2lab(np.array([[skin, (80, 50, 40)]], np.uint8))[0]
    assert found["skin_redness"] == pytest.approx(lab[0, 1], abs=0.05)
    assert found["contrast"] == pytest.approx(float(np.linalg.norm(lab[0] - lab[1])), abs=0.1)
    assert DIFFICULTY_TRAITS[2].applies_to(found["skin_redness"]) is red


def test_a_quarter_of_a_square_on_the_edge() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:20, :10] = True
    assert [measure_edge_share(np.rot90(mask, turns)) for turns in range(4)] == pytest.approx([10 / 36] * 4)


def discs(side: int, *circles: tuple[int, int, float]) -> tuple[np.ndarray, np.ndarray]:
    """A photograph with dark discs, (row, column, radius), and the mask of the first."""
    rows, columns = np.indices((side, side))
    masks = [np.hypot(rows - row, columns - column) < radius for row, column, radius in circles]
    return np.where(np.any(masks, axis=0)[..., None], np.uint8(60), np.uint8(200)).repeat(3, 2), masks[0]


@pytest.mark.parametrize("side", [192, 120], ids=["the grid", "a smaller photograph, which is not enlarged"])
@pytest.mark.parametrize(("radius", "count"), [(3.0, 0), (3.3, 1)])
def test_spots_count_from_5_pixels_of_the_grid(side: int, radius: float, count: int) -> None:
    assert count_other_spots(*discs(side, (40, 40, 20), (side - 30, side - 30, radius))) == count


@pytest.mark.parametrize(("gap", "count"), [(0, 0), (7, 1)])
def test_a_spot_within_the_margin_of_the_lesion_is_part_of_its_border(gap: int, count: int) -> None:
    """The margin is 8 % of the lesion's diameter of 80 pixels; the spot is 12 pixels wide."""
    assert count_other_spots(*discs(192, (96, 70, 40), (96, 116 + gap, 6))) == count


def test_skin_within_a_ring_shaped_lesion_is_no_spot() -> None:
    rgb, lesion = discs(192, (96, 96, 60))
    hole = discs(192, (96, 96, 13))[1]
    rgb[hole] = 200
    assert count_other_spots(rgb, lesion & ~hole) == 0


def test_a_trait_applies_from_its_limit_upward_or_below_it() -> None:
    applies = {
        trait.name: trait.applies_to(np.array([trait.limit - 1e-6, trait.limit, math.nan])).tolist()
        for trait in DIFFICULTY_TRAITS
    }
    from_limit, below = [False, True, False], [True, False, False]
    assert applies == {trait.name: below if trait.name == "contrast" else from_limit for trait in DIFFICULTY_TRAITS}


def test_uneven_light_and_a_dark_corner_are_no_spots() -> None:
    rows, columns = np.indices((120, 120))
    rgb = np.repeat((220 - 0.8 * columns)[..., None], 3, axis=2)
    rgb[np.hypot(rows, columns) < 30] = 5
    rgb[np.hypot(rows - 60, columns - 60) < 15] = 40
    lesion = np.hypot(rows - 60, columns - 60) < 15
    assert count_other_spots(rgb.astype(np.uint8), lesion) == 0
    rgb[np.hypot(rows - 60, columns - 100) < 5] = 40
    assert count_other_spots(rgb.astype(np.uint8), lesion) == 1


def test_the_black_around_a_round_view_is_no_skin() -> None:
    rows, columns = np.indices((240, 320))
    view, lesion = (np.hypot(rows - 120, columns - 160) < radius for radius in (118, 95))
    rgb = np.where(lesion[..., None], (80, 50, 40), (215, 175, 150)).astype(np.uint8)
    rgb[np.hypot(rows - 120, columns - 270) < 5] = (190, 150, 125)  # a faint shadow, which is no spot beside skin
    seen = np.where(view[..., None], rgb, 0).astype(np.uint8)
    for name in ("skin_redness", "contrast", "other_spots"):
        assert measure_difficulty(seen, lesion)[name] == pytest.approx(measure_difficulty(rgb, lesion)[name], abs=0.5)


def test_hairs_are_a_share_of_the_view() -> None:
    rows, columns = np.indices((400, 600))
    rgb = np.full((400, 600, 3), (215, 175, 150), np.uint8)
    rgb[columns % 40 < 3] = (40, 30, 25)
    seen = np.where((np.hypot(rows - 200, columns - 300) < 195)[..., None], rgb, 0).astype(np.uint8)
    lesion = np.zeros((400, 600), bool)
    share = measure_hair_share(rgb, lesion)
    assert share > 0.05
    assert measure_hair_share(seen, lesion) == pytest.approx(share, rel=0.1)
    assert math.isnan(measure_hair_share(np.full((60, 60, 3), 255, np.uint8), np.zeros((60, 60), bool)))


@pytest.mark.parametrize("mask", [np.zeros((60, 60), bool), np.ones((60, 60), bool)], ids=["empty", "everything"])
def test_undefined_traits_are_nan(mask: np.ndarray) -> None:
    found = measure_difficulty(np.full((60, 60, 3), 200, np.uint8), mask)
    assert math.isnan(found["contrast"])
    assert math.isnan(found["skin_redness"])
    assert [trait.label for trait in DIFFICULTY_TRAITS if trait.applies_to(found[trait.name])] == (
        ["touching the image's edge"] if mask.all() else []
    )
