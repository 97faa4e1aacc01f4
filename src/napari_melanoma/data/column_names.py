"""Which of our columns a column of others is: ``taxonomy/columns.csv``, read and looked up."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache, lru_cache

from napari_melanoma.data.cells import is_unit_of
from napari_melanoma.data.table_schema import AS_GIVEN, NAMES, column_named
from napari_melanoma.data.taxonomy import HERE, read_rows
from napari_melanoma.data.taxonomy.wording import plain, spellings

_IN_BRACKETS = re.compile(r"\s*[\[(]([^\])]*)[\])]\s*$")
_LAST = 1_000_000  # the rank of what stood in a column once and was not understood then
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\D)(?=\d)")
_REPEATED = re.compile(r"(.)\1+")
_DIGITS = re.compile(r"\D+")
_ALIKE = 0.78  # least similarity of two names of which one may be a misspelling of the other
_SHORTEST = 4  # letters of a name that is compared by similarity: of shorter ones everything is similar
_SHORTEST_UNIT = 2  # letters of a unit without brackets: a last letter alone (Age_M) may mean anything
# What a part of a name says, where the whole name is not known; the first that fits counts.
_PARTS = (
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
_OTHERS = {"page", "pages", "stage", "staging"}
# Of these nothing but the patient's name is meant by the word: "patient age" is no patient.
_NOT_AN_ID = {"age", "sex", "gender", "history", "birth", "dob", "height", "weight", "name", "race", "ethnicity"}


@dataclass(frozen=True)
class Meaning:
    """That a column of theirs means one of ours.

    ``unit``: what stands in brackets behind its name, such as ``cm``, in which its numbers are.
    """

    ours: str
    rank: int
    keeps: bool = False
    only_words: bool = False
    unit: str = ""


@lru_cache(maxsize=4096)
def meanings(name: str, source: str = "") -> tuple[Meaning, ...]:
    """Say what a column means.

    Empty where it is a column of its own.
    """
    stripped = name.strip()
    if stripped.endswith(AS_GIVEN) and column_named(stripped.removesuffix(AS_GIVEN)):
        return (Meaning(stripped.removesuffix(AS_GIVEN), _LAST),)
    if column_named(stripped) and stripped not in NAMES:
        return (Meaning(stripped, 0),)  # of a reader
    if found := _known(stripped, source):
        return found
    bare, bracket = _IN_BRACKETS.sub("", stripped), _IN_BRACKETS.search(stripped)
    return tuple(_in_unit(meaning, bracket.group(1).strip()) for meaning in _known(bare, source) if bracket)


@lru_cache(maxsize=4096)
def nearest(name: str) -> str:
    """Find the column of ours that a column with an unknown name most probably is.

    Such as ``"patient_id"`` for ``"Patienten_Kennung"``; "" where no known name is similar.
    """
    bare = _IN_BRACKETS.sub("", name.strip())
    known = {word: means[0].ours for (source, word), means in _meanings().items() if not source}
    word = _compact(bare)
    if word in _OTHERS:
        return ""
    if len(word) >= _SHORTEST:
        same_number = [one for one in known if _DIGITS.sub("", one) == _DIGITS.sub("", word)]  # of two diameters
        alike = get_close_matches(word, [one for one in same_number if len(one) >= _SHORTEST], n=1, cutoff=_ALIKE)
        if alike:
            return known[alike[0]]
        once = _REPEATED.sub(r"\1", word)  # sexx: also of short names
        if repeated := next((one for one in known if _REPEATED.sub(r"\1", one) == once), ""):
            return known[repeated]
    parts = set(plain(_CAMEL.sub(" ", bare)).split())
    found = next((ours for ours, words in _PARTS if parts & words), "")
    if found == "patient_id" and parts & _NOT_AN_ID:
        return next((ours for ours, words in _PARTS[1:] if parts & words), "")
    return found


@lru_cache(maxsize=4096)
def stated_unit(name: str, ours: str) -> str:
    """Return the unit that a column's name states for the numbers in it.

    ``name``: in the header of any table, such as ``Durchmesser (cm)``, ``diameter_cm`` or ``DurchmesserCm``. What is in
    brackets, else the last word where it is a unit of that column; "" for columns of words.
    """
    column, stripped = column_named(ours), name.strip()
    if not column or column.kind != "number" or stripped == ours:
        return ""
    if bracket := _IN_BRACKETS.search(stripped):
        return bracket.group(1).strip()
    *before, last = re.split(r"[\s_.-]+", _CAMEL.sub(" ", stripped))
    return last if before and len(last) >= _SHORTEST_UNIT and is_unit_of(column, last) else ""


def _in_unit(meaning: Meaning, unit: str) -> Meaning:
    """What a column means whose name states a unit; of words there is none."""
    column = column_named(meaning.ours)
    return replace(meaning, unit=unit) if column and column.kind == "number" else meaning


def _compact(name: str) -> str:
    """Write a name without case, accents and separators: PatNr, Pat-Nr and pat_nr are one name."""
    return _bare(plain(name))


def _bare(word: str) -> str:
    return word.replace(" ", "").replace(".", "")


def _known(name: str, source: str) -> tuple[Meaning, ...]:
    """What a column means to a source, else to anybody."""
    known = _meanings()
    for spelling in spellings(name):
        word = _bare(spelling)
        if found := (known.get((source, word)) if source else None) or known.get(("", word), ()):
            return found
    return ()


def known_names() -> dict[str, tuple[str, ...]]:
    """List every name of a column that is understood.

    Our column to the names of others, those of one source alone included.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for row in read_rows(HERE / "columns.csv"):
        found[row["ours"]].append(row["theirs"])
    return {ours: tuple(dict.fromkeys(theirs)) for ours, theirs in found.items()}


def meant_by_any(name: str) -> frozenset[str]:
    """Say what a column may mean where nobody knows which set it is from.

    Our columns that it is to anybody, or to one source alone.
    """
    word = _compact(name)
    return frozenset(meaning.ours for (_, known), means in _meanings().items() if known == word for meaning in means)


@cache
def _meanings() -> dict[tuple[str, str], tuple[Meaning, ...]]:
    """(Source, compact name) to what it means; our own names mean themselves."""
    found: dict[tuple[str, str], list[Meaning]] = defaultdict(list)
    for name in NAMES:
        found["", _compact(name)].append(Meaning(name, 0))
    for rank, row in enumerate(read_rows(HERE / "columns.csv"), start=1):
        meaning = Meaning(row["ours"], rank, row["rule"] == "keep", row["rule"] == "only")
        for spelling in spellings(row["theirs"]):
            key = (row["source"], _bare(spelling))
            if all(meaning.ours != other.ours for other in found[key]):
                found[key].append(meaning)
    return {key: tuple(meant) for key, meant in found.items()}
