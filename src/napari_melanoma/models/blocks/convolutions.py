"""Convolution blocks, U-shaped networks, P2's baselines, and padding of images of any size; imports torch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

if TYPE_CHECKING:
    from napari_melanoma.models.blocks.options import Upsampling


MakeBlock = Callable[[int, int], nn.Module]  # makes a block from the numbers of input and output channels


def make_convolution(
    inside: int, out: int, *, side: int = 3, stride: int = 1, normalization: bool = True
) -> nn.Sequential:
    """Create a convolution that changes the size only by the stride, with optional batch normalization, and ReLU.

    ``side``: side of the kernel in pixels, odd. Maps float (batch, inside, row, column) to (batch, out, row, column).
    """
    layers: list[nn.Module] = [nn.Conv2d(inside, out, side, stride, side // 2, bias=not normalization)]
    if normalization:
        layers.append(nn.BatchNorm2d(out))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def make_double_convolution(
    inside: int, out: int, *, dropout: float = 0.0, normalization: bool = True
) -> nn.Sequential:
    """Create the block of the U-Net: two convolutions of 3 x 3, with dropout between them.

    Maps float (batch, inside, row, column) to (batch, out, row, column).
    """
    return nn.Sequential(
        make_convolution(inside, out, normalization=normalization),
        *([nn.Dropout(dropout)] if dropout else []),
        make_convolution(out, out, normalization=normalization),
    )


class RecurrentConvolution(nn.Module):
    """A convolution applied several times to the sum of its input and its previous output.

    Recurrent convolutional layer of Liang and Hu 2015 (doi:10.1109/CVPR.2015.7298958), unfolded over ``steps``: one
    forward pass and one for each step.
    """

    def __init__(self, channels: int, *, steps: int, shared: bool, normalization: bool = True) -> None:
        super().__init__()
        count = 1 if shared else steps + 1
        convolutions = [make_convolution(channels, channels, normalization=normalization) for _ in range(count)]
        self.steps = steps
        self.convolutions = nn.ModuleList(convolutions)

    def forward(self, images: Tensor) -> Tensor:
        """Map features (batch, channel, row, column) to features of the same shape."""
        output = self.convolutions[0](images)
        for step in range(1, self.steps + 1):
            output = self.convolutions[step % len(self.convolutions)](images + output)
        return output


class RecurrentResidual(nn.Module):
    """The block of R2U-Net: a 1 x 1 convolution, and a residual branch of two recurrent convolutions.

    Alom et al. 2018 (arXiv:1802.06955), figure 4d.
    """

    def __init__(
        self, inside: int, out: int, *, steps: int, shared: bool, dropout: float = 0.0, normalization: bool = True
    ) -> None:
        super().__init__()
        self.widen = nn.Conv2d(inside, out, 1)
        self.recurrent = nn.Sequential(
            RecurrentConvolution(out, steps=steps, shared=shared, normalization=normalization),
            *([nn.Dropout(dropout)] if dropout else []),
            RecurrentConvolution(out, steps=steps, shared=shared, normalization=normalization),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map features (batch, inside, row, column) to features (batch, out, row, column)."""
        widened = self.widen(images)
        return widened + self.recurrent(widened)


class AttentionGate(nn.Module):
    """Weights each position of a skip connection by the features of the level below.

    Additive gate of Oktay et al. 2018 (arXiv:1804.03999), equation 1; here the signal is resized to the features
    first, so that no map of weights has to be enlarged.
    """

    def __init__(self, features: int, signal: int) -> None:
        super().__init__()
        inner = max(1, features // 2)
        self.features = nn.Conv2d(features, inner, 1, bias=False)
        self.signal = nn.Conv2d(signal, inner, 1)
        self.weight = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(inner, 1, 1), nn.Sigmoid())

    def forward(self, features: Tensor, signal: Tensor) -> Tensor:
        """Weight features (batch, channel, row, column) by a signal of the same rows and columns."""
        return features * self.weight(self.features(features) + self.signal(signal))


class UpBlock(nn.Module):
    """A decoder step: upsample, concatenate with the (gated) skip connection, and apply a block."""

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
        """Join features (batch, below, row, column) with a skip connection; returns features of the skip's shape.

        ``skip``: (batch, out, 2 * row, 2 * column).
        """
        signal = self.up(below)
        gated = skip if self.gate is None else self.gate(skip, signal)
        return self.block(torch.cat([gated, signal], dim=1))


class UShapeNetwork(nn.Module):
    """A U-Net whose encoder and decoder consist of one type of block."""

    def __init__(
        self, block: MakeBlock, channels: int, depth: int, classes: int, upsampling: Upsampling, *, gated: bool
    ) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(block(inside, out) for inside, out in zip([3, *widths], widths, strict=False))
        self.rises = nn.ModuleList(
            UpBlock(below, out, block, upsampling, gated=gated)
            for below, out in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(channels, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, class, row, column) of images (batch, 3, row, column), sides divisible by 2^depth."""
        features, skips = images, []
        for level, block in enumerate(self.down):
            features = block(self.pool(features) if level else features)
            skips.append(features)
        skips.pop()
        for rise in self.rises:
            features = rise(features, skips.pop())
        return self.head(features)


LEVELS = 4  # 256 pixels become 16


class NestedUShapeNetwork(nn.Module):
    """A U-Net whose decoder blocks also receive the next shallower encoder block, after max-pooling.

    P2 (section 2.2): four encoder levels and a bottleneck, 2 x 2 transposed convolutions, a final 1 x 1 convolution.
    """

    def __init__(self, channels: int, dropout: float, classes: int) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(LEVELS + 1)]
        before = [0, *widths]  # channels of the next shallower block of each level
        self.down = nn.ModuleList(
            make_double_convolution(inside, out, dropout=dropout)
            for inside, out in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(widths[level + 1], widths[level], 2, stride=2) for level in reversed(range(LEVELS))
        )
        self.join = nn.ModuleList(
            make_double_convolution(2 * widths[level] + before[level], widths[level], dropout=dropout)
            for level in reversed(range(LEVELS))
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(channels, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, class, row, column) of images (batch, 3, row, column), sides divisible by 16."""
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


SKIN_LOGIT = -10.0  # predicted for skin; a probability of 0.00005
MAX_HASH = 2**31 - 1  # a prime; products of two numbers below it fit into 64 bits
HASH_FACTORS = (48271, 69621, 39373)  # primitive roots modulo MAX_HASH


class SimpleCNN(nn.Module):
    """Three convolutions with max-pooling, then two fully connected layers that predict a coarse mask."""

    def __init__(self, channels: int, hidden: int, grid: int, mask_size: int, dropout: float, classes: int) -> None:
        super().__init__()
        widths = [3, *(channels * 2**level for level in range(3))]
        self.grid, self.shape = grid, (classes, mask_size, mask_size)
        self.features = nn.Sequential(
            *(nn.Sequential(make_convolution(inside, out), nn.MaxPool2d(2)) for inside, out in pairwise(widths))
        )
        self.connected = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(widths[-1] * grid**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes * mask_size**2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, class, row, column) of images (batch, 3, row, column), sides at least 8."""
        features = interpolate(self.features(images), (self.grid, self.grid), mode="bilinear")
        coarse = self.connected(features).unflatten(1, self.shape)
        return interpolate(coarse, images.shape[-2:], mode="bilinear")


class RandomBaseline(nn.Module):
    """Predicts a uniformly distributed probability for each pixel, determined by its position and color.

    It is computed by an integer hash, because random generators differ between devices and export formats.
    """

    def __init__(self, seed: int, classes: int) -> None:
        super().__init__()
        self.seed, self.classes = seed, classes

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, class, row, column) of images (batch, 3, row, column)."""
        rows, columns = images.shape[-2:]
        row = torch.arange(rows, device=images.device)[:, None]
        column = torch.arange(columns, device=images.device)
        color = (images.float() * 1000).round().long().sum(1, keepdim=True).remainder(MAX_HASH)
        number = torch.arange(self.classes, device=images.device)[:, None, None] + self.seed + 1
        for factor, part in zip(HASH_FACTORS, (row, column, color), strict=True):
            number = ((number + part) * factor).remainder(MAX_HASH)
            number = (number * number + factor).remainder(MAX_HASH)
        return torch.logit((number.float() + 0.5) / MAX_HASH, eps=1e-6)


class ConstantNegative(nn.Module):
    """Predicts no lesion."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, class, row, column) of images (batch, 3, row, column)."""
        return torch.full_like(images[:, :1].float(), SKIN_LOGIT).expand(-1, self.classes, -1, -1)


SIZE_MULTIPLE = 32  # greatest downsampling factor of the segmentation networks
INNER_PREFIX = "network."


class PaddedNetwork(nn.Module):
    """A wrapper that lets a network process images of any size.

    It replicates the border up to a multiple of 32, and crops the output. The keys of its state are those of the
    wrapped network, so that weights fit with and without the wrapper.

    ``network``: maps float (batch, 3, row, column), sides divisible by 32, to logits (batch, class, row, column).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_state_dict_post_hook(_strip_inner_prefix)
        self.register_load_state_dict_pre_hook(_add_inner_prefix)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, float (batch, class, row, column), of images (batch, 3, row, column) of any size."""
        rows, columns = images.shape[-2:]
        below, right = -rows % SIZE_MULTIPLE, -columns % SIZE_MULTIPLE
        if not (below or right):
            return self.network(images)
        return self.network(pad(images, (0, right, 0, below), mode="replicate"))[..., :rows, :columns]


def _strip_inner_prefix(module: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    """Remove the wrapper's prefix from the keys of a state."""
    for name in [name for name in state if name.startswith(prefix + INNER_PREFIX)]:
        state[prefix + name.removeprefix(prefix + INNER_PREFIX)] = state.pop(name)


def _add_inner_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Add the wrapper's prefix to the keys of a state."""
    for name in [name for name in state if name.startswith(prefix)]:
        state[prefix + INNER_PREFIX + name.removeprefix(prefix)] = state.pop(name)
