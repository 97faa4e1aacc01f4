"""The section of a report with the synoptic report of a melanoma, its T category, and its changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from napari_melanoma.case.model import CaseLesion
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.figures.page import Block, Notice, Section, Table, Text
from napari_melanoma.reports.disclosure import describe_status, show_times
from napari_melanoma.reports.report_records import ReportRecords
from napari_melanoma.reports.report_sections import ReportSection, SlidePart
from napari_melanoma.reports.slide import list_synoptic_changes


def synoptic_section(
    report: SynopticReport, readers: Mapping[str, str], changed: Sequence[str] = (), *, personal: bool
) -> Section:
    """Return the section with the answers in the order of the form; fields that are not filled in are left out.

    ``readers``: labels of readers by their names. ``changed``: what has changed since the report was signed.
    """
    signed = describe_status(report, readers, personal=personal)
    rows = tuple((row.label, row.text) for row in report.rows() if row.state != "missing" or row.name == "t_category")
    table = Table("Synoptic report", (), rows)
    blocks: tuple[Block, ...] = (Text(signed), *map(Notice, changed), table, *map(Notice, report.check()))
    times = show_times([addendum.when for addendum in report.addenda], personal=personal)
    addenda = tuple((times[one.when], readers.get(one.reader, ""), one.text) for one in report.addenda)
    if addenda:
        blocks = (*blocks, Table("Addenda to the signed report", ("Time", "Reader", "Addendum"), addenda))
    return Section("Synoptic report", blocks, layout="whole")


def _report_slide(part: SlidePart, name: str, records: ReportRecords) -> Iterator[Section]:
    if part.synoptic is not None:
        yield _report(part.synoptic, part.changes, name, records)


def _report_lesion(lesion: CaseLesion, name: str, records: ReportRecords) -> Iterator[Section]:
    if lesion.report is not None:
        yield _report(lesion.report, records.lesion_changes.get(lesion.id, ()), name, records)


def _report(report: SynopticReport, changes: Sequence[str], name: str, records: ReportRecords) -> Section:
    records.add_changes(name, list_synoptic_changes(report, records.readers))
    return synoptic_section(report, records.readers, changes, personal=records.personal)


SYNOPTIC_SECTION = ReportSection("Synoptic report", _report_slide, _report_lesion, is_first=True)
