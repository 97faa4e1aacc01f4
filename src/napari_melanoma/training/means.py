"""Means over images that stay on the device until somebody asks, and are then joined over processes; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


class Means:
    """Means of several quantities over the same images; an image counts once, in whichever process it was."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._sums: Tensor | None = None

    def add(self, count: int, *values: Tensor) -> None:
        """Take the means of a batch."""
        kind = torch.float32 if values[0].device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        new = torch.stack([torch.ones_like(values[0]), *values]).detach().to(kind) * count
        self._sums = new if self._sums is None else self._sums + new

    def take(self, device: torch.device) -> dict[str, float]:
        """Give the means over all processes, and begin anew; every process must call it.

        Name to mean; not a number where there was no image.
        """
        sums = self._sums
        if sums is None:
            sums = torch.zeros(len(self._names) + 1, dtype=torch.float32 if device.type == "mps" else torch.float64)
        self._sums = None
        sums = sums.to(device)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        count, *totals = sums.tolist()
        return {name: total / count if count else float("nan") for name, total in zip(self._names, totals, strict=True)}
