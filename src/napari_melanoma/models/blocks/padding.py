"""Padding of images of any size for the segmentation networks of the zoo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import pad

if TYPE_CHECKING:
    from torch import Tensor

SIZE_MULTIPLE = 32  # greatest downsampling factor of the segmentation networks
INNER_PREFIX = "network."


class PaddedNetwork(nn.Module):
    """A wrapper for images of any size: replicates the border up to a multiple of 32, and crops the output.

    The keys of its state are those of the wrapped network, so that weights fit with and without it.

    ``network``: maps float (batch, 3, row, column), sides divisible by 32, to logits (batch, class, row, column).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_state_dict_post_hook(_strip_inner_prefix)
        self.register_load_state_dict_pre_hook(_add_inner_prefix)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, float (batch, class, row, column), of images (batch, 3, row, column) of any size."""
        rows, columns = images.shape[-2:]
        below, right = -rows % SIZE_MULTIPLE, -columns % SIZE_MULTIPLE
        if not torch.jit.is_tracing() and not (below or right):  # a trace must include the padding for all sizes
            return self.network(images)
        return self.network(pad(images, (0, right, 0, below), mode="replicate"))[..., :rows, :columns]


def _strip_inner_prefix(module: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    """Remove the wrapper's prefix from the keys of a state."""
    for name in [name for name in state if name.startswith(prefix + INNER_PREFIX)]:
        state[prefix + name.removeprefix(prefix + INNER_PREFIX)] = state.pop(name)


def _add_inner_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Add the wrapper's prefix to the keys of a state."""
    for name in [name for name in state if name.startswith(prefix)]:
        state[prefix + INNER_PREFIX + name.removeprefix(prefix)] = state.pop(name)
