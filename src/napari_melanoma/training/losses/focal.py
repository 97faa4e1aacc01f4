"""Focal loss: cross-entropy in which what is told rightly already counts less."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.losses import LossSpec

if TYPE_CHECKING:
    from torch import Tensor

GAMMA = 2.0  # the paper's choice
SPEC = LossSpec(
    name="focal",
    title="Focal",
    reference="Lin et al. 2017, doi:10.1109/ICCV.2017.324",
    task="classification",
    focused=True,
)


def loss(logits: Tensor, shares: Tensor, gamma: float = GAMMA) -> Tensor:
    """Cross-entropy, each class's part times ``(1 - probability) ** gamma``, averaged over lesions.

    ``logits``, ``shares``: float (batch, class); the shares say how much of the answer each class is, weights of
    classes among them.
    """
    from torch.nn.functional import log_softmax

    logged = log_softmax(logits, dim=1)
    doubt = (-logged.expm1()).clamp(min=1e-6) ** gamma  # below it the slope of a power under 1 has no bound
    return -(shares * doubt * logged).sum(dim=1).mean()
