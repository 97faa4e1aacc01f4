"""How a batch of a classification is varied where the network is; images are mixed together with their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_melanoma.training.adaptation.fourier import swap_amplitudes
from napari_melanoma.training.augment.batch import BatchAugmentation
from napari_melanoma.training.seeds import seed_of

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.training.class_batch import ClassBatch
    from napari_melanoma.training.recipe import TrainRecipe

MIX, LIGHT = 12, 14  # what a seed is for, beside those of sampling
ANOTHER = 2**40  # added to the key of an image for the one of another domain behind it
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
        self._adaptation = recipe.classification.adaptation

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
        keys, count = batch.keys, len(batch.keys)
        if len(batch.images) > count:  # of another domain, varied by keys that no other image has
            keys = np.concatenate([keys, keys + np.array([0, ANOTHER])])
        images, _ = self._vary(batch.images, batch.masks, keys)
        if self._adaptation.method == "fourier" and len(images) > count:
            images = self._in_their_light(images[:count], images[count:], batch)
        shares = batch.shares
        if self._mixup or self._cutmix:
            own, shares = self._mixed(batch, images[:count])
            images = torch.cat([own, images[count:]])
        return batch._replace(images=images, masks=batch.masks[:, :, :0, :0], shares=shares)

    def _in_their_light(self, images: Tensor, others: Tensor, batch: ClassBatch) -> Tensor:
        """Give some of the images the low frequencies of the other domain, whose images are of no further use."""
        draws = np.array([np.random.default_rng(seed_of(self._seed, LIGHT, *key)).random() for key in batch.keys])
        chosen = torch.from_numpy(draws < self._adaptation.strength).to(images.device)[:, None, None, None]
        return torch.where(chosen, swap_amplitudes(images, others, self._adaptation.reach), images)

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
