"""Binary cross-entropy and soft Dice together, as P2 trains its segmentation."""

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

    ``logits``, ``target``: float (batch, 1, row, column); the target in [0, 1]. ``lesion_weight``: how many times a
    pixel of lesion counts in the cross-entropy, against one of skin.
    """
    return bce.loss(logits, target, lesion_weight) + (1 - dice_index(logits, target)).mean()
