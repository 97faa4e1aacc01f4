"""P3's network for the risk of metastasis: biomarkers of the image, depth of invasion, and the patient's data."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from napari_melanoma.core.config import Config, FilledIn
from napari_melanoma.core.depth import T_EDGES, DepthEncoding, DepthScale, DepthSource, MeasuredDepth
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.tabular import TabularShape
from napari_melanoma.models.zoo import Spec

if TYPE_CHECKING:
    from torch import nn


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
    classes: Annotated[int, FilledIn()] = Field(2, ge=2, description="classes that are told apart")
    tabular: Annotated[TabularShape, FilledIn()] = Field(TabularShape(), description="inputs from the table")
    depth_mean: Annotated[float, FilledIn()] = Field(0.0, description="of the training cases, on the depth's scale")
    depth_std: Annotated[float, FilledIn()] = Field(1.0, gt=0, description="of the training cases, on that scale")
    measured: Annotated[MeasuredDepth | None, FilledIn()] = Field(
        None, description="where the measured depth stands among the inputs from the table"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
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
    def tells_depth(self) -> bool:
        """Whether there is a depth module."""
        return self.use_depth

    @property
    def needs_encoder(self) -> bool:
        """Whether anything looks at the encoder's maps."""
        return self.use_image or (self.use_depth and self.depth_module == "attention")

    @property
    def attends(self) -> bool:
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


SPEC = Spec(
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
