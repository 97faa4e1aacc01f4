"""How a batch of a classification is varied where the network is; images are mixed together with their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_melanoma.training.adaptation.fourier import swap_amplitudes
from napari_melanoma.training.augment.batch import BatchAugmentation
from napari_melanoma.training.class_batch import ANOTHER, PARTNER
from napari_melanoma.training.class_mixing import Mixing
from napari_melanoma.training.seeds import seed_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.training.class_batch import ClassBatch
    from napari_melanoma.training.recipe import TrainRecipe

LIGHT = 14  # what a seed is for, beside those of sampling
OFF = {"elsewhere_probability": 0.0, "mosaic_probability": 0.0, "cutmix_probability": 0.0}  # they would lose the lesion


class ClassAugmentation:
    """Varies batches; what becomes of an image follows from the seed and its key."""

    def __init__(self, recipe: TrainRecipe) -> None:
        assert recipe.classification is not None
        config = recipe.augmentation.model_copy(update=OFF)
        self._vary = BatchAugmentation(config, recipe.model.input_size, recipe.seed)
        self._mixing = Mixing(recipe)
        self._seed = recipe.seed
        self._adaptation = recipe.classification.adaptation

    def __call__(self, batch: ClassBatch) -> ClassBatch:
        """Vary a batch.

        Returns images float32 in [0, 255] of the network's size; shares of what was mixed.
        """
        keys, count, seen = batch.keys, len(batch.keys), len(batch.domains)
        chosen = self._mixing.chosen(keys)
        behind = [keys]  # each of another domain, and each partner, is varied by a key that no other image has
        if seen > count:
            behind.append(keys + np.array([0, ANOTHER]))
        behind.append(keys[chosen] + np.array([0, PARTNER]))
        varied, _ = self._vary(batch.images, batch.masks, np.concatenate(behind))
        images, partners, shares = varied[:seen], varied[seen:], batch.shares
        if self._adaptation.method == "fourier" and seen > count:
            images = self._in_their_light(images[:count], images[count:], batch)
        depth = batch.depth_mm
        if len(chosen):
            images, shares = self._mixed(batch, images, partners, chosen)
            places = torch.from_numpy(chosen).to(depth.device)
            depth = depth.index_fill(0, places, torch.nan)  # two pictures in one have none
        masks = batch.masks[:seen, :, :0, :0]
        return batch._replace(images=images, masks=masks, shares=shares, partner_shares=shares[:0], depth_mm=depth)

    def _in_their_light(self, images: Tensor, others: Tensor, batch: ClassBatch) -> Tensor:
        """Give some of the images the low frequencies of the other domain, whose images are of no further use."""
        draws = np.array([np.random.default_rng(seed_of(self._seed, LIGHT, *key)).random() for key in batch.keys])
        chosen = torch.from_numpy(draws < self._adaptation.strength).to(images.device)[:, None, None, None]
        return torch.where(chosen, swap_amplitudes(images, others, self._adaptation.reach), images)

    def _mixed(
        self, batch: ClassBatch, images: Tensor, partners: Tensor, chosen: NDArray[np.intp]
    ) -> tuple[Tensor, Tensor]:
        """Mix the chosen images with their partners, and their answers in the same shares.

        The rows of the table stay those of the image itself, whose share is one half or more.
        """
        places = torch.from_numpy(chosen).to(images.device)
        cover = torch.from_numpy(self._mixing.cover(batch.keys[chosen], images.shape[-1])).to(images.device)[:, None]
        lent = cover.mean(dim=(2, 3))
        mixed = torch.lerp(images[places], partners, cover)
        shares = batch.shares[places] * (1 - lent) + batch.partner_shares * lent
        return images.index_copy(0, places, mixed), batch.shares.index_copy(0, places, shares)
