"""Letting a model of slides remember the textures of its training tiles, so that it can say what is unlike them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.novelty import FEWEST, Novelty, threshold
from napari_melanoma.models.reference import remembered, textures_alone
from napari_melanoma.models.zoo import encoder_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import nn

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.training.task import Task
    from napari_melanoma.workflows.task_kinds import Finished


def with_textures(finished: Finished, task: Task, learnt: Iterable, tuning: Iterable, run: RunContext) -> Finished:
    """Add the textures of the training tiles to what a bundle remembers, and the distance of what is unlike them.

    ``learnt``, ``tuning``: batches of what was learnt from and of what was not, as they are; uint8 images (batch, 3,
    row, column) first. Returns the same where the network has no encoder, or there are too few tiles.
    """
    encoder = encoder_of(task.network)
    if encoder is None:
        return finished
    task.eval()
    known, others = (_textures(task, encoder, batches, run) for batches in (learnt, tuning))
    if len(known) < FEWEST:
        return finished
    kept = known[remembered(np.zeros(len(known), np.int64))].astype(np.float16)
    limit = threshold(Novelty.fit(kept).distance(others))
    reference = finished.reference
    reference = replace(reference, textures=kept) if reference else textures_alone(kept, len(finished.config.classes))
    return replace(finished, config=finished.config.model_copy(update={"unlike": limit}), reference=reference)


def _textures(task: Task, encoder: nn.Module, batches: Iterable, run: RunContext) -> NDArray[np.float32]:
    """Give the texture of each image."""
    import torch

    from napari_melanoma.models.blocks.texture import texture

    found = []
    with torch.inference_mode():
        for batch in run.track(batches, "Remembering what was learnt from"):
            images = batch[0].to(task.device)
            found.append(texture(encoder(task.normalised(images)), images.shape[-1]).cpu().numpy())
    return np.concatenate(found)
