"""Batches of bags: some tiles of each slide while learning, all of them, in pieces, when it is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from napari_melanoma.training.seeds import seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.io.bags import Bag
    from napari_melanoma.training.bag_prepare import PreparedBags
    from napari_melanoma.training.recipe import TrainRecipe

TILES = 17  # what a seed is for, beside those of sampling and of classification


class BagBatch(NamedTuple):
    """A batch of slides.

    ``bags`` has for each slide float32 (tile, feature), or the bag itself, from which all tiles are read in pieces;
    ``shares`` is float32 (slide, class), each row summing to 1, ``keys`` int64 (slide, 2): epoch and key.
    """

    bags: list[Any]
    shares: Tensor
    keys: NDArray[np.int64]


class LearningBags:
    """Batches to learn from, indexed by the keys of a batch."""

    def __init__(self, prepared: PreparedBags, recipe: TrainRecipe) -> None:
        assert prepared.classes is not None
        assert recipe.bags is not None
        self._bags = cast("Sequence[Bag]", prepared.learn)
        self._labels, self._classes = prepared.classes.learn.labels, len(prepared.classes.names)
        self._tiles, self._seed = recipe.bags.tiles, recipe.seed

    def __getitem__(self, keys: NDArray[np.int64]) -> BagBatch:
        """Give a batch; which tiles are drawn follows from its keys alone."""
        import torch

        places = keys[:, 1] % len(self._bags)
        drawn = [
            torch.from_numpy(self._bags[place].sample(self._tiles, seed_of(self._seed, TILES, *key)))
            for place, key in zip(places.tolist(), keys.tolist(), strict=True)
        ]
        return BagBatch(drawn, _shares(self._labels[places], self._classes), keys)


class BagsInOrder:
    """The slides that pick the epoch, whole, indexed by places."""

    def __init__(self, prepared: PreparedBags) -> None:
        assert prepared.classes is not None
        self._bags = cast("Sequence[Bag]", prepared.tuning)
        self._labels, self._classes = prepared.classes.tuning.labels, len(prepared.classes.names)

    def __getitem__(self, places: NDArray[np.int64]) -> BagBatch:
        """Give a batch, its keys (0, place)."""
        keys = np.stack([np.zeros_like(places), places], axis=1)
        bags = [self._bags[place] for place in places.tolist()]
        return BagBatch(bags, _shares(self._labels[places], self._classes), keys)


def _shares(labels: NDArray[np.int64], classes: int) -> Tensor:
    """Answers as shares of the classes, float32 (slide, class)."""
    import torch

    return torch.nn.functional.one_hot(torch.from_numpy(labels), classes).float()
