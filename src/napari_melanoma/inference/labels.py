"""From images to the class of each pixel with a bundle of several classes; torch is imported when one is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.preprocessing import network_input
from napari_melanoma.core.errors import BundleError
from napari_melanoma.inference.drawing import DrawingModel
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.preprocessing import to_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Labeller(DrawingModel):
    """A bundle's network, ready to say of each pixel how likely it is of each class."""

    @staticmethod
    def refuse(info: BundleInfo) -> None:
        """Refuse a model that does not draw several classes, as ``DrawingModel.refuse`` says."""
        if info.config.task != "segmentation" or info.config.draws_one_class:
            raise BundleError(f"'{info.name}' does not draw several classes, expected a model that does.")

    def probabilities(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Say of each pixel how likely it is of each class.

        ``rgb``: uint8 (row, column, channel), of any size; squeezed to the bundle's input size. Returns float32 (class,
        row, column) of the image's size, adding up to 1 over the classes: by a softmax over the network's maps, which
        are brought to the image's size first.
        """
        import torch

        config = self.info.config
        given = network_input(rgb, config.input_size, config.preprocessing)
        with torch.inference_mode():
            logits = self._network(to_tensor([given], config).to(self.device))[0].float()
            if logits.shape[1:] != rgb.shape[:2]:
                logits = torch.nn.functional.interpolate(logits[None], rgb.shape[:2], mode="bilinear")[0]
            return logits.softmax(0).cpu().numpy()

    def labels(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Say of which class each pixel is.

        ``rgb``: uint8 (row, column, channel), of any size. Returns uint8 (row, column): the most probable class, in the
        order of the bundle's; of equals the first.
        """
        return self.probabilities(rgb).argmax(0).astype(np.uint8)
