"""The network of an exported file, from the pixels of an image to the values of the product; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_melanoma.imaging.preprocessing import VIEWS
from napari_melanoma.models.blocks.test_time_augmentation import make_views, repeat_for_views, segment_views

if TYPE_CHECKING:
    from napari_melanoma.core.prediction_config import TabularShape
    from napari_melanoma.models.bundle import BundleConfig


class PhotographNetwork(nn.Module):
    """A bundle's network with everything around it that other programs would have to repeat.

    This is the normalization, the mean over turned and mirrored images and, for a classifier, temperature, bias and
    softmax.
    """

    mean: Tensor
    std: Tensor
    bias: Tensor

    def __init__(self, network: nn.Module, config: BundleConfig) -> None:
        super().__init__()
        classifier = config.classifier
        self.network = network
        self.tabular: TabularShape | None = getattr(network, "tabular", None)
        self.views: int = config.turned_views or 1
        if classifier is not None and classifier.test_time_augmentation:
            self.views = len(VIEWS)
        self.temperature = None if classifier is None else classifier.temperature
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1))
        bias = classifier.bias if classifier is not None else ()
        self.register_buffer("bias", torch.tensor(bias or (0.0,)))
        self.eval()

    def forward(self, images: Tensor, continuous: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        """Return the values for a batch of images.

        ``images``: uint8 RGB (batch, row, column, channel=3). ``continuous``: float (batch, input). ``categories``:
        int64 (batch, embedding). Returns logits, float (batch, class, row, column), or the calibrated probabilities of
        a classifier, float (batch, class).
        """
        pixels = (images.permute(0, 3, 1, 2).float() / 255.0 - self.mean) / self.std
        if self.temperature is None:
            return segment_views(self.network, pixels, self.views).mean(1)
        views = make_views(pixels, self.views)
        given = {"continuous": continuous, "categories": categories}
        table = {name: repeat_for_views(values, views.shape[1]) for name, values in given.items() if values is not None}
        logits: Tensor = self.network(views.flatten(0, 1), **table).unflatten(0, (-1, views.shape[1])).mean(1)
        return (logits / self.temperature + self.bias).softmax(1)
