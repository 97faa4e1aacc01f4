"""Networks for whole slides: features and classes of the cells of a tile, and classes of a slide from its tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.models.blocks.options import AttentionMilConfig
from napari_melanoma.models.zoo import ArchitectureSpec, list_network

if TYPE_CHECKING:
    from torch import nn

EFFICIENTNET = "EfficientNet: Tan and Le 2019, arXiv:1905.11946"


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


@list_network(
    ArchitectureSpec(
        "tile_encoder",
        "Encoder of cells of a tile",
        EFFICIENTNET,
        config=TileEncoderConfig,
        small={"encoder": "test_efficientnet"},
        task="embedding",
    )
)
def tile_encoder(config: TileEncoderConfig) -> nn.Module:
    """Build an encoder without a head: classifiers of tissue are fitted to its features."""
    from napari_melanoma.models.blocks.timm_encoder import CellEncoder, TimmEncoder

    encoder = TimmEncoder(config.encoder, left_off=config.levels_left_off)
    return CellEncoder(encoder, config.joined_levels, config.cell_px)


@list_network(
    ArchitectureSpec(
        "cell_network",
        "Classes of the cells of a tile",
        EFFICIENTNET,
        config=CellNetworkConfig,
        small={"encoder": "test_efficientnet", "levels_left_off": 3, "cell_px": 4, "contexts": (1, 3)},
    )
)
def cell_network(config: CellNetworkConfig) -> nn.Module:
    """Build encoder, context and head, which are trained together."""
    from napari_melanoma.models.blocks.timm_encoder import CellNetwork, TimmEncoder

    encoder = TimmEncoder(config.encoder, left_off=config.levels_left_off)
    shape = (config.joined_levels, config.cell_px)
    return CellNetwork(encoder, *shape, contexts=config.contexts, classes=config.classes)


@list_network(
    ArchitectureSpec(
        "attention_mil",
        "Attention over the tiles of a slide",
        "Ilse, Tomczak and Welling 2018, arXiv:1802.04712",
        config=AttentionMilConfig,
        small={"hidden": 16, "attention": 8, "features": 12},
        task="bags",
    )
)
def attention_mil(config: AttentionMilConfig) -> nn.Module:
    """Build a network of the embeddings of tiles; ``pool_chunks`` processes them in chunks."""
    from napari_melanoma.models.blocks.bags import BagNetwork

    return BagNetwork(config)
