"""The modified aligned Xception of DeepLabv3+, with 65 layers by default; published weights fit it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn
from torch.nn.functional import relu

from napari_melanoma.models.blocks.separable import TRUNK_EPSILON, ConvNorm, Kernel, Separable, scaled

if TYPE_CHECKING:
    from torch import Tensor

Skip = Literal["convolution", "sum", "none"]
ENTRY = ((128, 128, 128), (256, 256, 256), (728, 728, 728))
MIDDLE = (728, 728, 728)
EXIT = ((728, 1024, 1024), (1536, 1536, 2048))


class Unit(nn.Module):
    """Three separable convolutions, the last with the stride, and a way past them."""

    def __init__(self, inside: int, widths: tuple[int, ...], *, stride: int, dilation: int, skip: Skip) -> None:
        super().__init__()
        self.skip = skip
        self.shortcut = None
        if skip == "convolution":
            self.shortcut = ConvNorm(inside, widths[-1], Kernel(stride=stride), epsilon=TRUNK_EPSILON)
        self.separable = nn.ModuleList(
            Separable(
                given,
                out,
                stride=stride if number == 2 else 1,
                dilation=dilation,
                activated=skip == "none",
                epsilon=TRUNK_EPSILON,
            )
            for number, (given, out) in enumerate(zip((inside, *widths), widths, strict=False))
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give what comes out of features (batch, channel, row, column), and what comes out of the second of three."""
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
    """Xception without max-pooling, aligned and deepened (Chen et al. 2018, figure 4)."""

    def __init__(self, output_stride: int, width: float = 1.0, middle: int = 16) -> None:
        super().__init__()
        entry, (middle_widths, *exits) = (
            [tuple(scaled(channels, width) for channels in widths) for widths in part]
            for part in (ENTRY, (MIDDLE, *EXIT))
        )
        first, second = scaled(32, width), scaled(64, width)
        self.low_channels, self.deep_channels = entry[1][1], exits[1][-1]
        self.stem = nn.Sequential(
            ConvNorm(3, first, Kernel(3, stride=2), nn.ReLU(inplace=True), TRUNK_EPSILON),
            ConvNorm(first, second, Kernel(3), nn.ReLU(inplace=True), TRUNK_EPSILON),
        )
        # A stride that would go below the output stride is taken out; what follows it is dilated instead.
        thrice = 2 if output_stride == 16 else 1
        rate = 16 // output_stride
        self.entry = nn.ModuleList(
            Unit(inside, widths, stride=stride, dilation=1, skip="convolution")
            for inside, widths, stride in zip((second, entry[0][-1], entry[1][-1]), entry, (2, 2, thrice), strict=True)
        )
        self.middle = nn.ModuleList(
            Unit(middle_widths[0], middle_widths, stride=1, dilation=rate, skip="sum") for _ in range(middle)
        )
        self.exit = nn.ModuleList(
            [
                Unit(middle_widths[0], exits[0], stride=1, dilation=rate, skip="convolution"),
                Unit(exits[0][-1], exits[1], stride=1, dilation=2 * rate, skip="none"),
            ]
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give features at a quarter of the size, and the deepest, of images (batch, 3, row, column)."""
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
