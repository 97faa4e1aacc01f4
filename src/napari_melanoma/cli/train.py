"""``train``: one training run into a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_melanoma.cli.options import Debug, Json, examples
from napari_melanoma.cli.session import session

HELP = examples(
    "napari-melanoma train --config recipe.toml --out runs/first",
    "napari-melanoma train --config runs/first/config.toml --out runs/first --resume",
    "Train a segmentation model as the recipe says. RUN receives config.toml, events.jsonl, metrics.csv, checkpoints/ "
    "and, at the end, bundle/. A run that was stopped goes on from its last finished epoch with --resume.",
)


def train(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The recipe, a TOML file.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="The run folder, new unless --resume.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a model."""
    with session(json, debug) as current:
        from napari_melanoma.core.config import read_toml
        from napari_melanoma.training.recipe import TrainRecipe
        from napari_melanoma.workflows.train import train as run_recipe

        recipe = read_toml(config, TrainRecipe)
        current.after_stop = f"Go on with: napari-melanoma train --config {out / 'config.toml'} --out {out} --resume"
        bundle = run_recipe(recipe, out, resume=resume, run=current.run)
        text = (
            f"Trained '{bundle.name}' into {bundle.path}, figures in {out / 'metrics.csv'}; next: "
            f"napari-melanoma evaluate --model {bundle.path} --data DATASET --out DIR"
        )
        current.done(text, bundle=str(bundle.path), name=bundle.name, threshold=bundle.config.threshold)
