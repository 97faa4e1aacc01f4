"""Ratings of how uncertain a model is for a photograph, by which users order their review, and a cache of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.core.files import open_regular
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.metrics.mask_uncertainty import mask_disagreement, mean_entropy

if TYPE_CHECKING:
    import sqlite3

    from numpy.typing import NDArray

    from napari_melanoma.lesion.segmentation import Segmenter

UncertaintyMeasure = Literal["entropy", "disagreement"]
UNCERTAINTY_MEASURES: tuple[UncertaintyMeasure, ...] = get_args(UncertaintyMeasure)


@dataclass(frozen=True)
class Rating:
    """The uncertainty of a model for one photograph.

    ``score`` is from 0 (certain) to 1, and 1 if no lesion was found. ``how``: the measure. ``image_sha256`` is the
    fingerprint of the photograph's pixels, by which a correction refers to the photograph.
    """

    score: float
    how: UncertaintyMeasure
    lesion_found: bool
    image_sha256: str
    model: str
    model_fingerprint: str


def rate_photograph(model: Segmenter, path: Path, measure: UncertaintyMeasure = "entropy") -> Rating:
    """Rate the uncertainty of a model for a photograph. Photographs with higher scores should be reviewed first.

    ``measure``: as defined in ``metrics.mask_uncertainty``; "disagreement" runs the network on eight orientations of
    the photograph.
    """
    if measure not in UNCERTAINTY_MEASURES:
        raise InputError(f"'{measure}' is not a measure of uncertainty: expected {' or '.join(UNCERTAINTY_MEASURES)}.")
    rgb = read_photograph(path).rgb
    score, lesion_found = score_pixels(model, rgb, measure)
    return Rating(score, measure, lesion_found, array_fingerprint(rgb), model.info.name, model.info.fingerprint)


def score_pixels(model: Segmenter, rgb: NDArray[np.uint8], measure: UncertaintyMeasure) -> tuple[float, bool]:
    """Rate a decoded photograph at the network's input size.

    ``rgb``: uint8 (row, column, channel), upright sRGB. Returns the score from 0 (certain) to 1, and whether any
    pixel reaches the model's threshold; if none does, the score is 1.
    """
    from napari_melanoma.lesion.segmentation import predict_view_logits, prepare_picture

    config = model.info.config
    square = prepare_picture(rgb, config)
    if measure == "disagreement":  # over all orientations: the views of photograph and transpose
        views, transposed = predict_view_logits(model, [square, np.ascontiguousarray(square.swapaxes(0, 1))])
        outputs = [*views, *transposed.swapaxes(-2, -1)]
    else:
        outputs = [*model.logits([square])]
    probabilities = [_sigmoid(output) for output in outputs]
    masks = [probability >= config.threshold for probability in probabilities]
    if not masks[0].any():
        return 1.0, False
    return (mask_disagreement(masks) if measure == "disagreement" else mean_entropy(probabilities[0])), True


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.reciprocal(1.0 + np.exp(-np.clip(logits, -30.0, 30.0)), dtype=np.float32)


# The cache

TABLES = """
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, content TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ratings (
    content TEXT, model TEXT, how TEXT, score REAL, lesion_found INTEGER, image_sha256 TEXT,
    PRIMARY KEY (content, model, how)) WITHOUT ROWID;
"""
FIND_ALL = """
SELECT path, size, changed, score, lesion_found, image_sha256
FROM files JOIN ratings USING (content) WHERE model = ? AND how = ?
"""
LOCK_TIMEOUT_S = 10.0  # for a database that another process writes


@dataclass(frozen=True)
class CachedRating:
    """The cached values of a ``Rating``."""

    score: float
    lesion_found: bool
    image_sha256: str


class RatingCache:
    """A database of ratings by file content, model fingerprint and measure.

    A damaged database is created again. Without write access, nothing is cached.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is None:
            from platformdirs import user_cache_path

            path = user_cache_path("napari-melanoma", appauthor=False) / "ratings.sqlite"
        self.path = path

    def find(self, path: Path, fingerprint: str, measure: str) -> CachedRating | None:
        """Find the rating of a file; None if it is not rated.

        ``fingerprint``: that of the model. The file is read if it has changed since its content was last identified.
        """
        content = self.identify(path)
        with self._open() as database:
            key = (content, fingerprint, measure)
            sql = "SELECT score, lesion_found, image_sha256 FROM ratings WHERE content = ? AND model = ? AND how = ?"
            row = database.execute(sql, key).fetchone()
        return None if row is None else CachedRating(row[0], bool(row[1]), row[2])

    def save(self, content: str, fingerprint: str, measure: str, rating: CachedRating) -> None:
        """Store a rating; ``content``: that of the rated file, identified before it was read."""
        self._store("ratings", (content, fingerprint, measure, rating.score, rating.lesion_found, rating.image_sha256))

    def find_all(
        self, paths: Sequence[Path], fingerprint: str, measure: str, *, run: RunContext
    ) -> dict[int, CachedRating]:
        """Find the ratings of unchanged files without reading them; returns them by the file's index in ``paths``."""
        with self._open() as database:
            rows = {row[0]: row[1:] for row in database.execute(FIND_ALL, (fingerprint, measure))}
        ratings: dict[int, CachedRating] = {}
        for index, path in enumerate(paths if rows else ()):
            if index % 1000 == 0:
                run.check()
            row = rows.get(str(path))
            if row is not None and row[:2] == _stamp(path):
                ratings[index] = CachedRating(row[2], bool(row[3]), row[4])
        return ratings

    def identify(self, path: Path) -> str:
        """Return the SHA-256 of a file, which is cached until size or modification time of the file change."""
        stamp = _stamp(path)
        with self._open() as database:
            sql = "SELECT content FROM files WHERE path = ? AND size = ? AND changed = ?"
            row = database.execute(sql, (str(path), *stamp)).fetchone()
        if row is not None:
            return str(row[0])
        try:
            with open_regular(path) as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UnreadableImage(f"{path} cannot be read: {error.strerror or error}.") from error
        self._store("files", (str(path), *stamp, content))
        return content

    def _store(self, table: str, values: tuple[object, ...]) -> None:
        """Add or replace a row; nothing is stored without write access or on a full disk."""
        import sqlite3

        placeholders = ", ".join("?" * len(values))
        with suppress(sqlite3.OperationalError), self._open() as database:
            database.execute(f"INSERT OR REPLACE INTO {table} VALUES ({placeholders})", values)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the database for one access, as a connection belongs to one thread.

        If the file cannot be opened, it is created again; if this fails, an empty database in memory is used.
        """
        import sqlite3

        try:
            connection = self._connect()
        except (OSError, sqlite3.Error):
            with suppress(OSError):
                self.path.unlink()
            try:
                connection = self._connect()
            except (OSError, sqlite3.Error):
                connection = sqlite3.connect(":memory:")
                connection.executescript(TABLES)
        with closing(connection), connection:
            yield connection

    def _connect(self) -> sqlite3.Connection:
        import sqlite3

        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT_S)
        try:
            connection.executescript(TABLES)
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def _stamp(path: Path) -> tuple[int, int]:
    """Return size and modification time (ns) of a file; zeros if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_size, status.st_mtime_ns)
