"""Commands ``slide`` and ``tissue ...``: analyze whole-slide images, and fit classifiers of tissue on strokes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_melanoma.cli.options import ConfigOptions, DeviceName, OptionValues, Out, add_command, format_help
from napari_melanoma.cli.session import CommandSession, values_without
from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.geometry import PixelSize

if TYPE_CHECKING:
    from napari_melanoma.slides.analysis import SlidesSummary
    from napari_melanoma.slides.cohort import CohortEntry, CohortSummary
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.slide_table import SlideStatus
    from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile
    from napari_melanoma.slides.tissue_classifier.fitting import Validation

SlideValues = Annotated[
    OptionValues,
    ConfigOptions(
        "slides.options:SlideOptions",
        without=(
            *("region", "patient", "tissue", "stain_reference", "apply_profile", "lesions", "score.top_k"),
            *("stain.least_density", "stain.angle_percentile", "stain.amount_percentile", "stain.keep_background"),
            "score.positive",
        ),
        names={"stain.method": "--stain", "score.method": "--score"},
    ),
]
WorkerValues = Annotated[
    OptionValues, ConfigOptions("slides.options:CohortOptions", names={"scheduler": "--scheduler ADDRESS"})
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="All options as TOML; options on the command line take precedence."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Restart, even if there are results.")]
Nice = Annotated[bool, typer.Option("--nice", help="Run at low priority.")]
BASIC = ("model", "mpp", "target", "metadata", "processes", "config", "force")
HELP = format_help(
    "napari-melanoma slide section.svs --out results",
    'napari-melanoma slide "slides/*.svs" --out results --model skin-layers --mpp 0.5',
    "Analyze whole-slide images. Writes OUT/<stem>/ with result.zarr, lesions.geojson, lesions.csv, heatmap.ome.tif, "
    "tissue.png and result.json, and OUT/slides.csv with one row per slide. The areas of one class are listed: by "
    "default that of the tumor, or that of --target. A model that segments epidermis and tumor also gives the Breslow "
    "thickness with its T category. After any interruption, the same command continues. An unreadable slide is "
    "reported and the others are processed (exit code 1).",
)


def slide(
    current: Annotated[CommandSession, "backend"],
    slides: Annotated[list[str], typer.Argument(metavar="SLIDE", help="Slides, folders or patterns.")],
    out: Out,
    options: SlideValues,
    workers: WorkerValues,
    config: ConfigFile = None,
    force: Force = False,
    nice: Nice = False,
) -> None:
    """Analyze slides."""
    from napari_melanoma.slides.reading.detection import find_slides

    if nice:
        from napari_melanoma.core.processes import lower_priority

        lower_priority()
    chosen = _merge_options(config, options)
    paths = find_slides(slides)
    current.after_stop = f"Finished results stay in {out}: run the same command again to continue."
    if not workers:
        _analyze_slides(current, paths, out, chosen, force=force)
    elif workers.keys() == {"tries"}:
        raise ConfigError("--tries needs --processes or --scheduler. Add one of them, or leave --tries out.")
    else:
        run_cohort(current, paths, out, chosen, workers, force=force)


def _analyze_slides(
    current: CommandSession, paths: Sequence[Path], out: Path, options: SlideOptions, *, force: bool
) -> None:
    """Analyze slides one after the other, in this process."""
    from napari_melanoma.slides.analysis import analyze_slides

    summary = analyze_slides(
        paths, out, options, run=current.run, force=force, on_status=lambda status: _report_slide(current, status)
    )
    _report_summary(current, summary, out)


def _merge_options(config: Path | None, values: OptionValues) -> SlideOptions:
    """Merge the options of a file with those of the command line, which take precedence."""
    from napari_melanoma.core.config import overlay_values, read_toml
    from napari_melanoma.models.hub import download_named
    from napari_melanoma.slides.options import SlideOptions

    stored = {} if config is None else read_toml(config, SlideOptions).model_dump(exclude_unset=True)
    download_named(stored)
    return SlideOptions.parse(overlay_values(stored, values), "the command line")


def _report_slide(current: CommandSession, status: SlideStatus) -> None:
    name, values = status.folder.name, {"slide": status.folder.name, "path": status.path}
    if status.status == "failed":
        current.report.emit("failed", f"failed: {status.path}: {status.error}", error=status.error, **values)
        return
    if status.already_done:
        current.report.emit("before", f"{name}: already analyzed, nothing was changed", **values)
    for warning in status.content["warnings"]:
        current.report.emit("warning", f"{name}: {warning}", warning=warning, **values)
    from napari_melanoma.core.validity import read_validity
    from napari_melanoma.slides.depth import describe_depth
    from napari_melanoma.slides.results import describe_prediction, explain_no_target, slide_probability

    validity = read_validity(status.content)
    current.report.emit(
        "slide",
        f"{name}: {validity.headline(describe_prediction(status.content))}",
        probability=slide_probability(status.content),
        validity=validity.to_json(),
        target=status.content.get("target"),
        areas=status.content.get("areas") or {},
        **values,
    )
    if missing := explain_no_target(status.content):
        text = f"{missing} List the areas of a class with --target CLASS."
        current.report.emit("note", f"{name}: {text}", message=text, **values)
    for reason in validity.other_reasons if not validity.valid else validity.cautions:
        current.report.emit("warning", f"{name}: {reason}", warning=reason, **values)

    if depth := describe_depth(status.content):
        current.report.emit("depth", f"{name}: {depth}", depth=status.content["depth"], **values)


def _report_summary(current: CommandSession, summary: SlidesSummary, out: Path) -> None:
    counts = [f"{summary.done} done in {summary.seconds:.1f} s"]
    if summary.failed:
        counts.append(f"{summary.failed} failed")
    next_step = "open a slide in napari to see its heatmap"
    if summary.kept:
        next_step = f"see the messages above: the table keeps {format_count(summary.kept, 'earlier result')}"
    elif summary.failed:
        next_step = "see the column 'error' there"
    text = f"{', '.join(counts)}: results in {out}, table in {summary.table}; {next_step}. Research use only."
    values = values_without(summary, "table")
    current.finish(text, some_failed=bool(summary.failed), out=str(out), table=str(summary.table), **values)


def run_cohort(
    current: CommandSession,
    paths: Sequence[Path],
    out: Path,
    options: SlideOptions,
    workers: OptionValues,
    *,
    force: bool,
) -> None:
    """Analyze slides on several processes or machines."""
    from napari_melanoma.slides.cohort import analyze_cohort
    from napari_melanoma.slides.options import CohortOptions

    if workers.keys() >= {"processes", "scheduler"}:
        raise ConfigError("--processes and --scheduler cannot be combined. Give one of them.")
    cohort_options = CohortOptions.parse(workers, "the command line")
    summary = analyze_cohort(
        paths,
        out,
        options,
        cohort_options,
        run=current.run,
        force=force,
        on_change=lambda entry: _report_cohort_slide(current, entry, out),
    )
    _report_cohort_summary(current, summary, out)


def _report_cohort_slide(current: CommandSession, entry: CohortEntry, out: Path) -> None:
    """Report the state of a slide: failures as text, results as without ``--processes``."""
    from napari_melanoma.slides.lesion_files import read_analysis
    from napari_melanoma.slides.slide_table import SlideStatus

    text = f"failed: {entry.file}: {entry.error}" if entry.state == "failed" else ""
    current.report.emit("slide", text, **vars(entry))
    if entry.state == "done" and (content := read_analysis(out / entry.slide)):
        _report_slide(current, SlideStatus(Path(entry.file), out / entry.slide, "done", content))


def _report_cohort_summary(current: CommandSession, summary: CohortSummary, out: Path) -> None:
    counts = [f"{summary.done} done in {summary.seconds:.1f} s"]
    if summary.skipped:
        counts.append(f"{summary.skipped} of them earlier")
    if summary.failed:
        counts.append(f"{summary.failed} failed")
    next_step = "run the same command again to retry the failed slides" if summary.failed else "open a slide in napari"
    text = (
        f"{', '.join(counts)}: results in {out}, table in {summary.table}, states in {summary.manifest}; {next_step}."
    )
    values = {**vars(summary), "table": str(summary.table), "manifest": str(summary.manifest)}
    current.finish(f"{text} Research use only.", some_failed=bool(summary.failed), out=str(out), **values)


FIT_TISSUE_HELP = format_help(
    "napari-melanoma tissue fit section.svs --out skin-layers",
    "napari-melanoma tissue fit a.svs b.svs --strokes a.geojson --strokes b.geojson --out skin-layers",
    "Fit a tissue classifier on the strokes of one or several slides. The strokes are those painted in the Slide dock, "
    "or lines, areas and points with a class, exported from QuPath as GeoJSON. Several features and kinds of "
    "classifiers are tried; the first is used that predicts strokes left out as well as the best. Writes a model "
    "bundle, which slide, the docks and nm.analyze_slide load like any other.",
)
APPLY_TISSUE_HELP = format_help(
    "napari-melanoma tissue apply section.svs --model skin-layers --out results",
    'napari-melanoma tissue apply "slides/*.svs" --model skin-layers --out results',
    "Predict the classes of slides, and list their areas in square millimeters and percent. Writes the same files as "
    "slide, with classes.geojson, the outlines of the classes. slide has further options, such as several processes.",
)
TRAIN_TISSUE_HELP = format_help(
    "napari-melanoma tissue train a.svs b.svs --out runs/skin-layers",
    "napari-melanoma tissue train a.svs b.svs --out runs/skin-layers --resume",
    "Train a network on the strokes of slides, if the features of tissue fit are not enough. Starts with the encoder "
    "that ships and takes minutes. Whole slides or strokes are held back; the network and a classifier of tissue fit, "
    "both without them, are compared on them. Writes a run folder as train does, with the model in bundle/. "
    "--resume continues a stopped run where it was saved last.",
)
tissue_app = typer.Typer(
    help="Fit a tissue classifier on the strokes of your own slides, and apply it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Slides = Annotated[list[str], typer.Argument(metavar="SLIDE", help="Slides, folders or patterns.")]
Strokes = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="PATH",
        help="File of strokes for each slide, named after it or in the same order, or a folder of them; by default "
        "beside the slides.",
    ),
]
Mpp = Annotated[
    float | None, typer.Option(metavar="UM", help="Micrometers per pixel of the slides; by default that in the files.")
]


def fit_tissue(
    current: CommandSession,
    slides: Slides,
    out: Out,
    options: Annotated[
        OptionValues,
        ConfigOptions(
            "slides.tissue_classifier.classifier:TissueFitOptions", without=("kinds", "roles", "min_region_cells")
        ),
    ],
    strokes: Strokes = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", help="nearest_mean, logistic or forest; may be repeated. By default all are tried."),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=CLASS",
            help="Class of a role (tumor, epidermis, background, nevus or keratin), such as tumor=Metastasis; empty "
            "for none. Lesions and a suggested Breslow thickness are measured of these. By default classes of these "
            "names.",
        ),
    ] = None,
    mpp: Mpp = None,
    name_slides: Annotated[
        bool, typer.Option("--name-slides", help="State the names of the slides in the model card.")
    ] = False,
    title: Annotated[str, typer.Option(metavar="TEXT", help="Title of the model, one line.")] = "",
    licence: Annotated[
        str, typer.Option("--license", metavar="NAME", help="License of the model; by default that of the features.")
    ] = "",
    card: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="Markdown that the model card ends with, such as sources."
        ),
    ] = None,
) -> None:
    """Fit a tissue classifier."""
    from napari_melanoma.slides.tissue_classifier.bundle import write_tissue_bundle
    from napari_melanoma.slides.tissue_classifier.classifier import TissueFitOptions, fit_tissue_classifier

    roles = dict(_split_role(text) for text in role or ())
    values: dict[str, Any] = {**options, **({"kinds": kinds} if kinds else {}), "roles": roles}
    chosen = TissueFitOptions.parse(values, "the command line")
    notes = "" if card is None else card.read_text(encoding="utf-8")
    painted = _find_painted(slides, strokes, mpp)
    classifier = fit_tissue_classifier(painted, chosen, current.run)
    for note in classifier.notes:
        current.report.emit("note", f"note: {note}", message=note)
    for candidate in classifier.candidates:
        current.report.emit("candidate", _describe_validation(candidate), **_validation_values(candidate))
    for warning in classifier.validation.warnings:
        current.report.emit("warning", f"warning: {warning}", warning=warning)
    names = [slide.path.name for slide in painted] if name_slides else []
    bundle = write_tissue_bundle(out, classifier, title, names, licence, notes)
    best = classifier.validation
    next_command = f"napari-melanoma tissue apply SLIDE --model {out} --out results"
    text = f"{_describe_validation(best)}. Bundle in {out}; next: {next_command}."
    if best.advice:
        text += f" {best.advice}"
    found: dict[str, Any] = {"out": str(out), "name": bundle.name, "classes": list(classifier.classes)}
    found["roles"] = dict(classifier.roles)
    current.finish(text, **found, **_validation_values(best), advice=best.advice)


def _split_role(text: str) -> tuple[str, str]:
    """Split ``ROLE=CLASS``; the class may be empty."""
    role, equals, name = (part.strip() for part in text.partition("="))
    if not equals:
        raise ConfigError(f"--role is '{text}'; expected ROLE=CLASS, such as tumor=Metastasis.")
    return role, name


def _find_painted(slides: list[str], strokes: list[Path] | None, mpp: float | None) -> list[PaintedSlideFile]:
    """Find the slides of the command line with their strokes; files are paired in the order given."""
    from napari_melanoma.slides.reading.detection import find_slides_in_order
    from napari_melanoma.slides.tissue_classifier.painted_files import find_painted_slides

    paths, size = find_slides_in_order(slides), None if mpp is None else PixelSize(mpp, mpp, "given")
    return find_painted_slides(paths, strokes or (), size, in_order=len(paths) == len(slides))


def _describe_validation(validation: Validation) -> str:
    from napari_melanoma.slides.tissue_classifier.fitting import KIND_NAMES

    name = f"{validation.source}, {KIND_NAMES[validation.kind]}"
    if validation.accuracy is None:
        return f"{name}: accuracy unknown"
    text = f"{name}: balanced accuracy {validation.accuracy} on strokes left out"
    return text if validation.slides is None else f"{text}, {validation.slides} on slides left out"


def _validation_values(validation: Validation) -> dict[str, Any]:
    accuracy, slides = validation.accuracy, validation.slides
    return {
        "source": validation.source,
        "classifier": validation.kind,
        "accuracy": None if accuracy is None else [accuracy.mean, accuracy.low, accuracy.high],
        "accuracy_slides": None if slides is None else [slides.mean, slides.low, slides.high],
    }


def train_tissue(
    current: CommandSession,
    slides: Slides,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="The run folder, new unless --resume.")],
    strokes: Strokes = None,
    mpp: Mpp = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs; by default that of the recipe.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in RUN.")] = False,
) -> None:
    """Train a network on strokes."""
    from napari_melanoma.cli.train import run_training
    from napari_melanoma.core.config import read_toml
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.runs.slide_datasets import prepare_network
    from napari_melanoma.training.recipe import TrainRecipe

    stored = RunFolder(out).config
    is_started = stored.is_file()
    if resume and is_started:
        recipe = read_toml(stored, TrainRecipe)
        if epochs not in (None, recipe.epochs):
            raise InputError(f"--epochs is {epochs}, but the run in {out} has {recipe.epochs} epochs. Leave it out.")
    else:
        current.after_stop = f"Computed features are kept; continue with the same command, which uses {out}."
        recipe = prepare_network(_find_painted(slides, strokes, mpp), out, run=current.run)
        recipe = recipe if epochs is None else recipe.model_copy(update={"epochs": epochs})
    run_training(current, recipe, out, resume=resume and is_started, queue=False)


def apply_tissue(
    current: CommandSession,
    slides: Slides,
    model: Annotated[str, typer.Option(help="Folder or name of a tissue classifier.")],
    out: Out,
    mpp: Mpp = None,
    target: Annotated[
        str,
        typer.Option(
            metavar="CLASS", help="Class whose areas are listed one by one; by default the tumor class of the model."
        ),
    ] = "",
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights of a published encoder, if the classifier needs one.")
    ] = None,
    device: DeviceName = None,
) -> None:
    """Apply a tissue classifier."""
    from napari_melanoma.models.installed_bundles import find_bundle
    from napari_melanoma.slides.analysis import analyze_slides
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.reading.detection import find_slides

    if not find_bundle(model, of_slides=True).config.margin_px:
        raise InputError(f"'{model}' is not a tissue classifier. Use it with napari-melanoma slide --model {model}.")
    values = {"model": model, "mpp": mpp, "target": target, "weights": weights, "device": device or "auto"}
    options = SlideOptions.parse(values, "the command line")
    current.after_stop = f"Finished results stay in {out}: run the same command again to continue."
    summary = analyze_slides(
        find_slides(slides), out, options, run=current.run, on_status=lambda status: _report_slide(current, status)
    )
    _report_summary(current, summary, out)


add_command(tissue_app, "fit", fit_tissue, FIT_TISSUE_HELP)
add_command(tissue_app, "train", train_tissue, TRAIN_TISSUE_HELP)
add_command(tissue_app, "apply", apply_tissue, APPLY_TISSUE_HELP)
