"""Attention R2U-Net: recurrent residual blocks (arXiv:1802.06955) and gated skip connections (arXiv:1804.03999)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.models.blocks.options import RecurrentConfig
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class AttentionR2UNetConfig(RecurrentConfig):
    """Options of Attention R2U-Net; 96 million weights with 64 channels, as in P4.

    As in R2U-Net, this number requires separate weights for each step; with shared weights there are 34 million.
    """

    channels: int = Field(
        64, ge=4, description="channels of the first level, doubled at each level below (P4: 16 to 64)"
    )


SPEC = ArchitectureSpec(
    name="attention_r2_unet",
    title="Attention R2U-Net",
    reference="Alom et al. 2018, arXiv:1802.06955; Oktay et al. 2018, arXiv:1804.03999",
    config=AttentionR2UNetConfig,
    small={"channels": 8, "depth": 2, "steps": 1},
)


def build(config: AttentionR2UNetConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column) with sides divisible by 2^depth to logits (batch, class, row, column).
    """
    from napari_melanoma.models.blocks.convolutions import UShapeNetwork, choose_recurrent_block

    return UShapeNetwork(config, choose_recurrent_block(config), gated=True)
