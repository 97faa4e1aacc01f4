"""What networks of one paper say alike: the options of P4's U-shapes, the title of P2; no torch, for forms read it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from napari_melanoma.core.config import Config

P2 = "Zell, Fusion of U-Net++ and ResNet50 Models for Melanoma Diagnosis from Dermoscopic Images"

Upsampling = Literal["transposed", "nearest", "bilinear"]


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
