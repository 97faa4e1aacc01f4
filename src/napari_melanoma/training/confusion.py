"""Pixels counted by true and by found class over all images of a validation, joined over processes; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class Confusion:
    """Counts of pixels; each image counts once, in whichever process it was."""

    def __init__(self, classes: int) -> None:
        self._counts = torch.zeros(classes, classes, dtype=torch.int64)

    def add(self, found: Tensor, truth: Tensor) -> None:
        """Take a batch.

        ``found``, ``truth``: integers (batch, row, column), numbers of classes, on one device.
        """
        classes = len(self._counts)
        pairs = truth.long().flatten() * classes + found.long().flatten()
        self._counts += torch.bincount(pairs, minlength=classes**2).view(classes, classes).cpu()

    def take(self, device: torch.device) -> NDArray[np.int64]:
        """Give the counts over all processes, and begin anew; every process must call it.

        Returns int64 (true class, found class).
        """
        counts = self._counts.to(device)
        self._counts = torch.zeros_like(self._counts)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(counts)
        return counts.cpu().numpy()
