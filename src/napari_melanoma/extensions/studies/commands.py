"""Commands ``search``, ``relation``, ``data baseline`` and ``evaluate --clicks``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_melanoma.cli.options import Command, CommandOption, OptionValues, Out, format_help
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.formatting import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_melanoma.models.bundle import BundleInfo

SEARCH_HELP = format_help(
    "napari-melanoma search recipe.toml --out searches/first",
    "napari-melanoma search recipe.toml --out searches/first --trials 40",
    "Random search over the options in the table [search] of a recipe. Each trial is a run folder in "
    "DIR/trials/; search.csv, search.png and best.toml in DIR are updated after each trial. Trials are compared on "
    "the validation set only. The same command continues after an interruption; with more --trials, it adds trials.",
)
RELATION_HELP = format_help(
    "napari-melanoma relation results --out relation",
    "napari-melanoma relation results/section --out relation --include-invalid",
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


def search(
    current: Annotated[CommandSession, "allow_outside", "accept_damaged"],
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe with a table [search], a TOML file.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the search.")],
    trials: Annotated[
        int | None, typer.Option(min=1, help="Number of trials; taken from the recipe by default.")
    ] = None,
) -> None:
    """Search over options."""
    _run_search(current, recipe, out, trials)


def _run_search(current: CommandSession, path: Path, out: Path, trials: int | None) -> None:
    from napari_melanoma.core.config import read_toml
    from napari_melanoma.extensions.studies.search import BEST, FIGURE, TABLE, SearchRecipe
    from napari_melanoma.extensions.studies.search import search as run_search
    from napari_melanoma.training.monitor import MONITORS

    recipe = read_toml(path, SearchRecipe)
    if trials is not None:
        recipe = recipe.model_copy(update={"search": recipe.search.model_copy(update={"trials": trials})})
    search_result, monitor = run_search(recipe, out, run=current.run), MONITORS[recipe.task]
    for trial in search_result.trials:
        result = "" if trial.result is None else f"{trial.result:.4f}"
        text = f"{trial.folder.name}  {trial.state:<9} {result:<6}  {trial.summary}"
        facts = {"number": trial.number, "state": trial.state, monitor.name: trial.result, "options": trial.options}
        current.report.emit_item("trial", text, run=str(trial.folder), **facts, **trial.facts)
    best = search_result.best
    states = [trial.state for trial in search_result.trials]
    unfinished = [f", {states.count(state)} {state}" for state in ("failed", "to do") if state in states]
    text = (
        f"{states.count('finished')} trials finished{''.join(unfinished)}; the best is {best.folder.name}: "
        f"validation {monitor.title} {best.result:.4f} with {best.summary}. "
        f"Table {out / TABLE}, figure {out / FIGURE}; next: napari-melanoma train --config {out / BEST} --out RUN"
    )
    chosen: dict[str, Any] = {monitor.name: best.result, "options": best.options, "recipe": str(out / BEST)}
    current.finish(text, best=best.number, **chosen)


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
    from napari_melanoma.extensions.studies.lesion_relation import relate_lesions, relation_to_json, write_relation
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
    from napari_melanoma.extensions.studies.tabular_baseline import evaluate_baseline as measure
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


SEARCH = Command(search, SEARCH_HELP)
RELATION = Command(relation, RELATION_HELP)
BASELINE = Command(baseline, BASELINE_HELP)


def _evaluate_clicks(
    current: CommandSession,
    info: BundleInfo,
    data: Sequence[Path],
    out: Path,
    values: OptionValues,
    reject: Callable[[str], None],
) -> None:
    """Measure a model that can be prompted with simulated clicks."""
    from napari_melanoma.evaluation.any_task import check_evaluation_folder
    from napari_melanoma.extensions.studies.clicks import ClickOptions, evaluate_clicks

    reject("--clicks measures predictions from simulated clicks")
    options = ClickOptions.parse(values, "the command line")
    check_evaluation_folder(out, data)
    current.lock_folder(out)
    evaluation = evaluate_clicks(info, data, out, options, run=current.run)
    for item in evaluation.failed:
        path = item.sample.image
        current.report.emit("failed", f"failed: {path}: {item.error}", image=item.sample.image_id, path=path)
    text = f"{evaluation.headline}; written to {out}, report: {out / 'clicks.html'}"
    current.finish(text, some_failed=bool(evaluation.failed), out=str(out), failed=len(evaluation.failed))


CLICKS = CommandOption(
    Annotated[
        int | None,
        typer.Option("--clicks", metavar="N", help="Instead, measure segmentation with up to N simulated clicks."),
    ],
    _evaluate_clicks,
)
