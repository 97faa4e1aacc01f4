"""What tables say: columns by their names and the form of their values, and running text in any cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import IO

from napari_melanoma.core.csv_cells import CsvError, CsvReader
from napari_melanoma.workflows.audit.finding import Entry, Finding, found
from napari_melanoma.workflows.audit.rules import AGES, PATIENT_IDS, REMARKS, field_kind, in_text, is_date, judge, plain

SAMPLED = 200  # rows by which it is decided what a column holds
BLOCK_ROWS = 5_000
SEPARATORS = ",;\t|"


def table_findings(file: IO[str], name: str) -> Iterator[Finding]:
    """Look a table through, row by row.

    One for each column and kind, with the number of rows.
    """
    while (header_line := file.readline()).startswith("#"):  # remarks above the header, as exports have them
        entry = Entry("table", "remark above the header", "", header_line)
        yield from (found(name, entry, kind, value) for kind, value in judge(entry))
    separator = max(SEPARATORS, key=header_line.count)
    header = [cell.strip() for cell in next(CsvReader([header_line], separator), [])]
    rows = _rows(file, separator)
    first = list(islice(rows, SAMPLED))
    asked = [place for place, column in enumerate(header) if _is_asked(column, [r[place : place + 1] for r in first])]
    seen: dict[tuple[str, str], tuple[Entry, str]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    rows = chain(first, rows)
    while block := list(islice(rows, BLOCK_ROWS)):
        hits = chain(_by_column(block, header, asked), _by_text(block, header))
        for key, entry, value, count in hits:
            seen.setdefault(key, (entry, value))
            counts[key] += count
    yield from (found(name, entry, key[1], value, counts[key]) for key, (entry, value) in seen.items())


def _rows(file: Iterable[str], separator: str) -> Iterator[list[str]]:
    """Rows of a table; one that cannot be taken apart is one cell, so that nothing is passed over."""
    reader = CsvReader((line.replace("\0", "") for line in file), separator)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except CsvError:  # such as a cell longer than any should be
            continue


Hit = tuple[tuple[str, str], Entry, str, int]


def _by_column(block: list[list[str]], header: list[str], asked: list[int]) -> Iterator[Hit]:
    """What the columns that are asked give away."""
    for place in asked:
        for value, count in Counter(row[place] for row in block if place < len(row)).items():
            entry = Entry("table", f"column '{header[place]}'", header[place], value)
            for kind, part in judge(entry):
                yield (header[place], kind), entry, part, count


def _by_text(block: list[list[str]], header: list[str]) -> Iterator[Hit]:
    """What stands in running text of a block: looked for in all of it at once, and then in each column."""
    if not any(True for _ in in_text("\n".join("\t".join(row) for row in block))):
        return
    for place in range(max(len(row) for row in block)):
        column = header[place] if place < len(header) else f"{place + 1}"
        cells = [row[place] for row in block if place < len(row)]
        for kind, part in in_text("\n".join(cells)):
            entry = Entry("table", f"column '{column}'", column, part)
            yield (column, kind), entry, part, sum(part in cell for cell in cells)


def _is_asked(column: str, cells: list[list[str]]) -> bool:
    """Whether the values of a column have to be judged one by one."""
    values = [cell[0] for cell in cells if cell and cell[0]]
    named = bool(field_kind(column)) or plain(column) in (*AGES, *PATIENT_IDS, *REMARKS)
    return named or any(map(is_date, values))
