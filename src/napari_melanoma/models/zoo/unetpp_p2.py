"""P2's network derived from U-Net++: each decoder block also receives the next shallower encoder block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.models.blocks.options import P2_REFERENCE
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class NestedUNetConfig(Config):
    """Options of P2's variant; the paper states neither channels nor the number of weights.

    The dense grid of the original U-Net++ is ``unetplusplus``.
    """

    channels: int = Field(
        32,
        title="Channels of the first level",
        ge=4,
        description="channels of the first level, doubled at each level below",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout between two convolutions (a searched parameter in P2)")
    classes: Annotated[int, Computed()] = Field(1, ge=1, description="number of output maps")


SPEC = ArchitectureSpec(
    name="unetpp_p2",
    title="U-Net++ (P2)",
    reference=f"{P2_REFERENCE}; after Zhou et al. 2018, doi:10.1007/978-3-030-00889-5_1",
    config=NestedUNetConfig,
    small={"channels": 8},
)


def build(config: NestedUNetConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column) with sides divisible by 16 to logits (batch, class, row, column).
    """
    from napari_melanoma.models.blocks.convolutions import NestedUShapeNetwork

    return NestedUShapeNetwork(config.channels, config.dropout, config.classes)
