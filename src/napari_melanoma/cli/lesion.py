"""Command ``lesion``: masks, regions of interest, measurements and classification of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import (
    NO_REFINEMENT,
    Age,
    ConfigOptions,
    NoRefine,
    OptionValues,
    Out,
    Sex,
    Site,
    drop_unset,
    format_help,
)
from napari_melanoma.cli.session import CommandSession, values_without
from napari_melanoma.core.errors import InputError

if TYPE_CHECKING:
    from napari_melanoma.lesion.batch import BatchSummary, PhotographOutcome
    from napari_melanoma.lesion.batch_options import BatchOptions

HELP = format_help(
    'napari-melanoma lesion photographs/ "more/*.png" --out results --margin 0.2',
    "napari-melanoma lesion photo.jpg --out results --click 410,320 --exclude 600,300",
    "Segment the lesion of each photograph. Writes OUT/<stem>/ with mask.png, probability.png, roi.png, overlay.png "
    "and result.json, and OUT/results.csv with one row per image. With a classifier or patient data, each lesion is "
    "also classified. Finished images are skipped; an unreadable file is reported and the others are processed (exit "
    "code 1).",
)
BASIC = (
    *("model", "margin", "click", "exclude", "box", "modality", "pixel-size", "scale", "force"),
    *("classify", "classifier", "heatmap", "metadata", "age", "sex", "site"),
)
Clicks = Annotated[
    list[str] | None,
    typer.Option("--click", metavar="X,Y", help="A pixel of the lesion (column, row); may be repeated."),
]
ExcludedClicks = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="X,Y", help="A pixel outside the lesion (column, row); may be repeated."),
]
PromptBoxText = Annotated[
    str | None,
    typer.Option("--box", metavar="LEFT,TOP,RIGHT,BOTTOM", help="A rectangle around the lesion, in pixels."),
]
MAX_PRINTED_PREDICTIONS = 10  # with more photographs, predictions are only written to files


def lesion(
    current: Annotated[CommandSession, "accept_damaged", "backend", "device"],
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Photographs, folders or patterns.")],
    out: Out,
    options: Annotated[
        OptionValues,
        ConfigOptions(
            "lesion.batch_options:BatchOptions",
            without=(
                *("lesion.refinement.min_area_fraction", "classify.rule", "classify.neighbours", "form"),
                *("lesion.prompts.include", "lesion.prompts.exclude", "lesion.prompts.box"),
            ),
            names={
                "lesion.roi.side_px": "--side",
                "lesion.refinement.largest_only": "--all-lesions",
                "lesion.refinement.fill_holes": "--no-fill",
                "classify.model": "--classifier",
                "pixel_size_um": "--pixel-size",
            },
        ),
    ],
    click: Clicks = None,
    exclude: ExcludedClicks = None,
    box: PromptBoxText = None,
    no_refine: NoRefine = False,
    classify: Annotated[
        bool,
        typer.Option("--classify", help="Classify with the default model for the type of photograph."),
    ] = False,
    age: Age = None,
    sex: Sex = None,
    site: Site = None,
) -> None:
    """Analyze photographs."""
    from napari_melanoma.io.discovery import note_left_out
    from napari_melanoma.lesion.batch import analyze_files, find_inputs
    from napari_melanoma.lesion.batch_options import BatchOptions
    from napari_melanoma.models import PROMPTED_BUNDLE

    patient = drop_unset(age=age, sex=sex, site=site)
    values = {**options, "form": patient}
    if no_refine:
        lesion_values = values.get("lesion", {})
        values["lesion"] = {**lesion_values, "refinement": {**NO_REFINEMENT, **lesion_values.get("refinement", {})}}
    if classify or patient or "metadata" in values:
        values.setdefault("classify", {})
    if prompts := _read_prompts(click or (), exclude or (), box):
        values["lesion"] = {"model": PROMPTED_BUNDLE, **values.get("lesion", {}), "prompts": prompts}
    chosen = BatchOptions.parse(values, "the command line")
    left_out: list[Path] = []
    paths = find_inputs(images, left_out)
    current.report_notes(note_left_out(left_out))
    current.after_stop = f"Finished results stay in {out}: run the same command again to continue."

    report = partial(
        _report_photograph, current, with_prediction=current.as_json or len(paths) <= MAX_PRINTED_PREDICTIONS
    )
    summary = analyze_files(paths, out, chosen, run=current.run, on_outcome=report)
    _report_summary(current, summary, out, chosen)


def _read_prompts(click: Sequence[str], exclude: Sequence[str], box: str | None) -> dict[str, object]:
    """Return values for ``PromptOptions``, empty without prompts; its order is (row, column), that of the texts x,y."""
    prompts: dict[str, object] = {}
    for name, option, texts in (("include", "--click", click), ("exclude", "--exclude", exclude)):
        if texts:
            prompts[name] = [_read_numbers(text, option, "X,Y")[::-1] for text in texts]
    if box is not None:
        left, top, right, bottom = _read_numbers(box, "--box", "LEFT,TOP,RIGHT,BOTTOM")
        prompts["box"] = [top, left, bottom, right]
    return prompts


def _read_numbers(text: str, option: str, expected: str) -> list[float]:
    """Read numbers separated by commas; ``expected``: their names, separated by commas, for the error message."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != len(expected.split(",")):
        raise InputError(f"expected {option} as {expected} in pixels, found '{text}'.")
    return numbers


def _report_photograph(current: CommandSession, outcome: PhotographOutcome, *, with_prediction: bool) -> None:
    """Report the failure of a photograph, or its notes and warnings and, if requested, its prediction."""
    if outcome.status == "failed":
        text = f"failed: {outcome.path}: {outcome.error}"
        current.report.emit("failed", text, image=outcome.image, path=outcome.path, error=outcome.error)
        return
    for kind, text in (
        ("prediction", outcome.prediction if with_prediction else ""),
        ("note", outcome.note),
        ("warning", outcome.warning),
    ):
        if text:
            current.report.emit(
                kind, f"{outcome.image}: {text}", image=outcome.image, path=outcome.path, **{kind: text}
            )


def _report_summary(current: CommandSession, summary: BatchSummary, out: Path, options: BatchOptions) -> None:
    counts = [f"{summary.done} done in {summary.seconds:.1f} s"]
    if summary.skipped:
        counts.append(f"{summary.skipped} already done")
    if summary.left:
        counts.append(f"{summary.left} left to another process that analyzes them")
    if summary.failed:
        counts.append(f"{summary.failed} failed")
    if summary.without_lesion:
        counts.append(f"{summary.without_lesion} without a lesion")
    if summary.without_scale and options.scale == "ruler":
        counts.append(f"{summary.without_scale} without a ruler or a stated scale, measured in pixels only")
    if summary.with_warning:
        counts.append(f"{summary.with_warning} with a warning")
    next_step = "see the column 'error' there" if summary.failed else "check the overlay.png of each image"
    predictions = (
        " Predictions are in the table and in each result.json. Research use only." if options.classify else ""
    )
    text = f"{', '.join(counts)}: results in {out}, table in {summary.table}; {next_step}.{predictions}"
    values = values_without(summary, "table")
    current.finish(text, some_failed=bool(summary.failed), out=str(out), table=str(summary.table), **values)
