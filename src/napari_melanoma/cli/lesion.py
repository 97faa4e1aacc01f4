"""``lesion``: masks, regions of interest and measurements of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_melanoma.cli.classifier_options import (
    Age,
    ClassifierOption,
    ClassifyOption,
    Coverage,
    Heatmap,
    Metadata,
    Sensitivity,
    Sex,
    Site,
    classifier_values,
    drop_unset,
)
from napari_melanoma.cli.options import AcceptDamaged, Debug, Flips, Json, NoRefine, Out, examples, refinement
from napari_melanoma.cli.session import CommandSession, command_session

if TYPE_CHECKING:
    from napari_melanoma.lesion.batch import BatchSummary, PhotographOutcome

HELP = examples(
    "napari-melanoma lesion photo.jpg --out results",
    'napari-melanoma lesion photographs/ "more/*.png" --out results --margin 0.2',
    "Find the lesion of each photograph. Writes OUT/<stem>/ with mask.png, probability.png, roi.png, overlay.png and "
    "result.json, and OUT/results.csv with a row an image. Where a classifier is asked for, or something of the "
    "patient is said, it tells what each lesion may be. What is done already is skipped; a bad file is reported and "
    "the others go on (exit code 1).",
)
DETAILS_UP_TO = 10  # photographs of which each answer is said in the terminal, too


def lesion(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Photographs, folders or patterns.")],
    out: Out,
    model: Annotated[
        str | None, typer.Option(help="Name of a model, or the folder of a bundle; the shipped one by default.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability from which on a pixel is lesion; the model's own by default.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Around the lesion in the ROI, as a fraction of its longer side.")
    ] = None,
    background: Annotated[Literal["zero", "keep"] | None, typer.Option(help="Outside the lesion in the ROI.")] = None,
    side: Annotated[int | None, typer.Option(help="Of the square ROI, in pixels.")] = None,
    all_lesions: Annotated[
        bool, typer.Option("--all-lesions", help="Keep every lesion, not the largest alone.")
    ] = False,
    no_fill: Annotated[bool, typer.Option("--no-fill", help="Leave holes in the lesion as they are.")] = False,
    smoothing: Annotated[
        float | None,
        typer.Option(help="Of the border: sigma as a fraction of the photograph's shorter side; 0 smooths nothing."),
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
        float | None, typer.Option(metavar="UM", help="Micrometres per pixel, for measurements in mm.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Photographs in one pass of the network.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that read and write; cores + 2 by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Repeat what is done, but never corrected results.")] = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Analyse photographs."""
    with command_session(json, debug, accept_damaged=accept_damaged) as current:
        from napari_melanoma.lesion.batch import BatchOptions, analyze_files, find_inputs

        refined = refinement(off=no_refine, all_lesions=all_lesions, no_fill=no_fill, smoothing=smoothing)
        roi = drop_unset(margin=margin, background=background, side_px=side)
        chosen = {**drop_unset(model=model, threshold=threshold), "refinement": refined, "roi": roi, "flips": flips}
        how = drop_unset(model=classifier, coverage=coverage, sensitivity=sensitivity, heatmap=heatmap)
        answer = classifier_values(classify, metadata, how, drop_unset(age=age, sex=sex, site=site))
        batch = drop_unset(pixel_size_um=pixel_size, batch_size=batch_size, workers=workers, force=force)
        options = BatchOptions.parse({"lesion": chosen, **answer, **batch}, "the command line")
        paths = find_inputs(images)
        current.after_stop = f"What is finished stays in {out}: run the same command again to go on."
        few = json or len(paths) <= DETAILS_UP_TO
        summary = analyze_files(
            paths, out, options, run=current.run, on_outcome=lambda outcome: _report_photograph(current, outcome, few)
        )
        _report_summary(current, summary, out, answered=options.classify is not None)


def _report_photograph(current: CommandSession, outcome: PhotographOutcome, few: bool) -> None:
    """Report what is not plain success, and answers where they are few; machines are told of every photograph."""
    if outcome.status == "failed":
        text = f"failed: {outcome.path}: {outcome.error}"
        current.report.emit("failed", text, image=outcome.image, path=outcome.path, error=outcome.error)
        return
    for kind, said in (
        ("answer", outcome.prediction if few else ""),
        ("note", outcome.note),
        ("warning", outcome.warning),
    ):
        if said:
            current.report.emit(
                kind, f"{outcome.image}: {said}", image=outcome.image, path=outcome.path, **{kind: said}
            )


def _report_summary(current: CommandSession, summary: BatchSummary, out: Path, *, answered: bool) -> None:
    """Say what was written, where, and what comes next."""
    counts = [f"{summary.done} done in {summary.seconds:.1f} s"]
    if summary.skipped:
        counts.append(f"{summary.skipped} were done before")
    if summary.failed:
        counts.append(f"{summary.failed} failed")
    if summary.without_lesion:
        counts.append(f"{summary.without_lesion} without a lesion")
    if summary.with_warning:
        counts.append(f"{summary.with_warning} with a warning")
    next_step = "see the column 'error' there" if summary.failed else "look at the overlay.png of each image"
    said = " What each lesion may be is in the table, and in words in its result.json: for research only."
    text = f"{', '.join(counts)}: results in {out}, table in {summary.table}; {next_step}.{said if answered else ''}"
    values = {name: value for name, value in vars(summary).items() if name != "table"}
    current.finish(text, some_failed=bool(summary.failed), out=str(out), table=str(summary.table), **values)
