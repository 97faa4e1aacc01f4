"""Read tables from users, in any common encoding and with any separator, and write Parquet."""

from __future__ import annotations

import codecs
import datetime
import gzip
import io
import json
import re
import warnings
import zipfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from napari_melanoma.core.csv_files import CsvError, CsvReader
from napari_melanoma.core.errors import ConfigError, DataSetError, MalformedFile
from napari_melanoma.core.files import atomic_file, open_regular
from napari_melanoma.core.parsing import parse_json

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from openpyxl.cell.read_only import EmptyCell, ReadOnlyCell
    from openpyxl.worksheet._read_only import ReadOnlyWorksheet

PYARROW_MISSING = (
    "Parquet requires pyarrow, which is not installed: pip install 'napari-melanoma[parquet]'. Alternatively, export "
    "CSV, which has the same columns."
)
SEPARATORS = (",", ";", "\t", "|")
CHUNK_BYTES = 1 << 20
ENCODING_BY_MARK = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
BYTE_ORDER_MARKS = tuple(ENCODING_BY_MARK)
REPEATED_NAME = re.compile(r" \((?:[2-9]|[1-9]\d+)\)$")  # added to the second column of one name
WORKBOOK = ".xlsx"
_MERGED_AREA = re.compile(rb'<(?:\w+:)?mergeCell [^>]*?ref="([A-Z]+[0-9]+:[A-Z]+[0-9]+)"')
_MERGED_AREA_BYTES = 200  # more than such an element has
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # xlsx and ods, xls


def write_parquet(path: Path, columns: Mapping[str, NDArray[Any] | Sequence[Any]]) -> None:
    """Write columns as a Parquet file; NaN becomes null."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(PYARROW_MISSING) from error
    table = arrow.table({name: arrow.array(values, from_pandas=True) for name, values in columns.items()})
    with atomic_file(path) as temporary:
        parquet.write_table(table, temporary)


@dataclass(frozen=True)
class CsvDialect:
    """Format of a table: encoding, separator, and number of lines before the header.

    ``strict``: a row with more cells than the header is an error; otherwise its last cells, such as remarks, are
    ignored.
    """

    encoding: str = "utf-8"
    separator: str = ","
    before_header: int = 0
    strict: bool = True


def detect_encoding(chunks: Iterable[bytes]) -> str:
    """Detect the encoding of a text.

    Returns ``utf-8``, ``utf-8-sig`` or a variant of UTF-16; otherwise ``cp1252``, or ``latin-1`` for bytes that are not
    valid in Windows-1252.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_utf8, is_windows, is_first = True, True, True
    for chunk in chunks:
        if is_first and chunk.startswith(WORKBOOKS):
            raise DataSetError("this is a workbook of a spreadsheet program. Save its sheet as CSV")
        if is_first and (encoding := _detect_unicode(chunk)):
            return encoding
        is_first = False
        if is_utf8:
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                is_utf8 = False
        is_windows = is_windows and not any(byte in chunk for byte in b"\x81\x8d\x8f\x90\x9d")
    return "utf-8" if is_utf8 and not decoder.getstate()[0] else "cp1252" if is_windows else "latin-1"


def _detect_unicode(start: bytes) -> str:
    """Return the encoding by a byte order mark, or by the zeros in Latin text in UTF-16; empty without either."""
    marked = next((encoding for mark, encoding in ENCODING_BY_MARK.items() if start.startswith(mark)), "")
    if marked or len(start) < 4:
        return marked
    sample = start[:400]
    for offset, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        every_second = sample[offset::2]
        if every_second.count(0) > 0.6 * len(every_second):
            return encoding
    return ""


def decode_table(raw: bytes) -> str:
    """Decode the text of a table, without a byte order mark; line ends are unchanged."""
    return raw.decode(detect_encoding([raw]))


def detect_separator(lines: Sequence[str]) -> tuple[str, int]:
    """Detect the separator of a table.

    Returns the separator, and the number of lines before the header. Excel may write a line such as ``sep=;`` before
    the header; without it, the separator that splits the header into the most cells is chosen.
    """
    head = lines[0].strip().lower() if lines else ""
    if head.startswith("sep=") and len(head) in (4, 5):
        return head[4:] or "\t", 1
    return max(SEPARATORS, key=lambda separator: len(next(CsvReader(lines[:1], separator), []))), 0


def parse_rows(lines: Iterable[str], dialect: CsvDialect, where: str) -> Iterator[dict[str, str]]:
    """Parse the rows of a table.

    A row maps columns to text without surrounding white space, "" for missing cells. Empty rows are left out. The
    second of two columns with the same name is called ``<name> (2)``, and a column without a name ``column_<number>``.
    ``where``: name of the table in error messages.
    """
    reader = CsvReader(lines, dialect.separator)
    try:
        for _ in range(dialect.before_header):
            next(reader, None)
        header = unique_names(next(reader, []))
        width = len(header)
        for cells in reader:
            if dialect.strict and len(cells) > width and any(cell.strip() for cell in cells[width:]):
                raise DataSetError(
                    f"{where}, line {reader.line_num}: expected {width} cells as in the header, found {len(cells)}. "
                    "Quote cells that contain the separator, or save the table with semicolons."
                )
            if any(cells):
                cells += [""] * (width - len(cells))
                yield dict(zip(header, map(str.strip, cells), strict=False))
    except CsvError as error:
        raise DataSetError(f"{where} cannot be read: {error}, line {reader.line_num}. Expected a CSV table.") from error


def is_json_lines(name: str) -> bool:
    """Whether a table has a JSON object a line, as the ``metadata.jsonl`` of Hugging Face, by the name of its file."""
    return name.lower().removesuffix(".gz").endswith(".jsonl")


def parse_json_lines(lines: Iterable[str], where: str) -> Iterator[dict[str, str]]:
    """Parse a table with a JSON object a line; lists and objects in it become JSON text."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = parse_json(line, where)
        except MalformedFile as error:
            raise DataSetError(f"{where}, line {number}: {error.reason}. Expected a JSON object a line.") from error
        if not isinstance(values, dict):
            raise DataSetError(f"{where}, line {number}: expected a JSON object, found {type(values).__name__}.")
        yield {name.strip(): _format_json_value(value) for name, value in values.items()}


def _format_json_value(value: object) -> str:
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def parse_table_text(text: str, where: str = "the table") -> Generator[dict[str, str], None, None]:
    """Parse the rows of a table in memory; ``where``: its file name, or its name in messages."""
    lines = io.StringIO(text, newline="")
    if is_json_lines(where):
        yield from parse_json_lines(lines, where)
        return
    separator, before = detect_separator([lines.readline()])
    lines.seek(0)
    yield from parse_rows(lines, CsvDialect("", separator, before), where)


def detect_dialect(path: Path) -> CsvDialect:
    try:
        with _open_unpacked(path) as file:
            encoding = detect_encoding(iter(lambda: file.read(CHUNK_BYTES), b""))
        with _open_unpacked(path) as file, io.TextIOWrapper(file, encoding, newline="") as text:
            return CsvDialect(encoding, *detect_separator([text.readline()]))
    except (OSError, EOFError, UnicodeDecodeError, CsvError, DataSetError) as error:
        raise _unreadable_error(path, error) from error


def iterate_rows(path: Path, dialect: CsvDialect | None = None) -> Generator[dict[str, str], None, None]:
    """Yield the rows of a table file; it is closed after the last row, or when the generator is closed.

    Of a workbook (XLSX), the first visible sheet is read.
    """
    if is_workbook(path):
        yield from _iterate_sheet(path)
        return
    dialect = dialect or detect_dialect(path)
    parse = parse_json_lines if is_json_lines(path.name) else partial(parse_rows, dialect=dialect)
    try:
        with _open_unpacked(path) as file, io.TextIOWrapper(file, dialect.encoding, newline="") as text:
            yield from parse(text, where=str(path))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise _unreadable_error(path, error) from error


def _iterate_sheet(path: Path) -> Generator[dict[str, str], None, None]:
    """Yield the rows of the first visible sheet of a workbook; its first row with a text is the header."""
    rows = iterate_workbook_rows(path)
    names = unique_names(next(rows, []))
    for cells in rows:
        yield dict(zip(names, [*cells, *[""] * (len(names) - len(cells))], strict=False))


def unique_names(header: Iterable[str]) -> list[str]:
    """Make the column names of a table unique."""
    names: list[str] = []
    for number, cell in enumerate(header, start=1):
        name = base = cell.strip() or f"column_{number}"
        suffix = 1
        while name in names:
            suffix += 1
            name = f"{base} ({suffix})"
        names.append(name)
    return names


def _open_unpacked(path: Path) -> BinaryIO:
    """Open a file, decompressing gzip."""
    file = open_regular(path)
    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if not compressed:
        return file
    file.close()
    return cast("BinaryIO", gzip.open(path, "rb"))


def _unreadable_error(path: Path, error: Exception) -> DataSetError:
    """Create the error for a missing or unreadable table."""
    if isinstance(error, FileNotFoundError):
        return DataSetError(f"there is no file {path}: expected a CSV table.")
    reason = getattr(error, "strerror", None) or error
    return DataSetError(
        f"cannot read {path}: {reason}. Expected a CSV table. Select another file, or save it as CSV again."
    )


def is_workbook(path: Path) -> bool:
    return path.suffix.lower() == WORKBOOK


def iterate_workbook_rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows of the first visible sheet as texts, as the sheet shows them; formulas as their last results.

    Empty rows are left out. Cells merged over several rows have their text in each of them, except those of the header.
    Whole numbers have no decimals, and leading zeros if their format does; dates are in the form YYYY-MM-DD.
    """
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and extensions that openpyxl does not read
            book = load_workbook(path, read_only=True, data_only=True)
            try:
                visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
                yield from _iterate_cells((visible or book.worksheets)[0])
            finally:
                book.close()
    except FileNotFoundError as error:
        raise DataSetError(f"there is no file {path}: expected a table as CSV or XLSX.") from error
    except (OSError, KeyError, IndexError, ValueError, zipfile.BadZipFile, InvalidFileException) as error:
        raise DataSetError(
            f"cannot read the workbook {path}: {error}. Save its sheet as CSV, and select that file."
        ) from error


def _iterate_cells(sheet: ReadOnlyWorksheet) -> Iterator[list[str]]:
    last_rows = _find_merged_cells(sheet)
    merged: dict[int, tuple[str, int]] = {}  # column: text of a merged cell, and its last row
    is_header = True
    for row, cells in enumerate(sheet.iter_rows(), start=1):
        texts = [_format_cell(cell) for cell in cells]
        if not any(texts):
            continue
        for column, text in enumerate(texts):
            if (row, column) in last_rows and not is_header:
                merged[column] = (text, last_rows[row, column])
            elif column in merged and row <= merged[column][1]:
                texts[column] = merged[column][0]
        is_header = False
        yield texts


def _find_merged_cells(sheet: ReadOnlyWorksheet) -> dict[tuple[int, int], int]:
    """Map the first cell of each area merged over several rows, (row from 1, column from 0), to the last row.

    Openpyxl does not read these areas from a sheet that is too large for memory.
    """
    from openpyxl.utils import range_boundaries

    last_rows, before = {}, b""
    with sheet._get_source() as file:
        while chunk := file.read(CHUNK_BYTES):
            content = before + chunk
            for area in _MERGED_AREA.findall(content):
                left, top, _, bottom = range_boundaries(area.decode())
                if bottom > top:
                    last_rows[top, left - 1] = bottom
            before = content[-_MERGED_AREA_BYTES:]
    return last_rows


def _format_cell(cell: ReadOnlyCell | EmptyCell) -> str:
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int | float) and value == int(value):
        is_padded = value >= 0 and re.fullmatch("0+", cell.number_format or "")
        return str(int(value)).zfill(len(cell.number_format) if is_padded else 0)
    if isinstance(value, datetime.datetime):
        return value.date().isoformat()
    return str(value).strip()
