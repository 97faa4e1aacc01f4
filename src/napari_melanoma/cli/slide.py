"""``slide``: tissue, tiles, heatmap and lesions of whole-slide images; goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_melanoma.cli.answer_options import given
from napari_melanoma.cli.options import Debug, Json, Out, examples
from napari_melanoma.cli.session import Session, session

if TYPE_CHECKING:
    from napari_melanoma.workflows.slides import SlidesSummary, SlideStatus

HELP = examples(
    "napari-melanoma slide section.svs --out results",
    'napari-melanoma slide "slides/*.svs" --out results --model tissue-demo --mpp 0.5',
    "Analyse whole-slide images. Writes OUT/<stem>/ with result.zarr, lesions.geojson, lesions.csv, heatmap.ome.tif, "
    "tissue.png and result.json, and OUT/slides.csv with a row a slide. Stopped or killed at any moment, the same "
    "command goes on where it was. A bad slide is reported and the others go on (exit code 1).",
)


def slide(
    slides: Annotated[list[str], typer.Argument(metavar="SLIDE", help="Slides, folders or patterns.")],
    out: Out,
    model: Annotated[
        str | None,
        typer.Option(help="A model of slides, the folder of a bundle, timm:NAME, or a published encoder such as uni."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="Local file with an encoder's weights.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Let an encoder's weights be fetched; its licence is shown.")
    ] = False,
    mpp: Annotated[float | None, typer.Option(metavar="UM", help="Micrometres per pixel of the slides.")] = None,
    tile_mpp: Annotated[float | None, typer.Option(metavar="UM", help="Micrometres per pixel of a tile.")] = None,
    tile_um: Annotated[float | None, typer.Option(metavar="UM", help="Side of a tile, such as 3000 for 3 mm.")] = None,
    overlap: Annotated[float | None, typer.Option(help="Share of a tile's side that the next one sees again.")] = None,
    border: Annotated[Literal["pad", "inside", "shift"] | None, typer.Option(help="Tiles at the far edges.")] = None,
    tissue_mask: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Tissue of the whole slide, white; found by default.")
    ] = None,
    min_tissue: Annotated[float | None, typer.Option(help="Share of a tile that must be tissue.")] = None,
    stain: Annotated[
        Literal["macenko", "reinhard", "histogram", "standardise"] | None, typer.Option(help="Normalise the stain.")
    ] = None,
    score: Annotated[
        Literal["mean", "maximum", "top_k"] | None, typer.Option(help="How tiles become one answer for the slide.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Class that heatmap and lesions are about.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Tiles in one pass of the network.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that read; as many as cores by default.")] = None,
    precision: Annotated[
        Literal["auto", "bf16", "fp32"] | None, typer.Option(help="auto: bf16 where the processor has it.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="All options as TOML; those given here win.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Begin again whatever is there.")] = False,
    nice: Annotated[bool, typer.Option("--nice", help="Stand back behind what a person is waiting for.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Analyse slides."""
    with session(json, debug) as current:
        from napari_melanoma.workflows.slides import analyse_slides, find_slide_inputs

        if nice:
            from napari_melanoma.workflows.processes import lower_priority

            lower_priority()
        options = _options(
            config,
            {
                **given(model=model, weights=weights, mpp=mpp, tile_mpp=tile_mpp, tile_um=tile_um, overlap=overlap),
                **given(border=border, tissue_mask=tissue_mask, min_tissue=min_tissue, target=target),
                **given(batch_size=batch_size, workers=workers, precision=precision, download=download or None),
                **given(stain={"method": stain} if stain else None, score={"method": score} if score else None),
            },
        )
        paths = find_slide_inputs(slides)
        current.after_stop = f"What is done stays in {out}: run the same command again to go on."
        summary = analyse_slides(
            paths, out, options, run=current.run, force=force, tell=lambda status: _tell(current, status)
        )
        _finish(current, summary, out)


def _options(config: Path | None, values: dict[str, Any]) -> Any:  # noqa: ANN401 - imported when a verb runs
    """Options of a file, with those that the user gave in their place."""
    from napari_melanoma.core.config import read_toml
    from napari_melanoma.workflows.slide_options import SlideOptions

    kept = {} if config is None else read_toml(config, SlideOptions).model_dump(exclude_unset=True)
    return SlideOptions.parse({**kept, **values}, "the command line")


def _tell(current: Session, status: SlideStatus) -> None:
    """Report what became of a slide."""
    name, values = status.folder.name, {"slide": status.folder.name, "path": status.path}
    if status.status == "failed":
        current.report.tell("failed", f"failed: {status.path}: {status.error}", error=status.error, **values)
        return
    for warning in status.content["warnings"]:
        current.report.tell("warning", f"{name}: {warning}", warning=warning, **values)


def _finish(current: Session, summary: SlidesSummary, out: Path) -> None:
    """Say what was written, where, and what comes next."""
    counts = [f"{summary.done} done in {summary.seconds:.1f} s"]
    if summary.failed:
        counts.append(f"{summary.failed} failed")
    next_step = "see the column 'error' there" if summary.failed else "open a slide in napari to see its heatmap"
    text = f"{', '.join(counts)}: results in {out}, table in {summary.table}; {next_step}. For research only."
    values = {name: value for name, value in vars(summary).items() if name != "table"}
    current.done(text, some_failed=bool(summary.failed), out=str(out), table=str(summary.table), **values)
