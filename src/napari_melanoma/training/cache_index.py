"""What the store of decoded images knows: contents of files, facts of images, and in which shard their pixels lie.

One SQLite file, as the standard library brings it: a look-up among 400,000 images takes microseconds and no memory, and
a crash leaves the state of the last commit. Its journal is the plain one (no write-ahead log, whose shared memory does
not work on network file systems); whoever writes holds the store's lock, so that no two processes ever meet in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Self

from napari_melanoma.core.errors import SaveError

Kind = Literal["image", "mask", "labels"]

FORMAT = 2
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


class Content(NamedTuple):
    """What is in a file: SHA-256 of its bytes, and the size its head states, (0, 0) where it states none."""

    size: int
    mtime_ns: int
    sha: str
    width: int
    height: int


class Facts(NamedTuple):
    """What was found when a file was decoded.

    ``rows`` and ``columns`` are those of the upright image; ``lesion`` is the share of a mask that is lesion, of a
    label image that is not of the first class; ``pixels`` tells images apart whatever file format they are in, and of a
    label image says how many pixels have which value (``label_counts`` reads it). They are 0 and empty where they do
    not apply.
    """

    rows: int
    columns: int
    lesion: float
    pixels: str


class Slot(NamedTuple):
    """Where the pixels of an image or mask lie: the name of a shard and the place in it."""

    shard: str
    place: int


@dataclass(frozen=True)
class CacheIndex:
    """The tables of one cache."""

    connection: sqlite3.Connection

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Self]:
        """Open the index of a cache for writing; one that is damaged is begun anew."""
        try:
            with closing(_open_or_begin(path)) as connection:
                yield cls(connection)
        except sqlite3.Error as error:
            raise SaveError(
                f"{path}, the index of decoded images, cannot be used: {error}. Free some space on that disk, or "
                f"remove the folder {path.parent}; it is filled again."
            ) from error

    @classmethod
    @contextmanager
    def copied(cls, path: Path) -> Iterator[Self]:
        """Open a copy in memory, so that what is found out leaves no trace."""
        with closing(sqlite3.connect(":memory:")) as memory:
            if path.exists():
                with suppress(sqlite3.DatabaseError), closing(_connect_to_read(path)) as stored:
                    stored.backup(memory)
            memory.executescript(SCHEMA)
            yield cls(memory)

    def content(self, path: str, size: int, mtime_ns: int) -> Content | None:
        """Look up what was in a file when it had this size and time.

        None where the file is new or has changed.
        """
        query = "SELECT size, mtime_ns, sha, width, height FROM files WHERE path = ? AND size = ? AND mtime_ns = ?"
        row = self.connection.execute(query, (path, size, mtime_ns)).fetchone()
        return Content(*row) if row else None

    def add_contents(self, contents: Iterable[tuple[str, Content]]) -> None:
        """Remember what is in files."""
        with self.connection as connection:
            rows = [(path, *content) for path, content in contents]
            connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", rows)

    def facts(self, kind: Kind, sha: str) -> Facts | None:
        """Look up what was found when a content was decoded.

        ``sha``: of the file's bytes. None where it never was.
        """
        query = "SELECT rows, columns, lesion, pixels FROM facts WHERE kind = ? AND sha = ?"
        row = self.connection.execute(query, (kind, sha)).fetchone()
        return Facts(*row) if row else None

    def slot(self, kind: str, side: int, sha: str) -> Slot | None:
        """Look up where the pixels of a content lie.

        ``sha``: of the file's bytes. None where they are not in the cache.
        """
        query = "SELECT shard, place FROM slots WHERE kind = ? AND side = ? AND sha = ?"
        row = self.connection.execute(query, (kind, side, sha)).fetchone()
        return Slot(*row) if row else None

    def add_decoded(
        self, kind: Kind, side: int, shard: str, found: dict[str, tuple[int, Facts]], kept_as: str = ""
    ) -> None:
        """Remember decoded contents, whose pixels are on the disk by now.

        ``shard``: its name, empty where no pixels were kept.
        """
        with self.connection as connection:
            facts = [(kind, sha, *each) for sha, (_, each) in found.items()]
            connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?, ?)", facts)
            if shard:
                slots = [(kept_as or kind, side, sha, shard, place) for sha, (place, _) in found.items()]
                connection.executemany("INSERT OR REPLACE INTO slots VALUES (?, ?, ?, ?, ?)", slots)

    def use(self, run: str, shards: Iterable[str]) -> None:
        """Remember which shards a run stands on, so that they are kept for it."""
        with self.connection as connection:
            connection.execute("DELETE FROM uses WHERE run = ?", (run,))
            connection.executemany("INSERT INTO uses VALUES (?, ?)", [(run, shard) for shard in shards])

    def runs(self) -> dict[str, set[str]]:
        """Tell which shards are in use."""
        found: dict[str, set[str]] = {}
        for run, shard in self.connection.execute("SELECT run, shard FROM uses"):
            found.setdefault(run, set()).add(shard)
        return found

    def forget(self, runs: Iterable[str], shards: Iterable[str]) -> None:
        """Forget runs that are over and shards that were removed, with what only these knew."""
        with self.connection as connection:
            connection.executemany("DELETE FROM uses WHERE run = ?", [(run,) for run in runs])
            connection.executemany("DELETE FROM slots WHERE shard = ?", [(shard,) for shard in shards])

    def shards(self) -> set[str]:
        """Name the shards that hold something."""
        return {shard for (shard,) in self.connection.execute("SELECT DISTINCT shard FROM slots")}


def _open_or_begin(path: Path) -> sqlite3.Connection:
    """Open the file; one that is damaged or of another format is begun anew, as a cache can be filled again."""
    try:
        return _connect(path)
    except sqlite3.OperationalError:
        raise  # such as a full disk: the file may be sound
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)  # its shards have lost their meaning, and go when they are old
        return _connect(path)


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Open the file without a right to change it; one of another format is as good as none."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)
    if connection.execute("PRAGMA user_version").fetchone() != (FORMAT,):
        connection.close()
        raise sqlite3.DatabaseError("another format")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file, and make its tables where it is new or of another format."""
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
