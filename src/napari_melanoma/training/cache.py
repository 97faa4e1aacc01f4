"""Decoded images with their masks as training reads them: places in shards that are mapped into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.training.shards import read_items

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Cache:
    """Decoded images with their masks, in an order; opened where they are read, so that handing it on copies no pixels.

    ``side``: of the squares, in pixels. ``places``: int32 (item, 4): shard and place of the image, shard and place of
    the mask.
    """

    folder: Path
    side: int
    shards: tuple[str, ...]
    places: NDArray[np.int32]

    def __len__(self) -> int:
        """Count the images."""
        return len(self.places)

    def read(self, items: NDArray[np.int64] | Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Copy a batch out of the cache.

        Returns uint8 (item, 3, row, column), and (item, 1, row, column): 0 or 255, or the classes of label images.
        """
        places = self.places[np.asarray(items, dtype=np.int64)]
        return (
            read_items(self.folder, self.shards, places[:, :2], (3, self.side, self.side)),
            read_items(self.folder, self.shards, places[:, 2:], (1, self.side, self.side)),
        )

    def followed_by(self, other: Cache | None) -> Cache:
        """Join the images of another cache of the same folder and side to these.

        Of both; no pixel is copied.
        """
        if other is None:
            return self
        further = other.places + np.array([len(self.shards), 0] * 2, np.int32)
        return Cache(self.folder, self.side, self.shards + other.shards, np.concatenate([self.places, further]))
