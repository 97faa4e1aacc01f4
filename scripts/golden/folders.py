"""Compare what a scenario left with its recording: the list of files, and each file by its kind."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from golden.kinds import read_text, read_value
from golden.normalizing import Names
from golden.sandbox import HOME, ORIGIN
from golden.values import differences

MOST = 12  # differences of one file that are printed
# Random numbers, and caches that hold times of files.
INTERNAL = ("*.napari-melanoma-salt", f"{HOME}/cache/*")
PACKAGE = "napari-melanoma"  # in the folders of the user, what other libraries keep is not compared


def compare_folders(before: Path, after: Path, rtol: float, ignored: Sequence[str] = ()) -> list[str]:
    """List every difference between the recording of a scenario and a new run of it."""
    if not (before / ORIGIN).exists():
        return ["the recording does not have this scenario"]
    old, new = Names.of(before), Names.of(after)
    recorded, found = listed(before, old, ignored), listed(after, new, ignored)
    result: list[str] = []
    for name in sorted(recorded.keys() | found.keys()):
        if name not in found:
            result.append(f"{name}: is missing")
        elif name not in recorded:
            result.append(f"{name}: is new")
        else:
            result += compare_files(name, recorded[name], found[name], (old, new), rtol)
    return result


def listed(folder: Path, names: Names, ignored: Sequence[str] = ()) -> dict[str, Path]:
    """List the files of a scenario by their cleaned names; a Zarr group counts as one file."""
    found: dict[str, Path] = {}
    for path in sorted(_each(folder)):
        relative = path.relative_to(folder).as_posix()
        foreign = relative.startswith(f"{HOME}/") and PACKAGE not in relative
        if (
            foreign
            or relative == ORIGIN
            or any(fnmatch.fnmatch(relative, pattern) for pattern in (*INTERNAL, *ignored))
        ):
            continue
        name = names.clean(relative)
        while name in found:
            name += " +"
        found[name] = path
    return found


def compare_files(name: str, before: Path, after: Path, names: tuple[Names, Names], rtol: float) -> list[str]:
    """List the differences between two files of one kind."""
    try:
        values = [read_value(path, own) for path, own in zip((before, after), names, strict=True)]
    except (OSError, ValueError, KeyError, RuntimeError):  # a damaged file of a scenario about damage
        values = [read_text(path, own) for path, own in zip((before, after), names, strict=True)]
    found = differences(values[0], values[1], rtol, name)
    shown = [*islice(found, MOST)]
    more = sum(1 for _ in found)
    return [*shown, f"{name}: and {more} more"] if more else shown


def _each(folder: Path) -> Iterator[Path]:
    """Yield files and Zarr groups."""
    for root, folders, files in os.walk(folder):
        groups = [name for name in folders if name.endswith(".zarr")]
        yield from (Path(root) / name for name in (*files, *groups))
        folders[:] = [name for name in folders if name not in groups]
