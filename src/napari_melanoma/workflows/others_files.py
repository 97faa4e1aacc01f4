"""A file that another program or window may have written since it was read: told apart, and put aside."""

from __future__ import annotations

import time
from itertools import chain, count
from pathlib import Path

from napari_melanoma.core.files import save_error

Stamp = tuple[int, int]


def stamp_of(path: Path) -> Stamp | None:
    """Tell a file from a later one of the same name.

    Its time and size; None where there is none.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def put_others_aside(path: Path, known: Stamp | None) -> tuple[str, ...]:
    """Make room for a file, and keep what somebody else has written there meanwhile.

    What was put aside, in words; empty where there is nothing of others.
    """
    there = stamp_of(path)
    if there is None or there == known:
        return ()
    return (f"{path.name} was written by somebody else meanwhile: that is kept as {put_aside(path).name}",)


def put_aside(path: Path) -> Path:
    """Give a file another name beside its own, one that no other file has.

    Its new name: the old one with the time of day, and a number where several are put aside within a second.
    """
    stem = f"{path.stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = chain([stem], (f"{stem}-{number}" for number in count(2)))
    aside = next(one for name in names if not (one := path.with_name(f"{name}{path.suffix}")).exists())
    try:
        path.replace(aside)
    except OSError as error:
        raise save_error(aside, error) from error
    return aside
