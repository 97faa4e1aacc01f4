"""How uncertain a model is about each photograph, cached between sessions: the order in which they are reviewed."""

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
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.metrics.mask_uncertainty import mask_disagreement, mean_entropy

if TYPE_CHECKING:
    import sqlite3

    from numpy.typing import NDArray

    from napari_melanoma.lesion.segmentation import LogitModel

UncertaintyMeasure = Literal["entropy", "disagreement"]
UNCERTAINTY_MEASURES: tuple[UncertaintyMeasure, ...] = get_args(UncertaintyMeasure)
ORIENTATIONS = 8  # four rotations, each also flipped


@dataclass(frozen=True)
class Rating:
    """The uncertainty of a model for one photograph: ``score`` from 0 (certain) to 1, which also means no lesion found.

    ``image_sha256`` is the fingerprint of the photograph's pixels, which corrections refer to.
    """

    score: float
    how: UncertaintyMeasure
    lesion_found: bool
    image_sha256: str
    model: str
    model_fingerprint: str


def rate_photograph(model: LogitModel, path: Path, how: UncertaintyMeasure = "entropy") -> Rating:
    """Rate the uncertainty of a model for a photograph.

    ``how``: the measures are defined in ``metrics.mask_uncertainty``; "disagreement" runs the network eight times.
    Photographs with higher scores should be reviewed first.
    """
    if how not in UNCERTAINTY_MEASURES:
        raise InputError(f"'{how}' is not a measure of uncertainty: expected {' or '.join(UNCERTAINTY_MEASURES)}.")
    rgb = read_photograph(path).rgb
    score, found = score_pixels(model, rgb, how)
    return Rating(score, how, found, array_fingerprint(rgb), model.info.name, model.info.fingerprint)


def score_pixels(model: LogitModel, rgb: NDArray[np.uint8], how: UncertaintyMeasure) -> tuple[float, bool]:
    """Rate a decoded photograph at the network's input size.

    ``rgb``: uint8 (row, column, channel), upright sRGB. Returns a score from 0 (certain) to 1 (also if no lesion was
    found), and whether any pixel reaches the model's threshold.
    """
    config = model.info.config
    square = prepare_network_input(rgb, config.input_size, config.preprocessing)
    orientations = range(ORIENTATIONS if how == "disagreement" else 1)
    outputs = model.logits([np.ascontiguousarray(_orient(square, orientation)) for orientation in orientations])
    probabilities = [
        _orient_back(_sigmoid(output), orientation) for orientation, output in zip(orientations, outputs, strict=True)
    ]
    masks = [probability >= config.threshold for probability in probabilities]
    if not masks[0].any():
        return 1.0, False
    return (mask_disagreement(masks) if how == "disagreement" else mean_entropy(probabilities[0])), True


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.reciprocal(1.0 + np.exp(-np.clip(logits, -30.0, 30.0)), dtype=np.float32)


def _orient(image: NDArray, orientation: int) -> NDArray:
    """Apply one of the eight flips and rotations to a square image."""
    return np.rot90(image.swapaxes(0, 1) if orientation >= ORIENTATIONS // 2 else image, orientation % 4)


def _orient_back(image: NDArray, orientation: int) -> NDArray:
    """Invert ``_orient``."""
    back = np.rot90(image, -(orientation % 4))
    return back.swapaxes(0, 1) if orientation >= ORIENTATIONS // 2 else back


TABLES = """
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, content TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ratings (
    content TEXT, model TEXT, how TEXT, score REAL, lesion_found INTEGER, image_sha256 TEXT,
    PRIMARY KEY (content, model, how)) WITHOUT ROWID;
"""
JOINED = """
SELECT path, size, changed, score, lesion_found, image_sha256
FROM files JOIN ratings USING (content) WHERE model = ? AND how = ?
"""
LOCK_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class CachedRating:
    """The cached values of a rating; ``image_sha256`` is the fingerprint of the photograph's pixels."""

    score: float
    lesion_found: bool
    image_sha256: str


class RatingCache:
    """Ratings by file content, model fingerprint and measure.

    A damaged file is created again, and without write access everything is rated again.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is None:
            from platformdirs import user_cache_path

            path = user_cache_path("napari-melanoma", appauthor=False) / "ratings.sqlite"
        self.path = path

    def find(self, path: Path, model: str, how: str) -> CachedRating | None:
        """Find the rating of a file, which is read if it has changed; None if it is not rated."""
        content = self._content_digest(path)
        with self._open() as database:
            key = (content, model, how)
            sql = "SELECT score, lesion_found, image_sha256 FROM ratings WHERE content = ? AND model = ? AND how = ?"
            found = database.execute(sql, key).fetchone()
        return None if found is None else CachedRating(found[0], bool(found[1]), found[2])

    def save(self, path: Path, model: str, how: str, known: CachedRating) -> None:
        values = (self._content_digest(path), model, how, known.score, known.lesion_found, known.image_sha256)
        self._store("ratings", values)

    def find_all(self, paths: Sequence[Path], model: str, how: str, *, run: RunContext) -> dict[int, CachedRating]:
        """Find the ratings of unchanged files without reading them, by their position in ``paths``."""
        with self._open() as database:
            rows = {row[0]: row[1:] for row in database.execute(JOINED, (model, how))}
        known: dict[int, CachedRating] = {}
        for position, path in enumerate(paths if rows else ()):
            if position % 1000 == 0:
                run.check()
            row = rows.get(str(path))
            if row is not None and row[:2] == _stamp(path):
                known[position] = CachedRating(row[2], bool(row[3]), row[4])
        return known

    def _content_digest(self, path: Path) -> str:
        """SHA-256 of a file, cached while its size and time are unchanged."""
        stamp = _stamp(path)
        with self._open() as database:
            sql = "SELECT content FROM files WHERE path = ? AND size = ? AND changed = ?"
            found = database.execute(sql, (str(path), *stamp)).fetchone()
        if found is not None:
            return str(found[0])
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

        places = ", ".join("?" * len(values))
        with suppress(sqlite3.OperationalError), self._open() as database:
            database.execute(f"INSERT OR REPLACE INTO {table} VALUES ({places})", values)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the database briefly, as a connection belongs to one thread; in memory if no file can be opened."""
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
    """Size and time of a file; zeros if it is missing."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_size, found.st_mtime_ns)
