"""``export``: results of slides for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import Debug, Json, Out, examples
from napari_melanoma.cli.session import command_session

if TYPE_CHECKING:
    from napari_melanoma.reports.slide_export import ExportedFile

HELP = examples(
    "napari-melanoma export results --out for-qupath",
    "napari-melanoma export results/section --out exchange --to geojson,zarr,mask",
    "Write results of slides for other programs into OUT/<slide>/: geojson (outlines for QuPath), csv and parquet (a "
    "row a lesion), tiles (a row a tile, Parquet), depth (a row a reading of the depth, CSV), risk (JSON), report (a "
    "page of depth and risk, HTML), tif and zarr (heatmap as OME-TIFF or OME-Zarr, the latter with the lesions as "
    "labels), mask (numbered lesions as OME-TIFF), dicom (a segmentation, of DICOM slides alone). "
    "Corrections by hand are in them. What cannot be written is told and the rest goes on (exit code 1).",
)


def export(
    results: Annotated[list[Path], typer.Argument(metavar="RESULT...", help="Result folders, or folders of such.")],
    out: Out,
    to: Annotated[str, typer.Option("--to", help="Formats, with commas between them.")] = "geojson",
    slide: Annotated[
        Path | None, typer.Option("--slide", help="The slide's file, where it is no longer where it was analysed.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write results of slides for other programs."""
    with command_session(json, debug) as current:
        from napari_melanoma.core.formatting import format_count
        from napari_melanoma.reports.slide_export import export_results, find_result_folders

        def tell(written: ExportedFile) -> None:
            values = {"folder": str(written.folder), "format": written.format, "path": str(written.path)}
            if written.error:
                text = f"failed: {written.folder.name}, {written.format}: {written.error}"
                current.report.emit("failed", text, error=written.error, **values)
            else:
                current.report.emit("written", f"written: {written.path}", **values)

        current.after_stop = f"What is written stays in {out}."
        formats = list(dict.fromkeys(name.strip() for name in to.split(",") if name.strip()))
        found = find_result_folders(results)
        current.lock_folder(out)
        told = export_results(found, out, formats, slide=slide, on_written=tell, run=current.run)
        failed = sum(bool(one.error) for one in told)
        left = f", {failed} could not be" if failed else ""
        text = f"{format_count(len(told) - failed, 'file')} written to {out}{left}. For research only."
        current.finish(text, some_failed=bool(failed), out=str(out), written=len(told) - failed, failed=failed)
