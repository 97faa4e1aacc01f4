"""Translate the columns of other tables to ours, and their words by a user's own mapping.

A mapping is stored as TOML; the mapping dialog writes it, and the command line reads it with ``--map``.
"""

from __future__ import annotations

import re
from collections import Counter, abc, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

from pydantic import Field

from napari_melanoma.core.config import Config, read_toml, write_toml
from napari_melanoma.data.cell_values import append_unit, is_convertible_unit
from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX, COLUMN_NAMES, find_column
from napari_melanoma.data.taxonomy import (
    TAXONOMY_FOLDER,
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

    Each of our columns is used at most once; columns without a suggestion are not listed. Nor are known columns that
    mean more than another name for one of ours: those of which several have one meaning, of several meanings, or of
    which only some values are used. They are understood by their names, and not all of it if they are renamed.
    """
    names = list(header)
    known = {name: meanings for name in names if (meanings := find_column_meanings(name))}
    counts = Counter(meaning.column_name for meanings in known.values() for meaning in meanings)
    suggested = {
        name: meanings[0].column_name
        for name, meanings in known.items()
        if _is_other_name(name, meanings) and (counts[meanings[0].column_name] == 1 or meanings[0].rank == 0)
    }
    for name in names:
        target_column = "" if name in known else suggest_column(name)
        if target_column and target_column not in (*suggested.values(), *counts):
            suggested[name] = target_column
    return TableMapping(columns=suggested)


def _is_other_name(name: str, meanings: Sequence[ColumnMeaning]) -> bool:
    """Whether a known column is one of ours under another name, and no repeated one."""
    (first, *others) = meanings
    is_plain = not (others or first.keeps_original or first.words_only or first.rank == _AS_GIVEN_RANK)
    return is_plain and not REPEATED_NAME.search(name)


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
