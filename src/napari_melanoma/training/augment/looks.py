"""What the changes of look have in common: masks stay as they are, and images that are not chosen cost nothing."""

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


class Look(v2.Transform):
    """A change of look that befalls some images of a batch.

    Parameters
    ----------
    config : AugmentationConfig
        Says how likely it is.
    """

    name: str  # of the number that decides, and of the field ``<name>_probability``

    def __init__(self, config: AugmentationConfig) -> None:
        super().__init__()
        self._probability: float = getattr(config, f"{self.name}_probability")

    def forward(
        self, image: tv_tensors.Image, mask: tv_tensors.Mask, chance: Chances
    ) -> tuple[tv_tensors.Image, tv_tensors.Mask, Chances]:
        """Change the chosen images of a batch in place, float32 in [0, 255]."""
        chosen = chance.chosen(self.name, self._probability)
        if len(chosen):
            images = image.as_subclass(torch.Tensor)
            places = torch.from_numpy(chosen).to(images.device, non_blocking=True)
            images[places] = self._change(images[places], chance.of(chosen)).clamp_(0, 255)
        return image, mask, chance

    @abstractmethod
    def _change(self, images: Tensor, chance: Chances) -> Tensor:
        """Change images.

        Parameters
        ----------
        images : torch.Tensor
            float32 (chosen, 3, row, column) in [0, 255], a copy.
        chance : Chances
            Of the chosen images.

        Returns
        -------
        torch.Tensor
            Alike; values outside the range are clipped by the caller.
        """


def on(device: torch.device, values: NDArray[np.float64]) -> Tensor:
    """Bring one number for each image to where the images are.

    Parameters
    ----------
    device : torch.device
        Where to.
    values : numpy.ndarray
        float64 (image, ...).

    Returns
    -------
    torch.Tensor
        float32 of the same shape.
    """
    return torch.from_numpy(values.astype(np.float32)).to(device, non_blocking=True)
