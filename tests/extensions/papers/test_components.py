"""All rows, values and commands that the table of the papers' components names exist."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from functools import cache, reduce
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from napari_melanoma.cli import app
from napari_melanoma.extensions.papers.papers import Row, papers, read_paper
from napari_melanoma.models.zoo import list_architectures
from napari_melanoma.training.recipe import TrainRecipe

REPOSITORY = Path(__file__).parents[3]
DATA = {"datasets": ["data"]}


@cache
def load_script() -> Any:
    spec = importlib.util.spec_from_file_location("paper_components", REPOSITORY / "scripts" / "paper_components.py")
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script  # pydantic looks for the names in annotations there
    spec.loader.exec_module(script)
    return script


COMPONENTS = [(paper, one) for paper, each in load_script().read_components().items() for one in each]
EACH = pytest.mark.parametrize(("paper", "one"), COMPONENTS, ids=[f"{p}-{one.component}" for p, one in COMPONENTS])


def rows_of(paper: str, name: str) -> list[Row]:
    """The row with a name, or all rows of a grid or search."""
    return [row for row in read_paper(paper).rows.values() if name in (row.name, row.grid)]


def complete(recipe: TrainRecipe) -> dict[str, Any]:
    """The values of a recipe with the defaults of its network."""
    values = recipe.model_dump(mode="json")
    options = list_architectures()[recipe.model.architecture].spec.config.parse(recipe.model.options, "the row")
    values["model"]["options"] = options.model_dump(mode="json")
    return values


def has_values(found: Any, wanted: Any) -> bool:
    """Whether nested values contain others."""
    if isinstance(wanted, dict):
        return all(key in found and has_values(found[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(has_values, found, wanted))
    return bool(found == wanted)


def nest(key: str, value: Any) -> dict[str, Any]:
    return reduce(lambda inner, table: {table: inner}, reversed(key.split(".")), value)


def test_every_paper_has_components() -> None:
    assert tuple(load_script().read_components()) == papers()


@EACH
def test_the_rows_have_the_values(paper: str, one: Any) -> None:
    file = read_paper(paper).file.model_dump(mode="json")
    for key, value in one.values.items():
        if key.startswith("paper."):
            assert has_values({"paper": file}, nest(key, value)), key
        else:
            assert one.rows, f"{key} is of a row, but no row is named"
            missing = [name for name in one.rows if not has_in_rows(rows_of(paper, name), key, value)]
            assert missing == [], key


def has_in_rows(rows: list[Row], key: str, value: Any) -> bool:
    """Whether one of the rows has this value in its file or in its recipe."""
    if key.startswith("row."):
        return any(has_values({"row": row.file.model_dump(mode="json")}, nest(key, value)) for row in rows)
    return any(has_values(complete(row.recipe("full", data=DATA)), nest(key, value)) for row in rows)


@EACH
def test_the_papers_way_exists(paper: str, one: Any) -> None:
    assert all(rows_of(paper, name) for name in (*one.rows, *one.paper_rows))
    assert one.differs or not (one.paper_rows or one.paper_values or one.paper_command)
    for key, value in one.paper_values.items():
        (name, *_) = one.rows
        for row in rows_of(paper, name):
            whole = nest(key, value)
            changed = row.recipe("full", **{**whole, "data": {**DATA, **whole.get("data", {})}})
            assert has_values(complete(changed), whole), key
    for line in filter(None, (one.command, one.paper_command)):
        command, words = get_command(app), shlex.split(line)
        while hasattr(command, "commands"):
            command = command.get_command(None, words.pop(0))
        assert command.make_context(command.name, words).command is command
        if "--rows" in words:
            named = [words[at + 1] for at, word in enumerate(words) if word == "--rows"]
            assert read_paper(paper).select(named)
