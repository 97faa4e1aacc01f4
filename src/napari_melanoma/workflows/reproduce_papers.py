"""What of a paper is reproduced: its rows and grids, one TOML each, with the figures that the paper reports.

A folder of ``training/recipes`` is a paper: ``paper.toml`` says what all rows share, every other file is a row of one
of its tables, or, with a ``[grid]``, as many rows as there are combinations.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.recipes import merged

Budget = Literal["small", "full"]
SHARED = "paper.toml"


class Role(Config):
    """A kind of data that a paper's experiments need."""

    title: str = Field(description="in words, such as 'macroscopic photographs'")
    modality: Literal["dermoscopic", "macroscopic"] = Field(description="of its images where they do not say it")
    sources: tuple[str, ...] = Field(description="the sets that the paper used, as data/sources names them")
    others: tuple[str, ...] = Field((), description="further sets that can stand in")
    used: str = Field(description="what the paper used, with its numbers of images")


class PaperTable(Config):
    """A table of a paper."""

    title: str
    metrics: tuple[str, ...] = Field(description="its columns, by the names of analysis.overlap")
    drawn: bool = Field(True, description="whether its rows stand in the figure of the metric against size")


class InitialWeights(Config):
    """Weights that a paper starts from and that a user may have as a file."""

    title: str
    where: str = Field(description="where to get the file")


class PaperFile(Config):
    """``paper.toml``: what all rows of a paper share."""

    title: str
    reference: str
    roles: dict[str, Role]
    tables: dict[str, PaperTable]
    weights: dict[str, InitialWeights] = Field(default_factory=dict)
    chosen_by: str = Field("DI", description="the metric that is drawn against size")
    note: str = Field("", description="what stands below the tables")
    later: str = Field("", description="experiments of the paper that have no rows here")
    recipe: dict[str, Any] = Field(default_factory=dict, description="values of every row's recipe")
    small: dict[str, Any] = Field(default_factory=dict, description="what the small budget changes in every row")


class RowFile(Config):
    """The file of a row, or of a grid of rows."""

    title: str = Field(description="of the row; a grid's may name its values in braces")
    order: int = Field(0, description="rows stand and run in this order")
    table: str | None = Field(None, description="the table it is a row of; none: a grid, which runs when it is named")
    learn: str | None = Field(None, description="role that is learnt from; none: another row's model is taken")
    judged: str = Field(description="role whose held-out images judge it")
    model_of: str | None = Field(None, description="the row whose model is judged, without learning anything")
    against: str | None = Field(None, description="the row that it is compared with, image by image")
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
    def needs(self) -> tuple[str, ...]:
        """Rows whose models it cannot do without; the one that it is compared with is none of them."""
        return tuple(name for name in (self.model_of, self.start_of) if name)


@dataclass(frozen=True)
class Row:
    """One row to reproduce; ``full`` and ``small`` are values of its recipe under either budget, without data."""

    name: str
    file: RowFile
    full: dict[str, Any]
    small: dict[str, Any]
    grid: str | None = None

    def values(self, budget: Budget) -> dict[str, Any]:
        """Give the values of its recipe.

        Parameters
        ----------
        budget : str
            ``"small"`` or ``"full"``.

        Returns
        -------
        dict
            As TOML has them; neither data nor what depends on them.
        """
        return self.small if budget == "small" else self.full

    def recipe(self, budget: Budget, **more: Any) -> TrainRecipe:  # noqa: ANN401 - any field of the recipe
        """Complete its recipe.

        Parameters
        ----------
        budget : str
            ``"small"`` or ``"full"``.
        **more : object
            Fields of ``TrainRecipe`` that win over its own; a dict goes into the part of that name.

        Returns
        -------
        TrainRecipe
            Ready to run.

        Raises
        ------
        ConfigError
            Where a value is none that a recipe may have.
        """
        about = {"name": self.name, "title": self.file.title}
        return TrainRecipe.parse(merged(merged(about, self.values(budget)), more), f"the row '{self.name}'")


@dataclass(frozen=True)
class Paper:
    """A paper and its rows: those of its tables, and those of the grids behind them."""

    name: str
    file: PaperFile
    rows: tuple[Row, ...]

    @property
    def table_rows(self) -> tuple[Row, ...]:
        """Rows of the tables, in their order."""
        return tuple(row for row in self.rows if row.file.table)

    @property
    def grids(self) -> tuple[str, ...]:
        """Names of the grids."""
        return tuple(dict.fromkeys(row.grid for row in self.rows if row.grid))

    def row(self, name: str) -> Row:
        """Find a row.

        Parameters
        ----------
        name : str
            Of a row.

        Returns
        -------
        Row
            The row.

        Raises
        ------
        ConfigError
            Where there is none of that name.
        """
        found = next((row for row in self.rows if row.name == name), None)
        if found is None:
            raise ConfigError(f"{self.name} has no row '{name}'.")
        return found

    def select(self, names: tuple[str, ...]) -> tuple[Row, ...]:
        """Find rows by their names or the name of their grid, with the rows that these need or are compared with.

        Parameters
        ----------
        names : tuple of str
            None of them: the rows of the tables.

        Returns
        -------
        tuple of Row
            In the order of the paper.

        Raises
        ------
        ConfigError
            Where there is no row and no grid of a name.
        """
        known = {row.name for row in self.rows} | set(self.grids)
        if unknown := [name for name in names if name not in known]:
            listed = ", ".join([*(row.name for row in self.table_rows), *self.grids])
            raise ConfigError(f"{self.name} has no row or grid '{unknown[0]}' (known: {listed}).")
        asked = [row for row in self.rows if row.name in names or row.grid in names] if names else self.table_rows
        wanted: set[str] = set()
        pending = [row.name for row in asked]
        while pending:
            name = pending.pop()
            wanted.add(name)
            file = self.row(name).file
            pending += [other for other in (*file.needs, file.against) if other and other not in wanted]
        return tuple(row for row in self.rows if row.name in wanted)


def papers() -> tuple[str, ...]:
    """List the papers that can be reproduced.

    Returns
    -------
    tuple of str
        Such as ``("P2", "P4")``.
    """
    folder = resources.files("napari_melanoma.training") / "recipes"
    return tuple(sorted(item.name for item in folder.iterdir() if item.is_dir() and (item / SHARED).is_file()))


@cache
def read_paper(name: str) -> Paper:
    """Read the recipes of a paper.

    Parameters
    ----------
    name : str
        A name of ``papers()``, in either case.

    Returns
    -------
    Paper
        With all its rows.

    Raises
    ------
    ConfigError
        Where there is no such paper.
    """
    found = next((known for known in papers() if known.lower() == name.lower()), None)
    if found is None:
        raise ConfigError(f"there are no recipes of a paper '{name}' (known: {', '.join(papers())}).")
    folder = resources.files("napari_melanoma.training") / "recipes" / found
    texts = {item.name: item.read_text(encoding="utf-8") for item in folder.iterdir() if item.name.endswith(".toml")}
    file = PaperFile.parse(tomllib.loads(texts.pop(SHARED)), f"{found}/{SHARED}")
    rows: list[Row] = []
    for title, text in texts.items():
        rows += _rows(title.removesuffix(".toml"), RowFile.parse(tomllib.loads(text), f"{found}/{title}"), file)
    return Paper(found, file, tuple(sorted(rows, key=lambda row: (row.file.order, row.grid or row.name))))


def place_of(path: Path) -> tuple[str, str] | None:
    """Find out whether a file is one of a paper's, which only look like recipes.

    Parameters
    ----------
    path : pathlib.Path
        A TOML file, or none.

    Returns
    -------
    paper, name : tuple of str, or None
        The paper, and its row or grid; an empty name for what all its rows share. None for any other file.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if "judged" not in values and "roles" not in values:
        return None
    for paper in map(read_paper, papers()):
        if path.name == SHARED and values.get("title") == paper.file.title:
            return paper.name, ""
        known = {*(row.name for row in paper.table_rows), *paper.grids}
        if path.stem in known and values.get("judged") in paper.file.roles:
            return paper.name, path.stem
    return None


def _rows(name: str, file: RowFile, paper: PaperFile) -> Iterator[Row]:
    """Make the row of a file, or the rows of its grid."""
    full = merged(paper.recipe, file.recipe)
    row = Row(name, file, full, _options_merged(_options_merged(full, paper.small), file.small))
    if not file.grid:
        yield row
        return
    places = [range(len(values)) for values in file.grid.values()]
    for chosen in itertools.product(*places):
        values, small = (_chosen(grid, chosen) for grid in (file.grid, {**file.grid, **file.grid_small}))
        words = {key.rpartition(".")[2]: value for key, value in values.items()}
        titled = file.model_copy(update={"title": file.title.format(**words)})
        yield replace(
            row,
            name="-".join([name, *(str(value).replace("_", "-") for value in values.values())]),
            file=titled,
            full=_options_merged(row.full, _nested(values)),
            small=_options_merged(row.small, _nested(small)),
            grid=name,
        )


def _chosen(grid: Mapping[str, tuple[Any, ...]], chosen: tuple[int, ...]) -> dict[str, Any]:
    """Take one value of each list of a grid."""
    return {key: values[place] for (key, values), place in zip(grid.items(), chosen, strict=True)}


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted names into tables."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        *tables, last = key.split(".")
        inner = found
        for table in tables:
            inner = inner.setdefault(table, {})
        inner[last] = value
    return found


def _options_merged(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Put values over others, a network's options one by one: another width leaves the dropout as it is."""
    options = {**values.get("model", {}).get("options", {}), **more.get("model", {}).get("options", {})}
    found = merged(values, more)
    return {**found, "model": {**found.get("model", {}), "options": options}}
