"""What a cell of somebody's table says in ours: a word, a number without its unit, yes or no, or nothing."""

from __future__ import annotations

import re
from typing import NamedTuple

from napari_melanoma.data.table_schema import Column, check_value
from napari_melanoma.data.taxonomy import UNKNOWN, Taxonomy, taxonomy

IMAGE_NAME = re.compile(
    r"(?:.*[/\\])?(.+?)(?:\.(?:jpe?g|png|tiff?|bmp|webp|dcm|heic|svs|ndpi|mrxs|scn|bif|svslide|qptiff))*", re.IGNORECASE
)
_LEADS_OUT = re.compile(r"[/\\]|[A-Za-z]:[/\\]|(?:.*[/\\])?\.\.[/\\]")
_NUMBER = re.compile(r"([-+]?[\d.,]*\d[\d.,]*(?:e[-+]?\d+)?)\s*([^\d]*[^\d\s][^\d]*2?)?", re.IGNORECASE)
_FACTORS = {  # of a unit in the unit of the column
    "years": {"year": 1.0, "month": 1 / 12, "week": 7 / 365.25, "day": 1 / 365.25},
    "mm": {"mm": 1.0, "cm": 10.0, "um": 0.001},
    "µm": {"um": 1.0, "nm": 0.001, "mm": 1000.0},
    "1/mm²": {"mm2": 1.0},
}
_UNITS = {
    # 85+ is 85: data sets cap the age at what few reach, and ISIC writes 85 for it
    "year": "+ y yr yrs year years yo jahr jahre j a an ans ano anos año años anno anni jaar",
    "month": "m mo mon month months monat monate mes meses mois mese mesi maand maanden",
    "week": "w week weeks woche wochen",
    "day": "d day days tag tage",
    "mm": "mm millimeter millimetre millimeters millimetres",
    "cm": "cm centimeter centimetre",
    "um": "um μm µm micron microns um/px μm/px µm/px um/pixel μm/pixel µm/pixel mpp",
    "nm": "nm",
    "mm2": "/mm2 /mm^2 /mm² per mm2 per mm² mm-2",
}
_UNIT = {spelling: unit for unit, spellings in _UNITS.items() for spelling in spellings.split()} | {"per mm2": "mm2"}


class Said(NamedTuple):
    """What a cell says in our words, and where it cannot be taken, why: ``unmapped`` or ``impossible``."""

    value: str
    fault: str = ""


NOTHING = Said("")
UNMAPPED = Said("", "unmapped")
IMPOSSIBLE = Said("", "impossible")


def said(column: Column, text: str, source: str = "") -> Said:
    """Understand a cell.

    Empty without a fault where it says that nobody knows.
    """
    if column.name == "image_id":
        return Said(stem_of(text))
    if column.kind == "text":
        return NOTHING if says_nothing(text) else Said(text)
    if column.kind == "number":
        return _number(column, text)
    words = taxonomy(column.taxonomy or "yes_no")
    found = word_of(words, text, source)
    return UNMAPPED if found is None else Said("" if found == UNKNOWN else found)


def with_unit(text: str, unit: str) -> str:
    """Write the unit that a column states behind a number that has none, so that it is not lost with the column.

    Returns the text as it is where it is no bare number, or nobody knows such a unit.
    """
    return f"{text} {unit}" if unit.lower() in _UNIT and number(text) is not None else text


def is_unit_of(column: Column, unit: str) -> bool:
    """Return whether numbers with this unit can be converted to that of the column."""
    return bool(unit) and _factor(column.unit, unit) is not None


def stem_of(text: str) -> str:
    """Name an image by its file."""
    found = IMAGE_NAME.fullmatch(text)
    return found.group(1) if found else text


def leads_out(text: str) -> bool:
    """Return whether the name of an image is an absolute path, or one that leads out of its folder."""
    return _LEADS_OUT.match(text) is not None


def word_of(words: Taxonomy, text: str, source: str = "") -> str | None:
    """Look a word up, also where a spreadsheet has made ``3.0`` of ``3``."""
    found = words.translate(text, source)
    if found is None and (value := number(text)) is not None and value.is_integer():
        return words.translate(f"{value:.0f}", source)
    return found


def number(text: str) -> float | None:
    """Read a number with a point or a comma before its decimals.

    None where it is none.
    """
    if "," in text and "." in text:
        text = text.replace(".", "").replace(",", ".") if text.rfind(",") > text.rfind(".") else text.replace(",", "")
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def _number(column: Column, text: str) -> Said:
    """A number in the unit of its column, if it is possible."""
    if says_nothing(text):
        return NOTHING
    match = _NUMBER.fullmatch(text)
    value = number(match.group(1)) if match else None
    if match is None or value is None or (factor := _factor(column.unit, match.group(2))) is None:
        return UNMAPPED
    written = f"{value * factor:.10g}"
    return IMPOSSIBLE if check_value(column, written) else Said(written)


def _factor(unit: str, written: str | None) -> float | None:
    """By what a number with this unit is multiplied, None where the unit does not fit."""
    if not written:
        return 1.0
    return _FACTORS.get(unit, {}).get(_UNIT.get(written.strip().lower(), ""))


def says_nothing(text: str) -> bool:
    """Say whether a text stands for what nobody knows.

    True also for an empty one.
    """
    return not text[-1:].isdigit() and taxonomy("sex").translate(text) == UNKNOWN
