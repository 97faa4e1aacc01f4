"""Options of networks that their parts read too; this module does not import torch."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.core.prediction_config import (
    T_EDGES,
    DepthEncoding,
    DepthInputConfig,
    DepthScale,
    DepthSource,
    TabularShape,
)

Upsampling = Literal["transposed", "nearest", "bilinear"]
Fusion = Literal["concat", "annex_b", "metablock", "film", "none", "tabular"]


class FusionConfig(Config):
    """The fusion of image features and tabular inputs."""

    fusion: Fusion = Field(
        "concat",
        description="concat: both as vectors of out_features, concatenated (P1); annex_b: image features concatenated "
        "with fully connected layers of the table (P2, Annex B); metablock and film: the table weights the maps of the "
        "image; none: the image alone; tabular: the table alone",
    )
    out_features: int = Field(
        128,
        title="Features per branch",
        ge=0,
        description="for concat and tabular: length of each branch's vector; 0: the number of classes, as in P1",
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


class AttentionMilConfig(Config):
    """Options of attention multiple-instance learning."""

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
    tabular_layers: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (16,), title="Table layer widths", description="widths of the layers for patient data before they are joined"
    )
    tabular_dropout: float = Field(
        0.25, title="Table dropout", ge=0, lt=1, description="dropout after each of these layers"
    )
    tabular: Annotated[TabularShape, Computed()] = Field(TabularShape(), description="tabular inputs")
    features: Annotated[int, Computed()] = Field(512, ge=1, description="length of an embedding of the encoder")
    classes: Annotated[int, Computed()] = Field(2, ge=2, description="number of classes")


class BiomarkerConfig(Config):
    """Options of P3's biomarker network: its branches and their parts. The defaults are P3's where it states them."""

    encoder: str = Field("resnet50", min_length=1, description="name of a timm encoder")
    output_stride: Literal[8, 16, 32] = Field(32, description="downsampling factor of the deepest maps")
    levels_left_off: int = Field(
        0,
        title="Omitted encoder levels",
        ge=0,
        le=3,
        description="omitted last levels of the encoder, for finer and more local maps",
    )
    attention: Literal["spatial", "none"] = Field(
        "spatial", description="spatial: each position of the deepest maps is weighted (P3, equation 1)"
    )
    attention_kernel: int = Field(
        7, title="Attention kernel size", ge=1, le=15, description="side of its convolution W, odd"
    )
    attention_shares: bool = Field(
        False,
        title="Relative attention weights",
        description="divide the weights by their mean, so that only their ratios matter",
    )
    attention_start: float = Field(
        0.0,
        title="Initial attention weight",
        ge=0,
        le=10,
        description="initial value of W at its center; above 0, positions with stronger features have larger weights "
        "from the start",
    )
    image_maps: int = Field(
        0,
        title="Image feature maps",
        ge=0,
        le=4096,
        description="reduce the encoder's maps to this number of non-negative maps; 0: no reduction",
    )
    use_image: bool = Field(True, description="use image features in the classifier")
    use_depth: bool = Field(
        True, title="Use depth", description="use a depth module, trained with classification.depth"
    )
    use_table: bool = Field(True, title="Use clinical metadata", description="use clinical metadata in the classifier")
    depth_module: Literal["convolutions", "attention"] = Field(
        "convolutions",
        description="convolutions: three separate layers (P3); attention: pooling over the encoder's maps",
    )
    depth_channels: tuple[int, ...] = Field((16, 32, 64), min_length=1, description="maps after each convolution")
    depth_grid: int = Field(8, ge=1, le=64, description="positions per side in the regression")
    depth_normalisation: bool = Field(
        False, title="Depth batch normalization", description="batch normalization after each convolution"
    )
    depth_source: DepthSource = Field(
        "predicted",
        description="depth used by the classifier: predicted from the image; measured, from the column depth_mm, or "
        "predicted if it is empty; none: predicted but not used",
    )
    depth_encoding: DepthEncoding = Field(
        "number", description="number: standardized; one_hot: one input for each bin between depth_edges; both"
    )
    depth_edges: tuple[float, ...] = Field(
        T_EDGES, title="Depth bins (mm)", min_length=1, description="edges of the depth bins in mm"
    )
    depth_log: bool = Field(False, title="Logarithmic depth", description="predict log(1 + depth in mm)")
    heteroscedastic: bool = Field(
        False, title="Predict depth uncertainty", description="predict the uncertainty of the depth too"
    )
    hidden: tuple[int, ...] = Field(
        (128, 64), title="Head layer widths", description="widths of the fully connected layers of the head"
    )
    head_dropout: float = Field(0.0, ge=0, lt=1, description="dropout after each of these layers")
    image_gain: float = Field(
        1.0,
        title="Image feature gain",
        gt=0,
        le=1,
        description="factor of the image features before fusion: with few patients, small values slow down the "
        "memorization of hundreds of features",
    )
    image_dropout: float = Field(
        0.0, title="Image feature dropout", ge=0, lt=1, description="dropout of the image features before fusion"
    )
    image_normalised: bool = Field(
        False,
        title="Standardize image features",
        description="standardize the image features before fusion by batch normalization, as the clinical metadata are",
    )
    classes: Annotated[int, Computed()] = Field(2, ge=2, description="number of classes")
    tabular: Annotated[TabularShape, Computed()] = Field(TabularShape(), description="tabular inputs")
    depth_mean: Annotated[float, Computed()] = Field(
        0.0, description="mean of the training cases, on the network's scale"
    )
    depth_std: Annotated[float, Computed()] = Field(
        1.0, gt=0, description="standard deviation of the training cases, on that scale"
    )
    measured: Annotated[DepthInputConfig | None, Computed()] = Field(
        None, description="position of the measured depth among the tabular inputs"
    )

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        if self.attention_kernel % 2 == 0:
            raise ValueError(f"attention_kernel is {self.attention_kernel}, expected an odd number")
        if any(high <= low for low, high in pairwise(self.depth_edges)):
            raise ValueError(f"depth_edges are {self.depth_edges}, expected each above the one before")
        if min(*self.depth_channels, *self.hidden, 1) < 1:
            raise ValueError("depth_channels and hidden contain a width below 1, expected 1 or more")
        if not (self.use_image or self.use_table or (self.use_depth and self.depth_source != "none")):
            raise ValueError(
                "use_image, use_depth and use_table are all disabled: enable at least one input of the classifier"
            )
        return self

    @property
    def predicts_depth(self) -> bool:
        return self.use_depth

    @property
    def needs_encoder(self) -> bool:
        """Whether any branch uses the encoder's maps."""
        return self.use_image or (self.use_depth and self.depth_module == "attention")

    @property
    def uses_attention(self) -> bool:
        """Whether the classifier's maps are weighted by attention."""
        return self.attention == "spatial" and self.use_image

    @property
    def depth_scale(self) -> DepthScale:
        """The conversion between mm and the network's scale."""
        return DepthScale(log=self.depth_log, mean=self.depth_mean, std=self.depth_std)

    @property
    def imagenet(self) -> str | None:
        """Name of the encoder, which may have published weights; None if it is not used."""
        return self.encoder if self.needs_encoder else None
