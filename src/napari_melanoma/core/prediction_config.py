"""Configurations that define how a model predicts: preprocessing, patient data, view, calibration, depth and tiles.

They are parts of the configuration of a bundle, and some also of recipes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from napari_melanoma.core.channel_choice import ChannelChoice
from napari_melanoma.core.config import Config, omit_unset

DEPTH_COLUMN = "depth_mm"  # of a harmonized table
# mm: limits between T1a, T1b, T2, T3 and T4 (AJCC, 8th edition), which apply to depths rounded to 0.1 mm
T_EDGES = (0.75, 1.05, 2.05, 4.05)


class RoiConfig(Config):
    """How the region of interest (ROI), a square around the lesion, is extracted from a photograph."""

    margin: float = Field(
        0.1, ge=0, le=2, description="margin on each side, as a fraction of the longer side of the bounding box"
    )
    background: Literal["zero", "keep"] = Field(
        "zero", description="pixels outside the mask: zero (black) or keep (unchanged)"
    )
    side_px: int = Field(224, ge=8, le=4096, description="side of the square ROI after resizing, in pixels")


class DepthScale(Config):
    """Scale between millimeters and network outputs: 0 is the mean of training cases, 1 their standard deviation."""

    log: bool = Field(False, description="use log(1 + mm), so that errors are relative to the depth")
    mean: float = Field(0.0, description="mean of the training cases, on that scale")
    std: float = Field(1.0, gt=0, description="standard deviation of the training cases, on that scale")


class DepthInputConfig(Config):
    """Input of a measured depth to a network: the standardized depth, then an input that is 1 if it is unknown."""

    place: int = Field(ge=0, description="index of the depth among the continuous inputs")
    mean: float = Field(description="mm, subtracted from the depth")
    std: float = Field(gt=0, description="mm, by which the difference is divided")


class DepthOutputConfig(Config):
    """The depth that a bundle predicts: its scale, and its error on validation images."""

    column: str = Field(DEPTH_COLUMN, min_length=1, description="column of the table that is predicted")
    scale: DepthScale = DepthScale()
    images: int = Field(0, ge=0, description="number of validation images with a depth")
    mae_mm: float | None = Field(None, ge=0, description="mean absolute error on these; none: too few")
    pearson: float | None = Field(None, ge=-1, le=1, description="correlation with the measured depth")
    margin: float | None = Field(
        None, ge=0, description="half of the interval on the scale, in units of the predicted spread if there is one"
    )
    coverage: float = Field(0.9, gt=0, lt=1, description="target coverage of the interval")


def _check_ascending(factors: tuple[float, ...]) -> tuple[float, ...]:
    if any(first >= second for first, second in pairwise(factors)):
        raise ValueError(f"closer views are {factors}, expected ascending numbers, each once")
    return factors


CloserViews = Annotated[
    tuple[Annotated[float, Field(gt=1, le=16)], ...],
    AfterValidator(_check_ascending),
    Field(
        max_length=4,
        description="squares around the lesion that are predicted in addition to the whole photograph: their sides in "
        "lengths of the lesion, ascending",
    ),
]
TurnedViews = Annotated[
    Literal[4, 8],
    Field(
        description="the logits of a photograph are means over so many views of it; 4: turned by quarter turns; "
        "8: mirrored, too",
    ),
]
StainMethod = Literal["none", "macenko", "reinhard", "histogram", "standardise"]
DepthSource = Literal["predicted", "measured", "none"]
DepthEncoding = Literal["number", "one_hot", "both"]


class EncoderConfig(Config):
    """The network that computes embeddings of tiles, its weights, and the preprocessing of the tiles."""

    name: str = Field(min_length=1, description="name for --model of slide")
    fingerprint: str = Field(min_length=1, description="of its weights: SHA-256, or their address")
    features: int = Field(ge=1, description="length of an embedding")
    licence: str = Field("unknown", description="license of its weights")
    stain: str = Field("none", description="stain normalization of the tiles")
    preprocessing: str | None = Field(
        None,
        description="hash of the input of the network, the stain options and the color profile",
    )

    _omit_unset = omit_unset("preprocessing")


PREPROCESSING_VERSION = 2  # raised when the same settings give other pixels, so that cached images are not reused


class PreprocessingConfig(Config):
    """Preprocessing of the images that a network receives; none by default.

    It is stored with the model, because predictions need the preprocessing of the training.
    """

    remove_hair: bool = Field(False, description="remove dark hairs, as DullRazor does")
    color_constancy: bool = Field(False, description="correct the color of the light (shades of gray)")
    grey_power: float = Field(
        6.0,
        title="Color constancy exponent",
        ge=1,
        le=64,
        description="1: the mean is gray; larger values weight bright pixels more",
    )
    stain: StainMethod = Field(
        "none",
        title="Stain normalization of patches",
        description="for single patches of slides, not for tiles: normalize the colors of the tissue of each; "
        "histogram: histogram equalization, standardise: mean and spread of each channel (both as in P3)",
    )
    working_size: int = Field(
        512,
        title="Working size (px)",
        ge=128,
        le=2048,
        description="side in pixels of the square in which hairs are detected, and light and stain are estimated",
    )

    @property
    def is_on(self) -> bool:
        return self.remove_hair or self.color_constancy or self.stain != "none"

    @property
    def description(self) -> str:
        """The enabled steps in words; empty if none."""
        steps = ["dark hairs removed"] if self.remove_hair else []
        steps += [f"light corrected by shades of gray with power {self.grey_power:g}"] if self.color_constancy else []
        steps += [f"stain normalized ({self.stain})"] if self.stain != "none" else []
        return ", ".join(steps)

    @property
    def cache_key(self) -> str:
        """Short text that identifies the settings that have an effect; empty if no step is enabled."""
        if not self.is_on:
            return ""
        unused = {"grey_power"} if not self.color_constancy else set()
        unused |= {"stain"} if self.stain == "none" else set()
        effective = [*sorted(self.model_dump(exclude=unused).items()), PREPROCESSING_VERSION]
        return hashlib.sha256(repr(effective).encode()).hexdigest()[:12]


NO_PREPROCESSING = PreprocessingConfig()
UNKNOWN = "unknown"  # text of a cell whose value is unknown; an empty cell means the same
MAX_EMBEDDING_WIDTH = 600  # values of one embedding
MAX_DEVIATIONS = 10.0  # standard deviations to which numbers are clipped


class TabularColumn(Config):
    """Options of columns of numbers and of words; a name alone is a column with the default options."""

    name: str = Field(min_length=1, description="column of the table")
    indicator: bool = Field(False, description="one more input: 1 if unknown, else 0")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value


class NumberColumn(TabularColumn):
    """How a column of numbers, such as the age, is encoded as inputs of a network.

    ``missing`` is the replacement of an unknown number. ``median``: that of the training rows. ``category_average``:
    the mean of the training rows with the same word in the column ``by``. ``zero``: 0 before standardization, 0 in
    every bin, or the integer 0. ``unknown``: its own code, which is a bin, the integer 0 or, for a standardized number,
    the mean together with an indicator input.
    """

    encoding: Literal["standardised", "one_hot", "integer"] = Field(
        "standardised",
        description="standardized: mean 0, standard deviation 1; one_hot: one input for each bin between the edges; "
        "integer: rank among the training values, from 1, divided by their number, and 0 for empty",
    )
    missing: Literal["median", "category_average", "unknown", "zero"] = Field(
        "median", description="replacement of an unknown number"
    )
    by: str = Field("", description="column of words whose averages replace unknown numbers")
    edges: tuple[float, ...] = Field((), description="limits between the bins; a number on an edge is in the upper bin")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.encoding == "one_hot") != bool(self.edges):
            raise ValueError(f"{self.name}: edges are given for the encoding one_hot, and only for it")
        if any(high <= low for low, high in pairwise(self.edges)):
            raise ValueError(f"{self.name}: the edges are {self.edges}, expected each above the one before")
        if (self.missing == "category_average") != bool(self.by):
            raise ValueError(f"{self.name}: by is given with missing = category_average, and only then")
        return self


class WordColumn(TabularColumn):
    """How a column of words, such as the site, is encoded as inputs of a network.

    ``missing`` is the encoding of a word that is unknown, or not in the training rows. ``unknown``: its own code.
    ``zero``: zeros in every input; of an embedding, whose index is 0 either way, a vector of zeros that is not trained.
    """

    encoding: Literal["embedding", "one_hot", "integer"] = Field(
        "embedding",
        description="embedding: an index from 1; one_hot: one input for each word; integer: the index over the number "
        "of words, and 0 for empty",
    )
    missing: Literal["unknown", "zero"] = Field("unknown", description="encoding of an unknown word")
    min_count: int = Field(1, ge=1, description="words of fewer training rows are encoded as unknown")


class TabularConfig(Config):
    """Columns and encodings that a network uses; by default those of P1: median age, an unknown code for words."""

    numbers: tuple[NumberColumn, ...] = (NumberColumn(name="age"),)
    words: tuple[WordColumn, ...] = (WordColumn(name="sex"), WordColumn(name="site"))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_columns(self.numbers, self.words)
        return self


class FittedNumbers(NumberColumn):
    """A column of numbers with the statistics of the training rows."""

    known: int = Field(0, ge=0, description="training rows in which it is known")
    mean: float = 0.0
    std: float = Field(1.0, gt=0, description="standard deviation; if all are equal, their absolute value, or 1")
    median: float = 0.0
    levels: tuple[float, ...] = Field((), description="of the encoding integer: the training values, ascending")
    averages: dict[str, float] = Field(default_factory=dict, description="mean for each word of the column by")

    @property
    def titles(self) -> tuple[str, ...]:
        """Name of each input in words."""
        titles = [self.name]
        if self.encoding == "one_hot":
            between = [f"{self.name} {low:g} to below {high:g}" for low, high in pairwise(self.edges)]
            titles = [f"{self.name} below {self.edges[0]:g}", *between, f"{self.name} {self.edges[-1]:g} or more"]
            titles += [f"{self.name} {UNKNOWN}"] if self.missing == "unknown" else []
        return (*titles, *_indicator_title(self.name, self.has_indicator))

    @property
    def has_indicator(self) -> bool:
        """Whether one of the inputs indicates an unknown number."""
        return self.indicator or (self.missing == "unknown" and self.encoding == "standardised")


class FittedWords(WordColumn):
    """A column of words with the words of the training rows; the first word has the index 1."""

    known: int = Field(0, ge=0, description="training rows in which it is known")
    words: tuple[str, ...] = ()

    @property
    def titles(self) -> tuple[str, ...]:
        """Name of each continuous input in words; an embedding has only the indicator."""
        titles = [self.name] if self.encoding == "integer" else []
        if self.encoding == "one_hot":
            titles = [f"{self.name}: {word}" for word in self.words]
            titles += [f"{self.name}: {UNKNOWN}"] if self.missing == "unknown" else []
        return (*titles, *_indicator_title(self.name, self.indicator))

    @property
    def cardinality(self) -> int:
        """Number of indices, including 0 for unknown."""
        return 1 + len(self.words)

    @property
    def width(self) -> int:
        """Suggested length of the embedding, by the rule of fastai's tabular model, which P1 uses."""
        return min(MAX_EMBEDDING_WIDTH, round(1.6 * self.cardinality**0.56))


class TabularInput(NamedTuple):
    """One input of a network: the column of the table that it comes from, and its name in words."""

    field: str
    title: str


class TabularShape(Config):
    """Number and kind of a network's inputs from a table; none by default."""

    continuous: int = Field(0, ge=0, description="inputs that are numbers")
    cardinalities: tuple[Annotated[int, Field(ge=1)], ...] = Field((), description="indices of each embedding")
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field((), description="length of each embedding")
    silent: tuple[bool, ...] = Field((), description="embeddings whose index 0 is zeros, not trained; empty: none")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        count = len(self.cardinalities)
        if len(self.widths) != count or len(self.silent) not in (0, count):
            raise ValueError(f"there are {count} cardinalities, expected as many widths, and as many silent or none")
        return self

    @property
    def width(self) -> int:
        """Length of the vector that the network computes from the table; 0 without inputs from it."""
        return self.continuous + sum(self.widths)


class TabularEncoding(Config):
    """Encoding of table rows as inputs of a network, fitted on the training rows and stored in the bundle."""

    version: Literal[1] = 1
    numbers: tuple[FittedNumbers, ...] = ()
    words: tuple[FittedWords, ...] = ()
    rows: int = Field(0, ge=0, description="number of training rows that the encoding was fitted on")
    members: tuple[TabularEncoding, ...] | None = Field(
        None, description="for an ensemble: the encoding of each network, for the same columns"
    )

    _omit_unset = omit_unset("members")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_columns(self.numbers, self.words)
        if any(member.fields != self.fields for member in self.members or ()):
            raise ValueError(f"members encode other columns, expected {', '.join(self.fields)}")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the columns, numbers before words; users enter these fields, and explanations refer to them."""
        return tuple(column.name for column in self.columns)

    @property
    def columns(self) -> tuple[FittedNumbers | FittedWords, ...]:
        """The columns of both kinds, numbers before words."""
        return (*self.numbers, *self.words)

    @property
    def continuous(self) -> tuple[TabularInput, ...]:
        """The inputs that are numbers, in their order."""
        if self.members:
            return tuple(number for member in self.members for number in member.continuous)
        return tuple(TabularInput(column.name, title) for column in self.columns for title in column.titles)

    @property
    def embedded(self) -> tuple[FittedWords, ...]:
        """The columns whose input is an index, in their order, with cardinality and suggested width."""
        if self.members:
            return tuple(column for member in self.members for column in member.embedded)
        return tuple(column for column in self.words if column.encoding == "embedding")

    @property
    def shape(self) -> TabularShape:
        """The sizes that a network needs for its inputs from the table."""
        return TabularShape(
            continuous=len(self.continuous),
            cardinalities=tuple(column.cardinality for column in self.embedded),
            widths=tuple(column.width for column in self.embedded),
            silent=tuple(column.missing == "zero" for column in self.embedded),
        )


def _indicator_title(name: str, present: bool) -> tuple[str, ...]:
    """Return the title of the input that indicates an unknown value; empty if there is none."""
    return (f"{name} not known",) if present else ()


def _check_columns(numbers: tuple[NumberColumn, ...], words: tuple[WordColumn, ...]) -> None:
    """Raise for a column that is named twice, and for an average by a column that does not exist."""
    columns: list[TabularColumn] = [*numbers, *words]
    names = [column.name for column in columns]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"{', '.join(repeated)}: named twice, expected each column once in numbers or words (by default age is in "
            "numbers, sex and site are in words: set both lists)"
        )
    word_columns = [column.name for column in words]
    for column in numbers:
        if column.by and column.by not in word_columns:
            raise ValueError(
                f"{column.name}: by is '{column.by}', expected one of the columns of words ({', '.join(word_columns)})"
            )


class ViewConfig(Config):
    """The part of a photograph that a classifier uses."""

    region: Literal["roi", "photograph"] = Field(
        "roi",
        title="Image region",
        description="roi: the square around the mask; photograph: all of it, scaled to a square, without a mask",
    )
    margin: float = Field(
        0.1,
        title="Margin (share of the lesion)",
        ge=0,
        le=2,
        description="of the roi, as a fraction of the longer side of the lesion",
    )
    background: Literal["zero", "keep"] = Field(
        "keep", title="Skin around the lesion", description="skin around the lesion: black, or kept"
    )

    def roi(self, side_px: int) -> RoiConfig:
        """Return the configuration of the region of interest for an input of ``side_px`` pixels."""
        return RoiConfig(margin=self.margin, background=self.background, side_px=side_px)


Interval = tuple[float, float]
SCALE_TOLERANCE = 0.05  # share by which the scale of tiles may differ
SetRule = Literal[
    "lac", "aps", "class_conditional", "clustered"
]  # construction of a prediction set, see metrics.calibration


class OperatingPoint(Config):
    """The decision threshold: the sensitivity that it was chosen for, and its measured performance."""

    target_sensitivity: float = Field(gt=0, lt=1)
    target_shown: bool = Field(True, description="whether there are enough positive cases to show that sensitivity")
    threshold: float = Field(
        ge=0,
        le=1,
        description="decision threshold: calibrated probability at or above which the positive class is predicted",
    )
    sensitivity: float = Field(ge=0, le=1)
    sensitivity_interval: Interval = Field(description="95 %")
    specificity: float = Field(ge=0, le=1)
    specificity_interval: Interval = Field(description="95 %")


class AgeGroup(Config):
    """Performance at the operating point in one age group, on images that the model was not trained on."""

    at_least: float = Field(ge=0, description="years")
    below: float | None = Field(None, gt=0, description="years; none: no upper end")
    images: int = Field(ge=1)
    positives: int = Field(ge=0, description="images of the positive class")
    sensitivity: float = Field(ge=0, le=1)
    sensitivity_interval: Interval = Field(description="95 %")
    specificity: float = Field(ge=0, le=1)
    specificity_interval: Interval = Field(description="95 %")

    def contains(self, age: float) -> bool:
        """Whether an age in years is in this group; False if it is not a number (unknown)."""
        return age >= self.at_least and (self.below is None or age < self.below)


class ClassifierConfig(Config):
    """View and preprocessing of a classifier's input, and calibration of its predictions."""

    positive: str = Field("melanoma", min_length=1, description="positive class of the operating point")
    view: ViewConfig = ViewConfig()
    test_time_augmentation: bool = Field(
        False, description="logits are means over eight views of the image: turned by quarter turns and mirrored"
    )
    temperature: float = Field(1.0, gt=0, description="logits are divided by it before softmax")
    bias: tuple[float, ...] = Field(
        (),
        description="added to the divided logits, one per class; corrects for class weights or sampling; none: zeros",
    )
    set_rule: SetRule = Field(
        "class_conditional",
        description="construction of the prediction set; class_conditional: target coverage in each class; "
        "clustered: likewise, with a common limit for classes that have too few reference cases",
    )
    operating_point: OperatingPoint | None = Field(None, description="none: not chosen")
    ages: tuple[AgeGroup, ...] = Field(
        (), description="at the operating point by the patient's age, cross-validated; none: not measured"
    )
    coverage: float = Field(0.9, gt=0, lt=1, description="target coverage of the prediction set")
    shift_margin: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the tolerated errors of prediction sets that is reserved for images of other clinics: at "
        "a coverage of 0.9 and a margin of 0.3, sets are calibrated for 0.93",
    )
    prevalence: float | None = Field(
        None, gt=0, lt=1, description="share of the positive class in the calibration data"
    )
    depth: DepthOutputConfig | None = Field(None, description="of a model that predicts a depth besides the class")
    novelty_threshold: float | None = Field(
        None, gt=0, description="distance of embeddings above which an image is out of distribution"
    )
    type_threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="probability, recognized from the photograph, of the modalities of the model, below which an image "
        "is out of distribution; none: not considered",
    )


class TileConfig(Config):
    """Scale and size of the square tiles of a model for slides."""

    mpp: float = Field(gt=0, le=100, description="micrometers per pixel of the training tiles")
    side_px: int = Field(ge=32, le=2048, description="side of these tiles in pixels")

    def differs(self, mpp: tuple[float, float] | None) -> bool:
        """Whether the scale of tiles differs from that of the training tiles.

        ``mpp``: micrometers per pixel of the network's input, (y, x); None if unknown, which does not count as
        different. Differences up to 5 % are ignored: tiles have whole pixels of a level, so slides differ slightly.
        """
        return mpp is not None and any(abs(value / self.mpp - 1) > SCALE_TOLERANCE for value in mpp)

    @property
    def side_um(self) -> float:
        """Side of a tile in micrometers."""
        return self.mpp * self.side_px


TissueRole = Literal["tumor", "epidermis", "background", "nevus", "keratin"]


class TissueClassifierConfig(Config):
    """How a tissue classifier predicts, and the features of cells that it was fitted on."""

    source: str = Field(min_length=1, description="name of the source of the features")
    fingerprint: str = Field(min_length=1, description="hash of everything that determines the features")
    features: int = Field(ge=1, le=65536, description="features of a cell")
    kind: Literal["nearest_mean", "logistic", "forest"] = Field(description="kind of classifier")
    temperature: float = Field(1.0, gt=0, description="divides the logits")
    margin_px: int = Field(ge=0, le=1024, description="border of a tile that is context for the features only")
    smoothing: float = Field(0.0, ge=0, le=4, description="width of the Gaussian that smooths the map, in cells")
    min_region_cells: int = Field(4, ge=1, description="regions of a class with fewer cells are not outlined")
    novelty_limit: float | None = Field(None, gt=0, description="distance above which a cell is out of distribution")
    colors: dict[str, tuple[int, int, int]] = Field(default_factory=dict, description="of the classes, where known")
    roles: dict[TissueRole, str] = Field(
        default_factory=dict, description="the class that lesions are detected with, and those that depth requires"
    )
    channels: ChannelChoice | None = Field(
        None, description="channels of fluorescence slides that are read as red, green and blue; none: brightfield"
    )
    has_strokes: bool = Field(
        False, description="whether the weights contain features of the painted cells, from which another fit can start"
    )

    _omit_unset = omit_unset("has_strokes")

    @field_validator("channels")
    @classmethod
    def _check_limits(cls, channels: ChannelChoice | None) -> ChannelChoice | None:
        if channels is not None and not channels.is_complete:
            raise ValueError(f"the channels {channels.label} have no limits: expected NAME=LOW:HIGH for each")
        return channels

    def name_roles(self, classes: Sequence[str]) -> tuple[str, ...]:
        """Return the role of each class, by which the depth is measured; empty for the others."""
        roles = {name: role for role, name in self.roles.items()}
        return tuple(roles.get(name, "") for name in classes)
