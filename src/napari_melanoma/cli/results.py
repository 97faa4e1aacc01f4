"""Commands ``export`` and ``readings``: export results of slides and photographs, and compare readers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_melanoma.cli.options import Out, format_help
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.formatting import format_count

if TYPE_CHECKING:
    from napari_melanoma.reports.slide_export import ExportedFile

EXPORT_HELP = format_help(
    "napari-melanoma export results --out for-qupath",
    "napari-melanoma export results/section --out exchange --to geojson,zarr,mask",
    "Export results of slides for other programs to OUT/<slide>/, and of a case the synoptic reports of its lesions. "
    "Results of DICOM photographs are exported as measurement reports (dicom-sr). "
    "Manual corrections are included. Slides and lesions without a synoptic report, a risk or measurements are named "
    "and left out. Failures are reported and the rest is written (exit code 1, also if nothing was written).",
)
READINGS_HELP = format_help(
    "napari-melanoma readings results --out agreement",
    'napari-melanoma readings reader-a reader-b --out agreement --reader "A. Meyer" --reader model',
    "Collect depth readings and measure the agreement of two readers. The input is result folders with readings saved "
    "by the Slide dock, or folders of such; readings of the same slide are combined, also from different folders of "
    "the readers. Writes readings.csv (one row per reading) and, for the two given readers or the only two readers, "
    "agreement.json (Bland-Altman bias and limits of agreement, ICC(2,1), each with its 95 % interval) "
    "and figures/bland_altman.png. The reader 'model' is the automatic measurement. Files that cannot be read are "
    "reported and the rest is processed (exit code 1).",
)


def list_export_formats() -> str:
    """List the formats for the help, including those of plug-ins."""
    from napari_melanoma.reports.export_formats import EXPORTS

    # \b keeps the line breaks of its paragraph.
    return "\n\n\b\nFormats:\n" + "\n".join(f"  {name:13}{EXPORTS.label(name)}" for name in EXPORTS.members)


def export(
    current: CommandSession,
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULT...", help="Result folders, folders that contain them, or cases."),
    ],
    out: Out,
    to: Annotated[
        str,
        typer.Option("--to", help="Formats, separated by commas, such as csv or, with another suffix, csv.parquet."),
    ] = "geojson",
    slide: Annotated[
        Path | None, typer.Option("--slide", help="The slide file, if it was moved after the analysis.")
    ] = None,
    photographs: Annotated[
        Path | None,
        typer.Option("--photographs", help="The DICOM file of a photograph, or the folder that contains those of all."),
    ] = None,
    reader: Annotated[
        str, typer.Option("--reader", metavar="NAME", help="Who corrected the masks of photographs, for dicom-sr.")
    ] = "",
    personal: Annotated[
        bool,
        typer.Option("--personal", help="Include who signed and changed synoptic reports, when, and ids of patients."),
    ] = False,
    ome_zarr: Annotated[
        Literal["0.5", "0.4"], typer.Option("--ome-zarr", help="Version of OME-Zarr; 0.4 is for older programs.")
    ] = "0.5",
) -> None:
    """Export results of slides for other programs."""
    from napari_melanoma.reports.slide_export import export_results, find_exported_folders

    current.after_stop = f"Written files stay in {out}."
    formats = list(dict.fromkeys(name.strip() for name in to.split(",") if name.strip()))
    folders = find_exported_folders(results)
    current.lock_folder(out)
    files = export_results(
        folders,
        out,
        formats,
        slide=slide,
        photographs=photographs,
        reader=reader,
        personal=personal,
        ome_zarr=ome_zarr,
        on_written=partial(_report_file, current, set()),
        run=current.run,
    )
    left_out = sum(file.left_out for file in files)
    failed = sum(bool(file.error) for file in files) - left_out
    written = len(files) - failed - left_out
    counts = [f"{format_count(written, 'file')} written to {out}"]
    counts += [f"{count} {outcome}" for count, outcome in ((left_out, "left out"), (failed, "failed")) if count]
    current.finish(
        f"{', '.join(counts)}. Research use only.",
        some_failed=bool(failed) or not written,
        out=str(out),
        written=written,
        left_out=left_out,
        failed=failed,
    )


def _report_file(current: CommandSession, reasons: set[str], exported: ExportedFile) -> None:
    """Report a file; ``reasons``: those for leaving something out that were printed, as several formats give one."""
    values = {"folder": str(exported.folder), "format": exported.format, "path": str(exported.path)}
    if exported.left_out:
        text = "" if exported.error in reasons else f"left out: {exported.error}"
        current.report.emit("left_out", text, reason=exported.error, **values)
        reasons.add(exported.error)
    elif exported.error:
        text = f"failed: {exported.folder.name}, {exported.format}: {exported.error}"
        current.report.emit("failed", text, error=exported.error, **values)
    else:
        current.report.emit("written", f"written: {exported.path}", **values)
        if exported.note:
            text = f"Warning: {exported.folder.name}, {exported.format}: {exported.note}"
            current.report.emit("warning", text, message=exported.note, **values)


def readings(
    current: CommandSession,
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="Result folders, or folders that contain them.")
    ],
    out: Out,
    reader: Annotated[
        list[str] | None, typer.Option("--reader", metavar="NAME", help="Give it twice: the readers to compare.")
    ] = None,
) -> None:
    """Collect depth readings and measure the agreement of two readers."""
    from napari_melanoma.slides.depth_readings import (
        agreement_to_json,
        collect_readings,
        compare_readers,
        describe_agreement,
        list_readers,
        write_readings,
    )

    current.after_stop = "Nothing was written."
    collected = collect_readings(folders)
    for name, error in collected.failed:
        current.report.emit("failed", f"failed: {name}: {error}", slide=name, error=error)
    readers = list_readers(collected)
    chosen = reader or (list(readers) if len(readers) == 2 else [])
    agreement = compare_readers(collected, chosen) if chosen else None
    for note in (*collected.notes, *(agreement.notes if agreement else ())):
        current.report.emit("warning", f"Warning: {note}", message=note)
    current.lock_folder(out)
    written = write_readings(collected, agreement, out)
    if agreement is not None:
        current.report.emit_item("agreement", describe_agreement(agreement), **agreement_to_json(agreement))
    count = sum(len(slide.readings) for slide in collected.slides)
    names = ", ".join(readers) or "no reader"
    of_slides = f"of {format_count(len(collected.slides), 'slide')}"
    text = f"{format_count(count, 'reading')} {of_slides} by {names} in {written[0]}."
    if agreement is None and len(readers) != 1:
        text += " Select two readers with --reader to measure their agreement."
    current.finish(f"{text} Research use only.", some_failed=bool(collected.failed), out=str(out), readings=count)
