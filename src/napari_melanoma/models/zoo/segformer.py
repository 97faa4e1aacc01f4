"""SegFormer (Xie et al. 2021, arXiv:2105.15203): a hierarchical transformer with a decoder of 1 x 1 convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class SegFormerConfig(Config):
    """Options of SegFormer; 3.7 million weights with the smallest encoder, 24.7 million with ``mit_b2``."""

    encoder: str = Field("mit_b0", description="mit_b0 to mit_b5, or another of segmentation-models-pytorch or timm")
    decoder_channels: int = Field(256, ge=8, description="channels of the decoder")
    classes: Annotated[int, Computed()] = Field(1, ge=1, description="number of output maps")


SPEC = ArchitectureSpec(
    name="segformer",
    title="SegFormer",
    reference="Xie et al. 2021, arXiv:2105.15203",
    config=SegFormerConfig,
    small={"decoder_channels": 32},
)


def build(config: SegFormerConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column) with sides divisible by 32 to logits (batch, class, row, column).
    """
    from segmentation_models_pytorch import Segformer

    from napari_melanoma.models.smp_networks import build_smp

    return build_smp(Segformer, config.encoder, config.classes, decoder_segmentation_channels=config.decoder_channels)
