"""Options that several networks share; torch-free."""

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

P2_REFERENCE = "Zell, Fusion of U-Net++ and ResNet50 Models for Melanoma Diagnosis from Dermoscopic Images"
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
    tabular: Annotated[TabularShape, Computed()] = Field(TabularShape(), description="inputs from the table")

    @model_validator(mode="after")
    def _check_widths(self) -> Self:
        if min(self.tabular_layers, default=1) < 1:
            raise ValueError(f"tabular_layers are {self.tabular_layers}, expected widths of 1 or more")
        return self


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
    features: Annotated[int, Computed()] = Field(512, ge=1, description="length of an embedding, as the encoder has it")
    classes: Annotated[int, Computed()] = Field(2, ge=2, description="classes that are told apart")


class BiomarkerConfig(Config):
    """Branches, and the parts of each; the defaults are the paper's, and what it leaves open is stated in the docs."""

    encoder: str = Field("resnet50", min_length=1, description="name of a timm encoder")
    output_stride: Literal[8, 16, 32] = Field(32, description="how much smaller the deepest maps are than the image")
    levels_left_off: int = Field(
        0, ge=0, le=3, description="levels of the encoder left off at its end: maps are finer then, and more local"
    )
    attention: Literal["spatial", "none"] = Field(
        "spatial", description="spatial: each place of the deepest maps is weighed (P3, equation 1)"
    )
    attention_kernel: int = Field(7, ge=1, le=15, description="places that its W reaches over, odd")
    attention_shares: bool = Field(
        False, description="weights are divided by their mean: only which place weighs more than another counts"
    )
    attention_start: float = Field(
        0.0,
        ge=0,
        le=10,
        description="what W is at its middle before anything is learnt; above 0, places of which the maps say more "
        "weigh more from the start",
    )
    image_maps: int = Field(
        0, ge=0, le=4096, description="maps that the encoder's are brought to before, each 0 or more; 0: they stay"
    )
    use_image: bool = Field(True, description="the classifier gets the features of the image")
    use_depth: bool = Field(True, description="there is a depth module, which learns with classification.depth")
    use_table: bool = Field(True, description="the classifier gets the patient's data")
    depth_module: Literal["convolutions", "attention"] = Field(
        "convolutions", description="convolutions: three of its own (P3); attention: pooling over the encoder's maps"
    )
    depth_channels: tuple[int, ...] = Field((16, 32, 64), min_length=1, description="maps behind each convolution")
    depth_grid: int = Field(8, ge=1, le=64, description="places along a side that the regression looks at")
    depth_normalisation: bool = Field(False, description="batch normalisation behind each convolution")
    depth_source: DepthSource = Field(
        "predicted",
        description="what depth the classifier gets: predicted from the image; measured, from the column depth_mm, and "
        "predicted where that is empty; none: it is told, and not looked at",
    )
    depth_encoding: DepthEncoding = Field(
        "number", description="number: standardised; one_hot: one input for each bin between depth_edges; both"
    )
    depth_edges: tuple[float, ...] = Field(T_EDGES, min_length=1, description="mm: where the bins of the depth meet")
    depth_log: bool = Field(False, description="the depth is told as log(1 + mm)")
    heteroscedastic: bool = Field(False, description="how sure the depth is, is told too")
    hidden: tuple[int, ...] = Field((128, 64), description="widths of the fully connected layers of the head")
    head_dropout: float = Field(0.0, ge=0, lt=1, description="share of the values dropped behind each of them")
    image_gain: float = Field(
        1.0,
        gt=0,
        le=1,
        description="the features of the image are multiplied by it before they are joined with depth and patient: of "
        "few patients, hundreds of features are learnt by heart, and small ones are learnt slowly",
    )
    image_dropout: float = Field(0.0, ge=0, lt=1, description="share of the features of the image dropped before them")
    image_normalised: bool = Field(
        False,
        description="the features of the image are brought to mean 0 and spread 1 before they are joined, as the "
        "patient's data are (batch normalisation)",
    )
    classes: Annotated[int, Computed()] = Field(2, ge=2, description="classes that are told apart")
    tabular: Annotated[TabularShape, Computed()] = Field(TabularShape(), description="inputs from the table")
    depth_mean: Annotated[float, Computed()] = Field(0.0, description="of the training cases, on the depth's scale")
    depth_std: Annotated[float, Computed()] = Field(1.0, gt=0, description="of the training cases, on that scale")
    measured: Annotated[DepthInputConfig | None, Computed()] = Field(
        None, description="where the measured depth stands among the inputs from the table"
    )

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        if self.attention_kernel % 2 == 0:
            raise ValueError(f"attention_kernel is {self.attention_kernel}, expected an odd number")
        if any(high <= low for low, high in pairwise(self.depth_edges)):
            raise ValueError(f"depth_edges are {self.depth_edges}, expected each above the one before")
        if min(*self.depth_channels, *self.hidden, 1) < 1:
            raise ValueError("depth_channels and hidden are widths, expected 1 or more each")
        if not (self.use_image or self.use_table or (self.use_depth and self.depth_source != "none")):
            raise ValueError("use_image, use_depth and use_table are all off: switch on one that the classifier gets")
        return self

    @property
    def predicts_depth(self) -> bool:
        """Whether there is a depth module."""
        return self.use_depth

    @property
    def needs_encoder(self) -> bool:
        """Whether anything looks at the encoder's maps."""
        return self.use_image or (self.use_depth and self.depth_module == "attention")

    @property
    def uses_attention(self) -> bool:
        """Whether the maps that the classifier gets are weighed."""
        return self.attention == "spatial" and self.use_image

    @property
    def depth_scale(self) -> DepthScale:
        """Between millimetres and what is learnt."""
        return DepthScale(log=self.depth_log, mean=self.depth_mean, std=self.depth_std)

    @property
    def imagenet(self) -> str | None:
        """The encoder that published weights are for."""
        return self.encoder if self.needs_encoder else None


class SimpleCNNConfig(Config):
    """Options of P2's baseline, of which the paper says only the numbers of its layers.

    Fully connected layers need a fixed number of values: features are brought to a grid of ``grid`` x ``grid``, and
    the coarse mask that comes out is enlarged to the image.
    """

    channels: int = Field(16, ge=4, description="of the first convolution; the next two have twice and four times that")
    hidden: int = Field(256, ge=4, description="values between the two fully connected layers")
    grid: int = Field(16, ge=4, le=64, description="side of the features that go into the fully connected layers")
    mask_size: int = Field(64, ge=8, le=256, description="side of the mask that comes out of them")
    dropout: float = Field(0.0, ge=0, lt=1, description="share dropped before each fully connected layer")
    classes: Annotated[int, Computed()] = Field(1, ge=1, description="maps that come out")
