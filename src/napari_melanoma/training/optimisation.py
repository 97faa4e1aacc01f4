"""Optimisers, one function each, by the names that recipes use, and the schedule over them; imports torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from napari_melanoma.training.schedules import Course, schedules

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from napari_melanoma.training.recipe import TrainRecipe

MOMENTUM = 0.9

Groups = list[dict[str, Any]]


def adamw(groups: Groups, weight_decay: float) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    return torch.optim.AdamW(groups, weight_decay=weight_decay)


def adam(groups: Groups, weight_decay: float) -> Optimizer:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980), weight decay as a penalty in the loss."""
    return torch.optim.Adam(groups, weight_decay=weight_decay)


def sgd(groups: Groups, weight_decay: float) -> Optimizer:
    """Gradient descent with Nesterov's momentum of 0.9."""
    return torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True, weight_decay=weight_decay)


OPTIMISERS: dict[str, Callable[[Groups, float], Optimizer]] = {make.__name__: make for make in (adamw, adam, sgd)}


def idle_weight(network: nn.Module) -> nn.Parameter | None:
    """Give a network that has no weights one that changes nothing: a baseline goes through a run like the others.

    To be added, times zero, to the loss; None where the network has weights.
    """
    return None if any(True for _ in network.parameters()) else torch.nn.Parameter(torch.zeros(()))


def schedule_of(recipe: TrainRecipe, optimiser: Optimizer, steps: int) -> LRScheduler:
    """Build the schedule of a recipe."""
    cycle = max(1, round(recipe.cycle_epochs * steps / recipe.epochs))
    return schedules()[recipe.schedule].build(optimiser, Course(steps, cycle, recipe.cycle_growth))
