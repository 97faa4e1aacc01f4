"""Losses of binary segmentation: one function each, of logits and target, both float (batch, 1, row, column)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SMOOTH = 1.0


def bce(logits: Tensor, target: Tensor, lesion_weight: float = 1.0) -> Tensor:
    """Binary cross-entropy, averaged over pixels and images.

    Parameters
    ----------
    logits, target : torch.Tensor
        Float (batch, 1, row, column); the target in [0, 1].
    lesion_weight : float
        How many times a pixel of lesion counts, against one of skin.

    Returns
    -------
    torch.Tensor
        A scalar.
    """
    from torch.nn.functional import binary_cross_entropy_with_logits

    weight = None if lesion_weight == 1 else logits.new_tensor(lesion_weight)
    return binary_cross_entropy_with_logits(logits, target, pos_weight=weight)


def soft_dice(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the Dice index of the probabilities (Milletari et al. 2016, doi:10.1109/3DV.2016.79), by image.

    Parameters
    ----------
    logits, target : torch.Tensor
        Float (batch, 1, row, column); the target in [0, 1].

    Returns
    -------
    torch.Tensor
        A scalar in [0, 1].
    """
    common, total = _sums(logits, target)
    return (1 - (2 * common + SMOOTH) / (total + SMOOTH)).mean()


def soft_jaccard(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the Jaccard index of the probabilities (Yuan et al. 2017, doi:10.1109/TMI.2017.2695227), by image.

    Parameters
    ----------
    logits, target : torch.Tensor
        Float (batch, 1, row, column); the target in [0, 1].

    Returns
    -------
    torch.Tensor
        A scalar in [0, 1].
    """
    common, total = _sums(logits, target)
    return (1 - (common + SMOOTH) / (total - common + SMOOTH)).mean()


def bce_dice(logits: Tensor, target: Tensor, lesion_weight: float = 1.0) -> Tensor:
    """Sum of binary cross-entropy and soft Dice.

    Parameters
    ----------
    logits, target : torch.Tensor
        Float (batch, 1, row, column); the target in [0, 1].
    lesion_weight : float
        How many times a pixel of lesion counts in the cross-entropy, against one of skin.

    Returns
    -------
    torch.Tensor
        A scalar.
    """
    return bce(logits, target, lesion_weight) + soft_dice(logits, target)


def _sums(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the product, and sum of both, for each image."""
    probability = logits.sigmoid()
    axes = (1, 2, 3)
    return (probability * target).sum(axes), (probability + target).sum(axes)


Loss = Callable[["Tensor", "Tensor"], "Tensor"]

WEIGHTED: dict[str, Callable[..., Tensor]] = {loss.__name__: loss for loss in (bce, bce_dice)}
LOSSES: dict[str, Loss] = {**WEIGHTED, **{loss.__name__: loss for loss in (soft_dice, soft_jaccard)}}


def make_loss(name: str, lesion_weight: float = 1.0) -> Loss:
    """Give a loss by its name, with its weight.

    Parameters
    ----------
    name : str
        A key of ``LOSSES``.
    lesion_weight : float
        How many times a pixel of lesion counts in cross-entropy. Losses of overlap have no use for it: they weigh a
        lesion by its share of the image already.

    Returns
    -------
    callable
        Logits and target to a scalar.
    """
    return partial(WEIGHTED[name], lesion_weight=lesion_weight) if name in WEIGHTED else LOSSES[name]
