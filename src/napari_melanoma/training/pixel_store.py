"""The store of decoded images, shared by all runs of a user.

An image or mask is decoded and resized once, identified by the SHA-256 of its file, and written to a shard: a NumPy
file with many images, which training maps into memory. An SQLite index lists files, their properties and positions.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import numpy as np

from napari_melanoma.core.context import Progress, map_in_threads
from napari_melanoma.core.errors import SaveError, UnreadableImage
from napari_melanoma.core.files import atomic_file, save_error
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.prediction_config import NO_PREPROCESSING, PreprocessingConfig
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.training_images import hash_pixels
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_labels, read_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext

RETENTION_DAYS = 30
INDEX, LOCK = "index.sqlite", "filling.lock"
WAIT_S = 0.5  # between checks whether a run that waits for the lock was canceled
SHARD_BYTES = 2**29  # 1,700 images of 320 px: 230 files for 400,000 images; a crash costs half a minute of decoding
MAX_OPEN_SHARDS = 64  # maps in a process; macOS allows 256 open files
SAVED_EVERY = 500  # files of which only properties are stored; saving each one would take longer than decoding
RESERVE_BYTES = 2**28  # left free on the disk
PixelKind = Literal["image", "mask", "labels"]
KINDS: tuple[PixelKind, ...] = ("image", "mask", "labels")

FORMAT = 2  # version of the tables
# ``files``: FileInfo by path. ``facts``: DecodedFacts. ``slots``: PixelSlot. ``uses``: the shards that a run needs.
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha TEXT, width INTEGER, height INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (
    kind TEXT, sha TEXT, rows INTEGER, columns INTEGER, lesion REAL, pixels TEXT, PRIMARY KEY (kind, sha)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS slots (
    kind TEXT, side INTEGER, sha TEXT, shard TEXT, place INTEGER, PRIMARY KEY (kind, side, sha)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uses (run TEXT, shard TEXT, PRIMARY KEY (run, shard)) WITHOUT ROWID;
PRAGMA user_version = {FORMAT};
"""


class ImageMaskPair(NamedTuple):
    """An image and its mask, each identified by the SHA-256 of its file."""

    image_sha: str
    mask_sha: str


def user_store_folder() -> Path:
    """Return the folder of decoded images, shared by all runs of this user; it may not exist yet."""
    from platformdirs import user_cache_path

    return user_cache_path("napari-melanoma", appauthor=False) / "training"


class PixelStore:
    """The decoded images of one user, open in this process.

    ``preprocessing``: applied to images before they are stored; it selects the stored images of a file.
    """

    def __init__(self, folder: Path, index: CacheIndex, preprocessing: PreprocessingConfig = NO_PREPROCESSING) -> None:
        self.folder = folder
        self.index = index
        self.preprocessing = preprocessing
        self._present = complete_shards(folder)  # users or the system may have deleted or truncated some

    @classmethod
    @contextmanager
    def open_locked(
        cls, folder: Path, run: RunContext, preprocessing: PreprocessingConfig = NO_PREPROCESSING
    ) -> Iterator[Self]:
        """Open the store for writing; wait while another process writes."""
        with _lock(folder, run), CacheIndex.open(folder / INDEX) as index:
            yield cls(folder, index, preprocessing)

    @classmethod
    @contextmanager
    def open_copy(cls, folder: Path, preprocessing: PreprocessingConfig = NO_PREPROCESSING) -> Iterator[Self]:
        """Open an in-memory copy of the index, so that nothing is written."""
        with CacheIndex.open_copy(folder / INDEX) as index:
            yield cls(folder, index, preprocessing)

    def slot(self, kind: PixelKind, side: int, sha: str) -> PixelSlot | None:
        """Return where the pixels of a file with this SHA-256 are stored; None if they are missing."""
        slot = self.index.slot(self._index_kind(kind), side, sha)
        return slot if slot and slot.shard in self._present else None

    def add_decoded(self, kind: PixelKind, side: int, shard: str, decoded: DecodedFiles) -> None:
        """Register decoded files, whose pixels are already in a shard.

        ``shard``: its name, empty if no pixels were stored.
        """
        self.index.add_decoded(kind, side, shard, decoded, self._index_kind(kind))

    def add(self, shape: tuple[int, ...], pixels: Iterable[NDArray[np.uint8]]) -> str:
        """Write a shard and return its name; the caller registers its content with ``add_decoded``.

        ``shape``: of the shard, items first. ``pixels``: uint8, one array for each item.
        """
        name = write_shard(self.folder, shape, pixels)
        self._present.add(name)
        return name

    def cache(self, pairs: Sequence[ImageMaskPair], side: int, masks: PixelKind = "mask") -> PixelCache:
        """Return the decoded images and masks, in the order of the pairs.

        ``side``: side of the decoded images in pixels. ``masks``: kind of the masks.
        """
        shards: dict[str, int] = {}
        places = np.empty((len(pairs), 4), np.int32)
        kinds: tuple[PixelKind, PixelKind] = ("image", masks)
        for item, pair in enumerate(pairs):
            for first, kind, sha in zip((0, 2), kinds, pair, strict=True):
                slot = self.slot(kind, side, sha)
                assert slot is not None
                places[item, first : first + 2] = shards.setdefault(slot.shard, len(shards)), slot.place
        return PixelCache(self.folder, side, tuple(shards), places)

    def _index_kind(self, kind: PixelKind) -> str:
        """Return the kind in the table of positions: images with different preprocessing are separate entries."""
        key = self.preprocessing.cache_key if kind == "image" else ""
        return f"{kind} {key}" if key else kind

    def register_run(self, run: Path, caches: Iterable[PixelCache]) -> None:
        """Protect the shards of a run from deletion for as long as it can be resumed."""
        shards = {name for cache in caches for name in cache.shards}
        self.index.register_run(str(run.absolute()), shards)
        for name in shards:
            with suppress(OSError):
                os.utime(self.folder / name)

    def prune(self) -> None:
        """Delete files that no run has used for a month: they contain photographs of patients, and fill the disk.

        Shards of runs that can be resumed are kept.
        """
        runs = self.index.runs()
        finished = [run for run in runs if not can_resume(Path(run))]
        kept_shards = {name for run in runs.keys() - finished for name in runs[run]}
        limit = time.time() - RETENTION_DAYS * 86400
        for path in self.folder.iterdir():
            if path.name.startswith((INDEX, LOCK)) or path.name in kept_shards:
                continue
            # Hidden files are left over from a killed process, as only one process writes at a time.
            with suppress(OSError):  # on Windows, files that another process reads are kept until the next time
                if path.name.startswith(".") or path.stat().st_mtime < limit:
                    _remove(path)
        self._present = complete_shards(self.folder)
        self.index.remove(finished, self.index.shards() - self._present)


def can_resume(run: Path) -> bool:
    """Whether a run may still need its images: its folder exists and contains no model yet."""
    return run.is_dir() and not RunFolder(run).bundle.is_dir()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def _lock(folder: Path, run: RunContext) -> Iterator[None]:
    """Hold the lock of the store; wait while another process fills it."""
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        while not lock.is_locked:
            run.check()
            try:
                lock.acquire(timeout=WAIT_S)
            except Timeout:
                run.report(Progress(0, None, "Waiting for another run to decode images"))
    except OSError as error:
        raise save_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True, eq=False)
class PixelCache:
    """Decoded images and their masks in order; shards are opened when read, so that passing a cache copies no pixels.

    ``side``: side of the decoded images in pixels. ``places``: int32 (item, 4): index of the shard in ``shards`` and of
    the image in it, then the same for the mask.
    """

    folder: Path
    side: int
    shards: tuple[str, ...]
    places: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.places)

    def read(self, items: NDArray[np.int64] | Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Copy a batch from the cache.

        Returns uint8 (item, 3, row, column), and (item, 1, row, column): 0 or 255, or the class indices of label
        images.
        """
        places = self.places[np.asarray(items, dtype=np.int64)]
        return (
            read_items(self.folder, self.shards, places[:, :2], (3, self.side, self.side)),
            read_items(self.folder, self.shards, places[:, 2:], (1, self.side, self.side)),
        )

    def concatenate(self, other: PixelCache | None) -> PixelCache:
        """Append the images of another cache of the same folder and side, without copying pixels."""
        if other is None:
            return self
        other_places = other.places + np.array([len(self.shards), 0] * 2, np.int32)
        return PixelCache(
            self.folder, self.side, self.shards + other.shards, np.concatenate([self.places, other_places])
        )


class FileInfo(NamedTuple):
    """Size in bytes, time of change and SHA-256 of a file, and the image size in its header; (0, 0) if unknown."""

    size: int
    mtime_ns: int
    sha: str
    width: int
    height: int


class DecodedFacts(NamedTuple):
    """Properties of a decoded file.

    ``rows``, ``columns``: size of the upright image. ``lesion``: share of lesion pixels in a mask, or of pixels other
    than the first class in a label image; 0 for an image. ``pixels``: for an image, a digest of its pixels in any file
    format; for a label image, the pixel counts read by ``label_counts``; empty for a mask.
    """

    rows: int
    columns: int
    lesion: float
    pixels: str


# Decoded files by SHA-256: the index in the shard, and the properties.
DecodedFiles = dict[str, tuple[int, DecodedFacts]]


class PixelSlot(NamedTuple):
    """The shard that holds the pixels of an image or mask, and their index in it."""

    shard: str
    place: int


@dataclass(frozen=True)
class CacheIndex:
    """The SQLite index of a pixel store."""

    connection: sqlite3.Connection

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open the index for writing; a damaged one is created again."""
        try:
            with closing(_open_or_create(path)) as connection:
                yield cls(connection)
        except sqlite3.Error as error:
            raise SaveError(
                f"{path}, the index of decoded images, is not usable: {error}. Free some space on that disk, or "
                f"delete the folder {path.parent}; it is filled again."
            ) from error

    @classmethod
    @contextmanager
    def open_copy(cls, path: Path) -> Iterator[Self]:
        """Open a copy in memory, so that nothing is written."""
        with closing(sqlite3.connect(":memory:")) as memory:
            if path.exists():
                with suppress(sqlite3.DatabaseError), closing(_connect_to_read(path)) as stored:
                    stored.backup(memory)
            memory.executescript(SCHEMA)
            yield cls(memory)

    def file_info(self, path: str, size: int, mtime_ns: int) -> FileInfo | None:
        """Return the entry of a file with this size and time; None if it is new or has changed."""
        query = "SELECT size, mtime_ns, sha, width, height FROM files WHERE path = ? AND size = ? AND mtime_ns = ?"
        row = self.connection.execute(query, (path, size, mtime_ns)).fetchone()
        return FileInfo(*row) if row else None

    def add_file_infos(self, infos: Iterable[tuple[str, FileInfo]]) -> None:
        """Register files."""
        with self.connection as connection:
            rows = [(path, *info) for path, info in infos]
            connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", rows)

    def facts(self, kind: PixelKind, sha: str) -> DecodedFacts | None:
        """Return the properties of the file with this SHA-256; None if it was never decoded."""
        query = "SELECT rows, columns, lesion, pixels FROM facts WHERE kind = ? AND sha = ?"
        row = self.connection.execute(query, (kind, sha)).fetchone()
        return DecodedFacts(*row) if row else None

    def slot(self, kind: str, side: int, sha: str) -> PixelSlot | None:
        """Return where the pixels of the file with this SHA-256 are stored; None if they are not."""
        query = "SELECT shard, place FROM slots WHERE kind = ? AND side = ? AND sha = ?"
        row = self.connection.execute(query, (kind, side, sha)).fetchone()
        return PixelSlot(*row) if row else None

    def add_decoded(self, kind: PixelKind, side: int, shard: str, decoded: DecodedFiles, index_kind: str = "") -> None:
        """Register decoded files, whose pixels are already on disk.

        ``shard``: its name, empty if no pixels were stored.
        """
        with self.connection as connection:
            facts = [(kind, sha, *properties) for sha, (_, properties) in decoded.items()]
            connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?, ?)", facts)
            if shard:
                slots = [(index_kind or kind, side, sha, shard, number) for sha, (number, _) in decoded.items()]
                connection.executemany("INSERT OR REPLACE INTO slots VALUES (?, ?, ?, ?, ?)", slots)

    def register_run(self, run: str, shards: Iterable[str]) -> None:
        """Record the shards that a run needs, so that they are kept."""
        with self.connection as connection:
            connection.execute("DELETE FROM uses WHERE run = ?", (run,))
            connection.executemany("INSERT INTO uses VALUES (?, ?)", [(run, shard) for shard in shards])

    def runs(self) -> dict[str, set[str]]:
        """Return the shards of each run."""
        shards_by_run: dict[str, set[str]] = {}
        for run, shard in self.connection.execute("SELECT run, shard FROM uses"):
            shards_by_run.setdefault(run, set()).add(shard)
        return shards_by_run

    def remove(self, runs: Iterable[str], shards: Iterable[str]) -> None:
        """Delete the records of finished runs and deleted shards."""
        with self.connection as connection:
            connection.executemany("DELETE FROM uses WHERE run = ?", [(run,) for run in runs])
            connection.executemany("DELETE FROM slots WHERE shard = ?", [(shard,) for shard in shards])

    def shards(self) -> set[str]:
        """Return the names of the shards in use."""
        return {shard for (shard,) in self.connection.execute("SELECT DISTINCT shard FROM slots")}


def _open_or_create(path: Path) -> sqlite3.Connection:
    """Open the file; a damaged one, or one of another format, is created again, as the cache can be refilled."""
    try:
        return _connect(path)
    except sqlite3.OperationalError:
        raise  # for example a full disk: the file may be intact
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)  # its shards are unusable now, and are deleted when they are old
        return _connect(path)


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Open the file read-only; another format raises an error."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)
    if connection.execute("PRAGMA user_version").fetchone() != (FORMAT,):
        connection.close()
        raise sqlite3.DatabaseError("another format")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file, and create its tables if it is new."""
    connection = sqlite3.connect(path, timeout=60)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, FORMAT):
            raise sqlite3.DatabaseError(f"format {version}")
        connection.executescript(SCHEMA)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def items_per_shard(shape: Sequence[int]) -> int:
    """Return the number of items in a full shard; ``shape``: of one item, uint8."""
    return max(1, SHARD_BYTES // int(np.prod(shape)))


def write_shard(folder: Path, shape: tuple[int, ...], items: Iterable[NDArray[np.uint8]]) -> str:
    """Write a shard item by item, and return its unique name.

    ``shape``: of the shard, items first. ``items``: uint8, ``shape[0]`` arrays.
    """
    name = f"{uuid.uuid4().hex[:16]}.npy"
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with atomic_file(folder / name) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for item in items:
            file.write(np.ascontiguousarray(item).data)
    return name


def complete_shards(folder: Path) -> set[str]:
    """Return the names of the shards whose file size matches their header; others were truncated."""
    return {path.name for path in folder.glob("*.npy") if _is_complete(path)}


def _is_complete(path: Path) -> bool:
    """Compare the size of a shard with its header."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, _ = np.lib.format.read_array_header_1_0(file)
            return path.stat().st_size == file.tell() + int(np.prod(shape, dtype=np.int64))
    except (OSError, ValueError):
        return False


@lru_cache(maxsize=MAX_OPEN_SHARDS)
def open_shard(path: Path) -> NDArray[np.uint8]:
    """Map a shard into memory, uint8 (item, ...), read-only; the map is cached."""
    return np.load(path, mmap_mode="r")


def read_items(
    folder: Path, names: Sequence[str], places: NDArray[np.int32], shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Copy items from shards, reading them in the order in which they are stored.

    ``places``: int32 (item, 2): index of the shard in ``names``, and of the item in it. Returns uint8 (item, ...), in
    the order of ``places``.
    """
    items = np.empty((len(places), *shape), np.uint8)
    for item in np.lexsort(places.T[::-1]):
        shard, slot = places[item]
        items[item] = open_shard(folder / names[shard])[slot]
    return items


class DecodeJob(NamedTuple):
    """A file to decode; ``keep``: whether to store its pixels."""

    kind: PixelKind
    path: Path
    info: FileInfo
    keep: bool


class DecodedPixels(NamedTuple):
    """The decoded pixels of a file (channel, row, column), resized to the square, and its properties."""

    pixels: NDArray[np.uint8]
    facts: DecodedFacts


def decode_missing(store: PixelStore, jobs: Sequence[DecodeJob], side: int, run: RunContext) -> dict[Path, str]:
    """Decode the files that the store lacks, and store them; return the reason for each file that cannot be used.

    ``side``: side of the decoded images in pixels.
    """
    missing = list({(job.kind, job.info.sha, job.keep): job for job in jobs if _is_missing(job, store, side)}.values())
    _check_disk_space(store.folder, [job for job in missing if job.keep], side)
    filler = _StoreFiller(store, side, run, len(missing))
    for kind in KINDS:
        to_store = [job for job in missing if job.keep and job.kind == kind]
        size = items_per_shard(_shape(kind, side))
        for first in range(0, len(to_store), size):
            filler.write_pixels(kind, to_store[first : first + size])
    filler.inspect([job for job in missing if not job.keep])
    return filler.faults


class _StoreFiller:
    """Decodes files into a store, reports progress, and collects failures."""

    def __init__(self, store: PixelStore, side: int, run: RunContext, total: int) -> None:
        self.faults: dict[Path, str] = {}
        self._store = store
        self._side = side
        self._run = run
        self._total = total
        self._done = 0

    def write_pixels(self, kind: PixelKind, jobs: Sequence[DecodeJob]) -> None:
        """Decode files of one kind into one shard."""
        shape = _shape(kind, self._side)
        decoded: DecodedFiles = {}

        def pixels() -> Iterator[NDArray[np.uint8]]:
            for number, (job, file) in enumerate(self._decode_all(jobs)):
                if file is None:
                    yield np.zeros(shape, np.uint8)  # not registered in the index
                else:
                    decoded[job.info.sha] = number, file.facts
                    yield file.pixels

        shard = self._store.add((len(jobs), *shape), pixels())
        self._store.add_decoded(kind, self._side, shard, decoded)

    def inspect(self, jobs: Sequence[DecodeJob]) -> None:
        """Decode files to determine their properties, without storing their pixels."""
        pending: dict[PixelKind, dict[str, tuple[int, DecodedFacts]]] = {kind: {} for kind in KINDS}

        def save() -> None:
            for kind, facts in pending.items():
                if facts:
                    self._store.add_decoded(kind, self._side, "", facts)
                    facts.clear()

        try:
            for count, (job, decoded) in enumerate(self._decode_all(jobs), start=1):
                if decoded is not None:
                    pending[job.kind][job.info.sha] = 0, decoded.facts
                if count % SAVED_EVERY == 0:
                    save()
        finally:
            save()

    def _decode_all(self, jobs: Sequence[DecodeJob]) -> Iterator[tuple[DecodeJob, DecodedPixels | None]]:
        """Decode in threads and collect failures."""
        decode = partial(_decode, side=self._side, preprocessing=self._store.preprocessing)
        for job, decoded in map_in_threads(decode, jobs, self._run):
            if isinstance(decoded, str):
                self.faults[job.path] = decoded
                yield job, None
            else:
                yield job, decoded
            self._done += 1
            self._run.report(Progress(self._done, self._total, "Decoding images"))


def _is_missing(job: DecodeJob, store: PixelStore, side: int) -> bool:
    """Whether the pixels of a file, or its properties if pixels are not stored, are missing."""
    if job.keep:
        return store.slot(job.kind, side, job.info.sha) is None
    return store.index.facts(job.kind, job.info.sha) is None


def _shape(kind: PixelKind, side: int) -> tuple[int, ...]:
    """Return the shape of one item, (channel, row, column)."""
    return (3 if kind == "image" else 1, side, side)


def _decode(job: DecodeJob, side: int, preprocessing: PreprocessingConfig) -> DecodedPixels | str:
    """Decode a file if it has not changed since it was scanned; otherwise return a message."""
    try:
        if job.kind == "mask":
            decoded = _decode_mask(job.path, side)
        elif job.kind == "labels":
            decoded = _decode_labels(job.path, side)
        else:
            decoded = _decode_image(job.path, side, preprocessing if job.keep else NO_PREPROCESSING)
        status = job.path.stat()
    except UnreadableImage as error:
        return str(error)
    except OSError as error:
        return f"{job.path} cannot be read: {error.strerror or error}."
    if (status.st_size, status.st_mtime_ns) != (job.info.size, job.info.mtime_ns):
        return f"{job.path} was changed while it was read. Start again when no program writes to it."
    return decoded


def _decode_image(path: Path, side: int, preprocessing: PreprocessingConfig = NO_PREPROCESSING) -> DecodedPixels:
    """Read an upright photograph, and prepare it as network input."""
    rgb = read_photograph(path).rgb
    pixels = prepare_network_input(rgb, side, preprocessing).transpose(2, 0, 1)
    return DecodedPixels(pixels, DecodedFacts(rgb.shape[0], rgb.shape[1], 0.0, hash_pixels(rgb)))


def _decode_mask(path: Path, side: int) -> DecodedPixels:
    """Read a mask with the values 0 and 255."""
    from PIL import Image

    mask = read_mask(path)
    resized = Image.fromarray(mask.astype(np.uint8) * 255).resize((side, side), Image.Resampling.BILINEAR)
    pixels = np.where(np.asarray(resized) >= 128, 255, 0).astype(np.uint8)
    return DecodedPixels(pixels[None], DecodedFacts(mask.shape[0], mask.shape[1], float(mask.mean()), ""))


def _decode_labels(path: Path, side: int) -> DecodedPixels:
    """Read a label image, resized without interpolating values."""
    from PIL import Image

    labels = read_labels(path)
    resized = Image.fromarray(labels).resize((side, side), Image.Resampling.NEAREST)
    counts = np.bincount(labels.ravel(), minlength=1)
    counts_json = json.dumps({str(value): int(count) for value, count in enumerate(counts) if count})
    facts = DecodedFacts(labels.shape[0], labels.shape[1], 1 - float(counts[0] / labels.size), counts_json)
    return DecodedPixels(np.asarray(resized)[None], facts)


def label_counts(facts: DecodedFacts) -> dict[int, int]:
    """Return the number of pixels of each value of a label image, ascending; values that do not occur are omitted."""
    return {int(value): count for value, count in parse_json(facts.pixels, "the pixel store").items()}


def _check_disk_space(folder: Path, jobs: Sequence[DecodeJob], side: int) -> None:
    """Refuse more pixels than the disk has room for."""
    needed = sum(int(np.prod(_shape(job.kind, side))) for job in jobs)
    if not needed:
        return
    free = shutil.disk_usage(folder).free
    if needed > free - RESERVE_BYTES:
        raise SaveError(
            f"{len(jobs)} decoded images and masks need {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB "
            "are free. Free some space on that disk, or decrease data.cache_size."
        )
