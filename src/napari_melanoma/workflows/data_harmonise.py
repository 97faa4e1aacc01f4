"""Harmonise a table: read it however it is written, bring it to our columns and words, write it, say what was met."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.csv_cells import CsvWriter
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.runs import Progress, RunContext
from napari_melanoma.data.harmonise import Harmoniser
from napari_melanoma.data.harmonise_report import HarmoniseReport
from napari_melanoma.data.mapping import Mapping
from napari_melanoma.data.table_schema import NAMES
from napari_melanoma.data.table_text import each_row

STEP = 5000  # rows between two reports
FILES = ("path", "mask_path")


class HarmoniseOptions(Config):
    """What a table is, where it does not say so itself."""

    source: str = Field("", description="name of the public set that the table belongs to; some words differ by set")
    mapping: Mapping = Field(Mapping(), description="what its columns and words mean, where they are nobody else's")


def harmonise_table(table: Path, out: Path, options: HarmoniseOptions, *, run: RunContext) -> HarmoniseReport:
    """Bring a table to our columns and words; its rows stay in their order, and none is left out."""
    if out.resolve() == table.resolve():
        raise InputError(f"{out} is the table itself: name another file, so that it stays as it is.")
    harmoniser = Harmoniser(options.source)
    written = _Lines()
    moved = _way(out.resolve().parent, table.resolve().parent)
    for row in _given(table, options.mapping, run):
        found = harmoniser.row(row)
        for column in FILES if moved != "." else ():
            if found.get(column) and not Path(found[column]).is_absolute():
                found[column] = Path(os.path.normpath(Path(moved, found[column]))).as_posix()
        if not written.count:
            written.expect((*NAMES, *harmoniser.stays(row)))
        written.add(found)
    if not written.count:
        raise DataSetError(f"{table} needs at least one row below its header; found none.")
    written.write(out)
    return harmoniser.report()


def _way(start: Path, goal: Path) -> str:
    """How one gets from one folder to another."""
    try:
        return os.path.relpath(goal, start)
    except ValueError:  # another drive of Windows
        return str(goal)


def _given(table: Path, mapping: Mapping, run: RunContext) -> Iterator[dict[str, str]]:
    """The rows of a table under the names that the mapping gives."""
    mapped = bool(mapping.columns or mapping.words)
    for count, row in enumerate(each_row(table), start=1):
        if count % STEP == 0:
            run.check()
            run.report(Progress(count, None, "Harmonising rows"))
        yield mapping.apply(row) if mapped else row


class _Records(list[str]):
    """Where a writer of CSV puts its lines."""

    write = list.append


class _Lines:
    """Rows as text, which is a tenth of what they take as values; a column that a later row adds comes last."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._records = _Records()
        self._widths: list[int] = []
        self._table = CsvWriter(self._records, line_end="")

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self._records)

    def expect(self, columns: Iterable[str]) -> None:
        """Name the columns that come first."""
        self._places = {column: place for place, column in enumerate(dict.fromkeys(columns))}

    def add(self, row: dict[str, str]) -> None:
        """Add a row."""
        places = self._places
        if not row.keys() <= places.keys():
            for column in row:
                places.setdefault(column, len(places))
        self._table.row(map(row.get, places, repeat("")))
        self._widths.append(len(places))

    def write(self, path: Path) -> None:
        """Write all rows, the earlier ones with empty cells for columns that came later."""
        header = _Records()
        CsvWriter(header, line_end="").row(self._places)
        width = len(self._places)
        with (
            atomic_file(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            file.write(f"{header[0]}\n")
            for record, known in zip(self._records, self._widths, strict=True):
                file.write(f"{record}{',' * (width - known)}\n")
