"""How a classifier looks at a view once, or four times: as it is and mirrored; learning and use share it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.models.blocks.biomarker import BiomarkerNetwork
    from napari_melanoma.models.blocks.classifier import ClassifierNetwork

FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))  # axes that are turned round; a lesion has no up


def encode_views(network: ClassifierNetwork, images: Tensor, *, mirrored: bool) -> tuple[Tensor, Tensor]:
    """Run the encoder.

    ``images``: normalised float (batch, 3, row, column). Returns float (batch, look, channel, row, column): the deepest
    map of each look. Returns float (batch, feature), the mean over the looks.
    """
    mirrors = FLIPS if mirrored else FLIPS[:1]
    maps = network.encode(torch.cat([images.flip(axes) for axes in mirrors]))
    embedding = network.embed(maps).unflatten(0, (len(mirrors), len(images))).mean(0)
    return maps[-1].unflatten(0, (len(mirrors), len(images))).transpose(0, 1), embedding


def classify_views(network: ClassifierNetwork, deepest: Tensor, continuous: Tensor, categories: Tensor) -> Tensor:
    """Run the head on each look, and average what it says.

    ``deepest``: float (batch, look, channel, row, column). ``continuous``: float (batch, input). ``categories``: int64
    (batch, embedding). Returns float (batch, class): logits.
    """
    looks = deepest.shape[1]
    table = (each.repeat_interleave(looks, dim=0) for each in (continuous, categories))
    return network.classify([deepest.flatten(0, 1)], *table).unflatten(0, (len(deepest), looks)).mean(1)


def predict_depth_of_views(network: ClassifierNetwork, deepest: Tensor) -> Tensor | None:
    """Average the depth that each look tells.

    ``deepest``: float (batch, look, channel, row, column). Returns float (batch, 1 or 2), as
    ``BiomarkerNetwork.told_depth`` gives it; None of a network that tells none.
    """
    if not network.predicts_depth:
        return None
    told = cast("BiomarkerNetwork", network).predict_depth([deepest.flatten(0, 1)])
    return told.unflatten(0, deepest.shape[:2]).mean(1)
