"""Binary cross-entropy for a single probability map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.losses import LossSpec

if TYPE_CHECKING:
    from torch import Tensor

SPEC = LossSpec(
    name="bce",
    title="Binary cross-entropy",
    reference="Goodfellow et al. 2016, Deep Learning, section 6.2.2.2",
    weighted=True,
)


def loss(logits: Tensor, target: Tensor, lesion_weight: float = 1.0) -> Tensor:
    """Binary cross-entropy, averaged over pixels and images.

    ``logits``, ``target``: float (batch, 1, row, column); the target in [0, 1]. ``lesion_weight``: weight of lesion
    pixels relative to skin.
    """
    from torch.nn.functional import binary_cross_entropy_with_logits

    weight = None if lesion_weight == 1 else logits.new_tensor(lesion_weight)
    return binary_cross_entropy_with_logits(logits, target, pos_weight=weight)
