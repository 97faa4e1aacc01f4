"""R2U-Net (Alom et al. 2018, arXiv:1802.06955): a U-Net of recurrent residual blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.models.blocks.options import RecurrentConfig
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class R2UNetConfig(RecurrentConfig):
    """Options of R2U-Net; 6.0 million weights with 16 channels (P4: 6 million).

    In the original, the steps of a recurrent convolution share their weights, and the network has 2 million weights. To
    reach the number in P4, each of t = 2 steps has its own weights, and upsampling has none.
    """

    channels: int = Field(
        16, ge=4, description="channels of the first level, doubled at each level below (P4: 16 to 64)"
    )


SPEC = ArchitectureSpec(
    name="r2_unet",
    title="R2U-Net",
    reference="Alom et al. 2018, arXiv:1802.06955",
    config=R2UNetConfig,
    small={"channels": 8, "depth": 2},
)


def build(config: R2UNetConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column) with sides divisible by 2^depth to logits (batch, class, row, column).
    """
    from napari_melanoma.models.blocks.convolutions import UShapeNetwork, choose_recurrent_block

    return UShapeNetwork(config, choose_recurrent_block(config))
