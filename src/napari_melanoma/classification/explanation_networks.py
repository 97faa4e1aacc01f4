"""Networks for explanations: log odds as a function of the image alone, and the offset of heatmaps; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_melanoma.core.context import Progress, RunContext

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.models.blocks.classifier import ClassifierNetwork

NOISE_IMAGES = 4  # for measuring the offset


class ClassLogOdds(nn.Module):
    """Log odds of one class against the others, as a function of the image alone.

    Log odds are used instead of the logit, as a head with one output has a constant logit of 0 for the other class.

    ``continuous``, ``categories``: encoded clinical metadata, (1, input) and (1, embedding). ``target``: index of the
    class.
    """

    def __init__(
        self, network: ClassifierNetwork, continuous: Tensor, categories: Tensor, target: int, run: RunContext
    ) -> None:
        super().__init__()
        self.network = network
        self.deepest = nn.Identity()  # for captum: a layer whose output is the deepest map
        self._table = continuous, categories
        self._target = target
        self._run = run
        self._passes, self._expected = 0, 0

    def set_view_count(self, views: int) -> None:
        """Set the number of views that the explanation will evaluate, for its progress."""
        self._passes, self._expected = 0, views

    def forward(self, images: Tensor) -> Tensor:
        """Return log odds, float (batch,), of normalized images, float (batch, 3, row, column)."""
        self._run.check()
        maps = list(self.network.encode(images))
        log_odds = self._log_odds([*maps[:-1], self.deepest(maps[-1])])
        self._passes += len(images)
        if self._expected:
            done = min(self._passes, self._expected)
            self._run.report(Progress(done, self._expected, "Preparing the explanation"))
        return log_odds

    def position_evidence(self, images: Tensor) -> Tensor:
        """Return the output for each single position of the deepest map, minus that of an empty position.

        Returns float (row, column) of the map.
        """
        deepest = self.network.encode(images)[-1][0]
        single_positions = deepest.flatten(1).T[:, :, None, None]
        empty_position = torch.zeros_like(single_positions[:1])
        return (self._log_odds([single_positions]) - self._log_odds([empty_position])).view(deepest.shape[1:])

    def _log_odds(self, maps: list[Tensor]) -> Tensor:
        """Return the log odds of feature maps, float (batch,)."""
        count = len(maps[-1])
        logits = self.network.classify(maps, *(part.expand(count, -1) for part in self._table)).float()
        other_logits = torch.cat([logits[:, : self._target], logits[:, self._target + 1 :]], dim=1)
        return logits[:, self._target] - torch.logsumexp(other_logits, dim=1)


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
