"""What is in files: SHA-256 and stated size, looked up where a file is known, read where it is new or has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.runs import Progress
from napari_melanoma.core.threads import in_threads
from napari_melanoma.io.photographs import stored_size
from napari_melanoma.training.cache_index import CacheIndex, Content

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext

SAVED_EVERY = 500  # files, after which an interrupted first reading is not repeated


@dataclass
class Contents:
    """Contents of files, and the reason for each file that could not be read."""

    known: dict[Path, Content] = field(default_factory=dict)
    faults: dict[Path, str] = field(default_factory=dict)


def read_contents(paths: Iterable[Path], index: CacheIndex, run: RunContext) -> Contents:
    """Find out what is in files."""
    contents, unknown = Contents(), []
    for path in dict.fromkeys(paths):
        known = _look_up(path, index)
        if known is None:
            unknown.append(path)
        else:
            contents.known[path] = known
    fresh: list[tuple[str, Content]] = []
    try:
        for done, (path, found) in enumerate(in_threads(_read, unknown, run), start=1):
            if isinstance(found, Content):
                contents.known[path] = found
                fresh.append((str(path.absolute()), found))
            else:
                contents.faults[path] = found
            if len(fresh) >= SAVED_EVERY:
                index.add_contents(fresh)
                fresh.clear()
            run.report(Progress(done, len(unknown), "Looking at the files"))
    finally:
        index.add_contents(fresh)
    return contents


def _look_up(path: Path, index: CacheIndex) -> Content | None:
    """Ask the index for a file that has not changed since."""
    try:
        status = path.stat()
    except OSError:
        return None  # reading it says why
    return index.content(str(path.absolute()), status.st_size, status.st_mtime_ns)


def _read(path: Path) -> Content | str:
    """Read a file through, and the head of it for the size of the image."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            status = path.stat()
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return Content(status.st_size, status.st_mtime_ns, digest, *(stored_size(path) or (0, 0)))
