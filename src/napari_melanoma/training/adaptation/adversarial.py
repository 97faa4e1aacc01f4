"""Domain-adversarial learning: a second head tells domains apart, and the encoder learns that it cannot; needs torch.

Ganin et al. 2016, Domain-Adversarial Training of Neural Networks, Journal of Machine Learning Research 17.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from napari_melanoma.models.blocks.tabular_net import RowNorm

if TYPE_CHECKING:
    from torch import Tensor

STEEPNESS = 10.0  # the paper's gamma: how fast the reversal comes in


class _Reversal(torch.autograd.Function):
    """Gives what it gets, and turns the gradient round on its way back."""

    @staticmethod
    def forward(context: Any, features: Tensor, strength: float) -> Tensor:  # noqa: ANN401 - torch's own context
        context.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's own context
        return -context.strength * gradient, None


def reversed_gradient(features: Tensor, strength: float = 1.0) -> Tensor:
    """Give what comes in; on the way back its gradient is turned round and multiplied."""
    reversed_: Tensor = _Reversal.apply(features, strength)
    return reversed_


def ramp(progress: float) -> float:
    """Say how strong the reversal is after a share of the training: 0 at the start, near 1 from the middle on.

    Features that nothing has been learnt from yet would only be disturbed by it.

    ``progress``: share of the training that is done, 0 to 1. 2 / (1 + exp(-10 progress)) - 1, as in the paper.
    """
    return 2 / (1 + math.exp(-STEEPNESS * progress)) - 1


class DomainAdversary(nn.Module):
    """A head that tells domains by features which learn not to let it.

    Its loss is as small as its layers can make it and, through the reversed gradient, as large as whatever gave the
    features can; ``strength`` says how much of the gradient goes back, and is set as the training goes on (``ramp``).
    """

    def __init__(self, features: int, domains: int = 2, hidden: int = 64) -> None:
        super().__init__()
        self.strength = 1.0
        self.layers = nn.Sequential(nn.Linear(features, hidden), RowNorm(hidden), nn.ReLU(), nn.Linear(hidden, domains))

    def forward(self, features: Tensor, domains: Tensor) -> Tensor:
        """Give the cross-entropy of what it says, a scalar.

        ``features``: float (batch, feature). ``domains``: int64 (batch,), counted from 0.
        """
        return cross_entropy(self.layers(reversed_gradient(features, self.strength)).float(), domains)
