"""A mapping of the columns and words of a user's table to ours: suggested, edited and stored as TOML.

The command line reads it with ``--map``, the mapping dialog writes it.
"""

from __future__ import annotations

import re
from collections import abc
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pydantic import Field

from napari_melanoma.core.config import Config, read_toml, write_toml
from napari_melanoma.data.table_cells import append_unit, find_column_meanings, parse_column_unit
from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy

_FILE = re.compile(r".+\.(?:jpe?g|png|tiff?|bmp|webp|dcm|heic)", re.IGNORECASE)
MIN_FILLED_SHARE = 0.1  # share of rows below which a column counts as nearly empty
MIN_KNOWN_WORDS_SHARE = 0.6  # share of different words of a column that must be understood for a guess
COLUMNS_GUESSED_BY_WORDS = (
    "sex",
    "sub_site",
    "site",
    "diagnosis",
    "modality",
    "laterality",
    "diagnosis_by",
)  # the most certain first
Row = abc.Mapping[str, str]


class TableMapping(Config):
    """Which of our columns and words correspond to those of a table.

    ``columns`` maps a column of the table to one of ours; "" leaves it out, and one that is not listed keeps its name.
    ``words`` maps, for each of our columns, words of the table to ours; one that is not listed is looked up in the
    taxonomies. Words also apply to columns whose name alone identifies one of ours.
    """

    columns: dict[str, str] = Field({}, description="their column = our column, or nothing to leave it out")
    words: dict[str, dict[str, str]] = Field({}, description="for each of our columns: their word = our word")

    def apply(self, row: Row) -> dict[str, str]:
        """Rename the cells of a row and translate the words of the mapping.

        Where several columns become one, the first non-empty value counts; a different value of another stays under its
        own name (``other_<column>`` if that is our name).
        """
        found: dict[str, str] = {}
        differing: dict[str, str] = {}
        for theirs, text in row.items():
            ours = self.columns.get(theirs, theirs)
            if not ours:
                continue
            word = self._map_word(ours, text.strip()) if self.words else text
            if theirs in self.columns and (unit := parse_column_unit(theirs, ours)):
                word = append_unit(word.strip(), unit)  # the column name with the unit is lost
            if not found.get(ours):
                found[ours] = word
            elif word and word != found[ours]:
                differing[theirs if theirs != ours else f"other_{ours}"] = word
        for name, word in differing.items():
            found.setdefault(name, word)
        return found

    def _map_word(self, column: str, text: str) -> str:
        """Translate a cell of a column, whose name may still be that of another source."""
        columns = (column, *(meaning.column_name for meaning in find_column_meanings(column)))
        return next((self.words[ours][text] for ours in columns if text in self.words.get(ours, {})), text)


def read_mapping(path: Path) -> TableMapping:
    return read_toml(path, TableMapping)


def write_mapping(path: Path, mapping: TableMapping) -> None:
    """Write a mapping as TOML, atomically."""
    write_toml(path, mapping)


def suggest_mapping(header: Sequence[str], rows: Sequence[Row]) -> TableMapping:
    """Suggest which of our columns the columns of a table are: by their names, else by their words.

    Maps columns only, each of ours at most once; columns without a suggestion are not listed.
    """
    guesses: dict[str, str] = {}
    cells = {name: [row.get(name, "") for row in rows] for name in header}
    full = [name for name in header if sum(map(bool, cells[name])) >= MIN_FILLED_SHARE * len(rows)]
    sparse = [name for name in header if name not in full]  # nearly empty: considered last
    for names in (full, sparse):
        _assign_guesses(names, _guess_by_name, guesses)
        _assign_guesses(names, lambda name: _guess_by_words(cells[name]), guesses)
    return TableMapping(columns=guesses)


def _assign_guesses(header: Iterable[str], guess: Callable[[str], str], guesses: dict[str, str]) -> None:
    """Assign its guess to each column that has none yet, unless another column has that guess."""
    for name in header:
        ours = guess(name) if name not in guesses else ""
        if ours and ours not in guesses.values():
            guesses[name] = ours


def _guess_by_name(name: str) -> str:
    """Guess by the column name; "" where it is unknown or ambiguous."""
    return next((meaning.column_name for meaning in find_column_meanings(name) if not meaning.words_only), "")


def _guess_by_words(cells: Iterable[str]) -> str:
    """Guess by the words: our column with most of the different words of a column; "" where there is none."""
    words = {cell.strip() for cell in cells} - {""}
    if words and all(_FILE.fullmatch(word) for word in words):
        return "image_id"
    for column in COLUMNS_GUESSED_BY_WORDS:
        translate = load_taxonomy(column).translate
        meant = [ours for word in words if not _is_number(word) and (ours := translate(word)) not in (None, UNKNOWN)]
        if meant and len(meant) >= MIN_KNOWN_WORDS_SHARE * len(words):
            return "site" if column == "sub_site" else column
    return ""


def _is_number(word: str) -> bool:
    """Whether a word is a number, which occurs in some taxonomies but identifies no column."""
    return word.replace(".", "", 1).replace(",", "", 1).isdigit()
