"""All rows, values, commands, functions and sections that the table of the papers' components names exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from functools import cache, reduce
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

from napari_melanoma.cli import app
from napari_melanoma.extensions.papers.papers import Row, papers, read_paper
from napari_melanoma.extensions.risk.maps import MAP_METHODS
from napari_melanoma.models.zoo import build_network, list_architectures
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.sections import OWN
from napari_melanoma.ui.sections.base import SlideSection

SECTIONS_GROUP = "napari_melanoma.sections"
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


@EACH
def test_each_component_names_what_does_it(paper: str, one: Any) -> None:
    ways = (one.rows, one.values, one.command, one.function, one.section)
    paper_ways = (one.paper_rows, one.paper_values, one.paper_command)
    assert any((*ways, *paper_ways)) is not one.left_out


@EACH
def test_functions_and_sections_exist(paper: str, one: Any) -> None:
    if one.function:
        module, _, name = one.function.rpartition(".")
        assert callable(getattr(import_module(module), name))
    if one.section:
        assert one.section in {*OWN[SlideSection], *(each.name for each in entry_points(group=SECTIONS_GROUP))}


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
        if "--heatmap" in words:  # a list, whose words the configuration of the command checks
            methods = [words[at + 1] for at, word in enumerate(words) if word == "--heatmap"]
            assert {*methods} <= {*MAP_METHODS}
        if "--rows" in words:
            named = [words[at + 1] for at, word in enumerate(words) if word == "--rows"]
            assert read_paper(paper).select(named)


def test_each_statement_of_a_paper_on_its_maps_can_be_drawn(tmp_path: Path) -> None:
    """What the rows on attention maps and heatmaps of P3 name draws a map, and is not only listed."""
    import napari_melanoma as nm

    patch = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    named = {one.component: one for paper, one in COMPONENTS if paper == "P3"}
    for component, method in (("Attention maps", "attention"), ("Heatmaps", "cam")):
        assert named[component].function == "napari_melanoma.explain"
        assert f"--heatmap {method}" in f"{named[component].command} {named[component].paper_command}"
        found = nm.explain(patch, model="risk-demo", method=method)  # type: ignore[arg-type]
        assert found.heatmap.shape == (128, 128)
        assert found.heatmap.max() > 0


def test_the_text_of_p3_leads_to_what_it_promises() -> None:
    note = read_paper("P3").file.note
    assert "no filter sizes, no bins of age and depth" in note
    (page,) = set(re.findall(r"docs/[\w./-]+[.]md", note))
    assert "<!-- generated: components of P3 -->" in (REPOSITORY / page).read_text(encoding="utf-8")
    table = load_script().component_table([one for paper, one in COMPONENTS if paper == "P3"])
    for words in ("Filters of 3 x 3", "Age below 30, in decades", "Bins of the T categories", "convolution of 7 x 7"):
        assert words in table


def test_the_network_is_as_the_components_of_p3_describe_it() -> None:
    import torch

    (row,) = rows_of("P3", "multi-modal-paper")
    options = row.recipe("full", data=DATA).model.options
    shape = {"continuous": 3, "cardinalities": (), "widths": ()}
    small = {**options, "encoder": "test_efficientnet", "tabular": shape}
    network: Any = build_network("biomarker", small)
    assert network.attention.weigh.weight.shape == (1, 2, 7, 7)
    assert not network.attention.weigh.weight.any()
    assert network.attention.weigh.bias is None
    assert isinstance(network.fusion.table.norm, torch.nn.BatchNorm1d)
    filters = [layer for layer in network.depth.layers if isinstance(layer, torch.nn.Conv2d)]
    assert [(one.out_channels, one.kernel_size, one.stride, one.padding) for one in filters] == [
        (count, (3, 3), (1, 1), (1, 1)) for count in (16, 32, 64)
    ]
    assert network.depth.layers(torch.zeros(1, 3, 512, 512)).shape[-2:] == (64, 64)
    assert network.depth.weight.shape[-2:] == (8, 8)
