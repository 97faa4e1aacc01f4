"""What a bundle and a recipe state about a prediction: input, classes, table, depth and tile."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from napari_melanoma.core.config import Config

DEPTH_COLUMN = "depth_mm"  # the column of the harmonised table
T_EDGES = (0.75, 1.05, 2.05, 4.05)  # mm: where T1a, T1b, T2, T3 and T4 meet, to the nearest 0.1 mm (AJCC, 8th edition)


class DepthScale(Config):
    """Between millimetres and the numbers that a network learns: 0 is the mean of training cases, 1 their spread."""

    log: bool = Field(False, description="of log(1 + mm), so that an error counts relative to the depth")
    mean: float = Field(0.0, description="of the training cases, on that scale")
    std: float = Field(1.0, gt=0, description="of the training cases, on that scale")


class DepthInputConfig(Config):
    """Where a network finds a measured depth among its inputs: standardised, and behind it 1 where it is not known."""

    place: int = Field(ge=0, description="of the number among the continuous inputs")
    mean: float = Field(description="mm, subtracted before")
    std: float = Field(gt=0, description="mm, divided by before")


class DepthOutputConfig(Config):
    """The depth that a bundle tells of a picture: on which scale, and how well on images that it did not learn."""

    column: str = Field(DEPTH_COLUMN, min_length=1, description="of the table, that it learnt to tell")
    scale: DepthScale = DepthScale()
    images: int = Field(0, ge=0, description="of the tuning images, how many have a depth")
    mae_mm: float | None = Field(None, ge=0, description="mean absolute error on these; none: too few")
    pearson: float | None = Field(None, ge=-1, le=1, description="correlation with what was measured")
    margin: float | None = Field(
        None, ge=0, description="half of the interval on the scale, in units of its own spread where it tells one"
    )
    coverage: float = Field(0.9, gt=0, lt=1, description="how often the interval shall hold the true depth")


DepthSource = Literal["predicted", "measured", "none"]
DepthEncoding = Literal["number", "one_hot", "both"]


class EncoderConfig(Config):
    """Which network made the embeddings, with which weights, and what was done to the tiles before."""

    name: str = Field(min_length=1, description="as --model of slide takes it")
    fingerprint: str = Field(min_length=1, description="of its weights: SHA-256, or where they are published")
    features: int = Field(ge=1, description="length of an embedding")
    licence: str = Field("unknown", description="of its weights, which binds whoever uses them")
    stain: str = Field("none", description="how the colours of the tiles were normalised")


PREPROCESSING_VERSION = (
    2  # raised when the same settings come to give other pixels, so that those that are kept are not taken for them
)


class PreprocessingConfig(Config):
    """What is done to photographs before a network sees them; nothing by default.

    A model is told apart by it as by its input size: it is fed in use as it was fed when it learnt.
    """

    remove_hair: bool = Field(False, description="take dark hairs out of the picture, as DullRazor does")
    color_constancy: bool = Field(False, description="take the tint of the light out (shades of grey)")
    grey_power: float = Field(6.0, ge=1, le=64, description="1: the mean is grey; the larger, the more the brightest")
    working_size: int = Field(
        512,
        ge=128,
        le=2048,
        description="side in pixels of the square that hairs are sought and the light is judged in",
    )

    @property
    def is_on(self) -> bool:
        """Whether anything is done at all."""
        return self.remove_hair or self.color_constancy

    @property
    def description(self) -> str:
        """What is done, for people; empty where it is nothing."""
        done = ["dark hairs removed"] if self.remove_hair else []
        done += [f"light corrected by shades of grey with power {self.grey_power:g}"] if self.color_constancy else []
        return ", ".join(done)

    @property
    def cache_key(self) -> str:
        """Short text that tells settings apart by what they do; empty where they do nothing."""
        if not self.is_on:
            return ""
        unused = {"grey_power"} if not self.color_constancy else set()
        does = [*sorted(self.model_dump(exclude=unused).items()), PREPROCESSING_VERSION]
        return hashlib.sha256(repr(does).encode()).hexdigest()[:12]


NO_PREPROCESSING = PreprocessingConfig()
UNKNOWN = "unknown"  # the word for what is not known; an empty cell means the same
MAX_EMBEDDING_WIDTH = 600  # values of one embedding
MAX_DEVIATIONS = 10.0  # standard deviations: a number that lies farther from the mean counts as one that lies so far


class TabularColumn(Config):
    """What columns of either kind have."""

    name: str = Field(min_length=1, description="column of the table")
    indicator: bool = Field(False, description="one more input: 1 where it is not known, else 0")


class NumberColumn(TabularColumn):
    """How a column of numbers, such as the age, becomes inputs of a network.

    ``missing`` says what stands for a number that is not known. ``median``: that of the training rows.
    ``category_average``: the mean of the training rows with the same word in the column ``by``. ``zero``: the number 0;
    of bins none, of integers 0. ``unknown``: a code of its own, which is a bin, the integer 0 or, for a standardised
    number, the mean together with an input that says so.
    """

    encoding: Literal["standardised", "one_hot", "integer"] = Field(
        "standardised",
        description="standardised: mean 0, standard deviation 1; one_hot: one input for each bin between the edges; "
        "integer: place among the values seen, from 1, over their number, and 0 for empty",
    )
    missing: Literal["median", "category_average", "unknown", "zero"] = Field(
        "median", description="what stands for a number that is not known"
    )
    by: str = Field("", description="column of words whose averages stand for what is not known")
    edges: tuple[float, ...] = Field((), description="where the bins meet; a number on an edge is in the upper bin")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.encoding == "one_hot") != bool(self.edges):
            raise ValueError(f"{self.name}: edges belong to one_hot, which needs at least one")
        if any(high <= low for low, high in pairwise(self.edges)):
            raise ValueError(f"{self.name}: the edges are {self.edges}, expected each above the one before")
        if (self.missing == "category_average") != bool(self.by):
            raise ValueError(f"{self.name}: by belongs to category_average, which needs it")
        return self


class WordColumn(TabularColumn):
    """How a column of words, such as the site, becomes inputs of a network.

    ``missing`` says what stands for a word that is not known, or that no training row had. ``unknown``: a code of its
    own. ``zero``: nothing, that is zeros in every input; of an embedding, whose index is 0 either way, a vector of
    zeros that is not learnt.
    """

    encoding: Literal["embedding", "one_hot", "integer"] = Field(
        "embedding",
        description="embedding: an index from 1; one_hot: one input for each word; integer: the index over the number "
        "of words, and 0 for empty",
    )
    missing: Literal["unknown", "zero"] = Field("unknown", description="what stands for a word that is not known")
    min_count: int = Field(1, ge=1, description="words of fewer training rows are taken as not known")


class TabularConfig(Config):
    """Which columns a network gets, and how; by default those of P1: median for the age, an unknown code for words."""

    numbers: tuple[NumberColumn, ...] = (NumberColumn(name="age"),)
    words: tuple[WordColumn, ...] = (WordColumn(name="sex"), WordColumn(name="site"))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_columns(self.numbers, self.words)
        return self


class FittedNumbers(NumberColumn):
    """A column of numbers with what the training rows say of it."""

    known: int = Field(0, ge=0, description="training rows in which it is known")
    mean: float = 0.0
    std: float = Field(1.0, gt=0, description="standard deviation; where all are the same, how large they are, or 1")
    median: float = 0.0
    levels: tuple[float, ...] = Field((), description="of the encoding integer: the values seen, ascending")
    averages: dict[str, float] = Field(default_factory=dict, description="mean for each word of the column by")

    @property
    def titles(self) -> tuple[str, ...]:
        """Name of each input in words."""
        if self.encoding == "one_hot":
            between = [f"{self.name} {low:g} to below {high:g}" for low, high in pairwise(self.edges)]
            bins = [f"{self.name} below {self.edges[0]:g}", *between, f"{self.name} {self.edges[-1]:g} or more"]
            own = [f"{self.name} {UNKNOWN}"] if self.missing == "unknown" else []
        else:
            bins, own = [self.name], []
        return (*bins, *own, *_indicator_title(self.name, self.has_indicator))

    @property
    def has_indicator(self) -> bool:
        """Whether one of the inputs says that the number is not known."""
        return self.indicator or (self.missing == "unknown" and self.encoding == "standardised")


class FittedWords(WordColumn):
    """A column of words with those that the training rows have; the first has the index 1."""

    known: int = Field(0, ge=0, description="training rows in which it is known")
    words: tuple[str, ...] = ()

    @property
    def titles(self) -> tuple[str, ...]:
        """Name of each continuous input in words; an embedding has none but the indicator."""
        found = [f"{self.name}: {word}" for word in self.words] if self.encoding == "one_hot" else []
        own = [f"{self.name}: {UNKNOWN}"] if self.encoding == "one_hot" and self.missing == "unknown" else []
        whole = [self.name] if self.encoding == "integer" else []
        return (*found, *own, *whole, *_indicator_title(self.name, self.indicator))

    @property
    def cardinality(self) -> int:
        """How many indices there are, 0 for unknown among them."""
        return 1 + len(self.words)

    @property
    def width(self) -> int:
        """Length of the embedding that is suggested, by the rule of fastai's tabular model, which P1 uses."""
        return min(MAX_EMBEDDING_WIDTH, round(1.6 * self.cardinality**0.56))


class TabularInput(NamedTuple):
    """One input of a network: the column of the table that it comes from, and its name in words."""

    field: str
    title: str


class TabularShape(Config):
    """How many inputs a network gets from a table; the default is none."""

    continuous: int = Field(0, ge=0, description="inputs that are numbers")
    cardinalities: tuple[Annotated[int, Field(ge=1)], ...] = Field((), description="indices of each embedding")
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field((), description="length of each embedding")
    silent: tuple[bool, ...] = Field((), description="embeddings whose index 0 is zeros, not learnt; empty: none is")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        count = len(self.cardinalities)
        if len(self.widths) != count or len(self.silent) not in (0, count):
            raise ValueError(f"there are {count} cardinalities, expected as many widths, and as many silent or none")
        return self

    @property
    def width(self) -> int:
        """Length of the vector that the table becomes; 0 where nothing comes from it."""
        return self.continuous + sum(self.widths)


class TabularEncoding(Config):
    """How rows of a table become the inputs of one network; fitted on its training rows, carried by its bundle."""

    version: Literal[1] = 1
    numbers: tuple[FittedNumbers, ...] = ()
    words: tuple[FittedWords, ...] = ()
    rows: int = Field(0, ge=0, description="training rows that it was fitted on")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_columns(self.numbers, self.words)
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """Columns of the table, numbers before words: what a person fills in, and what an explanation speaks of."""
        return tuple(column.name for column in self.columns)

    @property
    def columns(self) -> tuple[FittedNumbers | FittedWords, ...]:
        """The columns of both kinds in that order."""
        return (*self.numbers, *self.words)

    @property
    def continuous(self) -> tuple[TabularInput, ...]:
        """The inputs that are numbers, in their order."""
        return tuple(TabularInput(column.name, title) for column in self.columns for title in column.titles)

    @property
    def embedded(self) -> tuple[FittedWords, ...]:
        """The columns whose input is an index, in their order, with cardinality and suggested width."""
        return tuple(column for column in self.words if column.encoding == "embedding")

    @property
    def shape(self) -> TabularShape:
        """What a network must know of its inputs from the table."""
        return TabularShape(
            continuous=len(self.continuous),
            cardinalities=tuple(column.cardinality for column in self.embedded),
            widths=tuple(column.width for column in self.embedded),
            silent=tuple(column.missing == "zero" for column in self.embedded),
        )


def _indicator_title(name: str, there: bool) -> tuple[str, ...]:
    """Name of the input that says that a column is not known."""
    return (f"{name} not known",) if there else ()


def _check_columns(numbers: tuple[NumberColumn, ...], words: tuple[WordColumn, ...]) -> None:
    """Refuse a column that is named twice, and an average by a column that is not there."""
    columns: list[TabularColumn] = [*numbers, *words]
    names = [column.name for column in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)}: named twice, expected each column once")
    known = [column.name for column in words]
    for column in numbers:
        if column.by and column.by not in known:
            raise ValueError(f"{column.name}: by is '{column.by}', expected one of the words ({', '.join(known)})")


class RoiConfig(Config):
    """How the square is cut: margin, what happens to the skin around the lesion, and the side of the result."""

    margin: float = Field(
        0.1, ge=0, le=2, description="added on each side, as a fraction of the longer side of the bounding box"
    )
    background: Literal["zero", "keep"] = Field("zero", description="pixels outside the mask: black, or as they are")
    side_px: int = Field(224, ge=8, le=4096, description="side of the square after resizing, in pixels")


class ViewConfig(Config):
    """What a classifier sees of a photograph, before it is fitted to the network's input."""

    region: Literal["roi", "photograph"] = Field(
        "roi", description="roi: the square around the mask; photograph: all of it, squeezed, no mask needed"
    )
    margin: float = Field(0.1, ge=0, le=2, description="of the roi, as a fraction of the longer side of the lesion")
    background: Literal["zero", "keep"] = Field("keep", description="skin around the lesion: black, or as it is")

    def roi(self, side_px: int) -> RoiConfig:
        """Say how the square is cut for an input of that side.

        ``side_px``: in pixels.
        """
        return RoiConfig(margin=self.margin, background=self.background, side_px=side_px)


Interval = tuple[float, float]
SetRule = Literal[
    "lac", "aps", "class_conditional"
]  # how a set of classes is made; analysis.conformal says what each is


class OperatingPoint(Config):
    """Where probabilities are cut in two: the sensitivity that was asked for, and what was found there."""

    asked: float = Field(gt=0, lt=1, description="sensitivity that was asked for")
    cut: float = Field(ge=0, le=1, description="calibrated probability at or above which the positive class is said")
    sensitivity: float = Field(ge=0, le=1)
    sensitivity_interval: Interval = Field(description="95 %")
    specificity: float = Field(ge=0, le=1)
    specificity_interval: Interval = Field(description="95 %")


class AgeGroup(Config):
    """How often it was right about people of some ages, at the operating point, on images that it had not seen."""

    at_least: float = Field(ge=0, description="years")
    below: float | None = Field(None, gt=0, description="years; none: no upper end")
    images: int = Field(ge=1)
    positives: int = Field(ge=0, description="how many of the images were of the positive class")
    sensitivity: float = Field(ge=0, le=1)
    sensitivity_interval: Interval = Field(description="95 %")
    specificity: float = Field(ge=0, le=1)
    specificity_interval: Interval = Field(description="95 %")

    def contains(self, age: float) -> bool:
        """Say whether an age is one of these.

        ``age``: years; not a number where it is not known. False where it is not known.
        """
        return age >= self.at_least and (self.below is None or age < self.below)


class ClassifierConfig(Config):
    """How a classifying bundle is fed and how its answers are read."""

    positive: str = Field("melanoma", min_length=1, description="the class that the operating point is about")
    view: ViewConfig = ViewConfig()
    mirrored: bool = Field(False, description="its logits are means over the view and the view's three mirror images")
    temperature: float = Field(1.0, gt=0, description="logits are divided by it before softmax")
    bias: tuple[float, ...] = Field(
        (), description="added to the divided logits, one a class; what class weights or sampling moved; none: zeros"
    )
    set_rule: SetRule = Field(
        "class_conditional", description="by which the set of classes is made: each class covered as often as asked"
    )
    operating_point: OperatingPoint | None = Field(None, description="none: it was never chosen")
    ages: tuple[AgeGroup, ...] = Field(
        (), description="at the operating point by the patient's age, cross-validated; none: it was never measured"
    )
    coverage: float = Field(0.9, gt=0, lt=1, description="how often the set of classes shall hold the true one")
    prevalence: float | None = Field(
        None, gt=0, lt=1, description="share of the positive class where it was calibrated"
    )
    depth: DepthOutputConfig | None = Field(None, description="of one that tells a depth beside the class")
    unlike: float | None = Field(
        None, gt=0, description="distance of embeddings from which a picture is unlike those it was trained on"
    )


SCALE_TOLERANCE = 0.05  # share by which the scale of tiles may differ


class TileConfig(Config):
    """At which physical scale a model looks at a slide: a square tile of so many pixels at so many micrometres each."""

    mpp: float = Field(gt=0, le=100, description="micrometres per pixel of the tiles that it was trained on")
    side_px: int = Field(ge=32, le=2048, description="side of these tiles in pixels")

    def differs(self, mpp: tuple[float, float] | None) -> bool:
        """Say whether tiles of a slide are of another scale.

        ``mpp``: micrometres per pixel down and across, as a network sees it; None where nobody knows. True from 5 % on:
        tiles have whole pixels of a level, so that slides differ a little.
        """
        return mpp is not None and any(abs(one / self.mpp - 1) > SCALE_TOLERANCE for one in mpp)

    @property
    def side_um(self) -> float:
        """Side of a tile in micrometres."""
        return self.mpp * self.side_px
