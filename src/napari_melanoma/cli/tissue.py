"""Commands ``tissue ...``: fit a tissue classifier or train a network on strokes, and apply it to slides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_melanoma.cli.options import ConfigOptions, DeviceName, OptionValues, Out, add_command, format_help
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.geometry import PixelSize

if TYPE_CHECKING:
    from napari_melanoma.slides.slide_table import SlideStatus
    from napari_melanoma.slides.tissue_classifier.fitting import Validation

FIT_HELP = format_help(
    "napari-melanoma tissue fit section.svs --out skin-layers",
    "napari-melanoma tissue fit a.svs b.svs --strokes a.geojson --strokes b.geojson --out skin-layers",
    "Fit a tissue classifier on the strokes of one or several slides. The strokes are those painted in the Slide dock, "
    "or lines, areas and points with a class, exported from QuPath as GeoJSON. Several features and kinds of "
    "classifiers are tried; the first is used that predicts strokes left out as well as the best. Writes a model "
    "bundle, which slide, the docks and nm.analyze_slide load like any other.",
)
APPLY_HELP = format_help(
    "napari-melanoma tissue apply section.svs --model skin-layers --out results",
    'napari-melanoma tissue apply "slides/*.svs" --model skin-layers --out results',
    "Predict the classes of slides, and list their areas in square millimeters and percent. Writes the same files as "
    "slide, with classes.geojson, the outlines of the classes. slide has further options, such as several processes.",
)
TRAIN_HELP = format_help(
    "napari-melanoma tissue train a.svs b.svs --out runs/skin-layers",
    "napari-melanoma tissue train a.svs b.svs --out runs/skin-layers --resume",
    "Train a network on the strokes of slides, if the features of tissue fit are not enough. Starts with the encoder "
    "that ships and takes minutes. Whole slides or strokes are held back; the network and a classifier of tissue fit, "
    "both without them, are compared on them. Writes a run folder as train does, with the model in bundle/. "
    "--resume continues a stopped run where it was saved last.",
)
app = typer.Typer(
    help="Fit a tissue classifier on the strokes of your own slides, and apply it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Slides = Annotated[list[str], typer.Argument(metavar="SLIDE", help="Slides, folders or patterns.")]
Strokes = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="PATH", help="File of strokes for each slide, or a folder of them; by default beside the slides."
    ),
]
Mpp = Annotated[
    float | None, typer.Option(metavar="UM", help="Micrometers per pixel of the slides; by default that in the files.")
]


def fit(
    current: CommandSession,
    slides: Slides,
    out: Out,
    options: Annotated[
        OptionValues, ConfigOptions("slides.tissue_classifier.classifier:TissueFitOptions", without=("kinds", "roles"))
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
            help="Class of a role (tumor, epidermis, background or nevus), such as tumor=Metastasis; empty for none. "
            "Lesions and a suggested Breslow thickness are measured of these. By default classes of these names.",
        ),
    ] = None,
    mpp: Mpp = None,
    name_slides: Annotated[
        bool, typer.Option("--name-slides", help="State the names of the slides in the model card.")
    ] = False,
) -> None:
    """Fit a tissue classifier."""
    from napari_melanoma.slides.reading.detection import find_slides
    from napari_melanoma.slides.tissue_classifier.bundle import write_tissue_bundle
    from napari_melanoma.slides.tissue_classifier.classifier import (
        TissueFitOptions,
        find_painted_slides,
        fit_tissue_classifier,
    )
    from napari_melanoma.slides.tissue_classifier.feature_sources import is_published, remember_encoder

    roles = {name: class_name for class_name, _, name in (text.partition("=") for text in role or ())}
    values: dict[str, Any] = {**options, **({"kinds": kinds} if kinds else {}), "roles": roles}
    chosen = TissueFitOptions.parse(values, "the command line")
    paths = find_slides(slides)
    size = None if mpp is None else PixelSize(mpp, mpp, "given")
    classifier = fit_tissue_classifier(find_painted_slides(paths, strokes or (), size), chosen, current.run)
    for note in classifier.notes:
        current.report.emit("note", f"note: {note}", message=note)
    for candidate in classifier.candidates:
        current.report.emit("candidate", _describe(candidate), **_values(candidate))
    for warning in classifier.validation.warnings:
        current.report.emit("warning", f"warning: {warning}", warning=warning)
    if chosen.weights is not None and is_published(classifier.source):
        remember_encoder(classifier.source, chosen.weights)
    names = [path.name for path in paths] if name_slides else []
    bundle = write_tissue_bundle(out, classifier, slide_names=names)
    best = classifier.validation
    text = f"{_describe(best)}. Bundle in {out}; next: napari-melanoma tissue apply SLIDE --model {out} --out results."
    if best.advice:
        text += f" {best.advice}"
    found: dict[str, Any] = {"out": str(out), "name": bundle.name, "classes": list(classifier.classes)}
    found["roles"] = dict(classifier.roles)
    current.finish(text, **found, **_values(best), advice=best.advice)


def _describe(validation: Validation) -> str:
    """Describe the accuracy of a candidate in one line."""
    from napari_melanoma.slides.tissue_classifier.fitting import KIND_NAMES

    name = f"{validation.source}, {KIND_NAMES[validation.kind]}"
    if validation.accuracy is None:
        return f"{name}: accuracy unknown"
    text = f"{name}: balanced accuracy {validation.accuracy} on strokes left out"
    return text if validation.slides is None else f"{text}, {validation.slides} on slides left out"


def _values(validation: Validation) -> dict[str, Any]:
    accuracy, slides = validation.accuracy, validation.slides
    return {
        "source": validation.source,
        "classifier": validation.kind,
        "accuracy": None if accuracy is None else [accuracy.mean, accuracy.low, accuracy.high],
        "accuracy_slides": None if slides is None else [slides.mean, slides.low, slides.high],
    }


def train(
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
    from napari_melanoma.runs.stroke_training import prepare_network
    from napari_melanoma.slides.reading.detection import find_slides
    from napari_melanoma.slides.tissue_classifier.classifier import find_painted_slides
    from napari_melanoma.training.recipe import TrainRecipe

    stored = RunFolder(out).config
    is_started = stored.is_file()
    if resume and is_started:
        recipe = read_toml(stored, TrainRecipe)
    else:
        size = None if mpp is None else PixelSize(mpp, mpp, "given")
        current.after_stop = f"Computed features are kept; continue with the same command, which uses {out}."
        recipe = prepare_network(find_painted_slides(find_slides(slides), strokes or (), size), out, run=current.run)
        recipe = recipe if epochs is None else recipe.model_copy(update={"epochs": epochs})
    run_training(current, recipe, out, resume=resume and is_started, queue=False)


def apply(
    current: CommandSession,
    slides: Slides,
    model: Annotated[str, typer.Option(help="Folder or name of a tissue classifier.")],
    out: Out,
    mpp: Mpp = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights of a published encoder, if the classifier needs one.")
    ] = None,
    device: DeviceName = None,
) -> None:
    """Apply a tissue classifier."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.models.installed_bundles import find_bundle
    from napari_melanoma.slides.analysis import analyze_slides
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.reading.detection import find_slides

    if not find_bundle(model, of_slides=True).config.margin_px:
        raise InputError(f"'{model}' is not a tissue classifier. Use it with napari-melanoma slide --model {model}.")
    values = {"model": model, "mpp": mpp, "weights": weights, "device": device or "auto"}
    options = SlideOptions.parse(values, "the command line")
    current.after_stop = f"Finished results stay in {out}: run the same command again to continue."
    summary = analyze_slides(
        find_slides(slides), out, options, run=current.run, on_status=lambda status: _report_areas(current, status)
    )
    text = f"{summary.done} done{f', {summary.failed} failed' if summary.failed else ''}: results in {out}."
    found = {"done": summary.done, "failed": summary.failed, "out": str(out), "table": str(summary.table)}
    current.finish(f"{text} Research use only.", some_failed=bool(summary.failed), **found)


def _report_areas(current: CommandSession, status: SlideStatus) -> None:
    """Report the areas of the classes of a slide, and why they are not valid."""
    from napari_melanoma.core.validity import read_validity
    from napari_melanoma.slides.results import describe_class_areas

    name = status.folder.name
    if status.status == "failed":
        current.report_failures([(str(status.path), status.error)], "slide")
        return
    areas = status.content.get("areas") or {}
    validity = read_validity(status.content)
    text = f"{name}: {validity.headline(describe_class_areas(areas))}"
    current.report.emit("slide", text, slide=name, path=status.path, areas=areas, validity=validity.to_json())


add_command(app, "fit", fit, FIT_HELP)
add_command(app, "train", train, TRAIN_HELP)
add_command(app, "apply", apply, APPLY_HELP)
