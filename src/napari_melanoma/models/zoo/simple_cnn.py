"""P2's simple CNN: three convolutions and two fully connected layers that predict a coarse mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.models.blocks.options import P2_REFERENCE, SimpleCNNConfig
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


SPEC = ArchitectureSpec(
    name="simple_cnn",
    title="Simple CNN (P2)",
    reference=f"{P2_REFERENCE}, table 1",
    config=SimpleCNNConfig,
    small={"channels": 4, "hidden": 32, "grid": 8, "mask_size": 32},
)


def build(config: SimpleCNNConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column) with sides divisible by 8 to logits (batch, class, row, column).
    """
    from napari_melanoma.models.blocks.convolutions import SimpleCNN

    return SimpleCNN(config)
