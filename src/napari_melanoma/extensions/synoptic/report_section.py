"""The section of a report with the synoptic report of a melanoma, its T category, and its changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_melanoma.depth.synoptic import SIGNATURE, SOURCE_NAMES, describe_case_lesion
from napari_melanoma.depth.synoptic_fields import FIELDS_BY_NAME
from napari_melanoma.depth.t_category import format_thickness
from napari_melanoma.figures.page import Block, Notice, Section, Table, Text
from napari_melanoma.reports.disclosure import show_times
from napari_melanoma.reports.report_sections import ReportSection
from napari_melanoma.reports.summary import describe_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_melanoma.case.model import CaseLesion
    from napari_melanoma.depth.synoptic import SynopticReport
    from napari_melanoma.reports.collector import Collector
    from napari_melanoma.reports.report_sections import SlidePart


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


def list_synoptic_changes(
    report: SynopticReport, readers: Mapping[str, str], *, personal: bool
) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield time, reader, field, previous and new value of each change; free texts are left out.

    A previous version of a text may be private.
    """
    times = show_times([change.when for change in report.history], personal=personal)
    for change in report.history:
        field = FIELDS_BY_NAME.get(change.field)
        label = "Signature" if change.field == SIGNATURE else field.label if field else change.field
        if change.field == SIGNATURE:
            values = [readers.get(str(name), "") if name else "" for name in (change.before, change.after)]
        else:
            values = [_format_value(change.field, answer) for answer in (change.before, change.after)]
        if values[0] != values[1]:
            yield times[change.when], readers.get(change.reader, ""), label, values[0], values[1]


def _format_value(field: str, answer: Any) -> str:  # noqa: ANN401 - JSON
    """Format a previous or new answer."""
    definition = FIELDS_BY_NAME.get(field)
    if not isinstance(answer, dict):
        return ""
    value, source = answer.get("value"), SOURCE_NAMES.get(answer.get("suggested_by") or "")
    suggested = f", suggested by {source}" if source else ""
    if value is None:
        return str(answer.get("state") or "")
    if definition is None or definition.kind == "text":
        return "text"
    if field == "breslow":
        return format_thickness(value, at_least=bool(answer.get("at_least"))) + suggested
    number = f"{value:.4g} {definition.unit}".strip() if isinstance(value, float | int) else str(value)
    return definition.choices.get(str(value), number) + suggested


def _report_slide(part: SlidePart, name: str, collector: Collector) -> Iterator[Section]:
    if part.synoptic is not None:
        yield _report(part.synoptic, part.changes, name, collector)


def _report_lesion(lesion: CaseLesion, name: str, collector: Collector) -> Iterator[Section]:
    if lesion.synoptic is not None:
        changes = lesion.synoptic.list_changes_since_signature(describe_case_lesion(lesion))
        yield _report(lesion.synoptic, changes, name, collector)


def _report(report: SynopticReport, changes: Sequence[str], name: str, collector: Collector) -> Section:
    collector.add_changes(name, list_synoptic_changes(report, collector.readers, personal=collector.personal))
    return synoptic_section(report, collector.readers, changes, personal=collector.personal)


SYNOPTIC_SECTION = ReportSection("Synoptic report", _report_slide, _report_lesion, is_first=True)
