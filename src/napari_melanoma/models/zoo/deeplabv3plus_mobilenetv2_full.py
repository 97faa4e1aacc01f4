"""DeepLabv3+ with MobileNetV2, atrous branches and decoder, as Chen et al. 2018 describe it for any encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.models.zoo import ArchitectureSpec
from napari_melanoma.models.zoo.deeplabv3plus_mobilenetv2 import DeepLabMobileNetConfig

if TYPE_CHECKING:
    from torch import nn


class FullDeepLabMobileNetConfig(DeepLabMobileNetConfig):
    """Options of DeepLabv3+ over MobileNetV2 with its whole head.

    2.7 million weights with width 1, 0.9 million with 0.35. Low-level features are the output of the last block at a
    quarter of the image size.
    """

    head_channels: int = Field(256, ge=8, description="channels of pyramid pooling and decoder")


SPEC = ArchitectureSpec(
    name="deeplabv3plus_mobilenetv2_full",
    title="DeepLabv3+ with MobileNetV2, full decoder",
    reference="Chen et al. 2018, doi:10.1007/978-3-030-01234-2_49; Sandler et al. 2018, doi:10.1109/CVPR.2018.00474",
    config=FullDeepLabMobileNetConfig,
    small={"width": 0.35, "head_channels": 64},
)


def build(config: FullDeepLabMobileNetConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column) with sides divisible by ``output_stride`` to logits (batch, class, row, column).
    """
    from napari_melanoma.models.blocks.deeplab import DeepLab, MobileNetV2

    encoder = MobileNetV2(config.output_stride, config.width, config.divisor)
    return DeepLab(encoder, config.output_stride, config.head_channels, config.classes)
