"""P2's baselines: a simple CNN with fully connected layers, random pixels, and a constant negative prediction."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import interpolate

from napari_melanoma.models.blocks.convolutions import make_convolution

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.models.blocks.options import SimpleCNNConfig

SKIN_LOGIT = -10.0  # a probability of 0.00005
MAX_HASH = 2**31 - 1  # a prime; products of two numbers below it fit into 64 bits
HASH_FACTORS = (48271, 69621, 39373)  # primitive roots modulo MAX_HASH


class SimpleCNN(nn.Module):
    """Three convolutions with max-pooling, then two fully connected layers that predict a coarse mask."""

    def __init__(self, config: SimpleCNNConfig) -> None:
        super().__init__()
        widths = [3, *(config.channels * 2**level for level in range(3))]
        self.grid, self.shape = config.grid, (config.classes, config.mask_size, config.mask_size)
        self.features = nn.Sequential(
            *(nn.Sequential(make_convolution(inside, out), nn.MaxPool2d(2)) for inside, out in pairwise(widths))
        )
        self.connected = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(config.dropout),
            nn.Linear(widths[-1] * config.grid**2, config.hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.classes * config.mask_size**2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, class, row, column) of images (batch, 3, row, column), sides at least 8."""
        features = interpolate(self.features(images), (self.grid, self.grid), mode="bilinear")
        coarse = self.connected(features).unflatten(1, self.shape)
        return interpolate(coarse, images.shape[-2:], mode="bilinear")


class RandomBaseline(nn.Module):
    """Predicts a uniformly distributed probability for each pixel, determined by its position and color.

    Computed with an integer hash, as random generators differ between devices and export formats.
    """

    def __init__(self, seed: int, classes: int) -> None:
        super().__init__()
        self.seed, self.classes = seed, classes

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, class, row, column) of images (batch, 3, row, column)."""
        rows, columns = images.shape[-2:]
        row = torch.arange(rows, device=images.device)[:, None]
        column = torch.arange(columns, device=images.device)
        color = (images.float() * 1000).round().long().sum(1, keepdim=True).remainder(MAX_HASH)
        number = torch.arange(self.classes, device=images.device)[:, None, None] + self.seed + 1
        for factor, part in zip(HASH_FACTORS, (row, column, color), strict=True):
            number = ((number + part) * factor).remainder(MAX_HASH)
            number = (number * number + factor).remainder(MAX_HASH)
        return torch.logit((number.float() + 0.5) / MAX_HASH, eps=1e-6)


class ConstantNegative(nn.Module):
    """Predicts no lesion."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, class, row, column) of images (batch, 3, row, column)."""
        return torch.full_like(images[:, :1].float(), SKIN_LOGIT).expand(-1, self.classes, -1, -1)
