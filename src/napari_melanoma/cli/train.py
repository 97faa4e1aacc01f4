"""Commands ``recipes ...``, ``train``, ``runs ...`` and ``adapt``: train models, control runs, adapt classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_melanoma.cli.options import ConfigOptions, OptionValues, add_command, format_help
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.context import Cancelled
from napari_melanoma.core.errors import ConfigError, InputError, RunError
from napari_melanoma.core.formatting import format_count, format_estimated_duration

if TYPE_CHECKING:
    from napari_melanoma.evaluation.adaptation_card import AdaptationFigures
    from napari_melanoma.runs.adapting import Adaptation, AdaptationPlan
    from napari_melanoma.runs.launching import RunReport
    from napari_melanoma.training.recipe import TrainRecipe

LIST_RECIPES_HELP = format_help(
    "napari-melanoma recipes list",
    "napari-melanoma recipes list --json",
    "List the shipped recipes and their purpose.",
)
WRITE_RECIPE_HELP = format_help(
    "napari-melanoma recipes write fine-tune --data corrections --start lesion-small --out recipe.toml",
    "napari-melanoma recipes write classify-tiles --data tiles --start my-tiles --start-weights encoder --out "
    "recipe.toml",
    "Write a shipped recipe as a file, with data sets and starting weights. Edit it if needed, then run: "
    "napari-melanoma train --config recipe.toml --out RUN",
)
recipes_app = typer.Typer(
    help="List the shipped recipes; write one as a file.", no_args_is_help=True, rich_markup_mode=None
)


def list_recipes(current: CommandSession) -> None:
    """List the shipped recipes."""
    from napari_melanoma.runs.shipped_recipes import RECIPES, list_shipped_recipes

    recipes = list_shipped_recipes()
    for recipe in recipes:
        text = f"{recipe.name:<28} {recipe.summary}"
        values = {"name": recipe.name, "title": recipe.title, "summary": recipe.summary, "values": recipe.values}
        current.report.emit_item("recipe", text, **values)
    papers = [paper for collection in RECIPES.members.values() for paper in collection.list_papers()]
    for paper in papers:
        names = ", ".join(paper.rows)
        text = f"{paper.name:<28} {paper.reference}; with napari-melanoma {paper.command} --rows: {names}"
        current.report.emit_item("paper", text, name=paper.name, title=paper.title, rows=paper.rows)
    counts = [format_count(len(recipes), "recipe")] + [format_count(len(papers), "paper")] * bool(papers)
    use = f"napari-melanoma recipes write {recipes[0].name} --data DATASET --out recipe.toml"
    current.finish(f"{' and '.join(counts)}; use a recipe: {use}", count=len(recipes), papers=len(papers))


def write_recipe(
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


add_command(recipes_app, "list", list_recipes, LIST_RECIPES_HELP)
add_command(recipes_app, "write", write_recipe, WRITE_RECIPE_HELP)


PART_TITLES = {
    "train": "for training",
    "validation": "for validation",
    "test": "for testing",
    "replay": "of the replay data",
}
TRAIN_HELP = format_help(
    "napari-melanoma train --config recipe.toml --out runs/first",
    "napari-melanoma train --config runs/first/config.toml --out runs/first --resume",
    "Train a model by a recipe. Writes config.toml, data.csv, events.jsonl, metrics.csv, samples/, checkpoints/ and, "
    "at the end, bundle/ and comparison/ to RUN. --resume continues a stopped run where it was "
    "saved last. --set epochs=3 changes a key of the recipe. --check reports the data and the time and memory of one "
    "measured step and writes nothing. "
    "--folds 5 trains a model for each of 5 folds, in a run folder each, evaluates it on the images that it was not "
    "trained on, and writes folds.html and the ensemble of the folds (bundle/) to RUN.",
)


def train(
    current: Annotated[CommandSession, "allow_outside", "accept_damaged"],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="The recipe, a TOML file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="RUN", help="The run folder, new unless --resume.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in RUN.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only check recipe and data, and measure one step.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; may be given several times."),
    ] = None,
    accept_leaks: Annotated[
        bool, typer.Option("--accept-leaks", help="Train although patients are probably in training and test set.")
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Train a model for each fold of a cross-validation, and their ensemble."),
    ] = None,
    queue: Annotated[bool, typer.Option("--queue", help="Wait for runs that were started earlier.")] = False,
    nice: Annotated[bool, typer.Option("--nice", help="Run at low priority.")] = False,
) -> None:
    """Train a model."""
    from napari_melanoma.core.config import change_values
    from napari_melanoma.models.hub import download_named

    if nice:
        from napari_melanoma.core.processes import lower_priority

        lower_priority()
    if config is None:
        raise RunError("the recipe is missing. Add --config FILE.")
    recipe = _read_recipe(config)
    if set_:
        recipe = change_values(recipe, set_, "--set")
    if not resume:  # which needs its checkpoint only
        download_named(recipe.model_dump())
    if accept_leaks:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"accept_leaks": True})})
    if check:
        given = {"--resume": resume, "--folds": folds is not None, "--queue": queue}
        if names := [name for name, is_given in given.items() if is_given]:
            raise InputError(f"--check writes nothing and trains nothing; not applicable: {', '.join(names)}.")
        _report_check(current, str(config), recipe)
    elif folds is not None:
        _train_folds(current, recipe, folds, out, resume=resume, queue=queue)
    else:
        run_training(current, recipe, out, resume=resume, queue=queue)


def run_training(current: CommandSession, recipe: TrainRecipe, out: Path | None, *, resume: bool, queue: bool) -> None:
    """Run a recipe, and report the outcome."""
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.runs.train import train as run_recipe

    if out is None:
        raise RunError("the run folder is missing. Add --out RUN, or use --check.")
    try:
        bundle = run_recipe(recipe, out, resume=resume, run=current.run, queue=queue, graphs=True)
    except Cancelled:
        if (out / "config.toml").exists():
            current.after_stop = f"Continue with: {_resume_command(out)}"
        raise
    if bundle is None:  # a helper process of a distributed run; the main process reports
        return
    notices = (event["message"] for event in RunFolder(out).read_events() if event["kind"] in ("notice", "detail"))
    for message in dict.fromkeys(notices):
        current.report.emit("notice", f"Notice: {message}", message=message)
    advice, values = _read_advice(out)
    for message in values.get("warnings", ()):
        current.report.emit("warning", f"Warning: {message}", message=message)
    text = f"Trained '{bundle.name}' into {bundle.path}, figures in {out / 'metrics.csv'}. "
    text += advice or f"Next: napari-melanoma evaluate --model {bundle.path} --data DATASET --out DIR"
    current.finish(
        text, bundle=str(bundle.path), name=bundle.name, threshold=bundle.config.decision_threshold, **values
    )


def _resume_command(out: Path, folds: int = 0) -> str:
    """Return the command that continues a run, or a cross-validation of some folds."""
    from napari_melanoma.runs.launching import RECIPE

    config, parts = (out / RECIPE, f" --folds {folds}") if folds else (out / "config.toml", "")
    return f"napari-melanoma train --config {config} --out {out}{parts} --resume"


def _train_folds(
    current: CommandSession, recipe: TrainRecipe, folds: int, out: Path | None, *, resume: bool, queue: bool
) -> None:
    """Run a recipe for each fold, and report the means over the folds."""
    from napari_melanoma.metrics.metric_table import metric_label
    from napari_melanoma.runs.folds import PAGE, RECIPE, select_shown, train_folds

    if out is None:
        raise RunError("the run folder is missing. Add --out RUN.")
    try:
        result = train_folds(recipe, folds, out, resume=resume, run=current.run, queue=queue)
    except Cancelled:
        if (out / RECIPE).exists():
            current.after_stop = f"Continue with: {_resume_command(out, folds)}"
        raise
    for message in result.notices:
        current.report.emit("notice", f"Notice: {message}", message=message)
    shown = {name: result.metrics[name] for name in select_shown(recipe) if name in result.metrics}
    for name, one in shown.items():
        text = f"{metric_label(name)}: {one.mean:.3f} ({one.low:.3f} to {one.high:.3f})"
        current.report.emit_item("metric", text, metric=name, **vars(one))
    bundle = None if result.ensemble is None else str(result.ensemble.path)
    text = f"Trained {folds} folds into {out}. Review {out / PAGE}."
    if bundle:
        text += f" The ensemble of the folds is {bundle}; to install it: napari-melanoma models import {out}"
    runs = [str(path) for path in result.runs]
    current.finish(text, runs=runs, page=str(out / PAGE), bundle=bundle, folds=folds)


def _read_advice(out: Path) -> tuple[str, dict[str, Any]]:
    """Return the recommendation of the run's comparison as text and as JSON values; both empty if there is none."""
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.evaluation.comparison_results import ADVICE, read_comparison

    folder = RunFolder(out).comparison
    try:
        comparison = read_comparison(folder)
    except InputError:
        return "", {}
    page = folder / "comparison.html"
    steps = f" Review {page}" if page.is_file() else ""
    if comparison.advice == "activate":
        steps += f"{'; then' if steps else ' Next'}: napari-melanoma models import {out}"
    text = f"{ADVICE[comparison.advice]} {comparison.reason}{steps}"
    warnings = list(comparison.facts.get("warnings", ()))
    return text, {"advice": comparison.advice, "reason": comparison.reason, "page": str(page), "warnings": warnings}


def _read_recipe(config: Path) -> TrainRecipe:
    """Read the recipe; explain a part of one, such as a row of a paper, and that of a run of another version."""
    from napari_melanoma.core.config import read_toml
    from napari_melanoma.core.provenance import describe_other_version
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.runs.shipped_recipes import RECIPES
    from napari_melanoma.training.recipe import TrainRecipe

    try:
        return read_toml(config, TrainRecipe)
    except ConfigError as error:
        descriptions = (collection.describe_incomplete(config) for collection in RECIPES.members.values())
        if description := next(filter(None, descriptions), ""):
            raise ConfigError(f"{config} is not a complete recipe; it is {description}") from None
        starts = (event for event in RunFolder(config.parent).read_events() if event.get("kind") == "started")
        if advice := describe_other_version(next(starts, {})):
            raise ConfigError(f"{error} {advice}", error.faults) from None
        raise


def _report_check(current: CommandSession, name: str, recipe: TrainRecipe) -> None:
    """Report the data of a run, and the time and memory of one measured step."""
    from napari_melanoma.runs.train import check_recipe, describe_start_overlap
    from napari_melanoma.training.batch_size import estimate_run

    report = check_recipe(recipe, current.run)
    warnings = [*filter(None, (*report.warnings, describe_start_overlap(recipe, current.run)))]
    for warning in warnings:
        current.report.emit("warning", f"Warning: {warning}", message=warning)
    counts = ", ".join(f"{count} {PART_TITLES[part]}" for part, count in report.counts.items())
    text, estimate = f"{name} can run. Images: {counts}.", None
    if recipe.bags is None:  # the steps of slides as bags take milliseconds
        estimate = estimate_run(recipe, report.counts)
        text += (
            f" A step of {estimate['batch_size']} images takes {estimate['step_s']:.2g} s on {estimate['device']} "
            f"({estimate['precision']}) and {estimate['memory_mb']} MB of memory: at most about "
            f"{format_estimated_duration(estimate['seconds'])} for {recipe.epochs} epochs."
        )
    current.finish(text, images=report.counts, warnings=warnings, estimate=estimate)


LIST_RUNS_HELP = format_help(
    "napari-melanoma runs list",
    "napari-melanoma runs list runs --json",
    "List training runs, the newest first. Without FOLDER: the runs started in napari.",
)
CONTROL_HELP = {
    "pause": "Pause a run at the next batch; it keeps its memory. Continue it with napari-melanoma runs unpause.",
    "unpause": "Continue a paused run.",
    "cancel": "End a run after the current step. Its state is saved, and napari-melanoma train ... --resume continues "
    "from there.",
}
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")]
runs_app = typer.Typer(help="List training runs; pause or cancel one.", no_args_is_help=True, rich_markup_mode=None)


def list_runs_in(
    current: CommandSession,
    folder: Annotated[Path | None, typer.Argument(metavar="FOLDER", help="Folder that contains run folders.")] = None,
) -> None:
    """List the runs of a folder."""
    from napari_melanoma.runs.launching import list_runs, runs_folder

    reports = list_runs(folder)
    for report in reports:
        current.report.emit_item("run", _format_run(report), **_run_values(report))
    text = f"{format_count(len(reports), 'run')} in {folder or runs_folder()}"
    current.finish(text, count=len(reports))


def pause(current: CommandSession, run: Run) -> None:
    """Pause a run."""
    _send_command(current, run, "pause", "will pause at the next batch")


def unpause(current: CommandSession, run: Run) -> None:
    """Continue a run."""
    _send_command(current, run, "run", "continues")


def cancel(current: CommandSession, run: Run) -> None:
    """End a run."""
    from napari_melanoma.training.run_data import list_folds

    advice = f"continue it with: {_resume_command(run, len(list_folds(run)))}"
    _send_command(current, run, "cancel", f"will end after the current step; {advice}")


def _send_command(
    current: CommandSession, path: Path, command: Literal["run", "pause", "cancel"], message: str
) -> None:
    from napari_melanoma.core.processes import send_command_or_stop
    from napari_melanoma.runs.launching import read_run

    report = read_run(path)
    if not report.state.active:
        raise RunError(f"{path} is {report.state}, not active. {report.message}")
    send_command_or_stop(path, command)
    current.finish(f"{path.name} {message}", path=str(path), wish=command)


def _format_run(report: RunReport) -> str:
    value = report.validation_result
    result = "" if value is None else f"{report.monitor.title} {value:.3f}"
    result += f" ({report.few_validation})" if result and report.few_validation else ""
    return f"{report.name:<28} {report.state:<10} {result:<20} {' '.join(report.message.split())}"


def _run_values(report: RunReport) -> dict[str, object]:
    comparison = report.comparison
    return {
        "name": report.name,
        "path": str(report.path),
        "state": str(report.state),
        "message": report.message,
        "epoch": report.epoch,
        "epochs": report.epochs,
        report.monitor.name.replace("validation", "best"): report.best,
        "eta_s": report.step.get("eta_s"),
        "advice": comparison.advice if comparison else None,
        "adopted": report.activated_as,
    }


def _control_help(name: str) -> str:
    example = f"napari-melanoma runs {name} runs/first"
    return format_help(example, f"{example} --json", CONTROL_HELP[name])


add_command(runs_app, "list", list_runs_in, LIST_RUNS_HELP)
add_command(runs_app, "pause", pause, _control_help("pause"))
add_command(runs_app, "unpause", unpause, _control_help("unpause"))
add_command(runs_app, "cancel", cancel, _control_help("cancel"))


ADAPT_HELP = format_help(
    "napari-melanoma adapt melanoma-small datasets/clinic --out melanoma-clinic",
    "napari-melanoma adapt melanoma-small datasets/clinic --target melanoma --group patient_id --check",
    "Adapt a classifier to the photographs of a clinic: fits a linear layer to its outputs on photographs with a "
    "diagnosis, in seconds. From the model as it is to a new layer, the candidate is chosen by cross-validation over "
    "patients, and compared with the model on the same photographs, each predicted without its patient. If the gain "
    "exceeds its uncertainty, a model bundle is written, with both models side by side in its card; otherwise the "
    "model is kept, and nothing is written. Computed embeddings are stored in DATASET/embeddings, and used again. "
    "--check lists the photographs by class, what is left out and why, and the time needed, and writes nothing.",
)


def adapt(
    current: Annotated[CommandSession, "allow_outside", "accept_damaged", "backend", "device"],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a classifier, or the folder of its bundle.")],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Data set with the column diagnosis.")],
    options: Annotated[
        OptionValues,
        ConfigOptions(
            "runs.clinic_photographs:AdaptOptions", names={"segmenter": "--segmenter BUNDLE", "only": "--only FILE"}
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="NAME", help="Folder that receives the bundle; its name.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only report what would be used, and the time.")] = False,
) -> None:
    """Adapt a classifier."""
    from napari_melanoma.models.installed_bundles import find_bundle
    from napari_melanoma.runs.adapting import adapt as adapt_model
    from napari_melanoma.runs.adapting import plan_adaptation
    from napari_melanoma.runs.clinic_photographs import AdaptOptions

    chosen, info = AdaptOptions.parse(options, "the command line"), find_bundle(model)
    if check:
        plan = plan_adaptation(info, dataset, chosen, run=current.run)
        _report_plan(current, plan)
        done = f"Not possible: {plan.refusal}" if plan.refusal else f"Possible, in about {plan.minutes:g} min."
        current.finish(done, some_failed=bool(plan.refusal), **vars(plan))
        return
    if out is None:
        raise InputError("the name of the adapted model is missing. Add --out NAME, or use --check.")
    current.after_stop = "Run the same command again to continue; computed embeddings are kept."
    result = adapt_model(info, dataset, out, chosen, run=current.run)
    _report_plan(current, result.plan)
    for warning in result.warnings:
        current.report.emit("warning", f"Warning: {warning}", message=warning)
    for figure, text in _list_figures(result.figures).items():
        current.report.emit_item("figure", text, metric=figure)
    if result.bundle is not None:
        text = result.figures.threshold.describe(result.plan.positive, result.plan.model)
        current.report.emit("threshold", text, **result.figures.threshold._asdict())
    current.finish(_summarize_adaptation(result), **result.to_json())


def _report_plan(current: CommandSession, plan: AdaptationPlan) -> None:
    counts = ", ".join(f"{name} {count}" for name, count in plan.classes.items())
    groups = f"{plan.groups:,} {'patient or lesion' if plan.groups == 1 else 'patients or lesions'}"
    text = f"{format_count(plan.photographs, 'photograph')} of {groups}: {counts}"
    current.report.emit("photographs", text, classes=dict(plan.classes), groups=plan.groups)
    current.report.emit("candidates", f"Candidates: {', '.join(plan.candidates)}", candidates=plan.candidates)
    for note in plan.notes:
        current.report.emit("note", f"note: {note}", message=note)


def _list_figures(figures: AdaptationFigures) -> dict[str, str]:
    """Return the line of each figure: both models."""
    return {
        name: f"{name.replace('_', ' ')}: {figures.shipped[name]} as it is, {one} adapted"
        for name, one in figures.adapted.items()
        if name in figures.shipped
    }


def _summarize_adaptation(result: Adaptation) -> str:
    from napari_melanoma.evaluation.comparison_results import ADVICE

    if result.bundle is None:
        return f"Keep '{result.plan.model}'; nothing was written. {result.figures.reason}"
    return (
        f"{result.chosen}. {ADVICE[result.figures.advice]} {result.figures.reason} Bundle in {result.bundle.path}; to "
        f"install it: napari-melanoma models import {result.bundle.path}"
    )
