"""What the changes of look have in common: images that are not chosen cost nothing, and masks mostly stay."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.training.augment.chances import Chances
    from napari_melanoma.training.recipe import AugmentationConfig


class Chosen(v2.Transform):
    """What befalls some images of a batch; the others cost nothing."""

    name: str  # of the number that decides, and of the field ``<name>_probability``

    def __init__(self, config: AugmentationConfig) -> None:
        super().__init__()
        self._probability: float = getattr(config, f"{self.name}_probability")

    @property
    def is_on(self) -> bool:
        """Whether it can befall any image."""
        return self._probability > 0

    def forward(
        self, image: tv_tensors.Image, mask: tv_tensors.Mask, chance: Chances
    ) -> tuple[tv_tensors.Image, tv_tensors.Mask, Chances]:
        """Change the chosen images of a batch in place, float32 in [0, 255], and their masks of 0 and 255."""
        chosen = chance.chosen(self.name, self._probability)
        if len(chosen):
            images, masks = image.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor)
            places = torch.from_numpy(chosen).to(images.device, non_blocking=True)
            self._befall(images, masks, places, chance.of(chosen))
        return image, mask, chance

    @abstractmethod
    def _befall(self, images: Tensor, masks: Tensor, places: Tensor, chance: Chances) -> None:
        """Change the images and masks at some places of a batch; ``chance`` is that of these alone."""


class Look(Chosen):
    """A change of look: masks stay as they are."""

    def _befall(self, images: Tensor, masks: Tensor, places: Tensor, chance: Chances) -> None:
        """Change the images."""
        images[places] = self._change(images[places], chance).clamp_(0, 255)

    @abstractmethod
    def _change(self, images: Tensor, chance: Chances) -> Tensor:
        """Change images.

        ``images``: float32 (chosen, 3, row, column) in [0, 255], a copy. Returns alike; values outside the range are
        clipped by the caller.
        """


def on(device: torch.device, values: NDArray[np.float64]) -> Tensor:
    """Bring one number for each image to where the images are.

    ``values``: float64 (image, ...). Returns float32 of the same shape.
    """
    return torch.from_numpy(values.astype(np.float32)).to(device, non_blocking=True)


def pixel_centres(images: Tensor) -> tuple[Tensor, Tensor]:
    """Give where the pixels of images are, in shares of their sides.

    ``images``: float (batch, 3, row, column). Of the images' type, (1, row, 1) and (1, 1, column), in [0, 1].
    """
    rows, columns = (
        (torch.arange(count, device=images.device, dtype=images.dtype) + 0.5) / count for count in images.shape[-2:]
    )
    return rows[None, :, None], columns[None, None, :]
