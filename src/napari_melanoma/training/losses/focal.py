"""Focal loss: cross-entropy with less weight on images that are classified well already."""

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
    """Cross-entropy with a factor ``(1 - probability) ** gamma`` for each class, averaged over lesions.

    ``logits``, ``shares``: float (batch, class); ``shares``: the share of each class in the label, times its weight.
    """
    from torch.nn.functional import log_softmax

    log_probability = log_softmax(logits, dim=1)
    focus = (-log_probability.expm1()).clamp(min=1e-6) ** gamma  # the slope of a power below 1 is unbounded at 0
    return -(shares * focus * log_probability).sum(dim=1).mean()
