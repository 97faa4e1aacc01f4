"""A network that classifies the cells of a tile: encoder, context and head, trained together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.models.zoo import ArchitectureSpec
from napari_melanoma.models.zoo.tile_encoder import TileEncoderConfig

if TYPE_CHECKING:
    from torch import nn


class CellNetworkConfig(TileEncoderConfig):
    """Options of the encoder, its cells, and their context."""

    classes: int = Field(1, ge=1, description="number of classes; one: a probability for each cell")
    contexts: tuple[int, ...] = Field(
        (1, 3, 7),
        min_length=1,
        description="sides, in cells, of the squares around a cell over which its features are averaged; odd numbers",
    )

    @property
    def margin_px(self) -> int:
        """Border of a tile that is context only, in pixels of the input."""
        return max(self.contexts) // 2 * self.cell_px


SPEC = ArchitectureSpec(
    name="cell_network",
    title="Classes of the cells of a tile",
    reference="EfficientNet: Tan and Le 2019, arXiv:1905.11946",
    config=CellNetworkConfig,
    small={"encoder": "test_efficientnet", "levels_left_off": 3, "cell_px": 4, "contexts": (1, 3)},
)


def build(config: CellNetworkConfig) -> nn.Module:
    """Build the network with random weights."""
    from napari_melanoma.models.blocks.timm_encoder import CellNetwork, TimmEncoder

    encoder = TimmEncoder(config.encoder, left_off=config.levels_left_off)
    shape = (config.joined_levels, config.cell_px)
    return CellNetwork(encoder, *shape, contexts=config.contexts, classes=config.classes)
