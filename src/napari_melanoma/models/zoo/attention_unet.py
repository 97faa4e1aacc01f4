"""Attention U-Net (Oktay et al. 2018, arXiv:1804.03999): a U-Net whose skip connections are gated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.models.blocks.options import UShapeConfig
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class AttentionUNetConfig(UShapeConfig):
    """Options of the Attention U-Net; 31.9 million weights with 64 channels (P4: 32 million).

    P4 derives it from its U-Net, so the default dropout is 0.2 here too.
    """

    channels: int = Field(
        64, ge=4, description="channels of the first level, doubled at each level below (P4: 16 to 64)"
    )


SPEC = ArchitectureSpec(
    name="attention_unet",
    title="Attention U-Net",
    reference="Oktay et al. 2018, arXiv:1804.03999",
    config=AttentionUNetConfig,
    small={"channels": 8},
)


def build(config: AttentionUNetConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column) with sides divisible by 2^depth to logits (batch, class, row, column).
    """
    from napari_melanoma.models.blocks.convolutions import UShapeNetwork, choose_plain_block

    return UShapeNetwork(config, choose_plain_block(config), gated=True)
