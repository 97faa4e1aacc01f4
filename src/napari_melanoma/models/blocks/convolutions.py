"""Convolution blocks of U-shaped networks, plain and recurrent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.models.blocks.options import RecurrentConfig, UShapeConfig

MakeBlock = Callable[[int, int], nn.Module]


def convolution(inside: int, out: int, *, side: int = 3, normalisation: bool = True) -> nn.Sequential:
    """Make a convolution that keeps the size, with batch normalisation where asked for, and ReLU.

    ``side``: of the kernel, in pixels; odd. Returns float (batch, inside, row, column) to (batch, out, row, column).
    """
    layers: list[nn.Module] = [nn.Conv2d(inside, out, side, padding=side // 2, bias=not normalisation)]
    if normalisation:
        layers.append(nn.BatchNorm2d(out))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def double_convolution(inside: int, out: int, *, dropout: float = 0.0, normalisation: bool = True) -> nn.Sequential:
    """Make the block of the U-Net: two convolutions of 3 x 3, with dropout between them.

    Returns float (batch, inside, row, column) to (batch, out, row, column).
    """
    return nn.Sequential(
        convolution(inside, out, normalisation=normalisation),
        *([nn.Dropout(dropout)] if dropout else []),
        convolution(out, out, normalisation=normalisation),
    )


class RecurrentConvolution(nn.Module):
    """A convolution that is given what came in together with its own last answer, several times.

    Recurrent convolutional layer of Liang and Hu 2015 (doi:10.1109/CVPR.2015.7298958), unfolded over ``steps``: one
    pass forward and one for each step.
    """

    def __init__(self, channels: int, *, steps: int, shared: bool, normalisation: bool = True) -> None:
        super().__init__()
        count = 1 if shared else steps + 1
        made = [convolution(channels, channels, normalisation=normalisation) for _ in range(count)]
        self.steps = steps
        self.convolutions = nn.ModuleList(made)

    def forward(self, images: Tensor) -> Tensor:
        """Give features (batch, channel, row, column) of features of the same shape."""
        answer = self.convolutions[0](images)
        for step in range(1, self.steps + 1):
            answer = self.convolutions[step % len(self.convolutions)](images + answer)
        return answer


class RecurrentResidual(nn.Module):
    """The block of R2U-Net: a 1 x 1 convolution to the channels of the level, past which two recurrent ones lead.

    Alom et al. 2018 (arXiv:1802.06955), figure 4d.
    """

    def __init__(
        self, inside: int, out: int, *, steps: int, shared: bool, dropout: float = 0.0, normalisation: bool = True
    ) -> None:
        super().__init__()
        self.widen = nn.Conv2d(inside, out, 1)
        self.recurrent = nn.Sequential(
            RecurrentConvolution(out, steps=steps, shared=shared, normalisation=normalisation),
            *([nn.Dropout(dropout)] if dropout else []),
            RecurrentConvolution(out, steps=steps, shared=shared, normalisation=normalisation),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Give features (batch, out, row, column) of features (batch, inside, row, column)."""
        widened = self.widen(images)
        return widened + self.recurrent(widened)


def plain_block(config: UShapeConfig) -> MakeBlock:
    """Choose the block of the U-Net, as a configuration asks for it."""
    return partial(double_convolution, dropout=config.dropout, normalisation=config.normalisation)


def recurrent_block(config: RecurrentConfig) -> MakeBlock:
    """Choose the block of R2U-Net, as a configuration asks for it."""
    return partial(
        RecurrentResidual,
        steps=config.steps,
        shared=config.shared,
        dropout=config.dropout,
        normalisation=config.normalisation,
    )
