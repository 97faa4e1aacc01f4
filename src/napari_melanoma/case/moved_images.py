"""Search for images of a case that were moved or renamed, by their paths, names and content."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import chain, islice
from pathlib import Path, PurePath, PureWindowsPath

from napari_melanoma.case.model import Case, CaseImage
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import open_regular

PARENTS, TAIL = 3, 4
MAX_FILES = 20_000  # that are searched in a folder
FULL_DIGEST_UP_TO = 64 * 1024 * 1024  # a slide of 4 GB would take half a minute
BLOCK, BLOCKS = 1024 * 1024, 16


@dataclass(frozen=True)
class LocatedCase:
    """A case with the current paths of its images; ``found`` describes moved images, ``missing`` those not found."""

    case: Case
    found: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def locate_images(case: Case, folder: Path, folders: Iterable[Path] = ()) -> LocatedCase:
    """Find images of a case that are not at their paths."""
    found, missing = dict[str, Path](), dict[str, str]()
    images = [image for _, image in case.iterate_images()]
    existing = {image.path for image in images if image.path.is_file()}
    search = _ImageSearch(folder, folders, existing)
    for image in images:
        if image.path in existing:
            continue
        path = search.find(image)
        if path is None:
            missing[image.id] = f"{_file_name(image.path)} was not found at {image.path} or near the case."
        else:
            found[image.id] = path
    messages = {
        image.id: f"{_file_name(image.path)} was found at {found[image.id]}." for image in images if image.id in found
    }
    return LocatedCase(_with_paths(case, found) if found else case, messages, missing)


def _with_paths(case: Case, paths: Mapping[str, Path]) -> Case:
    """Return a case with other paths of its images, all at once since there may be thousands."""

    def update(images: Iterable[CaseImage]) -> tuple[CaseImage, ...]:
        return tuple(
            image.model_copy(update={"path": paths[image.id]}) if image.id in paths else image for image in images
        )

    lesions = tuple(lesion.model_copy(update={"images": update(lesion.images)}) for lesion in case.lesions)
    return case.model_copy(update={"lesions": lesions, "images": update(case.images)})


class _ImageSearch:
    """Search for files; each folder is listed once and each file read once, for all missing images.

    Files that are known images of the case are not read.
    """

    def __init__(self, folder: Path, folders: Iterable[Path], taken: Container[Path]) -> None:
        self.folder, self.taken = folder, taken
        self.folders = (folder, *folders)
        self.digest = cache(_digest)
        self.by_content = cache(self._by_content)

    def find(self, image: CaseImage) -> Path | None:
        """Find an image by its path relative to the case, else by name, else by content."""
        name = _file_name(image.path)
        for path in chain(_moved_paths(image.path, self.folder), self.files_by_name.get(name, ())):
            # an image with unknown content is identified by its name
            if path not in self.taken and path.is_file() and image.content in ("", self.digest(path)):
                return path
        return self.by_content(Path(name).suffix.lower()).get(image.content) if image.content else None

    @cached_property
    def files_by_name(self) -> dict[str, list[Path]]:
        """Files in the searched folders by name, at most ``MAX_FILES``."""
        found: dict[str, list[Path]] = defaultdict(list)
        for path in islice((path for folder in self.folders for path in _list_files(folder)), MAX_FILES):
            found[path.name].append(path)
        return found

    def _by_content(self, suffix: str) -> dict[str, Path]:
        """Files with a suffix by digest, since files may have been renamed."""
        named = (path for found in self.files_by_name.values() for path in found if path not in self.taken)
        paths = (path for path in named if path.suffix.lower() == suffix)
        return {self.digest(path): path for path in paths}


def _digest(path: Path) -> str:
    """Return the digest of a file; "-" if it cannot be read."""
    try:
        return content_digest(path)
    except InputError:
        return "-"


def _moved_paths(path: Path, folder: Path) -> Iterator[Path]:
    """Yield possible paths of a file that was moved together with the case."""
    parts = _to_pure_path(path).parts
    for parent in (folder, *folder.parents[:PARENTS]):
        for length in range(min(TAIL, len(parts) - 1), 0, -1):
            yield parent.joinpath(*parts[-length:])


def _list_files(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders; unreadable folders are skipped."""
    for parent, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names))


def _to_pure_path(path: Path) -> PurePath:
    """Return a path in the format of the system that wrote it."""
    return PureWindowsPath(path) if PureWindowsPath(path).is_absolute() else path


def _file_name(path: Path) -> str:
    """Return the file name of a path from any system."""
    return _to_pure_path(path).name


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file's size and content; above 64 MiB of 16 evenly spaced blocks of 1 MiB."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            digest = hashlib.sha256(f"{size} ".encode())
            for start in _block_offsets(size):
                file.seek(start)
                digest.update(file.read(BLOCK))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}. Check that it still exists.") from error
    return digest.hexdigest()


def _block_offsets(size: int) -> list[int]:
    """Return the offsets of the blocks to read."""
    if size <= FULL_DIGEST_UP_TO:
        return list(range(0, size, BLOCK))
    return [number * (size - BLOCK) // (BLOCKS - 1) for number in range(BLOCKS)]
