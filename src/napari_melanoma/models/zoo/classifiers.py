"""Classifiers of an image and tabular inputs: those of P1 and P2, and P3's, which also predicts a depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from napari_melanoma.core.config import Computed
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.models.blocks.options import BiomarkerConfig, FusionConfig
from napari_melanoma.models.zoo import ArchitectureSpec, list_network

if TYPE_CHECKING:
    from torch import nn


class ImageTabularConfig(FusionConfig):
    """Options of encoder, fusion and head; the defaults are P1's, but with a small encoder and wider branches."""

    encoder: str = Field("tf_efficientnet_lite0", min_length=1, description="name of a timm encoder")
    output_stride: Literal[8, 16, 32] = Field(
        32, description="downsampling factor of the deepest maps; 16 in segmentation models"
    )
    levels_left_off: int = Field(
        0,
        title="Omitted encoder levels",
        ge=0,
        le=3,
        description="omitted last levels of the encoder, for a smaller network with more local maps",
    )
    head: Literal["linear", "p2"] = Field(
        "linear", description="linear: one layer (P1); p2: two, with ReLU, normalization and dropout, and a sigmoid"
    )
    hidden: int = Field(256, title="Head width", ge=1, description="for the head p2: width between its two layers")
    head_dropout: float = Field(0.0, ge=0, lt=1, description="dropout in the head")
    classes: Annotated[int, Computed()] = Field(2, ge=2, description="number of classes")
    adapted_classes: Annotated[int, Computed()] = Field(
        0, ge=0, description="of an adapted model: number of classes of the model that was adapted; 0: not adapted"
    )

    @property
    def imagenet(self) -> str | None:
        """Name of the encoder, which may have published weights; None for tabular inputs alone."""
        return None if self.fusion == "tabular" else self.encoder


@list_network(
    ArchitectureSpec(
        "image_tabular",
        "Image and table",
        "Combining 3D melanoma datasets (P1), with fastai's TabularModel: Howard and Gugger 2020, "
        "doi:10.3390/info11020108",
        config=ImageTabularConfig,
        small={"encoder": "test_efficientnet", "out_features": 16, "tabular_layers": (16,), "hidden": 16},
        task="classification",
    )
)
def image_tabular(config: ImageTabularConfig) -> nn.Module:
    from napari_melanoma.models.blocks.classifier import (
        ClassifierNetwork,
        LinearAdapter,
        LinearHead,
        TwoLayerHead,
        build_fusion,
    )
    from napari_melanoma.models.blocks.timm_encoder import MeanColor, TimmEncoder

    head_classes = config.adapted_classes or config.classes
    if not config.out_features:
        config = config.model_copy(update={"out_features": head_classes})
    table_only = config.fusion == "tabular"
    encoder = MeanColor() if table_only else TimmEncoder(config.encoder, config.output_stride, config.levels_left_off)
    fusion = build_fusion(encoder.features, config)
    if config.head == "p2":
        head: nn.Module = TwoLayerHead(fusion.width, config.hidden, head_classes, config.head_dropout)
    else:
        head = LinearHead(fusion.width, head_classes, config.head_dropout)
    adapter = LinearAdapter(head_classes, encoder.features, config.classes) if config.adapted_classes else None
    return ClassifierNetwork(encoder, fusion, head, config.tabular, adapter)


@list_network(
    ArchitectureSpec(
        "biomarker",
        "Image with spatial attention, depth and patient",
        "Multi-modal deep learning for metastasis of melanoma (P3); spatial attention: Woo et al. 2018, "
        "arXiv:1807.06521",
        config=BiomarkerConfig,
        small={"encoder": "test_efficientnet", "depth_channels": (4, 4, 8), "depth_grid": 4, "hidden": (16, 8)},
        task="classification",
    )
)
def biomarker(config: BiomarkerConfig) -> nn.Module:
    from napari_melanoma.models.blocks.biomarker import BiomarkerNetwork

    uses_image = config.use_image or (config.use_depth and config.depth_source != "none")
    if not uses_image and not config.tabular.width:
        raise ConfigError("a network of clinical metadata alone needs tabular inputs, found none. Select columns.")
    return BiomarkerNetwork(config)
