"""The variation of a whole batch, on whichever device it lies: one pass through the transforms of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from napari_melanoma.training.augment.bubbles import Bubbles
from napari_melanoma.training.augment.chances import chances
from napari_melanoma.training.augment.color import ColorJitter
from napari_melanoma.training.augment.covers import Cutout, Vignette
from napari_melanoma.training.augment.hair import Hair
from napari_melanoma.training.augment.jpeg import Recompress
from napari_melanoma.training.augment.mixing import mix
from napari_melanoma.training.augment.partners import is_mixing
from napari_melanoma.training.augment.sharpness import Blur, Coarsen, Noise, Sharpen
from napari_melanoma.training.augment.warp import Warp, are_mirrored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.training.recipe import AugmentationConfig


class BatchAugmentation:
    """Varies batches of images and masks; what becomes of an image follows from the seed and its key alone.

    ``side``: side in pixels of what comes out, a multiple of 16.
    """

    def __init__(self, config: AugmentationConfig, side: int, seed: int, classes: int = 1) -> None:
        self._config = config
        self._seed = seed
        self._classes = classes
        self._still = classes == 1 and config.is_still
        self._side = side
        # In the order in which it befalls a photograph: what lies on the skin, light, lens, sensor, file.
        on_skin = [look(config) for look in (Hair, Bubbles)]
        in_camera = [look(config) for look in (Vignette, Cutout, Coarsen, Blur, Sharpen, Noise, Recompress)]
        self._transforms = v2.Compose(
            [
                Warp(config, side, several=classes > 1),
                *(look for look in on_skin if look.is_on),
                ColorJitter(config),
                *(look for look in in_camera if look.is_on),
            ]
        )

    def __call__(self, images: Tensor, masks: Tensor, keys: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Vary a batch.

        ``images``, ``masks``: uint8 (batch, 3, row, column) and (batch, 1, row, column), on any device; where images
        are mixed, the partners that ``Partners.of`` names follow. ``keys``: int64 (batch, 2): epoch and image of each.
        Returns float32 in [0, 255] (batch, 3, side, side). Returns uint8 0 or 255 (batch, 1, side, side), or the
        numbers of classes.
        """
        if self._still and images.shape[-2:] == (self._side, self._side):
            return self._mirrored(images, masks, keys)
        with torch.no_grad():
            chance = chances(self._seed, keys)
            if self._classes > 1:
                masks = one_hot(masks, self._classes).mul_(255)
            if is_mixing(self._config):
                images, masks = mix(images, masks, chance, self._config)
            image, mask, _ = self._transforms(tv_tensors.Image(images), tv_tensors.Mask(masks), chance)
        return image.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor)

    def _mirrored(self, images: Tensor, masks: Tensor, keys: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Mirror some and leave the others as they are, to the last bit: what an encoder saw of them is known again."""
        chosen = torch.from_numpy(are_mirrored(self._config, chances(self._seed, keys))).to(images.device)
        chosen = chosen[:, None, None, None]
        images, masks = (torch.where(chosen, each.flip(-1), each) for each in (images, masks))
        return images.float(), masks


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Give each class a map of its own.

    ``labels``: uint8 (batch, 1, row, column), numbers of classes. Returns uint8 0 or 1 (batch, class, row, column).
    """
    numbers = torch.arange(classes, dtype=labels.dtype, device=labels.device)
    return (labels == numbers[:, None, None]).to(torch.uint8)
