"""DeepLabv3+ with MobileNetV2 (Sandler et al. 2018, doi:10.1109/CVPR.2018.00474) of any width, with a reduced head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class DeepLabMobileNetConfig(Config):
    """Options of DeepLabv3+ over MobileNetV2; 2.1 million weights with width 1, 0.4 million with 0.35 (as P4's).

    These numbers are for the head of the official models with this encoder: pooling over the image and a 1 x 1
    convolution. ``deeplabv3plus_mobilenetv2_full`` also has atrous branches and low-level features.
    """

    width: float = Field(
        1.0, title="Width multiplier", gt=0, le=4, description="multiplier of the encoder's channels (alpha in P4)"
    )
    divisor: Literal[1, 8] = Field(
        1,
        title="Channel divisor",
        description="channels are multiples of this number: 1 as in DeepLab's files, 8 as in MobileNet's",
    )
    output_stride: Literal[8, 16, 32] = Field(16, description="downsampling factor of the features")
    head_channels: int = Field(256, ge=8, description="channels of the head")
    classes: Annotated[int, Computed()] = Field(1, ge=1, description="number of output maps")

    @property
    def imagenet(self) -> str | None:
        """Name of the encoder in timm if ImageNet weights are published for it."""
        published = {0.5: "mobilenetv2_050", 1.0: "mobilenetv2_100", 1.4: "mobilenetv2_140"}
        return published.get(self.width) if self.divisor == 8 or self.width == 1 else None


SPEC = ArchitectureSpec(
    name="deeplabv3plus_mobilenetv2",
    title="DeepLabv3+ with MobileNetV2",
    reference="Sandler et al. 2018, doi:10.1109/CVPR.2018.00474",
    config=DeepLabMobileNetConfig,
    small={"width": 0.35, "head_channels": 64},
)


def build(config: DeepLabMobileNetConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column) with sides divisible by ``output_stride`` to logits (batch, class, row, column).
    """
    from napari_melanoma.models.blocks.deeplab import MobileNetV2, ReducedDeepLab

    encoder = MobileNetV2(config.output_stride, config.width, config.divisor)
    return ReducedDeepLab(encoder, config.head_channels, config.classes)
