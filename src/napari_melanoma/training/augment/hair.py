"""Artificial hairs: thin curved strokes over skin and lesion, which stays where it is; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from napari_melanoma.training.augment.looks import Look, on, pixel_centres

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.training.augment.chances import Chances

PURPOSE = 1  # apart from what else is drawn from an image's seed
FEWEST, MOST = 4, 24
LENGTH, BEND = (0.25, 1.1), 0.12  # of the side; the bend of a hair's length
HALF_WIDTH = (0.0022, 0.0065)  # of the side
DARK, FAIR = np.array([26.0, 19, 16]), np.array([150.0, 112, 74])  # sRGB
FAIR_SHARE = 0.2
OPACITY = (0.75, 1.0)
SHADOW, SHADOW_PX = 0.18, 5


class Hair(Look):
    """Lays 4 to 24 hairs over an image: mostly along one direction, tapered, with a soft shadow beside them.

    P2 draws hairs on what it learns from; here each is a parabola, whose distance to a pixel has a closed form.
    """

    name = "hair"

    def _change(self, images: Tensor, chance: Chances) -> Tensor:
        """Cover each image with hairs of one colour."""
        drawn = [_Hairs(seed) for seed in chance.seeds]
        strokes = np.stack([each.strokes for each in drawn])
        rows, columns = pixel_centres(images)
        cover = torch.zeros_like(images[:, 0])
        for hair in range(MOST):
            torch.maximum(cover, _stroke(rows, columns, on(images.device, strokes[:, hair])), out=cover)
        shadow = avg_pool2d(cover[:, None], SHADOW_PX, stride=1, padding=SHADOW_PX // 2).roll((1, 2), dims=(2, 3))
        color = on(images.device, np.stack([each.color for each in drawn]))[:, :, None, None]
        return (images * (1 - SHADOW * shadow)).lerp_(color.expand_as(images), cover[:, None])


class _Hairs:
    """The hairs of one image, drawn from its seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng((seed, PURPOSE))
        count = rng.integers(FEWEST, MOST + 1)
        fair = rng.random() if rng.random() < FAIR_SHARE else 0.0
        self.color = DARK + fair * (FAIR - DARK) + rng.normal(0, 4, 3)
        angle = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.4, MOST)
        middle = rng.uniform(-0.05, 1.05, (MOST, 2))
        length = rng.uniform(*LENGTH, MOST)
        bend = BEND * rng.normal(0, 1, MOST) * length
        half_width = rng.uniform(*HALF_WIDTH) * rng.uniform(0.7, 1.3, MOST)
        opacity = np.where(np.arange(MOST) < count, rng.uniform(*OPACITY), 0.0)
        self.strokes: NDArray[np.float64] = np.column_stack([angle, middle, length, bend, half_width, opacity])


def _stroke(rows: Tensor, columns: Tensor, stroke: Tensor) -> Tensor:
    """Say how much of each pixel a hair covers: (image, row, column) from (image, 7)."""
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
    # What is thinner than a pixel covers its share of it.
    return ((thickness - distance) / pixel + 0.5).clamp_(0, 1) * (2 * thickness / pixel).clamp_(0, 1) * inside * opacity
