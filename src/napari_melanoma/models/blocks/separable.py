"""Convolutions with normalisation, and the separable ones of the DeepLab family, under the names of published files."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

TRUNK_EPSILON = 1e-3  # of batch normalisation in the official encoders; the heads have PyTorch's usual 1e-5


@dataclass(frozen=True)
class Kernel:
    """How a convolution looks at its input: side in pixels (odd), stride, dilation, each channel by itself or not."""

    side: int = 1
    stride: int = 1
    dilation: int = 1
    depthwise: bool = False


POINT = Kernel()


class ConvNorm(nn.Sequential):
    """A convolution without bias that keeps the size (but for the stride), batch normalisation, and an activation.

    The padding is the same on both sides, as the official networks pad images of odd sides.
    """

    def __init__(
        self, inside: int, out: int, kernel: Kernel = POINT, activation: nn.Module | None = None, epsilon: float = 1e-5
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


class Separable(nn.Sequential):
    """A 3 x 3 convolution in two steps: each channel by itself, then all channels of each pixel."""

    def __init__(
        self, inside: int, out: int, *, stride: int = 1, dilation: int = 1, activated: bool, epsilon: float = 1e-5
    ) -> None:
        def activation() -> nn.Module | None:
            return nn.ReLU(inplace=True) if activated else None

        each = Kernel(3, stride, dilation, depthwise=True)
        layers: dict[str, nn.Module] = {
            "depthwise": ConvNorm(inside, inside, each, activation(), epsilon),
            "pointwise": ConvNorm(inside, out, POINT, activation(), epsilon),
        }
        super().__init__(OrderedDict(layers))


def scaled(channels: int, width: float, divisor: int = 8) -> int:
    """Multiply a number of channels, to a multiple of ``divisor`` that is not below nine tenths of it."""
    wanted = channels * width
    rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * wanted else rounded
