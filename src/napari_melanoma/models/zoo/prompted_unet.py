"""A network for segmentation by prompts: an encoder of timm, which runs once, and a light decoder for each prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class PromptedUNetConfig(Config):
    """Options of the network for segmentation by prompts; it segments one lesion."""

    encoder: str = Field("tf_efficientnet_lite0", description="name of a timm encoder")
    decoder_channels: int = Field(160, ge=16, multiple_of=16, description="channels of the decoder at its coarsest map")
    hypotheses: int = Field(3, ge=1, le=8, description="number of masks that are predicted for the same prompts")
    classes: Annotated[Literal[1], Computed()] = Field(1, description="number of output maps without prompts")


SPEC = ArchitectureSpec(
    name="prompted_unet",
    title="U-Net with prompts",
    reference="Sofiiuk et al. 2022 (RITM), doi:10.1109/ICIP46576.2022.9897365; Kirillov et al. 2023 (hypotheses and "
    "their quality), arXiv:2304.02643",
    config=PromptedUNetConfig,
    small={"encoder": "test_efficientnet", "decoder_channels": 16},
    answers_prompts=True,
)


def build(config: PromptedUNetConfig) -> nn.Module:
    """Build the network with random weights, a ``PromptedUNet``.

    Without prompts, it maps float (batch, 3, row, column) with sides divisible by 32 to the logits of the hypothesis
    with the best predicted quality, (batch, 1, row, column).
    """
    from segmentation_models_pytorch.encoders import get_encoder

    from napari_melanoma.models.blocks.prompted import PromptedUNet

    encoder = get_encoder(f"tu-{config.encoder}", in_channels=3, depth=5, weights=None, output_stride=16)
    return PromptedUNet(encoder, encoder.out_channels, config.decoder_channels, config.hypotheses)
