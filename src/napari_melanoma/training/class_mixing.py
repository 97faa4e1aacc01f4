"""Which images of a batch are mixed with which, and how: it follows from the key of each image alone.

The loader reads the partners of a batch behind its images; where the network is, the same numbers are drawn again and
say whose they are. Nothing depends on what else is in the batch, on the process or on the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.training.seeds import seed_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.training.recipe import TrainRecipe

MIX = 12  # what a seed is for, beside those of sampling
DRAWN = 6  # chance of mixup, amount, row, column, chance of cutmix, partner


class Mixing:
    """Says of the images of a batch which are mixed, with which, and where."""

    def __init__(self, recipe: TrainRecipe) -> None:
        assert recipe.classification is not None
        self._mixup, self._cutmix = recipe.classification.mixup, recipe.classification.cutmix
        self._seed = recipe.seed

    def chosen(self, keys: NDArray[np.int64]) -> NDArray[np.intp]:
        """Choose the images that are mixed.

        ``keys``: int64 (image, 2), of a batch. Int, places in the batch, ascending.
        """
        if not (self._mixup or self._cutmix):
            return np.zeros(0, np.intp)
        draws = self._draws(keys)
        return np.flatnonzero((draws[:, 0] < self._mixup) | (draws[:, 4] < self._cutmix))

    def partners(self, keys: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Choose with which images those are mixed.

        ``keys``: int64 (image, 2), of a batch. Returns int64, one for each of ``chosen``, places among those; never the
        image itself where there is another.
        """
        chosen = self.chosen(keys)
        if not len(chosen):
            return np.zeros(0, np.int64)
        away = 1 + (self._draws(keys[chosen])[:, 5] * max(1, count - 1)).astype(np.int64)
        return (keys[chosen, 1] + away) % count

    def cover(self, keys: NDArray[np.int64], side: int) -> NDArray[np.float32]:
        """Say how much of its partner each mixed image shows where: blended (Zhang 2018), or in a patch (Yun 2019).

        ``keys``: int64 (image, 2), of the images that are mixed. ``side``: of the images, in pixels. Returns float32
        (image, row, column) in [0, 1], the mean of each one half or less.
        """
        found = np.zeros((len(keys), side, side), np.float32)
        for place, (chance, amount, row, column, *_) in enumerate(self._draws(keys)):
            if chance < self._mixup:
                found[place] = amount / 2
                continue
            length = int(np.sqrt(amount / 2) * side)
            top, left = int(row * (side - length + 1)), int(column * (side - length + 1))
            found[place, top : top + length, left : left + length] = 1
        return found

    def _draws(self, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """Random numbers in [0, 1), (image, drawn)."""
        drawn = [np.random.default_rng(seed_of(self._seed, MIX, *key)).random(DRAWN) for key in keys]
        return np.array(drawn).reshape(-1, DRAWN)
