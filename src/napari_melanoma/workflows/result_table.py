"""The table ``results.csv`` of a batch: a row an image, rewritten as a whole, small in memory for 400,000 rows."""

from __future__ import annotations

import errno
import io
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from threading import Lock

from napari_melanoma.core.csv_cells import CsvError, CsvReader, CsvWriter
from napari_melanoma.core.errors import InputError, MelanomaError, SaveError
from napari_melanoma.core.files import atomic_file, save_error
from napari_melanoma.io.results import format_cell

KEY = "image"
WRITE_EVERY_S = 10.0
HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # waiting helps against none of them

log = logging.getLogger(__name__)


def is_hopeless(error: Exception) -> bool:
    """Whether nothing else can be written either: the disk is full, or can only be read.

    False also for a file that another program holds for a while.
    """
    cause = error.__cause__
    return isinstance(error, SaveError) and isinstance(cause, OSError) and cause.errno in HOPELESS


class ResultTable:
    """Rows by their ``image``; rows of earlier runs, and columns that others added, are kept.

    A row is held as its line of CSV, a tenth of what a dict takes. Safe to ``put`` to from several threads.
    """

    def __init__(self, path: Path, columns: Iterable[str], renamed: Mapping[str, str] | None = None) -> None:
        self.path = path
        self._renamed = renamed or {}
        self._columns = list(columns)
        self._lines: dict[str, str] = {}
        self._own: set[str] = set()
        self._lock = Lock()
        self._seen: tuple[int, int] | None = None
        self._next_write = 0.0
        try:
            self._read()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}. Close it where it is open.") from error

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._lines)

    def put(self, row: Mapping[str, object]) -> None:
        """Add a row, or replace the one of the same ``image``."""
        key, line = str(row[KEY]), self._line(row)
        with self._lock:
            self._lines[key] = line
            self._own.add(key)

    def write(self) -> None:
        """Write all rows atomically, in the order of their names; rows that another run added meanwhile are kept."""
        try:
            self._write()
        except (OSError, SaveError) as error:
            cause = error.__cause__ if isinstance(error, SaveError) else error
            if isinstance(cause, PermissionError):  # so Windows says of a file that a spreadsheet has open
                raise SaveError(
                    f"cannot write {self.path}: it is open in another program, such as a spreadsheet, or there is no "
                    "permission. Close it there and do the same again; the results are safe in their folders."
                ) from cause
            if isinstance(error, OSError):
                raise save_error(self.path, error) from error
            raise

    def _write(self) -> None:
        """Write as ``write`` does, with the errors as they come."""
        if self._stamp() != self._seen:
            self._read()
        with self._lock:
            lines = [self._lines[key] for key in sorted(self._lines)]
        with (
            atomic_file(self.path) as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            file.write(_encode(self._columns))
            file.writelines(lines)
        self._seen = self._stamp()

    def write_now_and_then(self) -> None:
        """Write if the last time is a while ago, so that a long run can be watched and costs little for it.

        Where the file cannot be written now, as while somebody looks at it in a spreadsheet, it is tried again later.
        """
        started = time.monotonic()
        if started < self._next_write:
            return
        try:
            self.write()
        except MelanomaError as error:
            if is_hopeless(error):
                raise
            log.warning("%s Trying again later.", error)
        finished = time.monotonic()
        self._next_write = finished + max(WRITE_EVERY_S, 50 * (finished - started))

    def _read(self) -> None:
        """Take over the rows of the file, except those that this run has put."""
        found = self._stamp()
        if found is None:
            return
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            try:
                self._take(CsvReader(file))
            except (CsvError, UnicodeDecodeError, KeyError) as error:
                raise InputError(
                    f"{self.path} exists and is no table of results: expected comma-separated UTF-8 with a column "
                    f"'{KEY}' ({error}). Move it away or choose another folder."
                ) from error
        self._seen = found  # only now: what could not be read must not be written over

    def _take(self, lines: Iterator[list[str]]) -> None:
        """Take over lines of CSV, the header first."""
        header = [self._renamed.get(column, column) for column in next(lines, [])]
        if KEY not in header:
            raise KeyError(f"found the columns {', '.join(header[:5]) or 'none'}")
        added = [column for column in header if column not in self._columns]
        if added:
            self._columns += added
            self._lines = {key: line.removesuffix("\n") + "," * len(added) + "\n" for key, line in self._lines.items()}
        for cells in lines:
            row = dict(zip(header, cells, strict=False))
            if row.get(KEY) and row[KEY] not in self._own:
                self._lines[row[KEY]] = self._line(row)

    def _line(self, row: Mapping[str, object]) -> str:
        """Encode a row in the order of the columns."""
        return _encode([format_cell(row.get(column)) for column in self._columns])

    def _stamp(self) -> tuple[int, int] | None:
        """What changes when another process writes the file; None where there is none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size


def _encode(cells: list[str]) -> str:
    """Join cells to a line of CSV."""
    buffer = io.StringIO()
    CsvWriter(buffer).row(cells)
    return buffer.getvalue()
