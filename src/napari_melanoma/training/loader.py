"""Batches of images, and their order in each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import RunError
from napari_melanoma.training.augment.random_numbers import PartnerSampler
from napari_melanoma.training.bags import PreparedBags, TrainingBags, ValidationBags
from napari_melanoma.training.class_loader import TrainingViews, ValidationViews

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.utils.data import DataLoader

    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.training.pixel_store import PixelCache
    from napari_melanoma.training.prepare import PreparedData
    from napari_melanoma.training.recipe import DataConfig, TrainRecipe

__all__ = ["ImageBatch", "training_loader", "validation_loader"]

SHUFFLED, BALANCED, BASE, MIXED = range(4)  # what a seed is for


@dataclass(frozen=True)
class StepShares:
    """How many images of a step come from where."""

    shuffled: int
    balanced: int = 0
    base: int = 0

    @property
    def learn(self) -> int:
        """How many come from what is learnt."""
        return self.shuffled + self.balanced

    @property
    def step(self) -> int:
        """How many there are in all."""
        return self.learn + self.base


def divide_step(data: DataConfig, batch_size: int, learn: int, base: int) -> StepShares:
    """Share a step out.

    Of ``batch_size`` images, or of all there are to learn from where these are fewer and stand alone.
    """
    from_base = min(max(1, round(batch_size * data.base_share)), batch_size - 1) if base else 0
    rest = batch_size - from_base if base else min(batch_size, learn)
    balanced = {"shuffle": 0, "balanced": rest, "mixed": rest // 2}[data.sampling]
    return StepShares(rest - balanced, balanced, from_base)


@dataclass(frozen=True)
class Rank:
    """Which of several processes this is, and in how many pieces each computes its share of a step."""

    rank: int = 0
    world_size: int = 1
    pieces: int = 1


SINGLE_PROCESS = Rank()


class EpochSampler:
    """Batches of keys (epoch, image) for each epoch; images from ``len(classes)`` on are those of the base data.

    An image that is drawn again in an epoch gets another key, ``image + total``, ``image + 2 * total`` and so on, so
    that it is varied anew; ``key % total`` is the image.
    """

    def __init__(
        self, classes: Sequence[str], base: int, step: StepShares, seed: int, rank: Rank = SINGLE_PROCESS
    ) -> None:
        self._classes = classes
        self._base = base
        self._step = step
        self._seed = seed
        self._rank = rank
        self._epoch = 0
        parts = rank.world_size * rank.pieces
        if step.step % parts:
            raise RunError(
                f"a step of {step.step} images cannot be shared out evenly over {rank.world_size} devices with "
                f"{rank.pieces} pieces each. Set batch_size to a multiple of {parts}."
            )

    @property
    def total(self) -> int:
        """How many images there are in all."""
        return len(self._classes) + self._base

    @property
    def steps(self) -> int:
        """Steps of an epoch: whole ones, at least one."""
        return max(1, len(self._classes) // self._step.learn)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; Lightning calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return self.steps * self._rank.pieces

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """Go through one epoch: int64 (batch, 2)."""
        keys = self.keys(self._epoch)[:, self._rank.rank :: self._rank.world_size]
        for step in keys:
            yield from np.split(step, self._rank.pieces)

    def keys(self, epoch: int) -> NDArray[np.int64]:
        """Give the keys of a whole epoch, over all ranks.

        Returns int64 (step, image of the step, 2), each (epoch, key).
        """
        parts = [self._shuffled(epoch), self._balanced(epoch), self._from_base(epoch)]
        images = np.concatenate(parts, axis=1)
        images = self._generator(MIXED, epoch).permuted(images, axis=1)  # so that each rank sees a bit of everything
        images += self.total * _count_repeats(images.ravel()).reshape(images.shape)
        return np.stack([np.full_like(images, epoch), images], axis=-1)

    def _generator(self, purpose: int, turn: int) -> np.random.Generator:
        """Give the source of random numbers for a purpose at a turn."""
        return np.random.default_rng((self._seed, purpose, turn))

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        """Images in an order of the epoch's own, (step, image); each once, or again where a step needs more."""
        count = self.steps * self._step.shuffled
        rounds = -(-count // len(self._classes))
        draw = self._generator(SHUFFLED, epoch)
        orders = [draw.permutation(len(self._classes)) for _ in range(rounds)]
        return np.concatenate([np.empty(0, np.int64), *orders])[:count].reshape(self.steps, -1)

    def _balanced(self, epoch: int) -> NDArray[np.int64]:
        """Images drawn with replacement so that each class is as likely, (step, image)."""
        size = (self.steps, self._step.balanced)
        if not self._step.balanced:
            return np.empty(size, np.int64)
        _, members, counts = np.unique(np.asarray(self._classes), return_inverse=True, return_counts=True)
        weights = 1 / counts[members]
        return self._generator(BALANCED, epoch).choice(len(weights), size, p=weights / weights.sum())

    def _from_base(self, epoch: int) -> NDArray[np.int64]:
        """Images of the base data, (step, image): on from where the epoch before ended, all before any again."""
        count = self.steps * self._step.base
        if not count:
            return np.empty((self.steps, 0), np.int64)
        places = np.arange(epoch * count, (epoch + 1) * count)
        rounds = places // self._base
        images = np.concatenate(
            [
                self._generator(BASE, int(turn)).permutation(self._base)[places[rounds == turn] % self._base]
                for turn in np.unique(rounds)
            ]
        )
        return (len(self._classes) + images).reshape(self.steps, -1)


def _count_repeats(images: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count for each image how often it came before."""
    order = np.argsort(images, kind="stable")
    ordered = images[order]
    first = np.searchsorted(ordered, ordered)
    repetition = np.empty_like(images)
    repetition[order] = np.arange(len(images)) - first
    return repetition


ImageBatch = tuple["Tensor", "Tensor", "NDArray[np.int64]"]


class TrainingBatches:
    """Batches of a cache as they are, indexed by the keys of a batch."""

    def __init__(self, cache: PixelCache, partners: PartnerSampler | None = None) -> None:
        self._cache = cache
        self._partners = partners

    def __getitem__(self, keys: NDArray[np.int64]) -> ImageBatch:
        """Give a batch: uint8 (batch, 3, row, column), masks (batch, 1, row, column), and its keys (epoch, key).

        Behind the images of the keys are the partners that some of them need.
        """
        places = keys[:, 1] % len(self._cache)
        if self._partners:
            places = np.concatenate([places, self._partners.sample(keys)])
        return *_tensors(self._cache.read(places)), keys


class ValidationBatches:
    """Images of a cache as they are, resized to the network's input; indexed by places.

    ``side``: of the network's input, in pixels.
    """

    def __init__(self, cache: PixelCache, side: int) -> None:
        self._cache = cache
        self._side = side

    def __getitem__(self, places: NDArray[np.int64]) -> ImageBatch:
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


class SequentialBatches:
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


def training_loader(
    prepared: PreparedData, recipe: TrainRecipe, batch_size: int, rank: Rank = SINGLE_PROCESS
) -> DataLoader:
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
    step = divide_step(recipe.data, batch_size, len(prepared.learn), len(base or ()))
    classes = sampled_classes(prepared, recipe.data.balance_by)
    sampler = EpochSampler(classes, len(base or ()), step, recipe.seed, rank)
    if isinstance(prepared, PreparedBags):
        return _loader(TrainingBags(prepared, recipe), sampler, recipe.workers)
    if prepared.classes is not None:
        return _loader(TrainingViews(prepared, recipe), sampler, recipe.workers)
    partners = PartnerSampler(recipe.augmentation, recipe.seed, len(prepared.learn), len(base or ()))
    return _loader(TrainingBatches(prepared.learn.concatenate(base), partners), sampler, recipe.workers)


def validation_loader(
    prepared: PreparedData, recipe: TrainRecipe, batch_size: int, rank: Rank = SINGLE_PROCESS
) -> DataLoader:
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
    batches: Any = ValidationBatches(prepared.tuning, side)
    if isinstance(prepared, PreparedBags):
        batches = ValidationBags(prepared)
    elif prepared.classes is not None:
        batches = ValidationViews(prepared.tuning, prepared.classes.tuning, prepared, side)
    return _loader(batches, SequentialBatches(len(prepared.tuning), batch_size, rank), workers=0)


def images_in_order(cache: PixelCache, recipe: TrainRecipe, batch_size: int) -> DataLoader:
    """Make a loader of images as they are, with their masks.

    Batches as ``training_loader`` gives them, resized to the input, in the order of the cache.
    """
    return _loader(
        ValidationBatches(cache, recipe.model.input_size),
        SequentialBatches(len(cache), batch_size, SINGLE_PROCESS),
        workers=0,
    )


def training_views_in_order(prepared: PreparedData, recipe: TrainRecipe, batch_size: int) -> DataLoader:
    """Make the loader of the views that were learnt from, as they are.

    Batches in the order of ``prepared.samples.learn``.
    """
    assert prepared.classes is not None
    batches = ValidationViews(prepared.learn, prepared.classes.learn, prepared, recipe.model.input_size)
    return _loader(batches, SequentialBatches(len(prepared.learn), batch_size, SINGLE_PROCESS), workers=0)


def unlabeled_batches(prepared: PreparedData, recipe: TrainRecipe, batch_size: int) -> Iterator[Tensor]:
    """Go through the images of the domain that a classifier is adapted to.

    Yields uint8 (batch, 3, row, column), resized to the input.
    """
    if prepared.unlabelled is not None:
        batches = ValidationBatches(prepared.unlabelled, recipe.model.input_size)
        for places in SequentialBatches(len(prepared.unlabelled), batch_size, SINGLE_PROCESS):
            yield batches[places][0]


def sampled_classes(prepared: PreparedData, by: str) -> list[str]:
    """Say what class each image to learn from is of when sampling is balanced."""
    if prepared.classes is None or by == "domain":
        return class_names(prepared.samples.training, by)
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
        collate_fn=_identity,
        sampler=sampler,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _identity(batch: Any) -> Any:  # noqa: ANN401 - a Batch, which torch does not know
    """Leave the keys a numpy array, which stays with the processor: to read them there never waits for a GPU."""
    return batch


def _tensors(pixels: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
    """Give arrays as tensors, which share their memory."""
    import torch

    images, masks = pixels
    return torch.from_numpy(images), torch.from_numpy(masks)


Loaders = Callable[[Rank], "tuple[DataLoader, DataLoader]"]
