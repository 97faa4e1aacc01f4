"""A module that converts the outputs of a classifier to probabilities of tiles, in float32; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_melanoma.models.blocks.test_time_augmentation import classify_views, encode_views

if TYPE_CHECKING:
    from napari_melanoma.core.prediction_config import ClassifierConfig
    from napari_melanoma.models.blocks.classifier import ClassifierNetwork


class ClassProbabilities(nn.Module):
    """Calibrated probabilities of a classifier."""

    def __init__(self, network: ClassifierNetwork, config: ClassifierConfig) -> None:
        super().__init__()
        self.network = network
        self._temperature, self._augmented = config.temperature, config.test_time_augmentation
        self._bias = torch.tensor(config.bias or (0.0,))

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities, float32 (batch, class), of normalized images (batch, 3, row, column)."""
        deepest, _ = encode_views(self.network, images, augmented=self._augmented)
        continuous = images.new_zeros((len(images), 0))
        categories = torch.zeros((len(images), 0), dtype=torch.long, device=images.device)
        logits = classify_views(self.network, deepest, continuous, categories).float()
        return (logits / self._temperature + self._bias.to(logits.device)).softmax(dim=1)
