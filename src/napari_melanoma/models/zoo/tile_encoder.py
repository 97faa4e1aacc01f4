"""An encoder that gives each cell of a tile its features, without a head: others learn on top of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class TileEncoderConfig(Config):
    """Options of the encoder and of its cells."""

    encoder: str = Field("tf_efficientnet_lite0", min_length=1, description="name of a timm encoder")
    levels_left_off: int = Field(
        1,
        title="Omitted encoder levels",
        ge=0,
        le=3,
        description="omitted last levels of the encoder, for a smaller network with more local maps",
    )
    joined_levels: int = Field(
        1, title="Joined encoder levels", ge=1, le=4, description="last levels whose maps become features"
    )
    cell_px: int = Field(32, title="Cell size (px)", ge=1, description="side of a cell in pixels of the input")

    @property
    def imagenet(self) -> str:
        """Name of the encoder, which may have published weights."""
        return self.encoder


SPEC = ArchitectureSpec(
    name="tile_encoder",
    title="Encoder of cells of a tile",
    reference="EfficientNet: Tan and Le 2019, arXiv:1905.11946",
    config=TileEncoderConfig,
    small={"encoder": "test_efficientnet"},
    task="embedding",
)


def build(config: TileEncoderConfig) -> nn.Module:
    """Build the encoder with random weights.

    Maps images, float (batch, 3, row, column), to features of cells, float (batch, feature, cell row, cell column).
    """
    from napari_melanoma.models.blocks.timm_encoder import CellEncoder, TimmEncoder

    encoder = TimmEncoder(config.encoder, left_off=config.levels_left_off)
    return CellEncoder(encoder, config.joined_levels, config.cell_px)
