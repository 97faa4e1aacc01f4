"""Test-time augmentation of classifiers: predictions are averaged over turned and mirrored views of an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from napari_melanoma.imaging.preprocessing import VIEWS, select_views

if TYPE_CHECKING:
    from napari_melanoma.models.blocks.biomarker import BiomarkerNetwork
    from napari_melanoma.models.blocks.classifier import ClassifierNetwork


def make_views(images: Tensor, count: int) -> Tensor:
    """Return ``select_views`` of each image.

    ``images``: float (batch, channel, row, column), square. Returns float (batch, view, channel, row, column).
    """
    turned = [
        (images.transpose(-2, -1) if transposed else images).flip(axes) for transposed, axes in select_views(count)
    ]
    return torch.stack(turned, dim=1)


def segment_views(network: Callable[[Tensor], Tensor], images: Tensor, count: int) -> Tensor:
    """Run a network on views of images, and turn its maps back.

    ``network``: from images to maps of the same rows and columns. ``images``: float (batch, channel, row, column).
    Returns the maps of each view, float (batch, view, class, row, column), in the orientation of the images.
    """
    maps = network(make_views(images, count).flatten(0, 1)).unflatten(0, (-1, count))
    turned = [
        maps[:, number].flip(axes).transpose(-2, -1) if transposed else maps[:, number].flip(axes)
        for number, (transposed, axes) in enumerate(select_views(count))
    ]
    return torch.stack(turned, dim=1)


def encode_views(network: ClassifierNetwork, images: Tensor, *, augmented: bool) -> tuple[Tensor, Tensor]:
    """Run the encoder on the views of images, see ``make_views``.

    ``images``: normalized float (batch, 3, row, column). Returns float (batch, view, channel, row, column), the deepest
    maps of each view, and float (batch, feature), the mean embedding over the views.
    """
    views = make_views(images, len(VIEWS) if augmented else 1)
    maps = network.encode(views.flatten(0, 1))
    split = (-1, views.shape[1])
    return maps[-1].unflatten(0, split), network.embed(maps).unflatten(0, split).mean(1)


def classify_views(network: ClassifierNetwork, deepest: Tensor, continuous: Tensor, categories: Tensor) -> Tensor:
    """Run the head on each view, and average the logits.

    ``deepest``: float (batch, view, channel, row, column). ``continuous``: float (batch, input). ``categories``: int64
    (batch, embedding). Returns the mean logits, float (batch, class).
    """
    views = deepest.shape[1]
    table = (repeat_for_views(inputs, views) for inputs in (continuous, categories))
    return network.classify([deepest.flatten(0, 1)], *table).unflatten(0, (-1, views)).mean(1)


def repeat_for_views(inputs: Tensor, views: int) -> Tensor:
    """Repeat tabular inputs, (batch, input), for each view: (batch * view, input)."""
    return inputs[:, None].expand(-1, views, -1).flatten(0, 1)


def predict_depth_of_views(network: ClassifierNetwork, deepest: Tensor) -> Tensor | None:
    """Average the predicted depth over the views.

    ``deepest``: float (batch, view, channel, row, column). Returns float (batch, 1 or 2), as
    ``BiomarkerNetwork.predict_depth``; None for networks without a depth module.
    """
    if not network.predicts_depth:
        return None
    depth = cast("BiomarkerNetwork", network).predict_depth([deepest.flatten(0, 1)])
    return depth.unflatten(0, (-1, deepest.shape[1])).mean(1)
