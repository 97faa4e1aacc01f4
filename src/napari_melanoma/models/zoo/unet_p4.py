"""The classical U-Net (Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28) as P4 trains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.models.blocks.options import Upsampling, UShapeConfig
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class PlainUNetConfig(UShapeConfig):
    """Options of the classical U-Net with zero-padding; 7.8 million weights with 32 channels (P4: 8 million).

    P4 uses a dropout of 0.2 and does not mention batch normalization, without which a network of this depth trains
    slowly from random weights: so it is an option, and the default.
    """

    upsampling: Upsampling = Field(
        "transposed", description="transposed: trained 2 x 2 convolutions; otherwise an interpolation without weights"
    )


SPEC = ArchitectureSpec(
    name="unet_p4",
    title="U-Net (classical)",
    reference="Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28",
    config=PlainUNetConfig,
    small={"channels": 8},
)


def build(config: PlainUNetConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column) with sides divisible by 2^depth to logits (batch, class, row, column).
    """
    from napari_melanoma.models.blocks.convolutions import UShapeNetwork, choose_plain_block

    return UShapeNetwork(config, choose_plain_block(config))
