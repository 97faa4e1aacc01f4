"""Files of a case that are not where they were: looked for near the case, and known again by their content."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import chain, islice
from pathlib import Path, PurePath, PureWindowsPath

from napari_melanoma.core.errors import InputError
from napari_melanoma.data.case.contents import content_digest
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
    """Find the images of a case again that are not at their paths."""
    found, missing = dict[str, Path](), dict[str, str]()
    images = [image for _, image in case.each_image()]
    there = {image.path for image in images if image.path.is_file()}
    search = _Search(folder, places, there)
    for image in images:
        if image.path in there:
            continue
        path = search.find(image)
        if path is None:
            missing[image.id] = f"{_name(image.path)} is not at {image.path}, nor near the case."
        else:
            found[image.id] = path
    said = {
        image.id: f"{_name(image.path)} was found again at {found[image.id]}." for image in images if image.id in found
    }
    return Located(_with_paths(case, found) if found else case, said, missing)


def _with_paths(case: Case, paths: Mapping[str, Path]) -> Case:
    """A case with its images at other places; all at once, as there may be thousands."""

    def at(images: Iterable[CaseImage]) -> tuple[CaseImage, ...]:
        return tuple(
            image.model_copy(update={"path": paths[image.id]}) if image.id in paths else image for image in images
        )

    lesions = tuple(lesion.model_copy(update={"images": at(lesion.images)}) for lesion in case.lesions)
    return case.model_copy(update={"lesions": lesions, "images": at(case.images)})


class _Search:
    """Looks for files; each folder is listed once, and each file read once, however many images are missing.

    Files that are images of the case where they should be are not read: one missing image would cost reading them all.
    """

    def __init__(self, folder: Path, places: Iterable[Path], taken: Container[Path]) -> None:
        self.folder, self.taken = folder, taken
        self.places = (folder, *places)
        self.digest = cache(_digest)
        self.by_content = cache(self._by_content)

    def find(self, image: CaseImage) -> Path | None:
        """Where an image is now: where it lay relative to the case, else by name, else by content alone."""
        name = _name(image.path)
        for path in chain(_moved_along(image.path, self.folder), self.named.get(name, ())):
            # an image whose content is not known is taken by its name
            if path not in self.taken and path.is_file() and image.content in ("", self.digest(path)):
                return path
        return self.by_content(Path(name).suffix.lower()).get(image.content) if image.content else None

    @cached_property
    def named(self) -> dict[str, list[Path]]:
        """Files in the folders that are looked through, of many the first, by name."""
        found: dict[str, list[Path]] = defaultdict(list)
        for path in islice((path for place in self.places for path in _files(place)), MOST_FILES):
            found[path.name].append(path)
        return found

    def _by_content(self, suffix: str) -> dict[str, Path]:
        """Files of a kind by their digest, as one may have been renamed."""
        named = (path for found in self.named.values() for path in found if path not in self.taken)
        paths = (path for path in named if path.suffix.lower() == suffix)
        return {self.digest(path): path for path in paths}


def _digest(path: Path) -> str:
    """Digest of a file, "-" where it cannot be read."""
    try:
        return content_digest(path)
    except InputError:
        return "-"


def _moved_along(path: Path, folder: Path) -> Iterator[Path]:
    """Where a file is whose folder was moved together with the case's."""
    parts = _pure(path).parts
    for parent in (folder, *folder.parents[:PARENTS]):
        for length in range(min(TAIL, len(parts) - 1), 0, -1):
            yield parent.joinpath(*parts[-length:])


def _files(place: Path) -> Iterator[Path]:
    """Files in a folder and its subfolders; what cannot be listed is passed over."""
    for parent, subfolders, names in os.walk(place):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names))


def _pure(path: Path) -> PurePath:
    """A path in the manner of the system that wrote it."""
    return PureWindowsPath(path) if PureWindowsPath(path).is_absolute() else path


def _name(path: Path) -> str:
    """A file's name, whichever system wrote the path."""
    return _pure(path).name
