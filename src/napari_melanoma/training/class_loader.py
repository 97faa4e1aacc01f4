"""Batches for classification: views, tabular inputs, and the images that MixUp and CutMix combine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.data.features.encoding import make_network_inputs
from napari_melanoma.training.recipe import OTHER_DOMAIN_KEY, ClassBatch
from napari_melanoma.training.seeds import derive_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.core.prediction_config import TabularEncoding
    from napari_melanoma.data.features.encoding import TableValues
    from napari_melanoma.training.pixel_store import PixelCache
    from napari_melanoma.training.prepare import PreparedData
    from napari_melanoma.training.recipe import ClassPart, TrainRecipe

# Separate the random numbers of these purposes from other uses of the seed.
DROP_SEED, MIX_SEED, FAR_SEED = 11, 12, 13
DRAWS_PER_IMAGE = 6  # MixUp chance, amount, row, column, CutMix chance, partner
TWO_DOMAIN_METHODS = ("adversarial", "coral", "fourier", "pseudo_labels")  # batches hold images of both domains


class TrainingViews:
    """Training batches, indexed by the keys of a batch."""

    def __init__(self, prepared: PreparedData, recipe: TrainRecipe) -> None:
        assert prepared.classes is not None
        assert recipe.classification is not None
        self._cache = prepared.learn
        self._classes = len(prepared.classes.names)
        self._encoding, self._part = prepared.classes.encoding, prepared.classes.learn
        self._drops = recipe.classification.drop_field, recipe.classification.drop_form
        self._seed = recipe.seed
        two_domains = recipe.classification.adaptation.method in TWO_DOMAIN_METHODS
        self._far = prepared.unlabelled if two_domains else None
        self._far_part = prepared.classes.unlabelled
        self._mixing = MixupSampler(recipe)

    def __getitem__(self, keys: NDArray[np.int64]) -> ClassBatch:
        """Return a batch as decoded, followed by as many images of the other domain if the method needs them."""
        indices = keys[:, 1] % len(self._cache)
        values = self._table_values(self._part, indices, keys)
        batch = make_class_batch(self._cache, keys, indices, self._part, values, self._encoding, self._classes)
        batch = batch if self._far is None else self._with_other_domain(batch, self._far)
        return self._with_partners(batch)

    def _with_partners(self, batch: ClassBatch) -> ClassBatch:
        """Append the MixUp and CutMix partners of a batch, with their labels."""
        import torch

        partners = self._mixing.draw_partners(batch.keys, len(self._cache))
        if not len(partners):
            return batch
        images, masks = (torch.from_numpy(pixels) for pixels in self._cache.read(partners))
        labels = torch.from_numpy(self._part.labels[partners])
        return batch._replace(
            images=torch.cat([batch.images, images]),
            masks=torch.cat([batch.masks, masks]),
            partner_shares=torch.nn.functional.one_hot(labels, self._classes).float(),
        )

    def _with_other_domain(self, batch: ClassBatch, far: PixelCache) -> ClassBatch:
        """Append images of the other domain to a batch; the selection depends on its keys only."""
        import torch

        drawn = np.array([derive_seed(self._seed, FAR_SEED, *key) % len(far) for key in batch.keys], np.int64)
        images, masks = (torch.from_numpy(pixels) for pixels in far.read(drawn))
        values = self._table_values(self._far_part, drawn, batch.keys + np.array([0, OTHER_DOMAIN_KEY]))
        continuous, categories = _table_inputs(values, self._encoding, len(drawn))
        return batch._replace(
            images=torch.cat([batch.images, images]),
            masks=torch.cat([batch.masks, masks]),
            continuous=torch.cat([batch.continuous, continuous]),
            categories=torch.cat([batch.categories, categories]),
            domains=torch.cat([batch.domains, torch.from_numpy(self._far_part.domains[drawn])]),
        )

    def _table_values(self, part: ClassPart, indices: NDArray[np.int64], keys: NDArray[np.int64]) -> TableValues | None:
        """Values of the rows without the dropped fields."""
        if part.values is None:
            return None
        values = part.values.select_rows(indices)
        return values.drop_columns(self._drop_mask(keys, values.known.shape[1]))

    def _drop_mask(self, keys: NDArray[np.int64], fields: int) -> NDArray[np.bool_]:
        """Mask of dropped fields, (image, field); it depends on the keys only."""
        field, form = self._drops
        draws = np.stack(
            [np.random.default_rng(derive_seed(self._seed, DROP_SEED, *key)).random(fields + 1) for key in keys]
        )
        return (draws[:, 1:] < field) | (draws[:, :1] < form)


class ValidationViews:
    """Batches resized to the network's input without augmentation, by index.

    ``side``: of the network's input, in pixels.
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
    places: NDArray[np.int64],
    part: ClassPart,
    values: TableValues | None,
    encoding: TabularEncoding | None,
    classes: int,
) -> ClassBatch:
    """Assemble a batch.

    ``keys``: int64 (batch, 2): epoch and key of each image. ``places``: int64 (batch,): indices into the cache.
    """
    import torch

    images, masks = (torch.from_numpy(pixels) for pixels in cache.read(places))
    continuous, categories = _table_inputs(values, encoding, len(places))
    shares = torch.nn.functional.one_hot(torch.from_numpy(part.labels[places]), classes).float()
    domains = torch.from_numpy(part.domains[places])
    depth = torch.from_numpy(part.depth_mm[places]).float()
    return ClassBatch(images, masks, keys, shares, continuous, categories, domains, shares[:0], depth)


def _table_inputs(values: TableValues | None, encoding: TabularEncoding | None, count: int) -> tuple[Tensor, Tensor]:
    """Tabular inputs, of width 0 without a table."""
    import torch

    if values is None or encoding is None:
        return torch.zeros(count, 0), torch.zeros(count, 0, dtype=torch.int64)
    inputs = make_network_inputs(values, encoding)
    return torch.from_numpy(inputs.continuous), torch.from_numpy(inputs.categories)


class MixupSampler:
    """Selects the images of a batch that are mixed, their partners, and the masks of the mixture."""

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
        """Share of the partner in each pixel of mixed images: blended (Zhang 2018), or in a patch (Yun 2019).

        ``keys``: int64 (image, 2), of the mixed images. ``side``: of the images, in pixels. Returns float32 (image,
        row, column) in [0, 1], the mean of each one half or less.
        """
        found = np.zeros((len(keys), side, side), np.float32)
        for number, (chance, amount, row, column, *_) in enumerate(self._draws(keys)):
            if chance < self._mixup:
                found[number] = amount / 2
                continue
            length = int(np.sqrt(amount / 2) * side)
            top, left = int(row * (side - length + 1)), int(column * (side - length + 1))
            found[number, top : top + length, left : left + length] = 1
        return found

    def _draws(self, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """Random numbers in [0, 1), (image, draw)."""
        drawn = [np.random.default_rng(derive_seed(self._seed, MIX_SEED, *key)).random(DRAWS_PER_IMAGE) for key in keys]
        return np.array(drawn).reshape(-1, DRAWS_PER_IMAGE)
