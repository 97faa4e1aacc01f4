"""Options shared by several architectures; torch-free."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.core.prediction_config import (
    TabularShape,
)

P2_REFERENCE = "Zell, Fusion of U-Net++ and ResNet50 Models for Melanoma Diagnosis from Dermoscopic Images"
Upsampling = Literal["transposed", "nearest", "bilinear"]
Fusion = Literal["concat", "annex_b", "metablock", "film", "none", "tabular"]


class UShapeConfig(Config):
    """Size and parts of a U-shaped network."""

    channels: int = Field(
        32,
        title="Channels of the first level",
        ge=4,
        description="channels of the first level, doubled at each level below (P4: 16 to 64)",
    )
    depth: int = Field(4, title="Downsampling steps", ge=1, le=5, description="number of downsampling steps")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of the values dropped between two convolutions")
    normalisation: bool = Field(
        True, title="Batch normalization", description="batch normalization after each convolution"
    )
    upsampling: Upsampling = Field(
        "nearest", description="transposed: trained 2 x 2 convolutions; otherwise an interpolation without weights"
    )
    classes: int = Field(1, title="Output maps", ge=1, description="number of output maps")


class RecurrentConfig(UShapeConfig):
    """Options of a U-shaped network with recurrent convolutions."""

    steps: int = Field(2, title="Recurrent steps", ge=1, le=4, description="recurrent steps of a convolution (t in P4)")
    shared: bool = Field(
        False,
        title="Share weights over steps",
        description="one set of weights for all steps, as in the original; in P4 each step has its own",
    )


class FusionConfig(Config):
    """The fusion of image features and tabular inputs."""

    fusion: Fusion = Field(
        "concat",
        description="concat: both as vectors of out_features, concatenated (P1); annex_b: image features concatenated "
        "with fully connected layers of the table (P2, Annex B); metablock and film: the table weights the maps of the "
        "image; none: the image alone; tabular: the table alone",
    )
    out_features: int = Field(
        128, title="Features per branch", ge=1, description="for concat and tabular: length of each branch's vector"
    )
    tabular_layers: tuple[int, ...] = Field(
        (200, 100),
        title="Table layer widths",
        description="widths of the layers for the table; for film the first is the hidden layer",
    )
    tabular_dropout: float = Field(
        0.5, title="Table dropout", ge=0, lt=1, description="dropout after each of these layers (ps in P1)"
    )
    tabular: Annotated[TabularShape, Computed()] = Field(TabularShape(), description="tabular inputs")

    @model_validator(mode="after")
    def _check_widths(self) -> Self:
        if min(self.tabular_layers, default=1) < 1:
            raise ValueError(f"tabular_layers are {self.tabular_layers}, expected widths of 1 or more")
        return self
