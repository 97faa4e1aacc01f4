"""DeepLabv3+ around an encoder: pyramid pooling, the decoder, and the reduced form that small encoders get."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import interpolate

from napari_melanoma.models.blocks.separable import ConvNorm, Separable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_melanoma.models.blocks.mobilenetv2 import MobileNetV2
    from napari_melanoma.models.blocks.xception import AlignedXception

LOW_CHANNELS = 48  # that the decoder keeps of the features at a quarter of the size (Chen et al. 2018, table 1)
DROPOUT = 0.1


class PyramidPooling(nn.Module):
    """What is seen of the whole image, of each place, and around it at several distances (ASPP)."""

    def __init__(self, inside: int, out: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.image = ConvNorm(inside, out, activation=nn.ReLU(inplace=True))
        self.point = ConvNorm(inside, out, activation=nn.ReLU(inplace=True))
        self.atrous = nn.ModuleList(Separable(inside, out, dilation=rate, activated=True) for rate in rates)
        self.project = ConvNorm((2 + len(rates)) * out, out, activation=nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, features: Tensor) -> Tensor:
        """Give (batch, out, row, column) of features (batch, inside, row, column)."""
        point = self.point(features)
        whole = self.image(features.mean((2, 3), keepdim=True)).expand_as(point)
        around = [atrous(features) for atrous in self.atrous]
        return self.dropout(self.project(torch.cat([whole, point, *around], dim=1)))


class Decoder(nn.Module):
    """Joins what is known with where it is seen, at a quarter of the image's size."""

    def __init__(self, low: int, channels: int) -> None:
        super().__init__()
        self.low_level = ConvNorm(low, LOW_CHANNELS, activation=nn.ReLU(inplace=True))
        self.fuse = nn.Sequential(
            Separable(channels + LOW_CHANNELS, channels, activated=True),
            Separable(channels, channels, activated=True),
        )

    def forward(self, pooled: Tensor, low: Tensor) -> Tensor:
        """Give (batch, channel, row, column) at the size of ``low``."""
        return self.fuse(torch.cat([_enlarged(pooled, low), self.low_level(low)], dim=1))


class DeepLab(nn.Module):
    """DeepLabv3+ over the aligned Xception."""

    def __init__(self, encoder: AlignedXception, rates: Sequence[int], channels: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.aspp = PyramidPooling(encoder.deep_channels, channels, rates)
        self.decoder = Decoder(encoder.low_channels, channels)
        self.logits = nn.Conv2d(channels, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits (batch, class, row, column) of images (batch, 3, row, column)."""
        low, deep = self.encoder(images)
        return _enlarged(self.logits(self.decoder(self.aspp(deep), low)), images)


class ReducedDeepLab(nn.Module):
    """DeepLab with the head of the official MobileNetV2 models: no dilated branches, no decoder."""

    def __init__(self, encoder: MobileNetV2, channels: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.aspp = PyramidPooling(encoder.deep_channels, channels, ())
        self.logits = nn.Conv2d(channels, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits (batch, class, row, column) of images (batch, 3, row, column)."""
        return _enlarged(self.logits(self.aspp(self.encoder(images))), images)


def _enlarged(features: Tensor, like: Tensor) -> Tensor:
    """Bring features to the rows and columns of another map, corner upon corner as the official networks do."""
    return interpolate(features, like.shape[-2:], mode="bilinear", align_corners=True)
