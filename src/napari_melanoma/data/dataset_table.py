"""The table of a data set: read, change and write it in the dialect of the spreadsheet that wrote it, under a lock."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from napari_melanoma.core.csv_files import CsvError, CsvReader, CsvWriter
from napari_melanoma.core.errors import DataSetError, RunError, SaveError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.io.tables import BYTE_ORDER_MARKS, decode_table, detect_dialect, detect_separator, iterate_rows

KEY_COLUMN = "image_id"
LOCK_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class TableLayout:
    """How a table is written: separator, line end, and whether it begins with a byte order mark."""

    separator: str = ","
    line_end: str = "\n"
    byte_order_mark: bool = False

    def format_line(self, cells: list[str]) -> str:
        """Format cells as one record, quoted where needed, without its line end."""
        text = io.StringIO()
        CsvWriter(text, self.separator, line_end="").write_row(cells)
        return text.getvalue()


@dataclass(frozen=True)
class TableRecord:
    """One row: its text in the file, without the line end, and its cells."""

    text: str
    cells: list[str]


@dataclass(frozen=True)
class TableFile:
    """The content of a table; immutable: each change returns a new table.

    ``columns`` are the names in the header, ``header`` is its text in the file.
    """

    columns: tuple[str, ...]
    records: tuple[TableRecord, ...]
    header: str
    layout: TableLayout = TableLayout()

    @classmethod
    def empty(cls, columns: tuple[str, ...]) -> Self:
        """Make a table without rows: comma-separated, line feeds, no byte order mark."""
        return cls(columns, (), TableLayout().format_line(list(columns)))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a table without its empty rows, which spreadsheets leave at the end."""
        try:
            raw = path.read_bytes()
            text = decode_table(raw)
            lines = list(io.StringIO(text, newline=""))
            separator, before = detect_separator(lines[:1])
            line_end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
            layout = TableLayout(separator, line_end, raw.startswith(BYTE_ORDER_MARKS))
            records = _parse_records(lines[before:], layout)
        except (OSError, UnicodeDecodeError, CsvError, DataSetError) as error:
            raise DataSetError(f"cannot read {path}: {error}. Expected a CSV table in UTF-8.") from error
        header = records[0] if records else TableRecord("", [])
        if KEY_COLUMN not in header.cells:
            found = ", ".join(header.cells) or "no rows"
            raise DataSetError(
                f"{path} needs a column image_id and at least one row; found {found}. "
                "'napari-melanoma data harmonize' renames columns to those of a data set."
            )
        return cls(tuple(header.cells), tuple(records[1:]), header.text, layout)

    def write(self, path: Path) -> None:
        """Write the table atomically."""
        lines = (self.header, *(record.text for record in self.records), "")
        encoding = "utf-8-sig" if self.layout.byte_order_mark else "utf-8"
        with atomic_file(path) as temporary:
            temporary.write_bytes(self.layout.line_end.join(lines).encode(encoding, "backslashreplace"))

    @cached_property
    def _column_positions(self) -> dict[str, int]:
        """Index of each column; the first one if a name is repeated."""
        return {column: self.columns.index(column) for column in self.columns}

    def rows(self) -> list[dict[str, str]]:
        """Return every row: column name to text, "" if a cell is missing."""
        return [self.row(index) for index in range(len(self.records))]

    def row(self, index: int) -> dict[str, str]:
        """Return one row: column name to text, "" if a cell is missing."""
        cells = self.records[index].cells
        return {column: cells[i] if i < len(cells) else "" for column, i in self._column_positions.items()}

    def column(self, name: str) -> list[str]:
        """Return the cells of a column; "" if a cell or the column is missing."""
        position = self._column_positions.get(name)
        if position is None:
            return [""] * len(self.records)
        return [record.cells[position] if position < len(record.cells) else "" for record in self.records]

    def index_by(self, column: str) -> dict[str, int]:
        """Map each value of a column to the index of the first row with it; "" is left out."""
        return {value: n for n, value in reversed(list(enumerate(self.column(column)))) if value}

    def with_columns(self, columns: tuple[str, ...]) -> Self:
        """Append the missing ones of some columns; returns the same table if none is missing."""
        added = [column for column in columns if column not in self._column_positions]
        if not added:
            return self
        separator, width = self.layout.separator, len(self.columns) + len(added)
        header = separator.join((self.header, self.layout.format_line(added)))
        records = tuple(
            TableRecord(record.text + separator * missing, [*record.cells, *[""] * missing])
            for record in self.records
            for missing in (max(0, width - len(record.cells)),)
        )
        return replace(self, columns=(*self.columns, *added), records=records, header=header)

    def update_row(self, index: int, values: Mapping[str, str]) -> Self:
        return self._replace_records(index, index + 1, [self._update_record(list(self.records[index].cells), values)])

    def update_column(self, column: str, values: Sequence[str]) -> Self:
        """Change one column in all rows at once."""
        position = self._column_positions[column]
        records = tuple(
            record
            if position < len(record.cells) and record.cells[position] == value
            else self._update_record(list(record.cells), {column: value})
            for record, value in zip(self.records, values, strict=True)
        )
        return replace(self, records=records)

    def insert_row(self, index: int, values: Mapping[str, str]) -> Self:
        return self._replace_records(index, index, [self._update_record([], values)])

    def remove_row(self, index: int) -> Self:
        return self._replace_records(index, index + 1, [])

    def _replace_records(self, start: int, stop: int, records: list[TableRecord]) -> Self:
        return replace(self, records=(*self.records[:start], *records, *self.records[stop:]))

    def _update_record(self, cells: list[str], values: Mapping[str, str]) -> TableRecord:
        """Return a row with some cells replaced; columns that the table does not have are ignored."""
        cells += [""] * (len(self.columns) - len(cells))
        for column, value in values.items():
            if column in self._column_positions:
                cells[self._column_positions[column]] = value
        return TableRecord(self.layout.format_line(cells), cells)


def iter_table_rows(path: Path) -> Iterator[dict[str, str]]:
    """Read the table of a data set row by row, so that a large table need not be in memory.

    Yields column name to text without surrounding white space; "" if a cell is missing.
    """
    rows = iterate_rows(path, replace(detect_dialect(path), strict=False))
    first = next(rows, None)
    if first is None or KEY_COLUMN not in first:
        TableFile.read(path)  # raises with the reason
        return
    yield first
    yield from rows


def _parse_records(lines: list[str], layout: TableLayout) -> list[TableRecord]:
    """Parse lines into records, each with its own text; a quoted cell may contain line ends."""
    reader = CsvReader(lines, layout.separator)
    records, start = [], 0
    for cells in reader:
        text = "".join(lines[start : reader.line_num]).rstrip("\r\n")
        start = reader.line_num
        if any(cells):
            records.append(TableRecord(text if reader.is_safe else layout.format_line(cells), cells))
    return records


class TableIndex:
    """A table with its row indices by pixel fingerprint (``by_digest``) and by image id (``by_id``)."""

    def __init__(self, table: TableFile) -> None:
        self.table = table
        self.by_digest = table.index_by("image_sha256")
        self.by_id = table.index_by("image_id")


class SharedTable:
    """The table of a folder that several windows may change, with its lock file."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path = path
        self._columns = columns
        self._last_read: tuple[tuple[int, ...], TableIndex] | None = None

    def read(self) -> TableIndex:
        """Read the table, from memory if the file is unchanged; empty if there is no file."""
        try:
            status = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return TableIndex(TableFile.empty(self._columns))
        except OSError as error:
            raise DataSetError(f"cannot read {self.path}: {error.strerror}. Ask for permission to read it.") from error
        last_read = self._last_read
        if last_read is None or last_read[0] != _file_stamp(status):
            last_read = self._last_read = (
                _file_stamp(status),
                TableIndex(TableFile.read(self.path).with_columns(self._columns)),
            )
        return last_read[1]

    def save(self, table: TableFile) -> None:
        """Write the table atomically."""
        try:
            table.write(self.path)
        except SaveError as error:
            if isinstance(error.__cause__, PermissionError):  # Windows raises it for a file open in a spreadsheet
                raise SaveError(
                    f"cannot write {self.path}: it is open in another program, such as a spreadsheet, or there is no "
                    "permission. Close it there and try again; nothing was changed."
                ) from error.__cause__
            raise
        with suppress(OSError):  # the next call then reads the file
            self._last_read = (_file_stamp(self.path.stat()), TableIndex(table))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the table against other writers, also in other processes; creates the folder if it is missing."""
        folder = self.path.parent
        with ExitStack() as held:
            try:
                held.enter_context(hold_lock(folder / ".lock", LOCK_TIMEOUT_S))
            except RunError as error:
                raise SaveError(
                    f"cannot write {folder}: another window has been writing to it for {LOCK_TIMEOUT_S:.0f} s. "
                    "Wait for it, or close it, and try again."
                ) from error
            yield


def _file_stamp(status: os.stat_result) -> tuple[int, ...]:
    """Values that change when another process writes the file."""
    return status.st_ino, status.st_mtime_ns, status.st_size
