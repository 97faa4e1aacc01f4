"""The output of a batch of photographs: result folders, whether they can be reused, and ``results.csv``."""

from __future__ import annotations

import errno
import hmac
import io
import logging
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.csv_files import CsvError, CsvReader, CsvWriter
from napari_melanoma.core.errors import InputError, MelanomaError, RunError, SaveError
from napari_melanoma.core.files import atomic_file, normalize_name, save_error, write_text
from napari_melanoma.core.locks import Claims, hold_lock
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.paths import folder_name, is_inside, real_path
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.io.formats import TRUTH_SUFFIX
from napari_melanoma.io.results import RESULT, format_cell, read_mask
from napari_melanoma.lesion.analysis import ALWAYS_WRITTEN, BAND, HEATMAP, prediction_cells
from napari_melanoma.lesion.mask_record import has_user_mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.imaging.ruler import Ruler
    from napari_melanoma.lesion.batch_classifier import BatchClassifier
    from napari_melanoma.lesion.batch_options import BatchOptions, ScaleOrigin

RESULT_IMAGES = frozenset((*ALWAYS_WRITTEN, "roi.png"))
RECORD = "batch"  # key in the provenance of a result
MASK = "mask.png"
OTHER_MASK = (
    "{path} is not the mask that was measured: another program has changed it, or saving was interrupted. Analyze the "
    "photograph again, or restore the file."
)
SALT = ".napari-melanoma-salt"
LOCK, LOCK_TIMEOUT_S = ".results.lock", 60.0  # of salt and table, which are locked for a moment
CLAIMS = ".claims"  # folder with a lock for each photograph that is being analyzed
JOBS = "jobs"  # folder in it with a lock for each process, whose owner is the digest of its settings
_OBJECT_KEYS = (
    "provenance",
    RECORD,
    "source",
    "model",
    "options",
    "measurements",
    "pixel_size_um",
    "looks_like",
    "prediction",
    "heatmap",
)
_TYPES = {
    **dict.fromkeys(_OBJECT_KEYS, dict),
    "image_shape": list,
    "notes": list,
    "lesions_found": int,
    "warning": str,
    "damage": str,
    "credit": str,
    "mask_sha256": str,
}
Salt = bytes  # random bytes in the results folder
KEY_COLUMN = "image"
WRITE_EVERY_S = 10.0  # least interval
UNWRITABLE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # errors that do not pass by waiting
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotographSource:
    """Identifies the file of a photograph without its path.

    ``modified_ns``: modification time. ``place``: salted digest of the folder.
    """

    file: str
    bytes: int
    modified_ns: int
    place: str

    @classmethod
    def from_file(cls, path: Path, salt: Salt) -> PhotographSource:
        """Describe a file; raises InputError if it cannot be read."""
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path.name} cannot be read: {error.strerror}. Check that it still exists.") from error
        return cls(path.name, status.st_size, status.st_mtime_ns, _digest(real_path(path).parent, salt))


@dataclass(frozen=True)
class ResultSettings:
    """The settings that determine a result; a stored result with the same settings is reused."""

    options: dict[str, Any]
    model: dict[str, Any]
    pixel_size_um: float | None
    modality: str | None
    classifier: BatchClassifier | None = None
    scale: ScaleOrigin = "stated"

    def matches(self, stored: dict[str, Any]) -> bool:
        """Whether a stored result has these settings; False if it does not state them."""
        model, record = stored.get("model") or {}, _stored_record(stored)
        return (
            stored.get("options") == self.options
            and all(model.get(key) == value for key, value in self.model.items())
            and record.get("pixel_size_um") == self.pixel_size_um
            and record.get("modality") == self.modality
            and record.get("scale", "stated") == self.scale
            and (self.classifier is None or self.classifier.matches(stored))
        )


@dataclass(frozen=True)
class ResultTarget:
    """A photograph and its result folder; ``stored``: the content of the folder's ``result.json``, if any."""

    path: Path
    source: PhotographSource
    folder: Path
    stored: dict[str, Any] | None

    @property
    def corrected(self) -> bool:
        """Whether users made the mask of the stored result by prompts, or corrected it by hand."""
        return self.stored is not None and has_user_mask(self.stored)

    def check_mask(self) -> None:
        """Raise if the mask was replaced since its measurements were written."""
        mask, result = self.folder / MASK, self.folder / RESULT
        if self.stored and mask.is_file() and mask.stat().st_mtime_ns > result.stat().st_mtime_ns:  # else not read
            read_result_mask(self.folder, self.stored)

    def is_done(self, settings: ResultSettings) -> bool:
        """Whether a complete result of the same photograph and settings exists."""
        if self.stored is None or not settings.matches(self.stored):
            return False
        source = _stored_record(self.stored).get("source") or {}
        unchanged = source.get("bytes") == self.source.bytes and source.get("modified_ns") == self.source.modified_ns
        needed = RESULT_IMAGES if self.stored.get("lesion_found") else RESULT_IMAGES - {"roi.png"}
        return unchanged and all((self.folder / name).is_file() for name in needed)


class ResultFolders:
    """Assigns a unique folder below ``out`` to each photograph of a run.

    Several processes may write to ``out``: a photograph is claimed before it is analyzed, and left to the process that
    has claimed it.

    ``settings``: digest of the settings of the results to write, "" to write none. Raises ``RunError`` if another
    process writes with others.
    """

    def __init__(self, out: Path, reserved: Iterable[str] = (), settings: str = "") -> None:
        self._out = out
        self.claims, self._jobs = Claims(out / CLAIMS), Claims(out / CLAIMS / JOBS)
        with hold_lock(out / LOCK, LOCK_TIMEOUT_S):  # which other processes must read, not replace
            self._salt = _read_salt(out)
            if settings and self._jobs.owners() - {settings}:
                raise RunError(
                    f"another process writes results with other settings into {out}. Wait until it has ended, or name "
                    "another folder."
                )
            if settings:
                self._jobs.claim(secrets.token_hex(), settings)
        self._assigned = {normalize_name(name) for name in reserved}
        self._existing = {normalize_name(entry.name) for entry in out.iterdir()}

    def close(self) -> None:
        """Release all photographs, and let other processes write with other settings."""
        self._jobs.close()
        self.claims.close()

    def assign(self, path: Path) -> ResultTarget:
        """Choose the folder of a photograph.

        The folder is that of an earlier result of the photograph, otherwise a new one. If names repeat, it depends on
        the order of the calls. Raises SaveError if both possible folders contain something else.
        """
        source = PhotographSource.from_file(path, self._salt)
        names = self._list_names(path)
        free = [name for name in names if normalize_name(name) not in self._assigned]
        stored = {name: _read_stored(self._out / name) for name in free}
        reusable = [name for name in free if stored[name] and _belongs_to(stored[name], path, source)]
        vacant = [
            name for name in free if normalize_name(name) not in self._existing and not (self._out / name).exists()
        ]
        chosen = next(iter((*reusable, *vacant)), None)
        if chosen is None:
            raise SaveError(
                f"{self._out / names[1]} exists, but contains no result of {path.name}. Move it to another folder."
            )
        self._assigned.add(normalize_name(chosen))
        return ResultTarget(path, source, self._out / chosen, stored[chosen])

    def name_failed(self, path: Path) -> str:
        """Name a photograph that has no folder; not as another one of this run that has the same name."""
        stem, other = self._list_names(path)
        return stem if normalize_name(stem) not in self._assigned else other

    def _list_names(self, path: Path) -> tuple[str, str]:
        """Return the names that the folder of a photograph may have."""
        stem = folder_name(path.stem)
        return stem, f"{stem}-{_digest(real_path(path), self._salt)[:8]}"

    def claim(self, target: ResultTarget) -> ResultTarget | None:
        """Claim a photograph, and read its result again; None if another process analyzes it."""
        owner = _digest(real_path(target.path), self._salt)
        while True:
            name = target.folder.name
            claimed = self.claims.claim(name, owner)
            if claimed is False:
                return None
            if claimed:
                stored = _read_stored(target.folder)
                if not target.folder.exists() or _belongs_to(stored, target.path, target.source):
                    return replace(target, stored=stored)
                self.claims.release(name)  # the folder was written since for another photograph of this name
            target = self.assign(target.path)


def provenance_record(source: PhotographSource, options: BatchOptions, ruler: Ruler | None) -> dict[str, object]:
    """Return what a batch adds to a result's provenance, so that a later run recognizes the photograph.

    ``ruler``: the one in the photograph, if the scale is that of the ruler.
    """
    stated = {"pixel_size_um": options.pixel_size_um, "modality": options.modality, "scale": options.scale}
    return {RECORD: {"source": asdict(source), **stated}, **({"ruler": ruler.to_json()} if ruler else {})}


def is_own_output(path: Path) -> bool:
    """Whether an image is part of an earlier result or the mask of a phantom, and not a photograph.

    Such images are found if results were written below the folder of the photographs, or in a folder of phantoms.
    """
    if path.name in RESULT_IMAGES | {BAND, HEATMAP}:
        return (path.parent / RESULT).is_file()
    return path.stem.endswith("_mask") and path.with_name(f"{path.stem.removesuffix('_mask')}{TRUTH_SUFFIX}").is_file()


def read_result(folder: Path) -> dict[str, Any]:
    """Read the ``result.json`` of a result folder; a link out of the folder is refused."""
    if not is_inside(folder / RESULT, folder):
        raise InputError(f"{folder / RESULT} is a link to a file outside the folder. Replace it by the file itself.")
    try:
        stored = read_json(folder / RESULT)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} contains no readable {RESULT}: {parse_error_reason(error)}.") from error
    if not isinstance(stored, dict):
        raise InputError(f"{folder / RESULT} contains a {type(stored).__name__}, expected an object.")
    return stored


def read_result_mask(folder: Path, stored: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Read the mask of a result folder, bool (row, column); raise if it is not the one that was measured.

    ``stored``: the content of ``result.json``; earlier versions did not state the mask.
    """
    mask = read_mask(folder / MASK)
    if stored.get("mask_sha256") not in (None, array_fingerprint(mask)):
        raise InputError(OTHER_MASK.format(path=folder / MASK))
    return mask


def _is_valid(stored: dict[str, Any]) -> bool:
    """Whether the values that a batch reads from a result have the expected types."""
    provenance = stored.get("provenance")
    record = provenance.get(RECORD) if isinstance(provenance, dict) else None
    source = record.get("source") if isinstance(record, dict) else None
    values = {**stored, RECORD: record, "source": source}
    if not all(isinstance(values.get(key), expected | None) for key, expected in _TYPES.items()):
        return False
    prediction = stored.get("prediction") or {}
    try:
        prediction_cells(prediction)
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return isinstance(prediction.get("warnings"), list | None)


def _read_stored(folder: Path) -> dict[str, Any] | None:
    """Return the content of a folder's ``result.json``; None if it is missing or damaged."""
    if not (folder / RESULT).is_file():
        return None
    try:
        stored = read_result(folder)
    except InputError:
        return None
    return stored if _is_valid(stored) else None


def _stored_record(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the batch record of a result; empty if a dock wrote the result."""
    return (stored.get("provenance") or {}).get(RECORD) or {}


def _belongs_to(stored: dict[str, Any] | None, path: Path, source: PhotographSource) -> bool:
    """Whether a result is that of a photograph, even if the photograph was changed or moved (but not both)."""
    if stored is None:
        return False
    stored_source = _stored_record(stored).get("source")
    if stored_source is None:
        return _has_same_pixels(stored, path)
    is_unchanged = (stored_source.get("bytes"), stored_source.get("modified_ns")) == (source.bytes, source.modified_ns)
    return stored_source.get("file") == source.file and (stored_source.get("place") == source.place or is_unchanged)


def _has_same_pixels(stored: dict[str, Any], path: Path) -> bool:
    """Whether a result that a dock has saved is that of a photograph with the same name and pixels."""
    from napari_melanoma.io.photographs import read_photograph

    if stored.get("image") != path.stem:
        return False
    try:
        return stored.get("image_sha256") == array_fingerprint(read_photograph(path).rgb)
    except MelanomaError:
        return False


def _digest(path: Path, salt: Salt) -> str:
    """Return a short digest of a path, from which the path cannot be guessed without the salt."""
    return hmac.digest(salt, path.as_posix().encode("utf-8", "surrogateescape"), "sha256").hex()[:12]


def _read_salt(out: Path) -> Salt:
    """Read the salt of a results folder; create it if it is missing."""
    path = out / SALT
    if not path.exists():
        write_text(path, secrets.token_hex())
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Select another folder.") from error


def is_unwritable(error: Exception) -> bool:
    """Whether nothing can be written because the disk is full or read-only; False for a locked file."""
    cause = error.__cause__
    return isinstance(error, SaveError) and isinstance(cause, OSError) and cause.errno in UNWRITABLE_ERRORS


class ResultTable:
    """A CSV table with one row for each ``image``; rows of earlier runs and additional columns are kept.

    ``columns``: the first columns. A row is stored as its line of CSV, which takes a tenth of the memory of a dict.
    ``set_row`` is thread-safe.
    """

    def __init__(self, path: Path, columns: Iterable[str]) -> None:
        self.path = path
        self._columns = list(columns)
        self._lines: dict[str, str] = {}
        self._own_keys: set[str] = set()
        self._lock = Lock()
        self._last_stamp: tuple[int, ...] | None = None
        self._next_write = 0.0
        try:
            self._read()
        except OSError as error:
            raise InputError(
                f"{path} cannot be read: {error.strerror or error}. Close it in other programs."
            ) from error

    def __len__(self) -> int:
        return len(self._lines)

    def set_row(self, row: Mapping[str, object]) -> None:
        """Add a row, or replace the row of the same ``image``."""
        key, line = str(row[KEY_COLUMN]), self._line(row)
        with self._lock:
            self._lines[key] = line
            self._own_keys.add(key)

    def write(self) -> None:
        """Write all rows atomically, sorted by ``image``; rows that another run has added are kept."""
        try:
            self._write()
        except (OSError, SaveError) as error:
            cause = error.__cause__ if isinstance(error, SaveError) else error
            if isinstance(cause, PermissionError):  # the error on Windows for a file that is open in a spreadsheet
                raise SaveError(
                    f"cannot write {self.path}: it is open in another program, such as a spreadsheet, or you lack the "
                    "permission. Close it there and try again; the results are saved in their folders."
                ) from cause
            if isinstance(error, OSError):
                raise save_error(self.path, error) from error
            raise

    def _write(self) -> None:
        """Write all rows, without the messages that ``write`` gives to errors."""
        with hold_lock(self.path.with_name(LOCK), LOCK_TIMEOUT_S):  # no row of another process is lost
            if self._file_stamp() != self._last_stamp:
                self._read()
            with self._lock:
                lines = [self._lines[key] for key in sorted(self._lines)]
            with (
                atomic_file(self.path) as temporary,
                temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
            ):
                file.write(_encode(self._columns))
                file.writelines(lines)
            self._last_stamp = self._file_stamp()

    def write_periodically(self) -> None:
        """Write if the last time was long enough ago, so that users can follow a long run at little cost.

        If the file cannot be written, for example while it is open in a spreadsheet, writing is retried later.
        """
        started = time.monotonic()
        if started < self._next_write:
            return
        try:
            self.write()
        except MelanomaError as error:
            if is_unwritable(error):
                raise
            log.warning("%s Trying again later.", error)
        finished = time.monotonic()
        self._next_write = finished + max(WRITE_EVERY_S, 50 * (finished - started))

    def _read(self) -> None:
        """Add the rows of the file, except those that this run has set."""
        stamp = self._file_stamp()
        if stamp is None:
            return
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            try:
                self._merge_lines(CsvReader(file))
            except (CsvError, UnicodeDecodeError, KeyError) as error:
                raise InputError(
                    f"{self.path} exists, but is not a table of results: expected comma-separated UTF-8 with a column "
                    f"'{KEY_COLUMN}' ({error}). Move it to another folder, or select another output folder."
                ) from error
        self._last_stamp = stamp  # set last: an unreadable file must not be overwritten

    def _merge_lines(self, lines: Iterator[list[str]]) -> None:
        """Add lines of CSV, the header first."""
        header = next(lines, [])
        if KEY_COLUMN not in header:
            raise CsvError(f"found the columns {', '.join(header[:5]) or 'none'}")
        added = [column for column in header if column not in self._columns]
        if added:
            self._columns += added
            self._lines = {key: line.removesuffix("\n") + "," * len(added) + "\n" for key, line in self._lines.items()}
        for cells in lines:
            row = dict(zip(header, cells, strict=False))
            if row.get(KEY_COLUMN) and row[KEY_COLUMN] not in self._own_keys:
                self._lines[row[KEY_COLUMN]] = self._line(row)

    def _line(self, row: Mapping[str, object]) -> str:
        return _encode([format_cell(row.get(column)) for column in self._columns])

    def _file_stamp(self) -> tuple[int, ...] | None:
        """Return what shows whether the file was written; None without a file.

        The file is opened, since a network drive may state old values of a file that another machine has replaced.
        """
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def _encode(cells: list[str]) -> str:
    buffer = io.StringIO()
    CsvWriter(buffer).write_row(cells)
    return buffer.getvalue()
