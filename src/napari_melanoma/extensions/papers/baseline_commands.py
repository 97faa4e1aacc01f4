"""Commands ``studies relation`` and ``data baseline``, which measure what the tables of the papers compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_melanoma.cli.options import Command, Out, format_help
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.formatting import format_count

RELATION_HELP = format_help(
    "napari-melanoma studies relation results --out relation",
    "napari-melanoma studies relation results/section --out relation --include-invalid",
    "Relate area and probability of the lesions of analyzed slides, with manual corrections. Writes relation.csv (one "
    "row per lesion), relation.json (Spearman's rank correlation with its 95 % interval, over slides if there are "
    "several) and figures/area_probability.png. Slides without a valid prediction are listed and left out of the "
    "correlation, unless --include-invalid is given, as are lesions without an area in mm². OUT must not be in a "
    "result folder. Slides without lesions.csv, or with a damaged one, are reported and the rest is processed (exit "
    "code 1).",
)
BASELINE_HELP = format_help(
    "napari-melanoma data baseline data/isic2017 --target melanoma --columns age,sex",
    "napari-melanoma data baseline data/pad_ufes --target diagnosis --columns age,sex,site,itch --folds 10",
    "Measure how well the table of a data set predicts the target without images: the baseline for a classifier. "
    "Boosted trees (scikit-learn) are trained on the given columns, cross-validated with all rows of a patient in one "
    "fold.",
)
BASELINE_METRICS = ("AUC", "AP", "ECE", "Brier", "macro_AUC", "class_balanced_accuracy")


def relation(
    current: CommandSession,
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULT...", help="Result folders, or folders that contain them.")
    ],
    out: Out,
    include_invalid: Annotated[
        bool, typer.Option("--include-invalid", help="Correlate the lesions of predictions that are not valid as well.")
    ] = False,
) -> None:
    """Relate area and probability of lesions."""
    from napari_melanoma.extensions.papers.lesion_relation import relate_lesions, relation_to_json, write_relation
    from napari_melanoma.reports.slide_export import find_result_folders, require_outside_results

    current.after_stop = "Nothing was written."
    require_outside_results(out)
    related = relate_lesions(find_result_folders(results), include_invalid=include_invalid, run=current.run)
    for slide, error in related.failed.items():
        name = related.names[slide]
        current.report.emit("failed", f"failed: {name}: {error}", slide=name, error=error)
    for note in related.notes:
        current.report.emit("warning", f"Warning: {note}", message=note)
    current.lock_folder(out)
    written = write_relation(related, out)
    current.report.emit("relation", related.summary, **relation_to_json(related))
    text = (
        f"{format_count(len(related.lesions), 'lesion')} of {format_count(len(related.validity), 'slide')} in "
        f"{written[0]}; {written[-1].name} shows "
    )
    text += "the correlated ones." if len(written) > 2 else "why none could be correlated."
    current.finish(f"{text} Research use only.", some_failed=bool(related.failed), out=str(out))


def baseline(
    current: Annotated[CommandSession, "allow_outside"],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set.")],
    columns: Annotated[str, typer.Option("--columns", metavar="NAMES", help="Input columns, with commas.")],
    target: Annotated[str, typer.Option(help="Column with the target.")] = "melanoma",
    folds: Annotated[int, typer.Option(min=2, max=100, help="Number of cross-validation folds.")] = 5,
    seed: Annotated[int, typer.Option(help="Random seed of folds and trees.")] = 0,
) -> None:
    """Measure how well the table alone predicts the target."""
    from napari_melanoma.extensions.papers.tabular_baseline import evaluate_baseline as measure
    from napari_melanoma.metrics.class_metrics import class_estimates
    from napari_melanoma.metrics.metric_table import CLASS_METRICS

    current.after_stop = "Nothing was written."
    names = [name.strip() for name in columns.split(",") if name.strip()]
    result = measure(dataset, target, names, count=folds, seed=seed, run=current.run)
    estimates = class_estimates(result.predictions)
    estimates = {name: estimate for name, estimate in estimates.items() if name in BASELINE_METRICS}
    lines = [f"{name:24} {estimate}  {CLASS_METRICS[name].definition}" for name, estimate in estimates.items()]
    values = {"metrics": {name: vars(estimate) for name, estimate in estimates.items()}, "columns": names}
    current.report.emit_item("baseline", "\n".join([*lines, ""]), **values)
    for note in result.notes:
        current.report.emit("note", f"note: {note}", message=note)
    predictions = result.predictions
    positive, count = predictions.positive, len(predictions.labels)
    text = (
        f"{positive} predicted from {', '.join(names)} alone, without images: AUC {estimates['AUC']}, over "
        f"{count} rows of {dataset.name} ({int(predictions.truth.sum())} {positive}), {folds} folds"
    )
    text += f"; {result.left_out} rows without a target left out" if result.left_out else ""
    current.finish(
        text,
        dataset=str(dataset),
        rows=count,
        left_out=result.left_out,
        faulty=result.faulty,
        positive=positive,
    )


RELATION = Command(relation, RELATION_HELP)
BASELINE = Command(baseline, BASELINE_HELP)
