"""Cross-entropy minus the logarithm of the soft Jaccard index (CE - log JA in P4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.losses import LossSpec, ce
from napari_melanoma.training.losses._indices import jaccard_index

if TYPE_CHECKING:
    from torch import Tensor

SPEC = LossSpec(
    name="ce_log_jaccard",
    title="CE - log Jaccard (CE - log JA)",
    reference="Iglovikov et al. 2017, arXiv:1706.06169",
    weighted=True,
    multi_class=True,
)


def loss(logits: Tensor, target: Tensor, lesion_weight: float | Tensor = 1.0) -> Tensor:
    """Cross-entropy minus the mean logarithm of the soft Jaccard index over images, or over several classes.

    The logarithm is steep at small overlap, so that its gradient is largest at the start of a training.

    ``logits``, ``target``: float (batch, class, row, column); the target in [0, 1], summing to one over several
    classes.
    """
    return ce.loss(logits, target, lesion_weight) - jaccard_index(logits, target).log().mean()
