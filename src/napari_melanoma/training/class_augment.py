"""How a batch of a classification is varied where the network is; images are mixed together with their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_melanoma.training.augment.batch import BatchAugmentation
from napari_melanoma.training.seeds import seed_of

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.training.class_batch import ClassBatch
    from napari_melanoma.training.recipe import TrainRecipe

MIX = 12  # what a seed is for, beside those of sampling
OFF = {"elsewhere_probability": 0.0, "mosaic_probability": 0.0, "cutmix_probability": 0.0}  # they would lose the lesion


class ClassAugmentation:
    """Varies batches; what becomes of an image follows from the seed and its key, and from its neighbour where mixed.

    Parameters
    ----------
    recipe : TrainRecipe
        Its augmentation, chances of mixing, input size and seed.
    """

    def __init__(self, recipe: TrainRecipe) -> None:
        assert recipe.classification is not None
        config = recipe.augmentation.model_copy(update=OFF)
        self._vary = BatchAugmentation(config, recipe.model.input_size, recipe.seed)
        self._mixup, self._cutmix = recipe.classification.mixup, recipe.classification.cutmix
        self._seed = recipe.seed

    def __call__(self, batch: ClassBatch) -> ClassBatch:
        """Vary a batch.

        Parameters
        ----------
        batch : ClassBatch
            As it was decoded.

        Returns
        -------
        ClassBatch
            Images float32 in [0, 255] of the network's size; shares of what was mixed.
        """
        images, _ = self._vary(batch.images, batch.masks, batch.keys)
        shares = batch.shares
        if self._mixup or self._cutmix:
            images, shares = self._mixed(batch, images)
        return batch._replace(images=images, masks=batch.masks[:, :, :0, :0], shares=shares)

    def _mixed(self, batch: ClassBatch, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mix each image with the one before it in the batch (Zhang 2018), or put a patch of that on it (Yun 2019).

        The rows of the table stay those of the image itself, whose share is one half or more.
        """
        side, count = images.shape[-1], len(images)
        draws = np.stack([np.random.default_rng(seed_of(self._seed, MIX, *key)).random(5) for key in batch.keys])
        own = np.ones(count)
        cover = np.zeros((count, side, side), np.float32)  # share of the other image at each pixel
        for place, (chance, amount, row, column, kind) in enumerate(draws):
            if chance < self._mixup:
                cover[place] = amount / 2
            elif kind < self._cutmix:
                length = int(np.sqrt(amount / 2) * side)
                top, left = int(row * (side - length + 1)), int(column * (side - length + 1))
                cover[place, top : top + length, left : left + length] = 1
            own[place] = 1 - cover[place].mean()
        covers = torch.from_numpy(cover).to(images.device)[:, None]
        kept = torch.from_numpy(own).float().to(images.device)[:, None]
        shares = batch.shares * kept + batch.shares.roll(1, 0) * (1 - kept)
        return torch.lerp(images, images.roll(1, 0), covers), shares
