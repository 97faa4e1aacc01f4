"""The papers that can be reproduced: their files, rows, and types of rows.

A paper is a folder of ``recipes``. Its ``paper.toml`` describes the roles of the data and the tables; each of the other
files describes the rows of a table, or grids of rows.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, reduce
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from napari_melanoma.core.config import Config, OneOf, overlay_keys, overlay_recipe_values, overlay_values
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.parsing import parse_toml, read_toml_table
from napari_melanoma.data.dataset import Key, Sample
from napari_melanoma.extensions.papers.recipe_rows import RECIPES, SHARED, expand_rows
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.training.recipe import TrainRecipe

SEGMENTER = "lesion-small"  # predicts masks, unless a row names another


def papers() -> tuple[str, ...]:
    """List the papers that can be reproduced, such as ``("P2", "P4")``."""
    return tuple(sorted(item.name for item in RECIPES.iterdir() if item.is_dir() and (item / SHARED).is_file()))


@cache
def read_paper(name: str) -> Paper:
    """Read a paper by its name, in any case."""
    paper_name = next((known for known in papers() if known.lower() == name.lower()), None)
    if paper_name is None:
        raise ConfigError(f"there are no recipes of a paper '{name}' (known: {', '.join(papers())}).")
    files = [item for item in (RECIPES / paper_name).iterdir() if item.name.endswith(".toml")]
    values = {item.name: parse_toml(item.read_bytes(), item.name) for item in files}
    file = PaperFile.parse(values.pop(SHARED), f"{paper_name}/{SHARED}")
    rows: list[Row] = []
    for file_name, table in values.items():
        for name, row in expand_rows(table).items():
            rows += _rows(name, RowFile.parse(row, f"{paper_name}/{file_name}, row '{name}'"), file)
    rows += [_validation_row(row) for row in rows if file.validation and row.file.table == file.validation]
    rows.sort(key=lambda row: (row.file.order, row.grid or row.name))
    return Paper(paper_name, file, {row.name: row for row in rows})


def paper_of_recipe(path: Path) -> tuple[str, tuple[str, ...]] | None:
    """Return the paper that a file belongs to, and its rows and grids in it; None if it is not a file of a paper.

    There are no rows in ``paper.toml``. Files of papers are not complete recipes.
    """
    try:
        values = read_toml_table(path)
    except (OSError, ValueError):
        return None
    rows = tuple(values["rows"]) if isinstance(values.get("rows"), dict) else ()
    for paper in map(read_paper, papers()) if rows or "roles" in values else ():
        if {*rows} <= {*paper.named} if rows else values.get("title") == paper.file.title:
            return paper.name, rows
    return None


def _rows(name: str, file: RowFile, paper: PaperFile) -> Iterator[Row]:
    """Create the row of a file, or the rows of its grid or random search."""
    kind_values = paper.of.get(file.kind, KindValues())
    full = overlay_recipe_values(overlay_recipe_values(paper.recipe, kind_values.recipe), file.recipe)
    small = reduce(overlay_recipe_values, (paper.small, kind_values.small, file.small), full)
    if file.search is not None:
        for number, draw in enumerate(file.search.draw(), 1):
            yield Row(
                f"{name}-{number:02}",
                _with_title(file, draw),
                {"full": overlay_keys(full, draw), "small": overlay_keys(small, draw)},
                name,
                full_only=number > file.search.draws_small,
            )
        return
    if not file.grid:
        yield Row(name, file, {"full": full, "small": small})
        return
    for indices in itertools.product(*(range(len(values)) for values in file.grid.values())):
        grid, small_grid = (
            {key: values[key][index] for key, index in zip(file.grid, indices, strict=True)}
            for values in (file.grid, {**file.grid, **file.grid_small})
        )
        yield Row(
            "-".join([name, *(str(value).replace("_", "-") for value in grid.values())]),
            _with_title(file, grid),
            {"full": overlay_keys(full, grid), "small": overlay_keys(small, small_grid)},
            name,
        )


VALIDATION = "validation"  # name of the rows that are evaluated on validation images
VALIDATION_ORDER = 2000  # added to the order of a row, so that it comes after all others


def _validation_row(row: Row) -> Row:
    """Return a row that evaluates the model of another row on its validation images."""
    own = {
        "title": f"{row.file.title}, validation images",
        "order": VALIDATION_ORDER + row.file.order,
        "table": None,
        "train": None,
        "train_also": (),
        "start_of": None,
        "model_of": row.file.model_of or row.name,
        "evaluated_on": VALIDATION,
    }
    return Row(f"{VALIDATION}-{row.name}", row.file.model_copy(update=own), row.values, VALIDATION)


def _with_title(file: RowFile, values: Mapping[str, Any]) -> RowFile:
    """Fill in the values of a row of a grid or a random search in its title."""
    title = file.title.format(**{key.rpartition(".")[2]: value for key, value in values.items()})
    return file.model_copy(update={"title": title})


Budget = Literal["small", "full"]


def _as_tuple(value: object) -> object:
    """Convert a single name to a tuple; other values are unchanged."""
    return (value,) if isinstance(value, str) else value


Predictor = Literal["network", "random", "constant_negative", "prevalence", "tabular", "logistic", "features"]


class SourceSplit(Config):
    """Training and test images of a data set, by the splits that it names."""

    train: tuple[str, ...] = Field((), description="splits used for training; none: all that are not test images")
    test: tuple[str, ...] | None = Field(
        None,
        description="splits used as test images; none: 'test', or else 'val', on which nothing is chosen then; "
        "empty: no test images",
    )
    test_fraction: float = Field(
        0.2, gt=0, lt=1, description="share of the patients held out as test images if no such split is named"
    )


class Role(Config):
    """A type of data that a paper's experiments need."""

    title: str = Field(description="in words, such as 'macroscopic photographs'")
    modality: Literal["dermoscopic", "macroscopic", "tbp_tile", "wsi"] = Field(
        description="of images without this information"
    )
    also: tuple[Literal["dermoscopic", "macroscopic", "tbp_tile"], ...] = Field(
        (), description="further types of images that it may have"
    )
    sources: tuple[str, ...] = Field(description="the data sets of the paper, as named in data/collections.py")
    others: tuple[str, ...] = Field((), description="further data sets that can be used instead")
    used: str = Field(description="the data of the paper, with numbers of images")
    untouched: bool = Field(
        False,
        description="whether images are excluded from all folds and evaluated once by the networks of all folds: those "
        "of its split test, or else of a fifth of the patients",
    )
    splits: dict[str, SourceSplit] = Field(
        default_factory=dict,
        description="data sets that the paper splits in its own way, as named in data/collections.py",
    )
    control_of: str | None = Field(
        None, description="a role whose images it uses, with labels permuted among the patients"
    )

    @property
    def modalities(self) -> frozenset[str]:
        """The types of images that it may have."""
        return frozenset((self.modality, *self.also))


class PhantomCohort(Config):
    """The phantom cohort that is used if no data are given."""

    role: str
    patients: int = Field(gt=0)
    seed: int = 0
    patch_px: int = Field(512, ge=64, description="side of a patch")


class PaperTable(Config):
    """A table of a paper."""

    title: str
    metrics: tuple[str, ...] = Field(description="its columns, as named by the type of its rows")
    drawn: bool = Field(True, description="whether its rows are shown in the figure of the metric against size")
    positives: str = Field("", description="name of its positive class, in the plural; empty: that of the paper")
    note: str = Field("", description="note on the table")


class ClaimRows(Config):
    """Rows by which a claim is judged, and the network that they have."""

    network: str = Field(description="in words")
    row: str
    over: tuple[str, ...] = Field(min_length=1, description="the rows that it is compared with")
    own: bool = Field(
        True,
        description="whether it is a network of the paper; others stand in if none of the paper's networks has learned",
    )


class Claim(Config):
    """A claim in the text of a paper, to be compared with our results.

    It is that rows are better than others; with ``within``, that they are equal; with ``loses``, that they lose less
    than this; with ``best_values``, that the best network of each configuration of a grid has one of these values of
    each key.
    """

    text: str = Field(description="the claim, reworded")
    metrics: tuple[str, ...] = Field(min_length=1, description="metrics of the claim")
    rows: tuple[ClaimRows, ...] = ()
    table: str = Field("", description="whether the paper's own table supports it; empty: the table does not show it")
    within: float | None = Field(None, gt=0, description="largest difference of equal rows, in per cent")
    loses: float | None = Field(None, gt=0, description="losses are smaller than this, in per cent; gains are any")
    best_values: dict[str, tuple[str | int, ...]] = Field(
        default_factory=dict, description="dotted keys of the recipe to the claimed values"
    )


class PaperBars(Config):
    """A bar chart of one metric for some rows, such as those of an ablation."""

    title: str
    metric: str
    rows: tuple[str, ...] = Field(min_length=1)


class PaperDepth(Config):
    """The accuracy of predicted depths that a paper states."""

    title: str
    mae_mm: float
    sd_mm: float
    relative_percent: float = Field(description="mean relative error")
    note: str = ""


class PublishedMethod(Config):
    """A published method in a paper's comparison with the literature."""

    title: str
    data: str = Field(description="its data set")
    source: str = Field(description="authors, title and place of publication")
    figures: dict[str, float] = Field(description="metric to its value in per cent, as printed in the paper")


class Literature(Config):
    """A paper's comparison with the literature."""

    title: str
    metrics: tuple[str, ...]
    row: str = Field(description="the row of the paper's own method")
    data: str = Field(description="its data set")
    own_rows: tuple[str, ...] = Field(description="further rows of this package that are listed")
    methods: tuple[PublishedMethod, ...]
    note: str = ""


class InitialWeights(Config):
    """Initial weights of a paper that a user can provide as a file."""

    title: str
    where: str = Field(description="where to get the file")


class KindValues(Config):
    """Values of recipes that all rows of a type share, and the note on them; ``small``: changes of the small budget."""

    note: str = Field("", description="note below the tables if there are such rows")
    recipe: dict[str, Any] = Field(default_factory=dict)
    small: dict[str, Any] = Field(default_factory=dict)


class PaperFile(Config):
    """The content of ``paper.toml``: data, tables, and values that all rows of a paper share."""

    title: str
    reference: str
    roles: dict[str, Role]
    tables: dict[str, PaperTable]
    weights: dict[str, InitialWeights] = Field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    bars: PaperBars | None = None
    depth: PaperDepth | None = None
    literature: Literature | None = None
    validation: str = Field(
        "", description="table whose models can be evaluated on their validation images too, by --rows validation"
    )
    folds: int = Field(5, ge=2, le=20, description="of cross-validated rows")
    target: str = Field("melanoma", description="column of the table that contains the class, for classification rows")
    positives: str = Field("melanomas", description="name of the positive class, in the plural")
    phantom: PhantomCohort | None = Field(None, description="generated if no data are given; none: data are required")
    explained: str | None = Field(None, description="row whose network is shown with Grad-CAM on a few images")
    augmented: str | None = Field(None, description="segmentation row whose augmentations are shown on a few images")
    chosen_by: str = Field("DI", description="the metric in the figure against size")
    note: str = Field("", description="note below the tables")
    remarks: tuple[str, ...] = Field((), description="what in the paper's text contradicts itself, or needs care")
    later: str = Field("", description="experiments of the paper that are not included")
    recipe: dict[str, Any] = Field(default_factory=dict, description="values of the recipes of all rows")
    small: dict[str, Any] = Field(default_factory=dict, description="changes of the small budget in all rows")
    of: dict[Annotated[str, OneOf(kinds)], KindValues] = Field(
        default_factory=dict, description="values of the recipes of a type of rows"
    )


class DrawnRange(Config):
    """The range of a value in a random search."""

    low: float
    high: float
    log: bool = Field(False, description="draw uniformly in the logarithm")

    def draw(self, random: np.random.Generator) -> float:
        """Draw a value, rounded to three significant digits."""
        if self.log:
            return float(f"{np.exp(random.uniform(np.log(self.low), np.log(self.high))):.3g}")
        return float(f"{random.uniform(self.low, self.high):.3g}")


class RandomSearch(Config):
    """A random search; with more draws, the first draws stay the same."""

    draws: int = Field(ge=1, description="number of rows")
    draws_small: int = Field(ge=1, description="number of rows of the small budget")
    seed: int = Field(0, ge=0)
    ranges: dict[str, DrawnRange] = Field(min_length=1, description="dotted name in the recipe to range")

    def draw(self) -> list[dict[str, float]]:
        """Draw the values of each row: dotted name to value."""
        seeds = ((self.seed, number) for number in range(self.draws))
        return [
            {name: known.draw(random) for name, known in self.ranges.items()}
            for random in map(np.random.default_rng, seeds)
        ]


class RowFile(Config):
    """The file of a row, of a grid of rows, or of a random search."""

    title: str = Field(description="of the row; that of a grid or search may contain its values in braces")
    kind: Annotated[str, OneOf(kinds)] = Field("segmentation", description="type of evaluation and metrics")
    order: int = Field(0, description="order of rows in tables and runs")
    table: str | None = Field(None, description="the table of the row; none: a grid, which runs if it is selected")
    train: str | None = Field(None, description="role of the training data; none: the model of another row is used")
    train_also: tuple[str, ...] = Field((), description="further roles of training data")
    unlabelled: tuple[str, ...] = Field((), description="roles whose photographs are used without labels")
    evaluated: str = Field(description="role of the test images")
    evaluated_also: tuple[str, ...] = Field(
        (), description="further roles of test images, evaluated separately and together"
    )
    predictor: Predictor = Field(
        "network",
        description="source of the predictions of a classifier; prevalence: share of its data set; tabular: gradient "
        "boosting on the table alone; logistic: logistic regression on the table alone; features: logistic regression "
        "on selected features of the image that need no network",
    )
    target: str | None = Field(None, description="column that contains the class; none: that of the paper")
    masks: Literal["reference", "predicted"] = Field(
        "reference", description="source of the regions of interest in the evaluation of a classifier"
    )
    masks_of: str | None = Field(
        None,
        description="the cross-validated segmentation row whose network of the same fold predicts the masks; none: a "
        "model of the program",
    )
    evaluated_on: Literal["test", "validation"] = Field(
        "test",
        description="images of the evaluation; validation: those that selected epoch and threshold of the model",
    )
    model_of: str | None = Field(None, description="the row whose model is evaluated, without training")
    against: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(
        (), description="the row or rows that it is compared with, paired by image"
    )
    start_of: str | None = Field(None, description="the row whose model is used as start")
    refine: bool = Field(False, description="keep only the largest region of a mask, filled, as in P2")
    paper: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="results of the paper in per cent by data set, T unchanged; '' for a single one",
    )
    parameters: float | None = Field(None, description="parameters of the paper's network")
    recipe: dict[str, Any] = Field(default_factory=dict)
    small: dict[str, Any] = Field(default_factory=dict, description="changes of the small budget")
    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict, description="dotted name in the recipe to values")
    grid_small: dict[str, tuple[Any, ...]] = Field(default_factory=dict, description="the same for the small budget")
    search: RandomSearch | None = Field(None, description="rows with random values instead of a grid")

    @property
    def train_roles(self) -> tuple[str, ...]:
        """All roles of training data."""
        return (self.train, *self.train_also) if self.train else ()

    @property
    def evaluation_roles(self) -> tuple[str, ...]:
        """All roles of test images."""
        return (self.evaluated, *self.evaluated_also)

    @property
    def roles(self) -> tuple[str, ...]:
        """All roles that it needs."""
        return tuple(dict.fromkeys((*self.train_roles, *self.unlabelled, *self.evaluation_roles)))

    @property
    def is_fitted(self) -> bool:
        """Whether its predictions depend on training images, unlike those of trivial baselines."""
        return self.predictor not in ("random", "constant_negative")

    @property
    def needs(self) -> tuple[str, ...]:
        """Rows whose models it needs; rows that it is only compared with are not included."""
        return tuple(name for name in (self.model_of, self.start_of, self.masks_of) if name)


# Fields of a row that do not change its results, and those that are part of its recipe.
@dataclass(frozen=True)
class TrainingBudget:
    """The training of every row with one split, and of every cross-validated segmentation.

    ``images``: maximum number for training and validation of a role; None: all. ``steps``, ``epochs``: minima; None:
    the epochs of the recipe.
    """

    images: int | None = None
    steps: int | None = None
    epochs: int = 1


BUDGETS: Mapping[Budget, TrainingBudget] = {
    "full": TrainingBudget(),
    # With fewer steps, a randomly initialized network finds no lesion; with fewer epochs, none can be chosen.
    "small": TrainingBudget(images=500, steps=300, epochs=4),
}
DESCRIPTIVE = frozenset({"title", "order", "table", "against", "paper", "parameters"})
IN_RECIPE = frozenset({"recipe", "small", "grid", "grid_small", "search"})


@dataclass(frozen=True)
class Row:
    """A row of a paper.

    ``values``: the values of its recipe for each budget, without data. ``grid``: the grid or random search that it
    belongs to, if any. ``full_only``: whether the small budget leaves it out.
    """

    name: str
    file: RowFile
    values: Mapping[Budget, dict[str, Any]]
    grid: str | None = None
    full_only: bool = False

    @property
    def kind(self) -> RowKind:
        """Its type of evaluation and metrics."""
        return kinds()[self.file.kind]

    @property
    def task(self) -> Literal["segmentation", "classification"]:
        """The task of its recipe."""
        return "classification" if self.values["full"].get("task") == "classification" else "segmentation"

    def digest(self, budget: Budget) -> str:
        """Return a digest of everything that changes its results, such as recipe, roles and target."""
        file = self.file.model_dump(mode="json", exclude={*DESCRIPTIVE, *IN_RECIPE})
        content = json.dumps([file, self.values[budget]], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def recipe(self, budget: Budget, **values: Any) -> TrainRecipe:  # noqa: ANN401 - any field of the recipe
        """Return its complete recipe; ``values``: those of the recipe that depend on data and plan."""
        about = {"name": self.name, "title": self.file.title}
        return TrainRecipe.parse(
            overlay_values(overlay_values(about, self.values[budget]), values), f"the row '{self.name}'"
        )


@dataclass(frozen=True)
class Paper:
    """A paper and its rows by name: those of its tables, then those of its grids."""

    name: str
    file: PaperFile
    rows: Mapping[str, Row]

    @property
    def named(self) -> tuple[str, ...]:
        """Names that a user can select: rows of tables, grids, and whole tables."""
        tables = (row.name for row in self.rows.values() if row.file.table)
        grids = (row.grid for row in self.rows.values() if row.grid)
        return tuple(dict.fromkeys([*tables, *grids, *self.file.tables]))

    def target_of(self, row: Row) -> str:
        """Return the column that contains the class that a row predicts."""
        return row.file.target or self.file.target

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of all its types of rows."""
        return tuple(dict.fromkeys(metric for row in self.rows.values() for metric in row.kind.metrics))

    def select(self, names: Sequence[str]) -> tuple[Row, ...]:
        """Select rows by name, grid or table, in the paper's order; without names all rows of tables.

        Rows that the selected ones need, or are compared with, are included.
        """
        if unknown := [name for name in names if name not in self.rows and name not in self.named]:
            raise ConfigError(f"{self.name} has no row or grid '{unknown[0]}' (known: {', '.join(self.named)}).")
        rows = self.rows.values()
        pending = [
            row for row in rows if ({row.name, row.grid, row.file.table} & {*names} if names else row.file.table)
        ]
        selected: set[str] = set()
        while pending:
            row = pending.pop()
            selected.add(row.name)
            others = (*row.file.needs, *row.file.against)
            pending += [self.rows[name] for name in others if name not in selected]
        return tuple(row for row in rows if row.name in selected)


Image = Mapping[str, str]  # a row of ``per_image.csv``


@dataclass(frozen=True)
class ImageMeasurement:
    """Results for an image.

    ``columns``: its columns of ``per_image.csv``. ``photograph``, ``picture``: return the photograph and the picture of
    the prediction, uint8 (row, column, channel).
    """

    columns: Mapping[str, object]
    photograph: Callable[[], NDArray[np.uint8]]
    picture: Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True)
class RowSubject:
    """The model and the data of an evaluation of a row.

    ``evaluated``, ``trained_on``: data sets. ``rows``, ``training``: their rows by data set and image id; only those
    that a cross-validated row is trained on. ``target``: column that contains the class. ``masks``: source of the
    regions of interest.
    """

    row: Row
    bundle: BundleInfo | None
    evaluated: tuple[Path, ...] = ()
    trained_on: tuple[Path, ...] = ()
    rows: Mapping[Key, Mapping[str, str]] = field(default_factory=dict)
    training: Mapping[Key, Mapping[str, str]] = field(default_factory=dict)
    target: str = "melanoma"
    masks: Literal["reference", "predicted"] = "reference"
    segmenter: str = SEGMENTER  # name or folder of the model that predicts masks
    store: Path | None = None  # folder for results that all folds share


@dataclass(frozen=True)
class RowKind:
    """A type of rows: how they are evaluated, and their metrics.

    ``make_measure``: loads the model of a row, and returns the function that measures an image. ``estimates``: returns
    the estimate of each metric, 0 to 1, from images, or with the same images of another row the paired difference of
    each metric, the first minus the other. ``remark``: returns a warning on images of a row, or ""; its second
    argument is whether the model was trained. ``explain_unlearned``: returns why the model of a row has not learned,
    from the images of its evaluation and ``evaluation.json``; "" if it has, or if nothing is trained.
    ``cross_validated``: whether its rows are cross-validated. ``needs_masks``: whether images without a mask are left
    out.
    """

    name: str
    metrics: tuple[str, ...]
    make_measure: Callable[[RowSubject, RunContext], Callable[[Sample], ImageMeasurement]]
    estimates: Callable[[Sequence[Image], Sequence[Image]], dict[str, Estimate]]
    remark: Callable[[Sequence[Image], bool], str]
    explain_unlearned: Callable[[Row, Sequence[Image], Mapping[str, Any]], str]
    cross_validated: bool = False
    needs_masks: bool = False


@cache
def kinds() -> dict[str, RowKind]:
    """Return the types of rows by name; loaded by name, since their module needs this one."""
    found: dict[str, RowKind] = import_module("napari_melanoma.extensions.papers.kinds").KINDS
    return found
