"""P2's network after U-Net++: each decoding block also sees the encoder block before its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.models.blocks.options import P2_REFERENCE
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class NestedUNetConfig(Config):
    """Options of P2's variant; the paper gives neither channels nor a count of weights.

    Not the dense grid of the original U-Net++: that one is ``unetplusplus``.
    """

    channels: int = Field(32, ge=4, description="of the first level; each level below has twice as many")
    dropout: float = Field(0.0, ge=0, lt=1, description="share dropped between two convolutions (P2 searches for it)")
    classes: Annotated[int, Computed()] = Field(1, ge=1, description="maps that come out")


SPEC = ArchitectureSpec(
    name="unetpp_p2",
    title="U-Net++ (P2)",
    reference=f"{P2_REFERENCE}; after Zhou et al. 2018, doi:10.1007/978-3-030-00889-5_1",
    config=NestedUNetConfig,
    small={"channels": 8},
)


def build(config: NestedUNetConfig) -> nn.Module:
    """Build the network with random weights.

    Returns float (batch, 3, row, column), sides divisible by 16, to logits (batch, class, row, column).
    """
    from napari_melanoma.models.blocks.convolutions import NestedUShapeNetwork

    return NestedUShapeNetwork(config.channels, config.dropout, config.classes)
