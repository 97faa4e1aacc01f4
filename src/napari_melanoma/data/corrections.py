"""The data set of corrections: reviewed photographs with their masks, and a history of changes that can be undone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path, PureWindowsPath
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, SaveError, UnreadableImage
from napari_melanoma.core.files import (
    FileStamp,
    append_lines,
    discard,
    file_stamp,
    move,
    remove_file,
    save_error,
    temporary_name,
)
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.paths import PathResolver, UnsafePath, corrections_folder, free_name, is_file, safe_name
from napari_melanoma.core.provenance import array_fingerprint, utc_time
from napari_melanoma.data.dataset import IMAGE_SUFFIXES, REVIEWS, TABLE_NAMES, Review
from napari_melanoma.data.dataset_table import SharedTable, TableFile, TableIndex
from napari_melanoma.data.diagnosis_labels import DiagnosisLabel, Row, follow_diagnosis
from napari_melanoma.data.groups import Groups, get_group_id
from napari_melanoma.data.table_schema import AS_GIVEN_SUFFIX, TEST, TRAIN, held_back_rank
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask, write_mask, write_rgb

COLUMNS = (
    *("image_id", "path", "mask_path", "patient_id", "lesion_id", "diagnosis", "modality", "split", "source"),
    *("review", "reviewer", "reviewed_at", "model", "model_fingerprint", "prediction_path", "image_sha256", "damage"),
)
MIN_BATCH_SIZE = 20  # minimum number of photographs between two writes of the table
HISTORY_FILE = "history.jsonl"
# Column that names a file, and the folder of the data set that contains these files
FILE_FOLDERS = {"path": "images", "mask_path": "masks", "prediction_path": "predictions"}
# Numbers of training patients before the first and between two test patients (the 4th, 9th, 14th ... patient)
TRAIN_BEFORE_FIRST_TEST, TRAIN_BETWEEN_TEST = 3, 4


class Corrections:
    """A data set folder with a row for each reviewed photograph; several windows may add to it at once.

    The folder is created with the first row; by default it is ``corrections_folder()``. A change that cannot be written
    leaves the data set unchanged.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or corrections_folder()
        self._table = SharedTable(self.folder / TABLE_NAMES[0], COLUMNS)
        self._log = ChangeLog(self.folder / HISTORY_FILE)
        self._digests: dict[Path, str] = {}  # of files in rows without a fingerprint

    @property
    def stamp(self) -> FileStamp | None:
        """Return the version of the table; None if there is none yet."""
        return file_stamp(self.folder / TABLE_NAMES[0])

    def rows(self) -> list[Row]:
        """Return the rows, in the order of the table; empty if there is no table yet."""
        return self._table.read().table.rows()

    def find_row(self, image_sha256: str, name: str = "") -> Row | None:
        """Find the row of a photograph by the ``array_fingerprint`` of its pixels, uint8 (row, column, channel).

        Rows of other data sets, such as imported ones, have no fingerprint: that of ``name`` is compared by its file.
        """
        current = self._table.read()
        number = self._find_number(current.table, current.by_digest, current.by_id, image_sha256, name)
        return None if number is None else current.table.row(number)

    def add(self, correction: Correction) -> str:
        """Add a photograph, or update the row with the same pixels; return its ``image_id``."""
        return self.add_all([correction])[0]

    def add_all(self, corrections: Iterable[Correction], *, run: RunContext | None = None) -> list[str]:
        """Add several photographs and return their ids; those added before an error or a stop are kept.

        ``corrections`` may be a generator: they are consumed one by one, so that one photograph at a time is in memory.
        """
        added: list[str] = []
        pending: list[PreparedCorrection] = []
        try:
            for correction in corrections:
                if run is not None:
                    run.check()
                is_known = partial(self._has_photograph, correction.name)
                pending.append(PreparedCorrection.prepare(correction, self.folder, is_known=is_known))
                # Batches double in size, because each write rewrites the whole table.
                if len(pending) >= max(MIN_BATCH_SIZE, len(added)):
                    full, pending = pending, []
                    added += self._store_all(full)
        finally:
            added += self._store_all(pending)  # also those prepared before a stop or an error
        return added

    def label(self, correction: Correction, label: DiagnosisLabel) -> Row:
        """Store a reader's diagnosis of a photograph, and return its row; of a known one, nothing else is changed.

        Raises DataSetError without a reader: the labels of two readers could not be told apart.
        """
        if not label.reader.strip():
            raise DataSetError(
                f"the diagnosis of '{correction.name}' has no reader, and was not stored: expected the name or the "
                "initials of who gave it. Enter a reader."
            )
        is_known = partial(self._has_photograph, correction.name)
        prepared = PreparedCorrection.prepare(correction, self.folder, is_known=is_known)
        try:
            with self._edit_table() as draft:
                digest = prepared.values["image_sha256"]
                number = self._find_number(draft.table, draft.by_digest, draft.by_id, digest, prepared.name)
                if number is None:
                    prepared.values.update(label.make_cells({}))
                    image_id = self._store(draft, prepared)
                    return draft.table.row(draft.by_id[image_id])
                before = draft.table.row(number)
                cells = label.make_cells(before)
                table = draft.table.with_columns(tuple(cells)).update_row(number, cells)
                draft.apply_change(CorrectionChange(before["image_id"], before, table.row(number), number), table)
                return table.row(number)
        finally:
            prepared.discard()

    def remove(self, image_id: str) -> bool:
        """Remove a row from the data set, and return whether it existed.

        Its files are kept, so that ``undo`` can restore it.
        """
        with self._edit_table() as draft:
            number = draft.by_id.get(image_id)
            if number is not None:
                draft.apply_change(
                    CorrectionChange(image_id, draft.table.row(number), None, number), draft.table.remove_row(number)
                )
        return number is not None

    def find_last_change(self) -> CorrectionChange | None:
        """Return the change that ``undo`` would revert, from any window or session; None if there is none."""
        draft = _TableDraft(self._table.read())
        return next(filter(draft.has_applied, self._log.iter_pending()), None)

    def undo(self, expected: CorrectionChange | None = None) -> str | None:
        """Revert the last change, from any window or session, and return its ``image_id``; None if there is none.

        ``expected``: revert nothing if the last change is another one by now.
        """
        if not self._table.path.exists():
            return None
        with self._edit_table() as draft:
            for change in self._log.iter_pending():
                if draft.has_applied(change):
                    if expected not in (None, change):
                        return None
                    table = draft.revert_change(change)
                    self._table.save(table)
                    self._log.record_undo(change)
                    self._delete_new_files(change, table)
                    return change.image_id
                self._log.record_undo(change)
        return None

    def _store_all(self, batch: list[PreparedCorrection]) -> list[str]:
        """Move prepared corrections into the data set, under the lock of its table."""
        try:
            if not batch:
                return []
            with self._edit_table() as draft:
                return [self._store(draft, prepared) for prepared in batch]
        finally:
            for prepared in batch:
                prepared.discard()

    def _has_photograph(self, name: str, digest: str) -> bool:
        """Whether a photograph and its file are stored already; raises if the table cannot be read."""
        row = self.find_row(digest, name)
        return row is not None and find_stored_file(self.folder, find_image_path(self.folder, row)) is not None

    def _find_number(
        self, table: TableFile, by_digest: Mapping[str, int], by_id: Mapping[str, int], digest: str, name: str
    ) -> int | None:
        """Find the index of the row of a photograph; None if it is not in the table."""
        number = by_digest.get(digest)
        if number is None and (named := by_id.get(name)) is not None:
            row = table.row(named)
            if not row.get("image_sha256") and self._read_digest(find_image_path(self.folder, row)) == digest:
                return named
        return number

    def _read_digest(self, path: str) -> str:
        """Read the fingerprint of a stored photograph; "" if it cannot be read."""
        file = find_stored_file(self.folder, path)
        if file is None:
            return ""
        if file not in self._digests:
            try:
                self._digests[file] = array_fingerprint(read_photograph(file, accept_damaged=True).rgb)
            except UnreadableImage:
                self._digests[file] = ""
        return self._digests[file]

    def _store(self, draft: _TableDraft, prepared: PreparedCorrection) -> str:
        """Move the files of a correction into the data set, and add its row to the draft."""
        digest = prepared.values["image_sha256"]
        number = self._find_number(draft.table, draft.by_digest, draft.by_id, digest, prepared.name)
        before = None if number is None else draft.table.row(number)
        image_id = before["image_id"] if before else free_name(safe_name(prepared.name), draft.ids)
        stale = {
            name
            for name in before or {}
            if name.endswith(AS_GIVEN_SUFFIX) and name.removesuffix(AS_GIVEN_SUFFIX) in prepared.values
        }
        diagnosis = prepared.values.get("diagnosis")
        followed = {} if diagnosis is None else follow_diagnosis(diagnosis, before or {}, draft.table.columns)
        values = {**dict.fromkeys(stale, ""), **followed, **prepared.values, "image_id": image_id}
        row = {**(before or {}), **values}
        values["split"] = draft.splits.choose_split(row, before, assign=prepared.assign_split)
        with remove_on_error([]) as new_files:
            stored = {**before, "path": find_image_path(self.folder, before)} if before else {}
            image = StoredImage(self.folder, safe_name(image_id), stored, new_files)
            path = image.store_photograph(prepared.files.get("path"))
            # A cell that the change does not fill in is one whose file an undo does not delete.
            values["path"] = before.get("path", "") if before and path == stored["path"] else path
            for column in ("mask_path", "prediction_path"):
                values[column] = image.store_mask(column, prepared.files.get(column))
        draft.new_files += new_files
        table = draft.table.with_columns(tuple(values))
        if number is None:
            number = len(table.records)
            table = table.insert_row(number, values)
        else:
            table = table.update_row(number, values)
        draft.apply_change(CorrectionChange(image_id, before, table.row(number), number), table)
        return image_id

    @contextmanager
    def _edit_table(self) -> Iterator[_TableDraft]:
        """Lock the table, yield a draft, and write it at the end, also after an error."""
        with self._table.lock():
            draft = _TableDraft(self._table.read())
            try:
                yield draft
            finally:
                if draft.changes:
                    with remove_on_error(draft.new_files):  # the history first, so that every change can be undone
                        self._log.append(draft.changes)
                        self._table.save(draft.table)

    def _delete_new_files(self, change: CorrectionChange, table: TableFile) -> None:
        """Delete the files that a reverted change added: a photograph must not be kept without consent."""
        before, after = change.before or {}, change.after or {}
        remaining: dict[Path, OSError] = {}
        for column in FILE_FOLDERS:
            path = after.get(column)
            if path and path != before.get(column) and path not in table.index_by(column):
                file = find_stored_file(self.folder, path)  # the history file is not trusted
                if file is not None and file.parent.name == FILE_FOLDERS[column]:
                    try:
                        remove_file(file)
                    except OSError as error:
                        remaining[file] = error
        if remaining:
            reason = next(iter(remaining.values()))
            raise SaveError(
                f"the change of '{change.image_id}' was undone, but these files could not be deleted "
                f"({reason.strerror or reason}): {format_names(remaining)}. Close them in other programs, then delete "
                "them."
            ) from reason


class _TableDraft:
    """A table being edited, with its pending changes and the new files that they name.

    ``by_digest`` and ``by_id`` map pixel fingerprints and image ids to row indices; ``ids`` are in lower case.
    """

    def __init__(self, index: TableIndex) -> None:
        self.table = index.table
        self.by_digest, self.by_id = dict(index.by_digest), dict(index.by_id)
        self.ids = {image_id.lower() for image_id in index.by_id}
        self.changes: list[CorrectionChange] = []
        self.new_files: list[Path] = []

    @cached_property
    def splits(self) -> PatientSplits:
        return PatientSplits(self.table.rows())

    def apply_change(self, change: CorrectionChange, table: TableFile) -> None:
        """Replace the table by the changed one, unless the change is empty."""
        if not change.changed_columns:
            return
        self.changes.append(change)
        self.table = table
        if change.after is not None:
            self.splits.add_row(change.after)
            self.ids.add(change.image_id.lower())
            self.by_id[change.image_id] = self.by_digest[change.after["image_sha256"]] = change.position

    def revert_change(self, change: CorrectionChange) -> TableFile:
        number = self.find_row(change.row)
        if number is None:
            return self.table.insert_row(change.position, change.before or {})
        if change.before is None:
            return self.table.remove_row(number)
        return self.table.update_row(number, change.reverted_cells(self.table.row(number)))

    def has_applied(self, change: CorrectionChange) -> bool:
        """Return whether the table shows that a change was applied and not overwritten."""
        number = self.find_row(change.row)
        return change.is_applied_to(None if number is None else self.table.row(number))

    def find_row(self, row: Row) -> int | None:
        """Return the index of the row of the same photograph; None if it is not in the table."""
        digest = row.get("image_sha256", "")
        return self.by_digest.get(digest) if digest else self.by_id.get(row.get("image_id", ""))


@dataclass(frozen=True)
class CorrectionChange:
    """A row before and after a change; None if it did not exist or was removed. ``position`` is its row index."""

    image_id: str
    before: Row | None
    after: Row | None
    position: int

    @property
    def row(self) -> Row:
        """The row of the photograph after the change, or before it was removed."""
        return self.after or self.before or {}

    @property
    def changed_columns(self) -> set[str]:
        before, after = self.before or {}, self.after or {}
        return {column for column in {**before, **after} if before.get(column) != after.get(column)}

    def is_applied_to(self, row: Row | None) -> bool:
        """Whether the current row of the photograph shows that the change was applied and not overwritten.

        After a crash the history may contain a change that was not applied. ``row`` is None if the photograph is not in
        the table; a row that was deleted in a spreadsheet is not restored.
        """
        if row is None or self.after is None:
            return row is None and self.after is None
        after = self.after
        return self.before is None or any(row.get(column) == after.get(column) for column in self.changed_columns)

    def reverted_cells(self, row: Row) -> Row:
        """Return the cells that undo the change in its current row; cells edited by hand since then are left out."""
        before, after = self.before or {}, self.after or {}
        return {
            column: before.get(column, "")
            for column in self.changed_columns
            if row.get(column, "") == after.get(column, "")
        }


# Columns of the harmonized table that a correction may contain in addition to its own.
_CLINICAL = (
    *("age", "sex", "site", "sub_site", "laterality", "fitzpatrick", "ethnicity", "personal_history", "family_history"),
    *("diagnosis_detail", "diagnosis_by", "target", "melanoma", "diameter_1_mm", "diameter_2_mm", "depth_mm", "clark"),
    *(
        "mpp_x",
        "mpp_y",
        "itch",
        "hurt",
        "bleed",
        "elevation",
        "ulceration",
        "mitoses_per_mm2",
        "necrosis",
        "metastasis",
    ),
    *("licence", "attribution"),
)
CLINICAL = frozenset({*_CLINICAL, *(f"{name}{AS_GIVEN_SUFFIX}" for name in (*_CLINICAL, "modality"))})


@dataclass(frozen=True, eq=False)
class Correction:
    """One photograph with the mask that a user reviewed, and the model's mask.

    ``rgb`` is uint8 (row, column, channel=3), upright sRGB; ``mask`` and ``prediction``, the mask of ``model``, are
    bool (row, column) of the same size; ``mask`` is None if there is none yet. A diagnosis, patient, lesion or modality
    of None keeps the value of the data set; "" clears it. ``source`` is the file of the photograph; only its name is
    stored. ``clinical`` contains further columns of the harmonized table (those in ``CLINICAL``), including values that
    were not understood, in ``<column>_as_given``. ``damage`` describes a damaged file, None if it is intact.
    ``pixel_size``: of the photograph; None keeps that of the data set. ``split``: of a photograph that has none in the
    data set; ``assign_split``: if none is stated, assign a new patient to the training or the test set.
    """

    name: str
    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None
    review: Review
    reviewer: str = ""
    model: str = ""
    model_fingerprint: str = ""
    prediction: NDArray[np.bool_] | None = None
    diagnosis: str | None = None
    patient_id: str | None = None
    lesion_id: str | None = None
    modality: str | None = None
    source: Path | str | None = None
    clinical: Mapping[str, str] = field(default_factory=dict)
    damage: str | None = None
    pixel_size: PixelSize | None = None
    split: str = ""
    assign_split: bool = True

    def __post_init__(self) -> None:
        """Raise for invalid shapes and review states."""
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype != np.uint8:
            raise DataSetError(f"'{self.name}' is {self.rgb.dtype} {self.rgb.shape}: expected uint8 (row, column, 3).")
        for name, mask in (("mask", self.mask), ("prediction", self.prediction)):
            if mask is not None and mask.shape != self.rgb.shape[:2]:
                raise DataSetError(
                    f"the {name} of '{self.name}' is {mask.shape}, its photograph {self.rgb.shape[:2]} (row, column): "
                    "expected one size."
                )
        if self.review not in REVIEWS:
            raise DataSetError(f"'{self.review}' is not a review state: expected {', '.join(REVIEWS)}.")


def make_table_cells(correction: Correction) -> dict[str, str]:
    """Return the cells that a correction sets, except those of its files and those that keep their value."""
    fields = {
        "patient_id": correction.patient_id,
        "lesion_id": correction.lesion_id,
        "diagnosis": correction.diagnosis,
        "modality": correction.modality,
        "damage": correction.damage or "",
        "source": None if correction.source is None else PureWindowsPath(correction.source).name,
    }
    size = correction.pixel_size
    return {
        **({"split": correction.split} if correction.split else {}),
        **({} if size is None else {"mpp_x": f"{size.x_um:g}", "mpp_y": f"{size.y_um:g}"}),
        **{column: " ".join(text.split()) for column, text in fields.items() if text is not None},
        **{column: " ".join(text.split()) for column, text in correction.clinical.items() if column in CLINICAL},
        "review": correction.review,
        "reviewer": " ".join(correction.reviewer.split()),
        "reviewed_at": utc_time(),
        "model": correction.model,
        "model_fingerprint": correction.model_fingerprint,
    }


@dataclass(frozen=True)
class PreparedCorrection:
    """A correction whose image and masks are in hidden files, which will be renamed to become part of the data set.

    ``values`` maps columns to the cells of the row; ``files`` maps columns of ``FILE_FOLDERS`` to hidden files.
    """

    name: str
    values: dict[str, str]
    files: dict[str, Path]
    assign_split: bool

    @classmethod
    def prepare(cls, correction: Correction, folder: Path, *, is_known: Callable[[str], bool]) -> Self:
        """Write the hidden files of a correction; needs no lock.

        ``is_known`` returns whether a photograph with this digest is stored already and need not be written again.
        """
        digest = array_fingerprint(correction.rgb)
        values = {**make_table_cells(correction), "image_sha256": digest}
        prepared = cls(correction.name, values, {}, correction.assign_split)
        pixels: dict[str, tuple[Callable[[Path, Any], None], NDArray | None]] = {
            "path": (write_rgb, None if is_known(digest) else correction.rgb),
            "mask_path": (write_mask, correction.mask),
            "prediction_path": (write_mask, correction.prediction),
        }
        try:
            for column, (write, array) in pixels.items():
                if array is not None:
                    hidden = prepared.files[column] = temporary_name(
                        folder / FILE_FOLDERS[column] / "image.png", ".png"
                    )
                    write(hidden, array if column == "path" else np.asarray(array, bool))
        except BaseException:
            prepared.discard()
            raise
        return prepared

    def discard(self) -> None:
        """Remove the files that were not moved into the data set."""
        for path in self.files.values():
            discard(path)


@dataclass(frozen=True)
class StoredImage:
    """The files of one image in the data set.

    ``before`` is its previous row, empty for a new image; ``new_files`` collects the files that were added.
    """

    folder: Path
    name: str
    before: dict[str, str]
    new_files: list[Path]

    def store_photograph(self, hidden: Path | None) -> str:
        """Move the photograph into the data set unless it is stored already; returns its path."""
        path = self.before.get("path", "")
        if find_stored_file(self.folder, path) is not None:
            return path
        if hidden is None:
            raise SaveError(f"cannot write {self.folder}: another window removed the photograph. Try again.")
        return self._move_to_free_name("path", hidden)

    def store_mask(self, column: str, hidden: Path | None) -> str:
        """Move a mask into the data set unless the row has the same one; returns its path, "" for none."""
        if hidden is None:
            return ""
        path = self.before.get(column, "")
        file = find_stored_file(self.folder, path)
        if file is not None:
            with suppress(UnreadableImage):  # an unreadable mask is replaced
                if np.array_equal(read_mask(file), read_mask(hidden)):
                    return path
        return self._move_to_free_name(column, hidden)

    def _move_to_free_name(self, column: str, hidden: Path) -> str:
        """Move a file to the first free name (``name.png``, ``name@2.png`` ...; ids contain no @); returns its path."""
        parent, number = self.folder / FILE_FOLDERS[column], 1
        path = parent / f"{self.name}.png"
        while path.exists():
            number += 1
            path = parent / f"{self.name}@{number}.png"
        self.new_files.append(path)
        try:
            move(hidden, path)
        except OSError as error:
            raise save_error(path, error) from error
        return path.relative_to(self.folder).as_posix()


def find_image_path(folder: Path, row: Row) -> str:
    """Return the path of the photograph of a row, by default ``images/<image_id>.*``; "" if there is none."""
    if path := row.get("path", ""):
        return path
    names = (f"images/{row['image_id']}{end}" for suffix in IMAGE_SUFFIXES for end in (suffix, suffix.upper()))
    return next((name for name in names if find_stored_file(folder, name) is not None), "")


def find_stored_file(folder: Path, path: str) -> Path | None:
    """Find a file named in a row; None if it does not exist or lies outside the data set."""
    try:
        file = PathResolver(folder, allow_outside=False).resolve(path) if path else None
    except UnsafePath:
        return None
    return file if file is not None and is_file(file) else None


@contextmanager
def remove_on_error(new_files: list[Path]) -> Iterator[list[Path]]:
    """Yield a list for new files, which are removed if an error occurs."""
    try:
        yield new_files
    except BaseException:
        for path in new_files:
            with suppress(OSError):  # the original error is raised
                remove_file(path)
        raise


class ChangeLog:
    """The history of changes, a file of JSON lines; lines truncated by a crash are skipped.

    A line has the ``time`` and either a ``change`` (the fields of a ``CorrectionChange``) or, after an undo, the image
    id as ``undone``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, changes: Iterable[CorrectionChange]) -> None:
        """Append changes before they are applied."""
        self._write({"change": asdict(change)} for change in changes)

    def record_undo(self, change: CorrectionChange) -> None:
        """Record that the last change was undone."""
        self._write([{"undone": change.image_id}])

    def iter_pending(self) -> Iterator[CorrectionChange]:
        """Yield the changes that were not undone, the last one first."""
        undone = 0
        for entry in self._iter_backwards():
            if "undone" in entry:
                undone += 1
            elif undone:
                undone -= 1
            else:
                yield CorrectionChange(**entry["change"])

    def list_earlier_files(self) -> set[str]:
        """Return the paths, as in the table, of files that a change replaced: an undo restores them."""
        changes = [entry["change"] for entry in self._iter_backwards() if isinstance(entry.get("change"), dict)]
        rows = [row for change in changes if isinstance(row := change.get("before"), dict)]
        return {row[column] for row in rows for column in FILE_FOLDERS if isinstance(row.get(column), str)} - {""}

    def _iter_backwards(self) -> Iterator[dict[str, Any]]:
        """Yield the complete lines as objects, the last one first."""
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
        time = utc_time()
        try:
            append_lines(self.path, [json.dumps({"time": time, **entry}) for entry in entries])
        except OSError as error:
            raise save_error(self.path, error) from error


class PatientSplits:
    """The splits of the patients in a table; a patient is any group of images that must stay together."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._groups = Groups()
        self._split_of_group: dict[str, str] = {}  # by the own name of a row
        self._train_before_next_test = TRAIN_BEFORE_FIRST_TEST
        for row in rows:
            self.add_row(row)

    def add_row(self, row: Row) -> None:
        group, split = get_group_id(row), row.get("split", "")
        if not self._find_split(row, group) and split in (TRAIN, TEST):
            self._train_before_next_test = TRAIN_BETWEEN_TEST if split == TEST else self._train_before_next_test - 1
        self._split_of_group[group] = self._split_of_group.get(group) or split

    def choose_split(self, row: Row, before: Row | None, *, assign: bool = True) -> str:
        """Choose the split of a row.

        A row keeps its split unless it is reassigned to a patient with another split; one without a split gets that
        of ``row``. About every fifth new patient gets ``"test"``, the others ``"train"``, or all get none without
        ``assign``. A patient without a split stays without one.
        """
        group = get_group_id(row)
        if before is not None:
            previous_split = before.get("split", "")
            is_reassigned = get_group_id(before) != group
            return (self._find_split(row, group) if is_reassigned else "") or previous_split or row.get("split", "")
        if stated := row.get("split", ""):
            return stated
        split = self._find_split(row, group)
        if split is not None or not assign:
            return split or ""
        return TRAIN if self._train_before_next_test > 0 else TEST

    def _find_split(self, row: Row, group: str) -> str | None:
        """Return the split of a row's group, None if it is new; ``group``: own name of the row.

        A row follows its own patient, else the most protected split of what its lesion or a copy joins to it.
        """
        names = self._groups.find(self._groups.add(row)).names
        splits = [self._split_of_group[name] for name in names if name in self._split_of_group]
        return (self._split_of_group.get(group) or max(splits, key=held_back_rank)) if splits else None
