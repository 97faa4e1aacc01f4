"""U-Net (Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28) over any timm encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class UNetConfig(Config):
    """Options of the U-Net decoder; its depth follows the number of decoder levels."""

    encoder: str = Field("tf_efficientnet_lite0", description="name of a timm encoder")
    decoder_channels: tuple[int, ...] = Field(
        (128, 64, 48, 32, 16), min_length=3, max_length=5, description="channels of each decoder level, deepest first"
    )
    classes: Annotated[int, Computed()] = Field(1, ge=1, description="number of output maps")


SPEC = ArchitectureSpec(
    name="unet",
    title="U-Net",
    reference="Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28",
    config=UNetConfig,
    small={"encoder": "test_efficientnet", "decoder_channels": [16, 16, 8, 8, 8]},
)


def build(config: UNetConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column) with sides divisible by 32 to logits (batch, class, row, column).
    """
    from segmentation_models_pytorch import Unet

    return Unet(
        f"tu-{config.encoder}",
        encoder_weights=None,
        encoder_depth=len(config.decoder_channels),
        decoder_channels=config.decoder_channels,
        classes=config.classes,
    )
