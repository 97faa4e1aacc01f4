"""Dice and Jaccard index of probabilities, used by the overlap losses.

With one map the index is computed per image; with several it is computed per class over all images of the batch (as
in Isensee et al. 2021, doi:10.1038/s41592-020-01008-z), as a tile rarely shows every class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SMOOTH = 1.0  # pixel; defines index and gradient for images without a lesion


def dice_index(logits: Tensor, target: Tensor) -> Tensor:
    """Dice index of the probabilities (Milletari et al. 2016, doi:10.1109/3DV.2016.79).

    ``logits``, ``target``: float (batch, class, row, column); the target in [0, 1]. Returns (batch,), or (class,) for
    several classes, in (0, 1].
    """
    common, total = _sums(logits, target)
    return (2 * common + SMOOTH) / (total + SMOOTH)


def jaccard_index(logits: Tensor, target: Tensor) -> Tensor:
    """Jaccard index of the probabilities (Yuan et al. 2017, doi:10.1109/TMI.2017.2695227).

    ``logits``, ``target``: float (batch, class, row, column); the target in [0, 1]. Returns (batch,), or (class,) for
    several classes, in (0, 1].
    """
    common, total = _sums(logits, target)
    return (common + SMOOTH) / (total - common + SMOOTH)


def _sums(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the product, and sum of both, per image, or per class if there are several."""
    several = logits.shape[1] > 1
    probability = logits.softmax(1) if several else logits.sigmoid()
    axes = (0, 2, 3) if several else (1, 2, 3)
    return (probability * target).sum(axes), (probability + target).sum(axes)
