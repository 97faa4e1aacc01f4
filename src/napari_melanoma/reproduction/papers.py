"""The papers that can be reproduced: roles, tables, rows, and the kinds of rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from napari_melanoma.core.config import Config, OneOf, import_submodules
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.parsing import parse_toml, read_toml_table
from napari_melanoma.runs.shipped_recipes import overlay_values
from napari_melanoma.training.recipe import TrainRecipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.metrics.statistics import Estimate
    from napari_melanoma.models.bundle import BundleInfo

RECIPES = resources.files("napari_melanoma.training") / "recipes"
SHARED = "paper.toml"


def papers() -> tuple[str, ...]:
    """List the papers that can be reproduced.

    Such as ``("P2", "P4")``.
    """
    return tuple(sorted(item.name for item in RECIPES.iterdir() if item.is_dir() and (item / SHARED).is_file()))


@cache
def read_paper(name: str) -> Paper:
    """Read the recipes of a paper."""
    found = next((known for known in papers() if known.lower() == name.lower()), None)
    if found is None:
        raise ConfigError(f"there are no recipes of a paper '{name}' (known: {', '.join(papers())}).")
    files = [item for item in (RECIPES / found).iterdir() if item.name.endswith(".toml")]
    values = {item.name: parse_toml(item.read_bytes(), item.name) for item in files}
    file = PaperFile.parse(values.pop(SHARED), f"{found}/{SHARED}")
    rows: list[Row] = []
    for title, row in values.items():
        rows += _rows(title.removesuffix(".toml"), RowFile.parse(row, f"{found}/{title}"), file)
    rows.sort(key=lambda row: (row.file.order, row.grid or row.name))
    return Paper(found, file, {row.name: row for row in rows})


def paper_of_recipe(path: Path) -> tuple[str, str] | None:
    """Find out whether a file is one of a paper's, which only look like recipes.

    Returns the paper, and its row or grid; an empty name for what all its rows share. None for any other file.
    """
    try:
        values = read_toml_table(path)
    except (OSError, ValueError):
        return None
    if "judged" not in values and "roles" not in values:
        return None
    for paper in map(read_paper, papers()):
        if path.name == SHARED and values.get("title") == paper.file.title:
            return paper.name, ""
        if path.stem in paper.named and values.get("judged") in paper.file.roles:
            return paper.name, path.stem
    return None


def _rows(name: str, file: RowFile, paper: PaperFile) -> Iterator[Row]:
    """Make the row of a file, or the rows of its grid."""
    own = paper.of.get(file.kind, KindValues())
    full = _with_options(_with_options(paper.recipe, own.recipe), file.recipe)
    small = reduce(_with_options, (paper.small, own.small, file.small), full)
    if not file.grid:
        yield Row(name, file, {"full": full, "small": small})
        return
    for places in itertools.product(*(range(len(values)) for values in file.grid.values())):
        grid, small_grid = (
            {key: values[key][place] for key, place in zip(file.grid, places, strict=True)}
            for values in (file.grid, {**file.grid, **file.grid_small})
        )
        title = file.title.format(**{key.rpartition(".")[2]: value for key, value in grid.items()})
        yield Row(
            "-".join([name, *(str(value).replace("_", "-") for value in grid.values())]),
            file.model_copy(update={"title": title}),
            {"full": _with_grid_values(full, grid), "small": _with_grid_values(small, small_grid)},
            name,
        )


def _with_grid_values(values: dict[str, Any], grid: Mapping[str, Any]) -> dict[str, Any]:
    """Put values of a grid, by their dotted names, over others."""
    for key, value in grid.items():
        inside = reduce(lambda inner, table: {table: inner}, reversed(key.split(".")), value)
        values = _with_options(values, inside)
    return values


def _with_options(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Put values over others, a network's options one by one: another width leaves the dropout as it is."""
    options = {**values.get("model", {}).get("options", {}), **more.get("model", {}).get("options", {})}
    return overlay_values(overlay_values(values, more), {"model": {"options": options}})


Budget = Literal["small", "full"]


def _as_tuple(value: object) -> object:
    """Take a single name for a list of one."""
    return (value,) if isinstance(value, str) else value


class Role(Config):
    """A kind of data that a paper's experiments need."""

    title: str = Field(description="in words, such as 'macroscopic photographs'")
    modality: Literal["dermoscopic", "macroscopic", "tbp_tile", "wsi"] = Field(
        description="of its images where they do not say it"
    )
    sources: tuple[str, ...] = Field(description="the sets that the paper used, as data/sources names them")
    others: tuple[str, ...] = Field((), description="further sets that can stand in")
    used: str = Field(description="what the paper used, with its numbers of images")
    untouched: bool = Field(
        False,
        description="whether images are kept from all folds, and judged once by the networks of all folds together: "
        "those of its split test, or else of a fifth of the patients",
    )
    control_of: str | None = Field(
        None, description="a role whose images it takes, with their answers dealt out anew among the patients"
    )


class PhantomCohort(Config):
    """The phantom cohort that stands in where a user names no data."""

    role: str
    patients: int = Field(gt=0)
    seed: int = 0
    patch_px: int = Field(512, ge=64, description="side of a patch")


class PaperTable(Config):
    """A table of a paper."""

    title: str
    metrics: tuple[str, ...] = Field(description="its columns, by the names that the kind of its rows has for them")
    drawn: bool = Field(True, description="whether its rows stand in the figure of the metric against size")
    minutes: float = Field(0, ge=0, description="that the small budget has for its cross-validated rows")
    note: str = Field("", description="what is to be known to read it")


class Claim(Config):
    """What a paper's text says of a row, to be held against its own table and against ours."""

    said: str = Field(description="the claim in our words")
    row: str
    over: tuple[str, ...] = Field(min_length=1, description="the rows that it is said to be better than")
    metrics: tuple[str, ...] = Field(min_length=1, description="in which it is said to be better")


class PaperBars(Config):
    """A figure of one metric of chosen rows, such as those of an ablation."""

    title: str
    metric: str
    rows: tuple[str, ...] = Field(min_length=1)


class PaperDepth(Config):
    """How well a paper's module tells the depth."""

    title: str
    mae_mm: float
    sd_mm: float
    note: str = ""


class InitialWeights(Config):
    """Weights that a paper starts from and that a user may have as a file."""

    title: str
    where: str = Field(description="where to get the file")


class KindValues(Config):
    """What all rows of a kind share beyond what all rows of the paper do."""

    recipe: dict[str, Any] = Field(default_factory=dict)
    small: dict[str, Any] = Field(default_factory=dict)


class PaperFile(Config):
    """``paper.toml``: what all rows of a paper share."""

    title: str
    reference: str
    roles: dict[str, Role]
    tables: dict[str, PaperTable]
    weights: dict[str, InitialWeights] = Field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    bars: PaperBars | None = None
    depth: PaperDepth | None = None
    folds: int = Field(5, ge=2, le=20, description="of rows that are cross-validated")
    target: str = Field("melanoma", description="column of the table that holds the answer of rows of classification")
    positives: str = Field("melanomas", description="what the images of the positive class are, in the plural")
    phantom: PhantomCohort | None = Field(None, description="drawn where no data are named; none: data are needed")
    chosen_by: str = Field("DI", description="the metric that is drawn against size")
    note: str = Field("", description="what stands below the tables")
    later: str = Field("", description="experiments of the paper that have no rows here")
    recipe: dict[str, Any] = Field(default_factory=dict, description="values of every row's recipe")
    small: dict[str, Any] = Field(default_factory=dict, description="what the small budget changes in every row")
    of: dict[Annotated[str, OneOf(kinds)], KindValues] = Field(default_factory=dict, description="the same, of a kind")


class RowFile(Config):
    """The file of a row, or of a grid of rows."""

    title: str = Field(description="of the row; a grid's may name its values in braces")
    kind: Annotated[str, OneOf(kinds)] = Field("segmentation", description="how it is judged, and by which figures")
    order: int = Field(0, description="rows stand and run in this order")
    table: str | None = Field(None, description="the table it is a row of; none: a grid, which runs when it is named")
    learn: str | None = Field(None, description="role that is learnt from; none: another row's model is taken")
    learn_also: tuple[str, ...] = Field((), description="roles that are learnt from together with it")
    unlabelled: tuple[str, ...] = Field((), description="roles whose photographs are seen without their answers")
    judged: str = Field(description="role whose held-out images judge it")
    judged_also: tuple[str, ...] = Field((), description="further roles that judge it, each alone and all together")
    answers: Literal["network", "random", "constant_negative", "prevalence", "tabular", "logistic"] = Field(
        "network",
        description="where a classifier's answers come from; prevalence: the share of its data set; tabular: gradient "
        "boosting of the table alone; logistic: logistic regression of the table alone",
    )
    masks: Literal["reference", "predicted"] = Field(
        "reference", description="where a classifier's regions of interest come from when it is judged"
    )
    model_of: str | None = Field(None, description="the row whose model is judged, without learning anything")
    against: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = Field(
        (), description="the row that it is compared with, image by image, or several"
    )
    start_of: str | None = Field(None, description="the row whose model it starts from")
    refine: bool = Field(False, description="of the mask keep the largest part, filled, as P2 does")
    paper: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="the paper's figures in per cent by set, T as it is; '' where it is one"
    )
    parameters: float | None = Field(None, description="parameters of the paper's network")
    recipe: dict[str, Any] = Field(default_factory=dict)
    small: dict[str, Any] = Field(default_factory=dict, description="what the small budget changes")
    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict, description="dotted name in the recipe to values")
    grid_small: dict[str, tuple[Any, ...]] = Field(default_factory=dict, description="the same for the small budget")

    @property
    def learns(self) -> tuple[str, ...]:
        """All roles that are learnt from."""
        return (self.learn, *self.learn_also) if self.learn else ()

    @property
    def judges(self) -> tuple[str, ...]:
        """All roles that judge it."""
        return (self.judged, *self.judged_also)

    @property
    def roles(self) -> tuple[str, ...]:
        """All roles that it needs."""
        return tuple(dict.fromkeys((*self.learns, *self.unlabelled, *self.judges)))

    @property
    def needs(self) -> tuple[str, ...]:
        """Rows whose models it cannot do without; the one that it is compared with is none of them."""
        return tuple(name for name in (self.model_of, self.start_of) if name)


@dataclass(frozen=True)
class Row:
    """One row to reproduce; ``values`` are those of its recipe under either budget, as TOML has them, without data."""

    name: str
    file: RowFile
    values: Mapping[Budget, dict[str, Any]]
    grid: str | None = None

    @property
    def kind(self) -> RowKind:
        """How it is judged, and by which figures."""
        return kinds()[self.file.kind]

    def recipe(self, budget: Budget, **more: Any) -> TrainRecipe:  # noqa: ANN401 - any field of the recipe
        """Complete its recipe."""
        about = {"name": self.name, "title": self.file.title}
        return TrainRecipe.parse(
            overlay_values(overlay_values(about, self.values[budget]), more), f"the row '{self.name}'"
        )


@dataclass(frozen=True)
class Paper:
    """A paper and its rows by name, in its order: those of its tables, and those of the grids behind them."""

    name: str
    file: PaperFile
    rows: Mapping[str, Row]

    @property
    def named(self) -> tuple[str, ...]:
        """Rows of the tables, the grids, and the tables: what a user may name."""
        tables = (row.name for row in self.rows.values() if row.file.table)
        grids = (row.grid for row in self.rows.values() if row.grid)
        return tuple(dict.fromkeys([*tables, *grids, *self.file.tables]))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The figures of all its kinds of rows."""
        return tuple(dict.fromkeys(metric for row in self.rows.values() for metric in row.kind.metrics))

    def select(self, names: Sequence[str]) -> tuple[Row, ...]:
        """Find rows by their names or that of their grid or table, with those that they need or are compared with.

        In the order of the paper.
        """
        if unknown := [name for name in names if name not in self.rows and name not in self.named]:
            raise ConfigError(f"{self.name} has no row or grid '{unknown[0]}' (known: {', '.join(self.named)}).")
        rows = self.rows.values()
        pending = [
            row for row in rows if ({row.name, row.grid, row.file.table} & {*names} if names else row.file.table)
        ]
        wanted: set[str] = set()
        while pending:
            row = pending.pop()
            wanted.add(row.name)
            others = (*row.file.needs, *row.file.against)
            pending += [self.rows[name] for name in others if name not in wanted]
        return tuple(row for row in rows if row.name in wanted)


Image = Mapping[str, str]  # a row of ``per_image.csv``


@dataclass(frozen=True)
class ImageMeasurement:
    """How a model did on an image: columns of ``per_image.csv``, and what gives the photograph and draws the answer."""

    figures: Mapping[str, object]
    photograph: Callable[[], NDArray[np.uint8]]
    picture: Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True)
class RowSubject:
    """What is judged."""

    row: Row
    bundle: BundleInfo | None
    judged: tuple[Path, ...] = ()
    learnt: tuple[Path, ...] = ()
    target: str = "melanoma"


@dataclass(frozen=True)
class RowKind:
    """A kind of rows.

    ``estimates``: metric to its estimate, 0 to 1, from images.
    """

    name: str
    metrics: tuple[str, ...]
    make_measure: Callable[[RowSubject], Callable[[Sample], ImageMeasurement]]
    estimates: Callable[[Sequence[Image]], dict[str, Estimate]]
    changes: Callable[[Sequence[Image], Sequence[Image]], dict[str, Estimate]]
    remark: Callable[[Sequence[Image], bool], str]
    crossed: bool = False


@cache
def kinds() -> dict[str, RowKind]:
    """List the kinds of rows.

    By name, in alphabetical order.
    """
    from napari_melanoma.reproduction import kinds as members

    found = {module.KIND.name: module.KIND for module in import_submodules(members.__name__, members.__path__, "KIND")}
    return dict(sorted(found.items()))
