"""From a photograph that was fitted to a network's tensor, and from its answer back to the photograph's size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from napari_melanoma.models.bundle import BundleConfig


def to_tensor(images: list[NDArray[np.uint8]], config: BundleConfig) -> torch.Tensor:
    """Stack and normalise photographs as a bundle wants them.

    ``images``: uint8 (row, column, channel), all of one size. Returns float32 (batch, channel, row, column) in
    channels_last memory.
    """
    import torch

    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    mean = torch.tensor(config.mean).view(1, 3, 1, 1)
    std = torch.tensor(config.std).view(1, 3, 1, 1)
    return ((batch.float() / 255.0 - mean) / std).contiguous(memory_format=torch.channels_last)


def restore_size(logits: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bring a network's map back to the photograph's size and turn logits into probability.

    The logits are interpolated, not the probability: their zero crossing moves smoothly between pixels, so
    a border that the network draws coarsely becomes a smooth curve.

    ``logits``: float32 (row, column). Returns float32 (row, column) in [0, 1].
    """
    from PIL import Image  # the docks import this when they open

    resized = Image.fromarray(logits).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    probability = np.array(resized, dtype=np.float32)
    np.negative(probability, out=probability)
    np.clip(probability, -30.0, 30.0, out=probability)
    np.exp(probability, out=probability)
    probability += 1.0
    return np.reciprocal(probability, out=probability)
