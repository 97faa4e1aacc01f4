"""The illuminated circle of a dermatoscope on black, and the modality of the image in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from napari_melanoma.imaging.color import illuminated_rectangle
from napari_melanoma.imaging.modality import crop_to_circle, recognize_modality
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

SIDE = 64
RADII = (0.7, 0.85, 1.0, 1.15)  # in halves of the shorter side


def distance(shape: tuple[int, int], centre: tuple[float, float] = (0.5, 0.5)) -> NDArray[np.float64]:
    """Distance from a center, in halves of the shorter side."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(rows - centre[0] * shape[0], columns - centre[1] * shape[1]) / (min(shape) / 2)


def in_circle(rgb: NDArray[np.uint8], radius: float) -> NDArray[np.uint8]:
    return np.where((distance(rgb.shape[:2]) <= radius)[..., None], rgb, 0).astype(np.uint8)


def lit_where(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(mask, 70, 2).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """What is lit, and the sides of the rectangle that is found, as fractions; None where none is."""

    name: str
    lit: NDArray[np.bool_]
    sides: tuple[float, float] | None


SQUARE = (SIDE, SIDE)
BAR = np.arange(SIDE)[:, None] * np.ones(SIDE) >= 20
WINDOW = np.zeros(SQUARE, bool)
WINDOW[12:50, 14:52] = True
CASES = [
    Case("all is lit", np.ones(SQUARE, bool), None),
    Case("nothing is lit", np.zeros(SQUARE, bool), None),
    Case("a circle", distance(SQUARE) <= 0.8, (0.6, 0.6)),
    Case("a circle off the middle", distance(SQUARE, (0.45, 0.55)) <= 0.7, (0.53, 0.53)),
    Case("a circle wider than the frame", distance(SQUARE) <= 1.2, (0.92, 0.92)),
    Case("a circle with a dark lesion", (distance(SQUARE) <= 0.8) & (distance(SQUARE) > 0.4), (0.6, 0.6)),
    Case("a speck", distance(SQUARE) <= 0.15, None),
    Case("a black bar above", BAR, None),
    Case("a bright window in a black wall", WINDOW, None),
    Case("only one corner is dark", distance(SQUARE, (0.0, 0.0)) <= 2.0, None),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_circles_are_found_and_no_bars_or_windows(case: Case) -> None:
    found = illuminated_rectangle(lit_where(case.lit))
    sides = None if found is None else tuple((part.stop - part.start) / SIDE for part in found)
    assert sides == (None if case.sides is None else pytest.approx(case.sides, abs=0.06))


def test_the_crop_of_a_circular_view_has_no_black() -> None:
    rgb = in_circle(np.full((300, 451, 3), 180, np.uint8), 0.9)
    inside = crop_to_circle(rgb)
    assert inside is not None
    assert (inside == 180).mean() > 0.9
    assert inside.shape[0] == pytest.approx(inside.shape[1], rel=0.1)
    assert crop_to_circle(rgb[::8, ::8]) is None  # of so few pixels nothing would be left to judge


@cache
def dermoscopic(seed: int) -> NDArray[np.uint8]:
    return lesion_phantom(LesionPhantomConfig(seed=seed, modality="dermoscopic")).rgb


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1000, 1001, 1002])
@pytest.mark.parametrize("radius", RADII)
def test_a_lesion_in_a_circle_on_black_is_a_dermoscopic_photograph(seed: int, radius: float) -> None:
    assert recognize_modality(in_circle(dermoscopic(seed), radius)).kind == "dermoscopic"


@pytest.mark.parametrize("name", ["rocket", "coins", "hubble_deep_field"])
@pytest.mark.parametrize("radius", RADII)
def test_other_things_in_a_circle_are_still_no_skin(name: str, radius: float) -> None:
    from skimage import data

    rgb = np.asarray(Image.fromarray(getattr(data, name)()).convert("RGB"))
    assert recognize_modality(in_circle(rgb, radius)).kind == "neither"


@pytest.mark.parametrize("name", ["ISIC_0000004", "ISIC_0000036", "ISIC_0000290"])
def test_melanomas_in_a_circular_view_are_dermoscopic(shared_data: Path, name: str) -> None:
    path = shared_data / "isic2017" / "images" / f"{name}.jpg"
    assert recognize_modality(np.asarray(Image.open(path).convert("RGB"))).kind == "dermoscopic"


@pytest.mark.parametrize(("folder", "step"), [("isic2017", 20), ("ph2", 2), ("pad_ufes", 8)])
def test_few_real_photographs_are_out_of_distribution(shared_data: Path, folder: str, step: int) -> None:
    paths = sorted((shared_data / folder / "images").glob("*.jpg"))[::step]
    wrong = {None: 0, 1.0: 0, 0.8: 0}
    for path in paths:
        picture = Image.open(path)
        picture.thumbnail((256, 256))  # decoded at this size
        rgb = np.asarray(picture.convert("RGB"))
        for radius in wrong:
            found = recognize_modality(rgb if radius is None else in_circle(rgb, radius))
            wrong[radius] += found.kind == "neither" and found.is_certain
    assert wrong[None] <= 0.01 * len(paths)
    assert max(wrong.values()) <= 0.03 * len(paths)
