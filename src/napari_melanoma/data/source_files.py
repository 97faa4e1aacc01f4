"""The files of a public set as downloaded: folders and zip archives are read as one tree."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from threading import Lock
from typing import IO, Protocol

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import compose_name, is_same_folder
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.data.table_mapping import TableMapping
from napari_melanoma.io.tables import decode_table, iterate_rows, parse_table_text

MAX_LISTED = 6  # names that a message lists


class Archive(Protocol):
    """A file that contains others; it is opened on the first ``read``, from any thread, and stays open."""

    def read(self, member: str) -> bytes: ...

    def close(self) -> None: ...


class ZipArchive:
    """A zip file, which is opened on the first ``read`` and stays open until ``close``; thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._zip_file: zipfile.ZipFile | None = None

    def list_members(self) -> list[str]:
        """List the members, without keeping the file open."""
        try:
            with self._translate_errors(), zipfile.ZipFile(self.path) as archive:
                return [info.filename for info in archive.infolist() if not info.is_dir()]
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"the archive {self.path} cannot be read: {error}. Download it again.") from error

    def read(self, member: str) -> bytes:
        with self._translate_errors():
            with self._lock:
                archive = self._zip_file = self._zip_file or zipfile.ZipFile(self.path)
            try:
                return archive.read(member)
            except (zlib.error, EOFError) as error:
                raise zipfile.BadZipFile(str(error)) from error

    def close(self) -> None:
        """Close the file: Windows cannot move or remove it while it is open."""
        with self._lock:
            if self._zip_file is not None:
                self._zip_file.close()
                self._zip_file = None

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Translate errors of Python's zip reader, which supports neither passwords nor Deflate64."""
        try:
            yield
        except RuntimeError as error:  # or NotImplementedError, a subclass
            raise InputError(
                f"the archive {self.path} cannot be read here: {error}. Unpack it into a folder with another program."
            ) from error


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a set.

    ``name`` is its path in the tree, in which an archive counts as a folder; ``path`` is its path on the disk, or in
    ``archive``. ``is_mask``: it is from a folder or file of masks, which the user named besides the images.
    """

    name: str
    path: str
    archive: Archive | None = None
    is_mask: bool = False

    @property
    def stem(self) -> str:
        """File name without folders and suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """Suffix in lower case, such as ``.jpg``."""
        return PurePosixPath(self.name).suffix.lower()

    def read(self) -> bytes:
        return Path(self.path).read_bytes() if self.archive is None else self.archive.read(self.path)

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Yield a path of the file: its own, or that of a temporary copy of a member of an archive."""
        if self.archive is None:
            yield Path(self.path)
            return
        with TemporaryDirectory() as folder:
            path = Path(folder, f"member{self.suffix}")
            path.write_bytes(self.read())
            yield path

    def open(self) -> IO[bytes]:
        """Open the file, for example to read only its header; a member of an archive is read completely."""
        return Path(self.path).open("rb") if self.archive is None else io.BytesIO(self.read())


class SourceTree:
    """All files below a folder, including those in zip archives, without hidden files and those added by macOS.

    ``mapping`` applies to the tables. ``notes`` (topic and message), ``faults`` (images or masks that cannot be used,
    and why) and ``unread`` (names of tables) are collected while the set is read.
    """

    def __init__(self, files: Iterable[SourceFile], folder: Path, mapping: TableMapping | None = None) -> None:
        self.folder = folder
        self.files = sorted(files, key=lambda file: (file.archive is not None, file.name))
        self.mapping = mapping or TableMapping()
        self.notes: list[tuple[str, str]] = []
        self.faults: list[tuple[str, str]] = []
        self.unread: list[str] = []

    def filter_files(self, is_included: Callable[[SourceFile], bool]) -> SourceTree:
        """Return the tree with only the included files; notes and faults are shared with this tree."""
        part = SourceTree(filter(is_included, self.files), self.folder, self.mapping)
        part.notes, part.faults, part.unread = self.notes, self.faults, self.unread
        return part

    @classmethod
    def scan(
        cls, folder: Path, mapping: TableMapping | None = None, masks: Path | None = None, table: Path | None = None
    ) -> SourceTree:
        """List a folder, or a single file, without reading the content of files and archives.

        ``masks``: a folder or file of masks of the images, which are marked as such, also if one contains the other.
        ``table``: a file that is left out, because it is read otherwise.
        """
        files = _list_root(folder)
        if masks is not None and not is_same_folder(masks, folder):
            of_masks = _list_root(masks)
            prefix = f"{masks.name}/" if masks.is_dir() else ""
            images, inside = {_real_path(file) for file in files}, {_real_path(file) for file in of_masks}
            if images < inside:
                of_masks = [file for file in of_masks if _real_path(file) not in images]
            else:
                files = [file for file in files if _real_path(file) not in inside]
            files += [replace(file, name=prefix + file.name, is_mask=True) for file in of_masks]
        if table is not None:
            left_out = os.path.realpath(table)
            files = [file for file in files if file.archive or os.path.realpath(file.path) != left_out]
        return cls(files, folder, mapping)

    def find_files(self, folders: str, names: str) -> dict[str, SourceFile]:
        """Find files by patterns: ``folders`` occurs in the path of the folder, ``names`` matches the file's name.

        Maps the first group of ``names``, such as an image id, to the file. Of several files with the same group, files
        outside of archives are preferred, then the first by name.
        """
        folder, name = re.compile(folders, re.IGNORECASE), re.compile(names, re.IGNORECASE)
        file_by_key: dict[str, SourceFile] = {}
        for file in self.files:
            parent, _, base = file.name.rpartition("/")
            match = name.fullmatch(base)
            if match and folder.search(parent):
                file_by_key.setdefault(match.group(1), file)
        return file_by_key

    def find_tables(self, names: str) -> list[SourceFile]:
        """Find tables by a pattern of their names, compressed or not; copies, such as in an archive, are left out."""
        pattern = re.compile(rf"({names})(?:\.gz)?", re.IGNORECASE)
        files_by_name: dict[str, list[SourceFile]] = defaultdict(list)
        for file in self.files:
            if match := pattern.fullmatch(PurePosixPath(file.name).name):
                files_by_name[match.group(1)].append(file)
        return [file for files in files_by_name.values() for file in self._remove_copies(files)]

    def _remove_copies(self, files: list[SourceFile]) -> list[SourceFile]:
        """Keep the first of several files with the same content; a single file is not read."""
        if len(files) < 2:
            return files
        first: dict[bytes, SourceFile] = {}
        for file in files:
            first.setdefault(hashlib.sha256(self.read_content(file)).digest(), file)
        return list(first.values())

    def read_text(self, names: str) -> str | None:
        """Read the first text file whose name matches a pattern; None if there is none."""
        file = next(iter(self.find_files("", f"({names})").values()), None)
        return None if file is None else decode_table(self.read_content(file))

    def read_content(self, file: SourceFile) -> bytes:
        """Read a required file, such as a table; raises if that fails."""
        try:
            data = file.read()
            return gzip.decompress(data) if file.suffix == ".gz" else data
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise InputError(f"{file.name} in {self.folder} cannot be read: {error}. Download it again.") from error

    def iterate_rows(self, file: SourceFile) -> Iterator[dict[str, str]]:
        """Read a table row by row, with the user's mapping applied."""
        if file.archive is None:
            rows = iterate_rows(Path(file.path))
        else:
            rows = parse_table_text(decode_table(self.read_content(file)), file.name)
        yield from map(self.mapping.apply, rows)

    def describe_contents(self) -> str:
        """Describe the content for a message: a few folders and files, or "no files"."""
        names: dict[str, None] = {}
        for file in self.files:
            parent = file.name.rpartition("/")[0]
            names.setdefault(f"{parent}/" if parent else file.name)
        return f"{format_names(names, MAX_LISTED)} ({format_count(len(self.files), 'file')})" if names else "no files"


def close_archives(files: Iterable[SourceFile]) -> None:
    """Close the archives of files; reading a file opens its archive again."""
    for archive in {file.archive for file in files if file.archive is not None}:
        archive.close()


def _list_root(path: Path) -> list[SourceFile]:
    """List a folder with its subfolders, or a single file."""
    if path.is_file():
        return list(_expand_file(path.parent, "", path.name))
    if not path.is_dir():
        found = "is not a folder" if path.exists() else "does not exist"
        raise InputError(f"{path} {found}. Name the folder that the set was downloaded or unpacked into.")
    return list(_iter_files(path))


def _real_path(file: SourceFile) -> tuple[str, object]:
    return (file.path, file.archive and file.name) if file.archive else (os.path.realpath(file.path), None)


def _iter_files(folder: Path) -> Iterator[SourceFile]:
    """List a folder and its subfolders, with the members of archives."""
    for parent, subfolders, names in os.walk(folder, onerror=_raise_unreadable_folder):
        subfolders[:] = [name for name in subfolders if _is_included(name)]
        subfolder = Path(parent).relative_to(folder).as_posix()
        prefix = "" if subfolder == "." else f"{subfolder}/"
        for name in filter(_is_included, names):
            yield from _expand_file(Path(parent), prefix, name)


def _expand_file(parent: Path, prefix: str, name: str) -> Iterator[SourceFile]:
    """Yield a file, or the members of an archive; archives inside it are files."""
    path = Path(parent, name)
    if not name.lower().endswith(".zip"):
        yield SourceFile(compose_name(f"{prefix}{name}"), str(path))
        return
    archive = ZipArchive(path)
    for member in archive.list_members():
        if all(map(_is_included, member.split("/"))):
            yield SourceFile(compose_name(f"{prefix}{name[:-4]}/{member}"), member, archive)


def _is_included(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _raise_unreadable_folder(error: OSError) -> None:
    """Raise for a folder that cannot be listed, so that no image is missed silently."""
    raise InputError(
        f"the folder {error.filename} cannot be read: {error.strerror}. Check its access rights."
    ) from error
