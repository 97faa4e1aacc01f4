"""Commands ``recipes ...``: list the shipped recipes, and write one as a file for the command ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_melanoma.cli.options import add_command, format_help
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.errors import ConfigError

LIST_HELP = format_help(
    "napari-melanoma recipes list",
    "napari-melanoma recipes list --json",
    "List the shipped recipes and their purpose.",
)
WRITE_HELP = format_help(
    "napari-melanoma recipes write fine-tune --data corrections --start lesion-small --out recipe.toml",
    "napari-melanoma recipes write classify-tiles --data tiles --start tile-demo --start-weights encoder --out "
    "recipe.toml",
    "Write a shipped recipe as a file, with data sets and starting weights. Edit it if needed, then run: "
    "napari-melanoma train --config recipe.toml --out RUN",
)
app = typer.Typer(help="List the shipped recipes; write one as a file.", no_args_is_help=True, rich_markup_mode=None)


def list_(current: CommandSession) -> None:
    """List the shipped recipes."""
    from napari_melanoma.runs.shipped_recipes import RECIPES, list_shipped_recipes

    recipes = list_shipped_recipes()
    for recipe in recipes:
        text = f"{recipe.name:<28} {recipe.summary}"
        values = {"name": recipe.name, "title": recipe.title, "summary": recipe.summary, "values": recipe.values}
        current.report.emit_item("recipe", text, **values)
    for paper in (paper for collection in RECIPES.members.values() for paper in collection.list_papers()):
        names = ", ".join(paper.rows)
        text = f"{paper.name:<28} {paper.reference}; with napari-melanoma {paper.command} --rows: {names}"
        current.report.emit_item("paper", text, name=paper.name, title=paper.title, rows=paper.rows)
    current.finish(f"{len(recipes)} recipes; use one: napari-melanoma recipes write NAME", count=len(recipes))


def write(
    current: CommandSession,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a shipped recipe.")],
    data: Annotated[list[Path], typer.Option("--data", metavar="DATASET", help="Training data; may be repeated.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The recipe, a TOML file.")],
    start: Annotated[
        str | None, typer.Option(help="A model's name or folder, a file of weights, 'imagenet' or 'none'.")
    ] = None,
    start_weights: Annotated[
        Literal["all", "encoder"],
        typer.Option(help="Weights to load: all with its classes, or the encoder with a new head for other classes."),
    ] = "all",
    replay: Annotated[
        list[Path] | None,
        typer.Option(
            "--replay",
            metavar="DATASET",
            help="Replay data: earlier training data of the model, mixed in to preserve its performance on them.",
        ),
    ] = None,
) -> None:
    """Write a shipped recipe as a file."""
    from napari_melanoma.core.config import write_toml
    from napari_melanoma.models import DEFAULT_BUNDLE
    from napari_melanoma.runs.shipped_recipes import find_shipped_recipe

    if out.exists():
        raise ConfigError(f"{out} exists already. Name another file, or remove it.")
    shipped = find_shipped_recipe(name)
    values = {"data": {"replay": [str(folder) for folder in replay]}} if replay else {}
    recipe = shipped.complete(data, start or shipped.start or DEFAULT_BUNDLE, start_weights, **values)
    write_toml(out, recipe)
    run = f"napari-melanoma train --config {out} --out RUN"
    current.finish(f"Written to {out}, starting from {recipe.model.start}; next: {run}", out=str(out))


add_command(app, "list", list_, LIST_HELP)
add_command(app, "write", write, WRITE_HELP)
