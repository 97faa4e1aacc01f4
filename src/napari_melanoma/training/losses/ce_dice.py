"""Sum of cross-entropy and soft Dice, the default for several classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.losses import LossSpec, ce
from napari_melanoma.training.losses._indices import dice_index

if TYPE_CHECKING:
    from torch import Tensor

SPEC = LossSpec(
    name="ce_dice",
    title="CE + soft Dice (CE + 1 - DI)",
    reference="Isensee et al. 2021, doi:10.1038/s41592-020-01008-z",
    weighted=True,
    multi_class=True,
)


def loss(logits: Tensor, target: Tensor, lesion_weight: float | Tensor = 1.0) -> Tensor:
    """Sum of cross-entropy and soft Dice; with one map the value equals ``bce_dice``.

    ``logits``, ``target``: float (batch, class, row, column); the target in [0, 1], summing to one over several
    classes.
    """
    return ce.loss(logits, target, lesion_weight) + (1 - dice_index(logits, target)).mean()
