"""Cells and columns of other tables in our words: numbers, sites, diagnoses, column names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import NamedTuple

from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX, COLUMN_NAMES, Column, check_value, find_column
from napari_melanoma.data.taxonomy import TAXONOMY_FOLDER, UNKNOWN, Taxonomy, load_taxonomy, read_taxonomy_rows
from napari_melanoma.data.taxonomy.wording import normalize_wording, normalized_spellings

IMAGE_NAME = re.compile(
    r"(?:.*[/\\])?(.+?)(?:\.(?:jpe?g|png|tiff?|bmp|webp|dcm|heic|svs|ndpi|mrxs|scn|bif|svslide|qptiff))*", re.IGNORECASE
)
_ESCAPES_FOLDER = re.compile(r"[/\\]|[A-Za-z]:[/\\]|(?:.*[/\\])?\.\.[/\\]")
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


class CellValue(NamedTuple):
    """What a cell says in our words, and where it cannot be taken, why: ``unmapped`` or ``impossible``."""

    value: str
    fault: str = ""


EMPTY_VALUE = CellValue("")
UNMAPPED = CellValue("", "unmapped")
IMPOSSIBLE = CellValue("", "impossible")


def parse_cell(column: Column, text: str, source: str = "") -> CellValue:
    """Understand a cell.

    Empty without a fault where it says that nobody knows.
    """
    if column.name == "image_id":
        return CellValue(strip_image_suffix(text))
    if column.kind == "text":
        return EMPTY_VALUE if is_unknown_text(text) else CellValue(text)
    if column.kind == "number":
        return _parse_number_cell(column, text)
    words = load_taxonomy(column.taxonomy or "yes_no")
    found = translate_word(words, text, source)
    return UNMAPPED if found is None else CellValue("" if found == UNKNOWN else found)


def append_unit(text: str, unit: str) -> str:
    """Write the unit that a column states behind a number that has none, so that it is not lost with the column.

    Returns the text as it is where it is no bare number, or nobody knows such a unit.
    """
    return f"{text} {unit}" if unit.lower() in _UNIT and parse_number(text) is not None else text


def is_convertible_unit(column: Column, unit: str) -> bool:
    """Return whether numbers with this unit can be converted to that of the column."""
    return bool(unit) and _unit_factor(column.unit, unit) is not None


def strip_image_suffix(text: str) -> str:
    """Name an image by its file."""
    found = IMAGE_NAME.fullmatch(text)
    return found.group(1) if found else text


def escapes_folder(text: str) -> bool:
    """Return whether the name of an image is an absolute path, or one that leads out of its folder."""
    return _ESCAPES_FOLDER.match(text) is not None


def translate_word(words: Taxonomy, text: str, source: str = "") -> str | None:
    """Look a word up, also where a spreadsheet has made ``3.0`` of ``3``."""
    found = words.translate(text, source)
    if found is None and (value := parse_number(text)) is not None and value.is_integer():
        return words.translate(f"{value:.0f}", source)
    return found


def parse_number(text: str) -> float | None:
    """Read a number with a point or a comma before its decimals.

    None where it is none.
    """
    if "," in text and "." in text:
        text = text.replace(".", "").replace(",", ".") if text.rfind(",") > text.rfind(".") else text.replace(",", "")
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def _parse_number_cell(column: Column, text: str) -> CellValue:
    """A number in the unit of its column, if it is possible."""
    if is_unknown_text(text):
        return EMPTY_VALUE
    match = _NUMBER.fullmatch(text)
    value = parse_number(match.group(1)) if match else None
    if match is None or value is None or (factor := _unit_factor(column.unit, match.group(2))) is None:
        return UNMAPPED
    written = f"{value * factor:.10g}"
    return IMPOSSIBLE if check_value(column, written) else CellValue(written)


def _unit_factor(unit: str, written: str | None) -> float | None:
    """By what a number with this unit is multiplied, None where the unit does not fit."""
    if not written:
        return 1.0
    return _FACTORS.get(unit, {}).get(_UNIT.get(written.strip().lower(), ""))


def is_unknown_text(text: str) -> bool:
    """Say whether a text stands for what nobody knows.

    True also for an empty one.
    """
    return not text[-1:].isdigit() and load_taxonomy("sex").translate(text) == UNKNOWN


FILLER_WORDS = frozenset(
    (
        *("the", "of", "on", "side", "aspect", "der", "die", "das", "am", "an", "den", "la", "el", "los", "le", "les"),
        *("do", "da", "de", "del", "della", "il", "lo", "sur", "no", "na"),
    )
)
MIDDLE_WORDS = frozenset(("middle", "mid", "central", "center", "centre", "mitte", "mittig", "midden"))
_ELIDED = re.compile(r"\b(?:l|d|all|dell|nell|sull)['’]", re.IGNORECASE)  # or the l of l'aine would mean left


class BodySite(NamedTuple):
    """A place on the body; each part is "" where it is not said."""

    site: str = ""
    sub_site: str = ""
    laterality: str = ""


NO_SITE = BodySite()


@lru_cache(maxsize=16384)
def parse_body_site(text: str, source: str = "") -> BodySite | None:
    """Understand a word for a place, such as ``left forearm`` or ``Torso Back Top Third``.

    Empty where it says that nobody knows, None where it is not understood.
    """
    words = normalize_wording(_ELIDED.sub(" ", text))
    whole = _look_up_site(words, source)
    if whole is not None:
        return whole
    alone = load_taxonomy("laterality").translate(words)
    if alone is not None:
        return BodySite(laterality=alone)
    sides, rest = _split_laterality(words.split())
    if len(sides) > 1:
        return None
    side = sides.pop() if sides else ""
    bare = [word for word in rest if word not in FILLER_WORDS]
    if not bare:
        return BodySite(laterality=side) if side else None
    found = _look_up_site(" ".join(rest), source) or _look_up_site(" ".join(bare), source)
    return found._replace(laterality=side) if found else None


def merge_body_sites(first: BodySite, second: BodySite) -> BodySite | None:
    """Add to a place what another column says of it.

    Returns as exact as both together; None where they contradict each other, for then the first one holds.
    """
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
    """A word of the taxonomies; the most exact meaning counts."""
    sub_sites = load_taxonomy("sub_site")
    found = sub_sites.translate(word, source)
    if found and found != UNKNOWN:
        return BodySite(sub_sites.parent(found), found)
    site = load_taxonomy("site").translate(word, source)
    return None if site is None else NO_SITE if site == UNKNOWN else BodySite(site)


def _split_laterality(words: Iterable[str]) -> tuple[set[str], list[str]]:
    """The sides that are named among some words, and the other words.

    Beside a place, ``middle`` and the like are passed over: of a finger or the back they do not mean the midline.
    """
    sides, rest = set[str](), list[str]()
    for word in words:
        side = load_taxonomy("laterality").translate(word)
        if side and side != UNKNOWN and word not in MIDDLE_WORDS:
            sides.add(side)
        elif word not in MIDDLE_WORDS:
            rest.append(word)
    return sides, rest


MELANOMA = "melanoma"


class Diagnosis(NamedTuple):
    """A diagnosis in the columns of the table; each is "" where it is not said.

    ``group`` is a word that is less than a diagnosis, such as ``benign``.
    """

    diagnosis: str = ""
    detail: str = ""
    target: str = ""
    melanoma: str = ""
    group: str = ""


@lru_cache(maxsize=16384)
def translate_diagnosis(text: str, source: str = "") -> str | None:
    """Look a diagnosis up.

    A word of the taxonomy; ``unknown`` where nobody knows, None where it is not understood.
    """
    words = load_taxonomy("diagnosis")
    found = (words.translate(part, source) for part in reversed(text.split("::")) if part.strip())
    return next((word for word in found if word is not None), None)


def is_exact_diagnosis(text: str, source: str = "") -> bool:
    """Tell whether a diagnosis is understood as exactly as it is written.

    False where the last part of a path is not known.
    """
    parts = [part for part in text.split("::") if part.strip()]
    return bool(parts) and load_taxonomy("diagnosis").translate(parts[-1], source) is not None


@lru_cache(maxsize=4096)
def expand_diagnosis(word: str) -> Diagnosis:
    """Say what follows from a diagnosis.

    Its class and, where the word is more exact, the word itself.
    """
    words = load_taxonomy("diagnosis")
    if word in ("", UNKNOWN):
        return Diagnosis()
    target = words.fact(word, "target")
    surely_not = words.fact(word, "melanoma") or ("0" if target and not words.is_within(MELANOMA, word) else "")
    melanoma = "1" if words.is_within(word, MELANOMA) else surely_not
    level = words.fact(word, "level")
    if level == "group":
        return Diagnosis(target=target, melanoma=melanoma, group=word)
    above = next(up for up in words.iter_ancestors(word) if words.fact(up, "level") == "diagnosis")
    return Diagnosis(above, word if word != above else "", target, melanoma)


_IN_BRACKETS = re.compile(r"\s*[\[(]([^\])]*)[\])]\s*$")
_AS_GIVEN_RANK = 1_000_000  # the rank of what stood in a column once and was not understood then
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\D)(?=\d)")
_REPEATED = re.compile(r"(.)\1+")
_DIGITS = re.compile(r"\D+")
_MIN_SIMILARITY = 0.78  # least similarity of two names of which one may be a misspelling of the other
_MIN_NAME_LETTERS = 4  # letters of a name that is compared by similarity: of shorter ones everything is similar
_MIN_UNIT_LETTERS = 2  # letters of a unit without brackets: a last letter alone (Age_M) may mean anything
# What a part of a name says, where the whole name is not known; the first that fits counts.
_NAME_KEYWORDS = (
    ("patient_id", {"patient", "patients", "pat", "subject", "subj", "paciente", "paziente", "person", "mrn", "pid"}),
    ("lesion_id", {"lesion", "lesions"}),
    ("depth_mm", {"breslow", "thickness", "tumordicke"}),
    ("diagnosis", {"diagnosis", "diagnose", "dx", "histology", "histopathology"}),
    ("fitzpatrick", {"fitzpatrick", "phototype", "skintype"}),
    ("site", {"localization", "localisation", "anatomic", "anatomical", "site", "lokalisation"}),
    ("image_id", {"image", "img", "photo", "photograph", "file", "filename", "picture", "bild"}),
    ("diameter_1_mm", {"diameter", "diam", "durchmesser", "durchm", "diametre", "diametro"}),
    ("age", {"age", "alter", "edad", "idade"}),
    ("sex", {"sex", "gender", "geschlecht", "sexo"}),
)
# Names of their own that resemble a known one (pt_age).
_UNRELATED_NAMES = {"page", "pages", "stage", "staging"}
# Of these nothing but the patient's name is meant by the word: "patient age" is no patient.
_NOT_AN_ID = {"age", "sex", "gender", "history", "birth", "dob", "height", "weight", "name", "race", "ethnicity"}


@dataclass(frozen=True)
class ColumnMeaning:
    """That a column of theirs means one of ours.

    ``unit``: what stands in brackets behind its name, such as ``cm``, in which its numbers are.
    """

    column_name: str
    rank: int
    keeps_original: bool = False
    words_only: bool = False
    unit: str = ""


@lru_cache(maxsize=4096)
def find_column_meanings(name: str, source: str = "") -> tuple[ColumnMeaning, ...]:
    """Say what a column means.

    Empty where it is a column of its own.
    """
    stripped = name.strip()
    if stripped.endswith(AS_GIVEN_SUFFIX) and find_column(stripped.removesuffix(AS_GIVEN_SUFFIX)):
        return (ColumnMeaning(stripped.removesuffix(AS_GIVEN_SUFFIX), _AS_GIVEN_RANK),)
    if find_column(stripped) and stripped not in COLUMN_NAMES:
        return (ColumnMeaning(stripped, 0),)  # of a reader
    if found := _look_up_meanings(stripped, source):
        return found
    bare, bracket = _IN_BRACKETS.sub("", stripped), _IN_BRACKETS.search(stripped)
    return tuple(
        _with_unit(meaning, bracket.group(1).strip()) for meaning in _look_up_meanings(bare, source) if bracket
    )


@lru_cache(maxsize=4096)
def suggest_column(name: str) -> str:
    """Find the column of ours that a column with an unknown name most probably is.

    Such as ``"patient_id"`` for ``"Patienten_Kennung"``; "" where no known name is similar.
    """
    bare = _IN_BRACKETS.sub("", name.strip())
    known = {word: means[0].column_name for (source, word), means in _read_meanings().items() if not source}
    word = _normalize_name(bare)
    if word in _UNRELATED_NAMES:
        return ""
    if len(word) >= _MIN_NAME_LETTERS:
        same_number = [one for one in known if _DIGITS.sub("", one) == _DIGITS.sub("", word)]  # of two diameters
        alike = get_close_matches(
            word, [one for one in same_number if len(one) >= _MIN_NAME_LETTERS], n=1, cutoff=_MIN_SIMILARITY
        )
        if alike:
            return known[alike[0]]
        once = _REPEATED.sub(r"\1", word)  # sexx: also of short names
        if repeated := next((one for one in known if _REPEATED.sub(r"\1", one) == once), ""):
            return known[repeated]
    parts = set(normalize_wording(_CAMEL.sub(" ", bare)).split())
    found = next((ours for ours, words in _NAME_KEYWORDS if parts & words), "")
    if found == "patient_id" and parts & _NOT_AN_ID:
        return next((ours for ours, words in _NAME_KEYWORDS[1:] if parts & words), "")
    return found


@lru_cache(maxsize=4096)
def parse_column_unit(name: str, column_name: str) -> str:
    """Return the unit that a column's name states for the numbers in it.

    ``name``: in the header of any table, such as ``Durchmesser (cm)``, ``diameter_cm`` or ``DurchmesserCm``. What is in
    brackets, else the last word where it is a unit of that column; "" for columns of words.
    """
    column, stripped = find_column(column_name), name.strip()
    if not column or column.kind != "number" or stripped == column_name:
        return ""
    if bracket := _IN_BRACKETS.search(stripped):
        return bracket.group(1).strip()
    *before, last = re.split(r"[\s_.-]+", _CAMEL.sub(" ", stripped))
    return last if before and len(last) >= _MIN_UNIT_LETTERS and is_convertible_unit(column, last) else ""


def _with_unit(meaning: ColumnMeaning, unit: str) -> ColumnMeaning:
    """What a column means whose name states a unit; of words there is none."""
    column = find_column(meaning.column_name)
    return replace(meaning, unit=unit) if column and column.kind == "number" else meaning


def _normalize_name(name: str) -> str:
    """Write a name without case, accents and separators: PatNr, Pat-Nr and pat_nr are one name."""
    return _strip_separators(normalize_wording(name))


def _strip_separators(word: str) -> str:
    return word.replace(" ", "").replace(".", "")


def _look_up_meanings(name: str, source: str) -> tuple[ColumnMeaning, ...]:
    """What a column means to a source, else to anybody."""
    known = _read_meanings()
    for spelling in normalized_spellings(name):
        word = _strip_separators(spelling)
        if found := (known.get((source, word)) if source else None) or known.get(("", word), ()):
            return found
    return ()


def list_known_names() -> dict[str, tuple[str, ...]]:
    """List every name of a column that is understood.

    Our column to the names of others, those of one source alone included.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for row in read_taxonomy_rows(TAXONOMY_FOLDER / "columns.csv"):
        found[row["ours"]].append(row["theirs"])
    return {ours: tuple(dict.fromkeys(theirs)) for ours, theirs in found.items()}


def possible_columns(name: str) -> frozenset[str]:
    """Say what a column may mean where nobody knows which set it is from.

    Our columns that it is to anybody, or to one source alone.
    """
    word = _normalize_name(name)
    return frozenset(
        meaning.column_name for (_, known), means in _read_meanings().items() if known == word for meaning in means
    )


@cache
def _read_meanings() -> dict[tuple[str, str], tuple[ColumnMeaning, ...]]:
    """(Source, compact name) to what it means; our own names mean themselves."""
    found: dict[tuple[str, str], list[ColumnMeaning]] = defaultdict(list)
    for name in COLUMN_NAMES:
        found["", _normalize_name(name)].append(ColumnMeaning(name, 0))
    for rank, row in enumerate(read_taxonomy_rows(TAXONOMY_FOLDER / "columns.csv"), start=1):
        meaning = ColumnMeaning(row["ours"], rank, row["rule"] == "keep", row["rule"] == "only")
        for spelling in normalized_spellings(row["theirs"]):
            key = (row["source"], _strip_separators(spelling))
            if all(meaning.column_name != other.column_name for other in found[key]):
                found[key].append(meaning)
    return {key: tuple(meant) for key, meant in found.items()}
