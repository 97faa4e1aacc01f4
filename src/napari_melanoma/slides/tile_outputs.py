"""Modules that convert the outputs of a network to the outputs of tiles, in float32; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_melanoma.models.blocks.test_time_augmentation import classify_views, encode_views

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.core.prediction_config import ClassifierConfig
    from napari_melanoma.models.blocks.classifier import ClassifierNetwork


class ClassProbabilities(nn.Module):
    """Calibrated probabilities of a classifier."""

    def __init__(self, network: ClassifierNetwork, config: ClassifierConfig) -> None:
        super().__init__()
        self.network = network
        self._temperature, self._mirrored = config.temperature, config.mirrored
        self._bias = torch.tensor(config.bias or (0.0,))

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities, float32 (batch, class), of normalized images (batch, 3, row, column)."""
        deepest, _ = encode_views(self.network, images, mirrored=self._mirrored)
        continuous = images.new_zeros((len(images), 0))
        categories = torch.zeros((len(images), 0), dtype=torch.long, device=images.device)
        logits = classify_views(self.network, deepest, continuous, categories).float()
        return (logits / self._temperature + self._bias.to(logits.device)).softmax(dim=1)


class PixelProbabilities(nn.Module):
    """Probabilities of the pixels of a segmentation: sigmoid for one class, softmax for several."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network = network
        self._multiclass = classes > 1

    def forward(self, images: Tensor) -> Tensor:
        """Return maps, float32 (batch, class, row, column), of normalized images (batch, 3, row, column)."""
        logits: Tensor = self.network(images).float()
        return logits.softmax(dim=1) if self._multiclass else logits.sigmoid()


class MeanEmbedding(nn.Module):
    """Mean of the deepest feature maps of an encoder.

    ``encoder``: in evaluation mode; maps normalized images (batch, 3, row, column) to feature maps, the deepest last.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean of each feature, (batch, feature), of normalized images (batch, 3, row, column)."""
        deepest: Tensor = self.encoder(images)[-1]
        return deepest.mean(dim=(2, 3))
