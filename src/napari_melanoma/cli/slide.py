"""``slide``: tissue, tiles, heatmap and lesions of whole-slide images; goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_melanoma.cli.classifier_options import drop_unset
from napari_melanoma.cli.options import Debug, Json, Out, examples
from napari_melanoma.cli.session import CommandSession, command_session
from napari_melanoma.cli.slide_cohort import WorkerOptions, run_cohort
from napari_melanoma.cli.slide_options import (
    AcceptScale,
    BatchSize,
    Border,
    ConfigFile,
    Download,
    Force,
    MinTissue,
    Model,
    Mpp,
    Nice,
    Overlap,
    Precision,
    Prevalence,
    Processes,
    Scheduler,
    Score,
    Stain,
    Target,
    TileMpp,
    TileUm,
    TissueMask,
    Tries,
    Weights,
    Workers,
)

if TYPE_CHECKING:
    from napari_melanoma.slides.batch import SlidesSummary
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.table import SlideStatus

HELP = examples(
    "napari-melanoma slide section.svs --out results",
    'napari-melanoma slide "slides/*.svs" --out results --model skin-demo --mpp 0.5',
    "Analyse whole-slide images. Writes OUT/<stem>/ with result.zarr, lesions.geojson, lesions.csv, heatmap.ome.tif, "
    "tissue.png and result.json, and OUT/slides.csv with a row a slide. A model that draws epidermis and melanoma also "
    "gives the Breslow thickness with its T category. Stopped or killed at any moment, the same "
    "command goes on where it was. A bad slide is reported and the others go on (exit code 1).",
)


def slide(
    slides: Annotated[list[str], typer.Argument(metavar="SLIDE", help="Slides, folders or patterns.")],
    out: Out,
    model: Model = None,
    weights: Weights = None,
    download: Download = False,
    mpp: Mpp = None,
    accept_scale: AcceptScale = False,
    tile_mpp: TileMpp = None,
    tile_um: TileUm = None,
    overlap: Overlap = None,
    border: Border = None,
    tissue_mask: TissueMask = None,
    min_tissue: MinTissue = None,
    stain: Stain = None,
    score: Score = None,
    target: Target = None,
    prevalence: Prevalence = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
    precision: Precision = None,
    processes: Processes = None,
    scheduler: Scheduler = None,
    tries: Tries = None,
    config: ConfigFile = None,
    force: Force = False,
    nice: Nice = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Analyse slides."""
    with command_session(json, debug) as current:
        from napari_melanoma.slides.reading.opening import find_slides

        if nice:
            from napari_melanoma.core.processes import lower_priority

            lower_priority()
        said = drop_unset(model=model, weights=weights, mpp=mpp, tile_mpp=tile_mpp, tile_um=tile_um, overlap=overlap)
        said |= drop_unset(
            border=border, tissue_mask=tissue_mask, min_tissue=min_tissue, target=target, prevalence=prevalence
        )
        said |= drop_unset(accept_scale=accept_scale or None)
        said |= drop_unset(batch_size=batch_size, workers=workers, precision=precision, download=download or None)
        said |= drop_unset(stain={"method": stain} if stain else None, score={"method": score} if score else None)
        chosen = _merge_options(config, said)
        paths = find_slides(slides)
        current.after_stop = f"What is done stays in {out}: run the same command again to go on."
        sharing = WorkerOptions(processes, scheduler, tries)
        if sharing.is_distributed:
            run_cohort(current, paths, out, chosen, sharing, force=force)
        else:
            _analyze_slides(current, paths, out, chosen, force=force)


def _analyze_slides(
    current: CommandSession, paths: Sequence[Path], out: Path, options: SlideOptions, *, force: bool
) -> None:
    """Analyse slides one after the other, in this process."""
    from napari_melanoma.slides.batch import analyze_slides

    summary = analyze_slides(
        paths, out, options, run=current.run, force=force, on_status=lambda status: _report_slide(current, status)
    )
    _report_summary(current, summary, out)


def _merge_options(config: Path | None, values: dict[str, Any]) -> Any:  # noqa: ANN401 - imported when a verb runs
    """Options of a file, with those that the user gave in their place."""
    from napari_melanoma.core.config import read_toml
    from napari_melanoma.slides.options import SlideOptions

    kept = {} if config is None else read_toml(config, SlideOptions).model_dump(exclude_unset=True)
    return SlideOptions.parse({**kept, **values}, "the command line")


def _report_slide(current: CommandSession, status: SlideStatus) -> None:
    """Report what became of a slide."""
    name, values = status.folder.name, {"slide": status.folder.name, "path": status.path}
    if status.status == "failed":
        current.report.emit("failed", f"failed: {status.path}: {status.error}", error=status.error, **values)
        return
    if status.already_done:
        current.report.emit("before", f"{name}: was analysed already, nothing was changed", **values)
    for warning in status.content["warnings"]:
        current.report.emit("warning", f"{name}: {warning}", warning=warning, **values)
    from napari_melanoma.io.results import read_slide_validity
    from napari_melanoma.slides.depth import describe_depth
    from napari_melanoma.slides.saved_results import describe_prediction

    validity = read_slide_validity(status.content)
    current.report.emit(
        "slide",
        f"{name}: {validity.headline(describe_prediction(status.content))}",
        probability=status.content.get("probability"),
        validity=validity.to_json(),
        **values,
    )
    for reason in validity.other_reasons if not validity.valid else validity.cautions:
        current.report.emit("warning", f"{name}: {reason}", warning=reason, **values)

    told = describe_depth(status.content)
    if told:
        current.report.emit("depth", f"{name}: {told}", depth=status.content["depth"], **values)


def _report_summary(current: CommandSession, summary: SlidesSummary, out: Path) -> None:
    """Say what was written, where, and what comes next."""
    counts = [f"{summary.done} done in {summary.seconds:.1f} s"]
    if summary.failed:
        counts.append(f"{summary.failed} failed")
    next_step = "see the column 'error' there" if summary.failed else "open a slide in napari to see its heatmap"
    text = f"{', '.join(counts)}: results in {out}, table in {summary.table}; {next_step}. For research only."
    values = {name: value for name, value in vars(summary).items() if name != "table"}
    current.finish(text, some_failed=bool(summary.failed), out=str(out), table=str(summary.table), **values)
