"""Soft Jaccard loss (1 - JA in P4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.losses import LossSpec
from napari_melanoma.training.losses._indices import jaccard_index

if TYPE_CHECKING:
    from torch import Tensor

SPEC = LossSpec(
    name="soft_jaccard",
    title="Soft Jaccard (1 - JA)",
    reference="Yuan et al. 2017, doi:10.1109/TMI.2017.2695227",
    multi_class=True,
)


def loss(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the Jaccard index of the probabilities, per image or per class.

    ``logits``, ``target``: float (batch, class, row, column); the target in [0, 1], summing to one over several
    classes. Returns a scalar in [0, 1).
    """
    return (1 - jaccard_index(logits, target)).mean()
