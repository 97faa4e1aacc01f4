"""How deep a tumour goes, from a picture of known scale: P3's three convolutions, and attention pooling; imports torch.

Either gives a map whose mean is the depth, so that one sees which places it comes from. The numbers are standardised:
0 is the mean of the training cases, 1 their standard deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from napari_melanoma.models.blocks.bags import Gated

if TYPE_CHECKING:
    from torch import Tensor

FILTER = 3  # side of a convolution; P3 does not say it
POOL = 2  # side and stride of a max-pool
HIDDEN = 128  # features of a place that attention looks at


def output_size(size: int, filter_size: int, stride: int = 1, padding: int = 0) -> int:
    """Say how long a side is behind a convolution or a pooling layer (P3, equation 3).

    ``size``: of the side before it, in pixels or places.
    """
    return (size + 2 * padding - filter_size) // stride + 1


def places_left(size: int, layers: int) -> int:
    """Say how many places a side of a picture has behind the layers of the depth module.

    ``size``: of the side, in pixels. Of 512 pixels and three layers 64.
    """
    for _ in range(layers):
        size = output_size(output_size(size, FILTER, padding=FILTER // 2), POOL, stride=POOL)
    return size


class DepthConvolutions(nn.Module):
    """P3's percolation depth module: convolutions, each with max-pool and ReLU, then a regression over all places.

    A linear layer wants a fixed number of values: the last maps are brought to a grid.
    """

    def __init__(self, channels: Sequence[int], grid: int, outputs: int, normalisation: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *channels), channels, strict=False):
            layers.append(nn.Conv2d(before, after, FILTER, padding=FILTER // 2))
            layers += [nn.BatchNorm2d(after)] if normalisation else []
            layers += [nn.MaxPool2d(POOL), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.grid = grid
        self.weight = nn.Parameter(torch.randn(outputs, channels[-1], grid, grid) / (channels[-1] ** 0.5 * grid))
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, images: Tensor, maps: Tensor) -> Tensor:
        """Give what each place of the grid adds.

        ``images``: normalised float (batch, 3, row, column). Returns float (batch, output, row, column); the mean over
        the places is the answer.
        """
        seen = adaptive_avg_pool2d(self.layers(images), self.grid)
        return (seen[:, None] * self.weight).sum(dim=2) * self.grid**2 + self.bias  # their mean is the linear layer


class DepthAttention(nn.Module):
    """Attention pooling over the places of the encoder's deepest map: the depth is a weighted mean over them.

    Gated attention as of Ilse et al. 2018, arXiv:1802.04712, equation 9, with places for instances.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU())
        self.attention = Gated(HIDDEN, HIDDEN, 1, True)
        self.tell = nn.Linear(HIDDEN, outputs)

    def forward(self, images: Tensor, maps: Tensor) -> Tensor:
        """Give what each place of the map adds.

        ``maps``: the encoder's deepest, float (batch, channel, row, column). Returns float (batch, output, row,
        column); the mean over the places is the answer.
        """
        places = self.project(maps.flatten(2).transpose(1, 2))
        weights = self.attention(places).softmax(dim=1)
        told = self.tell(places) * weights * places.shape[1]
        return told.transpose(1, 2).unflatten(2, maps.shape[-2:])


def spread(told: Tensor, like: Tensor) -> Tensor:
    """Bring a map to the size of another; its mean stays what it is.

    ``told``: float (batch, output, row, column). ``like``: float (batch, channel, row, column), whose rows and columns
    are taken. Returns float (batch, output, row, column).
    """
    resized = interpolate(told, like.shape[-2:], mode="bilinear", align_corners=False)
    return resized + (told.mean(dim=(2, 3), keepdim=True) - resized.mean(dim=(2, 3), keepdim=True))
