"""Position of receptive fields: the offset of heatmaps; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from napari_melanoma.models.blocks.classifier import ClassifierNetwork

NOISE_IMAGES = 4  # for measuring the offset


def measure_view_offset(network: ClassifierNetwork, side: int, device: str) -> float:
    """Measure the offset of receptive fields from the centers of the cells of the deepest map.

    The padding of strided convolutions shifts receptive fields: in an input of 224 pixels, by 16 pixels to the upper
    left in a ResNet, by 16 to the lower right in networks from TensorFlow, and not at all in ConvNeXt. The offset is
    measured with noise as input, as the center of the squared gradient of the central positions; squaring suppresses
    weak contributions from the whole image.

    ``side``: side of the input in pixels. Returns the offset along both axes in pixels of the input, positive towards
    the lower right, at most half a cell.
    """
    noise = torch.randn(NOISE_IMAGES, 3, side, side, generator=torch.Generator().manual_seed(0))
    images = noise.to(device).requires_grad_()
    offsets = []
    with torch.enable_grad():
        deepest = network.encode(images)[-1]
        stride = side / deepest.shape[-1]
        for position in {deepest.shape[-1] // 2, (deepest.shape[-1] - 1) // 2}:
            activation = deepest[:, :, position, position].square().sum()
            gradient = torch.autograd.grad(activation, images, retain_graph=True)[0].square().sum(dim=1)
            cell_center = (position + 0.5) * stride - 0.5
            offsets += [_center_of_mass(gradient.sum(dim=axis)) - cell_center for axis in (1, 2)]
    offset = float(torch.cat(offsets).nanmean())
    return min(max(offset, -stride / 2), stride / 2) if offset == offset else 0.0


def _center_of_mass(weights: Tensor) -> Tensor:
    """Return the mean position of weights, (batch, position) to (batch,); NaN where all are 0."""
    return (weights * torch.arange(weights.shape[1], device=weights.device)).sum(dim=1) / weights.sum(dim=1)
