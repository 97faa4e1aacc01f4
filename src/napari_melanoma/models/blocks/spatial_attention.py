"""Spatial attention of P3: one weight for each place of a map, from what all channels say there; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class SpatialAttention(nn.Module):
    """Weighs the places of maps: ``A(x) = sigmoid(W . concat(avgpool(x), maxpool(x)))``, ``x' = A(x) x``.

    P3, equations 1 and 2; pooled over channels and with a convolution for W, as Woo et al. 2018 (arXiv:1807.06521) have
    it, because P3 does not say how far W reaches.
    """

    def __init__(self, kernel: int, shares: bool = False, start: float = 0.0) -> None:
        super().__init__()
        self._shares = shares
        self.weigh = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)
        nn.init.zeros_(self.weigh.weight)
        nn.init.constant_(self.weigh.weight[..., kernel // 2, kernel // 2], start)

    def weights(self, maps: Tensor) -> Tensor:
        """Give A(x).

        ``maps``: float (batch, channel, row, column). Returns float (batch, 1, row, column), each between 0 and 1.
        """
        said = torch.cat([maps.mean(dim=1, keepdim=True), maps.amax(dim=1, keepdim=True)], dim=1)
        found: Tensor = self.weigh(said)
        return found.sigmoid()

    def forward(self, maps: Tensor) -> Tensor:
        """Give ``A(x) x``, of the shape of the maps (batch, channel, row, column)."""
        weights = self.weights(maps)
        return maps * (weights / weights.mean(dim=(2, 3), keepdim=True) if self._shares else weights)


class Narrowed(nn.Sequential):
    """Brings the maps of an encoder to fewer, which are 0 or more: a convolution of one place, normalisation, ReLU.

    The maps of some encoders have no ReLU at their end, and mean and maximum of numbers of either sign say little of
    how much there is at a place.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__(nn.Conv2d(features, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
