"""The corrections data set: what a person said of a model's masks, stored so that training reads it as any other.

The table is what counts. Files are written before it and never changed afterwards (another mask is another file), so a
crash leaves at most a file that no row names, and a training that reads the folder meanwhile sees nothing move.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from napari_melanoma.core.file_names import free_name, safe_name
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.change_log import Change, ChangeLog, Row
from napari_melanoma.data.correction import Correction
from napari_melanoma.data.correction_files import FILES, Prepared, StoredImage, removed_on_error, stored_file
from napari_melanoma.data.corrections_place import corrections_folder
from napari_melanoma.data.dataset import REVIEWS, Review
from napari_melanoma.data.shared_table import Index, SharedTable
from napari_melanoma.data.split_choice import SplitChoice
from napari_melanoma.data.table_file import TableFile
from napari_melanoma.data.table_schema import AS_GIVEN

__all__ = ["COLUMNS", "Correction", "Corrections", "Review", "corrections_folder"]

COLUMNS = (
    *("image_id", "path", "mask_path", "patient_id", "lesion_id", "diagnosis", "modality", "split", "source"),
    *("review", "reviewer", "reviewed_at", "model", "model_fingerprint", "prediction_path", "image_sha256", "damage"),
)
AT_ONCE = 20  # photographs at least between two writings of the table


class Corrections:
    """A data set folder that grows by a row a reviewed photograph; several windows may add to it at once.

    Parameters
    ----------
    folder : pathlib.Path, optional
        The data set, made with the first row; ``corrections_folder()`` by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or corrections_folder()
        self._table = SharedTable(self.folder / "dataset.csv", COLUMNS)
        self._log = ChangeLog(self.folder / "history.jsonl")

    def rows(self) -> list[Row]:
        """Give the rows, in the order of the table.

        Returns
        -------
        list of dict
            Column name to text; empty where there is no table yet.

        Raises
        ------
        DataSetError
            Where the table cannot be read.
        """
        return self._table.current().table.rows()

    def find(self, image_sha256: str) -> Row | None:
        """Find the row of a photograph by its pixels.

        Parameters
        ----------
        image_sha256 : str
            ``core.provenance.fingerprint`` of its uint8 (row, column, channel).

        Returns
        -------
        dict or None
            Column name to text.

        Raises
        ------
        DataSetError
            Where the table cannot be read.
        """
        current = self._table.current()
        number = current.by_digest.get(image_sha256)
        return None if number is None else current.table.row(number)

    def count(self) -> dict[Review, int]:
        """Count the rows of each review state.

        Returns
        -------
        dict
            Every state of ``REVIEWS``, 0 where there is none.

        Raises
        ------
        DataSetError
            Where the table cannot be read.
        """
        counted = Counter((row.get("review") or REVIEWS[0]).strip().lower() for row in self.rows())
        return {review: counted[review] for review in REVIEWS}

    def add(self, correction: Correction) -> str:
        """Add a photograph, or update the row of the same pixels.

        Parameters
        ----------
        correction : Correction
            What to store.

        Returns
        -------
        str
            Its ``image_id``.

        Raises
        ------
        SaveError
            Where it cannot be written; the data set is as it was.
        DataSetError
            Where the table that is there cannot be read; nothing is written then.
        """
        return self.add_all([correction])[0]

    def add_all(self, corrections: Iterable[Correction], *, run: RunContext | None = None) -> list[str]:
        """Add several photographs; what was added before an error or a stop stays.

        Parameters
        ----------
        corrections : iterable of Correction
            Taken one by one, so a generator keeps one photograph in memory.
        run : RunContext, optional
            Asked before each whether to go on.

        Returns
        -------
        list of str
            The ``image_id`` of each.

        Raises
        ------
        SaveError
            Where one cannot be written.
        DataSetError
            Where the table that is there cannot be read; nothing is written then.
        Cancelled
            Where the user stopped it.
        """
        added: list[str] = []
        waiting: list[Prepared] = []
        try:
            for correction in corrections:
                if run is not None:
                    run.check()
                waiting.append(Prepared.of(correction, self.folder, is_known=self._has_photograph))
                # As many as all before together: the table, which is written as a whole, is written few times.
                if len(waiting) >= max(AT_ONCE, len(added)):
                    full, waiting = waiting, []
                    added += self._store_all(full)
        finally:
            added += self._store_all(waiting)  # also what was ready before a stop or an error
        return added

    def remove(self, image_id: str) -> bool:
        """Take a row out of the data set; its files stay, so that ``undo`` can bring it back.

        Parameters
        ----------
        image_id : str
            Of the row.

        Returns
        -------
        bool
            Whether there was one.

        Raises
        ------
        SaveError
            Where the table cannot be written; it is as it was.
        DataSetError
            Where it cannot be read.
        """
        with self._writing() as draft:
            number = draft.by_id.get(image_id)
            if number is not None:
                draft.change(Change(image_id, draft.table.row(number), None, number), draft.table.without(number))
        return number is not None

    def undo(self) -> str | None:
        """Take the last change back, whichever window or session made it.

        Returns
        -------
        str or None
            The ``image_id`` that it was about; None where there is nothing to take back.

        Raises
        ------
        SaveError
            Where the table cannot be written; it is as it was.
        DataSetError
            Where it cannot be read.
        """
        if not self._table.path.exists():
            return None
        with self._writing() as draft:
            while (change := self._log.last()) is not None:
                number = draft.find(change.after or change.before or {})
                row = None if number is None else draft.table.row(number)
                if change.is_seen_in(row):
                    table = _without_change(draft.table, change, number)
                    self._table.save(table)
                    self._log.take_back(change)
                    self._discard(change, table)
                    return change.image_id
                self._log.take_back(change)
        return None

    def _store_all(self, batch: list[Prepared]) -> list[str]:
        """Put what is prepared into the table; nobody else writes for that moment."""
        try:
            if not batch:
                return []
            with self._writing() as draft:
                return [self._store(draft, one) for one in batch]
        finally:
            for one in batch:
                one.discard()

    def _has_photograph(self, digest: str) -> bool:
        """Whether a photograph is there; also says at once where the table cannot be read."""
        row = self.find(digest)
        return row is not None and stored_file(self.folder, row["path"]) is not None

    def _store(self, draft: _Draft, prepared: Prepared) -> str:
        """Give the files of a correction their places and put its row into the draft."""
        number = draft.by_digest.get(prepared.values["image_sha256"])
        before = None if number is None else draft.table.row(number)
        image_id = before["image_id"] if before else free_name(safe_name(prepared.name), draft.ids)
        stale = {
            name for name in before or {} if name.endswith(AS_GIVEN) and name.removesuffix(AS_GIVEN) in prepared.values
        }
        values = {**dict.fromkeys(stale, ""), **prepared.values, "image_id": image_id}
        values["split"] = draft.splits.of({**(before or {}), **values}, before)
        with removed_on_error([]) as fresh:
            image = StoredImage(self.folder, safe_name(image_id), before or {}, fresh)
            values["path"] = image.photograph(prepared.files.get("path"))
            for column in ("mask_path", "prediction_path"):
                values[column] = image.mask(column, prepared.files.get(column))
        draft.fresh += fresh
        table = draft.table.with_columns(tuple(values))
        if number is None:
            number = len(table.records)
            table = table.insert(number, values)
        else:
            table = table.put(number, values)
        draft.change(Change(image_id, before, table.row(number), number), table)
        return image_id

    @contextmanager
    def _writing(self) -> Iterator[_Draft]:
        """Keep other writers out, give the table to change, and write it at the end, also after an error."""
        with self._table.locked():
            draft = _Draft(self._table.current())
            try:
                yield draft
            finally:
                self._commit(draft)

    def _commit(self, draft: _Draft) -> None:
        """Write what has changed: the history first, so that no change escapes undo, then the table."""
        changes, draft.changes, fresh, draft.fresh = draft.changes, [], draft.fresh, []
        if changes:
            with removed_on_error(fresh):
                self._log.append(changes)
                self._table.save(draft.table)

    def _discard(self, change: Change, table: TableFile) -> None:
        """Delete the files that came with a change that was taken back; a photograph must not stay unasked."""
        before, after = change.before or {}, change.after or {}
        for column in FILES:
            path = after.get(column)
            if path and path != before.get(column) and path not in table.index(column):
                file = stored_file(self.folder, path)  # the history may come from anybody
                with suppress(OSError):  # it does no harm where it stays
                    if file is not None and file.parent.name == FILES[column]:
                        file.unlink()


class _Draft:
    """A table that is being changed; the changes, and the files written for them, that it does not name yet on disk."""

    def __init__(self, index: Index) -> None:
        self.table = index.table
        self.by_digest, self.by_id = dict(index.by_digest), dict(index.by_id)
        self.ids = {image_id.lower() for image_id in index.by_id}
        self.changes: list[Change] = []
        self.fresh: list[Path] = []

    @cached_property
    def splits(self) -> SplitChoice:
        """Splits of the patients."""
        return SplitChoice(self.table.rows())

    def change(self, change: Change, table: TableFile) -> None:
        """Take up a change of the table, unless it changes nothing."""
        if not change.touched:
            return
        self.changes.append(change)
        self.table = table
        if change.after is not None:
            self.splits.note(change.after)
        if change.before is None and change.after is not None:
            self.ids.add(change.image_id.lower())
            self.by_id[change.image_id] = self.by_digest[change.after["image_sha256"]] = change.position

    def find(self, row: Row) -> int | None:
        """Number of the row of the same photograph."""
        digest = row.get("image_sha256", "")
        return self.by_digest.get(digest) if digest else self.by_id.get(row.get("image_id", ""))


def _without_change(table: TableFile, change: Change, number: int | None) -> TableFile:
    """Give the table as it was before a change."""
    if number is None:
        return table.insert(change.position, change.before or {})
    if change.before is None:
        return table.without(number)
    return table.put(number, change.taken_back(table.row(number)))
