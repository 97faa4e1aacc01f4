"""The decoder of P2: skip connections from two encoder levels each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_melanoma.models.blocks.convolutions import double_convolution

if TYPE_CHECKING:
    from torch import Tensor

LEVELS = 4  # 256 pixels become 16


class NestedUShape(nn.Module):
    """A U-Net whose decoding blocks are joined with their own and with the next shallower encoder block.

    The shallower block comes through the max-pooling that leads to the own one. P2 (its section 2.2): four encoder
    levels and a bottleneck, 2 x 2 transposed convolutions, a 1 x 1 convolution at the end.
    """

    def __init__(self, channels: int, dropout: float, classes: int) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(LEVELS + 1)]
        before = [0, *widths]  # channels of the next shallower block of each level
        self.down = nn.ModuleList(
            double_convolution(inside, out, dropout=dropout) for inside, out in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(widths[level + 1], widths[level], 2, stride=2) for level in reversed(range(LEVELS))
        )
        self.join = nn.ModuleList(
            double_convolution(2 * widths[level] + before[level], widths[level], dropout=dropout)
            for level in reversed(range(LEVELS))
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(channels, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits (batch, class, row, column) of images (batch, 3, row, column), sides divisible by 16."""
        features = self.down[0](images)
        skips = [[features]]
        for block in self.down[1:]:
            pooled = self.pool(features)
            features = block(pooled)
            skips.append([features, pooled])
        skips.pop()
        for up, join in zip(self.up, self.join, strict=True):
            features = join(torch.cat([up(features), *skips.pop()], dim=1))
        return self.head(features)
