"""What each of several processes found for its images, put together in the order of the images; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class Gathered:
    """Rows of numbers, one an image, that stay on their device until all are asked for."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._places: list[Tensor] = []
        self._rows: list[Tensor] = []

    def add(self, places: NDArray[np.int64], rows: Tensor) -> None:
        """Take the rows of a batch.

        ``places``: int64 (batch,), the place of each image among all. ``rows``: float (batch, columns).
        """
        self._places.append(torch.from_numpy(places))
        self._rows.append(rows.detach().float())

    def take(self, device: torch.device) -> Tensor:
        """Give the rows of all processes, and begin anew; every process must call it.

        Returns float32 (image, columns) on the processor, in the order of the places; each image was in one process.
        """
        places = torch.cat([torch.empty(0, dtype=torch.int64), *self._places]).to(device)
        rows = torch.cat([torch.empty(0, self._columns, device=device), *(row.to(device) for row in self._rows)])
        self._places, self._rows = [], []
        count = (places.max() + 1 if len(places) else torch.zeros((), dtype=torch.int64, device=device)).clone()
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        if several:
            torch.distributed.all_reduce(count, torch.distributed.ReduceOp.MAX)
        whole = torch.zeros(int(count), self._columns, device=device)
        whole[places] = rows
        if several:
            torch.distributed.all_reduce(whole)
        return whole.cpu()
