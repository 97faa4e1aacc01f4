"""The one place where images of odd sizes are made to fit: every network of the zoo stands inside an ``AnySize``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import pad

if TYPE_CHECKING:
    from torch import Tensor

SIZE_MULTIPLE = 32  # the most that any network of the zoo shrinks an image by
INNER_PREFIX = "network."


class PaddedNetwork(nn.Module):
    """A network that takes images of any size: the border is repeated up to a multiple of 32 and cut off again.

    The names of its state are those of the network inside, so that weights fit with and without it.

    ``network``: float (batch, 3, row, column), sides divisible by 32, to logits (batch, class, row, column).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_state_dict_post_hook(_strip_inner_prefix)
        self.register_load_state_dict_pre_hook(_add_inner_prefix)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits, float (batch, class, row, column), of images (batch, 3, row, column) of any size."""
        rows, columns = images.shape[-2:]
        below, beside = -rows % SIZE_MULTIPLE, -columns % SIZE_MULTIPLE
        if not torch.jit.is_tracing() and not (below or beside):  # a trace follows one way for all sizes
            return self.network(images)
        return self.network(pad(images, (0, beside, 0, below), mode="replicate"))[..., :rows, :columns]


def _strip_inner_prefix(module: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    """Let a state that is written not show that the network stands inside another."""
    for name in [name for name in state if name.startswith(prefix + INNER_PREFIX)]:
        state[prefix + name.removeprefix(prefix + INNER_PREFIX)] = state.pop(name)


def _add_inner_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Find the network's own names in a state that is read."""
    for name in [name for name in state if name.startswith(prefix)]:
        state[prefix + INNER_PREFIX + name.removeprefix(prefix)] = state.pop(name)
