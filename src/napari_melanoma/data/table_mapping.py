"""Translate the columns, cells and words of other tables to ours, by the taxonomies and a user's own mapping.

A mapping is stored as TOML; the mapping dialog writes it, and the command line reads it with ``--map``.
"""

from __future__ import annotations

import math
import re
from collections import abc, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from napari_melanoma.core.config import Config, read_toml, write_toml
from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX, COLUMN_NAMES, Column, check_value, find_column
from napari_melanoma.data.taxonomy import (
    TAXONOMY_FOLDER,
    UNKNOWN,
    Taxonomy,
    load_taxonomy,
    normalize_wording,
    normalized_spellings,
    read_taxonomy_rows,
)
from napari_melanoma.io.tables import REPEATED_NAME

Row = abc.Mapping[str, str]  # column to text


class TableMapping(Config):
    """Which of our columns and words correspond to those of a table.

    ``columns`` maps columns of the table to ours; a column mapped to "" is left out, and a column that is not listed
    keeps its name. ``words`` maps, for each of our columns, words of the table to ours; other words are looked up in
    the taxonomies. ``words`` also apply to unlisted columns whose names are known to mean one of our columns.
    """

    columns: dict[str, str] = Field({}, description="their column = our column, or nothing to leave it out")
    words: dict[str, dict[str, str]] = Field({}, description="for each of our columns: their word = our word")

    def apply(self, row: Row) -> dict[str, str]:
        """Rename the cells of a row and translate the words of the mapping.

        If several columns are mapped to one, the first non-empty value is used; a different value stays under the
        name of its own column, or under ``other_<column>`` if that is the name of our column.
        """
        if not self.columns and not self.words:
            return dict(row)
        mapped: dict[str, str] = {}
        differing: dict[str, str] = {}
        for source_column, text in row.items():
            target_column = self.columns.get(source_column, source_column)
            if not target_column:
                continue
            word = self._map_word(target_column, text.strip()) if self.words else text
            if source_column in self.columns and (unit := parse_column_unit(source_column, target_column)):
                word = append_unit(word.strip(), unit)  # the column name, which contains the unit, is lost
            if not mapped.get(target_column):
                mapped[target_column] = word
            elif word and word != mapped[target_column]:
                differing[source_column if source_column != target_column else f"other_{target_column}"] = word
        for name, word in differing.items():
            mapped.setdefault(name, word)
        return mapped

    def _map_word(self, column: str, text: str) -> str:
        """Translate a cell; ``column`` is one of ours, or a name that is known to mean one of ours."""
        columns = (column, *(meaning.column_name for meaning in find_column_meanings(column)))
        return next(
            (self.words[target_column][text] for target_column in columns if text in self.words.get(target_column, {})),
            text,
        )


def read_mapping(path: Path) -> TableMapping:
    return read_toml(path, TableMapping)


def write_mapping(path: Path, mapping: TableMapping) -> None:
    """Write a mapping as TOML, atomically."""
    write_toml(path, mapping)


def suggest_mapping(header: Iterable[str]) -> TableMapping:
    """Suggest a mapping of columns by their names, which are known or differ by one letter from a known one.

    Each of our columns is used at most once; columns without a suggestion are not listed.
    """
    suggested: dict[str, str] = {}
    names = list(header)
    for find in (_find_known_column, suggest_column):
        for name in names:
            target_column = "" if name in suggested else find(name)
            if target_column and target_column not in suggested.values():
                suggested[name] = target_column
    return TableMapping(columns=suggested)


def _find_known_column(name: str) -> str:
    return next((meaning.column_name for meaning in find_column_meanings(name) if not meaning.words_only), "")


# Cells

IMAGE_NAME = re.compile(
    r"(?:.*[/\\])?(.+?)(?:\.(?:jpe?g|png|tiff?|bmp|webp|dcm|heic|"
    r"svs|ndpi|mrxs|scn|bif|svslide|qptiff|czi|vsi|i2?syntax))*",
    re.IGNORECASE,
)
_ESCAPES_FOLDER = re.compile(r"[/\\]|[A-Za-z]:[/\\]|(?:.*[/\\])?\.\.[/\\]")
_NUMBER = re.compile(r"([-+]?[\d.,]*\d[\d.,]*(?:e[-+]?\d+)?)\s*([^\d]*[^\d\s][^\d]*2?)?", re.IGNORECASE)
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
    if column.kind == "text":
        return EMPTY_VALUE if is_unknown_text(text) else CellValue(text)
    if column.kind == "number":
        return _parse_number_cell(column, text)
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
    """Whether a text is empty or means unknown."""
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


def is_exact_diagnosis(text: str, source: str = "") -> bool:
    """Whether a diagnosis is completely understood; False if the last part of a path is not."""
    parts = [part for part in text.split("::") if part.strip()]
    return bool(parts) and load_taxonomy("diagnosis").translate(parts[-1], source) is not None


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


# Column names

_IN_BRACKETS = re.compile(r"\s*[\[(]([^\])]*)[\])]\s*$")
_AS_GIVEN_RANK = 1_000_000  # rank of the columns with values that an earlier import did not understand: last
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\D)(?=\d)")
_DIGITS = re.compile(r"\D+")
_MIN_NAME_LETTERS = 6  # of a known name that may be misspelled; page, side and note resemble shorter ones
_MIN_UNIT_LETTERS = 2  # of a unit without brackets; a single last letter (Age_M) is ambiguous


@dataclass(frozen=True)
class ColumnMeaning:
    """One of our columns to which a column of another table corresponds.

    ``rank``: of several columns with the same meaning, the one with the lowest rank is preferred; our own names have 0.
    ``keeps_original``: the other column is also kept unchanged. ``words_only``: only known words of it are used.
    ``unit``: the unit in brackets in its name, such as ``cm``.
    """

    column_name: str
    rank: int
    keeps_original: bool = False
    words_only: bool = False
    unit: str = ""


@lru_cache(maxsize=4096)
def find_column_meanings(name: str, source: str = "") -> tuple[ColumnMeaning, ...]:
    """Return the meanings of a column name; empty if it is unknown.

    The second column of one name, ``age (2)``, means the same as the first.
    """
    stripped = REPEATED_NAME.sub("", name.strip())
    if stripped.endswith(AS_GIVEN_SUFFIX) and find_column(stripped.removesuffix(AS_GIVEN_SUFFIX)):
        return (ColumnMeaning(stripped.removesuffix(AS_GIVEN_SUFFIX), _AS_GIVEN_RANK),)
    if find_column(stripped) and stripped not in COLUMN_NAMES:
        return (ColumnMeaning(stripped, 0),)  # such as depth_mm_reader_2
    if meanings := _look_up_meanings(stripped, source):
        return meanings
    name_without_bracket, bracket = _IN_BRACKETS.sub("", stripped), _IN_BRACKETS.search(stripped)
    if bracket is None:
        return ()
    unit = bracket.group(1).strip()
    return tuple(_with_unit(meaning, unit) for meaning in _look_up_meanings(name_without_bracket, source))


@lru_cache(maxsize=4096)
def suggest_column(name: str) -> str:
    """Return the column of ours that an unknown name may mean; "" if there is none.

    These are the names with the rule ``suggest`` in the taxonomy, and names with one letter more, less or wrong, or two
    exchanged, than a known one: ``"diagnsis"`` suggests ``"diagnosis"``.
    """
    word = _normalize_name(_IN_BRACKETS.sub("", name.strip()))
    if word in _read_suggestions():
        return _read_suggestions()[word]
    # The digits must be equal, so that diameter 1 and diameter 2 are not confused
    similar = (
        meanings[0].column_name
        for (source, known), meanings in _read_meanings().items()
        if not source and len(known) >= _MIN_NAME_LETTERS
        if _differ_by_one_letter(word, known) and _DIGITS.sub("", known) == _DIGITS.sub("", word)
    )
    return next(similar, "")


def _differ_by_one_letter(first: str, second: str) -> bool:
    """Whether two different words become equal by adding, removing or replacing a letter, or exchanging two."""
    if abs(len(first) - len(second)) > 1:
        return False
    start = 0
    while start < min(len(first), len(second)) and first[start] == second[start]:
        start += 1
    first, second = first[start:], second[start:]
    is_exchange = first[:2] == second[1::-1] and first[2:] == second[2:]
    return is_exchange or first[1:] in (second, second[1:]) or first == second[1:]


@lru_cache(maxsize=4096)
def parse_column_unit(name: str, column_name: str) -> str:
    """Return the unit in a column's name, such as ``Durchmesser (cm)``, ``diameter_cm`` or ``DurchmesserCm``.

    This is the text in brackets, or else the last word if it is a unit of our column; "" for columns of words.
    """
    column, stripped = find_column(column_name), REPEATED_NAME.sub("", name.strip())
    if not column or column.kind != "number" or stripped == column_name:
        return ""
    if bracket := _IN_BRACKETS.search(stripped):
        return bracket.group(1).strip()
    *words, last = re.split(r"[\s_.-]+", _CAMEL.sub(" ", stripped))
    return last if words and len(last) >= _MIN_UNIT_LETTERS and is_convertible_unit(column, last) else ""


def _with_unit(meaning: ColumnMeaning, unit: str) -> ColumnMeaning:
    """Add a unit to the meaning, if our column contains numbers."""
    column = find_column(meaning.column_name)
    return replace(meaning, unit=unit) if column and column.kind == "number" else meaning


def _normalize_name(name: str) -> str:
    """Normalize a column name, so that PatNr, Pat-Nr and pat_nr are equal."""
    return _strip_separators(normalize_wording(name))


def _strip_separators(word: str) -> str:
    return word.replace(" ", "").replace(".", "")


def _look_up_meanings(name: str, source: str) -> tuple[ColumnMeaning, ...]:
    """Look up the meanings of a name in a source, or else those in any table."""
    meanings = _read_meanings()
    for spelling in normalized_spellings(name):
        word = _strip_separators(spelling)
        if matches := (meanings.get((source, word)) if source else None) or meanings.get(("", word), ()):
            return matches
    return ()


def possible_columns(name: str) -> frozenset[str]:
    """Return all our columns that a name may mean in any source."""
    word = _normalize_name(name)
    return frozenset(
        meaning.column_name
        for (_, known_name), meanings in _read_meanings().items()
        if known_name == word
        for meaning in meanings
    )


@cache
def _read_meanings() -> dict[tuple[str, str], tuple[ColumnMeaning, ...]]:
    """Read the meanings of column names by source ("" for any) and normalized name; our own names are included."""
    meanings_by_name: dict[tuple[str, str], list[ColumnMeaning]] = defaultdict(list)
    for name in COLUMN_NAMES:
        meanings_by_name["", _normalize_name(name)].append(ColumnMeaning(name, 0))
    for rank, row in enumerate(read_taxonomy_rows(TAXONOMY_FOLDER / "columns.csv"), start=1):
        if row["rule"] == "suggest":
            continue
        meaning = ColumnMeaning(row["target"], rank, row["rule"] == "keep", row["rule"] == "only")
        for spelling in normalized_spellings(row["source"]):
            key = (row["data_set"], _strip_separators(spelling))
            if all(meaning.column_name != earlier.column_name for earlier in meanings_by_name[key]):
                meanings_by_name[key].append(meaning)
    return {key: tuple(meanings) for key, meanings in meanings_by_name.items()}


@cache
def _read_suggestions() -> dict[str, str]:
    """Read the names that only suggest a column of ours: the id of a case may be that of a patient or of a lesion."""
    rows = read_taxonomy_rows(TAXONOMY_FOLDER / "columns.csv")
    return {_normalize_name(row["source"]): row["target"] for row in rows if row["rule"] == "suggest"}
