"""What a network gets from a table of patients: the choices of a recipe, and the fitted encoding that a bundle carries.

A value of its own, below data, models and training, because all three share it. ``data.features`` fits and applies it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from napari_melanoma.core.config import Config

UNKNOWN = "unknown"  # the word for what is not known; an empty cell means the same
WIDEST = 600  # values of one embedding
FARTHEST = 10.0  # standard deviations: a number that lies farther from the mean counts as one that lies so far


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


class TabularChoices(Config):
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
        return (*bins, *own, *_indicator(self.name, self.has_indicator))

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
        return (*found, *own, *whole, *_indicator(self.name, self.indicator))

    @property
    def cardinality(self) -> int:
        """How many indices there are, 0 for unknown among them."""
        return 1 + len(self.words)

    @property
    def width(self) -> int:
        """Length of the embedding that is suggested, by the rule of fastai's tabular model, which P1 uses."""
        return min(WIDEST, round(1.6 * self.cardinality**0.56))


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


def _indicator(name: str, there: bool) -> tuple[str, ...]:
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
