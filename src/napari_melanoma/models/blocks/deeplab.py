"""DeepLabv3+ with its encoders MobileNetV2 and aligned Xception; imports torch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

LOW_STRIDE = 4  # downsampling factor of the low-level features of the decoder
LOW_CHANNELS = 48  # low-level channels of the decoder (Chen et al. 2018, table 1)
DROPOUT = 0.1


class PyramidPooling(nn.Module):
    """Atrous spatial pyramid pooling (ASPP): joins image mean, each position, and its surroundings at several rates."""

    def __init__(self, inside: int, out: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.image = ConvNorm(inside, out, activation=nn.ReLU(inplace=True))
        self.point = ConvNorm(inside, out, activation=nn.ReLU(inplace=True))
        self.atrous = nn.ModuleList(SeparableConvolution(inside, out, dilation=rate, activated=True) for rate in rates)
        self.project = ConvNorm((2 + len(rates)) * out, out, activation=nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (batch, inside, row, column) to (batch, out, row, column)."""
        point = self.point(features)
        whole = self.image(features.mean((2, 3), keepdim=True)).expand_as(point)
        around = [atrous(features) for atrous in self.atrous]
        return self.dropout(self.project(torch.cat([whole, point, *around], dim=1)))


class DeepLabDecoder(nn.Module):
    """Fuses deep features with low-level features at a quarter of the image size."""

    def __init__(self, low: int, channels: int) -> None:
        super().__init__()
        self.low_level = ConvNorm(low, LOW_CHANNELS, activation=nn.ReLU(inplace=True))
        self.fuse = nn.Sequential(
            SeparableConvolution(channels + LOW_CHANNELS, channels, activated=True),
            SeparableConvolution(channels, channels, activated=True),
        )

    def forward(self, pooled: Tensor, low: Tensor) -> Tensor:
        """Return (batch, channel, row, column) at the size of ``low``."""
        return self.fuse(torch.cat([_upsample_like(pooled, low), self.low_level(low)], dim=1))


class DeepLab(nn.Module):
    """DeepLabv3+ with three atrous branches and a decoder; without both, as in the official MobileNetV2 models."""

    def __init__(
        self,
        encoder: AlignedXception | MobileNetV2,
        output_stride: int,
        channels: int,
        classes: int,
        *,
        has_decoder: bool = True,
    ) -> None:
        super().__init__()
        rates = [96 // output_stride * times for times in (1, 2, 3)]  # 6, 12, 18 at an output stride of 16
        self.encoder = encoder
        self.aspp = PyramidPooling(encoder.deep_channels, channels, rates if has_decoder else ())
        self.decoder = DeepLabDecoder(encoder.low_channels, channels) if has_decoder else None
        self.logits = nn.Conv2d(channels, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, class, row, column) of images (batch, 3, row, column)."""
        low, deep = self.encoder(images)
        features = self.aspp(deep)
        return _upsample_like(self.logits(features if self.decoder is None else self.decoder(features, low)), images)


def _upsample_like(features: Tensor, like: Tensor) -> Tensor:
    """Resize features to the size of another map, with aligned corners as in the official networks."""
    return interpolate(features, like.shape[-2:], mode="bilinear", align_corners=True)


TRUNK_EPSILON = 1e-3  # batch normalization in the official encoders; the heads have PyTorch's default of 1e-5


@dataclass(frozen=True)
class ConvolutionKernel:
    """The shape of a convolution: side in pixels (odd), stride, dilation, and whether it is depthwise."""

    side: int = 1
    stride: int = 1
    dilation: int = 1
    depthwise: bool = False


POINT = ConvolutionKernel()


class ConvNorm(nn.Sequential):
    """A convolution without bias, batch normalization, and optionally an activation.

    Both sides get the same padding, as in the official networks for images of odd sides; the size changes only by the
    stride.
    """

    def __init__(
        self,
        inside: int,
        out: int,
        kernel: ConvolutionKernel = POINT,
        activation: nn.Module | None = None,
        epsilon: float = 1e-5,
    ) -> None:
        convolution = nn.Conv2d(
            inside,
            out,
            kernel.side,
            stride=kernel.stride,
            padding=kernel.side // 2 * kernel.dilation,
            dilation=kernel.dilation,
            groups=inside if kernel.depthwise else 1,
            bias=False,
        )
        layers: dict[str, nn.Module] = {"conv": convolution, "norm": nn.BatchNorm2d(out, eps=epsilon)}
        if activation is not None:
            layers["activation"] = activation
        super().__init__(OrderedDict(layers))


class SeparableConvolution(nn.Sequential):
    """A depthwise 3 x 3 convolution followed by a pointwise convolution."""

    def __init__(
        self, inside: int, out: int, *, stride: int = 1, dilation: int = 1, activated: bool, epsilon: float = 1e-5
    ) -> None:
        def activation() -> nn.Module | None:
            return nn.ReLU(inplace=True) if activated else None

        kernel = ConvolutionKernel(3, stride, dilation, depthwise=True)
        layers: dict[str, nn.Module] = {
            "depthwise": ConvNorm(inside, inside, kernel, activation(), epsilon),
            "pointwise": ConvNorm(inside, out, POINT, activation(), epsilon),
        }
        super().__init__(OrderedDict(layers))


def scale_channels(channels: int, width: float, divisor: int = 8) -> int:
    """Multiply a number of channels, and round to a multiple of ``divisor`` that is at least 90 % of the product."""
    product = channels * width
    rounded = max(divisor, int(product + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * product else rounded


# Of each stage: expansion, channels, blocks, stride of the first block (Sandler et al. 2018, table 2)
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class InvertedResidual(nn.Sequential):
    """A block that expands, filters depthwise and projects, with a residual connection if the shapes match."""

    def __init__(self, inside: int, out: int, *, expansion: int, stride: int, dilation: int) -> None:
        hidden = inside * expansion
        kernel = ConvolutionKernel(3, stride, dilation, depthwise=True)
        layers: dict[str, nn.Module] = {
            "expand": ConvNorm(inside, hidden, POINT, nn.ReLU6(inplace=True), TRUNK_EPSILON),
            "depthwise": ConvNorm(hidden, hidden, kernel, nn.ReLU6(inplace=True), TRUNK_EPSILON),
            "project": ConvNorm(hidden, out, POINT, None, TRUNK_EPSILON),
        }
        if expansion == 1:
            del layers["expand"]
        super().__init__(OrderedDict(layers))
        self.residual = stride == 1 and inside == out

    def forward(self, images: Tensor) -> Tensor:
        """Map features (batch, inside, row, column) to features (batch, out, row, column)."""
        features = images
        for layer in self:
            features = layer(features)
        return images + features if self.residual else features


class MobileNetV2(nn.Module):
    """MobileNetV2 without its last convolution and classifier (Sandler et al. 2018, doi:10.1109/CVPR.2018.00474)."""

    def __init__(self, output_stride: int, width: float = 1.0, divisor: int = 8) -> None:
        super().__init__()
        inside = scale_channels(32, width, divisor)
        self.stem = ConvNorm(3, inside, ConvolutionKernel(3, stride=2), nn.ReLU6(inplace=True), TRUNK_EPSILON)
        blocks: list[nn.Module] = []
        reduction, dilation = 2, 1
        for expansion, channels, repeats, stride in STAGES:
            out = scale_channels(channels, width, divisor)
            for number in range(repeats):
                nominal_stride = stride if number == 0 else 1
                used_stride = nominal_stride if reduction * nominal_stride <= output_stride else 1
                blocks.append(InvertedResidual(inside, out, expansion=expansion, stride=used_stride, dilation=dilation))
                reduction, dilation, inside = reduction * used_stride, dilation * nominal_stride // used_stride, out
                if reduction == LOW_STRIDE:
                    self._low_block, self.low_channels = len(blocks) - 1, out
        self.blocks = nn.Sequential(*blocks)
        self.deep_channels = inside

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features at a quarter of the size, and the deepest features, of images (batch, 3, row, column)."""
        features = low = self.stem(images)
        for number, block in enumerate(self.blocks):
            features = block(features)
            if number == self._low_block:
                low = features
        return low, features


Skip = Literal["convolution", "sum", "none"]
# Channels of the three convolutions in each unit, by flow
ENTRY = ((128, 128, 128), (256, 256, 256), (728, 728, 728))
MIDDLE = (728, 728, 728)
EXIT = ((728, 1024, 1024), (1536, 1536, 2048))


class XceptionUnit(nn.Module):
    """Three separable convolutions, the last one with the stride, and an optional shortcut."""

    def __init__(self, inside: int, widths: tuple[int, ...], *, stride: int, dilation: int, skip: Skip) -> None:
        super().__init__()
        self.skip = skip
        self.shortcut = None
        if skip == "convolution":
            self.shortcut = ConvNorm(inside, widths[-1], ConvolutionKernel(stride=stride), epsilon=TRUNK_EPSILON)
        self.separable = nn.ModuleList(
            SeparableConvolution(
                inside_width,
                out,
                stride=stride if number == 2 else 1,
                dilation=dilation,
                activated=skip == "none",
                epsilon=TRUNK_EPSILON,
            )
            for number, (inside_width, out) in enumerate(zip((inside, *widths), widths, strict=False))
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output for features (batch, channel, row, column), and that of the second convolution."""
        features = second = images
        for number, separable in enumerate(self.separable):
            features = separable(features if self.skip == "none" else relu(features))
            if number == 1:
                second = features
        if self.shortcut is not None:
            features = features + self.shortcut(images)
        elif self.skip == "sum":
            features = features + images
        return features, second


class AlignedXception(nn.Module):
    """Aligned Xception, without max-pooling and with more layers (Chen et al. 2018, figure 4)."""

    def __init__(self, output_stride: int, width: float = 1.0, middle: int = 16) -> None:
        super().__init__()
        entry, (middle_widths, *exits) = (
            [tuple(scale_channels(channels, width) for channels in widths) for widths in part]
            for part in (ENTRY, (MIDDLE, *EXIT))
        )
        first, second = scale_channels(32, width), scale_channels(64, width)
        self.low_channels, self.deep_channels = entry[1][1], exits[1][-1]
        self.stem = nn.Sequential(
            ConvNorm(3, first, ConvolutionKernel(3, stride=2), nn.ReLU(inplace=True), TRUNK_EPSILON),
            ConvNorm(first, second, ConvolutionKernel(3), nn.ReLU(inplace=True), TRUNK_EPSILON),
        )
        # A stride beyond the output stride is replaced by dilation of the following layers.
        strides = (2, 2, 2 if output_stride == 16 else 1)
        rate = 16 // output_stride
        self.entry = nn.ModuleList(
            XceptionUnit(inside, widths, stride=stride, dilation=1, skip="convolution")
            for inside, widths, stride in zip((second, entry[0][-1], entry[1][-1]), entry, strides, strict=True)
        )
        self.middle = nn.ModuleList(
            XceptionUnit(middle_widths[0], middle_widths, stride=1, dilation=rate, skip="sum") for _ in range(middle)
        )
        self.exit = nn.ModuleList(
            [
                XceptionUnit(middle_widths[0], exits[0], stride=1, dilation=rate, skip="convolution"),
                XceptionUnit(exits[0][-1], exits[1], stride=1, dilation=2 * rate, skip="none"),
            ]
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features at a quarter of the size, and the deepest features, of images (batch, 3, row, column)."""
        features = self.stem(images)
        low = features
        for number, unit in enumerate(self.entry):
            features, second = unit(features)
            if number == 1:
                low = second  # before the second unit's stride
        for unit in self.middle:
            features = unit(features)[0]
        for unit in self.exit:
            features = unit(features)[0]
        return low, features
