"""DeepLabv3+ as its authors published it, with aligned Xception or MobileNetV2 of any width.

Chen et al. 2018, doi:10.1007/978-3-030-01234-2_49; over the encoders of timm it is in ``smp``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.models.zoo import ArchitectureSpec, OutputMaps, list_network

if TYPE_CHECKING:
    from torch import nn

DEEPLAB = "Chen et al. 2018, doi:10.1007/978-3-030-01234-2_49"
MOBILENET = "Sandler et al. 2018, doi:10.1109/CVPR.2018.00474"


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
    classes: OutputMaps = 1

    @property
    def imagenet(self) -> str | None:
        """Name of the encoder in timm if ImageNet weights are published for it."""
        published = {16: "xception65.tf_in1k", 8: "xception41.tf_in1k"}
        return published.get(self.middle) if self.width == 1 else None


@list_network(
    ArchitectureSpec(
        "deeplabv3plus_xception",
        "DeepLabv3+ with Xception",
        DEEPLAB,
        config=DeepLabXceptionConfig,
        small={"width": 0.125, "middle": 1, "decoder_channels": 32},
    )
)
def deeplabv3plus_xception(config: DeepLabXceptionConfig) -> nn.Module:
    from napari_melanoma.models.blocks.deeplab import AlignedXception, DeepLab

    encoder = AlignedXception(config.output_stride, config.width, config.middle)
    return DeepLab(encoder, config.output_stride, config.decoder_channels, config.classes)


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
    classes: OutputMaps = 1

    @property
    def imagenet(self) -> str | None:
        """Name of the encoder in timm if ImageNet weights are published for it."""
        published = {0.5: "mobilenetv2_050", 1.0: "mobilenetv2_100", 1.4: "mobilenetv2_140"}
        return published.get(self.width) if self.divisor == 8 or self.width == 1 else None


class FullDeepLabMobileNetConfig(DeepLabMobileNetConfig):
    """Options of DeepLabv3+ over MobileNetV2 with its whole head.

    2.7 million weights with width 1, 0.9 million with 0.35. Low-level features are the output of the last block at a
    quarter of the image size.
    """

    head_channels: int = Field(256, ge=8, description="channels of pyramid pooling and decoder")


@list_network(
    ArchitectureSpec(
        "deeplabv3plus_mobilenetv2",
        "DeepLabv3+ with MobileNetV2",
        MOBILENET,
        config=DeepLabMobileNetConfig,
        small={"width": 0.35, "head_channels": 64},
    )
)
def deeplabv3plus_mobilenetv2(config: DeepLabMobileNetConfig) -> nn.Module:
    return _build_over_mobilenet(config, has_decoder=False)


@list_network(
    ArchitectureSpec(
        "deeplabv3plus_mobilenetv2_full",
        "DeepLabv3+ with MobileNetV2, full decoder",
        f"{DEEPLAB}; {MOBILENET}",
        config=FullDeepLabMobileNetConfig,
        small={"width": 0.35, "head_channels": 64},
    )
)
def deeplabv3plus_mobilenetv2_full(config: FullDeepLabMobileNetConfig) -> nn.Module:
    return _build_over_mobilenet(config, has_decoder=True)


def _build_over_mobilenet(config: DeepLabMobileNetConfig, *, has_decoder: bool) -> nn.Module:
    from napari_melanoma.models.blocks.deeplab import DeepLab, MobileNetV2

    encoder = MobileNetV2(config.output_stride, config.width, config.divisor)
    return DeepLab(encoder, config.output_stride, config.head_channels, config.classes, has_decoder=has_decoder)
