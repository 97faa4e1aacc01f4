"""Dice and Jaccard index of probabilities: what the losses of overlap share; no loss itself.

With one map an index is of an image. With several it is of a class, over all images of the batch together (as Isensee
et al. 2021, doi:10.1038/s41592-020-01008-z): a tile rarely shows every class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SMOOTH = 1.0  # pixel; an image without lesion has an index too, and a gradient


def dice_index(logits: Tensor, target: Tensor) -> Tensor:
    """Dice index of the probabilities (Milletari et al. 2016, doi:10.1109/3DV.2016.79).

    ``logits``, ``target``: float (batch, class, row, column); the target in [0, 1]. Returns (batch,), of several
    classes (class,), in (0, 1].
    """
    common, total = _sums(logits, target)
    return (2 * common + SMOOTH) / (total + SMOOTH)


def jaccard_index(logits: Tensor, target: Tensor) -> Tensor:
    """Jaccard index of the probabilities (Yuan et al. 2017, doi:10.1109/TMI.2017.2695227).

    ``logits``, ``target``: float (batch, class, row, column); the target in [0, 1]. Returns (batch,), of several
    classes (class,), in (0, 1].
    """
    common, total = _sums(logits, target)
    return (common + SMOOTH) / (total - common + SMOOTH)


def _sums(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the product, and sum of both, for each image, or for each of several classes."""
    several = logits.shape[1] > 1
    probability = logits.softmax(1) if several else logits.sigmoid()
    axes = (0, 2, 3) if several else (1, 2, 3)
    return (probability * target).sum(axes), (probability + target).sum(axes)
