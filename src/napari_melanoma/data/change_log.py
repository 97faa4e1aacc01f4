"""The history of a corrections data set: a line for each change, appended and never rewritten, and what undo needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_melanoma.core.files import save_error
from napari_melanoma.core.parsing import parse_json

Row = dict[str, str]


@dataclass(frozen=True)
class Change:
    """A row before and after a change; None where there was or is none. ``position`` is its number in the table."""

    image_id: str
    before: Row | None
    after: Row | None
    position: int

    @property
    def touched(self) -> set[str]:
        """Names of the columns that differ."""
        before, after = self.before or {}, self.after or {}
        return {column for column in {**before, **after} if before.get(column) != after.get(column)}

    def is_seen_in(self, row: Row | None) -> bool:
        """Whether a row of the table shows that the change has happened and is still there.

        A crash between the history and the table leaves a change that never happened; a row that somebody deleted in
        a spreadsheet is not brought back.

        False where there is nothing to take back.
        """
        if row is None or self.after is None:
            return row is None and self.after is None
        after = self.after
        return self.before is None or any(row.get(column) == after.get(column) for column in self.touched)

    def taken_back(self, row: Row) -> Row:
        """Cells of a row as they were before; what somebody edited by hand since then is left."""
        before, after = self.before or {}, self.after or {}
        return {
            column: before.get(column, "") for column in self.touched if row.get(column, "") == after.get(column, "")
        }


class ChangeLog:
    """The file ``history.jsonl``; a line that a crash cut off is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, changes: Iterable[Change]) -> None:
        """Add changes that are about to happen."""
        self._write({"change": asdict(change)} for change in changes)

    def take_back(self, change: Change) -> None:
        """Note that the last change was taken back."""
        self._write([{"undone": change.image_id}])

    def last(self) -> Change | None:
        """Give the last change that was not taken back.

        None where there is none.
        """
        taken_back = 0
        for entry in self._backwards():
            if "undone" in entry:
                taken_back += 1
            elif taken_back:
                taken_back -= 1
            else:
                return Change(**entry["change"])
        return None

    def _backwards(self) -> Iterator[dict[str, Any]]:
        """Every whole line, the last one first."""
        if not self.path.is_file():
            return
        for line in reversed(self.path.read_bytes().split(b"\n")):
            try:
                entry = parse_json(line, str(self.path))
            except ValueError:
                continue
            if isinstance(entry, dict) and ("undone" in entry or "change" in entry):
                yield entry

    def _write(self, entries: Iterable[dict[str, Any]]) -> None:
        """Append lines, after the end of one that was cut off."""
        time = datetime.now(UTC).isoformat(timespec="seconds")
        lines = [json.dumps({"time": time, **entry}) for entry in entries]
        try:
            with self.path.open("ab+") as file:
                size = file.seek(0, 2)
                cut_off = size > 0 and (file.seek(size - 1), file.read(1))[1] != b"\n"
                file.write(("\n" * cut_off + "".join(f"{line}\n" for line in lines)).encode())
        except OSError as error:
            raise save_error(self.path, error) from error
