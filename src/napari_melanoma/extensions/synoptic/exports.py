"""Exports of a synoptic report: JSON, CSV and FHIR."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_melanoma.core.files import write_json
from napari_melanoma.core.provenance import parse_time
from napari_melanoma.depth.findings import read_findings
from napari_melanoma.depth.synoptic import DERIVED, SynopticReport
from napari_melanoma.depth.synoptic_fields import FIELDS_BY_NAME
from napari_melanoma.depth.t_category import format_recorded_thickness
from napari_melanoma.io.results import write_table
from napari_melanoma.reports.disclosure import disclose_changes
from napari_melanoma.reports.export_formats import ExportedSlide, ExportFormat, NothingToExportError
from napari_melanoma.slides.notes import read_notes
from napari_melanoma.slides.synoptic_files import read_synoptic

SIGNATURE_LEFT_OUT = "signed; name and date left out: they are personal data"
COLUMNS = ("field", "label", "state", "value", "unit", "at_least", "detail", "origin", "suggested_by", "confirmed_from")


def write_synoptic_json(
    path: Path,
    report: SynopticReport,
    *,
    changes: Sequence[str] = (),
    others: Sequence[Mapping[str, Any]] = (),
    personal: bool = False,
) -> None:
    """Export a report as JSON; without ``personal``, names of readers, times and the history are left out.

    ``changes``: what has changed since it was signed. ``others``: changes of the readings and of the scale, which are
    added to the history.
    """
    values: dict[str, Any] = (report if personal else report.without_persons()).model_dump(mode="json")
    if personal:
        values["history"] = sorted((*values["history"], *others), key=lambda change: parse_time(change["when"]))
    left_out = {"signature": SIGNATURE_LEFT_OUT} if report.is_signed and not personal else {}
    values[DERIVED] |= {"status": report.status, **left_out, **({"changes": list(changes)} if changes else {})}
    write_json(path, values)


def write_synoptic_table(path: Path, report: SynopticReport, changes: Sequence[str] = ()) -> None:
    """Export a report as CSV with a row for each field, the T category, the recorded thickness and the status.

    Further rows are addenda and ``changes``, what has changed since it was signed.
    """
    write_table(path, list(_table_rows(report, changes)), COLUMNS)


def _table_rows(report: SynopticReport, changes: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yield the rows of the table as cells by column; a column without a cell is empty."""
    mm = report.value("breslow")
    for row in report.rows():
        field, answer = FIELDS_BY_NAME.get(row.name), report.answers.get(row.name)  # no field for the T category
        cells: dict[str, object] = {"field": row.name, "label": row.label, "state": row.state}
        if answer is not None:
            cells |= {"value": answer.value, "detail": answer.detail, "origin": answer.author}
            cells |= {"suggested_by": answer.suggested_by, "confirmed_from": answer.confirmed_from}
            cells |= {"unit": field.unit if field else "", "at_least": answer.at_least or None}
        elif field is None:
            cells |= {"value": report.stage.category, "detail": report.stage.reason}
        yield cells
        if row.name == "breslow" and isinstance(mm, float):
            recorded = {"field": "breslow_recorded", "label": "Breslow thickness, recorded", "unit": "mm"}
            text = format_recorded_thickness(mm, at_least=bool(cells.get("at_least")))
            yield {**cells, **recorded, "value": text.removeprefix("at least ").removesuffix(" mm"), "detail": ""}
    status = {"field": "status", "label": "Status of the report", "state": "answered", "value": report.status}
    yield {**status, "detail": SIGNATURE_LEFT_OUT if report.is_signed else None}
    for number, addendum in enumerate(report.addenda, start=1):
        yield {"field": f"addendum_{number}", "label": "Addendum", "state": "answered", "value": addendum.text}
    for change in changes:
        yield {"field": "change", "label": "Change after signature", "state": "answered", "value": change}


def _write(path: Path, exported: ExportedSlide) -> None:
    report, changes = _read(exported)
    if path.suffix.lower() == ".csv":
        write_synoptic_table(path, report, changes)
        return
    others = _list_other_changes(exported.folder) if exported.personal and exported.synoptic is None else ()
    write_synoptic_json(path, report, changes=changes, others=others, personal=exported.personal)


def _list_other_changes(folder: Path) -> list[dict[str, Any]]:
    """List the changes of the depth readings and of the scale of a slide, in the form of the history of a report."""
    depth, notes = read_findings(folder), read_notes(folder)
    names = {change.reader for reading in depth.readings for change in reading.history}
    changes = [change.model_dump(mode="json") for change in disclose_changes(depth, {name: name for name in names})]
    return [*changes, *({"field": "scale", **asdict(change)} for change in notes.scale_changes)]


def _write_fhir(path: Path, exported: ExportedSlide) -> None:
    from napari_melanoma.extensions.synoptic.fhir import build_diagnostic_report

    report, changes = _read(exported)
    write_json(path, build_diagnostic_report(report, exported.patient, changes=changes, personal=exported.personal))


def _read(exported: ExportedSlide) -> tuple[SynopticReport, tuple[str, ...]]:
    """Return the report, and what has changed since it was signed."""
    if exported.synoptic is not None:
        return exported.synoptic, exported.changes
    report, changes = read_synoptic(exported.folder, exported.lesion, exported.slide, exported.reader)
    if report is None:
        raise NothingToExportError(
            f"{exported.folder.name}: there is no synoptic report yet. Fill in the form in the Slide dock first."
        )
    return report, changes


JSON = ExportFormat("Synoptic report (JSON, CSV)", "synoptic.json", "synoptic", _write, (".csv",))
FHIR = ExportFormat("Synoptic report (FHIR)", "synoptic.fhir.json", "synoptic", _write_fhir)
