"""Classification of slides from the embeddings of their tiles: attention multiple-instance learning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.models.blocks.options import AttentionMilConfig
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


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
