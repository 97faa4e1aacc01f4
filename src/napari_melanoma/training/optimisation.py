"""Optimisers and schedules of the learning rate, one function each, by the names that recipes use; imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

if TYPE_CHECKING:
    from torch.optim import Optimizer

MOMENTUM = 0.9
WARM_UP = 0.05

Groups = list[dict[str, Any]]


def adamw(groups: Groups, weight_decay: float) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).

    Parameters
    ----------
    groups : list of dict
        Each ``params`` and ``lr``.
    weight_decay : float
        Per unit of learning rate.

    Returns
    -------
    torch.optim.Optimizer
        Without a step taken.
    """
    return torch.optim.AdamW(groups, weight_decay=weight_decay)


def adam(groups: Groups, weight_decay: float) -> Optimizer:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980), weight decay as a penalty in the loss.

    Parameters
    ----------
    groups : list of dict
        Each ``params`` and ``lr``.
    weight_decay : float
        Factor of the penalty.

    Returns
    -------
    torch.optim.Optimizer
        Without a step taken.
    """
    return torch.optim.Adam(groups, weight_decay=weight_decay)


def sgd(groups: Groups, weight_decay: float) -> Optimizer:
    """Gradient descent with Nesterov's momentum of 0.9.

    Parameters
    ----------
    groups : list of dict
        Each ``params`` and ``lr``.
    weight_decay : float
        Factor of the penalty.

    Returns
    -------
    torch.optim.Optimizer
        Without a step taken.
    """
    return torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True, weight_decay=weight_decay)


def one_cycle(optimiser: Optimizer, rates: Sequence[float], steps: int) -> LRScheduler:
    """Rise over a fifth of the run, then fall to nothing (Smith and Topin 2018, arXiv:1708.07120).

    Parameters
    ----------
    optimiser : torch.optim.Optimizer
        Whose groups' rates are set.
    rates : sequence of float
        The highest, for each group.
    steps : int
        Of the whole run.

    Returns
    -------
    torch.optim.lr_scheduler.LRScheduler
        To be advanced after each step.
    """
    return OneCycleLR(optimiser, list(rates), total_steps=max(steps, 2), pct_start=0.2)


def cosine(optimiser: Optimizer, rates: Sequence[float], steps: int) -> LRScheduler:
    """Rise linearly over a twentieth of the run, then fall to nothing along a cosine (arXiv:1608.03983).

    Parameters
    ----------
    optimiser : torch.optim.Optimizer
        Whose groups' rates are set; they hold the highest.
    rates : sequence of float
        Not needed here.
    steps : int
        Of the whole run.

    Returns
    -------
    torch.optim.lr_scheduler.LRScheduler
        To be advanced after each step.
    """
    rise = max(1, round(WARM_UP * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))

    return LambdaLR(optimiser, factor)


def constant(optimiser: Optimizer, rates: Sequence[float], steps: int) -> LRScheduler:
    """Stay at the given rates.

    Parameters
    ----------
    optimiser : torch.optim.Optimizer
        Whose groups' rates stay.
    rates : sequence of float
        Not needed here.
    steps : int
        Not needed here.

    Returns
    -------
    torch.optim.lr_scheduler.LRScheduler
        To be advanced after each step.
    """
    return LambdaLR(optimiser, lambda step: 1.0)


OPTIMISERS: dict[str, Callable[[Groups, float], Optimizer]] = {make.__name__: make for make in (adamw, adam, sgd)}
SCHEDULES: dict[str, Callable[[Optimizer, Sequence[float], int], LRScheduler]] = {
    make.__name__: make for make in (one_cycle, cosine, constant)
}
