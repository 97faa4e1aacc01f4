"""MobileNetV2 of any width as an encoder with dilated convolutions; published weights fit it."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn

from napari_melanoma.models.blocks.separable import POINT, TRUNK_EPSILON, ConvNorm, Kernel, scaled

if TYPE_CHECKING:
    from torch import Tensor

# Expansion, channels, blocks, stride of the first block (Sandler et al. 2018, table 2).
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class InvertedResidual(nn.Sequential):
    """Widen each pixel, look at its neighbours channel by channel, narrow again; past it leads the input."""

    def __init__(self, inside: int, out: int, *, expansion: int, stride: int, dilation: int) -> None:
        hidden = inside * expansion
        each = Kernel(3, stride, dilation, depthwise=True)
        layers: dict[str, nn.Module] = {
            "expand": ConvNorm(inside, hidden, POINT, nn.ReLU6(inplace=True), TRUNK_EPSILON),
            "depthwise": ConvNorm(hidden, hidden, each, nn.ReLU6(inplace=True), TRUNK_EPSILON),
            "project": ConvNorm(hidden, out, POINT, None, TRUNK_EPSILON),
        }
        if expansion == 1:
            del layers["expand"]
        super().__init__(OrderedDict(layers))
        self.residual = stride == 1 and inside == out

    def forward(self, images: Tensor) -> Tensor:
        """Give features (batch, out, row, column) of features (batch, inside, row, column)."""
        features = images
        for layer in self:
            features = layer(features)
        return images + features if self.residual else features


class MobileNetV2(nn.Module):
    """MobileNetV2 without its last convolution and classifier (Sandler et al. 2018, doi:10.1109/CVPR.2018.00474)."""

    def __init__(self, output_stride: int, width: float = 1.0, divisor: int = 8) -> None:
        super().__init__()
        inside = scaled(32, width, divisor)
        self.stem = ConvNorm(3, inside, Kernel(3, stride=2), nn.ReLU6(inplace=True), TRUNK_EPSILON)
        blocks: list[nn.Module] = []
        shrunk, dilation = 2, 1
        for expansion, channels, count, stride in STAGES:
            out = scaled(channels, width, divisor)
            for number in range(count):
                asked = stride if number == 0 else 1
                taken = asked if shrunk * asked <= output_stride else 1
                blocks.append(InvertedResidual(inside, out, expansion=expansion, stride=taken, dilation=dilation))
                shrunk, dilation, inside = shrunk * taken, dilation * asked // taken, out
        self.blocks = nn.Sequential(*blocks)
        self.deep_channels = inside

    def forward(self, images: Tensor) -> Tensor:
        """Give the deepest features of images (batch, 3, row, column)."""
        return self.blocks(self.stem(images))
