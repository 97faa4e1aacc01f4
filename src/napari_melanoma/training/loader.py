"""Batches of augmented images in an order and variation that follow from (seed, epoch, image) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.training.augment import Augmentation

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import DataLoader

    from napari_melanoma.training.cache import Cache
    from napari_melanoma.training.recipe import TrainRecipe

Key = tuple[int, int]


class EpochSampler:
    """A shuffled order for each epoch; yields (epoch, index), so that a sample knows which variation is its turn.

    Parameters
    ----------
    count : int
        Of the images.
    seed : int
        Of the order.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; Lightning calls it.

        Parameters
        ----------
        epoch : int
            Counted from 0.
        """
        self._epoch = epoch

    def __len__(self) -> int:
        """Count the samples of an epoch."""
        return self._count

    def __iter__(self) -> Iterator[Key]:
        """Go through one epoch."""
        order = np.random.default_rng((self._seed, self._epoch)).permutation(self._count)
        return iter([(self._epoch, int(index)) for index in order])


class AugmentedSamples:
    """Images of a cache, varied; indexed by (epoch, index).

    Parameters
    ----------
    cache : Cache
        Decoded images.
    recipe : TrainRecipe
        Gives augmentation, input size and seed.
    """

    def __init__(self, cache: Cache, recipe: TrainRecipe) -> None:
        self._cache = cache
        self._seed = recipe.seed
        self._augment = Augmentation(recipe.augmentation, recipe.model.input_size)

    def __len__(self) -> int:
        """Count the images."""
        return len(self._cache)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """Vary one image: uint8 (3, row, column) and mask (1, row, column)."""
        import torch

        epoch, index = key
        image = torch.from_numpy(np.array(self._cache.images[index])).permute(2, 0, 1)
        mask = torch.from_numpy(np.array(self._cache.masks[index]))[None]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self._seed, epoch, index))
            return self._augment(image, mask)


class PlainSamples:
    """Images of a cache as they are, resized to the network's input.

    Parameters
    ----------
    cache : Cache
        Decoded images.
    side : int
        Of the network's input, in pixels.
    """

    def __init__(self, cache: Cache, side: int) -> None:
        self._cache = cache
        self._side = side

    def __len__(self) -> int:
        """Count the images."""
        return len(self._cache)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Give one image: uint8 (3, row, column) and mask (1, row, column)."""
        import torch
        from torchvision.transforms.v2 import functional

        image = torch.from_numpy(np.array(self._cache.images[index])).permute(2, 0, 1)
        mask = torch.from_numpy(np.array(self._cache.masks[index]))[None]
        size = [self._side, self._side]
        nearest = functional.InterpolationMode.NEAREST
        return functional.resize(image, size, antialias=True), functional.resize(mask, size, interpolation=nearest)


def seed_of(*numbers: int) -> int:
    """Mix numbers into one seed.

    Parameters
    ----------
    *numbers : int
        Such as seed, epoch and index.

    Returns
    -------
    int
        Of 63 bits.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def training_loader(cache: Cache, recipe: TrainRecipe) -> DataLoader:
    """Make the loader of the images that are learnt from.

    Parameters
    ----------
    cache : Cache
        Decoded images.
    recipe : TrainRecipe
        Gives batch size, augmentation, workers and seed.

    Returns
    -------
    torch.utils.data.DataLoader
        Batches of uint8 images and masks; an incomplete last batch is left out where there is more than one.
    """
    from torch.utils.data import DataLoader

    samples: Any = AugmentedSamples(cache, recipe)
    return DataLoader(
        samples,
        batch_size=recipe.batch_size,
        sampler=EpochSampler(len(samples), recipe.seed),
        num_workers=recipe.workers,
        multiprocessing_context="spawn" if recipe.workers else None,
        persistent_workers=recipe.workers > 0,
        drop_last=len(samples) > recipe.batch_size,
    )


def tuning_loader(cache: Cache, recipe: TrainRecipe) -> DataLoader:
    """Make the loader of the images that pick the epoch and the threshold.

    Parameters
    ----------
    cache : Cache
        Decoded images.
    recipe : TrainRecipe
        Gives batch size and input size.

    Returns
    -------
    torch.utils.data.DataLoader
        Batches of uint8 images and masks in the cache's order.
    """
    from torch.utils.data import DataLoader

    samples: Any = PlainSamples(cache, recipe.model.input_size)  # torch asks for a class of its own, needs two methods
    return DataLoader(samples, batch_size=recipe.batch_size)


def check_sizes(train: Sequence[object], tuning: Sequence[object], batch_size: int) -> str | None:
    """Say what is wrong with the number of images, or nothing.

    Parameters
    ----------
    train, tuning : sequence
        What is learnt from, and what picks the epoch.
    batch_size : int
        Of the recipe.

    Returns
    -------
    str or None
        A sentence, or None where the numbers will do.
    """
    if len(train) < 2 or not tuning:
        return (
            f"{len(train)} images to learn from and {len(tuning)} to tune with; at least 2 and 1 are needed. "
            "Add images with masks, or raise data.tuning_fraction."
        )
    if len(train) < batch_size:
        return f"a batch of {batch_size} is more than the {len(train)} images to learn from. Lower batch_size."
    return None
