"""Focal Tversky loss: overlap with more weight on missed lesion than on false lesion, and on difficult images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.losses import LossSpec
from napari_melanoma.training.losses._indices import SMOOTH

if TYPE_CHECKING:
    from torch import Tensor

MISSED, TOO_MUCH = 0.7, 0.3  # weights of false negatives and false positives; the paper's choice
FOCUS = 0.75  # 1 / gamma of the paper, with gamma = 4/3
LEAST = 1e-6  # the slope of the power is unbounded at 0
SPEC = LossSpec(
    name="focal_tversky",
    title="Focal Tversky",
    reference="Abraham and Khan 2019, doi:10.1109/ISBI.2019.8759329",
)


def loss(logits: Tensor, target: Tensor) -> Tensor:
    """(1 - Tversky index of the probabilities) ** 3/4, averaged over images.

    ``logits``, ``target``: float (batch, 1, row, column); the target in [0, 1]. Returns a scalar in (0, 1).
    """
    probability, axes = logits.sigmoid(), (1, 2, 3)
    common = (probability * target).sum(axes)
    missed = ((1 - probability) * target).sum(axes)
    too_much = (probability * (1 - target)).sum(axes)
    index = (common + SMOOTH) / (common + MISSED * missed + TOO_MUCH * too_much + SMOOTH)
    return ((1 - index).clamp(min=LEAST) ** FOCUS).mean()
