"""Small grey thumbnails of image files, by which pictures are compared; read once and kept between sessions.

They show people's skin, so the cache knows a file by a hash of its path, size and time only, and forgets what nobody
has asked for within a month. Several processes may use it; whatever is wrong with it, the files themselves are read.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.runs import Progress, RunContext
from napari_melanoma.core.threads import in_threads
from napari_melanoma.data.likeness import SIDE_PX

if TYPE_CHECKING:
    import sqlite3

    from numpy.typing import NDArray

FORMAT = 3
TABLE = f"""
PRAGMA journal_mode = TRUNCATE;
CREATE TABLE IF NOT EXISTS looks (key BLOB PRIMARY KEY, used INTEGER, look BLOB) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_day ON looks (used);
PRAGMA user_version = {FORMAT};
"""
KEEP_DAYS = 30  # as long as the decoded images of a training
DAY_S = 86400
PATIENCE_S = 10.0
AT_ONCE = 256  # files that are kept together; what is read when the user stops it is kept, too
_READ_PX = 96


@dataclass(frozen=True)
class Looks:
    """Thumbnails of files: uint8 (file, row, column), in the order asked for; zeros where ``faults`` names the file."""

    thumbnails: NDArray[np.uint8]
    faults: dict[Path, str] = field(default_factory=dict)


def read_looks(paths: Sequence[Path], run: RunContext, *, keep: bool = True) -> Looks:
    """Read the thumbnails of image files, in threads; those of unchanged files are not read again."""
    thumbnails = np.zeros((len(paths), SIDE_PX, SIDE_PX), np.uint8)
    faults: dict[Path, str] = {}
    with _opened(keep) as cache:
        for start in range(0, len(paths), AT_ONCE):
            run.check()
            some = paths[start : start + AT_ONCE]
            keys = [_key(path) for path in some]
            known = cache.known(keys)
            missing = [place for place, key in enumerate(keys) if key not in known]
            read: dict[int, NDArray[np.uint8] | str] = {}
            try:
                for place, (_, look) in zip(
                    missing, in_threads(look_at, [some[place] for place in missing], run), strict=True
                ):
                    read[place] = look
            finally:
                cache.keep({keys[k]: look for k, look in read.items() if not isinstance(look, str)}, used=known)
            for place, path in enumerate(some):
                look = read[place] if place in read else known[keys[place]]
                if isinstance(look, str):
                    faults[path] = look
                else:
                    thumbnails[start + place] = look
            run.report(Progress(start + len(some), len(paths), "Looking for the same pictures"))
    return Looks(thumbnails, faults)


def look_at(path: Path) -> NDArray[np.uint8] | str:
    """Read one thumbnail.

    Returns uint8 (row=32, column=32), grey, upright, squeezed to a square; or why the file cannot be read.
    """
    from napari_melanoma.io.thumbnails import read_thumbnail

    try:
        return look_of(read_thumbnail(path, _READ_PX))
    except UnreadableImage as error:
        return str(error)


def look_of(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make the thumbnail of a photograph in memory.

    ``rgb``: uint8 (row, column, channel=3), upright. Returns uint8 (row=32, column=32), gray, squeezed to a square.
    """
    from PIL import Image

    picture = Image.fromarray(rgb)
    picture.thumbnail((_READ_PX, _READ_PX))
    return np.asarray(picture.convert("L").resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX))


class _Cache:
    """The cache while it is open: after the first fault nothing more is asked of it or written to it."""

    def __init__(self, connection: sqlite3.Connection | None, writes: bool) -> None:
        self._connection = connection
        self._writes = writes
        self.damaged = False

    def known(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.uint8]]:
        """Look thumbnails up."""
        marks = ", ".join("?" * len(keys))
        rows = self._asked(f"SELECT key, look FROM looks WHERE key IN ({marks})", [keys])
        looks = ((key, np.frombuffer(look, np.uint8)) for key, look in rows)
        return {key: look.reshape(SIDE_PX, SIDE_PX) for key, look in looks if look.size == SIDE_PX**2}

    def keep(self, found: Mapping[bytes, NDArray[np.uint8]], used: Iterable[bytes]) -> None:
        """Keep thumbnails, and note the day on which others were used."""
        if not self._writes:
            return
        day = _today()
        self._asked("UPDATE looks SET used = ? WHERE key = ? AND used < ?", [(day, key, day) for key in used])
        rows = [(key, day, look.tobytes()) for key, look in found.items()]
        self._asked("INSERT OR REPLACE INTO looks VALUES (?, ?, ?)", rows)

    def forget(self) -> None:
        """Remove what was not used for long, from the disk too."""
        self._asked("PRAGMA secure_delete = ON", [()])
        self._asked("DELETE FROM looks WHERE used < ?", [(_today() - KEEP_DAYS,)])

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _asked(self, statement: str, values: Sequence[Sequence[object]]) -> list[tuple[bytes, bytes]]:
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
def _opened(keep: bool) -> Iterator[_Cache]:
    """Open the cache: a damaged one is begun anew, one that another process locks is left alone."""
    from platformdirs import user_cache_path

    path = user_cache_path("napari-melanoma", appauthor=False) / "looks.sqlite"
    cache = _begun(path) if keep else _to_read(path)
    try:
        if keep:
            cache.forget()
        yield cache
    finally:
        cache.close()
    if keep and cache.damaged:
        with suppress(OSError):
            path.unlink()


def _begun(path: Path) -> _Cache:
    """Open the cache for writing; made where it is missing, and anew where it is damaged."""
    import sqlite3

    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _Cache(_connected(path), writes=True)
        except OSError:
            break
        except sqlite3.Error as error:
            if not _is_damage(error):
                break
            with suppress(OSError):
                path.unlink()
    return _Cache(None, writes=False)


def _to_read(path: Path) -> _Cache:
    """Open the cache without a right to change it."""
    import sqlite3

    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=PATIENCE_S)
    except sqlite3.Error:
        return _Cache(None, writes=False)
    return _Cache(connection, writes=False)


def _connected(path: Path) -> sqlite3.Connection:
    """Open a database and make its table; one of another format loses what it has."""
    import sqlite3

    connection = sqlite3.connect(path, timeout=PATIENCE_S)
    try:
        if connection.execute("PRAGMA user_version").fetchone() != (FORMAT,):
            connection.executescript(f"DROP TABLE IF EXISTS looks; VACUUM; {TABLE}")
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


def _key(path: Path) -> bytes:
    """What a file is known by: nobody reads its name from it; another one once the file changes."""
    try:
        found = path.stat()
        stamp = (found.st_size, found.st_mtime_ns)
    except OSError:
        stamp = (0, 0)
    return hashlib.sha256(os.fsencode(path.absolute()) + f"\0{stamp}".encode()).digest()
