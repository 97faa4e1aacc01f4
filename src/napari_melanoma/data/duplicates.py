"""Find images that show the same picture, by perceptual hashes and the correlation of their fine structure.

Both are computed from small gray thumbnails, which are cached between sessions.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import NULL_CONTEXT, Progress, RunContext, map_in_threads
from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.data.dataset import Sample, read_datasets

THUMBNAIL_PX = 32
FREQUENCIES = 11  # lowest frequencies of the cosine transform, along each axis
BANDS = 15  # bytes of a hash
MAX_HAMMING_DISTANCE = 24  # bits; at most 23 for 14 pairs in ISIC 2017 that a person judged to be the same picture
MIN_SIMILARITY = 0.77  # at least 0.80 for these 14 pairs, at most 0.74 for 367 other pairs of similar hashes
# Round lesions look more alike where views are turned: 0.85 at most for 15 pairs of different lesions in ISIC 2017 and
# PAD-UFES-20, at least 0.95 for 201 turned copies at 60 % of the size with JPEG quality 60.
MIN_TURNED_SIMILARITY = 0.9
MIN_UNSHIFTED_SIMILARITY = 0.45  # without a shift; at least 0.56 for these 14 pairs
MAX_SHIFT_PX = 3
MIN_GRAY_DEVIATION = 2.0  # gray levels; a thumbnail with a smaller standard deviation is considered empty
# Share of equal neighbors: 0.35 at most in 2,300 photographs, 0.97 in synthetic spots on an even background.
MAX_EQUAL_NEIGHBORS = 0.6
_BLUR_PX, _CONTRAST_PX = 2.0, 4.0  # standard deviations of the Gaussian filters for fine structure and contrast
_TILE, _CHUNK = 256, 20_000  # hashes and thumbnails that are processed at once
_FEW = 32  # hashes, such as that of one photograph, which are compared with all others sooner than by bands
CACHE_FORMAT = 3
CACHE_SCHEMA = f"""
PRAGMA journal_mode = TRUNCATE;
CREATE TABLE IF NOT EXISTS looks (key BLOB PRIMARY KEY, used INTEGER, look BLOB) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_day ON looks (used);
PRAGMA user_version = {CACHE_FORMAT};
"""
KEEP_DAYS = 30  # as for the cached images of a training
DAY_S = 86400
LOCK_TIMEOUT_S = 10.0
FILES_PER_BATCH = 256  # files stored in one transaction; after a canceled search, complete batches are kept
# The upright picture and its mirrored and turned views.
VIEWS: tuple[Callable[[NDArray[Any]], NDArray[Any]], ...] = (
    lambda pictures: pictures,
    lambda pictures: pictures[:, :, ::-1],
    lambda pictures: pictures[:, ::-1],
    lambda pictures: pictures[:, ::-1, ::-1],
    lambda pictures: pictures.transpose(0, 2, 1),
    lambda pictures: pictures[:, ::-1, ::-1].transpose(0, 2, 1),
    lambda pictures: pictures[:, ::-1].transpose(0, 2, 1),
    lambda pictures: pictures[:, :, ::-1].transpose(0, 2, 1),
)
_READ_PX = 96  # longest side of the image from which a thumbnail is made


@dataclass(frozen=True)
class Duplicate:
    """Two images that show the same picture; ``similarity`` is between ``MIN_SIMILARITY`` and 1 (copies)."""

    first: Sample
    second: Sample
    similarity: float

    @property
    def same_group(self) -> bool:
        """Whether both belong to the same group."""
        return self.first.group == self.second.group

    @property
    def leaks(self) -> bool:
        """Whether both are in a split, and in different ones."""
        return bool(self.first.split and self.second.split) and self.first.split != self.second.split


def find_duplicates(
    samples: Sequence[Sample], run: RunContext, *, across: Sequence[int] | None = None, use_cache: bool = True
) -> list[Duplicate]:
    """Find the images that show the same picture; files that cannot be read are skipped.

    ``across``: int (sample,), such as the number of the data set; only samples with different values are compared.
    ``use_cache``: whether thumbnails are read from the cache and stored. Returns pairs in the order of the samples; the
    earlier sample is ``first``.
    """
    thumbnails = load_hash_thumbnails([sample.image for sample in samples], run, use_cache=use_cache)
    pairs = find_similar_pairs(thumbnails, None if across is None else np.asarray(across), run)
    return [Duplicate(samples[pair.first], samples[pair.second], pair.similarity) for pair in pairs]


def find_dataset_duplicates(
    folders: Sequence[Path], run: RunContext, *, across: bool = False
) -> tuple[list[Sample], list[Duplicate]]:
    """Read data sets; return their images and the pairs that show the same picture.

    ``across``: only pairs of different data sets.
    """
    if across and len(folders) < 2:
        raise InputError("pairs of different data sets need two data sets or more; found one. Name another one.")
    samples = read_datasets(folders)
    number_of = {name: number for number, name in enumerate(sorted({sample.domain for sample in samples}))}
    numbers = [number_of[sample.domain] for sample in samples] if across else None
    return samples, find_duplicates(samples, run, across=numbers)


def merge_groups(samples: Sequence[Sample], duplicates: Sequence[Duplicate]) -> list[str]:
    """Merge groups that share a picture.

    Returns a group for each sample: its own, or the alphabetically first of all groups connected by duplicates.
    """
    parent = {sample.group: sample.group for sample in samples}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    for pair in duplicates:
        first, second = sorted((root(pair.first.group), root(pair.second.group)))
        parent[second] = first
    return [root(sample.group) for sample in samples]


class SimilarPair(NamedTuple):
    """Two images that show the same picture: their indices, the smaller first, and their similarity, 1 at most."""

    first: int
    second: int
    similarity: float


def compute_hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compute perceptual hashes.

    ``thumbnails``: uint8 (image, row=32, column=32), gray. Returns uint8 (image, band=15): 120 bits each; every
    band has low and high frequencies.
    """
    rows, columns = np.indices((FREQUENCIES, FREQUENCIES))
    chosen = [index for index in np.lexsort((rows.ravel(), (rows**2 + columns**2).ravel())) if index]  # 0 is the mean
    spread = np.asarray(chosen).reshape(-1, BANDS).T.ravel()
    hashes = np.empty((len(thumbnails), BANDS), np.uint8)
    # The cosine transform as a product with its basis; importing that of SciPy would delay the first analysis by 0.2 s
    positions = (np.arange(THUMBNAIL_PX) + 0.5) / THUMBNAIL_PX
    waves = np.cos(np.pi * np.arange(FREQUENCIES)[:, None] * positions).astype(np.float32)
    for start in range(0, len(thumbnails), _CHUNK):
        low = (waves @ thumbnails[start : start + _CHUNK].astype(np.float32) @ waves.T).reshape(-1, FREQUENCIES**2)
        hashes[start : start + _CHUNK] = np.packbits(low[:, spread] > 0, axis=1)
    return hashes


def find_close_pairs(
    codes: NDArray[np.uint8],
    others: NDArray[np.uint8],
    radius: int = MAX_HAMMING_DISTANCE,
    *,
    is_ordered: bool = False,
    run: RunContext = NULL_CONTEXT,
) -> Iterator[NDArray[np.intp]]:
    """Find pairs of hashes that differ in few bits.

    ``codes``, ``others``: uint8 (image, band), from ``compute_hashes``. ``is_ordered``: both are of the same images,
    and only pairs whose first index is the smaller one are found. Yields int (pair, 2): indices of ``codes`` and
    ``others``, each pair once. Only hashes with an equal band are compared: this finds all pairs that differ in fewer
    bits than there are bands, and nearly all others within the radius.
    """
    (low, high), (other_low, other_high) = _split_bits(codes), _split_bits(others)
    if len(codes) <= _FEW and not is_ordered:
        for index, code in enumerate(codes):
            bits = np.bitwise_count(low[index] ^ other_low) + np.bitwise_count(high[index] ^ other_high)
            close = np.flatnonzero(bits <= radius)
            close = close[(others[close] == code).any(1)]
            if close.size:
                yield np.stack((np.full_like(close, index), close), axis=1)
        return
    for band in range(codes.shape[1]):
        buckets, other_buckets = _group_by_byte(codes[:, band]), _group_by_byte(others[:, band])
        run.check()
        tiles = (
            (rows[row : row + _TILE], columns[column : column + _TILE])
            for rows, columns in zip(buckets, other_buckets, strict=True)
            for row, column in product(range(0, len(rows), _TILE), range(0, len(columns), _TILE))
        )
        for rows, columns in tiles:
            if is_ordered and rows[0] >= columns[-1]:
                continue
            run.check()
            bits = np.bitwise_count(low[rows, None] ^ other_low[columns])
            bits += np.bitwise_count(high[rows, None] ^ other_high[columns])
            close = np.flatnonzero(bits <= radius)  # faster than nonzero in two dimensions
            row, column = np.divmod(close, len(columns))
            first, second = rows[row], columns[column]
            # Pairs with an equal earlier band were found there
            is_new = ~(codes[first, :band] == others[second, :band]).any(1)
            if is_ordered:
                is_new &= first < second
            if is_new.any():
                yield np.stack((first, second), axis=1)[is_new]


def _split_bits(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return hashes as two words, uint64 (2, image)."""
    words = np.zeros((len(codes), 16), np.uint8)
    words[:, : codes.shape[1]] = codes
    return np.ascontiguousarray(words.view(np.uint64).T)


def _group_by_byte(values: NDArray[np.uint8]) -> list[NDArray[np.intp]]:
    """Return the indices of each of the 256 values, ascending."""
    order = np.argsort(values, kind="stable")
    bounds = np.searchsorted(values[order], np.arange(257)).tolist()
    return [order[start:end] for start, end in pairwise(bounds)]  # np.split takes 20 times as long


def find_similar_pairs(
    thumbnails: NDArray[np.uint8], part: NDArray[np.integer] | None = None, run: RunContext = NULL_CONTEXT
) -> list[SimilarPair]:
    """Find images that show the same picture, also mirrored or turned by a multiple of 90 degrees.

    ``thumbnails``: uint8 (image, row=32, column=32), gray; those without texture are skipped. ``part``: int (image,):
    only images of different parts are compared. Returns each pair once, sorted, with the similarity of its best view.
    """
    textured = np.flatnonzero(has_texture(thumbnails))
    thumbnails = thumbnails[textured]
    part = None if part is None else part[textured]
    similarities: dict[tuple[int, int], float] = {}
    codes, patterns = compute_hashes(thumbnails), _normalize_patterns(thumbnails)
    for view in run.track(VIEWS, "Comparing images"):
        least = MIN_SIMILARITY if view is VIEWS[0] else MIN_TURNED_SIMILARITY
        turned_patterns = view(patterns)
        for first, second in _candidates(codes, compute_hashes(view(thumbnails)), part, run):
            for index, similarity in _correlate_pairs(patterns[first], turned_patterns[second]):
                if similarity >= least:
                    key = (min(first[index], second[index]), max(first[index], second[index]))
                    similarities[key] = max(similarity, similarities.get(key, 0))
    return sorted(SimilarPair(int(textured[i]), int(textured[j]), value) for (i, j), value in similarities.items())


def _candidates(
    codes: NDArray[np.uint8], turned: NDArray[np.uint8], part: NDArray[np.integer] | None, run: RunContext
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield indices, int (pair,), of images and of those whose ``turned`` hashes are close to theirs."""
    every = np.arange(len(codes))
    sides = (
        [(every, every)]
        if part is None
        else [(np.flatnonzero(part == value), np.flatnonzero(part > value)) for value in np.unique(part)]
    )
    for rows, columns in sides:
        for pairs in find_close_pairs(codes[rows], turned[columns], is_ordered=part is None, run=run):
            for start in range(0, len(pairs), _CHUNK):
                run.check()
                yield rows[pairs[start : start + _CHUNK, 0]], columns[pairs[start : start + _CHUNK, 1]]


def has_texture(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Select the thumbnails with enough texture to be compared.

    Synthetic spots on even skin have too little: two of them look alike without being duplicates.
    ``thumbnails``: uint8 (image, row=32, column=32), gray. Returns bool (image,).
    """
    textured = np.empty(len(thumbnails), bool)
    for start in range(0, len(thumbnails), _CHUNK):  # numpy computes a standard deviation in float64
        chunk = thumbnails[start : start + _CHUNK]
        is_varied = chunk.reshape(len(chunk), -1).std(1) >= MIN_GRAY_DEVIATION
        equal_along_rows = (chunk[:, :, 1:] == chunk[:, :, :-1]).mean((1, 2))
        equal_along_columns = (chunk[:, 1:] == chunk[:, :-1]).mean((1, 2))
        textured[start : start + _CHUNK] = is_varied & (
            (equal_along_rows + equal_along_columns) / 2 <= MAX_EQUAL_NEIGHBORS
        )
    return textured


def _normalize_patterns(thumbnails: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Return the fine structure of thumbnails, with equal local contrast, faded borders and unit norm."""
    from scipy.ndimage import gaussian_filter

    fade = np.sqrt(np.hanning(THUMBNAIL_PX + 2)[1:-1])
    patterns = np.empty(thumbnails.shape, np.float16)
    for start in range(0, len(thumbnails), _CHUNK):
        gray = thumbnails[start : start + _CHUNK].astype(np.float32)
        fine = gray - gaussian_filter(gray, (0, _BLUR_PX, _BLUR_PX))
        fine /= np.sqrt(gaussian_filter(fine**2, (0, _CONTRAST_PX, _CONTRAST_PX)) + 1)
        fine *= np.outer(fade, fade)
        fine /= np.linalg.norm(fine, axis=(1, 2), keepdims=True) + 1e-6
        patterns[start : start + _CHUNK] = fine
    return patterns


def _correlate_pairs(first: NDArray[np.float16], second: NDArray[np.float16]) -> Iterator[tuple[int, float]]:
    """Correlate pairs of patterns, shifted by a few pixels; yields index and similarity of similar ones."""
    from scipy.fft import irfft2, rfft2

    first, second = first.astype(np.float32), second.astype(np.float32)
    candidates = np.flatnonzero(np.einsum("ijk,ijk->i", first, second) >= MIN_UNSHIFTED_SIMILARITY)
    if not len(candidates):
        return
    correlation = irfft2(rfft2(first[candidates]) * np.conj(rfft2(second[candidates])))
    near = np.r_[-MAX_SHIFT_PX : MAX_SHIFT_PX + 1]
    best = correlation[:, near[:, None], near].max(axis=(1, 2))
    for index in np.flatnonzero(best >= MIN_SIMILARITY):
        yield int(candidates[index]), float(min(1.0, best[index]))


def load_hash_thumbnails(paths: Sequence[Path], run: RunContext, *, use_cache: bool = True) -> NDArray[np.uint8]:
    """Read the thumbnails of image files in threads; those of unchanged files come from the cache.

    Returns uint8 (file, row=32, column=32), gray; zeros for files that cannot be read.
    """
    thumbnails = np.zeros((len(paths), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    with _open_cache(use_cache) as cache:
        for start in range(0, len(paths), FILES_PER_BATCH):
            run.check()
            batch = paths[start : start + FILES_PER_BATCH]
            keys = [_file_key(path) for path in batch]
            cached = cache.find(keys)
            missing = [index for index, key in enumerate(keys) if key not in cached]
            read: dict[bytes, NDArray[np.uint8]] = {}
            try:
                for index, (_, thumbnail) in zip(
                    missing, map_in_threads(read_hash_thumbnail, [batch[index] for index in missing], run), strict=True
                ):
                    if not isinstance(thumbnail, str):
                        read[keys[index]] = thumbnail
            finally:
                cache.save(read, used=cached)
            by_key = {**cached, **read}
            for index, key in enumerate(keys, start=start):
                if key in by_key:
                    thumbnails[index] = by_key[key]
            run.report(Progress(start + len(batch), len(paths), "Searching for duplicate images"))
    return thumbnails


def read_hash_thumbnail(path: Path) -> NDArray[np.uint8] | str:
    """Read one thumbnail.

    Returns uint8 (row=32, column=32), gray, upright, scaled to a square; or why the file cannot be read.
    """
    from napari_melanoma.io.thumbnails import read_thumbnail

    try:
        return make_hash_thumbnail(read_thumbnail(path, _READ_PX))
    except UnreadableImage as error:
        return str(error)


def make_hash_thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make the thumbnail of a photograph in memory.

    ``rgb``: uint8 (row, column, channel=3), upright. Returns uint8 (row=32, column=32), gray, scaled to a square.
    """
    from PIL import Image

    picture = Image.fromarray(rgb)
    picture.thumbnail((_READ_PX, _READ_PX))
    return np.asarray(picture.convert("L").resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX))


class _ThumbnailCache:
    """Thumbnails in a database; without a connection, or after an error, it finds and saves nothing.

    An error is a lock of another process, a full disk, or damage, after which the file is deleted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open or create the file; one of another format is emptied. Delete thumbnails unused for ``KEEP_DAYS``."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self._path, timeout=LOCK_TIMEOUT_S)
        except (OSError, sqlite3.Error):
            return
        if self._execute("PRAGMA user_version", [()]) != [(CACHE_FORMAT,)]:
            self._execute(f"DROP TABLE IF EXISTS looks; VACUUM; {CACHE_SCHEMA}")
        self._execute("PRAGMA secure_delete = ON", [()])  # expired content is overwritten on the disk
        self._execute("DELETE FROM looks WHERE used < ?", [(_today() - KEEP_DAYS,)])

    def find(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.uint8]]:
        marks = ", ".join("?" * len(keys))
        rows = self._execute(f"SELECT key, look FROM looks WHERE key IN ({marks})", [keys])
        thumbnails = ((key, np.frombuffer(pixels, np.uint8)) for key, pixels in rows)
        return {key: pixels.reshape(THUMBNAIL_PX, -1) for key, pixels in thumbnails if pixels.size == THUMBNAIL_PX**2}

    def save(self, thumbnails: Mapping[bytes, NDArray[np.uint8]], used: Iterable[bytes]) -> None:
        """Store new thumbnails, and mark the cached ones that were used today."""
        day = _today()
        self._execute("UPDATE looks SET used = ? WHERE key = ? AND used < ?", [(day, key, day) for key in used])
        rows = [(key, day, thumbnail.tobytes()) for key, thumbnail in thumbnails.items()]
        self._execute("INSERT OR REPLACE INTO looks VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, statement: str, parameter_lists: Sequence[Sequence[object]] | None = None) -> list[Any]:
        """Run a statement with each of some parameter lists, in one transaction; returns the rows of the last run.

        Without parameter lists, several statements are run.
        """
        if self._connection is None:
            return []
        rows: list[Any] = []
        try:
            with self._connection as connection:
                if parameter_lists is None:
                    connection.executescript(statement)
                for parameters in parameter_lists or ():
                    rows = connection.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            self.close()
            if type(error) is sqlite3.DatabaseError:  # no database, or damaged; a lock is a subclass
                with suppress(OSError):
                    self._path.unlink()
            return []
        return rows


@contextmanager
def _open_cache(keep: bool) -> Iterator[_ThumbnailCache]:
    """Open the cache; an empty one that stores nothing unless ``keep``."""
    from platformdirs import user_cache_path

    cache = _ThumbnailCache(user_cache_path("napari-melanoma", appauthor=False) / "looks.sqlite")
    if keep:
        cache.open()
    try:
        yield cache
    finally:
        cache.close()


def _today() -> int:
    """Days since 1970."""
    return int(time.time() // DAY_S)


def _file_key(path: Path) -> bytes:
    """Return a hash of path, size and time, which changes with the file and does not reveal its name."""
    try:
        status = path.stat()
        stamp = (status.st_size, status.st_mtime_ns)
    except OSError:
        stamp = (0, 0)
    return hashlib.sha256(os.fsencode(path.absolute()) + f"\0{stamp}".encode()).digest()
