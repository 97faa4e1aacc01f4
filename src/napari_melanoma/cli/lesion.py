"""``lesion``: masks, regions of interest and measurements of photographs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_melanoma.cli.options import (
    AcceptDamaged,
    Age,
    ClassifierOption,
    ClassifyOption,
    Coverage,
    Debug,
    Flips,
    Heatmap,
    Json,
    Metadata,
    NoRefine,
    Out,
    Sensitivity,
    Sex,
    Site,
    classifier_values,
    drop_unset,
    examples,
    refinement,
)
from napari_melanoma.cli.session import CommandSession, command_session

if TYPE_CHECKING:
    from napari_melanoma.lesion.batch import BatchSummary, PhotographOutcome

HELP = examples(
    "napari-melanoma lesion photo.jpg --out results",
    'napari-melanoma lesion photographs/ "more/*.png" --out results --margin 0.2',
    "Segment the lesion of each photograph. Writes OUT/<stem>/ with mask.png, probability.png, roi.png, overlay.png "
    "and result.json, and OUT/results.csv with one row per image. With a classifier or patient data, each lesion is "
    "also classified. Finished images are skipped; an unreadable file is reported and the others are processed (exit "
    "code 1).",
)
DETAILS_UP_TO = 10  # number of photographs up to which each prediction is also printed


def lesion(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Photographs, folders or patterns.")],
    out: Out,
    model: Annotated[
        str | None, typer.Option(help="Name of a model, or the folder of a bundle; the shipped one by default.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Minimum probability of a lesion pixel; the model's own threshold by default.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Margin around the lesion in the ROI, as a fraction of the longer side.")
    ] = None,
    background: Annotated[
        Literal["zero", "keep"] | None, typer.Option(help="Outside of the lesion in the ROI.")
    ] = None,
    side: Annotated[int | None, typer.Option(help="Side of the square ROI in pixels.")] = None,
    all_lesions: Annotated[bool, typer.Option("--all-lesions", help="Keep all lesions.")] = False,
    no_fill: Annotated[bool, typer.Option("--no-fill", help="Do not fill holes in the lesion.")] = False,
    smoothing: Annotated[
        float | None,
        typer.Option(help="Smoothing of the border: sigma as a fraction of the photograph's shorter side; 0 for none."),
    ] = None,
    no_refine: NoRefine = False,
    flips: Flips = False,
    classify: ClassifyOption = False,
    classifier: ClassifierOption = None,
    age: Age = None,
    sex: Sex = None,
    site: Site = None,
    metadata: Metadata = None,
    coverage: Coverage = None,
    sensitivity: Sensitivity = None,
    heatmap: Heatmap = None,
    pixel_size: Annotated[
        float | None, typer.Option(metavar="UM", help="Micrometers per pixel, for measurements in mm.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Photographs per forward pass.")] = None,
    workers: Annotated[int | None, typer.Option(help="Reader and writer threads; cores + 2 by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Repeat finished images, except corrected ones.")] = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Analyze photographs."""
    with command_session(json, debug, accept_damaged=accept_damaged) as current:
        from napari_melanoma.lesion.batch import BatchOptions, analyze_files, find_inputs

        refined = refinement(off=no_refine, all_lesions=all_lesions, no_fill=no_fill, smoothing=smoothing)
        roi = drop_unset(margin=margin, background=background, side_px=side)
        chosen = {**drop_unset(model=model, threshold=threshold), "refinement": refined, "roi": roi, "flips": flips}
        prediction = drop_unset(model=classifier, coverage=coverage, sensitivity=sensitivity, heatmap=heatmap)
        classification = classifier_values(classify, metadata, prediction, drop_unset(age=age, sex=sex, site=site))
        batch = drop_unset(pixel_size_um=pixel_size, batch_size=batch_size, workers=workers, force=force)
        options = BatchOptions.parse({"lesion": chosen, **classification, **batch}, "the command line")
        paths = find_inputs(images)
        current.after_stop = f"Finished results stay in {out}: run the same command again to continue."

        report = partial(_report_photograph, current, with_prediction=json or len(paths) <= DETAILS_UP_TO)
        summary = analyze_files(paths, out, options, run=current.run, on_outcome=report)
        _report_summary(current, summary, out, classified=options.classify is not None)


def _report_photograph(current: CommandSession, outcome: PhotographOutcome, *, with_prediction: bool) -> None:
    """Report failures, notes and warnings, and the prediction if requested."""
    if outcome.status == "failed":
        text = f"failed: {outcome.path}: {outcome.error}"
        current.report.emit("failed", text, image=outcome.image, path=outcome.path, error=outcome.error)
        return
    for kind, text in (
        ("answer", outcome.prediction if with_prediction else ""),
        ("note", outcome.note),
        ("warning", outcome.warning),
    ):
        if text:
            current.report.emit(
                kind, f"{outcome.image}: {text}", image=outcome.image, path=outcome.path, **{kind: text}
            )


def _report_summary(current: CommandSession, summary: BatchSummary, out: Path, *, classified: bool) -> None:
    counts = [f"{summary.done} done in {summary.seconds:.1f} s"]
    if summary.skipped:
        counts.append(f"{summary.skipped} already done")
    if summary.failed:
        counts.append(f"{summary.failed} failed")
    if summary.without_lesion:
        counts.append(f"{summary.without_lesion} without a lesion")
    if summary.with_warning:
        counts.append(f"{summary.with_warning} with a warning")
    next_step = "see the column 'error' there" if summary.failed else "check the overlay.png of each image"
    location = " Predictions are in the table and in each result.json. Research use only." if classified else ""
    text = f"{', '.join(counts)}: results in {out}, table in {summary.table}; {next_step}.{location}"
    values = {name: value for name, value in vars(summary).items() if name != "table"}
    current.finish(text, some_failed=bool(summary.failed), out=str(out), table=str(summary.table), **values)
