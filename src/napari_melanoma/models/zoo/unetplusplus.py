"""U-Net++ (Zhou et al. 2018, doi:10.1007/978-3-030-00889-5_1) with its dense skip connections, over any encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class UNetPlusPlusConfig(Config):
    """Options of the dense U-Net++; its depth follows the number of decoder levels."""

    encoder: str = Field("tf_efficientnet_lite0", description="an encoder of segmentation-models-pytorch or timm")
    decoder_channels: tuple[int, ...] = Field(
        (256, 128, 64, 32, 16), min_length=3, max_length=5, description="channels of each decoder level, deepest first"
    )
    classes: Annotated[int, Computed()] = Field(1, ge=1, description="number of output maps")


SPEC = ArchitectureSpec(
    name="unetplusplus",
    title="U-Net++ (dense)",
    reference="Zhou et al. 2018, doi:10.1007/978-3-030-00889-5_1",
    config=UNetPlusPlusConfig,
    small={"encoder": "test_efficientnet", "decoder_channels": [32, 16, 16, 8, 8]},
)


def build(config: UNetPlusPlusConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column) with sides divisible by 32 to logits (batch, class, row, column).
    """
    from segmentation_models_pytorch import UnetPlusPlus

    from napari_melanoma.models.smp_networks import build_smp

    return build_smp(
        UnetPlusPlus,
        config.encoder,
        config.classes,
        encoder_depth=len(config.decoder_channels),
        decoder_channels=config.decoder_channels,
    )
