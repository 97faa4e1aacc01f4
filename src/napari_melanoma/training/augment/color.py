"""Brightness, contrast, saturation and hue of a batch as one linear map of its colours; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from napari_melanoma.training.augment.looks import on

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.training.augment.chances import Chances
    from napari_melanoma.training.recipe import AugmentationConfig

# Luma and the two axes of colour of NTSC (ITU-R BT.470): grey lies on the first, hue is an angle in the others.
YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


class ColorJitter(v2.Transform):
    """Changes brightness, contrast, saturation and hue of each image, in this order.

    Each of the four is linear in the colours (contrast pulls towards the mean grey, hue is a turn about the grey axis),
    so that together they are one 3 x 3 matrix and one offset for an image, and one multiplication for the batch.
    """

    def __init__(self, config: AugmentationConfig) -> None:
        super().__init__()
        self._config = config

    def forward(
        self, image: tv_tensors.Image, mask: tv_tensors.Mask, chance: Chances
    ) -> tuple[tv_tensors.Image, tv_tensors.Mask, Chances]:
        """Change the colours of float32 images in [0, 255]; masks stay."""
        config = self._config
        if not any((config.brightness, config.contrast, config.saturation, config.hue)):
            return image, mask, chance
        images = image.as_subclass(torch.Tensor)
        matrix, towards_grey = color_maps(config, chance)
        grey = images.mean((2, 3)) @ on(images.device, YIQ[0])
        offset = on(images.device, towards_grey) * grey
        changed = offset.view(-1, 1, 1, 1).expand_as(images).contiguous()
        for channel, weights in enumerate(on(images.device, matrix).unbind(2)):
            changed.addcmul_(images[:, channel, None], weights[:, :, None, None])
        return tv_tensors.Image(changed.clamp_(0, 255)), mask, chance


def color_maps(config: AugmentationConfig, chance: Chances) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn chance into the maps of colours.

    Returns float64 (batch, 3, 3), from colour to colour. Returns float64 (batch,): what share of its mean grey is added
    to an image.
    """
    brightness = _factor(chance, "brightness", config.brightness)
    contrast = _factor(chance, "contrast", config.contrast)
    saturation = _factor(chance, "saturation", config.saturation)
    angle = 2 * np.pi * chance.between("hue", -config.hue, config.hue)
    turn = np.zeros((len(chance), 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = saturation * np.cos(angle)
    turn[:, 1, 2], turn[:, 2, 1] = -saturation * np.sin(angle), saturation * np.sin(angle)
    matrix = np.linalg.inv(YIQ) @ turn @ YIQ * (brightness * contrast)[:, None, None]
    return matrix, brightness * (1 - contrast)


def _factor(chance: Chances, name: str, amount: float) -> NDArray[np.float64]:
    """Give each image's factor, drawn around one."""
    return chance.between(name, max(0.0, 1 - amount), 1 + amount)
