"""Commands ``reproduce``, ``studies relation`` and ``data baseline``; what they need is imported when they run."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import Command, ConfigOptions, OptionValues, Out, format_help
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.formatting import format_count

if TYPE_CHECKING:
    from napari_melanoma.extensions.papers.planning import PlannedRow
    from napari_melanoma.extensions.papers.run import Reproduction

LINE_LENGTH = 100  # of the list of starting models that --check prints
REPRODUCE_HELP = format_help(
    "napari-melanoma reproduce P4 --data D=datasets/isic2017 --data M=datasets/pad_ufes --budget small --out p4",
    "napari-melanoma reproduce P3 --budget small --out p3",
    "Train every row of a paper's tables on your data and list our results next to the published ones. Writes "
    "OUT/tables.md, tables.csv and tables.html, OUT/figures/, and a run folder for each row. The same command "
    "continues after any interruption. --budget small needs no GPU; the table states each reduction compared with the "
    "paper. A folder of data sets can be given, too; "
    "known names are recognized. P3 without --data runs on a phantom cohort, which is generated first and reported.",
)


def reproduce(
    current: Annotated[CommandSession, "allow_outside"],
    paper: Annotated[str, typer.Argument(metavar="PAPER", help="P1, P2, P3 or P4.")],
    options: Annotated[
        OptionValues,
        ConfigOptions(
            "extensions.papers.planning:ReproduceOptions",
            without=("paper",),
            names={"data": "--data [ROLE=]FOLDER", "rows": "--rows NAME", "weights": "--weights NAME=FILE"},
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Folder of tables and runs; reproduced-PAPER by default."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only report which rows would run, with how much training.")
    ] = False,
) -> None:
    """Reproduce a paper."""
    from napari_melanoma.extensions.papers import run as workflow
    from napari_melanoma.extensions.papers.papers import read_paper
    from napari_melanoma.extensions.papers.planning import ReproduceOptions

    chosen = ReproduceOptions.parse({"paper": paper, **options}, "the command line")
    if check:
        _report_plan(workflow.check(chosen, run=current.run), current)
        return
    folder = out or Path(f"reproduced-{read_paper(paper).name}")
    done = workflow.reproduce(chosen, folder, run=current.run)
    for name, reason in {**done.plan.left_out, **done.failed}.items():
        current.report.emit("failed", f"not run: {name}: {reason}", row=name, error=reason)
    failed = len(done.failed)
    count = f"{len(done.results) or 'none'} of {len(done.plan.rows)} rows of {done.paper.name} evaluated"
    content = "results" if done.results else "reasons"
    values = {"rows": len(done.results), "failed": failed, "out": str(folder)}
    text = f"{count}; {content} in {folder / 'tables.html'} and tables.md"
    current.finish(text, some_failed=failed > 0 or not done.results, **values)


def _report_plan(reproduction: Reproduction, current: CommandSession) -> None:
    plan = reproduction.plan
    for notice in plan.notices:
        current.report.emit("notice", notice, message=notice)
    width = max((len(planned.name) for planned in plan.rows), default=0)
    for planned in plan.rows:
        values = planned.model_dump(exclude={"name"})
        text = f"{planned.name:<{width}}{_format_planned(planned)}"
        current.report.emit_item("row", text.rstrip(), row=planned.name, **values)
    for start in dict.fromkeys(planned.start for planned in plan.rows if planned.start):
        names = [planned.name for planned in plan.rows if planned.start == start]
        text = fill(f"from {start}: {', '.join(names)}", LINE_LENGTH, subsequent_indent="  ", break_on_hyphens=False)
        current.report.emit_item("start", text, start=start, rows=names)
    for name, reason in plan.left_out.items():
        current.report.emit("left out", f"{name} cannot run: {reason}", row=name, error=reason)
    current.finish(f"{len(plan.rows)} rows of {plan.paper} would run.", rows=len(plan.rows))


def _format_planned(planned: PlannedRow) -> str:
    """Format parameters, epochs and steps of a row as columns."""
    if planned.parameters is None:
        return ""
    epochs = f"{planned.epochs} epoch{'s' if planned.epochs > 1 else ''}" if planned.epochs else ""
    steps = f"{planned.steps} steps each" if planned.epochs else ""
    return f" {planned.parameters / 1e6:>7.2f}M {epochs:>10} {steps:>15}"


REPRODUCE = Command(reproduce, REPRODUCE_HELP)


RELATION_HELP = format_help(
    "napari-melanoma studies relation results --out relation",
    "napari-melanoma studies relation results/section --out relation --include-invalid",
    "Relate area and probability of the lesions of analyzed slides, with manual corrections. Writes relation.csv (one "
    "row per lesion), relation.json (Spearman's rank correlation with its 95 % interval, over slides if there are "
    "several) and figures/area_probability.png. Slides without a valid prediction are listed and left out of the "
    "correlation, unless --include-invalid is given, as are lesions without an area in mm². OUT must not be in a "
    "result folder. Slides without lesions.geojson, or with a damaged one, are reported and the rest is processed "
    "(exit code 1).",
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
    from napari_melanoma.extensions.papers.analyses import relate_lesions, write_relation
    from napari_melanoma.reports.slide_export import find_result_folders, require_outside_results

    current.after_stop = "Nothing was written."
    require_outside_results(out)
    related = relate_lesions(find_result_folders(results), include_invalid=include_invalid, run=current.run)
    for slide, error in related.failed.items():
        name = related.names[slide]
        current.report.emit("failed", f"failed: {name}: {error}", slide=name, error=error)
    for note in related.facts["notes"]:
        current.report.emit("warning", f"Warning: {note}", message=note)
    current.lock_folder(out)
    written = write_relation(related, out)
    current.report.emit("relation", related.facts["summary"], **related.facts)
    text = (
        f"{format_count(len(related.lesions), 'lesion')} of {format_count(len(related.validity), 'slide')} in "
        f"{written[0]}; {written[-1].name} shows "
    )
    text += "the correlated ones." if len(written) > 2 else "why none could be correlated."
    current.finish(f"{text} Research use only.", some_failed=bool(related.failed), out=str(out))


def measure_baseline(
    current: Annotated[CommandSession, "allow_outside"],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set.")],
    columns: Annotated[str, typer.Option("--columns", metavar="NAMES", help="Input columns, with commas.")],
    target: Annotated[str, typer.Option(help="Column with the target.")] = "melanoma",
    folds: Annotated[int, typer.Option(min=2, max=100, help="Number of cross-validation folds.")] = 5,
    seed: Annotated[int, typer.Option(help="Random seed of folds and trees.")] = 0,
) -> None:
    """Measure how well the table alone predicts the target."""
    from napari_melanoma.extensions.papers.analyses import evaluate_baseline
    from napari_melanoma.metrics.class_metrics import class_estimates
    from napari_melanoma.metrics.metric_table import CLASS_METRICS

    current.after_stop = "Nothing was written."
    names = [name.strip() for name in columns.split(",") if name.strip()]
    result = evaluate_baseline(dataset, target, names, count=folds, seed=seed, run=current.run)
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
BASELINE = Command(measure_baseline, BASELINE_HELP)
