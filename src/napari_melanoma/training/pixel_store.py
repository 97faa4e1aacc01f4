"""The store of decoded images, shared by all runs of a user.

An image or mask is decoded and resized once, identified by the SHA-256 of its file, and written to a NumPy file of its
own, ``VERSION/SHA[:2]/SHA.npy``; a version is a kind of pixels, their preprocessing and their side. An SQLite index
lists the files that were read and their properties.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import Progress, RunContext, map_in_threads
from napari_melanoma.core.errors import RunError, SaveError, TrainingError, UnreadableImage
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.prediction_config import NO_PREPROCESSING, PreprocessingConfig
from napari_melanoma.data.training_images import hash_pixels
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_labels, read_mask

RETENTION_DAYS = 30
INDEX, LOCK = "index.sqlite", "filling.lock"
WAIT_S = 0.5  # between checks whether a run that waits for the lock was canceled
SAVED_EVERY = 500  # files whose properties are saved at once; saving each one would take longer than decoding
RESERVE_BYTES = 2**28  # left free on the disk
PixelKind = Literal["image", "mask", "labels"]

FORMAT = 3  # version of the tables
# ``files``: FileInfo by path. ``facts``: DecodedFacts.
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha TEXT, width INTEGER, height INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (
    kind TEXT, sha TEXT, rows INTEGER, columns INTEGER, lesion REAL, pixels TEXT, PRIMARY KEY (kind, sha)
) WITHOUT ROWID;
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

    def version(self, kind: str, side: int) -> Path:
        """Return the folder of a kind of pixels; images with different preprocessing are separate versions."""
        key = self.preprocessing.cache_key if kind == "image" else ""
        return self.folder / "-".join(filter(None, (kind, key, str(side))))

    def has(self, kind: str, side: int, sha: str) -> bool:
        """Whether the pixels of a file with this SHA-256 are stored; the system may have deleted or truncated them."""
        try:
            size = pixel_path(self.version(kind, side), sha).stat().st_size
        except OSError:
            return False
        return size == _file_bytes(_shape(kind, side))

    def lacks(self, kind: PixelKind, side: int, sha: str) -> bool:
        """Whether the properties or the pixels of a file with this SHA-256 are missing."""
        return self.index.facts(kind, sha) is None or not self.has(kind, side, sha)

    def write(self, kind: str, side: int, sha: str, pixels: NDArray[np.uint8]) -> None:
        """Store the pixels of a file, (channel, row, column)."""
        with atomic_file(pixel_path(self.version(kind, side), sha)) as temporary:
            np.save(temporary, np.ascontiguousarray(pixels))

    def cache(self, pairs: Iterable[ImageMaskPair], side: int, masks: PixelKind = "mask") -> PixelCache:
        """Return the decoded images and masks, in the order of the pairs.

        ``side``: side of the decoded images in pixels. ``masks``: kind of the masks.
        """
        return PixelCache(self.version("image", side), self.version(masks, side), side, tuple(pairs))

    def prune(self, used: Iterable[Path]) -> None:
        """Delete files that no run has used for a month: they contain photographs of patients, and fill the disk.

        ``used``: those that the current run uses now.
        """
        for path in set(used):
            os.utime(path)
        limit = time.time() - RETENTION_DAYS * 86400
        for path in self.folder.rglob("*"):
            if path.name.startswith((INDEX, LOCK)):
                continue
            # Hidden files are left over from a killed process, as only one process writes at a time.
            with suppress(OSError):  # on Windows, files that another process reads are kept until the next time
                if path.is_file() and (path.name.startswith(".") or path.stat().st_mtime < limit):
                    path.unlink()


def pixel_path(version: Path, sha: str) -> Path:
    """Return the file of the pixels with this SHA-256, in a folder of at most some thousands."""
    return version / sha[:2] / f"{sha}.npy"


@cache
def _file_bytes(shape: tuple[int, ...]) -> int:
    """Return the size of a NumPy file with pixels of this shape."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.tell() + int(np.prod(shape))


def _read_into(pixels: NDArray[np.uint8], path: Path) -> None:
    """Read a file of known shape, whose size was checked; ``np.load`` takes ten times longer for its header."""
    with path.open("rb", buffering=0) as file:
        file.seek(_file_bytes(pixels.shape) - pixels.nbytes)
        if file.readinto(pixels) != pixels.nbytes:  # type: ignore[arg-type]  # an array is a buffer
            raise TrainingError(f"{path}, a decoded image, was truncated during the run. Resume the run.")


@contextmanager
def _lock(folder: Path, run: RunContext) -> Iterator[None]:
    """Hold the lock of the store; wait while another process fills it."""
    with ExitStack() as held:
        while True:
            run.check()
            try:
                held.enter_context(hold_lock(folder / LOCK, WAIT_S))
                break
            except RunError:
                run.report(Progress(0, None, "Waiting for another run to decode images"))
        yield


@dataclass(frozen=True, eq=False)
class PixelCache:
    """Decoded images and their masks in order; files are opened when read, so that passing a cache copies no pixels.

    ``images``, ``masks``: folders of the versions; without masks, they are read as empty. ``side``: side of the decoded
    images in pixels.
    """

    images: Path
    masks: Path | None
    side: int
    pairs: tuple[ImageMaskPair, ...]

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def paths(self) -> Iterator[Path]:
        """The files of all images and masks."""
        for pair in self.pairs:
            yield pixel_path(self.images, pair.image_sha)
            if self.masks is not None:
                yield pixel_path(self.masks, pair.mask_sha)

    def read(self, items: NDArray[np.int64] | Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Copy a batch from the cache.

        Returns uint8 (item, 3, row, column), and (item, 1, row, column): 0 or 255, or the class indices of label
        images.
        """
        pairs = [self.pairs[item] for item in items]
        images = np.empty((len(pairs), 3, self.side, self.side), np.uint8)
        masks = np.zeros((len(pairs), 1, self.side, self.side), np.uint8)
        try:
            for place, pair in enumerate(pairs):
                _read_into(images[place], pixel_path(self.images, pair.image_sha))
                if self.masks is not None:
                    _read_into(masks[place], pixel_path(self.masks, pair.mask_sha))
        except FileNotFoundError as error:
            raise TrainingError(
                f"{error.filename}, a decoded image, was deleted during the run. Resume the run: it is decoded again "
                "from the data set."
            ) from error
        return images, masks

    def concatenate(self, other: PixelCache | None) -> PixelCache:
        """Append the images of another cache of the same versions, without copying pixels."""
        return self if other is None else replace(self, pairs=self.pairs + other.pairs)


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
        with self.connection as connection:
            rows = [(path, *info) for path, info in infos]
            connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", rows)

    def facts(self, kind: PixelKind, sha: str) -> DecodedFacts | None:
        """Return the properties of the file with this SHA-256; None if it was never decoded."""
        query = "SELECT rows, columns, lesion, pixels FROM facts WHERE kind = ? AND sha = ?"
        row = self.connection.execute(query, (kind, sha)).fetchone()
        return DecodedFacts(*row) if row else None

    def add_facts(self, kind: PixelKind, facts: dict[str, DecodedFacts]) -> None:
        """Register the properties of decoded files by SHA-256."""
        with self.connection as connection:
            rows = [(kind, sha, *properties) for sha, properties in facts.items()]
            connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?, ?)", rows)


def _open_or_create(path: Path) -> sqlite3.Connection:
    """Open the file; a damaged one, or one of another format, is created again, as the cache can be refilled."""
    try:
        return _connect(path)
    except sqlite3.OperationalError:
        raise  # for example a full disk: the file may be intact
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)
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
    check_disk_space(store.folder, [_shape(job.kind, side) for job in missing if job.keep])
    faults: dict[Path, str] = {}
    pending: dict[PixelKind, dict[str, DecodedFacts]] = {}

    def save() -> None:
        for kind, facts in pending.items():
            store.index.add_facts(kind, facts)
        pending.clear()

    try:
        for done, (job, result) in enumerate(map_in_threads(partial(_decode_into, store, side), missing, run), start=1):
            if isinstance(result, str):
                faults[job.path] = result
            else:
                pending.setdefault(job.kind, {})[job.info.sha] = result
            if done % SAVED_EVERY == 0:
                save()
            run.report(Progress(done, len(missing), "Decoding images"))
    finally:
        save()
    return faults


def _is_missing(job: DecodeJob, store: PixelStore, side: int) -> bool:
    """Whether the properties of a file are missing, or its pixels if they are to be stored."""
    return store.index.facts(job.kind, job.info.sha) is None or (
        job.keep and not store.has(job.kind, side, job.info.sha)
    )


def _decode_into(store: PixelStore, side: int, job: DecodeJob) -> DecodedFacts | str:
    """Decode a file and store its pixels; return its properties, or why it cannot be used."""
    decoded = _decode(job, side, store.preprocessing)
    if isinstance(decoded, str):
        return decoded
    if job.keep:
        store.write(job.kind, side, job.info.sha, decoded.pixels)
    return decoded.facts


def _shape(kind: str, side: int) -> tuple[int, ...]:
    """Return the shape of pixels, (channel, row, column)."""
    return (1 if kind in ("mask", "labels") else 3, side, side)


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


def check_disk_space(folder: Path, shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse more pixels than the disk has room for; ``shapes``: of the arrays to store."""
    needed = sum(map(_file_bytes, shapes))
    if not needed:
        return
    free = shutil.disk_usage(folder).free
    if needed > free - RESERVE_BYTES:
        raise SaveError(
            f"{len(shapes)} decoded images and masks need {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB "
            "are free. Free some space on that disk, or decrease data.cache_size."
        )
