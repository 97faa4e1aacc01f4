"""What several networks say alike: options of P4's U-shapes and of fusion, P2's title; no torch, for forms read it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from napari_melanoma.core.config import Config, FilledIn
from napari_melanoma.core.tabular import TabularShape

P2 = "Zell, Fusion of U-Net++ and ResNet50 Models for Melanoma Diagnosis from Dermoscopic Images"

Upsampling = Literal["transposed", "nearest", "bilinear"]
Fusion = Literal["concat", "annex_b", "metablock", "film", "none", "tabular"]


class UShapeConfig(Config):
    """Size and parts of a U-shaped network."""

    channels: int = Field(32, ge=4, description="of the first level; each level below has twice as many (P4: 16 to 64)")
    depth: int = Field(4, ge=1, le=5, description="how many times the image is halved")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of the values dropped between two convolutions")
    normalisation: bool = Field(True, description="batch normalisation after each convolution")
    upsampling: Upsampling = Field(
        "nearest", description="transposed: learnt 2 x 2 convolutions; otherwise an interpolation without weights"
    )
    classes: int = Field(1, ge=1, description="maps that come out")


class RecurrentConfig(UShapeConfig):
    """The same with recurrent convolutions."""

    steps: int = Field(2, ge=1, le=4, description="how often a convolution is fed back its own answer (t in P4)")
    shared: bool = Field(
        False, description="one set of weights for all steps, as in the original; P4's are of their own"
    )


class FusionConfig(Config):
    """How what the image says and what the table says become one vector."""

    fusion: Fusion = Field(
        "concat",
        description="concat: both as vectors of out_features, side by side (P1); annex_b: image features beside fully "
        "connected layers of the table (P2, Annex B); metablock and film: the table weighs the maps of the image; "
        "none: the image alone; tabular: the table alone",
    )
    out_features: int = Field(128, ge=1, description="of concat and tabular: length of the vector of each branch")
    tabular_layers: tuple[int, ...] = Field(
        (200, 100), description="widths of the layers that the table goes through; of film its first is the hidden one"
    )
    tabular_dropout: float = Field(0.5, ge=0, lt=1, description="share of the values dropped behind each (ps in P1)")
    tabular: Annotated[TabularShape, FilledIn()] = Field(TabularShape(), description="inputs from the table")

    @model_validator(mode="after")
    def _widths_fit(self) -> Self:
        if min(self.tabular_layers, default=1) < 1:
            raise ValueError(f"tabular_layers are {self.tabular_layers}, expected widths of 1 or more")
        return self
