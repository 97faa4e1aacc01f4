"""The papers that can be reproduced, read from files; one more is one more folder.

A folder of ``training/recipes`` is a paper: ``paper.toml`` says what all rows share, every other file is a row of one
of its tables, or, with a ``[grid]``, as many rows as there are combinations.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import cache, reduce
from importlib import resources
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.parsing import parse_toml, read_toml_table
from napari_melanoma.workflows.recipes import merged
from napari_melanoma.workflows.reproduction.papers import KindValues, Paper, PaperFile, Row, RowFile

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


def paper_of(path: Path) -> tuple[str, str] | None:
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
            {"full": _chosen(full, grid), "small": _chosen(small, small_grid)},
            name,
        )


def _chosen(values: dict[str, Any], grid: Mapping[str, Any]) -> dict[str, Any]:
    """Put values of a grid, by their dotted names, over others."""
    for key, value in grid.items():
        inside = reduce(lambda inner, table: {table: inner}, reversed(key.split(".")), value)
        values = _with_options(values, inside)
    return values


def _with_options(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Put values over others, a network's options one by one: another width leaves the dropout as it is."""
    options = {**values.get("model", {}).get("options", {}), **more.get("model", {}).get("options", {})}
    return merged(merged(values, more), {"model": {"options": options}})
