"""Classification of slides from the embeddings of their tiles: attention multiple-instance learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


class AttentionMilConfig(Config):
    """Layer sizes and pooling of tiles."""

    pooling: Literal["gated", "plain", "mean"] = Field(
        "gated",
        description="gated or plain attention; mean: equal weights, for comparison",
    )
    hidden: int = Field(256, title="Features per tile", ge=2, le=4096, description="features per tile before pooling")
    attention: int = Field(
        128, title="Attention width", ge=2, le=4096, description="width of the attention's inner layer"
    )
    heads: int = Field(
        1, title="Attention heads", ge=1, le=16, description="number of attention heads, each with its own weights"
    )
    dropout: float = Field(0.25, ge=0, lt=1, description="share of a tile's features dropped during training")
    normalise: bool = Field(True, title="Standardize embeddings", description="standardize each embedding first")
    features: Annotated[int, Computed()] = Field(512, ge=1, description="length of an embedding of the encoder")
    classes: Annotated[int, Computed()] = Field(2, ge=2, description="number of classes")


SPEC = ArchitectureSpec(
    name="attention_mil",
    title="Attention over the tiles of a slide",
    reference="Ilse, Tomczak and Welling 2018, arXiv:1802.04712",
    config=AttentionMilConfig,
    small={"hidden": 16, "attention": 8, "features": 12},
    task="bags",
)


def build(config: AttentionMilConfig) -> nn.Module:
    """Build the network with random weights.

    Maps embeddings of a slide's tiles, float (tile, feature), to logits (class,); ``pool_chunks`` processes them in
    chunks and returns the weights of the tiles too.
    """
    from napari_melanoma.models.blocks.bags import BagNetwork

    return BagNetwork(config)
