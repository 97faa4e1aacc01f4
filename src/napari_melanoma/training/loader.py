"""Batches of uint8 from the decoded images, for learning and for tuning; variation happens where the network is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.training.augment.partners import Partners
from napari_melanoma.training.bag_loader import BagsInOrder, LearningBags
from napari_melanoma.training.bag_prepare import PreparedBags
from napari_melanoma.training.class_loader import LearningViews, ViewsInOrder
from napari_melanoma.training.sampling import ALONE, EpochSampler, Rank, shares
from napari_melanoma.training.seeds import seed_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.utils.data import DataLoader

    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.training.cache import Cache
    from napari_melanoma.training.prepare import Prepared
    from napari_melanoma.training.recipe import TrainRecipe

__all__ = ["Batch", "seed_of", "training_loader", "tuning_loader"]

Batch = tuple["Tensor", "Tensor", "NDArray[np.int64]"]


class LearningBatches:
    """Batches of a cache as they are, indexed by the keys of a batch."""

    def __init__(self, cache: Cache, partners: Partners | None = None) -> None:
        self._cache = cache
        self._partners = partners

    def __getitem__(self, keys: NDArray[np.int64]) -> Batch:
        """Give a batch: uint8 (batch, 3, row, column), masks (batch, 1, row, column), and its keys (epoch, key).

        Behind the images of the keys are the partners that some of them need.
        """
        places = keys[:, 1] % len(self._cache)
        if self._partners:
            places = np.concatenate([places, self._partners.of(keys)])
        return *_tensors(self._cache.read(places)), keys


class TuningBatches:
    """Images of a cache as they are, resized to the network's input; indexed by places.

    ``side``: of the network's input, in pixels.
    """

    def __init__(self, cache: Cache, side: int) -> None:
        self._cache = cache
        self._side = side

    def __getitem__(self, places: NDArray[np.int64]) -> Batch:
        """Give a batch: uint8 (batch, 3, row, column), masks (batch, 1, row, column), and keys (0, place)."""
        from torchvision.transforms.v2 import functional

        images, masks = _tensors(self._cache.read(places))
        keys = np.stack([np.zeros_like(places), places], axis=1)
        if not len(places):
            return images, masks, keys
        size = [self._side, self._side]
        nearest = functional.InterpolationMode.NEAREST
        resized = functional.resize(images, size, antialias=True)
        return resized, functional.resize(masks, size, interpolation=nearest), keys


class InOrder:
    """Places 0, 1, 2 ... in batches, those of one rank; each rank has as many batches, if need be empty ones."""

    def __init__(self, count: int, batch_size: int, rank: Rank) -> None:
        places = np.arange(rank.rank, count, rank.world_size)
        most = -(-count // rank.world_size)
        self._batches = [places[first : first + batch_size] for first in range(0, most, batch_size)]

    def __len__(self) -> int:
        """Count the batches."""
        return len(self._batches)

    def __iter__(self) -> Any:  # noqa: ANN401
        """Go through the batches."""
        return iter(self._batches)


def training_loader(prepared: Prepared, recipe: TrainRecipe, batch_size: int, rank: Rank = ALONE) -> DataLoader:
    """Make the loader of the images that are learnt from.

    Parameters
    ----------
    prepared : Prepared
        Decoded images.
    recipe : TrainRecipe
        Gives sampling, base share, workers and seed.
    batch_size : int
        Images of a step over all devices, as ``"auto"`` of the recipe was resolved.
    rank : Rank, optional
        Which share of each step comes out, and in how many pieces; by default all of it in one.

    Returns
    -------
    torch.utils.data.DataLoader
        ``pieces`` batches a step, each of uint8 images (batch, 3, row, column), masks (batch, 1, row, column) and, as a
        numpy array, keys (batch, 2) for ``BatchAugmentation``; where images are mixed, their partners follow. Its
        sampler has ``set_epoch``.

    Raises
    ------
    RunError
        Where a step cannot be shared out evenly.
    """
    base = prepared.base
    step = shares(recipe.data, batch_size, len(prepared.learn), len(base or ()))
    classes = sampled_classes(prepared, recipe.data.balance_by)
    sampler = EpochSampler(classes, len(base or ()), step, recipe.seed, rank)
    if isinstance(prepared, PreparedBags):
        return _loader(LearningBags(prepared, recipe), sampler, recipe.workers)
    if prepared.classes is not None:
        return _loader(LearningViews(prepared, recipe), sampler, recipe.workers)
    partners = Partners(recipe.augmentation, recipe.seed, len(prepared.learn), len(base or ()))
    return _loader(LearningBatches(prepared.learn.followed_by(base), partners), sampler, recipe.workers)


def tuning_loader(prepared: Prepared, recipe: TrainRecipe, batch_size: int, rank: Rank = ALONE) -> DataLoader:
    """Make the loader of the images that pick the epoch and the threshold.

    Parameters
    ----------
    prepared : Prepared
        Decoded images.
    recipe : TrainRecipe
        Gives the input size.
    batch_size : int
        Images that are predicted at a time.
    rank : Rank, optional
        Which share comes out: every ``world_size``-th image; by default all.

    Returns
    -------
    torch.utils.data.DataLoader
        Batches as ``training_loader`` gives them, resized to the input, in the order of ``prepared.samples.tuning``.
    """
    side = recipe.model.input_size
    batches: Any = TuningBatches(prepared.tuning, side)
    if isinstance(prepared, PreparedBags):
        batches = BagsInOrder(prepared)
    elif prepared.classes is not None:
        batches = ViewsInOrder(prepared.tuning, prepared.classes.tuning, prepared, side)
    return _loader(batches, InOrder(len(prepared.tuning), batch_size, rank), workers=0)


def images_in_order(cache: Cache, recipe: TrainRecipe, batch_size: int) -> DataLoader:
    """Make a loader of images as they are, with their masks.

    Batches as ``training_loader`` gives them, resized to the input, in the order of the cache.
    """
    return _loader(TuningBatches(cache, recipe.model.input_size), InOrder(len(cache), batch_size, ALONE), workers=0)


def learnt_loader(prepared: Prepared, recipe: TrainRecipe, batch_size: int) -> DataLoader:
    """Make the loader of the views that were learnt from, as they are.

    Batches in the order of ``prepared.samples.learn``.
    """
    assert prepared.classes is not None
    batches = ViewsInOrder(prepared.learn, prepared.classes.learn, prepared, recipe.model.input_size)
    return _loader(batches, InOrder(len(prepared.learn), batch_size, ALONE), workers=0)


def unlabelled_batches(prepared: Prepared, recipe: TrainRecipe, batch_size: int) -> Iterator[Tensor]:
    """Go through the images of the domain that a classifier is adapted to.

    Yields uint8 (batch, 3, row, column), resized to the input.
    """
    if prepared.unlabelled is not None:
        batches = TuningBatches(prepared.unlabelled, recipe.model.input_size)
        for places in InOrder(len(prepared.unlabelled), batch_size, ALONE):
            yield batches[places][0]


def sampled_classes(prepared: Prepared, by: str) -> list[str]:
    """Say what class each image to learn from is of when sampling is balanced."""
    if prepared.classes is None or by == "domain":
        return class_names(prepared.samples.learn, by)
    return [prepared.classes.names[label] for label in prepared.classes.learn.labels]


def class_names(samples: Sequence[Sample], by: str) -> list[str]:
    """Say what class each image is of when sampling is balanced.

    Empty where it is not known: these make a class of their own.
    """
    return [getattr(sample, by) or "" for sample in samples]


def _loader(batches: Any, sampler: Any, workers: int) -> DataLoader:  # noqa: ANN401 - torch asks for classes of its own
    """Make a loader whose sampler names whole batches, so that each is read at once."""
    import torch
    from torch.utils.data import DataLoader

    return DataLoader(
        batches,
        batch_size=None,
        collate_fn=_as_it_is,
        sampler=sampler,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _as_it_is(batch: Any) -> Any:  # noqa: ANN401 - a Batch, which torch does not know
    """Leave the keys a numpy array, which stays with the processor: to read them there never waits for a GPU."""
    return batch


def _tensors(pixels: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
    """Give arrays as tensors, which share their memory."""
    import torch

    images, masks = pixels
    return torch.from_numpy(images), torch.from_numpy(masks)
