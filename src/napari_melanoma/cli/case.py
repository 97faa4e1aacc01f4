"""Command ``case``: print, check, create or classify a case (one patient with lesions and images)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import format_help
from napari_melanoma.cli.session import CommandSession
from napari_melanoma.core.errors import InputError, SaveError
from napari_melanoma.core.formatting import format_count

if TYPE_CHECKING:
    from napari_melanoma.case.model import Case, CaseImage, CasePart
    from napari_melanoma.case.results import CaseLesionPrediction

HELP = format_help(
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
    _check_options(sources, patient, mapping, classify=classify, classifier=classifier)
    if sources:
        _import_case(current, folder, sources, patient, mapping)
    elif classify:
        _predict_case(current, folder, classifier)
    else:
        _print_case(current, folder)


def _check_options(
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
    """Print a case and its faults."""
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
    """Classify the lesions of a case."""
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
    return f"{lesion.lesion_id}  {'; '.join(filter(None, (lesion.prediction.verdict, outlier)))}"


def _format_case(case: Case) -> Iterator[str]:
    """Yield the lines that describe a case."""
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
