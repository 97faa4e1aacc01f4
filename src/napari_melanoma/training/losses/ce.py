"""Cross-entropy over skin and lesion, as P4 uses it by itself and in its sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.losses import Spec, bce

if TYPE_CHECKING:
    from torch import Tensor

SPEC = Spec(
    name="ce",
    title="Cross-entropy (CE)",
    reference="Goodfellow et al. 2016, Deep Learning, section 6.2.2.2",
    weighted=True,
)


def loss(logits: Tensor, target: Tensor, lesion_weight: float = 1.0) -> Tensor:
    """Minus the log probability of the right one of two classes, averaged over pixels and images.

    With one map and a sigmoid, as in P4 and here, that of lesion is p and that of skin 1 - p: the same number as
    ``bce``. It is listed apart so that a recipe can name a loss as its paper does.

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
    return bce.loss(logits, target, lesion_weight)
