"""``slide``: tissue, tiles, heatmap and lesions of whole-slide images, in this process or distributed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from napari_melanoma.cli.options import Debug, Json, Out, drop_unset, examples
from napari_melanoma.cli.session import CommandSession, command_session
from napari_melanoma.core.errors import ConfigError

if TYPE_CHECKING:
    from napari_melanoma.slides.batch import SlidesSummary
    from napari_melanoma.slides.cohort import CohortEntry, CohortSummary
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.table import SlideStatus

Model = Annotated[
    str | None,
    typer.Option(help="A slide model, the folder of a bundle, or an encoder: encoder:BUNDLE, timm:NAME, uni ..."),
]
Weights = Annotated[Path | None, typer.Option(metavar="FILE", help="Local file with an encoder's weights.")]
Download = Annotated[
    bool, typer.Option("--download", help="Allow downloading an encoder's weights; the license is shown.")
]
Mpp = Annotated[float | None, typer.Option(metavar="UM", help="Micrometers per pixel of the slides.")]
AcceptScale = Annotated[
    bool,
    typer.Option(
        "--accept-scale",
        help="Analyze although the scale is off by more than a factor of 4; outputs are marked as not valid.",
    ),
]
TileMpp = Annotated[float | None, typer.Option(metavar="UM", help="Micrometers per pixel of a tile.")]
TileUm = Annotated[float | None, typer.Option(metavar="UM", help="Side of a tile, such as 3000 for 3 mm.")]
Overlap = Annotated[float | None, typer.Option(help="Overlap of neighboring tiles as a share of the side.")]
Border = Annotated[Literal["pad", "inside", "shift"] | None, typer.Option(help="Tiles at the right and bottom edges.")]
TissueMask = Annotated[
    Path | None, typer.Option(metavar="PNG", help="Tissue mask of the whole slide, tissue white; detected by default.")
]
MinTissue = Annotated[float | None, typer.Option(help="Minimum share of tissue in a tile.")]
Stain = Annotated[
    Literal["macenko", "reinhard", "histogram", "standardise"] | None, typer.Option(help="Stain normalization.")
]
Score = Annotated[
    Literal["mean", "maximum", "top_k"] | None,
    typer.Option(help="Pooling of tile predictions into a slide prediction."),
]
Target = Annotated[str | None, typer.Option(help="Class of the heatmap and lesions.")]
Prevalence = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", help="Prevalence of the positive class among the slides, for a model of whole slides."
    ),
]
BatchSize = Annotated[int | None, typer.Option(help="Tiles per forward pass.")]
Workers = Annotated[int | None, typer.Option(help="Reader threads; one per core by default.")]
Precision = Annotated[
    Literal["auto", "bf16", "fp32"] | None, typer.Option(help="auto: bf16 if the processor supports it.")
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="All options as TOML; options on the command line take precedence."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Restart, even if there are results.")]
Nice = Annotated[bool, typer.Option("--nice", help="Run at low priority.")]
Processes = Annotated[
    int | None, typer.Option(metavar="N", help="Analyze N slides in parallel, each in its own process.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Distribute the slides to the workers of a dask scheduler: address or file."),
]
Tries = Annotated[
    int | None,
    typer.Option(metavar="N", help="Maximum number of attempts for a slide whose process dies; 3 by default."),
]
HELP = examples(
    "napari-melanoma slide section.svs --out results",
    'napari-melanoma slide "slides/*.svs" --out results --model skin-demo --mpp 0.5',
    "Analyze whole-slide images. Writes OUT/<stem>/ with result.zarr, lesions.geojson, lesions.csv, heatmap.ome.tif, "
    "tissue.png and result.json, and OUT/slides.csv with one row per slide. A model that segments epidermis and "
    "melanoma also gives the Breslow thickness with its T category. After any interruption, the same "
    "command continues. An unreadable slide is reported and the others are processed (exit code 1).",
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
    """Analyze slides."""
    with command_session(json, debug) as current:
        from napari_melanoma.slides.reading.opening import find_slides

        if nice:
            from napari_melanoma.core.processes import lower_priority

            lower_priority()
        given = drop_unset(model=model, weights=weights, mpp=mpp, tile_mpp=tile_mpp, tile_um=tile_um, overlap=overlap)
        given |= drop_unset(
            border=border, tissue_mask=tissue_mask, min_tissue=min_tissue, target=target, prevalence=prevalence
        )
        given |= drop_unset(accept_scale=accept_scale or None)
        given |= drop_unset(batch_size=batch_size, workers=workers, precision=precision, download=download or None)
        given |= drop_unset(stain={"method": stain} if stain else None, score={"method": score} if score else None)
        chosen = _merge_options(config, given)
        paths = find_slides(slides)
        current.after_stop = f"Finished results stay in {out}: run the same command again to continue."
        distribution = WorkerOptions(processes, scheduler, tries)
        if distribution.is_distributed:
            run_cohort(current, paths, out, chosen, distribution, force=force)
        else:
            _analyze_slides(current, paths, out, chosen, force=force)


def _analyze_slides(
    current: CommandSession, paths: Sequence[Path], out: Path, options: SlideOptions, *, force: bool
) -> None:
    """Analyze slides one after the other, in this process."""
    from napari_melanoma.slides.batch import analyze_slides

    summary = analyze_slides(
        paths, out, options, run=current.run, force=force, on_status=lambda status: _report_slide(current, status)
    )
    _report_summary(current, summary, out)


def _merge_options(config: Path | None, values: dict[str, Any]) -> Any:  # noqa: ANN401 - imported when a command runs
    """Merge the options of a file with those of the command line, which take precedence."""
    from napari_melanoma.core.config import read_toml
    from napari_melanoma.slides.options import SlideOptions

    kept = {} if config is None else read_toml(config, SlideOptions).model_dump(exclude_unset=True)
    return SlideOptions.parse({**kept, **values}, "the command line")


def _report_slide(current: CommandSession, status: SlideStatus) -> None:
    name, values = status.folder.name, {"slide": status.folder.name, "path": status.path}
    if status.status == "failed":
        current.report.emit("failed", f"failed: {status.path}: {status.error}", error=status.error, **values)
        return
    if status.already_done:
        current.report.emit("before", f"{name}: already analyzed, nothing was changed", **values)
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

    if depth := describe_depth(status.content):
        current.report.emit("depth", f"{name}: {depth}", depth=status.content["depth"], **values)


def _report_summary(current: CommandSession, summary: SlidesSummary, out: Path) -> None:
    counts = [f"{summary.done} done in {summary.seconds:.1f} s"]
    if summary.failed:
        counts.append(f"{summary.failed} failed")
    next_step = "see the column 'error' there" if summary.failed else "open a slide in napari to see its heatmap"
    text = f"{', '.join(counts)}: results in {out}, table in {summary.table}; {next_step}. Research use only."
    values = {name: value for name, value in vars(summary).items() if name != "table"}
    current.finish(text, some_failed=bool(summary.failed), out=str(out), table=str(summary.table), **values)


class WorkerOptions(NamedTuple):
    """Options that distribute the work to other processes."""

    processes: int | None
    scheduler: str | None
    tries: int | None

    @property
    def is_distributed(self) -> bool:
        if self.tries is not None and self.processes is None and self.scheduler is None:
            raise ConfigError("--tries needs --processes or --scheduler. Add one of them, or leave --tries out.")
        return self.processes is not None or self.scheduler is not None


def run_cohort(
    current: CommandSession,
    paths: Sequence[Path],
    out: Path,
    options: SlideOptions,
    workers: WorkerOptions,
    *,
    force: bool,
) -> None:
    """Analyze slides on several processes or machines."""
    from napari_melanoma.slides.cohort import CohortOptions, analyze_cohort

    if workers.processes is not None and workers.scheduler is not None:
        raise ConfigError("--processes and --scheduler cannot be combined. Give one of them.")
    cohort_options = CohortOptions.parse(drop_unset(**workers._asdict()), "the command line")
    summary = analyze_cohort(
        paths,
        out,
        options,
        cohort_options,
        run=current.run,
        force=force,
        on_change=lambda entry: _report_cohort_slide(current, entry),
    )
    _report_cohort_summary(current, summary, out)


def _report_cohort_slide(current: CommandSession, entry: CohortEntry) -> None:
    """Report the state of a slide: failures as text; progress is shown by the bars."""
    if entry.state == "failed":
        text = f"failed: {entry.file}: {entry.error}"
    elif entry.state == "waiting" and entry.error:
        text = f"retry: {entry.file} (attempt {entry.attempts}): {entry.error}"
    else:
        text = ""
    current.report.emit("slide", text, **vars(entry))


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
