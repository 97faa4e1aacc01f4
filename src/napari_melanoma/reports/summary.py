"""The summary of a case on the first page of its report: patient, lesions, T category, main picture and signature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_melanoma.core.provenance import parse_time
from napari_melanoma.core.validity import read_slide_validity
from napari_melanoma.depth.reading_texts import format_headline, format_time
from napari_melanoma.depth.readings import latest_reading
from napari_melanoma.depth.synoptic import describe_finding
from napari_melanoma.depth.synoptic_fields import FIELDS_BY_NAME
from napari_melanoma.depth.t_category import t_category
from napari_melanoma.figures.page import Block, Figure, Gallery, Notice, Section, Table, fields
from napari_melanoma.reports.body_map import BodyMap
from napari_melanoma.reports.formatting import to_sentence
from napari_melanoma.reports.slide import LINE_CAPTION
from napari_melanoma.slides.depth import describe_depth
from napari_melanoma.slides.saved_results import describe_prediction
from napari_melanoma.slides.synoptic_files import lesion_basis, list_changes_since_signature

if TYPE_CHECKING:
    from napari_melanoma.case.model import CaseLesion
    from napari_melanoma.depth.readings import DepthReading
    from napari_melanoma.depth.synoptic import SynopticReport
    from napari_melanoma.reports.collector import Collector
    from napari_melanoma.reports.report_sections import SlidePart

OUTDATED_COPY = "The synoptic report in the case differs from that of the slide, which was signed later."
TWO_ANSWERS = "Two answers: {}: {} in the report of the case, {} in that of {}."
DRAFT = "Draft: there is no signed synoptic report."
DATE_LEFT_OUT = "date left out: it is personal data"
STATUS = {
    "preliminary": "Draft: the report is not signed.",
    "final": "Signed by {name}.",
    "amended": "Amended, and signed by {name}.",
}


@dataclass(frozen=True)
class LesionSummary:
    """A lesion on the first page.

    ``title``: with its site. ``values``: by label. ``status``: of its synoptic reports, such as ``Signed by AB.``, with
    what has changed after the signature.
    ``blocks``: its sections, in which the main picture is looked for.
    """

    title: str
    values: dict[str, str]
    status: str
    blocks: tuple[Block, ...]


def summarize_lesion(
    lesion: CaseLesion, parts: Mapping[str, SlidePart], known: dict[str, str], prediction: str, collector: Collector
) -> tuple[dict[str, str], str]:
    """Return the values of a lesion for the first page, and the status of its synoptic reports.

    ``parts``: its slides by the names of their images. ``known``: clinical data to show. ``prediction``: the headline
    of the prediction from its photographs; empty without one.
    """
    reports = [report for report in (lesion.synoptic, *(part.synoptic for part in parts.values())) if report]
    # The copy in the case may be older than the report of the slide
    reports.sort(key=lambda report: parse_time(report.signed_at), reverse=True)
    values = {
        **known,
        "T category (AJCC 8)": _describe_category(lesion, parts, reports, collector),
        "Prediction from photographs": prediction and to_sentence(prediction),
        **{f"Prediction from {name.lower()} (slide)": _describe_slide(part) for name, part in parts.items()},
    }
    statuses = [describe_status(one, collector.readers, personal=collector.personal) for one in reports]
    if lesion.synoptic is not None:
        statuses += list_changes_since_signature(lesion.synoptic, lesion_basis(lesion))
        is_later = reports[0].is_signed and parse_time(reports[0].signed_at) > parse_time(lesion.synoptic.signed_at)
        if is_later and reports[0].answers != lesion.synoptic.answers:
            statuses.append(OUTDATED_COPY)
        for name, part in parts.items():
            statuses += _list_other_answers(lesion.synoptic, part.synoptic, name)
    statuses += [change for part in parts.values() for change in part.changes]
    return {label: text for label, text in values.items() if text}, " ".join(dict.fromkeys(statuses))


def _list_other_answers(stored: SynopticReport, other: SynopticReport | None, name: str) -> Iterator[str]:
    """State each choice or number that the report in the case and that of a slide answer differently."""
    texts = {} if other is None else {row.name: row for row in other.rows()}
    for row in stored.rows():
        found, field = texts.get(row.name), FIELDS_BY_NAME.get(row.name)
        is_other = found is not None and found.text != row.text and "missing" not in (row.state, found.state)
        if found is not None and is_other and field is not None and field.kind != "text":
            yield TWO_ANSWERS.format(field.label, row.text, found.text, name.lower())


def summary_section(
    patient: dict[str, str], lesions: Sequence[LesionSummary], body: BodyMap | None
) -> Iterator[Section]:
    """Yield the summary of a case, unless nothing is known of it.

    ``patient``: known values by label. ``body``: the body map; None without a lesion.
    """
    statuses = [f"{one.title}. {one.status}" for one in lesions if one.status]
    picture = find_main_picture(lesions)
    figures = tuple(one for one in (picture, body) if one is not None)
    blocks: tuple[Block, ...] = (
        *([Notice(" ".join(statuses) or DRAFT, lead=True)] if lesions else []),
        *([fields("Patient", patient)] if patient else []),
        *(Table(one.title, (), tuple(one.values.items()), titled=True) for one in lesions if one.values),
        *([Gallery(figures)] if figures else []),
    )
    if blocks:
        yield Section("Summary", blocks, layout="page")


def find_main_picture(lesions: Sequence[LesionSummary]) -> Figure | None:
    """Return the picture of the first measurement of depth, or else the first picture; None without pictures."""
    figures = [(one.title, figure) for one in lesions for figure in _iterate_figures(one.blocks)]
    measured = [pair for pair in figures if pair[1].caption.startswith(LINE_CAPTION)]
    if not figures:
        return None
    title, figure = (measured or figures)[0]
    return Figure(figure.picture, f"{title}: {figure.alt}", f"{title}. {figure.caption}")


def _iterate_figures(blocks: Sequence[Block]) -> Iterator[Figure]:
    for block in blocks:
        if isinstance(block, Figure):
            yield block
        elif isinstance(block, Section):
            yield from _iterate_figures(block.blocks)
        elif isinstance(block, Gallery):
            yield from (figure for figure in block.figures if isinstance(figure, Figure))


def _describe_category(
    lesion: CaseLesion, parts: Mapping[str, SlidePart], reports: Sequence[SynopticReport], collector: Collector
) -> str:
    """Describe the T category of a lesion with what decided it; empty if it is unknown.

    A synoptic report precedes readings of slides, then the values entered in the case, then the analysis.
    """
    for report in reports:
        if report.stage.category:
            return f"{report.stage.text} (synoptic report)"
    readings = {name: reading for name, part in parts.items() if (reading := latest_reading(part.depth))}
    measured = {name: reading.without_predictions() for name, reading in readings.items() if reading.mm}
    if measured:
        return "; ".join(_describe_reading(name, reading, collector) for name, reading in measured.items())
    if lesion.depth_mm:
        category = t_category(lesion.depth_mm, lesion.ulceration)
        ulceration = {None: "unknown", True: "present", False: "not identified"}[lesion.ulceration]
        return f"{category}: {lesion.depth_mm:.2f} mm, ulceration {ulceration} (entered in the case)"
    depths = [describe_depth(part.content) for part in parts.values() if part.content.get("breslow_mm") is not None]
    return "; ".join(f"{to_sentence(depth).removesuffix('.')} (analysis, not confirmed)" for depth in depths)


def _describe_reading(name: str, reading: DepthReading, collector: Collector) -> str:
    thickness, _, category = format_headline(reading).partition("   ")
    reader = collector.readers.get(reading.reader, "")
    by = f" by {reader}" if reader else ""
    ulceration = f"ulceration {describe_finding(reading, 'ulceration')}"
    return f"{category}: {thickness}, {ulceration} (reading of {name.lower()}{by})"


def _describe_slide(part: SlidePart) -> str:
    """Return the headline of the analysis of a slide; empty without one, or if it predicts no probability."""
    prediction = describe_prediction(part.content) if part.content else ""
    if prediction in ("", "analyzed"):
        return ""
    return to_sentence(read_slide_validity(part.content).headline(prediction))


def describe_status(report: SynopticReport, readers: Mapping[str, str], *, personal: bool) -> str:
    """State who signed a report, or that it is not signed; ``readers``: labels of readers by their names."""
    name = readers.get(report.signed_by, "")
    when = f", {format_time(report.signed_at)}" if personal else f" ({DATE_LEFT_OUT})"
    return STATUS[report.status].format(name=name + when)
