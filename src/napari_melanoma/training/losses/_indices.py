"""Dice and Jaccard index of probabilities, image by image: what the losses of overlap share; no loss itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SMOOTH = 1.0  # pixel; an image without lesion has an index too, and a gradient


def dice_index(logits: Tensor, target: Tensor) -> Tensor:
    """Dice index of the probabilities (Milletari et al. 2016, doi:10.1109/3DV.2016.79).

    Parameters
    ----------
    logits, target : torch.Tensor
        Float (batch, 1, row, column); the target in [0, 1].

    Returns
    -------
    torch.Tensor
        (batch,), in (0, 1].
    """
    common, total = _sums(logits, target)
    return (2 * common + SMOOTH) / (total + SMOOTH)


def jaccard_index(logits: Tensor, target: Tensor) -> Tensor:
    """Jaccard index of the probabilities (Yuan et al. 2017, doi:10.1109/TMI.2017.2695227).

    Parameters
    ----------
    logits, target : torch.Tensor
        Float (batch, 1, row, column); the target in [0, 1].

    Returns
    -------
    torch.Tensor
        (batch,), in (0, 1].
    """
    common, total = _sums(logits, target)
    return (common + SMOOTH) / (total - common + SMOOTH)


def _sums(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the product, and sum of both, for each image."""
    probability = logits.sigmoid()
    axes = (1, 2, 3)
    return (probability * target).sum(axes), (probability + target).sum(axes)
