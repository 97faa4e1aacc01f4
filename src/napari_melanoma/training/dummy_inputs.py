"""What a network is fed beside images where its cost is tried out: rows of a table that say nothing; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_melanoma.models.blocks.classifier import ClassifierNetwork

if TYPE_CHECKING:
    from torch import Tensor, nn


def dummy_table_inputs(network: nn.Module, count: int, device: str) -> tuple[Tensor, ...]:
    """Give what a network takes beside images.

    Of a classifier zeros (row, input) and, int64, (row, embedding); of any other network nothing.
    """
    if not isinstance(network, ClassifierNetwork):
        return ()
    shape = network.tabular
    continuous = torch.zeros(count, shape.continuous, device=device)
    return continuous, torch.zeros(count, len(shape.cardinalities), dtype=torch.int64, device=device)
