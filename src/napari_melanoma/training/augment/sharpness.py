"""Changes of sharpness: coarse, blurred, sharpened and noisy images; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import pad
from torchvision.transforms.v2 import functional

from napari_melanoma.training.augment.looks import Look, on

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.training.augment.chances import Chances

REACH = 4  # of the blur in pixels: twice the largest sigma
SIGMA = (0.3, 2.0)
SHARPENING = 4.0
COARSEST = 1 / 3
LEAST_COARSE = COARSEST + 0.6
NOISIEST = 255 * 0.04


class Coarsen(Look):
    """Shrinks an image and enlarges it again, as a small or distant photograph looks."""

    name = "coarse"

    def _change(self, images: Tensor, chance: Chances) -> Tensor:
        """Coarsen each image to a size of its own."""
        side = images.shape[-1]
        for image, share in zip(images, chance.between("coarseness", COARSEST, LEAST_COARSE), strict=True):
            small = functional.resize(image, [int(side * share)] * 2, antialias=True)
            image.copy_(functional.resize(small, [side, side], antialias=True))
        return images


class Blur(Look):
    """Blurs with a Gaussian of a width of its own for each image."""

    name = "blur"

    def _change(self, images: Tensor, chance: Chances) -> Tensor:
        """Convolve along one axis, then along the other."""
        sigma = chance.between("sigma", *SIGMA)[:, None]
        kernel = np.exp(-0.5 * (np.arange(-REACH, REACH + 1) / sigma) ** 2)
        weights = on(images.device, kernel / kernel.sum(1, keepdims=True))
        padded = pad(images, (REACH,) * 4, mode="reflect")
        return _filter(_filter(padded, weights, axis=2), weights, axis=3)


class Sharpen(Look):
    """Sharpens, as telephones do."""

    name = "sharpen"

    def _change(self, images: Tensor, chance: Chances) -> Tensor:
        """Move each pixel inside away from the mean of its neighbourhood, in which it counts for five of thirteen."""
        ones = images.new_ones(len(images), 3)
        inside = images[..., 1:-1, 1:-1]
        mean = _filter(_filter(images, ones, axis=2), ones, axis=3).add_(inside, alpha=4).div_(13)
        inside.lerp_(mean, 1 - SHARPENING)
        return images


class Noise(Look):
    """Adds Gaussian noise of a strength of its own to each image."""

    name = "noise"

    def _change(self, images: Tensor, chance: Chances) -> Tensor:
        """Add noise that follows from the seed of each image."""
        source = torch.Generator(images.device)
        for image, seed, deviation in zip(images, chance.seeds, chance.between("deviation", 0, NOISIEST), strict=True):
            noise = torch.randn(image.shape, generator=source.manual_seed(seed), device=images.device)
            image.add_(noise, alpha=float(deviation))
        return images


def _filter(images: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Sum shifted images, each image with weights of its own: a sixth of what a grouped convolution takes."""
    length = images.shape[axis] - weights.shape[1] + 1
    total = torch.zeros_like(images.narrow(axis, 0, length))
    for place, weight in enumerate(weights.unbind(1)):
        total.addcmul_(images.narrow(axis, place, length), weight[:, None, None, None])
    return total
