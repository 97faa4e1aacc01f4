"""Remove personal data from a report, unless they were requested: dates, names and ages above 89.

Names of readers are replaced by initials, and times by intervals, so that the order of the work stays visible.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import date, datetime
from typing import Any

from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.provenance import UNKNOWN_TIME, parse_time
from napari_melanoma.core.reader_names import unify_names
from napari_melanoma.depth.readings import ReadingChange, SlideDepthReadings, format_time
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.figures.page import Report
from napari_melanoma.privacy.personal_data import AGES, MAX_AGE, find_in_text
from napari_melanoma.privacy.pseudonyms import SHAPE, pseudonym

OLDEST = f"{MAX_AGE + 1} or older"
DAY_S, MONTH_DAYS = 86400.0, 30.44
CALENDAR_DAYS = 2  # by which whole months and years differ from multiples of their mean length
SHORT_ID = re.compile(r"[A-Z]{1,3}-?\d{1,4}")  # such as P-0042; names and hospital numbers are longer
MEASURED_BY = re.compile(r"(?<=measured by )(?!the analysis).*")  # as in ``KnownDepth.description``
SAME_PICTURE = re.compile(r"(?<=an image that looks the same) \(.*\)(?=: )", re.S)  # as in ``classify.SAME_PICTURE``
_IN_PATH = r"(?!'(?:\W|$))[^\n\"<>|]"  # folders and files may contain spaces, commas and apostrophes
_ROOT = r"(?<![\w./:<>-])/(?!(?:mm|cm|µm|hpf)[²2]?\b)(?=[^\s/][^/\n]*(?<=\S)/\S|[^\s/]+\.[A-Za-z])"
# An absolute path up to the file ending; without one up to the next mark, as its end is unknown.
PATH = re.compile(
    rf"(?:file://|(?<!\w)[A-Za-z]:[\\/]|(?<!\\)\\{{2,4}}(?=\w)|{_ROOT})"
    rf"(?:(?:{_IN_PATH})*?\.[A-Za-z][A-Za-z0-9]+(?![\w/\\]|\.[A-Za-z])|(?:(?![,;:)]){_IN_PATH})+)"
)
REMOVED, MAX_REMOVED = "(removed)", 100
# Fields whose changes are left out: free text, coordinates, and a field that changes together with another one.
LEFT_OUT = ("notes", "remarks", "line", "clark_by")
DATE_LEFT_OUT = "date left out: it is personal data"
STATUS = {
    "preliminary": "Draft: the report is not signed.",
    "final": "Signed by {name}.",
    "amended": "Amended, and signed by {name}.",
}


def hide_age(column: str, text: str, *, personal: bool) -> str:
    """Return the value of a column; an age above 89, which few people reach, only if ``personal``."""
    if personal or column not in AGES:
        return text
    try:
        return OLDEST if float(text) > MAX_AGE else text
    except ValueError:
        return text


def show_patient_id(patient_id: str, *, personal: bool) -> str:
    """Return the id of a patient if it is short, a pseudonym, or ``personal``; otherwise a pseudonym of it."""
    is_harmless = SHAPE.fullmatch(patient_id) or SHORT_ID.fullmatch(patient_id)
    return patient_id if personal or is_harmless else pseudonym(patient_id)


def hide_reader(text: str, *, personal: bool) -> str:
    """Return the description of a thickness; the name of the reader who measured it only if ``personal``."""
    return text if personal else MEASURED_BY.sub("a reader", text)


def hide_training_image(text: str, *, personal: bool) -> str:
    """Return a warning of a classifier; the id of the training image that it names only if ``personal``."""
    return text if personal else SAME_PICTURE.sub("", text)


def remove_personal_data(report: Report, files: Iterable[str] = ()) -> Report:
    """Remove paths, the names of ``files``, and personal data that an audit recognizes, from all texts of a report."""
    names = "|".join(map(re.escape, sorted(files, key=len, reverse=True))) or "(?!)"
    cleaned: Report = _clean(report, re.compile(rf"(?<!\w)(?:{names})(?!\w)", re.I))
    return cleaned


def _clean(value: Any, files: re.Pattern[str]) -> Any:  # noqa: ANN401 - a block, a tuple of blocks, or a text
    if isinstance(value, str):
        return value if value.startswith("data:") else _clean_text(value, files)
    if isinstance(value, tuple):
        return tuple(_clean(one, files) for one in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    return replace(value, **{one.name: _clean(getattr(value, one.name), files) for one in fields(value)})


def _clean_text(text: str, files: re.Pattern[str]) -> str:
    text = files.sub(REMOVED, PATH.sub(REMOVED, text))
    for _ in range(MAX_REMOVED):
        personal_part = next((part for _, part in find_in_text(text)), None)
        if personal_part is None:
            break
        text = text.replace(personal_part, REMOVED)
    return text


def label_readers(names: Iterable[str], *, personal: bool) -> dict[str, str]:
    """Return the name of each reader, or initials, which are numbered if two readers have the same."""
    shown = unify_names(names)
    if personal:
        return shown
    initials = {name: _initials(name) for name in dict.fromkeys(shown.values())}
    counts, seen, labels = Counter(initials.values()), Counter[str](), {}
    for name, short in initials.items():
        seen[short] += 1
        labels[name] = short if counts[short] == 1 else f"{short} {seen[short]}"
    return {name: labels[one] for name, one in shown.items()}


def _initials(name: str) -> str:
    """Return the first letter of each word; what stands for the model or a reader without a name is unchanged."""
    from napari_melanoma.depth.readings import MODEL_READER, NO_NAME

    if name in ("", MODEL_READER) or name.startswith(NO_NAME):
        return name
    return "".join(word[0].upper() for word in re.findall(r"[^\W\d_]+", name)) or "Reader"


def disclose_readings(depth: SlideDepthReadings, labels: Mapping[str, str], *, personal: bool) -> SlideDepthReadings:
    """Return readings with the labels of their readers, and with intervals instead of times unless ``personal``.

    Notes are left out, since they are free text. So is the history; see ``disclose_changes``.
    """
    readings = [reading for reading in depth.readings if reading.when]
    shown = show_times([reading.when for reading in readings], personal=personal)
    return depth.model_copy(
        update={
            "readings": tuple(
                reading.model_copy(
                    update={
                        "reader": labels[reading.reader],
                        "when": shown[reading.when],
                        "notes": "",
                        "remarks": {
                            name: remark.model_copy(update={"detail": ""}) for name, remark in reading.remarks.items()
                        },
                        "authors": reading.all_authors(),
                        "history": (),
                    }
                )
                for reading in readings
            )
        }
    )


def disclose_changes(depth: SlideDepthReadings, labels: Mapping[str, str]) -> tuple[ReadingChange, ...]:
    """Return all changes of readings, also by other programs, except those by the model and of ``LEFT_OUT`` fields."""
    from napari_melanoma.depth.readings import MODEL_READER, UNKNOWN_READER, list_all_changes

    changes = (change for reading in depth.readings for change in list_all_changes(reading))
    labels = {UNKNOWN_READER: UNKNOWN_READER, **labels}
    return tuple(
        change.model_copy(update={"reader": labels.get(change.reader, "")})
        for change in sorted(changes, key=lambda change: parse_time(change.when))
        if change.reader != MODEL_READER and change.field not in LEFT_OUT
    )


def show_times(times: Sequence[str], *, personal: bool) -> dict[str, str]:
    """Return the text for each time: the interval from the first known time, or the time itself if ``personal``."""
    if personal:
        return {one: format_time(one) or one or "unknown" for one in times}
    first = min((when for one in times if (when := parse_time(one)) != UNKNOWN_TIME), default=UNKNOWN_TIME)
    return {one: _format_since(first, parse_time(one)) for one in times}


def _format_since(first: datetime, when: datetime) -> str:
    return "unknown" if when == UNKNOWN_TIME else format_later((when - first).total_seconds())


def format_days_later(first: str, then: str) -> str:
    """Format the interval between two days, such as ``12 months later``; empty if one is unknown."""
    try:
        days = (date.fromisoformat(then) - date.fromisoformat(first)).days
    except ValueError:
        return ""
    return format_later(days * DAY_S)


def format_later(seconds: float) -> str:
    """Format an interval in whole units, such as ``5 minutes later`` or ``18 months later``."""
    if seconds < 0:
        return f"{format_later(-seconds).removesuffix(' later')} earlier"
    days = round(seconds / DAY_S)
    for length, unit in ((12 * MONTH_DAYS, "year"), (MONTH_DAYS, "month")):
        if (count := int((days + CALENDAR_DAYS) / length)) >= 2:
            return f"{format_count(count, unit)} later"
    if days:
        return f"{format_count(days, 'day')} later"
    hours, minutes = round(seconds / 3600), round(seconds / 60)
    if hours >= 2:
        return f"{format_count(hours, 'hour')} later"
    return f"{format_count(minutes, 'minute')} later" if minutes else "at the start"


def describe_status(report: SynopticReport, readers: Mapping[str, str], *, personal: bool) -> str:
    """State who signed a report, or that it is not signed; ``readers``: labels of readers by their names."""
    name = readers.get(report.signed_by, "")
    when = f", {format_time(report.signed_at)}" if personal else f" ({DATE_LEFT_OUT})"
    return STATUS[report.status].format(name=name + when)
