"""Commands ``case``, ``report`` and ``export``: a case without a window, reports, and files for other programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_melanoma.cli.options import Out, format_help
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.errors import InputError, MelanomaError, SaveError, describe_error
from napari_melanoma.core.formatting import format_count

if TYPE_CHECKING:
    from napari_melanoma.case.model import Case, CaseImage, CasePart
    from napari_melanoma.case.results import CaseLesionPrediction
    from napari_melanoma.reports.slide_export import ExportedFile

CASE_HELP = format_help(
    "napari-melanoma case P-0042 --from photographs",
    "napari-melanoma case P-0042",
    "Print a case and check it: its patient, lesions and images, and whether files, corrections and results exist "
    "and are consistent. The exit code is 1 if a fault is found. With --from, create the case first, or add to it: "
    "images of a folder, a table of images or a folder of DICOM files, assigned to lesions by file names, headers and "
    "tables; a note lists the values that were read from the files. With --classify, "
    "classify every lesion from all of its photographs, and save the predictions in predictions.json of the "
    "case; photographs without a mask are segmented, and mask and measurements are saved in the case, too.",
)
PATIENT_FIELDS = ("age", "sex", "fitzpatrick", "ethnicity", "personal_history", "family_history")
SLIDE_FIELD_TITLES = {"depth_mm": "depth in mm", "clark": "Clark level", "mitoses_per_mm2": "mitoses per mm²"}
SITE_FIELDS = ("sub_site", "site", "laterality")


def case(
    current: Annotated[CommandSession, "accept_damaged", "backend", "device"],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the case.")],
    sources: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="PATH", help="Images, a folder, a table; may be given several times."),
    ] = None,
    patient: Annotated[
        str, typer.Option(help="ID of the patient in the files, if they contain several patients.")
    ] = "",
    mapping: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help="TOML file that maps the columns of a table.")
    ] = None,
    classify: Annotated[bool, typer.Option("--classify", help="Classify its lesions.")] = False,
    classifier: Annotated[
        str,
        typer.Option(metavar="NAME", help="Classifier for --classify: name or folder; automatic by default."),
    ] = "",
) -> None:
    """Print, check, create or classify a case."""
    _check_case_options(sources, patient, mapping, classify=classify, classifier=classifier)
    if sources:
        _import_case(current, folder, sources, patient, mapping)
    elif classify:
        _predict_case(current, folder, classifier)
    else:
        _print_case(current, folder)


def _check_case_options(
    sources: list[Path] | None, patient: str, mapping: Path | None, *, classify: bool, classifier: str
) -> None:
    """Reject options that cannot be combined, or have no effect without another one."""
    if sources and classify:
        raise InputError(
            "--from and --classify cannot be combined. Create the case with --from first, then classify it."
        )
    if (patient or mapping) and not sources:
        raise InputError("--patient and --map need --from. Add --from PATH, or leave them out.")
    if classifier and not classify:
        raise InputError("--classifier needs --classify. Add --classify, or leave both out.")


def _import_case(
    current: CommandSession, folder: Path, sources: list[Path], patient: str, map_file: Path | None
) -> None:
    """Create a case, or add to it."""
    from napari_melanoma.case.importing import import_case
    from napari_melanoma.data.table_mapping import read_mapping

    current.after_stop = f"Nothing was written to {folder}."
    mapping = read_mapping(map_file) if map_file else None
    imported = import_case(folder, sources, patient=patient, mapping=mapping, run=current.run)
    current.report_notes(imported.notes)
    counts = (
        f"{format_count(imported.added, 'image')} added, {format_count(len(imported.case.lesions), 'lesion')} in all"
    )
    text = f"{counts}: case in {folder}; next: napari-melanoma case {folder}"
    current.finish(text, out=str(folder), added=imported.added, lesions=len(imported.case.lesions))


def _print_case(current: CommandSession, folder: Path) -> None:
    from napari_melanoma.case.check import check_case
    from napari_melanoma.case.store import case_to_json
    from napari_melanoma.core.parsing import parse_json

    current.after_stop = "Nothing was written."
    result = check_case(folder, run=current.run)
    values = parse_json(case_to_json(result.case, folder.absolute()), str(folder))
    current.report.emit_item("case", "\n".join(_format_case(result.case)), **values)
    current.report_notes(result.faults, "fault")
    current.report_notes(result.notes)
    faults = format_count(len(result.faults), "fault")
    text = f"{faults} found: correct them and check again." if result.faults else f"No faults in {folder}."
    current.finish(text, some_failed=bool(result.faults), case=str(folder), faults=len(result.faults))


def _predict_case(current: CommandSession, folder: Path, classifier: str) -> None:
    from napari_melanoma.case.results import predict_case_with, save_predictions
    from napari_melanoma.case.store import CaseStore

    current.after_stop = f"Masks and results of finished photographs are kept in {folder}; no prediction was saved."
    with CaseStore.open(folder) as store:
        if store.read_only:
            raise SaveError(f"cannot save predictions in {folder}: {store.read_only}")
        predictions = predict_case_with(store, classifier, current.run, keep=True)
        written = save_predictions(store, predictions)
    current.report.emit_item(
        "predictions", "\n".join(map(_format_prediction, predictions.lesions)), **predictions.to_json()
    )
    current.report_notes(predictions.notes)
    text = f"{predictions.summary}: {written}. Research use only; not for diagnosis."
    current.finish(text, some_failed=bool(predictions.notes), out=str(written), lesions=len(predictions.lesions))


def _format_prediction(lesion: CaseLesionPrediction) -> str:
    outlier = lesion.outlier.description if lesion.outlier else ""
    return f"{lesion.lesion_id}  {'; '.join(filter(None, (lesion.prediction.headline.statement, outlier)))}"


def _format_case(case: Case) -> Iterator[str]:
    from napari_melanoma.data.table_schema import field_title

    patient = case.patient
    patient_facts = (_format_value(patient, name, f"{field_title(name).lower()} ") for name in PATIENT_FIELDS)
    yield ", ".join((f"Patient {patient.patient_id or 'unknown'}", *filter(None, patient_facts)))
    for lesion in case.lesions:
        site = " ".join(filter(None, (_format_value(lesion, name) for name in SITE_FIELDS))) or "site unknown"
        facts = (
            _format_value(lesion, "diagnosis"),
            *(_format_value(lesion, name, f"{title} ") for name, title in SLIDE_FIELD_TITLES.items()),
        )
        yield f"{lesion.id}  {', '.join((site, *filter(None, facts)))}"
        yield from _format_images(lesion.images)
    if case.images:
        yield "Not assigned to a lesion"
        yield from _format_images(case.images)


def _format_images(images: Iterable[CaseImage]) -> Iterator[str]:
    for image in images:
        results = format_count(len(image.results), "result") if image.results else ""
        risk = f"risk: {image.risk.headline}" if image.risk else ""
        facts = (
            _format_value(image, "modality"),
            image.taken_on,
            "corrected" if image.correction else "",
            results,
            risk,
        )
        yield f"    {image.id}  {', '.join((image.path.name, *filter(None, facts)))}"


def _format_value(part: CasePart, name: str, prefix: str = "") -> str:
    """Format a value of a patient, lesion or image; empty if it is unknown."""
    text = part.cell(name)
    return f"{prefix}{text}" if text else ""


REPORT_HELP = format_help(
    "napari-melanoma report P-0042 --out report.html --pdf",
    "napari-melanoma report P-0042 slide-results/section --out report.html --personal",
    "Write the report of a case and of results: patient, body map, photographs with contour and scale bar, "
    "measurements, predictions, slides with lesions, readings and their agreement, and the origin of each result, as "
    "one HTML file for screens and printers. Specify case folders and result folders of photographs and slides; a "
    "slide of a case is joined with its results. The report contains no dates, file names, names of readers and ages "
    "above 89 unless --personal is given. Parts that are missing, moved or damaged are named in the report and on "
    "standard error (exit code 1), as is the reason why a PDF file cannot be written.",
)


def report(
    current: CommandSession,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="CASE|RESULT...", help="Case folders, result folders, or folders that contain them."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The report, a file that ends with .html.")],
    case: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Case that is not reported, but whose lesions its slides are shown with."),
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also write it as PDF, beside the HTML file.")] = False,
    personal: Annotated[
        bool, typer.Option("--personal", help="Include dates, file names, names of readers and all ages.")
    ] = False,
    strokes: Annotated[
        bool, typer.Option("--strokes", help="List the strokes painted on slides, by class and reader.")
    ] = False,
) -> None:
    """Write the report of a case and of results."""
    from napari_melanoma.figures.page import write_report
    from napari_melanoma.reports.case_report import collect_report
    from napari_melanoma.reports.pdf import write_pdf

    current.after_stop = "Nothing was written."
    _check_report_output(out, pdf=pdf)
    collected = collect_report(paths, case=case, personal=personal, strokes=strokes, run=current.run)
    current.run.check()
    write_report(out, collected.report)
    written, failures = [out], [(problem.about, problem.detail) for problem in collected.problems]
    if pdf:
        try:
            write_pdf(collected.report, out.with_suffix(".pdf"))
            written.append(out.with_suffix(".pdf"))
        except MelanomaError as error:  # the HTML file is complete, and can be printed
            failures.append(("PDF", describe_error(error)))
    current.report_failures(failures, "about")
    privacy = "It contains personal data. " if personal else ""
    text = f"{' and '.join(map(str, written))} written. {privacy}Research use only; not for diagnosis."
    current.finish(text, some_failed=bool(failures), out=str(out), files=[str(path) for path in written])


def _check_report_output(out: Path, *, pdf: bool) -> None:
    """Raise if an existing file that is not a report of this program would be replaced."""
    from napari_melanoma.figures.page import is_report
    from napari_melanoma.reports.pdf import is_pdf_report

    if out.suffix.lower() not in (".html", ".htm"):
        advice = "expected a file that ends with .html (--pdf also writes a PDF file)"
        raise InputError(f"--out {out} has another ending: {advice}.")
    files = [(out, is_report), *([(out.with_suffix(".pdf"), is_pdf_report)] if pdf else [])]
    for path, is_ours in files:
        if path.exists() and not (path.is_file() and is_ours(path)):
            raise InputError(f"{path} exists, and is not a report of napari-melanoma. Choose another name, or move it.")


EXPORT_HELP = format_help(
    "napari-melanoma export results --out for-qupath",
    "napari-melanoma export results/section --out exchange --to geojson,zarr,mask",
    "Export results of slides for other programs to OUT/<slide>/, and of a case the synoptic reports of its lesions. "
    "Results of DICOM photographs are exported as measurement reports (dicom-sr). "
    "Manual corrections are included. Slides and lesions without a synoptic report, a risk or measurements are named "
    "and left out. Failures are reported and the rest is written (exit code 1, also if nothing was written).",
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
