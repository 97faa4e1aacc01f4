"""``data baseline``: what the table of a data set tells without a photograph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_melanoma.cli.options import AllowOutside, Debug, Json, add_verb, examples
from napari_melanoma.cli.session import command_session

BASELINE_HELP = examples(
    "napari-melanoma data baseline data/isic2017 --target melanoma --columns age,sex",
    "napari-melanoma data baseline data/pad_ufes --target diagnosis --columns age,sex,site,itch --folds 10",
    "Measure what the table of a data set tells without a photograph, so that one sees what a classifier's images add. "
    "Boosted trees (scikit-learn) learn from the columns named, cross-validated with all rows of a patient in one "
    "fold.",
)
MAX_SHOWN = ("AUC", "AP", "ECE", "Brier", "macro_AUC", "class_balanced_accuracy")


def baseline(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set.")],
    columns: Annotated[str, typer.Option("--columns", metavar="NAMES", help="Columns that it gets, with commas.")],
    target: Annotated[str, typer.Option(help="Column that holds the answer.")] = "melanoma",
    folds: Annotated[int, typer.Option(min=2, max=100, help="Of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(help="Of folds and trees.")] = 0,
    allow_outside: AllowOutside = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure what the table alone tells."""
    with command_session(json, debug, allow_outside) as current:
        from napari_melanoma.evaluation.class_metrics import METRICS, class_estimates
        from napari_melanoma.evaluation.tabular_baseline import evaluate_baseline as measure

        current.after_stop = "Nothing was written."
        names = [name.strip() for name in columns.split(",") if name.strip()]
        found = measure(dataset, target, names, count=folds, seed=seed, run=current.run)
        estimates = {name: one for name, one in class_estimates(found.predictions).items() if name in MAX_SHOWN}
        lines = [f"{name:24} {one}  {METRICS[name]}" for name, one in estimates.items()]
        values = {"metrics": {name: vars(one) for name, one in estimates.items()}, "columns": names}
        current.report.emit_item("baseline", "\n".join([*lines, ""]), **values)
        for said in found.notes:
            current.report.emit("note", f"note: {said}", said=said)
        told = found.predictions
        text = (
            f"{told.positive} told from {', '.join(names)} alone, without a photograph: AUC {estimates['AUC']}, over "
            f"{len(told.labels)} rows of {dataset.name} ({int(told.truth.sum())} {told.positive}), {folds} folds"
        )
        text += f"; {found.left_out} rows without an answer left out" if found.left_out else ""
        current.finish(
            text,
            dataset=str(dataset),
            rows=len(told.labels),
            left_out=found.left_out,
            faulty=found.faulty,
            positive=told.positive,
        )


def add_commands(app: typer.Typer) -> None:
    """Add this verb to ``data``."""
    add_verb(app, "baseline", baseline, BASELINE_HELP)
