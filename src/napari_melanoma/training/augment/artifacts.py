"""Augmentation by artifacts: hairs, bubbles, dark corners and cut-out squares; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from napari_melanoma.training.augment.appearance import (
    AppearanceAugmentation,
    RandomAugmentation,
    pixel_centers,
    to_device,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.training.augment.random_numbers import BatchRandomNumbers

OFF_CENTER = 0.06  # greatest share of the side
FADE_RADIUS = (0.4, 0.6)  # radius at which the light starts to fade, as a share of the side; corners are at 0.71
SOFTNESS = (0.01, 0.3)  # share of the side: from the sharp rim of a dermatoscope to the fading of a lens
DARKNESS = (0.4, 1.4)  # lost share of the light; above 1 is black
MIN_LIGHT = 1 / 16  # share of the light: below it a border cannot be drawn
CUTOUT_SIDE = (0.1, 0.3)  # share of the side
HAIR_PURPOSE, BUBBLE_PURPOSE = 1, 2  # separate the random numbers of an image's seed


class Vignette(RandomAugmentation):
    """Darkens the corners; the mask is cleared where hardly any light is left."""

    name = "vignette"

    def _augment(self, images: Tensor, masks: Tensor, indices: Tensor, chance: BatchRandomNumbers) -> None:
        """Darken images, and clear their masks in the dark."""
        light = vignette_light(images, chance)
        images[indices] *= light
        masks[indices] *= light >= MIN_LIGHT


def vignette_light(images: Tensor, chance: BatchRandomNumbers) -> Tensor:
    """Share of the light that each pixel keeps.

    ``images``: float32 (any, 3, row, column), for size and device. Returns float32 (image, 1, row, column) in [0, 1].
    """
    rows, columns = pixel_centers(images)
    row, column, stop, softness, darkness = (
        to_device(images.device, chance.uniform(name, *ends))[:, None, None]
        for name, ends in (
            ("stop_y", (0.5 - OFF_CENTER, 0.5 + OFF_CENTER)),
            ("stop_x", (0.5 - OFF_CENTER, 0.5 + OFF_CENTER)),
            ("stop", FADE_RADIUS),
            ("softness", SOFTNESS),
            ("darkness", DARKNESS),
        )
    )
    beyond = ((((rows - row) ** 2 + (columns - column) ** 2).sqrt_() - stop) / softness).clamp_(0, 1)
    return (1 - darkness * beyond**2 * (3 - 2 * beyond)).clamp_(0, 1)[:, None]


class Cutout(AppearanceAugmentation):
    """Covers a square with the mean color of the image (DeVries and Taylor 2017, arXiv:1708.04552).

    The mask is unchanged: the hidden part is to be inferred from its surroundings.
    """

    name = "cutout"

    def _augment_images(self, images: Tensor, chance: BatchRandomNumbers) -> Tensor:
        rows, columns = pixel_centers(images)
        side, row, column = (
            to_device(images.device, chance.uniform(name, *ends))[:, None, None]
            for name, ends in (("cover_side", CUTOUT_SIDE), ("cover_y", (0, 1)), ("cover_x", (0, 1)))
        )
        hidden = ((rows - row).abs() < side / 2) & ((columns - column).abs() < side / 2)
        return torch.where(hidden[:, None], images.mean((2, 3), keepdim=True), images)


FEWEST_HAIRS, MOST_HAIRS = 4, 24
LENGTH, BEND = (0.25, 1.1), 0.12  # share of the side; bend as a share of the length
HALF_WIDTH = (0.0022, 0.0065)  # share of the side
DARK, FAIR = np.array([26.0, 19, 16]), np.array([150.0, 112, 74])  # sRGB
FAIR_SHARE = 0.2
OPACITY = (0.75, 1.0)
SHADOW, SHADOW_PX = 0.18, 5


class Hair(AppearanceAugmentation):
    """Draws 4 to 24 hairs over an image: mostly along one direction, tapered, with a soft shadow beside them.

    P2 draws hairs on its training images; here each is a parabola, whose distance to a pixel has a closed form.
    """

    name = "hair"

    def _augment_images(self, images: Tensor, chance: BatchRandomNumbers) -> Tensor:
        """Cover each image with hairs of one color."""
        drawn = [_HairStrokes(seed) for seed in chance.seeds]
        strokes = np.stack([each.strokes for each in drawn])
        rows, columns = pixel_centers(images)
        cover = torch.zeros_like(images[:, 0])
        for hair in range(MOST_HAIRS):
            torch.maximum(cover, _render_stroke(rows, columns, to_device(images.device, strokes[:, hair])), out=cover)
        shadow = avg_pool2d(cover[:, None], SHADOW_PX, stride=1, padding=SHADOW_PX // 2).roll((1, 2), dims=(2, 3))
        color = to_device(images.device, np.stack([each.color for each in drawn]))[:, :, None, None]
        return (images * (1 - SHADOW * shadow)).lerp_(color.expand_as(images), cover[:, None])


class _HairStrokes:
    """The hairs of one image, drawn from its seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng((seed, HAIR_PURPOSE))
        count = rng.integers(FEWEST_HAIRS, MOST_HAIRS + 1)
        fair = rng.random() if rng.random() < FAIR_SHARE else 0.0
        self.color = DARK + fair * (FAIR - DARK) + rng.normal(0, 4, 3)
        angle = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.4, MOST_HAIRS)
        middle = rng.uniform(-0.05, 1.05, (MOST_HAIRS, 2))
        length = rng.uniform(*LENGTH, MOST_HAIRS)
        bend = BEND * rng.normal(0, 1, MOST_HAIRS) * length
        half_width = rng.uniform(*HALF_WIDTH) * rng.uniform(0.7, 1.3, MOST_HAIRS)
        opacity = np.where(np.arange(MOST_HAIRS) < count, rng.uniform(*OPACITY), 0.0)
        self.strokes: NDArray[np.float64] = np.column_stack([angle, middle, length, bend, half_width, opacity])


def _render_stroke(rows: Tensor, columns: Tensor, stroke: Tensor) -> Tensor:
    """Share of each pixel that a hair covers: (image, row, column) from (image, 7)."""
    angle, row, column, length, bend, half_width, opacity = stroke[:, :, None, None].unbind(1)
    down, across = rows - row, columns - column
    along = (down * angle.sin() + across * angle.cos()) / length + 0.5  # 0 at the root, 1 at the tip
    sideways = down * angle.cos() - across * angle.sin()
    sag = 4 * bend * along * (1 - along)
    slope = 4 * bend * (1 - 2 * along) / length
    distance = (sideways - sag).abs_() / (1 + slope**2).sqrt_()
    thickness = half_width * (1.02 - along).clamp_(0, 1).sqrt_()
    pixel = 1 / rows.shape[-2]
    inside = ((along >= 0) & (along <= 1)).to(distance.dtype)
    # A hair thinner than a pixel covers its share of it.
    return ((thickness - distance) / pixel + 0.5).clamp_(0, 1) * (2 * thickness / pixel).clamp_(0, 1) * inside * opacity


FEWEST_BUBBLES, MOST_BUBBLES = 2, 12
RADIUS = (0.008, 0.07)  # share of the side
SPREAD = 0.22  # spread of the bubbles of an image around one position
DEEPEST = 0.25  # share of the light that the dark inner ring absorbs
RIM, GLINT = 0.6, 0.85  # greatest brightness
WHITE = 250.0


class Bubbles(AppearanceAugmentation):
    """Draws 2 to 12 bubbles near each other: a bright rim, a darker ring within it, and a reflection of the lamp."""

    name = "bubbles"

    def _augment_images(self, images: Tensor, chance: BatchRandomNumbers) -> Tensor:
        drawn = np.stack([_draw_bubbles(seed) for seed in chance.seeds])
        rows, columns = pixel_centers(images)
        shade, light = torch.zeros_like(images[:, 0]), torch.zeros_like(images[:, 0])
        for bubble in range(MOST_BUBBLES):
            dark, bright = _render_bubble(rows, columns, to_device(images.device, drawn[:, bubble]))
            torch.maximum(shade, dark, out=shade)
            torch.maximum(light, bright, out=light)
        return (images * (1 - shade[:, None])).lerp_(torch.full_like(images, WHITE), light[:, None])


def _draw_bubbles(seed: int) -> NDArray[np.float64]:
    """Row, column, radius, direction of the lamp and presence of each bubble of an image: (bubble, 5)."""
    rng = np.random.default_rng((seed, BUBBLE_PURPOSE))
    count = rng.integers(FEWEST_BUBBLES, MOST_BUBBLES + 1)
    centers = rng.random(2) + rng.normal(0, SPREAD, (MOST_BUBBLES, 2))
    least, most = np.log(RADIUS)
    radius = np.exp(rng.uniform(least, most, MOST_BUBBLES))
    lamp = np.full(MOST_BUBBLES, rng.uniform(0, 2 * np.pi))
    return np.column_stack([centers, radius, lamp, np.arange(MOST_BUBBLES) < count])


def _render_bubble(rows: Tensor, columns: Tensor, bubble: Tensor) -> tuple[Tensor, Tensor]:
    """Darkening and brightening of each pixel by a bubble, both (image, row, column)."""
    row, column, radius, lamp, present = bubble[:, :, None, None].unbind(1)
    down, across = (rows - row) / radius, (columns - column) / radius
    reach = (down**2 + across**2).sqrt_()
    soft = 0.8 / (rows.shape[-2] * radius)  # of a pixel, in radii
    rim = (1 - ((reach - 0.95).abs() - 0.04) / (0.03 + soft)).clamp_(0, 1)
    towards = 0.55 + 0.45 * (down * lamp.sin() + across * lamp.cos()) / reach.clamp(min=1e-3)
    ring = ((reach - 0.5) / 0.35).clamp_(0, 1) * ((0.98 - reach) / (0.06 + soft)).clamp_(0, 1)
    off = ((down - 0.5 * lamp.sin()) ** 2 + (across - 0.5 * lamp.cos()) ** 2).sqrt_()
    glint = (1 - (off - 0.08) / (0.1 + soft)).clamp_(0, 1)
    return DEEPEST * ring * present, torch.maximum(RIM * rim * towards, GLINT * glint) * present
