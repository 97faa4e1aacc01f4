"""The U of the U-Net, whatever its blocks: down by max-pooling, up by transposed convolution or interpolation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.models.blocks.convolutions import MakeBlock
    from napari_melanoma.models.blocks.options import Upsampling, UShapeConfig


class AttentionGate(nn.Module):
    """Weighs each place of a skip connection by what the level below has found there.

    Additive gate of Oktay et al. 2018 (arXiv:1804.03999), equation 1; here the signal has been brought to the size of
    the features, so that no map of weights has to be enlarged.
    """

    def __init__(self, features: int, signal: int) -> None:
        super().__init__()
        inner = max(1, features // 2)
        self.features = nn.Conv2d(features, inner, 1, bias=False)
        self.signal = nn.Conv2d(signal, inner, 1)
        self.weight = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(inner, 1, 1), nn.Sigmoid())

    def forward(self, features: Tensor, signal: Tensor) -> Tensor:
        """Weigh features (batch, channel, row, column) by a signal of the same rows and columns."""
        return features * self.weight(self.features(features) + self.signal(signal))


class Rise(nn.Module):
    """A step up: what comes from below is doubled in size, joined with the (gated) skip connection, and worked on."""

    def __init__(self, below: int, out: int, block: MakeBlock, upsampling: Upsampling, *, gated: bool) -> None:
        super().__init__()
        self.up: nn.Module
        if upsampling == "transposed":
            self.up, signal = nn.ConvTranspose2d(below, out, 2, stride=2), out
        else:
            self.up, signal = nn.Upsample(scale_factor=2, mode=upsampling), below
        self.gate = AttentionGate(out, signal) if gated else None
        self.block = block(out + signal, out)

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """Join (batch, below, row, column) and (batch, out, 2 row, 2 column) to features like the second."""
        signal = self.up(below)
        kept = skip if self.gate is None else self.gate(skip, signal)
        return self.block(torch.cat([kept, signal], dim=1))


class UShape(nn.Module):
    """A U-shaped network from one kind of block."""

    def __init__(self, config: UShapeConfig, block: MakeBlock, *, gated: bool = False) -> None:
        super().__init__()
        widths = [config.channels * 2**level for level in range(config.depth + 1)]
        self.down = nn.ModuleList(block(inside, out) for inside, out in zip([3, *widths], widths, strict=False))
        self.rises = nn.ModuleList(
            Rise(below, out, block, config.upsampling, gated=gated)
            for below, out in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(config.channels, config.classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits (batch, class, row, column) of images (batch, 3, row, column), sides divisible by 2^depth."""
        features, skips = images, []
        for level, block in enumerate(self.down):
            features = block(self.pool(features) if level else features)
            skips.append(features)
        skips.pop()
        for rise in self.rises:
            features = rise(features, skips.pop())
        return self.head(features)
