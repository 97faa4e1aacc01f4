"""Values of the cells of tables from other sources: numbers with units, words, body sites and diagnoses."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from napari_melanoma.data.table_schema import Column, check_value
from napari_melanoma.data.taxonomy import UNKNOWN, Taxonomy, load_taxonomy, normalize_wording

IMAGE_NAME = re.compile(
    r"(?:.*[/\\])?(.+?)(?:\.(?:jpe?g|png|tiff?|bmp|webp|dcm|heic|"
    r"svs|ndpi|mrxs|scn|bif|svslide|qptiff|czi|vsi|i2?syntax))*",
    re.IGNORECASE,
)
_ESCAPES_FOLDER = re.compile(r"[/\\]|[A-Za-z]:[/\\]|(?:.*[/\\])?\.\.[/\\]")
_NUMBER = re.compile(r"([-+]?[\d.,]*\d[\d.,]*(?:e[-+]?\d+)?)\s*([^\d]*[^\d\s][^\d]*2?)?", re.IGNORECASE)
# Of a formula, in any language of the program: #REF!, #DIV/0!, #NAME?, #BEZUG!, and #N/A as it is written elsewhere.
_SPREADSHEET_ERROR = re.compile(r"#(?:[^\W\d_]+(?:/0)?[!?]|N/?[BDV])")
_FACTORS = {  # unit of a column: factors from other units
    "years": {"year": 1.0, "month": 1 / 12, "week": 7 / 365.25, "day": 1 / 365.25},
    "mm": {"mm": 1.0, "cm": 10.0, "um": 0.001},
    "µm": {"um": 1.0, "nm": 0.001, "mm": 1000.0},
    "1/mm²": {"mm2": 1.0},
}
_UNITS = {  # unit: its spellings in tables
    # 85+ is read as 85: data sets cap the age, and ISIC writes 85 for all older patients
    "year": "+ y yr yrs year years yo jahr jahre j a an ans ano anos año años anno anni jaar",
    "month": "m mo mon month months monat monate mes meses mois mese mesi maand maanden",
    "week": "w week weeks woche wochen",
    "day": "d day days tag tage",
    "mm": "mm millimeter millimetre millimeters millimetres",
    "cm": "cm centimeter centimetre",
    "um": "um μm µm micron microns um/px μm/px µm/px um/pixel μm/pixel µm/pixel mpp",
    "nm": "nm",
    "mm2": "/mm2 /mm^2 /mm² permm2 permm^2 permm² mm-2",
}
_UNIT_BY_SPELLING = {spelling: unit for unit, spellings in _UNITS.items() for spelling in spellings.split()}


class CellValue(NamedTuple):
    """The value of a cell in our words, or its fault: ``unmapped`` (not understood) or ``impossible``."""

    value: str
    fault: str = ""


EMPTY_VALUE = CellValue("")
UNMAPPED = CellValue("", "unmapped")
IMPOSSIBLE = CellValue("", "impossible")


def parse_cell(column: Column, text: str, source: str = "") -> CellValue:
    """Parse a cell; the value is "" without a fault if the cell means unknown."""
    if column.name == "image_id":
        return CellValue(strip_image_suffix(text))
    if _SPREADSHEET_ERROR.fullmatch(text):
        return UNMAPPED
    if column.kind == "text":
        return EMPTY_VALUE if is_unknown_text(text) else CellValue(text)
    if column.kind == "number":
        return _parse_number_cell(column, text)
    if column.name in BodySite._fields:
        body_site = parse_body_site(text, source)
        return UNMAPPED if body_site is None else CellValue(getattr(body_site, column.name))
    if column.taxonomy == "diagnosis":
        return _parse_diagnosis_cell(column, text, source)
    words = load_taxonomy(column.taxonomy or "yes_no")
    word = translate_word(words, text, source)
    return UNMAPPED if word is None else CellValue("" if word == UNKNOWN else word)


def append_unit(text: str, unit: str) -> str:
    """Append the unit of a column name to a bare number, so that it is not lost with the name.

    Other texts, and numbers with an unknown unit, are returned unchanged.
    """
    number = parse_number(text)
    return f"{text} {unit}" if _find_unit(unit) and number is not None and math.isfinite(number) else text


def is_convertible_unit(column: Column, unit: str) -> bool:
    """Whether numbers with this unit can be converted to the unit of the column."""
    return bool(unit) and _unit_factor(column.unit, unit) is not None


def strip_image_suffix(text: str) -> str:
    """Return the name of an image file without folders and suffix."""
    match = IMAGE_NAME.fullmatch(text)
    return match.group(1) if match else text


def escapes_folder(text: str) -> bool:
    """Whether the name of an image is an absolute path, or a path that leads out of its folder."""
    return _ESCAPES_FOLDER.match(text) is not None


def translate_word(words: Taxonomy, text: str, source: str = "") -> str | None:
    """Translate a word to ours, even if a spreadsheet has turned ``3`` into ``3.0``; None if it is not understood."""
    translation = words.translate(text, source)
    if translation is None and (value := parse_number(text)) is not None and value.is_integer():
        return words.translate(f"{value:.0f}", source)
    return translation


def parse_number(text: str) -> float | None:
    """Parse a number with a decimal point or comma; None if the text is not a number."""
    if "," in text and "." in text:
        text = text.replace(".", "").replace(",", ".") if text.rfind(",") > text.rfind(".") else text.replace(",", "")
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def _parse_number_cell(column: Column, text: str) -> CellValue:
    """Parse a number and convert it to the unit of its column, if possible."""
    if is_unknown_text(text):
        return EMPTY_VALUE
    match = _NUMBER.fullmatch(text)
    value = parse_number(match.group(1)) if match else None
    if match is None or value is None or (factor := _unit_factor(column.unit, match.group(2))) is None:
        return UNMAPPED
    converted = f"{value * factor:.10g}"
    return IMPOSSIBLE if check_value(column, converted) else CellValue(converted)


def _unit_factor(unit: str, written: str | None) -> float | None:
    """Return the factor from a written unit to the unit of a column; None if it cannot be converted."""
    if not written:
        return 1.0
    return _FACTORS.get(unit, {}).get(_find_unit(written))


def _find_unit(written: str) -> str:
    """Return the unit that a spelling means, with or without spaces; "" if it is unknown."""
    return _UNIT_BY_SPELLING.get("".join(written.lower().split()), "")


def is_unknown_text(text: str) -> bool:
    """Whether a text is empty, means unknown, or is an error of a formula, such as ``#REF!``."""
    if _SPREADSHEET_ERROR.fullmatch(text):
        return True
    return not text[-1:].isdigit() and load_taxonomy("sex").translate(text) == UNKNOWN


# Body sites

FILLER_WORDS = frozenset(
    (
        *("the", "of", "on", "side", "aspect", "der", "die", "das", "am", "an", "den", "la", "el", "los", "le", "les"),
        *("do", "da", "de", "del", "della", "il", "lo", "sur", "no", "na"),
    )
)
MIDDLE_WORDS = frozenset(("middle", "mid", "central", "center", "centre", "mitte", "mittig", "midden"))
_ELIDED = re.compile(r"\b(?:l|d|all|dell|nell|sull)['’]", re.IGNORECASE)  # removed, as the l of l'aine would mean left


class BodySite(NamedTuple):
    """A location on the body; each part is "" if unknown."""

    site: str = ""
    sub_site: str = ""
    laterality: str = ""


NO_SITE = BodySite()


@lru_cache(maxsize=16384)
def parse_body_site(text: str, source: str = "") -> BodySite | None:
    """Parse a body site, such as ``left forearm`` or ``Torso Back Top Third``.

    Returns ``NO_SITE`` if it means unknown, None if it is not understood.
    """
    words = normalize_wording(_ELIDED.sub(" ", text))
    whole_text = _look_up_site(words, source)
    if whole_text is not None:
        return whole_text
    laterality = load_taxonomy("laterality").translate(words)
    if laterality is not None:
        return BodySite(laterality=laterality)
    sides, other_parts = _split_laterality(words.split())
    if len(sides) > 1:
        return None
    side = sides.pop() if sides else ""
    site_parts = [word for word in other_parts if word not in FILLER_WORDS]
    if not site_parts:
        return BodySite(laterality=side) if side else None
    site = _look_up_site(" ".join(other_parts), source) or _look_up_site(" ".join(site_parts), source)
    return site._replace(laterality=side) if site else None


def merge_body_sites(first: BodySite, second: BodySite) -> BodySite | None:
    """Combine two descriptions of a body site; None if they contradict each other."""
    sites = load_taxonomy("site")
    if first.site and second.site and not sites.is_within(second.site, first.site):
        if not sites.is_within(first.site, second.site) or second.sub_site:
            return None
        second = second._replace(site="")
    if first.sub_site and second.sub_site not in ("", first.sub_site):
        return None
    if first.laterality and second.laterality not in ("", first.laterality):
        return None
    return BodySite(*(new or old for old, new in zip(first, second, strict=True)))


def _look_up_site(word: str, source: str) -> BodySite | None:
    """Translate a word to a sub-site, or else to a site; None if it is neither."""
    sub_sites = load_taxonomy("sub_site")
    sub_site = sub_sites.translate(word, source)
    if sub_site and sub_site != UNKNOWN:
        return BodySite(sub_sites.parent(sub_site), sub_site)
    site = load_taxonomy("site").translate(word, source)
    return None if site is None else NO_SITE if site == UNKNOWN else BodySite(site)


def _split_laterality(words: Iterable[str]) -> tuple[set[str], list[str]]:
    """Separate the lateralities in some words from the other words.

    ``MIDDLE_WORDS`` are dropped: the middle of a finger or of the back is not the midline.
    """
    sides, other_parts = set[str](), list[str]()
    for word in words:
        side = load_taxonomy("laterality").translate(word)
        if side and side != UNKNOWN and word not in MIDDLE_WORDS:
            sides.add(side)
        elif word not in MIDDLE_WORDS:
            other_parts.append(word)
    return sides, other_parts


# Diagnoses

MELANOMA = "melanoma"


class Diagnosis(NamedTuple):
    """A diagnosis in the columns of the table, "" if unknown.

    ``detail`` is the subtype (``diagnosis_detail``); ``group`` is no column, but a word above the level of a diagnosis,
    such as ``benign``.
    """

    diagnosis: str = ""
    detail: str = ""
    target: str = ""
    melanoma: str = ""
    group: str = ""


@lru_cache(maxsize=16384)
def translate_diagnosis(text: str, source: str = "") -> str | None:
    """Translate a diagnosis; in a path such as ``Malignant::Melanoma``, the last part that is understood counts.

    Returns ``unknown`` if it means unknown, None if it is not understood.
    """
    words = load_taxonomy("diagnosis")
    translations = (words.translate(part, source) for part in reversed(text.split("::")) if part.strip())
    return next((word for word in translations if word is not None), None)


def normalize_diagnosis(text: str) -> str:
    """Return one spelling of a diagnosis: the word of the taxonomy that it means, else its normalized wording."""
    return translate_diagnosis(text) or normalize_wording(text)


def is_exact_diagnosis(text: str, source: str = "") -> bool:
    """Whether a diagnosis is completely understood; False if the last part of a path is not."""
    parts = [part for part in text.split("::") if part.strip()]
    return bool(parts) and load_taxonomy("diagnosis").translate(parts[-1], source) is not None


def _parse_diagnosis_cell(column: Column, text: str, source: str) -> CellValue:
    """Parse a diagnosis or subtype; a word above the level of a diagnosis, such as ``benign``, is not understood."""
    word = translate_diagnosis(text, source)
    diagnosis = Diagnosis() if word is None else expand_diagnosis(word)
    if word is None or diagnosis.group:
        return UNMAPPED
    return CellValue(diagnosis.diagnosis if column.name == "diagnosis" else diagnosis.detail)


@lru_cache(maxsize=4096)
def expand_diagnosis(word: str) -> Diagnosis:
    """Return the diagnosis, subtype and malignancy that a word of the taxonomy implies."""
    words = load_taxonomy("diagnosis")
    if word in ("", UNKNOWN):
        return Diagnosis()
    target = words.fact(word, "target")
    excluded = words.fact(word, "melanoma") or ("0" if target and not words.is_within(MELANOMA, word) else "")
    melanoma = "1" if words.is_within(word, MELANOMA) else excluded
    level = words.fact(word, "level")
    if level == "group":
        return Diagnosis(target=target, melanoma=melanoma, group=word)
    parent = next(up for up in words.iter_ancestors(word) if words.fact(up, "level") == "diagnosis")
    return Diagnosis(parent, word if word != parent else "", target, melanoma)
