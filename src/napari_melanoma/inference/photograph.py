"""From photographs to probability maps with a bundle's network; torch is imported when a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.preprocessing import network_input
from napari_melanoma.core.errors import BundleError
from napari_melanoma.inference.drawing import DrawingModel
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.preprocessing import restore_size, to_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Segmenter(DrawingModel):
    """A bundle's network, ready to say for each pixel how likely it belongs to a lesion."""

    @staticmethod
    def refuse(info: BundleInfo) -> None:
        """Refuse a model that does not draw one lesion, as ``DrawingModel.refuse`` says."""
        if not info.config.draws_one_class:
            does = f"tells {', '.join(info.config.classes)} apart"
            raise BundleError(f"'{info.name}' {does}, expected a model that draws one lesion, such as lesion-small.")

    def probability(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Say for each pixel of a photograph how likely it belongs to a lesion.

        ``rgb``: uint8 (row, column, channel), sRGB, of any size. Returns float32 (row, column) in [0, 1], of the
        photograph's size.
        """
        return self.probabilities([rgb])[0]

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Do the same for several photographs in one pass of the network.

        ``images``: each uint8 (row, column, channel), of any size. Returns float32 (row, column) each, in the same
        order and of the photographs' sizes.
        """
        config = self.info.config
        logits = self.logits([network_input(image, config.input_size, config.preprocessing) for image in images])
        return [
            restore_size(map_, (image.shape[0], image.shape[1])) for map_, image in zip(logits, images, strict=True)
        ]

    def logits(self, inputs: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Run the network alone, on photographs that have its input size already (``network_input``).

        ``inputs``: each uint8 (side, side, channel). Returns float32 (batch, side, side).
        """
        import torch

        if not inputs:
            side = self.info.config.input_size
            return np.zeros((0, side, side), np.float32)
        with torch.inference_mode():
            batch = to_tensor(list(inputs), self.info.config).to(self.device)
            return self._network(batch)[:, 0].float().cpu().numpy()
