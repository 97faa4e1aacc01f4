"""Sum of binary cross-entropy and soft Dice, as in the segmentation of P2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.losses import LossSpec, bce
from napari_melanoma.training.losses._indices import dice_index

if TYPE_CHECKING:
    from torch import Tensor

SPEC = LossSpec(
    name="bce_dice",
    title="BCE + Dice",
    reference="Isensee et al. 2021, doi:10.1038/s41592-020-01008-z",
    weighted=True,
)


def loss(logits: Tensor, target: Tensor, lesion_weight: float = 1.0) -> Tensor:
    """Sum of binary cross-entropy and soft Dice.

    ``logits``, ``target``: float (batch, 1, row, column); the target in [0, 1]. ``lesion_weight``: weight of lesion
    pixels relative to skin in the cross-entropy.
    """
    return bce.loss(logits, target, lesion_weight) + (1 - dice_index(logits, target)).mean()
