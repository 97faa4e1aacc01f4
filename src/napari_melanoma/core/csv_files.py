"""Write and read CSV safely: no cell is written that a spreadsheet program would execute as a formula.

A text that begins like a formula (``=``, ``+``, ``-``, ``@`` or their full-width forms, also after white space and
invisible characters; a tab or a line end) gets an apostrophe in front, as OWASP recommends. So does a text that begins
with apostrophes and would otherwise lose one when it is read: ``unescape_cell(escape_cell(text)) == text`` for every
text. A cell that is a number is not changed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

FORMULA_MARK = "'"
CsvError = csv.Error
_INVISIBLE = r"\s\x00-\x1f\x7f\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
_BEGINNING = rf"{FORMULA_MARK}*(?:[{_INVISIBLE}]*[=+\-@＝＋－＠]|[\t\r\n])"
_FORMULA = re.compile(_BEGINNING)
_FORMULA_IN_ROW = re.compile(f"\x1f{_BEGINNING}")
_NUMBER = re.compile(r"[+-]?(?:(?:\d[\d.,]*|[.,]\d+)(?:e[+-]?\d+)?|inf|nan)", re.ASCII | re.IGNORECASE)


class _TextSink(Protocol):
    def write(self, text: str, /) -> object: ...


def escape_cell(text: str) -> str:
    """Return a text as it is written into a table."""
    return text if not text or text[0].isalnum() or not _needs_escape(text) else FORMULA_MARK + text


def unescape_cell(text: str) -> str:
    """Undo ``escape_cell``; other cells are unchanged."""
    return text[1:] if text[:1] == FORMULA_MARK and _needs_escape(text[1:]) else text


def _needs_escape(text: str) -> bool:
    """Whether ``escape_cell`` changes a text: it begins like a formula or like an escaped text, and is not a number."""
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None


def _may_hold_formula(cells: Sequence[object]) -> bool:
    """Whether any cell begins like a formula; one search per row, because most tables have none."""
    return _FORMULA_IN_ROW.search("\x1f" + "\x1f".join([cell for cell in cells if isinstance(cell, str)])) is not None


class CsvWriter:
    """Write rows of CSV; numbers are written as such, texts are escaped."""

    def __init__(self, file: _TextSink, separator: str = ",", line_end: str = "\n") -> None:
        self._file, self._line_end = file, line_end
        # csv quotes only cells with a character of its own line end: with \r\n, cells with either.
        self._csv = csv.writer(self, delimiter=separator, lineterminator="\r\n")

    def write_row(self, cells: Iterable[object]) -> None:
        """Write a row; None is an empty cell."""
        row = [cell if cell is None or isinstance(cell, str | int | float) else str(cell) for cell in cells]
        if _may_hold_formula(row):
            row = [escape_cell(cell) if isinstance(cell, str) else cell for cell in row]
        self._csv.writerow(row)

    def write_rows(self, rows: Iterable[Iterable[object]]) -> None:
        for cells in rows:
            self.write_row(cells)

    def write_dicts(self, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
        """Write a header, and rows as mappings; a missing column is left empty."""
        self.write_row(columns)
        self.write_rows([row.get(column) for column in columns] for row in rows)

    def write(self, line: str) -> None:
        """Write a line of ``csv``."""
        self._file.write(line.removesuffix("\r\n") + self._line_end)


class CsvReader(Iterator[list[str]]):
    """Read rows of CSV, unescaped."""

    def __init__(self, lines: Iterable[str], separator: str = ",", *, strict: bool = False) -> None:
        self._csv = csv.reader(lines, delimiter=separator, strict=strict)
        self._cells: list[str] = []

    @property
    def line_num(self) -> int:
        """Number of lines read."""
        return self._csv.line_num

    @property
    def is_safe(self) -> bool:
        """Whether the last row is escaped as ``CsvWriter`` would write it."""
        return not _may_hold_formula(self._cells) or all(
            escape_cell(unescape_cell(cell)) == cell for cell in self._cells
        )

    def __next__(self) -> list[str]:
        """Read a row."""
        self._cells = cells = next(self._csv)
        # One search per row, because few have an apostrophe: checking each cell of 400,000 rows takes seconds.
        return [unescape_cell(cell) for cell in cells] if FORMULA_MARK in "".join(cells) else cells


def read_csv_dicts(lines: Iterable[str], *, strict: bool = False) -> csv.DictReader[str]:
    """Read rows of CSV with a header as dicts, a missing cell as ""; otherwise as ``CsvReader``."""
    rows: csv.DictReader[str] = csv.DictReader((), restval="")
    rows.reader = CsvReader(lines, strict=strict)  # type: ignore[assignment] # csv uses nothing else of it
    return rows
