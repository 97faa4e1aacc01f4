"""The same learning rate from the first step to the last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.schedules import Course, Spec

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

SPEC = Spec(
    name="constant",
    title="Constant",
    reference="none",
)


def build(optimiser: Optimizer, course: Course) -> LRScheduler:
    """Stay at the given rates."""
    from torch.optim.lr_scheduler import LambdaLR

    return LambdaLR(optimiser, lambda step: 1.0)
