"""A loss, a learning-rate schedule and an augmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.training.augmentation_config import AugmentationSpec, list_augmentation
from napari_melanoma.training.losses import LossSpec, dice_index, list_loss
from napari_melanoma.training.schedules import ScheduleSpec, ScheduleSteps, list_schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


@list_loss(LossSpec("log_cosh_dice", "Log-cosh Dice", "Jadon 2020, doi:10.1109/CIBCB48159.2020.9277638"))
def log_cosh_dice(logits: Tensor, target: Tensor) -> Tensor:
    """The logarithm of the hyperbolic cosine of soft Dice: a smooth loss, a scalar.

    ``logits``, ``target``: float (batch, 1, row, column).
    """
    return (1 - dice_index(logits, target)).cosh().log().mean()


@list_schedule(ScheduleSpec("linear", "Linear", "none"))
def linear(optimizer: Optimizer, steps: ScheduleSteps) -> LRScheduler:
    """Decrease to zero along a line."""
    from torch.optim.lr_scheduler import LambdaLR

    return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps.steps))


@list_augmentation(AugmentationSpec("red_cast", "Red cast", "none"))
def red_cast(images: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """Make images redder, as under a warm lamp.

    ``images``: float32 (image, 3, row, column) in [0, 255].
    """
    for image, generator in zip(images, generators, strict=True):
        image[0] *= generator.uniform(1, 1.2)
    return images
