"""Ratings kept between sessions: a small database by the content of a file, so that a renamed file keeps its rating."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.runs import RunContext

if TYPE_CHECKING:
    import sqlite3

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
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Known:
    """What a rating says that is worth keeping; ``image_sha256`` is the fingerprint of the photograph's pixels."""

    score: float
    lesion_found: bool
    image_sha256: str


class RatingCache:
    """Ratings by the content of the file, the fingerprint of the model and the way of rating.

    A cache and nothing else: a damaged file is begun anew, and where nothing can be written everything is rated again.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is None:
            from platformdirs import user_cache_path

            path = user_cache_path("napari-melanoma", appauthor=False) / "ratings.sqlite"
        self.path = path

    def find(self, path: Path, model: str, how: str) -> Known | None:
        """Find the rating of a file, which is read where it is not the one that it was.

        None where it was not rated yet.
        """
        content = self._content(path)
        with self._open() as database:
            wanted = (content, model, how)
            sql = "SELECT score, lesion_found, image_sha256 FROM ratings WHERE content = ? AND model = ? AND how = ?"
            found = database.execute(sql, wanted).fetchone()
        return None if found is None else Known(found[0], bool(found[1]), found[2])

    def keep(self, path: Path, model: str, how: str, known: Known) -> None:
        """Keep the rating of a file."""
        values = (self._content(path), model, how, known.score, known.lesion_found, known.image_sha256)
        with self._open() as database:
            database.execute("INSERT OR REPLACE INTO ratings VALUES (?, ?, ?, ?, ?, ?)", values)

    def find_all(self, paths: Sequence[Path], model: str, how: str, *, run: RunContext) -> dict[int, Known]:
        """Find the ratings of files that have not changed since; none of them is read.

        For those that are known, the position in ``paths``.
        """
        with self._open() as database:
            rows = {row[0]: row[1:] for row in database.execute(JOINED, (model, how))}
        known: dict[int, Known] = {}
        for position, path in enumerate(paths if rows else ()):
            if position % 1000 == 0:
                run.check()
            row = rows.get(str(path))
            if row is not None and row[:2] == _stamp(path):
                known[position] = Known(row[2], bool(row[3]), row[4])
        return known

    def _content(self, path: Path) -> str:
        """SHA-256 of a file, computed once as long as its size and time stay."""
        stamp = _stamp(path)
        with self._open() as database:
            sql = "SELECT content FROM files WHERE path = ? AND size = ? AND changed = ?"
            found = database.execute(sql, (str(path), *stamp)).fetchone()
        if found is not None:
            return str(found[0])
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UnreadableImage(f"{path} cannot be read: {error.strerror or error}.") from error
        with self._open() as database:
            database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (str(path), *stamp, content))
        return content

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the database for a moment: a connection belongs to a thread; without a disk it is one in memory."""
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
        connection = sqlite3.connect(self.path, timeout=PATIENCE_S)
        try:
            connection.executescript(TABLES)
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file; zeros where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_size, found.st_mtime_ns)
