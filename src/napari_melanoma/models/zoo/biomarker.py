"""P3's network for the risk of metastasis: biomarkers of the image, depth of invasion, and the patient's data."""

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

    Returns float (batch, 3, row, column), float (batch, input) and int64 (batch, embedding) to logits (batch, class); a
    ``Classifier`` that tells a depth beside.
    """
    from napari_melanoma.models.blocks.biomarker import BiomarkerNetwork

    told = config.use_image or (config.use_depth and config.depth_source != "none")
    if not told and not config.tabular.width:
        raise ConfigError("the patient's data alone need columns of the table, found none. Choose some.")
    return BiomarkerNetwork(config)
