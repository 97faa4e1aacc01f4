"""Cross-entropy over the classes of lesions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.losses import LossSpec

if TYPE_CHECKING:
    from torch import Tensor

SPEC = LossSpec(
    name="cross_entropy",
    title="Cross-entropy over classes",
    reference="Goodfellow et al. 2016, Deep Learning, section 6.2.2.2",
    task="classification",
)


def loss(logits: Tensor, shares: Tensor) -> Tensor:
    """Negative log-likelihood of the true class, averaged over lesions.

    ``logits``, ``shares``: float (batch, class); ``shares``: the share of each class in the label, times its weight.
    """
    from torch.nn.functional import log_softmax

    return -(shares * log_softmax(logits, dim=1)).sum(dim=1).mean()
