"""Bubbles of air in the gel of a dermatoscope, over skin and lesion alike; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_melanoma.training.augment.looks import Look, on, pixel_centres

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.training.augment.chances import Chances

PURPOSE = 2  # apart from what else is drawn from an image's seed
FEWEST, MOST = 2, 12
RADIUS = (0.008, 0.07)  # of the side
SPREAD = 0.22  # of the bubbles of an image about one place
DEEPEST = 0.25  # the dark ring inside takes so much of the light
RIM, GLINT = 0.6, 0.85  # how bright they are at most
WHITE = 250.0


class Bubbles(Look):
    """Puts 2 to 12 bubbles near each other: a bright rim, a darker ring within it, and a glint of the lamp."""

    name = "bubbles"

    def _change(self, images: Tensor, chance: Chances) -> Tensor:
        """Darken and lighten each image by its bubbles."""
        drawn = np.stack([_bubbles(seed) for seed in chance.seeds])
        rows, columns = pixel_centres(images)
        shade, light = torch.zeros_like(images[:, 0]), torch.zeros_like(images[:, 0])
        for bubble in range(MOST):
            dark, bright = _bubble(rows, columns, on(images.device, drawn[:, bubble]))
            torch.maximum(shade, dark, out=shade)
            torch.maximum(light, bright, out=light)
        return (images * (1 - shade[:, None])).lerp_(torch.full_like(images, WHITE), light[:, None])


def _bubbles(seed: int) -> NDArray[np.float64]:
    """Row, column, radius, direction of the lamp and presence of each bubble of an image: (bubble, 5)."""
    rng = np.random.default_rng((seed, PURPOSE))
    count = rng.integers(FEWEST, MOST + 1)
    centres = rng.random(2) + rng.normal(0, SPREAD, (MOST, 2))
    least, most = np.log(RADIUS)
    radius = np.exp(rng.uniform(least, most, MOST))
    lamp = np.full(MOST, rng.uniform(0, 2 * np.pi))
    return np.column_stack([centres, radius, lamp, np.arange(MOST) < count])


def _bubble(rows: Tensor, columns: Tensor, bubble: Tensor) -> tuple[Tensor, Tensor]:
    """Say how much darker and how bright a bubble makes each pixel, both (image, row, column)."""
    row, column, radius, lamp, there = bubble[:, :, None, None].unbind(1)
    down, across = (rows - row) / radius, (columns - column) / radius
    reach = (down**2 + across**2).sqrt_()
    soft = 0.8 / (rows.shape[-2] * radius)  # of a pixel, in radii
    rim = (1 - ((reach - 0.95).abs() - 0.04) / (0.03 + soft)).clamp_(0, 1)
    towards = 0.55 + 0.45 * (down * lamp.sin() + across * lamp.cos()) / reach.clamp(min=1e-3)
    ring = ((reach - 0.5) / 0.35).clamp_(0, 1) * ((0.98 - reach) / (0.06 + soft)).clamp_(0, 1)
    off = ((down - 0.5 * lamp.sin()) ** 2 + (across - 0.5 * lamp.cos()) ** 2).sqrt_()
    glint = (1 - (off - 0.08) / (0.1 + soft)).clamp_(0, 1)
    return DEEPEST * ring * there, torch.maximum(RIM * rim * towards, GLINT * glint) * there
