"""Focal Tversky loss: overlap in which missed lesion weighs more than skin taken for lesion, hard images most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.losses import LossSpec
from napari_melanoma.training.losses._indices import SMOOTH

if TYPE_CHECKING:
    from torch import Tensor

MISSED, TOO_MUCH = 0.7, 0.3  # weights of false negatives and false positives; the paper's choice
FOCUS = 0.75  # its 1 / gamma, with gamma = 4/3
LEAST = 1e-6  # below it the slope of the power would have no bound
SPEC = LossSpec(
    name="focal_tversky",
    title="Focal Tversky",
    reference="Abraham and Khan 2019, doi:10.1109/ISBI.2019.8759329",
)


def loss(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the Tversky index of the probabilities, to the power of 3/4, by image.

    ``logits``, ``target``: float (batch, 1, row, column); the target in [0, 1]. A scalar in (0, 1).
    """
    probability, axes = logits.sigmoid(), (1, 2, 3)
    common = (probability * target).sum(axes)
    missed = ((1 - probability) * target).sum(axes)
    too_much = (probability * (1 - target)).sum(axes)
    index = (common + SMOOTH) / (common + MISSED * missed + TOO_MUCH * too_much + SMOOTH)
    return ((1 - index).clamp(min=LEAST) ** FOCUS).mean()
