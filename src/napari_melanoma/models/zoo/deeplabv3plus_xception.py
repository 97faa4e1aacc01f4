"""DeepLabv3+ (Chen et al. 2018, doi:10.1007/978-3-030-01234-2_49) with its own encoder, aligned Xception."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class DeepLabXceptionConfig(Config):
    """Options of DeepLabv3+ over Xception; 41 million weights with the defaults (P4: 41 million)."""

    output_stride: Literal[8, 16] = Field(16, description="downsampling factor of the deepest features")
    width: float = Field(1.0, title="Width multiplier", gt=0, le=2, description="multiplier of the encoder's channels")
    middle: int = Field(
        16,
        title="Middle-flow units",
        ge=1,
        le=32,
        description="units of the middle flow: 16 makes 65 layers, 8 makes 41",
    )
    decoder_channels: int = Field(256, ge=8, description="channels of pyramid pooling and decoder")
    classes: Annotated[int, Computed()] = Field(1, ge=1, description="number of output maps")

    @property
    def imagenet(self) -> str | None:
        """Name of the encoder in timm if ImageNet weights are published for it."""
        published = {16: "xception65.tf_in1k", 8: "xception41.tf_in1k"}
        return published.get(self.middle) if self.width == 1 else None


SPEC = ArchitectureSpec(
    name="deeplabv3plus_xception",
    title="DeepLabv3+ with Xception",
    reference="Chen et al. 2018, doi:10.1007/978-3-030-01234-2_49",
    config=DeepLabXceptionConfig,
    small={"width": 0.125, "middle": 1, "decoder_channels": 32},
)


def build(config: DeepLabXceptionConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column) with sides divisible by ``output_stride`` to logits (batch, class, row, column).
    """
    from napari_melanoma.models.blocks.deeplab import AlignedXception, DeepLab

    encoder = AlignedXception(config.output_stride, config.width, config.middle)
    return DeepLab(encoder, config.output_stride, config.decoder_channels, config.classes)
