"""Search for images of a case that were moved or renamed, by path, name and content."""

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

MAX_PARENTS = 3  # folders above the case in which relative paths are tried
MAX_TAIL = 4  # parts of a path, from its end, that are tried as a relative path
MAX_FILES = 20_000  # that are listed in all searched folders
FULL_DIGEST_UP_TO = 64 * 1024 * 1024  # bytes; a complete digest of a slide of 4 GB would take half a minute
BLOCK, BLOCKS = 1024 * 1024, 16  # bytes of a block, and blocks of a larger file, that are digested


@dataclass(frozen=True)
class LocatedCase:
    """A case with the current paths of its images.

    ``found``: messages about images at other paths. ``missing``: messages about images that were not found. Both by the
    ids of the images.
    """

    case: Case
    found: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def locate_images(case: Case, folder: Path, folders: Iterable[Path] = ()) -> LocatedCase:
    """Find images of a case that do not exist at their paths.

    ``folder``: of the case; it and ``folders`` are searched.
    """
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
    """Return a case with other paths of its images, by id; all at once, since there may be thousands."""

    def update(images: Iterable[CaseImage]) -> tuple[CaseImage, ...]:
        return tuple(
            image.model_copy(update={"path": paths[image.id]}) if image.id in paths else image for image in images
        )

    lesions = tuple(lesion.model_copy(update={"images": update(lesion.images)}) for lesion in case.lesions)
    return case.model_copy(update={"lesions": lesions, "images": update(case.images)})


class _ImageSearch:
    """Search for missing images; each folder is listed only once, and each file is read only once.

    ``taken``: files of other images of the case, which are not considered.
    """

    def __init__(self, folder: Path, folders: Iterable[Path], taken: Container[Path]) -> None:
        self.folder, self.taken = folder, taken
        self.folders = (folder, *folders)
        self.digest = cache(_digest)
        self.files_by_digest = cache(self._find_files_by_digest)

    def find(self, image: CaseImage) -> Path | None:
        """Find an image by the end of its path, else by name, else by content; None if it is not found."""
        name = _file_name(image.path)
        for path in chain(_list_moved_paths(image.path, self.folder), self.files_by_name.get(name, ())):
            # The name suffices for an image whose digest is unknown.
            if path not in self.taken and path.is_file() and image.content in ("", self.digest(path)):
                return path
        return self.files_by_digest(Path(name).suffix.lower()).get(image.content) if image.content else None

    @cached_property
    def files_by_name(self) -> dict[str, list[Path]]:
        """Files in the searched folders by name, at most ``MAX_FILES``."""
        files: dict[str, list[Path]] = defaultdict(list)
        for path in islice((path for folder in self.folders for path in _list_files(folder)), MAX_FILES):
            files[path.name].append(path)
        return files

    def _find_files_by_digest(self, suffix: str) -> dict[str, Path]:
        """Return the files with a suffix by digest, since files may have been renamed."""
        files = (path for paths in self.files_by_name.values() for path in paths if path not in self.taken)
        return {self.digest(path): path for path in files if path.suffix.lower() == suffix}


def _digest(path: Path) -> str:
    """Return the digest of a file; "-", which no image has, if it cannot be read."""
    try:
        return content_digest(path)
    except InputError:
        return "-"


def _list_moved_paths(path: Path, folder: Path) -> Iterator[Path]:
    """Yield the paths at which a file may be if it was moved together with the case in ``folder``."""
    parts = _to_pure_path(path).parts
    for parent in (folder, *folder.parents[:MAX_PARENTS]):
        for length in range(min(MAX_TAIL, len(parts) - 1), 0, -1):
            yield parent.joinpath(*parts[-length:])


def _list_files(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders; unreadable folders are skipped."""
    for parent, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names))


def _to_pure_path(path: Path) -> PurePath:
    """Return a path that can be taken apart, also if it was written on Windows."""
    return PureWindowsPath(path) if PureWindowsPath(path).is_absolute() else path


def _file_name(path: Path) -> str:
    """Return the file name of a path, also if it was written on Windows."""
    return _to_pure_path(path).name


def content_digest(path: Path) -> str:
    """Return the SHA-256 of the size and the content of a file.

    Of a file above 64 MiB, only 16 evenly spaced blocks of 1 MiB are read.
    """
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
    if size <= FULL_DIGEST_UP_TO:
        return list(range(0, size, BLOCK))
    return [number * (size - BLOCK) // (BLOCKS - 1) for number in range(BLOCKS)]
