"""P2's simple CNN: three convolutions and two fully connected layers that draw a coarse mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from napari_melanoma.core.config import Config, FilledIn
from napari_melanoma.models.blocks.options import P2
from napari_melanoma.models.zoo import Spec

if TYPE_CHECKING:
    from torch import nn


class SimpleCNNConfig(Config):
    """Options of P2's baseline, of which the paper says only the numbers of its layers.

    Fully connected layers need a fixed number of values: features are brought to a grid of ``grid`` x ``grid``, and
    the coarse mask that comes out is enlarged to the image.
    """

    channels: int = Field(16, ge=4, description="of the first convolution; the next two have twice and four times that")
    hidden: int = Field(256, ge=4, description="values between the two fully connected layers")
    grid: int = Field(16, ge=4, le=64, description="side of the features that go into the fully connected layers")
    mask_size: int = Field(64, ge=8, le=256, description="side of the mask that comes out of them")
    dropout: float = Field(0.0, ge=0, lt=1, description="share dropped before each fully connected layer")
    classes: Annotated[int, FilledIn()] = Field(1, ge=1, description="maps that come out")


SPEC = Spec(
    name="simple_cnn",
    title="Simple CNN (P2)",
    reference=f"{P2}, table 1",
    config=SimpleCNNConfig,
    small={"channels": 4, "hidden": 32, "grid": 8, "mask_size": 32},
)


def build(config: SimpleCNNConfig) -> nn.Module:
    """Build the network with random weights.

    Returns float (batch, 3, row, column), sides divisible by 8, to logits (batch, class, row, column).
    """
    from napari_melanoma.models.blocks.baselines import SimpleCNN

    return SimpleCNN(config)
