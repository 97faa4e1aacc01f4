"""Files of a case that are not where they were: looked for near the case, and known again by their content."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PureWindowsPath

from napari_melanoma.core.errors import InputError
from napari_melanoma.data.case.contents import content_digest
from napari_melanoma.data.case.edit import set_image
from napari_melanoma.data.case.model import Case, CaseImage

PARENTS, TAIL = 3, 4
MOST_FILES = 20_000  # looked through in a folder before the search is given up


@dataclass(frozen=True)
class Located:
    """A case with its images where they are now: ``found`` says where each moved one is, ``missing`` what is gone."""

    case: Case
    found: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def locate(case: Case, folder: Path, places: Iterable[Path] = ()) -> Located:
    """Find the images of a case again that are not at their paths.

    Parameters
    ----------
    case : Case
        As it was saved.
    folder : pathlib.Path
        The case folder, perhaps moved since.
    places : iterable of pathlib.Path
        Further folders to look through.

    Returns
    -------
    Located
        Images that are not found keep their paths.
    """
    found, missing = {}, {}
    for _, image in case.each_image():
        if image.path.is_file():
            continue
        path = _find(image, folder, (folder, *places))
        if path is None:
            missing[image.id] = f"{_name(image.path)} is not at {image.path}, nor near the case."
        else:
            found[image.id] = f"{_name(image.path)} was found again at {path}."
            case = set_image(case, image.id, path=path)
    return Located(case, found, missing)


def _find(image: CaseImage, folder: Path, places: Iterable[Path]) -> Path | None:
    """Look for one image: first where it lay relative to the case, then by name and content in the folders."""
    for path in (*_moved_along(image.path, folder), *_of_that_name(image.path, places)):
        if _is_same(path, image.content):
            return path
    return None


def _moved_along(path: Path, folder: Path) -> Iterator[Path]:
    """Where a file is whose folder was moved together with the case's."""
    parts = _pure(path).parts
    for parent in (folder, *folder.parents[:PARENTS]):
        for length in range(min(TAIL, len(parts) - 1), 0, -1):
            yield parent.joinpath(*parts[-length:])


def _of_that_name(path: Path, places: Iterable[Path]) -> Iterator[Path]:
    """Files in the folders that are called the same, then those of the same suffix, which may have been renamed."""
    name, renamed = _name(path), []
    for place in places:
        for number, found in enumerate(_files(place)):
            if found.name == name:
                yield found
            elif found.suffix.lower() == Path(name).suffix.lower():
                renamed.append(found)
            if number > MOST_FILES:
                break
    yield from renamed


def _files(place: Path) -> Iterator[Path]:
    """Files in a folder and its subfolders; what cannot be listed is passed over."""
    for parent, subfolders, names in os.walk(place):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names))


def _is_same(path: Path, content: str) -> bool:
    """Whether a file is there and holds what the image held; a case that does not say is believed by name."""
    with suppress(InputError, OSError):
        return path.is_file() and content in ("", content_digest(path))
    return False


def _pure(path: Path) -> PurePath:
    """A path in the manner of the system that wrote it."""
    return PureWindowsPath(path) if PureWindowsPath(path).drive else path


def _name(path: Path) -> str:
    """A file's name, whichever system wrote the path."""
    return _pure(path).name
