"""P3's network for the risk of metastasis: image biomarkers, depth of invasion, and clinical metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.models.blocks.options import BiomarkerConfig
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn


SPEC = ArchitectureSpec(
    name="biomarker",
    title="Image with spatial attention, depth and patient",
    reference="Multi-modal deep learning for metastasis of melanoma (P3); spatial attention: Woo et al. 2018, "
    "arXiv:1807.06521",
    config=BiomarkerConfig,
    small={"encoder": "test_efficientnet", "depth_channels": (4, 4, 8), "depth_grid": 4, "hidden": (16, 8)},
    task="classification",
)


def build(config: BiomarkerConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column), float (batch, input) and int64 (batch, embedding) to logits (batch, class); the
    network also predicts a depth.
    """
    from napari_melanoma.models.blocks.biomarker import BiomarkerNetwork

    uses_image = config.use_image or (config.use_depth and config.depth_source != "none")
    if not uses_image and not config.tabular.width:
        raise ConfigError("a network of clinical metadata alone needs tabular inputs, found none. Select columns.")
    return BiomarkerNetwork(config)
