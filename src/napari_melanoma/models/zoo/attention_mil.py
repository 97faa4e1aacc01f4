"""One answer of a slide from the embeddings of its tiles: attention multiple-instance learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from napari_melanoma.core.config import Config, FilledIn
from napari_melanoma.models.zoo import Spec

if TYPE_CHECKING:
    from torch import nn


class AttentionMilConfig(Config):
    """Sizes, and how tiles are weighed."""

    pooling: Literal["gated", "plain", "mean"] = Field(
        "gated",
        description="gated or plain attention; mean: every tile counts as much, what attention is compared with",
    )
    hidden: int = Field(256, ge=2, le=4096, description="features of a tile that are pooled")
    attention: int = Field(128, ge=2, le=4096, description="width of the attention's inner layer")
    heads: int = Field(1, ge=1, le=16, description="weighted means of a slide, each with weights of its own")
    dropout: float = Field(0.25, ge=0, lt=1, description="share of a tile's features dropped while learning")
    normalise: bool = Field(True, description="bring each embedding to mean 0 and spread 1 first")
    features: Annotated[int, FilledIn()] = Field(512, ge=1, description="length of an embedding, as the encoder has it")
    classes: Annotated[int, FilledIn()] = Field(2, ge=2, description="classes that are told apart")


SPEC = Spec(
    name="attention_mil",
    title="Attention over the tiles of a slide",
    reference="Ilse, Tomczak and Welling 2018, arXiv:1802.04712",
    config=AttentionMilConfig,
    small={"hidden": 16, "attention": 8, "features": 12},
    task="bags",
)


def build(config: AttentionMilConfig) -> nn.Module:
    """Build the network with random weights.

    Embeddings of a slide's tiles, float (tile, feature), to logits (class,); ``over`` takes them in pieces and gives
    the weights of the tiles too.
    """
    from napari_melanoma.models.blocks.bags import BagNetwork

    return BagNetwork(config)
