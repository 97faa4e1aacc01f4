"""Command ``slide``: analyze whole-slide images in this process, in several processes or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import ConfigOptions, OptionValues, Out, format_help
from napari_melanoma.cli.session import CommandSession, values_without
from napari_melanoma.core.errors import ConfigError

if TYPE_CHECKING:
    from napari_melanoma.slides.analysis import SlidesSummary
    from napari_melanoma.slides.cohort import CohortEntry, CohortSummary
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.slide_table import SlideStatus

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
HELP = format_help(
    "napari-melanoma slide section.svs --out results",
    'napari-melanoma slide "slides/*.svs" --out results --model skin-demo --mpp 0.5',
    "Analyze whole-slide images. Writes OUT/<stem>/ with result.zarr, lesions.geojson, lesions.csv, heatmap.ome.tif, "
    "tissue.png and result.json, and OUT/slides.csv with one row per slide. A model that segments epidermis and "
    "melanoma also gives the Breslow thickness with its T category. After any interruption, the same "
    "command continues. An unreadable slide is reported and the others are processed (exit code 1).",
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
    from napari_melanoma.slides.results import describe_prediction, slide_probability

    validity = read_validity(status.content)
    current.report.emit(
        "slide",
        f"{name}: {validity.headline(describe_prediction(status.content))}",
        probability=slide_probability(status.content),
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
        on_change=lambda entry: _report_cohort_slide(current, entry),
    )
    _report_cohort_summary(current, summary, out)


def _report_cohort_slide(current: CommandSession, entry: CohortEntry) -> None:
    """Report the state of a slide: failures as text; progress is shown by the bars."""
    text = f"failed: {entry.file}: {entry.error}" if entry.state == "failed" else ""
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
