"""DeepLabv3+ (Chen et al. 2018, doi:10.1007/978-3-030-01234-2_49) over any timm encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class DeepLabV3PlusConfig(Config):
    """Options of DeepLabv3+; the default encoder is EfficientNet-Lite0 (Tan and Le 2019, without SE and swish)."""

    encoder: str = Field("tf_efficientnet_lite0", description="name of a timm encoder")
    output_stride: Literal[8, 16] = Field(16, description="downsampling factor of the deepest features")
    levels_left_off: Literal[0, 1, 2] = Field(
        0, title="Omitted encoder levels", description="omitted last levels of the encoder, for a smaller network"
    )
    decoder_channels: int = Field(256, ge=16, description="channels of the decoder")
    classes: Annotated[int, Computed()] = Field(1, ge=1, description="number of output maps")


LEVELS = 5  # of an encoder

SPEC = ArchitectureSpec(
    name="deeplabv3plus",
    title="DeepLabv3+",
    reference="Chen et al. 2018, doi:10.1007/978-3-030-01234-2_49",
    config=DeepLabV3PlusConfig,
    small={"encoder": "test_efficientnet", "decoder_channels": 16},
)


def build(config: DeepLabV3PlusConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column) with sides divisible by ``output_stride`` to logits (batch, class, row, column).
    """
    from segmentation_models_pytorch import DeepLabV3Plus

    from napari_melanoma.models.blocks.timm_encoder import remove_unused_blocks

    network = DeepLabV3Plus(
        f"tu-{config.encoder}",
        encoder_depth=LEVELS - config.levels_left_off,
        encoder_weights=None,
        encoder_output_stride=config.output_stride,
        decoder_channels=config.decoder_channels,
        classes=config.classes,
    )
    if config.levels_left_off:
        remove_unused_blocks(network.encoder.model)
    return network
