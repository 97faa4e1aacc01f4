"""``train``: one training run into a run folder, or a check whether it could run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_melanoma.cli.options import AcceptDamaged, AllowOutside, Debug, Json, examples
from napari_melanoma.cli.session import CommandSession, command_session
from napari_melanoma.core.context import Cancelled
from napari_melanoma.core.errors import RunError
from napari_melanoma.core.formatting import format_duration

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe

PARTS = {"learn": "to learn from", "tuning": "to tune with", "held_out": "held out", "base": "of the base data"}
HELP = examples(
    "napari-melanoma train --config recipe.toml --out runs/first",
    "napari-melanoma train --config runs/first/config.toml --out runs/first --resume",
    "Train a model as the recipe says. RUN receives config.toml, data.csv, events.jsonl, metrics.csv, "
    "samples/, checkpoints/ and, at the end, bundle/ and comparison/. A run that was stopped goes on from its last "
    "finished epoch with --resume. --check says what would be learnt from and how long it would take, and writes "
    "nothing.",
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
    allow_outside: AllowOutside = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a model."""
    with command_session(json, debug, allow_outside, accept_damaged) as current:
        if nice:
            from napari_melanoma.core.processes import lower_priority

            lower_priority()
        if check:
            _report_check(current, config)
        else:
            _run_training(current, config, out, resume=resume, queue=queue)


def _run_training(current: CommandSession, config: Path, out: Path | None, *, resume: bool, queue: bool) -> None:
    """Run the recipe."""
    from napari_melanoma.runs.train import train as run_recipe

    if out is None:
        raise RunError("no run folder was named. Say where the run shall write: --out RUN, or only --check.")
    recipe, began = _read_recipe(config), out / "config.toml"
    try:
        bundle = run_recipe(recipe, out, resume=resume, run=current.run, queue=queue)
    except Cancelled:
        if began.exists():
            current.after_stop = f"Go on with: napari-melanoma train --config {began} --out {out} --resume"
        raise
    if bundle is None:  # this process helped another one, which has the last word
        return
    said, found = _read_advice(out)
    text = f"Trained '{bundle.name}' into {bundle.path}, figures in {out / 'metrics.csv'}. "
    text += said or f"Next: napari-melanoma evaluate --model {bundle.path} --data DATASET --out DIR"
    current.finish(text, bundle=str(bundle.path), name=bundle.name, threshold=bundle.config.threshold, **found)


def _read_advice(out: Path) -> tuple[str, dict[str, Any]]:
    """Say what the comparison with the old model advises, for people and for machines; nothing where there is none."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.evaluation.comparison import read_comparison
    from napari_melanoma.evaluation.pages import ADVICE

    folder = RunFolder(out).comparison
    try:
        found = read_comparison(folder)
    except InputError:
        return "", {}
    page = folder / "comparison.html"
    take = f"; then: napari-melanoma models import {out}" if found.advice == "take over" else ""
    text = f"{ADVICE[found.advice]} {found.reason} Look at {page}{take}"
    return text, {"advice": found.advice, "reason": found.reason, "page": str(page)}


def _read_recipe(config: Path) -> TrainRecipe:
    """Read the recipe; a row of a paper is none."""
    from napari_melanoma.core.config import read_toml
    from napari_melanoma.core.errors import ConfigError
    from napari_melanoma.reproduction.papers import paper_of_recipe
    from napari_melanoma.training.recipe import TrainRecipe

    try:
        return read_toml(config, TrainRecipe)
    except ConfigError:
        paper, row = paper_of_recipe(config) or ("", "")
        if not paper:
            raise
        what = (
            f"a row of {paper}: napari-melanoma reproduce {paper} --rows {row}"
            if row
            else (f"what all rows of {paper} share: napari-melanoma reproduce {paper}")
        )
        raise ConfigError(f"{config} is no recipe by itself; it is {what}") from None


def _report_check(current: CommandSession, config: Path) -> None:
    """Say what a run would learn from, and how long it would take."""
    from dataclasses import asdict

    from napari_melanoma.runs.estimate import estimate_run
    from napari_melanoma.runs.train import check_held_out, check_recipe

    recipe = _read_recipe(config)
    report = check_recipe(recipe, current.run)
    for warning in filter(None, (*report.warnings, check_held_out(recipe, current.run))):
        current.report.emit("warning", f"Warning: {warning}", message=warning)
    needed = estimate_run(recipe, run=current.run)
    counts = ", ".join(f"{count} {PARTS[part]}" for part, count in report.counts.items())
    text = (
        f"{config} can run. Images: {counts}. It would take at most about {format_duration(needed.seconds)} for "
        f"{needed.epochs} epochs on {needed.device} ({needed.precision}), and {needed.memory_mb:.0f} MB of memory."
    )
    current.finish(text, images=report.counts, warnings=list(report.warnings), estimate=asdict(needed))
