"""P2's simple CNN: three convolutions and two fully connected layers that predict a coarse mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.models.blocks.options import P2_REFERENCE
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class SimpleCNNConfig(Config):
    """Options of P2's simple CNN, of which the paper states only the number of layers.

    Fully connected layers need a fixed number of values: features are resized to a grid of ``grid`` x ``grid``, and the
    coarse output mask is enlarged to the image.
    """

    channels: int = Field(
        16, ge=4, description="channels of the first convolution; the next two have twice and four times as many"
    )
    hidden: int = Field(256, title="Hidden values", ge=4, description="values between the two fully connected layers")
    grid: int = Field(
        16,
        title="Feature grid size",
        ge=4,
        le=64,
        description="side of the features that go into the fully connected layers",
    )
    mask_size: int = Field(64, title="Output mask size (px)", ge=8, le=256, description="side of their output mask")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before each fully connected layer")
    classes: Annotated[int, Computed()] = Field(1, ge=1, description="number of output maps")


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
