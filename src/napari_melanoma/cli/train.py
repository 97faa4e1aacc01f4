"""``train``: one training run into a run folder, or a check whether it could run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_melanoma.cli.options import Debug, Json, examples
from napari_melanoma.cli.session import Session, session
from napari_melanoma.core.errors import RunError

PARTS = {"learn": "to learn from", "tuning": "to tune with", "held_out": "held out", "base": "of the base data"}
HELP = examples(
    "napari-melanoma train --config recipe.toml --out runs/first",
    "napari-melanoma train --config runs/first/config.toml --out runs/first --resume",
    "Train a segmentation model as the recipe says. RUN receives config.toml, data.csv, events.jsonl, metrics.csv, "
    "samples/, checkpoints/ and, at the end, bundle/ and comparison/. A run that was stopped goes on from its last "
    "finished epoch with --resume. --check says what would be learnt from and writes nothing.",
)


def train(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The recipe, a TOML file.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="RUN", help="The run folder, new unless --resume.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only check recipe and data, and estimate.")] = False,
    queue: Annotated[bool, typer.Option("--queue", help="Wait for runs that were started before.")] = False,
    nice: Annotated[bool, typer.Option("--nice", help="Stand back behind what a person is waiting for.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a model."""
    with session(json, debug) as current:
        if nice:
            from napari_melanoma.workflows.processes import lower_priority

            lower_priority()
        if check:
            _check(current, config)
        elif out is None:
            raise RunError("no run folder was named. Say where the run shall write: --out RUN, or only --check.")
        else:
            _train(current, config, out, resume=resume, queue=queue)


def _train(current: Session, config: Path, out: Path, *, resume: bool, queue: bool) -> None:
    """Run the recipe."""
    from napari_melanoma.core.config import read_toml
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.workflows.train import train as run_recipe

    current.after_stop = f"Go on with: napari-melanoma train --config {out / 'config.toml'} --out {out} --resume"
    bundle = run_recipe(read_toml(config, TrainRecipe), out, resume=resume, run=current.run, queue=queue)
    if bundle is None:  # this process helped another one, which has the last word
        return
    text = (
        f"Trained '{bundle.name}' into {bundle.path}, figures in {out / 'metrics.csv'}; next: "
        f"napari-melanoma evaluate --model {bundle.path} --data DATASET --out DIR"
    )
    current.done(text, bundle=str(bundle.path), name=bundle.name, threshold=bundle.config.threshold)


def _check(current: Session, config: Path) -> None:
    """Say what a run would learn from, and how long it would take."""
    from napari_melanoma.core.config import read_toml
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.workflows.training_checks import check_recipe

    report = check_recipe(read_toml(config, TrainRecipe), current.run)
    for warning in report.warnings:
        current.report.tell("warning", f"Warning: {warning}", message=warning)
    counts = ", ".join(f"{count} {PARTS[part]}" for part, count in report.counts.items())
    current.done(f"{config} can run. Images: {counts}.", images=report.counts, warnings=list(report.warnings))
