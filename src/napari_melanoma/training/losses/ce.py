"""Cross-entropy over skin and lesion, as in P4, or over several classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.losses import LossSpec, bce

if TYPE_CHECKING:
    from torch import Tensor

SPEC = LossSpec(
    name="ce",
    title="Cross-entropy (CE)",
    reference="Goodfellow et al. 2016, Deep Learning, section 6.2.2.2",
    weighted=True,
    multi_class=True,
)


def loss(logits: Tensor, target: Tensor, lesion_weight: float | Tensor = 1.0) -> Tensor:
    """Negative log-likelihood of the true class, averaged over pixels and images.

    With one map and a sigmoid, as in P4, the probability of lesion is p and that of skin 1 - p: the value equals
    ``bce``. It is listed separately so that a recipe can name the loss of its paper.

    ``logits``, ``target``: float (batch, class, row, column); the target in [0, 1], summing to one over several
    classes. ``lesion_weight``: weight of lesion pixels relative to skin; for several classes float (class,), or 1.
    """
    if logits.shape[1] == 1:
        return bce.loss(logits, target, float(lesion_weight))
    weights = logits.new_ones(logits.shape[1]) * lesion_weight
    return -(target * weights[:, None, None] * logits.log_softmax(1)).sum(1).mean()
