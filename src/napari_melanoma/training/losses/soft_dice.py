"""Soft Dice loss (1 - DI in P4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.losses import LossSpec
from napari_melanoma.training.losses._indices import dice_index

if TYPE_CHECKING:
    from torch import Tensor

SPEC = LossSpec(
    name="soft_dice",
    title="Soft Dice (1 - DI)",
    reference="Milletari et al. 2016, doi:10.1109/3DV.2016.79",
    multi_class=True,
)


def loss(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the Dice index of the probabilities, per image or per class.

    ``logits``, ``target``: float (batch, class, row, column); the target in [0, 1], summing to one over several
    classes. Returns a scalar in [0, 1).
    """
    return (1 - dice_index(logits, target)).mean()
