"""A table that several windows write to: one at a time, each on top of what the others wrote."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_melanoma.core.errors import DataSetError, SaveError
from napari_melanoma.core.files import save_error
from napari_melanoma.data.table_file import TableFile

PATIENCE_S = 30.0


class Index:
    """A table with the numbers of its rows by pixels (``by_digest``) and by name (``by_id``)."""

    def __init__(self, table: TableFile) -> None:
        self.table = table
        self.by_digest = table.index("image_sha256")
        self.by_id = table.index("image_id")


class SharedTable:
    """The table of a folder and the lock beside it."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path = path
        self._columns = columns
        self._read: tuple[tuple[int, ...], Index] | None = None

    def current(self) -> Index:
        """Read the table, unless it is the one that was read before.

        Without rows where there is no file.
        """
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return Index(TableFile.empty(self._columns))
        except OSError as error:
            raise DataSetError(f"cannot read {self.path}: {error.strerror}. Ask for permission to read it.") from error
        read = self._read
        if read is None or read[0] != _stamp(found):
            read = self._read = (_stamp(found), Index(TableFile.read(self.path).with_columns(self._columns)))
        return read[1]

    def save(self, table: TableFile) -> None:
        """Write the table atomically."""
        try:
            table.write(self.path)
        except SaveError as error:
            if isinstance(error.__cause__, PermissionError):  # so Windows says of a file that a spreadsheet has open
                raise SaveError(
                    f"cannot write {self.path}: it is open in another program, such as a spreadsheet, or there is no "
                    "permission. Close it there and do the same again; nothing was changed."
                ) from error.__cause__
            raise
        with suppress(OSError):  # then it is read anew
            self._read = (_stamp(self.path.stat()), Index(table))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out, those of other processes too; the folder is made where it is missing.

        While nobody else writes.
        """
        from filelock import FileLock, Timeout

        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / ".lock", timeout=PATIENCE_S)
            lock.acquire()
        except Timeout as error:
            raise SaveError(
                f"cannot write {folder}: another window has been writing to it for {PATIENCE_S:.0f} s. "
                "Wait for it, or close it, and try again."
            ) from error
        except OSError as error:
            raise save_error(folder, error) from error
        except NotImplementedError as error:
            raise SaveError(f"cannot write {folder}: its file system has no locks. Choose another folder.") from error
        try:
            yield
        finally:
            lock.release()


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    """What changes when somebody else writes the file."""
    return found.st_ino, found.st_mtime_ns, found.st_size
