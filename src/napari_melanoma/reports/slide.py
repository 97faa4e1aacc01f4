"""A slide in reports: its section in the report of cases, the report of its depth and risk, and readings for a case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_melanoma.case.model import FINDINGS as CASE_FINDINGS
from napari_melanoma.case.model import Case, CaseImage, set_lesion_answers
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.formatting import format_count, format_small, to_sentence
from napari_melanoma.core.geometry import PixelSize, format_scale
from napari_melanoma.core.parsing import read_object_or_empty
from napari_melanoma.core.paths import real_path
from napari_melanoma.core.provenance import collect_provenance, utc_time
from napari_melanoma.core.validity import Validity, read_validity
from napari_melanoma.depth.findings import has_findings, read_findings
from napari_melanoma.depth.readings import (
    FINDINGS,
    MODEL_READER,
    NOT_MEASURED,
    UNKNOWN_READER,
    DepthReading,
    ReadingChange,
    SlideDepthProposals,
    SlideDepthReadings,
    automatic_reading,
    describe_mitoses,
    describe_origin,
    format_clark_level,
    format_headline,
    format_time,
    latest_reading,
    list_all_changes,
    merge_readings,
    reader_rows,
    reading_warnings,
)
from napari_melanoma.depth.shown_blocks import ShownBlock
from napari_melanoma.depth.synoptic import (
    SIGNATURE,
    SynopticAnswer,
    SynopticLesion,
    SynopticReport,
    describe_finding,
    find_answer,
    format_stored_answer,
)
from napari_melanoma.depth.synoptic_fields import FIELDS_BY_NAME
from napari_melanoma.depth.t_category import (
    ROMAN,
    category_of_thickness,
    format_recorded_thickness,
    round_measured_thickness,
)
from napari_melanoma.figures.page import Block, Figure, Notice, Report, Section, Table, Text, fields, write_report
from napari_melanoma.io.results import RESULT, RISK_FILE
from napari_melanoma.io.slide_store import STORE
from napari_melanoma.lesion.results import read_result
from napari_melanoma.reports.disclosure import disclose_changes, disclose_readings, show_times
from napari_melanoma.reports.pictures import (
    Picture,
    draw_depth_line,
    draw_slide_overview,
    make_figure,
)
from napari_melanoma.reports.report_records import ChangeRow, ReportRecords, change_order
from napari_melanoma.reports.report_sections import SlidePart, add_slide_sections, collect_depth_report
from napari_melanoma.samples.catalog import find_credit
from napari_melanoma.slides.counts import COUNTS, collect_measurements
from napari_melanoma.slides.depth_readings import (
    ReadingCollection,
    SlideReadings,
    compare_readers,
    describe_agreement,
    list_comparable_readers,
)
from napari_melanoma.slides.lesion_edits import manual_lesions, without_probabilities
from napari_melanoma.slides.lesion_files import read_lesions
from napari_melanoma.slides.lesions import SlideLesion, area_noun
from napari_melanoma.slides.notes import SlideNotes, read_notes
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.slides.regions import Regions, load_regions
from napari_melanoma.slides.result_folder import recorded_slide
from napari_melanoma.slides.results import describe_other_scale
from napari_melanoma.slides.slide_content import (
    AREA_UNITS,
    analysis_block,
    format_sourced_scale,
    lesions_block,
    measurements_block,
    read_proposals,
    regions_block,
)

NO_READER = "No reader has reviewed this slide: the values are those of the analysis."
LINE_CAPTION = "Measurement line from the surface to the deepest cell"
READER_COLUMNS = ("Reader", "Thickness, mm", "T category", "Ulceration", "Clark level", "Mitoses per mm²")
FIELD_NAMES = {
    "mm": "Thickness, mm",
    "ulcerated": "Ulceration",
    "interval_mm": "Interval, mm",
    "clark": "Clark level",
    "clark_by": "Clark level by",
}
USER_SCALES = ("given", "ruler")  # sources of a pixel size that a user has set
CHANGE_COLUMNS = ("Time", "Reader", "Field", "Before", "After")


@dataclass(frozen=True)
class SlideReading:
    """The depth of a slide as a report shows it.

    ``depth``: all readings. ``reading``: the one that is shown, empty if no reader has measured and the analysis is not
    valid. ``base``: that of the analysis. ``angle``: clockwise rotation of the pictures in degrees.
    """

    info: SlideInfo
    depth: SlideDepthReadings
    reading: DepthReading
    base: DepthReading
    validity: Validity
    warnings: tuple[str, ...]
    angle: float = 0.0


def create_slide_reading(
    info: SlideInfo,
    depth: SlideDepthReadings,
    reading: DepthReading,
    base: DepthReading,
    proposals: SlideDepthProposals,
    angle: float = 0.0,
) -> SlideReading:
    """Create the content of a report from the reading to show, and the reading and proposals of the analysis.

    The reading is replaced by an empty one if it is a prediction that is not valid.
    """
    warnings = _list_warnings(reading, proposals)
    if not proposals.validity.valid and not reading.when:
        reading = DepthReading()
    warnings = (*reading_warnings(reading, info.pixel_size), *warnings)
    return SlideReading(info, depth, reading, base, proposals.validity, warnings, angle)


def write_depth_report(
    path: Path,
    info: SlideInfo,
    depth: SlideDepthReadings,
    reading: DepthReading,
    base: DepthReading,
    part: SlidePart | None = None,
) -> Path:
    """Write the reading of a slide, and its risk if it was predicted, as an HTML page.

    ``reading``: the one that is shown. ``base``: that of the analysis. ``part``: the slide with its results.
    """
    sections = () if part is None else collect_depth_report(part)
    if not reading.when and not sections:
        raise InputError("nothing is measured yet: draw a line, or accept the model's.")
    proposals = SlideDepthProposals() if part is None or part.folder is None else read_proposals(part.folder)
    report, changes, notes = (None, (), SlideNotes()) if part is None else (part.synoptic, part.changes, part.notes)
    shown = create_slide_reading(info, depth, reading, base, proposals, notes.angle)
    provenance = collect_provenance()
    blocks = (
        *map(Notice, changes),
        *depth_blocks(shown),
        *sections,
        *_read_measurements(part, info),
        *reader_sections(shown),
        change_section(reading, report, notes),
    )
    created = format_time(str(provenance["created"])) or provenance["created"]
    program = f"{provenance['program']} {provenance['version']}"
    credit = find_credit(info.path)
    foot = (Text(f"Created {created}.", True), *([Text(f"Attribution of the slide: {credit}", True)] if credit else []))
    page = Report(info.name, describe_scale(shown), (*blocks, *foot), program=program)
    write_report(path, page)
    return path


def describe_scale(shown: SlideReading) -> str:
    """Describe the pixel size of a slide, and by whom and how the thickness was measured."""
    size = shown.info.pixel_size
    scale = "no scale" if size is None else f"{format_scale(size.y_um, size.x_um)} µm per pixel ({size.source})"
    origin = describe_origin(shown.reading) if shown.reading.when else ""
    return ", ".join(part for part in (scale, origin) if part)


def depth_blocks(shown: SlideReading) -> tuple[Block, ...]:
    """Return the values of the reading, the warnings on it, and the picture of its line on the slide."""
    picture = _draw_line_if_available(shown)
    figures = () if picture is None else (make_figure(picture, "Measurement line on the slide", LINE_CAPTION),)
    values = format_report_fields(shown.reading, shown.validity)
    return (*map(Notice, shown.warnings), fields("Depth of invasion", values), *figures)


def reader_sections(shown: SlideReading) -> tuple[Section, ...]:
    """Return the table of readings with their agreement, if there are several, after the cautions on the model."""
    rows = reader_rows(shown.depth, shown.reading.reader, shown.base, shown.validity)
    readings = [one for one in shown.depth.readings if one.mm is not None and one.when]
    table = Table("Readings", READER_COLUMNS, tuple(rows))
    agreement = tuple(map(Text, filter(None, (describe_slide_agreement(readings),))))
    cautions = shown.validity.cautions if shown.validity.valid and shown.base.mm is not None else ()
    notices = (Notice(f"Line of the model: {caution}") for caution in cautions)
    return (Section("Readers", (*notices, table, *agreement)),) if len(rows) > 1 else ()


def change_section(reading: DepthReading, report: SynopticReport | None, notes: SlideNotes) -> Section:
    """Return the table of changes of a reading, the scale and the synoptic report of its slide, with the signature."""
    changes = [*list_changes(list_all_changes(reading)), *list_scale_changes(notes)]
    if report is not None:
        changes += list_synoptic_changes(report, {name: name for name in report.reader_names})
    times = show_times([one.when for one in changes], personal=True)
    rows = tuple((times[one.when], *one[1:]) for one in sorted(changes, key=change_order))
    return Section("Changes", (Table("Changes of readings", CHANGE_COLUMNS, rows) if rows else Text("None."),))


def list_changes(history: Sequence[ReadingChange]) -> Iterator[ChangeRow]:
    """Yield a row for each change of a reading that is visible in the report.

    Each click on a mitosis is a change: those of one reader that follow each other in a minute share a row.
    """
    rows: list[ChangeRow] = []
    for change in history:
        row = _format_record_row(change)
        previous = rows[-1] if rows else None
        if (
            previous is not None
            and change.field == "mitoses"
            and (previous.field, previous.reader) == (row.field, row.reader)
            and format_time(previous.when) == format_time(row.when)
        ):
            row = row._replace(before=rows.pop().before)
        rows.append(row)
    return (row for row in rows if row.before != row.after)


def list_scale_changes(notes: SlideNotes, readers: Mapping[str, str] | None = None) -> Iterator[ChangeRow]:
    """Yield a row for each change of the scale of a slide; one that was not recorded has no time and no reader.

    ``readers``: labels of readers by their names, by default the names.
    """
    for change in notes.scale_changes:
        reader = change.reader if readers is None else readers.get(change.reader, "")
        texts = (_format_scale(size) for size in (change.before, change.after))
        yield ChangeRow(change.when, reader or "(no name)", "Scale", *texts)
    last = notes.scale_changes[-1].after if notes.scale_changes else None
    recorded = None if last is None or last.source not in USER_SCALES else last
    if notes.pixel_size != recorded:
        yield ChangeRow("", UNKNOWN_READER, "Scale", _format_scale(last), _format_scale(notes.pixel_size))


def _format_scale(size: PixelSize | None) -> str:
    return "that of the file" if size is None else format_sourced_scale((size.y_um, size.x_um, size.source))


def list_synoptic_changes(report: SynopticReport, readers: Mapping[str, str]) -> Iterator[ChangeRow]:
    """Yield a row for each change of an answer, and for the signature; free texts are left out.

    A previous version of a text may be private. Also yielded: answers that differ from the last change, since another
    program has changed them. ``readers``: labels of readers by their names.
    """
    for change in report.history:
        field = FIELDS_BY_NAME.get(change.field)
        label = "Signature" if change.field == SIGNATURE else field.label if field else change.field
        if change.field == SIGNATURE:
            before, after = (readers.get(str(name), "") if name else "–" for name in (change.before, change.after))
        else:
            before, after = (format_stored_answer(change.field, answer) for answer in (change.before, change.after))
        if before != after:
            yield ChangeRow(change.when, readers.get(change.reader, ""), label, before, after)
    last = {change.field: change.after for change in report.history if change.field in {*FIELDS_BY_NAME} - {*FINDINGS}}
    for name, recorded in last.items():
        answer = report.answers.get(name)
        if (recorded or {}).get("suggested_by") or (answer is not None and answer.suggested_by):
            continue
        now = None if answer is None else answer.model_dump(mode="json")
        before, after = (format_stored_answer(name, one) for one in (recorded, now))
        if before != after:
            yield ChangeRow("", UNKNOWN_READER, FIELDS_BY_NAME[name].label, before, after)


def describe_slide_agreement(readings: Sequence[DepthReading]) -> str:
    """Describe how the thickness and category of several readers agree on a slide; empty for a single reader."""
    measured = [one for one in readings if one.mm is not None]
    if len(measured) < 2:
        return ""
    depths = [round_measured_thickness(one.mm or 0.0) for one in measured]  # the difference is that of the shown ones
    categories = list(dict.fromkeys(category_of_thickness(one.mm or 0.0, one.ulcerated) for one in measured))
    categories_text = (
        f"the same T category ({categories[0]})" if len(categories) == 1 else f"T categories {', '.join(categories)}"
    )
    return f"{len(measured)} readers: thickness {min(depths):.2f} to {max(depths):.2f} mm, a difference of " + (
        f"{max(depths) - min(depths):.2f} mm; {categories_text}."
        + (" At least one thickness is a lower bound." if any(one.at_least for one in measured) else "")
    )


def _list_warnings(reading: DepthReading, proposals: SlideDepthProposals) -> tuple[str, ...]:
    """List the warnings on values of the analysis, if no reader has confirmed them."""
    if reading.when and reading.method != "automatic":
        return ()
    if not proposals.validity.valid:
        headline = f"The line was predicted by a model. {proposals.validity.headline('')}."
        warnings = [*([headline] if reading.when else ()), *proposals.validity.other_reasons]
    else:
        notes = (*proposals.validity.cautions, *proposals.notes)
        warnings = [to_sentence(f"analysis: {note}") for note in dict.fromkeys(notes)]
    return tuple(warnings) if reading.when else (NO_READER, *warnings)


def format_report_fields(reading: DepthReading, validity: Validity | None = None) -> dict[str, str]:
    """Return label and text of each value of a reading; a dash if it is unknown."""
    thickness, recorded = format_headline(reading, validity), _format_recorded(reading, validity)
    by_model = {field: " (model, not confirmed)" for field, by in reading.all_authors().items() if by == "model"}
    margins = {name: describe_finding(reading, f"{name}_distance_invasive") for name in ("peripheral", "deep")}
    margin_fields = {f"Distance to {name} margin": "–" if text == "unknown" else text for name, text in margins.items()}
    values = {
        "Breslow thickness and T category (AJCC 8)": "–" if thickness == NOT_MEASURED else thickness,
        **({"Thickness recorded (AJCC 8)": recorded} if recorded else {}),
        "Ulceration": describe_finding(reading, "ulceration") + by_model.get("ulcerated", ""),
        "Mitoses": describe_finding(reading, "mitotic_rate")
        if (reading.mitoses.counted, reading.mitoses.per_mm2) == (None, None)
        else describe_mitoses(reading),
        "Clark level": describe_finding(reading, "clark")
        if reading.clark is None
        else format_clark_level(reading.clark) + by_model.get("clark", ""),
        **margin_fields,
        **({"Author of the values": reading.reader or "a reader without a name"} if reading.when else {}),
    }
    return {**values, "Notes": reading.notes} if reading.notes else values


def _format_recorded(reading: DepthReading, validity: Validity | None) -> str:
    """Format the thickness as it is recorded; "" if it is unknown, or if it is predicted and not valid."""
    if reading.mm is None:
        return ""
    recorded = format_recorded_thickness(reading.mm, at_least=reading.at_least)
    if validity is None or reading.when:
        return recorded
    return validity.headline(recorded) if validity.valid else ""


def find_case_image(case: Case, slide: Path) -> CaseImage | None:
    """Find a slide among the images of a case, or return None."""
    path = real_path(slide)
    return next((image for _, image in case.iterate_images() if real_path(image.path) == path), None)


def set_lesion_reading(case: Case, image_id: str, reading: DepthReading) -> Case:
    """Set the reader's values in the lesion of the slide, in place of those that were added from it before.

    Other values of the lesion stay if they are unknown in the reading, also equal ones that were entered by hand.
    """
    lesion = next((image_lesion for image_lesion, image in case.iterate_images() if image.id == image_id), None)
    if lesion is None:
        raise InputError("the slide is not assigned to a lesion: drag it to its lesion in the Case dock first.")
    answers, form = dict[str, SynopticAnswer | None](), lesion.synoptic or SynopticReport()
    copied = case.find_image(image_id).readings.readings
    for name in CASE_FINDINGS:
        answer, own = find_answer(reading, name), form.answer(name)
        if answer is not None and not answer.suggested_by:
            answers[name] = answer  # not rounded: 0.7496 mm is recorded as 0.7 mm, but 0.75 mm as 0.8 mm
            continue
        origin = form.find_origin(name)
        is_copied = origin is None and own in (find_answer(one, name) for one in copied)
        if own is not None and (is_copied or origin == image_id):
            answers[name] = None  # of another reader, or of an earlier state of the reading
    return set_lesion_answers(case, lesion.id, answers, reading.reader, utc_time(), image_id)


def _draw_line_if_available(shown: SlideReading) -> Picture | None:
    """Draw the slide around the line; None if there is no line, or if the slide can no longer be read."""
    if shown.reading.line is None:
        return None
    try:
        with open_slide(shown.info.path, shown.info.pixel_size) as slide:
            return draw_depth_line(slide, shown.reading.line, shown.angle)
    except (MelanomaError, OSError):
        return None


def _format_record_row(change: ReadingChange) -> ChangeRow:
    label = FIELD_NAMES.get(change.field, change.field.replace("_", " ").capitalize())
    before, after = (_format_finding(change.field, value) for value in (change.before, change.after))
    return ChangeRow(change.when, change.reader or "(no name)", label, before, after)


def _format_finding(field: str, value: object) -> str:
    if field == "ulcerated" and not isinstance(value, str):
        return {None: "unknown", True: "present", False: "not identified"}[value]  # type: ignore[index]
    if field == "clark":
        return ROMAN[value - 1] if isinstance(value, int) else str(value or "unknown")
    if field == "mm" and isinstance(value, float):
        return f"{round_measured_thickness(value):.2f}"
    return _format_short(value)


def _format_short(value: object) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return format_small(value)
    if isinstance(value, dict):
        known = {name.replace("_", " ").replace("mm2", "mm²"): one for name, one in value.items() if one is not None}
        return ", ".join(f"{name} {_format_short(one)}" for name, one in known.items()) or "–"
    if isinstance(value, list):  # a line's ends, or an interval's
        ends = [
            ", ".join(f"{one:.0f}" for one in end) if isinstance(end, list) else _format_short(end) for end in value
        ]
        return " to ".join(ends)
    return str(value)


def write_slide_report(
    path: Path,
    folder: Path,
    slide: Path | None = None,
    *,
    scale: PixelSize | None = None,
    lesion: SynopticLesion | None = None,
) -> Path:
    """Write the report of a slide from its result folder.

    ``slide``: by default the recorded file. ``scale``: pixel size, if no user has set one; by default that of the file.
    ``lesion``: of the case of the slide, if known.
    """
    depth, proposals = merge_readings([read_findings(folder)]), read_proposals(folder)
    latest = latest_reading(depth)
    own = read_notes(folder).pixel_size or scale
    info = find_slide_info(folder, slide or recorded_slide(folder), own, reading_scale(latest))
    base = automatic_reading(proposals, 0, info.pixel_size)
    part = SlidePart.from_folder(folder, lesion, info.path)
    if latest is None and base.mm is None and not collect_depth_report(part):
        reason = proposals.validity.headline(f"Analysis: {'; '.join(proposals.notes)}" if proposals.notes else "")
        reason = f" {reason}." if reason else ""
        raise InputError(f"{folder.name}: neither thickness nor risk is known.{reason}")
    return write_depth_report(path, info, depth, latest or base, base, part)


def reading_scale(reading: DepthReading | None) -> PixelSize | None:
    """Return the pixel size of a reading, which stores it as (y, x)."""
    if reading is None or reading.um_per_px is None:
        return None
    return PixelSize(*reading.um_per_px)


def find_slide_info(
    folder: Path, slide: Path | None, scale: PixelSize | None, otherwise: PixelSize | None = None
) -> SlideInfo:
    """Return information on a slide, without its levels if the file cannot be read.

    ``scale``: pixel size that replaces the one in the file, unless it is None. ``otherwise``: pixel size if both are
    unknown.
    """
    if slide is not None:
        try:
            with open_slide(slide) as opened:
                info = opened.info
            own, used = info.pixel_size, scale or info.pixel_size or otherwise
            return info if used is None or (own and own.is_close(used)) else _reopen_with_scale(slide, used)
        except (MelanomaError, OSError):
            pass
    return SlideInfo(slide or folder, folder.name, "", (), pixel_size=scale or otherwise)


def _reopen_with_scale(slide: Path, scale: PixelSize) -> SlideInfo:
    """Read the information on a slide, with a pixel size that replaces the one in its file."""
    with open_slide(slide, scale) as opened:
        return opened.info


LESION_TABLE = ("Lesion", "Class", "Probability", "Area, mm²", "Height, mm", "Width, mm", "Origin")
COUNT_TABLE = ("Class", "Within", "Count", "Per mm² (95 % interval)")
NO_FOLDER = "No result folder of this slide was found or specified: its analysis is not included."
NO_READING = "its findings are damaged, and are not shown."
NO_NOTES = "its scale set by hand and its measurements are damaged, and are not used."


def is_slide_folder(folder: Path) -> bool:
    """Return whether a folder contains results of a slide, of any type."""
    has_file = (folder / STORE).is_dir() or any((folder / name).is_file() for name in (RISK_FILE, COUNTS))
    try:
        return has_file or has_findings(folder) or bool(read_notes(folder).measures)
    except InputError:  # which the report states
        return True


def is_slide_result(folder: Path) -> bool:
    """Return whether a folder contains results, readings or a risk of a slide."""
    return is_slide_folder(folder) or "slide" in read_object_or_empty(folder / RESULT)


def slide_section(part: SlidePart, title: str, subtitle: str, name: str, records: ReportRecords) -> Section:
    """Return the section on a slide; ``name``: of the slide in texts and problems."""
    latest, content = latest_reading(part.depth), part.content
    otherwise = reading_scale(latest) or part.pixel_size
    info = find_slide_info(part.folder or Path(name), part.path, part.notes.pixel_size, otherwise)
    problems: list[Block] = [records.add_problem(name, NO_READING, fault) for fault in part.faults]
    if part.notes_fault is not None:
        problems.append(records.add_problem(name, NO_NOTES, part.notes_fault))
    if part.folder and (part.folder / RESULT).is_file() and not content:
        problems.append(_add_fault(part.folder, name, records))
    validity = read_validity(content) if content else None
    lesions = _read_lesions(part, name, records, problems)
    regions = _read_regions(part, name, records, problems)
    if validity is not None and not validity.valid:
        lesions = without_probabilities(manual_lesions(lesions))
    picture = _overview(part, info, lesions, regions, name, records, problems)
    if content:
        records.add_origin(name, content)
    records.add_changes(name, list_scale_changes(part.notes, records.readers))
    records.add_strokes(name, part.strokes)
    if part.folder is None:
        problems.append(Text(NO_FOLDER, quiet=True))
    blocks = (
        *problems,
        *picture,
        *add_slide_sections(part, name, records, is_first=True),
        *_depth_sections(part, info, latest, name, records),
        *_analysis_blocks(content, validity, info.pixel_size),
        *_lesion_blocks(lesions, content),
        *_region_blocks(regions, info.pixel_size),
        *_read_measurements(part, info),
        *add_slide_sections(part, name, records, is_first=False),
    )
    return Section(title, blocks, subtitle)


def _add_fault(folder: Path, name: str, records: ReportRecords) -> Notice:
    """Add the problem that the result of an analysis cannot be read."""
    try:
        read_result(folder)
    except InputError as error:
        return records.add_problem(name, "the result of its analysis is damaged, and is not shown.", error)
    return records.add_problem(name, "the result of its analysis is empty.", f"{folder / RESULT} is empty.")


def _read_lesions(part: SlidePart, name: str, records: ReportRecords, problems: list[Block]) -> tuple[SlideLesion, ...]:
    try:
        return (read_lesions(part.folder) or ()) if part.folder else ()
    except MelanomaError as error:
        problems.append(records.add_problem(name, "its lesions cannot be read, and are not shown.", error))
        return ()


def _read_regions(part: SlidePart, name: str, records: ReportRecords, problems: list[Block]) -> Regions:
    try:
        return load_regions(part.folder).regions if part.folder else ()
    except MelanomaError as error:
        problems.append(records.add_problem(name, "its regions cannot be read, and are not shown.", error))
        return ()


def _overview(
    part: SlidePart,
    info: SlideInfo,
    lesions: Sequence[SlideLesion],
    regions: Regions,
    name: str,
    records: ReportRecords,
    problems: list[Block],
) -> tuple[Figure, ...]:
    """Draw the slide with lesions and regions; add a problem if it can no longer be read."""
    try:
        if part.path is None:
            raise InputError(f"{part.folder}: the slide of these results is not recorded.")
        with open_slide(part.path, info.pixel_size) as slide:
            picture = draw_slide_overview(slide, lesions, regions, part.notes.angle)
    except (MelanomaError, OSError) as error:
        text = "the slide is missing, moved or damaged; its pictures are not shown."
        problems.append(records.add_problem(name, text, error))
        return ()
    records.add_credit(name, find_credit(part.path))
    noun = area_noun(lesions[0].label if lesions else "")
    outlined = [format_count(len(found), what) for found, what in ((lesions, noun), (regions, "region")) if found]
    caption = " with ".join(filter(None, ("Overview", " and ".join(outlined))))
    caption += " (dashed)" if regions else ""
    return (make_figure(picture, f"Overview of {name}", caption),)


def _analysis_blocks(
    content: Mapping[str, Any], validity: Validity | None, size: PixelSize | None
) -> Iterator[Section]:
    """Yield the section on the analysis: its prediction and warnings."""
    if validity is None:
        return
    block = analysis_block(content)
    rows = tuple(one.row for one in block.blocks if one.text)
    reasons = validity.cautions if validity.valid else validity.other_reasons
    texts = (describe_other_scale(content, size), *reasons, *(content.get("warnings") or ()))
    notices = (Notice(to_sentence(str(text))) for text in texts if text)
    areas = block.find("areas") if validity.valid else None
    tables = [] if areas is None or not areas.blocks else [_area_table(areas)]
    yield Section("Analysis", (Table("Analysis", (), rows), *notices, *tables))


def _area_table(areas: ShownBlock) -> Table:
    """Return the table of the areas of the classes on the map of a tissue classifier."""
    rows = tuple((area.label, *area.cells) for area in areas.blocks)
    return Table(areas.label, ("Class", *AREA_UNITS.values()), rows)


def _lesion_blocks(lesions: Sequence[SlideLesion], content: Mapping[str, Any]) -> Iterator[Block]:
    """Yield the table of lesions; ``content``: of ``result.json``."""
    if not lesions:
        return
    block = lesions_block(lesions, content)
    listed = block.find("rows")
    rows = tuple((one.key.removeprefix("lesion "), *one.cells) for one in (listed.blocks if listed else ()))
    unlisted = len(lesions) - len(rows)
    noun = area_noun(lesions[0].label)
    limit = ((content.get("options") or {}).get("lesions") or {}).get("malignant_from", 0.5)
    notes = (
        *(
            [
                Text(
                    f"{format_count(unlisted, f'further {noun}')} {'is' if unlisted == 1 else 'are'} not listed.",
                    quiet=True,
                )
            ]
            if unlisted
            else []
        ),
        *(
            [Text(f"Malignant from a probability of {limit:g}.", quiet=True)]
            if limit != 0.5 and noun == "lesion"
            else []
        ),
    )
    header = LESION_TABLE if noun == "lesion" else ("Number", *LESION_TABLE[1:])
    yield Section(block.label, (Table(block.label, header, rows), *notes))


def _region_blocks(regions: Regions, size: PixelSize | None) -> Iterator[Block]:
    rows = tuple((one.label, *one.cells[:2]) for one in regions_block(regions, size).blocks)
    if rows:
        yield Section("Regions", (Table("Regions", ("Class", "Count", "Area, mm²"), rows),))


def _read_measurements(part: SlidePart | None, info: SlideInfo) -> list[Block]:
    """Return the tables of what users have measured and counted on a slide, or why they are missing."""
    try:
        return [] if part is None or part.folder is None else _measurement_blocks(part.folder, info)
    except MelanomaError as error:
        return [Notice(f"Measurements and counts are not shown: {error}")]


def _measurement_blocks(folder: Path, info: SlideInfo) -> list[Block]:
    def read_size() -> tuple[tuple[int, int], PixelSize | None]:
        if not info.levels:
            raise InputError("the slide cannot be read, so the area of its counts is unknown.")
        return (info.levels[0].height, info.levels[0].width), info.pixel_size

    block = measurements_block(collect_measurements(folder, read_size))
    measured = tuple(one.row for one in block.blocks if not one.blocks)
    counted = tuple(one.cells for one in block.blocks if one.blocks)
    tables = [
        *([Table("Lengths, areas and angles", ("Measurement", "Value"), measured)] if measured else []),
        *([Table("Counts", COUNT_TABLE, counted)] if counted else []),
    ]
    return [Section(block.label, tuple(tables))] if tables else []


def _depth_sections(
    part: SlidePart, info: SlideInfo, latest: DepthReading | None, name: str, records: ReportRecords
) -> Iterator[Section]:
    """Yield the sections on depth and readers, and record the changes."""
    proposals = read_proposals(part.folder) if part.folder else SlideDepthProposals()
    base = automatic_reading(proposals, 0, info.pixel_size)
    if latest is None and base.mm is None and not proposals.notes:
        return
    depth = disclose_readings(part.depth, records.readers, personal=records.personal)
    latest_disclosed = None if latest is None else depth.reading_by(records.readers[latest.reader])
    shown = create_slide_reading(info, depth, latest_disclosed or base, base, proposals, part.notes.angle)
    blocks = (*map(Notice, part.changes), *depth_blocks(shown))
    yield Section("Depth of invasion", blocks, describe_scale(shown))
    if latest is not None:
        records.add_changes(name, list_changes(disclose_changes(part.depth, records.readers)))
        yield from reader_sections(shown)


def agreement_sections(parts: Sequence[SlidePart], readers: Mapping[str, str]) -> Iterator[Section]:
    """Yield the agreement of each pair of readers over several slides."""
    slides = tuple(
        SlideReadings(
            str(number), {readers[one.reader]: one for one in part.depth.readings if one.when and one.mm is not None}
        )
        for number, part in enumerate(parts)
    )
    collection = ReadingCollection(slides)
    names = [one for one in list_comparable_readers(collection) if one != MODEL_READER]
    pairs = [(first, second) for number, first in enumerate(names) for second in names[number + 1 :]]
    texts = [_describe_pair(collection, pair) for pair in pairs]
    if any(texts):
        yield Section("Agreement of readers", tuple(Text(text) for text in texts if text))


def _describe_pair(collection: ReadingCollection, pair: tuple[str, str]) -> str:
    """Describe the agreement of two readers; empty if they have only one slide in common."""
    agreement = compare_readers(collection, pair)
    if agreement.slides < 2:
        return ""
    notes = "".join(f" {to_sentence(note)}" for note in agreement.notes)
    return " ".join(describe_agreement(agreement).split()) + notes
