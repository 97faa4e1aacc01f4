"""Data loaders: the order of the images in each epoch, and their batches for segmentation and classification.

Slides as bags of embeddings are batched in ``training.whole_slides`` and loaded here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import RunError
from napari_melanoma.core.prediction_config import TabularEncoding
from napari_melanoma.data.tabular_encoding import TableValues
from napari_melanoma.training.data_preparation import ClassPart, FieldDropout, PreparedData, table_inputs
from napari_melanoma.training.pixel_store import PixelCache
from napari_melanoma.training.random_numbers import PartnerSampler, derive_seed
from napari_melanoma.training.recipe import OTHER_DOMAIN_KEY, DataConfig, TrainRecipe
from napari_melanoma.training.whole_slides import PreparedBags, TrainingBags, ValidationBags

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import DataLoader


SHUFFLED, BALANCED, REPLAY, MIXED = range(4)  # separate the random numbers of these purposes
# Images, uint8 (batch, 3, row, column); masks or class indices, uint8 (batch, 1, row, column); keys, int64 (batch, 2).
ImageBatch = tuple["Tensor", "Tensor", "NDArray[np.int64]"]


class ClassBatch(NamedTuple):
    """A batch of a classification: labeled images, then unlabeled images of another domain, then mixing partners.

    For all images: ``images``, uint8 (image, 3, row, column), float32 after augmentation; ``masks``, uint8 (image, 1,
    row, column), empty after augmentation. For labeled images: ``keys``, int64 (image, 2), epoch and key; ``shares``,
    float32 (image, class), each row summing to 1; ``depth_mm``, float32 (image,), NaN if unknown. For labeled and
    unlabeled images: ``continuous``, float32 (image, input); ``categories``, int64 (image, embedding); ``domains``,
    int64 (image,). For partners: ``partner_shares``, float32 (image, class).
    """

    images: Tensor
    masks: Tensor
    keys: NDArray[np.int64]
    shares: Tensor
    continuous: Tensor
    categories: Tensor
    domains: Tensor
    partner_shares: Tensor
    depth_mm: Tensor


@dataclass(frozen=True)
class StepShares:
    """The number of images in a step: shuffled and class-balanced training images, and replay images."""

    shuffled: int
    balanced: int = 0
    replay: int = 0

    @property
    def train(self) -> int:
        """Images of the step from the training data."""
        return self.shuffled + self.balanced

    @property
    def total(self) -> int:
        """All images of the step."""
        return self.train + self.replay


def divide_step(data: DataConfig, batch_size: int, train: int, replay: int) -> StepShares:
    """Divide a step into shuffled, balanced and replay images.

    A step has ``batch_size`` images; without replay data at most the number of training images.

    ``train``, ``replay``: numbers of training and replay images.
    """
    from_replay = min(max(1, round(batch_size * data.replay_share)), batch_size - 1) if replay else 0
    from_data = batch_size - from_replay if replay else min(batch_size, train)
    balanced = {"shuffle": 0, "balanced": from_data, "mixed": from_data // 2}[data.sampling]
    return StepShares(from_data - balanced, balanced, from_replay)


@dataclass(frozen=True)
class Rank:
    """The rank of a process among ``world_size``; ``accumulate_batches``: its number of micro-batches in a step."""

    rank: int = 0
    world_size: int = 1
    accumulate_batches: int = 1


SINGLE_PROCESS = Rank()
Loaders = Callable[[Rank], "tuple[DataLoader, DataLoader]"]  # loaders of training and validation data


class EpochSampler:
    """Batches of keys (epoch, key) for each epoch; ``key % total`` is the index of the image.

    The indices of the training images come first, then those of the replay images. An image repeated in an epoch gets
    another key (``index + total``, ``index + 2 * total`` and so on), so that it is augmented differently.

    ``classes``: the class of each training image, for balanced sampling. ``replay``: number of replay images.
    ``shares``: the composition of a step over all ranks.
    """

    def __init__(
        self, classes: Sequence[str], replay: int, shares: StepShares, seed: int, rank: Rank = SINGLE_PROCESS
    ) -> None:
        self._classes = classes
        self._replay = replay
        self._shares = shares
        self._seed = seed
        self._rank = rank
        self._epoch = 0
        self._resumed_at = (0, 0)
        parts = rank.world_size * rank.accumulate_batches
        if shares.total % parts:
            raise RunError(
                f"a step of {shares.total} images cannot be divided evenly over {rank.world_size} devices with "
                f"{rank.accumulate_batches} micro-batches each. Set batch_size to a multiple of {parts}."
            )

    @property
    def total(self) -> int:
        """Number of images, including replay data."""
        return len(self._classes) + self._replay

    @property
    def steps(self) -> int:
        """Number of full steps in an epoch, at least one."""
        return max(1, len(self._classes) // self._shares.train)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration; called by Lightning."""
        self._epoch = epoch

    def resume_at(self, epoch: int, step: int) -> None:
        """Skip the first steps of an epoch, which were finished before the run was resumed."""
        self._resumed_at = (epoch, step)

    def __len__(self) -> int:
        return self.steps * self._rank.accumulate_batches

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """Iterate over one epoch, or the rest of a resumed one: int64 (batch, 2)."""
        epoch, first = self._resumed_at
        keys = self.keys(self._epoch)[:, self._rank.rank :: self._rank.world_size]
        for step in keys[first if self._epoch == epoch else 0 :]:
            yield from np.split(step, self._rank.accumulate_batches)

    def keys(self, epoch: int) -> NDArray[np.int64]:
        """Return the keys of a whole epoch, over all ranks: int64 (step, image of the step, 2), each (epoch, key)."""
        parts = [self._shuffled(epoch), self._balanced(epoch), self._from_replay(epoch)]
        images = np.concatenate(parts, axis=1)
        # Mix the sources, so that each rank gets images from all of them.
        images = self._generator(MIXED, epoch).permuted(images, axis=1)
        images += self.total * _count_repeats(images.ravel()).reshape(images.shape)
        return np.stack([np.full_like(images, epoch), images], axis=-1)

    def _generator(self, purpose: int, epoch: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, purpose, epoch))

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        """Training images in random order, (step, image); images repeat only if a step needs more than there are."""
        count = self.steps * self._shares.shuffled
        rounds = -(-count // len(self._classes))
        rng = self._generator(SHUFFLED, epoch)
        orders = [rng.permutation(len(self._classes)) for _ in range(rounds)]
        return np.concatenate([np.empty(0, np.int64), *orders])[:count].reshape(self.steps, -1)

    def _balanced(self, epoch: int) -> NDArray[np.int64]:
        """Training images drawn with replacement, so that all classes are equally likely, (step, image)."""
        size = (self.steps, self._shares.balanced)
        if not self._shares.balanced:
            return np.empty(size, np.int64)
        _, members, counts = np.unique(np.asarray(self._classes), return_inverse=True, return_counts=True)
        weights = 1 / counts[members]
        return self._generator(BALANCED, epoch).choice(len(weights), size, p=weights / weights.sum())

    def _from_replay(self, epoch: int) -> NDArray[np.int64]:
        """Replay images in random order, (step, image); it continues over epochs, to use all equally often."""
        count = self.steps * self._shares.replay
        if not count:
            return np.empty((self.steps, 0), np.int64)
        positions = np.arange(epoch * count, (epoch + 1) * count)  # in an endless sequence of shuffled rounds
        rounds = positions // self._replay
        images = []
        for round_number in np.unique(rounds):
            order = self._generator(REPLAY, int(round_number)).permutation(self._replay)
            images.append(order[positions[rounds == round_number] % self._replay])
        return (len(self._classes) + np.concatenate(images)).reshape(self.steps, -1)


def _count_repeats(images: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of earlier occurrences of each image in the array."""
    order = np.argsort(images, kind="stable")
    ordered = images[order]
    first = np.searchsorted(ordered, ordered)
    repetition = np.empty_like(images)
    repetition[order] = np.arange(len(images)) - first
    return repetition


class TrainingBatches:
    """Batches of images and masks as decoded, indexed by keys (epoch, key)."""

    def __init__(self, cache: PixelCache, partners: PartnerSampler | None = None) -> None:
        self._cache = cache
        self._partners = partners

    def __getitem__(self, keys: NDArray[np.int64]) -> ImageBatch:
        """Return the batch of the keys; the partners for mosaics and CutMix follow its images."""
        indices = keys[:, 1] % len(self._cache)
        if self._partners:
            indices = np.concatenate([indices, self._partners.sample(keys)])
        return *_tensors(self._cache.read(indices)), keys


class ValidationBatches:
    """Batches of images and masks without augmentation, resized to the network's input; indexed by the images.

    ``side``: side of the network's input in pixels.
    """

    def __init__(self, cache: PixelCache, side: int) -> None:
        self._cache = cache
        self._side = side

    def __getitem__(self, indices: NDArray[np.int64]) -> ImageBatch:
        """Return a batch with keys (0, index)."""
        from torchvision.transforms.v2 import functional

        images, masks = _tensors(self._cache.read(indices))
        keys = np.stack([np.zeros_like(indices), indices], axis=1)
        if not len(indices):
            return images, masks, keys
        size = [self._side, self._side]
        nearest = functional.InterpolationMode.NEAREST
        resized = functional.resize(images, size, antialias=True)
        return resized, functional.resize(masks, size, interpolation=nearest), keys


class SequentialBatches:
    """The images of one rank (every ``world_size``-th) in order, in batches of indices.

    All ranks have the same number of batches; the last one may be empty.
    """

    def __init__(self, count: int, batch_size: int, rank: Rank) -> None:
        indices = np.arange(rank.rank, count, rank.world_size)
        longest = -(-count // rank.world_size)
        self._batches = [indices[first : first + batch_size] for first in range(0, longest, batch_size)]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Any:  # noqa: ANN401
        return iter(self._batches)


def training_loader(
    prepared: PreparedData, recipe: TrainRecipe, batch_size: int, rank: Rank = SINGLE_PROCESS
) -> DataLoader:
    """Create the loader of the training images.

    ``batch_size``: images of a step over all devices; replaces ``"auto"`` in the recipe. ``rank``: this process, and
    its number of micro-batches in a step; by default a single process and one. The loader yields ``ImageBatch``,
    ``ClassBatch`` or ``BagBatch``, by the type of ``prepared``; its sampler has ``set_epoch``.
    """
    replay = prepared.replay
    shares = divide_step(recipe.data, batch_size, len(prepared.train), len(replay or ()))
    classes = sampled_classes(prepared, recipe.data.balance_by)
    sampler = EpochSampler(classes, len(replay or ()), shares, recipe.seed, rank)
    if isinstance(prepared, PreparedBags):
        return _loader(TrainingBags(prepared, recipe), sampler, recipe, recipe.workers)
    if prepared.classes is not None:
        return _loader(TrainingViews(prepared, recipe), sampler, recipe, recipe.workers)
    partners = PartnerSampler(recipe.augmentation, recipe.seed, len(prepared.train), len(replay or ()))
    return _loader(TrainingBatches(prepared.train.concatenate(replay), partners), sampler, recipe, recipe.workers)


def validation_loader(
    prepared: PreparedData, recipe: TrainRecipe, batch_size: int, rank: Rank = SINGLE_PROCESS
) -> DataLoader:
    """Create the loader of the validation images, which select the epoch and the threshold.

    ``rank``: this process, which gets every ``world_size``-th image; by default all. Batches as from
    ``training_loader``, but resized to the network's input, in the order of ``prepared.samples.validation``.
    """
    side = recipe.model.input_size
    batches: Any = ValidationBatches(prepared.validation, side)
    if isinstance(prepared, PreparedBags):
        batches = ValidationBags(prepared)
    elif prepared.classes is not None:
        batches = ValidationViews(prepared.validation, prepared.classes.validation, prepared, side)
    return _loader(batches, SequentialBatches(len(prepared.validation), batch_size, rank), recipe)


def images_in_order(cache: PixelCache, recipe: TrainRecipe, batch_size: int) -> DataLoader:
    """Create a loader of unchanged images with their masks, resized to the input, in the order of the cache."""
    batches = ValidationBatches(cache, recipe.model.input_size)
    return _loader(batches, SequentialBatches(len(cache), batch_size, SINGLE_PROCESS), recipe)


def training_views_in_order(prepared: PreparedData, recipe: TrainRecipe, batch_size: int) -> DataLoader:
    """Create the loader of the unchanged training views, in the order of ``prepared.samples.training``."""
    assert prepared.classes is not None
    batches = ValidationViews(prepared.train, prepared.classes.train, prepared, recipe.model.input_size)
    return _loader(batches, SequentialBatches(len(prepared.train), batch_size, SINGLE_PROCESS), recipe)


def training_slides_in_order(prepared: PreparedData, recipe: TrainRecipe, batch_size: int) -> DataLoader:
    """Create the loader of the training slides with all of their tiles, in the order of ``prepared.samples.training``.

    The patient data are complete.
    """
    assert isinstance(prepared, PreparedBags)
    batches = ValidationBags(prepared, "train")
    return _loader(batches, SequentialBatches(len(prepared.train), batch_size, SINGLE_PROCESS), recipe)


def unlabeled_batches(prepared: PreparedData, recipe: TrainRecipe, batch_size: int) -> Iterator[Tensor]:
    """Iterate over the images of the target domain: uint8 (batch, 3, row, column), resized to the input.

    The batches have the same size, except for one image: statistics that are averaged over batches then weight all
    images alike.
    """
    if prepared.unlabelled is not None:
        batches, count = ValidationBatches(prepared.unlabelled, recipe.model.input_size), len(prepared.unlabelled)
        for indices in np.array_split(np.arange(count), -(-count // batch_size)):
            yield batches[indices][0]


def sampled_classes(prepared: PreparedData, by: str) -> list[str]:
    """Return the class of each training image for balanced sampling; unknown values ("") form a class of their own.

    ``by``: ``"diagnosis"`` or ``"domain"``; in a classification, the diagnosis is the class of the recipe.
    """
    if prepared.classes is None or by == "domain":
        return [getattr(sample, by) or "" for sample in prepared.samples.training]
    return [prepared.classes.names[label] for label in prepared.classes.train.labels]


def _loader(batches: Any, sampler: Any, recipe: TrainRecipe, workers: int = 0) -> DataLoader:  # noqa: ANN401 - torch
    """Create a loader whose sampler yields the keys or indices of whole batches, so that a batch is read at once."""
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
        pin_memory=recipe.device != "cpu" and torch.cuda.is_available(),
    )


def _identity(batch: Any) -> Any:  # noqa: ANN401 - any of our batches
    """Return a batch unchanged: its keys stay a numpy array, so reading them never synchronizes with a GPU."""
    return batch


def _tensors(pixels: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
    """Wrap arrays as tensors that share their memory."""
    import torch

    images, masks = pixels
    return torch.from_numpy(images), torch.from_numpy(masks)


# Separate the random numbers for mixing and the other domain from other uses of the seed.
MIX_SEED, OTHER_DOMAIN_SEED = 12, 13
DRAWS_PER_IMAGE = 6  # MixUp, amount, row and column of a patch, CutMix, partner
TWO_DOMAIN_METHODS = ("adversarial", "coral", "fourier", "pseudo_labels")  # batches hold images of both domains


class TrainingViews:
    """Training batches of a classification, indexed by keys (epoch, key)."""

    def __init__(self, prepared: PreparedData, recipe: TrainRecipe) -> None:
        assert prepared.classes is not None
        assert recipe.classification is not None
        self._cache = prepared.train
        self._classes = len(prepared.classes.names)
        self._encoding, self._part = prepared.classes.encoding, prepared.classes.train
        self._dropout = FieldDropout(recipe)
        self._seed = recipe.seed
        two_domains = recipe.classification.adaptation.method in TWO_DOMAIN_METHODS
        self._other = prepared.unlabelled if two_domains else None
        self._other_part = prepared.classes.unlabelled
        self._mixing = MixupSampler(recipe)

    def __getitem__(self, keys: NDArray[np.int64]) -> ClassBatch:
        """Return a batch as decoded.

        As many images of the other domain follow if the adaptation needs them, then the MixUp and CutMix partners.
        """
        indices = keys[:, 1] % len(self._cache)
        values = self._dropout.read_values(self._part, indices, keys)
        batch = make_class_batch(self._cache, keys, indices, self._part, values, self._encoding, self._classes)
        batch = batch if self._other is None else self._with_other_domain(batch, self._other)
        return self._with_partners(batch)

    def _with_partners(self, batch: ClassBatch) -> ClassBatch:
        """Append the MixUp and CutMix partners of a batch, with their labels."""
        import torch

        partners = self._mixing.draw_partners(batch.keys, len(self._cache))
        if not len(partners):
            return batch
        images, masks = _tensors(self._cache.read(partners))
        labels = torch.from_numpy(self._part.labels[partners])
        return batch._replace(
            images=torch.cat([batch.images, images]),
            masks=torch.cat([batch.masks, masks]),
            partner_shares=torch.nn.functional.one_hot(labels, self._classes).float(),
        )

    def _with_other_domain(self, batch: ClassBatch, other: PixelCache) -> ClassBatch:
        """Append images of the other domain to a batch; their selection depends on seed and keys only."""
        import torch

        indices = np.array(
            [derive_seed(self._seed, OTHER_DOMAIN_SEED, *key) % len(other) for key in batch.keys], np.int64
        )
        images, masks = _tensors(other.read(indices))
        values = self._dropout.read_values(self._other_part, indices, batch.keys + np.array([0, OTHER_DOMAIN_KEY]))
        continuous, categories = table_inputs(values, self._encoding, len(indices))
        return batch._replace(
            images=torch.cat([batch.images, images]),
            masks=torch.cat([batch.masks, masks]),
            continuous=torch.cat([batch.continuous, continuous]),
            categories=torch.cat([batch.categories, categories]),
            domains=torch.cat([batch.domains, torch.from_numpy(self._other_part.domains[indices])]),
        )


class ValidationViews:
    """Batches of a classification without augmentation, resized to the network's input; indexed by the images.

    ``side``: side of the network's input in pixels.
    """

    def __init__(self, cache: PixelCache, part: ClassPart, prepared: PreparedData, side: int) -> None:
        assert prepared.classes is not None
        self._cache, self._part, self._side = cache, part, side
        self._encoding, self._classes = prepared.classes.encoding, len(prepared.classes.names)

    def __getitem__(self, indices: NDArray[np.int64]) -> ClassBatch:
        """Return a batch with keys (0, index)."""
        from torchvision.transforms.v2 import functional

        keys = np.stack([np.zeros_like(indices), indices], axis=1)
        values = None if self._part.values is None else self._part.values.select_rows(indices)
        batch = make_class_batch(self._cache, keys, indices, self._part, values, self._encoding, self._classes)
        if not len(indices):
            return batch
        size = [self._side, self._side]
        return batch._replace(images=functional.resize(batch.images, size, antialias=True))


def make_class_batch(
    cache: PixelCache,
    keys: NDArray[np.int64],
    indices: NDArray[np.int64],
    part: ClassPart,
    values: TableValues | None,
    encoding: TabularEncoding | None,
    classes: int,
) -> ClassBatch:
    """Assemble a batch.

    ``keys``: int64 (batch, 2): epoch and key of each image. ``indices``: int64 (batch,), indices of the images in
    ``cache`` and ``part``. ``values``: tabular values of these images; None without a table. ``classes``: number of
    classes.
    """
    import torch

    images, masks = _tensors(cache.read(indices))
    continuous, categories = table_inputs(values, encoding, len(indices))
    shares = torch.nn.functional.one_hot(torch.from_numpy(part.labels[indices]), classes).float()
    domains = torch.from_numpy(part.domains[indices])
    depth = torch.from_numpy(part.depth_mm[indices]).float()
    return ClassBatch(images, masks, keys, shares, continuous, categories, domains, shares[:0], depth)


class MixupSampler:
    """Draws which images of a batch are mixed by MixUp or CutMix, with which partners, and how."""

    def __init__(self, recipe: TrainRecipe) -> None:
        assert recipe.classification is not None
        self._mixup, self._cutmix = recipe.classification.mixup, recipe.classification.cutmix
        self._seed = recipe.seed

    def select(self, keys: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the indices of the images that are mixed, ascending.

        ``keys``: int64 (image, 2), of a batch.
        """
        if not (self._mixup or self._cutmix):
            return np.zeros(0, np.intp)
        draws = self._draws(keys)
        return np.flatnonzero((draws[:, 0] < self._mixup) | (draws[:, 4] < self._cutmix))

    def draw_partners(self, keys: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Choose the partners of the mixed images.

        ``keys``: int64 (image, 2), of a batch. Returns int64, one index for each image of ``select``; never the image
        itself if there is another.
        """
        chosen = self.select(keys)
        if not len(chosen):
            return np.zeros(0, np.int64)
        offset = 1 + (self._draws(keys[chosen])[:, 5] * max(1, count - 1)).astype(np.int64)
        return (keys[chosen, 1] + offset) % count

    def blend_masks(self, keys: NDArray[np.int64], side: int) -> NDArray[np.float32]:
        """Return the share of the partner in each pixel: constant (MixUp, Zhang 2018) or a patch (CutMix, Yun 2019).

        ``keys``: int64 (image, 2), of the mixed images. ``side``: side of the images in pixels. Returns float32 (image,
        row, column) in [0, 1]; the mean share of an image is one half or less.
        """
        shares = np.zeros((len(keys), side, side), np.float32)
        for number, (mixup_draw, amount, row, column, *_) in enumerate(self._draws(keys)):
            if mixup_draw < self._mixup:
                shares[number] = amount / 2
                continue
            length = int(np.sqrt(amount / 2) * side)
            top, left = int(row * (side - length + 1)), int(column * (side - length + 1))
            shares[number, top : top + length, left : left + length] = 1
        return shares

    def _draws(self, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """Random numbers in [0, 1), (image, draw)."""
        numbers = [
            np.random.default_rng(derive_seed(self._seed, MIX_SEED, *key)).random(DRAWS_PER_IMAGE) for key in keys
        ]
        return np.array(numbers).reshape(-1, DRAWS_PER_IMAGE)
