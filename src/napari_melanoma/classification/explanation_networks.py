"""A classifier as methods of explanation ask it: a number of an image, with the row held fixed; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_melanoma.core.context import Progress, RunContext

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.models.blocks.classifier import ClassifierNetwork

NOISE_IMAGES = 4  # pictures of noise


class ClassLogOdds(nn.Module):
    """Log odds of one class against the others, as a function of the image alone.

    Log odds and not the logit, because a head with one output has a logit of 0 for the class that it does not name.
    """

    def __init__(
        self, network: ClassifierNetwork, continuous: Tensor, categories: Tensor, target: int, run: RunContext
    ) -> None:
        super().__init__()
        self.network = network
        self.deepest = nn.Identity()  # where the deepest map can be watched
        self._table = continuous, categories
        self._target = target
        self._run = run
        self._passes, self._expected = 0, 0

    def set_view_count(self, views: int) -> None:
        """Say how many views will be asked about, so that the progress has an end."""
        self._passes, self._expected = 0, views

    def forward(self, images: Tensor) -> Tensor:
        """Give log odds, float (batch,), of normalised images, float (batch, 3, row, column)."""
        self._run.check()
        maps = list(self.network.encode(images))
        odds = self._log_odds([*maps[:-1], self.deepest(maps[-1])])
        self._passes += len(images)
        if self._expected:
            done = min(self._passes, self._expected)
            self._run.report(Progress(done, self._expected, "Looking where the answer comes from"))
        return odds

    def position_evidence(self, images: Tensor) -> Tensor:
        """Give what each place of the deepest map says by itself, less what an empty one says.

        Returns float (row, column) of the map.
        """
        deepest = self.network.encode(images)[-1][0]
        alone = deepest.flatten(1).T[:, :, None, None]
        nothing = torch.zeros_like(alone[:1])
        return (self._log_odds([alone]) - self._log_odds([nothing])).view(deepest.shape[1:])

    def _log_odds(self, maps: list[Tensor]) -> Tensor:
        """Log odds from maps."""
        count = len(maps[-1])
        logits = self.network.classify(maps, *(part.expand(count, -1) for part in self._table)).float()
        others = torch.cat([logits[:, : self._target], logits[:, self._target + 1 :]], dim=1)
        return logits[:, self._target] - torch.logsumexp(others, dim=1)


def measure_view_offset(network: ClassifierNetwork, side: int, device: str) -> float:
    """Measure how far beside the middle of its cell each place of the deepest map looks.

    Padding of strided convolutions moves what a place sees: with 224 pixels by 16 to the upper left in a ResNet, by 16
    to the lower right in networks from TensorFlow, by nothing in ConvNeXt. It is measured as the centre of the squared
    gradient of the middle places, for noise as input; the squares keep out what a network sees everywhere.

    ``side``: of its input, in pixels. In pixels of the input, along either axis; half a cell at most, positive towards
    the lower right.
    """
    noise = torch.randn(NOISE_IMAGES, 3, side, side, generator=torch.Generator().manual_seed(0))
    images = noise.to(device).requires_grad_()
    found = []
    with torch.enable_grad():
        deepest = network.encode(images)[-1]
        stride = side / deepest.shape[-1]
        for place in {deepest.shape[-1] // 2, (deepest.shape[-1] - 1) // 2}:
            asked = deepest[:, :, place, place].square().sum()
            gradient = torch.autograd.grad(asked, images, retain_graph=True)[0].square().sum(dim=1)
            middle = (place + 0.5) * stride - 0.5
            found += [_center_of_mass(gradient.sum(dim=axis)) - middle for axis in (1, 2)]
    offset = float(torch.cat(found).nanmean())
    return min(max(offset, -stride / 2), stride / 2) if offset == offset else 0.0


def _center_of_mass(weights: Tensor) -> Tensor:
    """Mean place of weights, (batch, place) to (batch,); NaN where all are 0."""
    return (weights * torch.arange(weights.shape[1], device=weights.device)).sum(dim=1) / weights.sum(dim=1)
