"""The blocks of a synoptic report, a depth reading and a lesion of a case, and the contradictions between them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from napari_melanoma.core.geometry import PixelSize, format_scale
from napari_melanoma.data.table_schema import field_title, find_column, format_field_value
from napari_melanoma.data.taxonomy import load_taxonomy
from napari_melanoma.depth.readings import (
    FINDINGS,
    METHOD_NAMES,
    DepthReading,
    count_mitoses,
    find_length_of_entered,
)
from napari_melanoma.depth.shown_blocks import DRAWN, Blocks, ShownBlock, find_block, group, is_same_value, known
from napari_melanoma.depth.synoptic import (
    SOURCE_NAMES,
    SUBTYPES,
    SynopticAnswer,
    SynopticLesion,
    SynopticReport,
    describe_finding,
    format_without_detail,
)
from napari_melanoma.depth.synoptic_fields import FIELDS, FIELDS_BY_NAME, NOT_ANSWERED, OTHER
from napari_melanoma.depth.t_category import (
    ROMAN,
    format_ends,
    format_thickness,
    round_measured_thickness,
    t_category,
)
from napari_melanoma.privacy.personal_data import AGES, MAX_AGE

# Keys of the groups of a report, and their names in sentences
SLIDE, SYNOPTIC, READING, OTHER_READINGS, LESION = "slide", "synoptic", "reading", "readings", "lesion"
ANALYSIS, LESIONS, REGIONS, MEASUREMENTS, RISK = "analysis", "lesions", "regions", "measurements", "risk"
PATIENT, PREDICTION, IMAGES = "patient", "prediction", "images"
GROUPS = {
    SLIDE: "slide file and scale",
    SYNOPTIC: "synoptic report",
    READING: "depth reading",
    OTHER_READINGS: "readings of others",
    LESION: "lesion of the case",
    ANALYSIS: "analysis of the slide",
    LESIONS: "lesions on the slide",
    REGIONS: "regions",
    MEASUREMENTS: "measurements and counts",
    RISK: "risk of metastasis",
    PATIENT: "patient",
    PREDICTION: "prediction from photographs",
    IMAGES: "images",
}
# Of photographs; reports that an earlier version has signed lack the file, and what is stated with it
IMAGE_FILE, UNKNOWN_FILE, WITH_FILE = "file", "unknown", ("file", "taken_on", "stated_scale")
PICTURE = "picture"  # key of what is drawn, and not printed
IN_REGIONS = "regions "  # start of the key of a count within drawn regions
NO_FINDING = (*NOT_ANSWERED, "not_specified", OTHER, "", None)  # values that contradict no other one
CASE_COLUMNS = {"breslow": "depth_mm", "ulceration": "ulceration", "clark": "clark", "mitotic_rate": "mitoses_per_mm2"}
# Columns of a lesion in the order of reports; the site is in the title of a lesion
LESION_COLUMNS = (
    *("diagnosis", "diagnosis_detail", "diagnosis_by", "itch", "hurt", "bleed", "elevation"),
    *("diameter_1_mm", "diameter_2_mm", *CASE_COLUMNS.values(), "metastasis"),
)
SITE_COLUMNS = ("site", "sub_site", "laterality")
GROUPED_WORDS = ("malignant", "indeterminate", "other")  # diagnoses that may be any tumor
MAX_RATE_ERROR = 0.5 + 1e-6  # of a mitotic rate that was rounded to a whole number


def synoptic_block(report: SynopticReport) -> ShownBlock:
    """Return the answers of a report that are not only suggested, and the T category."""
    answers = (_answer_block(name, report.answer(name)) for name in (field.name for field in FIELDS))
    category = report.stage.category
    stage = ShownBlock(key="t_category", label="T category (AJCC 8)", value=category, text=category or "none")
    return group(SYNOPTIC, "Synoptic report", (*answers, stage))


def _answer_block(name: str, answer: SynopticAnswer | None) -> ShownBlock | None:
    if answer is None or answer.suggested_by:
        return None
    field, source = FIELDS_BY_NAME[name], answer.confirmed_from
    return ShownBlock(
        key=name,
        label=field.label,
        value=answer.state if answer.value is None else answer.value,
        unit=field.unit if isinstance(answer.value, float) else "",
        text=format_without_detail(field, answer),
        is_private=field.kind == "text",
    ).with_blocks(
        *filter(
            None,
            (
                known("at_least", "lower bound", answer.at_least or None, "yes"),
                known("detail", "note", answer.detail, is_private=True),
                known("source", "suggested by", source, SOURCE_NAMES[source] if source else ""),
            ),
        )
    )


def reading_block(
    reading: DepthReading, size: PixelSize | None, key: str = READING, label: str = "Depth reading"
) -> ShownBlock | None:
    """Return the values of a reading; None if its reader has set none. ``size``: pixel size of the slide."""
    if not reading.when:
        return None
    category = t_category(reading.mm, reading.ulcerated) if reading.mm else ""
    interval = reading.interval_mm and f"{format_ends(reading.interval_mm)} mm"
    details = {name: remark.detail for name, remark in reading.remarks.items() if remark.detail}
    return group(
        key,
        label,
        (
            *(_finding_block(reading, name) for name in FINDINGS),
            known("t_category", "T category", category),
            known("at_least", "lower bound", reading.at_least or None, "yes"),
            known("interval", "interval", reading.interval_mm, interval or "", unit="mm"),
            known("method", "origin of the line", reading.line and reading.method, METHOD_NAMES[reading.method]),
            known("um_per_px", "scale of the line", reading.um_per_px, _format_pixels(reading), unit="µm"),
            known("notes", "notes", reading.notes, is_private=True),
            known("details", "notes on findings", details or None, is_private=True),
            _picture_block(reading, size),
        ),
    )


def _finding_block(reading: DepthReading, name: str) -> ShownBlock | None:
    value, remark = reading.finding(name), reading.remarks.get(name)
    state = remark.state if value is None and remark is not None and remark.state in NOT_ANSWERED else None
    field, author = FIELDS_BY_NAME[name], reading.author(FINDINGS[name])
    if value is None and state is None:
        return None
    is_own, text = author == "reader", describe_finding(reading, name)
    block = ShownBlock(
        key=name if is_own else f"{name}_predicted",
        label=field.label if is_own else f"{field.label} (model, not confirmed)",
        value=state if value is None else value,
        unit=field.unit if isinstance(value, float) else "",
        text=str(value) if text == "unknown" else text,
    )
    source = "" if remark is None else remark.confirmed_from
    return block.with_blocks(
        *filter(None, (known("source", "suggested by", source, SOURCE_NAMES[source] if source else ""),))
    )


def _format_pixels(reading: DepthReading) -> str:
    return "" if reading.um_per_px is None else f"{format_scale(*reading.um_per_px, 6)} µm per pixel"


def _picture_block(reading: DepthReading, size: PixelSize | None) -> ShownBlock:
    """Return what is drawn of a reading: the line, and the mitoses in their areas."""
    mitoses, length = reading.mitoses, find_length_of_entered(reading, size)
    marked = count_mitoses(mitoses.points, mitoses.areas, size)
    line = " to ".join(f"({row:.1f}, {column:.1f})" for row, column in reading.line or ())
    has_area = bool(mitoses.areas) and marked.mm2 is not None
    return group(
        PICTURE,
        "",
        (
            known("line", "line of the thickness", round_points(reading.line or ()), line),
            known("breslow", "length of the line", length, "" if length is None else format_thickness(length)),
            _drawn("marks", "marks of mitoses", round_points(mitoses.points)),
            _drawn("areas", "area of the mitoses", [round_points(one) for one in mitoses.areas]),
            known(
                "marked",
                "marked mitoses",
                [marked.counted or 0, marked.mm2] if has_area and mitoses.points else None,
                f"{marked.counted or 0} in {marked.mm2 or 0:.4g} mm²",
            ),
        ),
    )


def _drawn(key: str, label: str, shapes: list[Any]) -> ShownBlock | None:
    """Return the block of points or outlines."""
    return known(key, label, shapes, f"{len(shapes)} {DRAWN}", is_drawing=True)


def round_points(points: Any) -> list[list[float]]:  # noqa: ANN401 - nested sequences of numbers
    """Round positions, (row, column) in pixels, to a tenth."""
    return [[round(float(value), 1) + 0.0 for value in point] for point in points]


def lesion_block(lesion: SynopticLesion) -> ShownBlock:
    """Return the known values of a lesion of a case; findings have the keys and values of the synoptic report."""
    findings: Mapping[str, Any] = {
        "breslow": lesion.depth_mm,
        "ulceration": {None: None, True: "present", False: "not_identified"}[lesion.ulceration],
        "clark": ROMAN[lesion.clark - 1] if lesion.clark else None,
        "mitotic_rate": lesion.mitoses_per_mm2,
    }
    names = {column: name for name, column in CASE_COLUMNS.items()}
    at_least = "at least " if lesion.depth_at_least else ""
    return group(
        LESION,
        "Lesion of the case",
        (
            known(
                names.get(column, column),
                f"{field_title(column)}, entered in the case" if column in names else field_title(column),
                findings[names[column]] if column in names else lesion.cell(column),
                at_least * (column == "depth_mm") + format_table_cell(column, lesion.cell(column)),
            )
            for column in (*SITE_COLUMNS, *LESION_COLUMNS)
        ),
    )


def is_private_cell(name: str, text: str) -> bool:
    """Whether a cell identifies a patient: the id, and an age that few people reach."""
    try:
        return name == "patient_id" or (name in AGES and float(text) > MAX_AGE)
    except ValueError:
        return False


def format_table_cell(name: str, text: str) -> str:
    """Format the cell of a column of the harmonized table with its unit."""
    column = find_column(name)
    if not text or column is None:
        return ""
    if column.taxonomy and text in load_taxonomy(column.taxonomy).words:
        return load_taxonomy(column.taxonomy).title(text)
    if column.kind == "yes_no":
        return format_field_value(name, text)
    return f"{round_number(name, text)} {column.unit}" if column.unit else text


def round_number(name: str, cell: str) -> str:
    """Round the cell of a column of numbers to two decimals, or to three digits if it is small; a thickness to two.

    Any other text, and the cells of any other column, stay as they are.
    """
    column = find_column(name)
    if column is None or column.kind != "number":
        return cell
    try:
        value = float(cell)
    except ValueError:
        return cell
    if not math.isfinite(value):
        return cell
    if name.startswith("depth_mm") and value >= 0.01:
        return f"{round_measured_thickness(value):.2f}"
    decimals = max(2, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{round(value, decimals):.15g}"


class Contradiction(NamedTuple):
    """Values of a report that contradict each other: what they are about, and a sentence with both."""

    key: str
    text: str


def list_contradictions(blocks: Blocks) -> tuple[Contradiction, ...]:
    """State each pair of values in a report that contradict each other.

    Found are two values of one finding, a diagnosis that is not that of the stated tumor, and marks of mitoses that do
    not have the stated rate.
    """
    return (
        *_list_double_values(blocks),
        *_list_diagnosis_contradictions(blocks),
        *_list_mitosis_contradictions(blocks),
    )


def _list_double_values(blocks: Blocks) -> Iterator[Contradiction]:
    """State each finding that has two values: in the synoptic report, the reading, the line, and the case."""
    sources = [
        (one.label[:1].lower() + one.label[1:], one)
        for keys in ((SYNOPTIC,), (READING,), (READING, PICTURE), (LESION,))
        if (one := find_block(blocks, *keys)) is not None
    ]
    for name, field in FIELDS_BY_NAME.items():
        found = [(label, one) for label, source in sources if (one := source.find(name)) is not None]
        found = [(label, one) for label, one in found if one.value not in NO_FINDING and not one.is_private]
        for label, other in found[1:]:
            if not _is_same_finding(name, found[0][1], other):
                first, second = (_format_finding(name, one) for one in (found[0][1], other))
                text = f"{first} ({found[0][0]}), but {second} ({label or other.label})"
                yield Contradiction(name, f"{field.label}: {text}.")
                break


def _format_finding(name: str, block: ShownBlock) -> str:
    """Format a value in the words and the unit of the synoptic report, which differ from those of the case."""
    field, value = FIELDS_BY_NAME[name], block.value
    if isinstance(value, str) and value in field.choices:
        return field.choices[value]
    is_number = isinstance(value, float | int) and name != "breslow"
    return f"{value:.4g} {field.unit}".strip() if is_number else block.text


def _is_same_finding(name: str, first: ShownBlock, second: ShownBlock) -> bool:
    if name == "site":
        sites = load_taxonomy("site")
        return sites.is_within(str(first.value), str(second.value)) or sites.is_within(
            str(second.value), str(first.value)
        )
    if isinstance(first.value, float) and isinstance(second.value, float | int):
        decimals = 2 if name == "breslow" else 1
        return abs(first.value - second.value) < 0.5 * 10**-decimals
    return is_same_value(first.value, second.value)


def _list_diagnosis_contradictions(blocks: Blocks) -> Iterator[Contradiction]:
    """State a diagnosis of the case that is another tumor than that of the synoptic report."""
    stage, lesion = find_block(blocks, SYNOPTIC, "t_category"), find_block(blocks, LESION)
    subtype, extent = (find_block(blocks, SYNOPTIC, name) for name in ("subtype", "extent"))
    if lesion is None or stage is None:
        return
    is_invasive = _state_extent(stage, extent)
    words, seen = load_taxonomy("diagnosis"), set[str]()
    for name in ("diagnosis", "diagnosis_detail"):
        diagnosis = lesion.find(name)
        if diagnosis is None or str(diagnosis.value) in seen:
            continue
        word = str(diagnosis.value)
        seen.add(word)
        reported = stage.text if stage.value or extent is None else extent.text
        text = f"{diagnosis.label}: {diagnosis.text} (lesion of the case), but {reported} (synoptic report)."
        is_melanoma = words.is_within(word, "melanoma")
        other_extent = words.is_within(word, "melanoma in situ" if is_invasive else "invasive melanoma")
        if is_invasive is not None and ((not is_melanoma and word not in GROUPED_WORDS) or other_extent):
            yield Contradiction(name, text)
    detail = lesion.find("diagnosis_detail")
    stated = None if detail is None else SUBTYPES.get(str(detail.value))
    if detail is not None and subtype is not None and stated and subtype.value not in (stated, *NO_FINDING):
        text = f"{subtype.label}: {subtype.text} (synoptic report), but {detail.text} (lesion of the case)."
        yield Contradiction("subtype", text)


def _state_extent(stage: ShownBlock, extent: ShownBlock | None) -> bool | None:
    """Return whether the reported tumor is invasive; None if there is none, or if it is unknown."""
    if extent is not None and extent.value in ("invasive", "in_situ"):
        return bool(extent.value == "invasive")
    category = str(stage.value)
    return None if category in ("", "pTX", "pT0") else category != "pTis"


def _list_mitosis_contradictions(blocks: Blocks) -> Iterator[Contradiction]:
    """State that marked mitoses do not have the stated number or rate."""
    rate, counted = (_find_number(blocks, name) for name in ("mitotic_rate", "mitoses_counted"))
    marked = find_block(blocks, READING, PICTURE, "marked")
    if marked is not None and is_pair(marked.value):
        count, mm2 = marked.value
        if rate is not None and mm2 and abs(rate - count / mm2) > MAX_RATE_ERROR:
            text = f"{rate:.4g} per mm², but {count / mm2:.4g} per mm² by the marks in the depth reading"
            yield Contradiction("rate of marks", f"Mitotic rate: {text}.")
        if counted is not None and counted != count:
            text = f"Mitoses counted: {counted:g}, but {count} marked in the depth reading."
            yield Contradiction("number of marks", text)
    counts = {one.cells[1]: one.value[1] for one in _find_mitosis_counts(blocks) if is_pair(one.value)}
    if rate is not None and counts and all(abs(rate - density) > MAX_RATE_ERROR for density in counts.values()):
        texts = ", ".join(f"{density:.4g} per mm² in {within}" for within, density in counts.items())
        text = f"Mitotic rate: {rate:.4g} per mm², but {texts} by the points that are marked on the slide."
        yield Contradiction("rate of points", text)


def is_pair(value: object) -> bool:
    """Whether a value is two numbers: the blocks of a stored report may have any value."""
    return isinstance(value, list) and len(value) == 2 and all(isinstance(one, float | int) for one in value)


def _find_mitosis_counts(blocks: Blocks) -> Iterator[ShownBlock]:
    """Yield the counts of mitoses in drawn regions."""
    measured = find_block(blocks, MEASUREMENTS)
    for block in () if measured is None else measured.blocks:
        name = block.find("class")
        if name is not None and name.text.casefold().startswith("mito") and block.key.startswith(IN_REGIONS):
            yield block


def _find_number(blocks: Blocks, name: str) -> float | None:
    """Return a number of the synoptic report, or else of the reading; None if neither has one."""
    found = (find_block(blocks, key, name) for key in (SYNOPTIC, READING))
    return next((float(one.value) for one in found if one is not None and isinstance(one.value, float | int)), None)
