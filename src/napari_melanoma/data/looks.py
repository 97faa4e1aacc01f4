"""Small grey thumbnails of image files, by which pictures are compared; read once and kept between sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.runs import Progress, RunContext
from napari_melanoma.data.likeness import SIDE_PX

if TYPE_CHECKING:
    import sqlite3

    from numpy.typing import NDArray

TABLE = """
CREATE TABLE IF NOT EXISTS looks (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, look BLOB);
PRAGMA journal_mode = TRUNCATE;
"""
PATIENCE_S = 10.0
AT_ONCE = 256  # files between two looks at the wish to stop; what is read by then is kept
_READ_PX = 96


@dataclass(frozen=True)
class Looks:
    """Thumbnails of files: uint8 (file, row, column), in the order asked for; zeros where ``faults`` names the file."""

    thumbnails: NDArray[np.uint8]
    faults: dict[Path, str] = field(default_factory=dict)


def read_looks(paths: Sequence[Path], run: RunContext, *, keep: bool = True) -> Looks:
    """Read the thumbnails of image files, in threads; those of files that are still what they were are not read again.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Images.
    run : RunContext
        Told of the progress, asked whether to go on.
    keep : bool
        Keep what is read in the user's cache folder (about 1 kB an image); without it, what is there is used.

    Returns
    -------
    Looks
        With a fault for each file that cannot be read.

    Raises
    ------
    Cancelled
        Where the user stopped it; what was read is kept.
    """
    thumbnails = np.zeros((len(paths), SIDE_PX, SIDE_PX), np.uint8)
    faults: dict[Path, str] = {}
    with _opened(keep) as database, ThreadPoolExecutor(thread_name_prefix="looking") as pool:
        for start in range(0, len(paths), AT_ONCE):
            run.check()
            some = paths[start : start + AT_ONCE]
            stamps = [_stamp(path) for path in some]
            known = [_known(database, path, stamp) for path, stamp in zip(some, stamps, strict=True)]
            missing = [place for place, look in enumerate(known) if look is None]
            read = dict(zip(missing, pool.map(look_at, [some[place] for place in missing]), strict=True))
            for place, path in enumerate(some):
                look = known[place] if place not in read else read[place]
                if isinstance(look, str):
                    faults[path] = look
                elif look is not None:
                    thumbnails[start + place] = look
            _keep(database, [(some[k], stamps[k], look) for k, look in read.items() if not isinstance(look, str)])
            run.report(Progress(start + len(some), len(paths), "Looking for the same pictures"))
    return Looks(thumbnails, faults)


def look_at(path: Path) -> NDArray[np.uint8] | str:
    """Read one thumbnail.

    Parameters
    ----------
    path : pathlib.Path
        An image.

    Returns
    -------
    numpy.ndarray or str
        uint8 (row=32, column=32), grey, upright, squeezed to a square; or why the file cannot be read.
    """
    from PIL import Image

    from napari_melanoma.io.thumbnails import read_thumbnail

    try:
        small = Image.fromarray(read_thumbnail(path, _READ_PX))
    except UnreadableImage as error:
        return str(error)
    return np.asarray(small.convert("L").resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX))


def _known(database: sqlite3.Connection, path: Path, stamp: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Look a thumbnail up, where the file has not changed since."""
    query = "SELECT look FROM looks WHERE path = ? AND size = ? AND changed = ?"
    row = database.execute(query, (str(path.absolute()), *stamp)).fetchone()
    return None if row is None else np.frombuffer(row[0], np.uint8).reshape(SIDE_PX, SIDE_PX)


def _keep(database: sqlite3.Connection, found: Sequence[tuple[Path, tuple[int, int], NDArray[np.uint8]]]) -> None:
    """Keep thumbnails; a cache that cannot be written is no reason to stop."""
    import sqlite3

    rows = [(str(path.absolute()), *stamp, look.tobytes()) for path, stamp, look in found]
    with suppress(sqlite3.Error), database:
        database.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?)", rows)


@contextmanager
def _opened(keep: bool) -> Iterator[sqlite3.Connection]:
    """Open the cache: one in memory where nothing is to be kept or can be; one that is damaged is begun anew."""
    import sqlite3

    from platformdirs import user_cache_path

    path = user_cache_path("napari-melanoma", appauthor=False) / "looks.sqlite"
    if not keep:
        with closing(_to_read(path)) as connection:
            yield connection
        return
    try:
        connection = _connected(path)
    except (OSError, sqlite3.Error):
        with suppress(OSError):
            path.unlink()
        try:
            connection = _connected(path)
        except (OSError, sqlite3.Error):
            connection = _connected(None)
    with closing(connection):
        yield connection


def _to_read(path: Path) -> sqlite3.Connection:
    """Open the cache without a right to change it; an empty one where there is none."""
    import sqlite3

    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=PATIENCE_S)
    except sqlite3.Error:
        return _connected(None)
    try:
        connection.execute("SELECT path FROM looks LIMIT 1")
    except sqlite3.Error:
        connection.close()
        return _connected(None)
    return connection


def _connected(path: Path | None) -> sqlite3.Connection:
    """Open a database and make its table."""
    import sqlite3

    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path or ":memory:", timeout=PATIENCE_S)
    try:
        connection.executescript(TABLE)
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
