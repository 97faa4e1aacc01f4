"""Images that show the same picture, found by perceptual hashes and the pattern of the skin."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations_with_replacement, pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_melanoma.core.context import NULL_CONTEXT, Progress, RunContext
from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.pipeline import map_in_threads
from napari_melanoma.data.dataset import Sample

if TYPE_CHECKING:
    import sqlite3

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Duplicate:
    """Two images that show the same picture; ``likeness`` is 1 for copies and goes down to ``data.duplicates.LIKE``."""

    first: Sample
    second: Sample
    likeness: float

    @property
    def same_group(self) -> bool:
        """Whether the table keeps them together anyway."""
        return self.first.group == self.second.group

    @property
    def leaks(self) -> bool:
        """Whether they are in different splits; an image that has none yet is in no other."""
        return bool(self.first.split and self.second.split) and self.first.split != self.second.split


def find_duplicates(
    samples: Sequence[Sample], run: RunContext, *, across: Sequence[int] | None = None, use_cache: bool = True
) -> list[Duplicate]:
    """Find the images that show the same picture; files that cannot be read are passed over.

    In the order of the samples, the first of the two before the second.
    """
    thumbnails = load_hash_thumbnails([sample.image for sample in samples], run, use_cache=use_cache).thumbnails
    found = find_similar_pairs(thumbnails, None if across is None else np.asarray(across), run)
    return [Duplicate(samples[one.first], samples[one.second], one.likeness) for one in sorted(found)]


def merge_groups(samples: Sequence[Sample], duplicates: Sequence[Duplicate]) -> list[str]:
    """Give groups that keep the same pictures together too.

    A group for each sample: its own, or, where one of the group shows the same picture as one of another group, the
    alphabetically first of all that hang together so.
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


THUMBNAIL_PX = 32
FREQUENCIES = 11
BANDS = 15
MAX_HAMMING_DISTANCE = 24  # bits: the worst of 14 pairs in ISIC 2017 that a person took for the same picture has 23
MIN_LIKENESS = 0.77  # of those 14 the least alike has 0.80, of 367 other pairs within the radius the most alike 0.74
MIN_UNSHIFTED_LIKENESS = 0.45  # without a shift; those 14 have 0.56 and more
MAX_SHIFT_PX = 3
MIN_GRAY_DEVIATION = 2.0  # grey levels: a thumbnail that varies less shows nothing
MAX_EQUAL_NEIGHBORS = (
    0.6  # of neighbours equal: 0.35 at most in 2,300 photographs, 0.97 in drawings of a spot on even ground
)
_BLUR_PX, _CONTRAST_PX = 2.0, 4.0
_TILE, _CHUNK = 256, 20_000


class SimilarPair(NamedTuple):
    """Two images that show the same picture: their numbers, the smaller first, and how alike they are, up to 1."""

    first: int
    second: int
    likeness: float


def compute_hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compute perceptual hashes.

    ``thumbnails``: uint8 (image, row=32, column=32), grey. Returns uint8 (image, band=15): 120 bits each, high and low
    frequencies spread over the bands.
    """
    from scipy.fft import dctn

    rows, columns = np.indices((FREQUENCIES, FREQUENCIES))
    chosen = [place for place in np.lexsort((rows.ravel(), (rows**2 + columns**2).ravel())) if place]  # 0 is the mean
    spread = np.asarray(chosen).reshape(-1, BANDS).T.ravel()
    found = np.empty((len(thumbnails), BANDS), np.uint8)
    for start in range(0, len(thumbnails), _CHUNK):
        waves = dctn(thumbnails[start : start + _CHUNK].astype(np.float32), axes=(1, 2), norm="ortho")
        low = waves[:, :FREQUENCIES, :FREQUENCIES].reshape(len(waves), -1)
        found[start : start + _CHUNK] = np.packbits(low[:, spread] > 0, axis=1)
    return found


def find_close_pairs(
    codes: NDArray[np.uint8],
    radius: int = MAX_HAMMING_DISTANCE,
    *,
    part: NDArray[np.integer] | None = None,
    run: RunContext = NULL_CONTEXT,
) -> Iterator[NDArray[np.int32]]:
    """Find pairs of hashes that differ in few bits.

    ``codes``: uint8 (image, band), as ``hashes`` gives them. ``part``: int (image,): only hashes of different parts are
    compared. Yields int32 (pair, 2): numbers of images, the smaller first; each pair once. All that differ in fewer
    bits than there are bands, and nearly all others within the radius.
    """
    words = np.zeros((len(codes), 16), np.uint8)
    words[:, : codes.shape[1]] = codes
    halves = words.view(np.uint64)
    bands = codes.shape[1]
    for band in range(bands):
        order = np.argsort(codes[:, band], kind="stable")
        ends = np.searchsorted(codes[order, band], np.arange(257))
        for start, stop in pairwise(ends):
            run.check()
            for pairs in _compare_bucket(halves, order[start:stop], radius, part, run):
                known = (codes[pairs[:, 0], :band] == codes[pairs[:, 1], :band]).any(1)  # an earlier band had it
                if not known.all():
                    yield np.sort(pairs[~known], axis=1).astype(np.int32)
        run.report(Progress(band + 1, bands, "Comparing the pictures"))


def find_similar_pairs(
    thumbnails: NDArray[np.uint8], part: NDArray[np.integer] | None = None, run: RunContext = NULL_CONTEXT
) -> Iterator[SimilarPair]:
    """Find images that show the same picture.

    ``thumbnails``: uint8 (image, row=32, column=32), grey; those without anything to see are left out. ``part``: int
    (image,): only images of different parts are compared. In no order, each pair once.
    """
    if len(thumbnails) < 2:
        return
    seen = np.flatnonzero(has_texture(thumbnails))
    patterns = _normalize_patterns(thumbnails[seen])
    for pairs in find_close_pairs(compute_hashes(thumbnails[seen]), part=None if part is None else part[seen], run=run):
        for start in range(0, len(pairs), _CHUNK):
            run.check()
            first, second = pairs[start : start + _CHUNK].T
            for place, value in _correlate_pairs(patterns, first, second):
                yield SimilarPair(int(seen[first[place]]), int(seen[second[place]]), value)


def has_texture(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say which thumbnails show something besides even areas: two drawings of a spot say nothing about each other.

    ``thumbnails``: uint8 (image, row=32, column=32), grey. Returns bool (image,).
    """
    varied = thumbnails.reshape(len(thumbnails), -1).std(1) >= MIN_GRAY_DEVIATION
    along = (thumbnails[:, :, 1:] == thumbnails[:, :, :-1]).mean((1, 2))
    down = (thumbnails[:, 1:] == thumbnails[:, :-1]).mean((1, 2))
    return varied & ((along + down) / 2 <= MAX_EQUAL_NEIGHBORS)


def _compare_bucket(
    halves: NDArray[np.uint64],
    members: NDArray[np.integer],
    radius: int,
    part: NDArray[np.integer] | None,
    run: RunContext,
) -> Iterator[NDArray[np.integer]]:
    """Compare all members of a bucket, tile by tile; the second half of the bits only where the first is close."""
    for rows, columns in _comparison_blocks(members, part):
        run.check()
        near = _count_bits(halves[rows, None, 0] ^ halves[None, columns, 0]) <= radius
        places = np.flatnonzero(np.triu(near, 1) if rows is columns else near)
        if len(places):
            one, two = rows[places // len(columns)], columns[places % len(columns)]
            differ = halves[one] ^ halves[two]
            close = _count_bits(differ[:, 0]) + _count_bits(differ[:, 1]) <= radius
            if close.any():
                yield np.stack((one[close], two[close]), axis=1)


def _comparison_blocks(
    members: NDArray[np.integer], part: NDArray[np.integer] | None
) -> Iterator[tuple[NDArray[np.integer], NDArray[np.integer]]]:
    """Rows and columns of what is to be compared: each pair once, the same array twice on the diagonal."""

    def cut(some: NDArray[np.integer]) -> list[NDArray[np.integer]]:
        return [some[start : start + _TILE] for start in range(0, len(some), _TILE)]

    if part is None:
        yield from combinations_with_replacement(cut(members), 2)
        return
    ordered = members[np.argsort(part[members], kind="stable")]
    ends = np.flatnonzero(np.diff(part[ordered])) + 1
    for start, end in pairwise((0, *ends)):
        yield from product(cut(ordered[start:end]), cut(ordered[end:]))


def _count_bits(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Count the bits that are set; numpy has a function for it from version 2 on."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(words)
    parts = np.ascontiguousarray(words).view(np.uint16).reshape(*words.shape, 4)
    return _bit_counts()[parts].sum(-1, dtype=np.uint8)


@cache
def _bit_counts() -> NDArray[np.uint8]:
    """How many bits each number of 16 bits has."""
    return np.asarray([value.bit_count() for value in range(1 << 16)], np.uint8)


def _normalize_patterns(thumbnails: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Fine structure of thumbnails with equal local contrast, the border faded out, each of length 1."""
    from scipy.ndimage import gaussian_filter

    fade = np.sqrt(np.hanning(THUMBNAIL_PX + 2)[1:-1])
    found = np.empty(thumbnails.shape, np.float16)
    for start in range(0, len(thumbnails), _CHUNK):
        grey = thumbnails[start : start + _CHUNK].astype(np.float32)
        fine = grey - gaussian_filter(grey, (0, _BLUR_PX, _BLUR_PX))
        fine /= np.sqrt(gaussian_filter(fine**2, (0, _CONTRAST_PX, _CONTRAST_PX)) + 1)
        fine *= np.outer(fade, fade)
        fine /= np.linalg.norm(fine, axis=(1, 2), keepdims=True) + 1e-6
        found[start : start + _CHUNK] = fine
    return found


def _correlate_pairs(
    patterns: NDArray[np.float16], first: NDArray[np.integer], second: NDArray[np.integer]
) -> Iterator[tuple[int, float]]:
    """Correlate pairs of patterns; gives places and likeness of those that show the same."""
    from scipy.fft import irfft2, rfft2

    one, other = patterns[first].astype(np.float32), patterns[second].astype(np.float32)
    hopeful = np.flatnonzero(np.einsum("ijk,ijk->i", one, other) >= MIN_UNSHIFTED_LIKENESS)
    if not len(hopeful):
        return
    correlation = irfft2(rfft2(one[hopeful]) * np.conj(rfft2(other[hopeful])))
    near = np.r_[-MAX_SHIFT_PX : MAX_SHIFT_PX + 1]
    best = correlation[:, near[:, None], near].max(axis=(1, 2))
    for place in np.flatnonzero(best >= MIN_LIKENESS):
        yield int(hopeful[place]), float(min(1.0, best[place]))


CACHE_FORMAT = 3
CACHE_SCHEMA = f"""
PRAGMA journal_mode = TRUNCATE;
CREATE TABLE IF NOT EXISTS looks (key BLOB PRIMARY KEY, used INTEGER, look BLOB) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_day ON looks (used);
PRAGMA user_version = {CACHE_FORMAT};
"""
KEEP_DAYS = 30  # as long as the decoded images of a training
DAY_S = 86400
LOCK_TIMEOUT_S = 10.0
FILES_PER_BATCH = 256  # files that are kept together; what is read when the user stops it is kept, too
_READ_PX = 96


@dataclass(frozen=True)
class HashThumbnails:
    """Thumbnails of files: uint8 (file, row, column), in the order asked for; zeros where ``faults`` names the file."""

    thumbnails: NDArray[np.uint8]
    faults: dict[Path, str] = field(default_factory=dict)


def load_hash_thumbnails(paths: Sequence[Path], run: RunContext, *, use_cache: bool = True) -> HashThumbnails:
    """Read the thumbnails of image files, in threads; those of unchanged files are not read again."""
    thumbnails = np.zeros((len(paths), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    faults: dict[Path, str] = {}
    with _open_cache(use_cache) as cache:
        for start in range(0, len(paths), FILES_PER_BATCH):
            run.check()
            some = paths[start : start + FILES_PER_BATCH]
            keys = [_file_key(path) for path in some]
            known = cache.find(keys)
            missing = [place for place, key in enumerate(keys) if key not in known]
            read: dict[int, NDArray[np.uint8] | str] = {}
            try:
                for place, (_, look) in zip(
                    missing, map_in_threads(read_hash_thumbnail, [some[place] for place in missing], run), strict=True
                ):
                    read[place] = look
            finally:
                cache.save({keys[k]: look for k, look in read.items() if not isinstance(look, str)}, used=known)
            for place, path in enumerate(some):
                look = read[place] if place in read else known[keys[place]]
                if isinstance(look, str):
                    faults[path] = look
                else:
                    thumbnails[start + place] = look
            run.report(Progress(start + len(some), len(paths), "Looking for the same pictures"))
    return HashThumbnails(thumbnails, faults)


def read_hash_thumbnail(path: Path) -> NDArray[np.uint8] | str:
    """Read one thumbnail.

    Returns uint8 (row=32, column=32), grey, upright, squeezed to a square; or why the file cannot be read.
    """
    from napari_melanoma.io.thumbnails import read_thumbnail

    try:
        return make_hash_thumbnail(read_thumbnail(path, _READ_PX))
    except UnreadableImage as error:
        return str(error)


def make_hash_thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make the thumbnail of a photograph in memory.

    ``rgb``: uint8 (row, column, channel=3), upright. Returns uint8 (row=32, column=32), gray, squeezed to a square.
    """
    from PIL import Image

    picture = Image.fromarray(rgb)
    picture.thumbnail((_READ_PX, _READ_PX))
    return np.asarray(picture.convert("L").resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX))


class _ThumbnailCache:
    """The cache while it is open: after the first fault nothing more is asked of it or written to it."""

    def __init__(self, connection: sqlite3.Connection | None, writes: bool) -> None:
        self._connection = connection
        self._is_writable = writes
        self.damaged = False

    def find(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.uint8]]:
        """Look thumbnails up."""
        marks = ", ".join("?" * len(keys))
        rows = self._execute(f"SELECT key, look FROM looks WHERE key IN ({marks})", [keys])
        looks = ((key, np.frombuffer(look, np.uint8)) for key, look in rows)
        return {key: look.reshape(THUMBNAIL_PX, THUMBNAIL_PX) for key, look in looks if look.size == THUMBNAIL_PX**2}

    def save(self, found: Mapping[bytes, NDArray[np.uint8]], used: Iterable[bytes]) -> None:
        """Keep thumbnails, and note the day on which others were used."""
        if not self._is_writable:
            return
        day = _today()
        self._execute("UPDATE looks SET used = ? WHERE key = ? AND used < ?", [(day, key, day) for key in used])
        rows = [(key, day, look.tobytes()) for key, look in found.items()]
        self._execute("INSERT OR REPLACE INTO looks VALUES (?, ?, ?)", rows)

    def remove_expired(self) -> None:
        """Remove what was not used for long, from the disk too."""
        self._execute("PRAGMA secure_delete = ON", [()])
        self._execute("DELETE FROM looks WHERE used < ?", [(_today() - KEEP_DAYS,)])

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, statement: str, values: Sequence[Sequence[object]]) -> list[tuple[bytes, bytes]]:
        """Run a statement once for each of the values, as one transaction; gives the rows of the last."""
        import sqlite3

        if self._connection is None:
            return []
        rows: list[tuple[bytes, bytes]] = []
        try:
            with self._connection as connection:
                for some in values:
                    rows = connection.execute(statement, some).fetchall()
        except sqlite3.Error as error:  # such as a lock, a full disk, a damaged page
            self.damaged = _is_damage(error)
            self.close()
            return []
        return rows


@contextmanager
def _open_cache(keep: bool) -> Iterator[_ThumbnailCache]:
    """Open the cache: a damaged one is begun anew, one that another process locks is left alone."""
    from platformdirs import user_cache_path

    path = user_cache_path("napari-melanoma", appauthor=False) / "looks.sqlite"
    cache = _open_writable(path) if keep else _open_read_only(path)
    try:
        if keep:
            cache.remove_expired()
        yield cache
    finally:
        cache.close()
    if keep and cache.damaged:
        with suppress(OSError):
            path.unlink()


def _open_writable(path: Path) -> _ThumbnailCache:
    """Open the cache for writing; made where it is missing, and anew where it is damaged."""
    import sqlite3

    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _ThumbnailCache(_connect(path), writes=True)
        except OSError:
            break
        except sqlite3.Error as error:
            if not _is_damage(error):
                break
            with suppress(OSError):
                path.unlink()
    return _ThumbnailCache(None, writes=False)


def _open_read_only(path: Path) -> _ThumbnailCache:
    """Open the cache without a right to change it."""
    import sqlite3

    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=LOCK_TIMEOUT_S)
    except sqlite3.Error:
        return _ThumbnailCache(None, writes=False)
    return _ThumbnailCache(connection, writes=False)


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database and make its table; one of another format loses what it has."""
    import sqlite3

    connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)
    try:
        if connection.execute("PRAGMA user_version").fetchone() != (CACHE_FORMAT,):
            connection.executescript(f"DROP TABLE IF EXISTS looks; VACUUM; {CACHE_SCHEMA}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether a file is no database or a broken one, rather than locked, full or forbidden."""
    import sqlite3

    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the details
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _today() -> int:
    """The number of the day."""
    return int(time.time() // DAY_S)


def _file_key(path: Path) -> bytes:
    """What a file is known by: nobody reads its name from it; another one once the file changes."""
    try:
        found = path.stat()
        stamp = (found.st_size, found.st_mtime_ns)
    except OSError:
        stamp = (0, 0)
    return hashlib.sha256(os.fsencode(path.absolute()) + f"\0{stamp}".encode()).digest()
