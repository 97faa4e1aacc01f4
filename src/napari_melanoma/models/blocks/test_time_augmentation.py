"""Test-time augmentation of classifiers: predictions are averaged over flipped views of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from napari_melanoma.imaging.preprocessing import FLIPS

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.models.blocks.biomarker import BiomarkerNetwork
    from napari_melanoma.models.blocks.classifier import ClassifierNetwork


def encode_views(network: ClassifierNetwork, images: Tensor, *, mirrored: bool) -> tuple[Tensor, Tensor]:
    """Run the encoder on the views of images: all flips if ``mirrored``, else the images alone.

    ``images``: normalized float (batch, 3, row, column). Returns float (batch, view, channel, row, column), the deepest
    maps of each view, and float (batch, feature), the mean embedding over the views.
    """
    flips = FLIPS if mirrored else FLIPS[:1]
    maps = network.encode(torch.cat([images.flip(axes) for axes in flips]))
    embedding = network.embed(maps).unflatten(0, (len(flips), len(images))).mean(0)
    return maps[-1].unflatten(0, (len(flips), len(images))).transpose(0, 1), embedding


def classify_views(network: ClassifierNetwork, deepest: Tensor, continuous: Tensor, categories: Tensor) -> Tensor:
    """Run the head on each view, and average the logits.

    ``deepest``: float (batch, view, channel, row, column). ``continuous``: float (batch, input). ``categories``: int64
    (batch, embedding). Returns the mean logits, float (batch, class).
    """
    views = deepest.shape[1]
    table = (inputs.repeat_interleave(views, dim=0) for inputs in (continuous, categories))
    return network.classify([deepest.flatten(0, 1)], *table).unflatten(0, (len(deepest), views)).mean(1)


def predict_depth_of_views(network: ClassifierNetwork, deepest: Tensor) -> Tensor | None:
    """Average the predicted depth over the views.

    ``deepest``: float (batch, view, channel, row, column). Returns float (batch, 1 or 2), as
    ``BiomarkerNetwork.predict_depth``; None for networks without a depth module.
    """
    if not network.predicts_depth:
        return None
    depth = cast("BiomarkerNetwork", network).predict_depth([deepest.flatten(0, 1)])
    return depth.unflatten(0, deepest.shape[:2]).mean(1)
