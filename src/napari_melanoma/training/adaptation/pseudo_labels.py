"""Pseudo-labels: what a network is sure of on images without answers is learnt as if it were one; needs torch.

Lee 2013, Pseudo-Label, ICML workshop on challenges in representation learning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor


def pseudo_label_loss(logits: Tensor, sure: float) -> Tensor:
    """Compare what a network says with its likeliest class, of those images of which it is sure.

    ``logits``: float (image, class), of images without answers. A scalar: the sum of the cross-entropies over the
    number of all images, sure or not, so that few sure ones say little; 0 where there is none.
    """
    with torch.no_grad():
        probability, label = logits.softmax(1).max(1)
    losses = cross_entropy(logits, label, reduction="none")
    return losses[probability >= sure].sum() / max(1, len(logits))
