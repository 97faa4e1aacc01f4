"""The second loss of a classification over several domains, which draws their features together; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_melanoma.training.adaptation.adversarial import DomainAdversary, ramp
from napari_melanoma.training.adaptation.coral import coral_loss

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.models.blocks.classifier import Classifier
    from napari_melanoma.training.classifying import AdaptationConfig

LOOK_PX = 64  # of a blank image that shows how wide features are


class SecondLoss(nn.Module):
    """Adds to the loss of a batch what its features say of the domains; learns, where an adversary has to."""

    def __init__(self, config: AdaptationConfig, features: int, domains: int) -> None:
        super().__init__()
        self._strength = config.strength
        self.adversary = DomainAdversary(features, domains) if config.method == "adversarial" else None

    def forward(self, features: Tensor, domains: Tensor, progress: float) -> Tensor:
        """Give what is added to the loss, a scalar.

        ``features``: float (batch, feature). ``domains``: int64 (batch,), counted from 0.
        """
        if self.adversary is None:
            return self._strength * coral_loss(features, domains)
        # The adversary itself learns at full speed; only what goes back to the encoder is weighed.
        self.adversary.strength = self._strength * ramp(progress)
        loss: Tensor = self.adversary(features, domains)
        return loss


def second_loss(config: AdaptationConfig, network: Classifier, domains: int) -> SecondLoss | None:
    """Make the second loss of a recipe.

    None where the method has none.
    """
    if config.method not in ("adversarial", "coral"):
        return None
    return SecondLoss(config, embedding_width(network), domains)


def embedding_width(network: Classifier) -> int:
    """Say how many features a network compares pictures by, which a blank one shows."""
    training = network.training
    with torch.no_grad():
        features = network.eval().embed(network.encode(torch.zeros(1, 3, LOOK_PX, LOOK_PX)))
    network.train(training)
    return features.shape[1]
