"""From pictures to embeddings: what the deepest level of a bundle's encoder makes of them, as one vector each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from napari_melanoma.core.errors import BundleError
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.models.bundle import BundleInfo, load_network
from napari_melanoma.models.inference import choose_device, to_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn


class Embedder:
    """A bundle's encoder, ready to give pictures of lesions a place among each other.

    ``encoder``: its encoder, in evaluation mode: (batch, 3, row, column) to feature maps, the deepest last.
    """

    def __init__(self, info: BundleInfo, encoder: nn.Module, device: str = "cpu") -> None:
        self.info = info
        self.device = device
        self._encoder = encoder.to(device)

    @classmethod
    def load(cls, info: BundleInfo, device: str | None = None) -> Self:
        """Load the encoder of a bundle."""
        from napari_melanoma.models.zoo import find_encoder

        encoder = find_encoder(load_network(info))
        if encoder is None:
            raise BundleError(
                f"the network of '{info.name}' ({info.config.architecture}) has no encoder whose features pictures "
                "could be compared by. Name another model, such as lesion-small."
            )
        return cls(info, encoder, device or choose_device())

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed pictures: the mean of each feature of the deepest level over the picture.

        ``images``: each uint8 (row, column, channel), sRGB, of any size; squeezed to the bundle's input size. Returns
        float32 (image, feature).
        """
        config = self.info.config
        return self.vectors([prepare_network_input(image, config.input_size, config.preprocessing) for image in images])

    def vectors(self, inputs: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Run the encoder alone, on pictures that have its input size already (``network_input``).

        ``inputs``: each uint8 (side, side, channel). Returns float32 (image, feature).
        """
        import torch

        if not inputs:
            return np.zeros((0, 0), np.float32)
        with torch.inference_mode():
            maps = self._encoder(to_tensor(list(inputs), self.info.config).to(self.device))
            deepest = maps[-1] if isinstance(maps, list | tuple) else maps
            return deepest.float().mean(dim=(2, 3)).cpu().numpy()
