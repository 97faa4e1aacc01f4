"""The one place where images of odd sizes are made to fit: every network of the zoo stands inside an ``AnySize``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import pad

if TYPE_CHECKING:
    from torch import Tensor

MULTIPLE = 32  # the most that any network of the zoo shrinks an image by
INNER = "network."


class AnySize(nn.Module):
    """A network that takes images of any size: the border is repeated up to a multiple of 32 and cut off again.

    The names of its state are those of the network inside, so that weights fit with and without it.

    ``network``: float (batch, 3, row, column), sides divisible by 32, to logits (batch, class, row, column).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_state_dict_post_hook(_take_inner_names)
        self.register_load_state_dict_pre_hook(_give_inner_names)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits, float (batch, class, row, column), of images (batch, 3, row, column) of any size."""
        rows, columns = images.shape[-2:]
        below, beside = -rows % MULTIPLE, -columns % MULTIPLE
        if not torch.jit.is_tracing() and not (below or beside):  # a trace follows one way for all sizes
            return self.network(images)
        return self.network(pad(images, (0, beside, 0, below), mode="replicate"))[..., :rows, :columns]


def _take_inner_names(module: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    """Let a state that is written not show that the network stands inside another."""
    for name in [name for name in state if name.startswith(prefix + INNER)]:
        state[prefix + name.removeprefix(prefix + INNER)] = state.pop(name)


def _give_inner_names(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Find the network's own names in a state that is read."""
    for name in [name for name in state if name.startswith(prefix)]:
        state[prefix + INNER + name.removeprefix(prefix)] = state.pop(name)
