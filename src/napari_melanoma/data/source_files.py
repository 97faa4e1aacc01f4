"""The files of a public set as it was downloaded: folders and zip archives side by side, seen as one tree."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock

from napari_melanoma.core.errors import InputError

FEW = 6  # names that a message gives


class Archive:
    """A zip file: open from the first reading on until it is closed; several threads may read at once.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opening = Lock()
        self._opened: zipfile.ZipFile | None = None

    def members(self) -> list[str]:
        """List what is in it; it is closed again.

        Returns
        -------
        list of str
            Names of files.

        Raises
        ------
        InputError
            Where it is damaged, or of a kind that cannot be read here.
        """
        try:
            with self._told(), zipfile.ZipFile(self.path) as archive:
                return [info.filename for info in archive.infolist() if not info.is_dir()]
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"the archive {self.path} cannot be read: {error}. Download it again.") from error

    def read(self, member: str) -> bytes:
        """Read a member.

        Parameters
        ----------
        member : str
            As ``members`` names it.

        Returns
        -------
        bytes
            Its content.

        Raises
        ------
        OSError
            Where the archive cannot be read.
        zipfile.BadZipFile
            Where it is damaged.
        InputError
            Where it is encrypted, or compressed in a way that cannot be read here.
        """
        with self._told():
            with self._opening:
                archive = self._opened = self._opened or zipfile.ZipFile(self.path)
            try:
                return archive.read(member)
            except (zlib.error, EOFError) as error:
                raise zipfile.BadZipFile(str(error)) from error

    def close(self) -> None:
        """Close it: as long as it is open, Windows lets nobody move or remove it."""
        with self._opening:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in words what Python's own reader of zip files cannot read: passwords, Deflate64 and the like."""
        try:
            yield
        except RuntimeError as error:  # NotImplementedError is one
            raise InputError(
                f"the archive {self.path} cannot be read here: {error}. Unpack it into a folder with another program."
            ) from error


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a set.

    Parameters
    ----------
    name : str
        Where it lies in the tree, with forward slashes; an archive counts as a folder of its name without ``.zip``.
    path : str
        The file, or the member of the archive.
    archive : Archive or None
        Which it is read from; None for a plain file.
    """

    name: str
    path: str
    archive: Archive | None = None

    @property
    def stem(self) -> str:
        """Its name without folders and suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """Its suffix in lower case, such as ``.jpg``."""
        return PurePosixPath(self.name).suffix.lower()

    def read(self) -> bytes:
        """Read the whole file.

        Returns
        -------
        bytes
            Its content.

        Raises
        ------
        OSError
            Where it cannot be read.
        zipfile.BadZipFile
            Where the archive is damaged.
        InputError
            Where the archive is encrypted, or compressed in a way that cannot be read here.
        """
        return Path(self.path).read_bytes() if self.archive is None else self.archive.read(self.path)


class SourceTree:
    """All files below a folder, those in zip archives included; hidden ones and what macOS adds are left out.

    Parameters
    ----------
    files : iterable of SourceFile
        In any order.
    folder : pathlib.Path
        Named in messages.
    """

    def __init__(self, files: Iterable[SourceFile], folder: Path) -> None:
        self.folder = folder
        self.files = sorted(files, key=lambda file: (file.archive is not None, file.name))

    @classmethod
    def scan(cls, folder: Path) -> SourceTree:
        """List a folder.

        Parameters
        ----------
        folder : pathlib.Path
            With folders, files and archives as they were downloaded.

        Returns
        -------
        SourceTree
            Nothing is unpacked; the heads of the archives are read.

        Raises
        ------
        InputError
            Where it is no folder, cannot be listed, or an archive is damaged.
        """
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder. Name the folder that the set was downloaded or unpacked into.")
        return cls(_files(folder), folder)

    def find(self, folders: str, names: str) -> dict[str, SourceFile]:
        """Find files by where they lie and what they are called.

        Parameters
        ----------
        folders : str
            Regular expression that is searched for in the path of the folder, whatever the case.
        names : str
            Regular expression that the whole name matches, whatever the case; its first group is the key.

        Returns
        -------
        dict
            Key to file, in order of the names; of several files with one key the first, plain files before archives.
        """
        folder, name = re.compile(folders, re.IGNORECASE), re.compile(names, re.IGNORECASE)
        found: dict[str, SourceFile] = {}
        for file in self.files:
            parent, _, base = file.name.rpartition("/")
            match = name.fullmatch(base)
            if match and folder.search(parent):
                found.setdefault(match.group(1), file)
        return found

    def text(self, names: str) -> str | None:
        """Read a text file, such as a table.

        Parameters
        ----------
        names : str
            Regular expression that its whole name matches, whatever the case.

        Returns
        -------
        str or None
            The content of the first one, None where there is none.

        Raises
        ------
        InputError
            Where it cannot be read as UTF-8 or Latin-1 text.
        """
        found = self.find("", f"({names})")
        if not found:
            return None
        file = next(iter(found.values()))
        try:
            data = file.read()
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{file.name} in {self.folder} cannot be read: {error}. Download it again.") from error
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return data.decode("latin-1")

    def seen(self) -> str:
        """Say what there is, for a message about what is missing.

        Returns
        -------
        str
            A few folders and files, or that there is nothing.
        """
        names: dict[str, None] = {}
        for file in self.files:
            parent = file.name.rpartition("/")[0]
            names.setdefault(f"{parent}/" if parent else file.name)
        listed = list(names)
        more = f" and {len(listed) - FEW} more" if len(listed) > FEW else ""
        return f"{', '.join(listed[:FEW])}{more} ({len(self.files)} files)" if listed else "no files"


def close_archives(files: Iterable[SourceFile]) -> None:
    """Close the archives that files were read from; reading one of them opens its archive again.

    Parameters
    ----------
    files : iterable of SourceFile
        Of any tree.
    """
    for archive in {file.archive for file in files if file.archive is not None}:
        archive.close()


def table_rows(text: str) -> Iterator[Mapping[str, str]]:
    """Read a table as the sets publish them: commas, semicolons or tabs, cells sometimes quoted.

    Parameters
    ----------
    text : str
        With a header line.

    Yields
    ------
    mapping
        Column name to text without surrounding white space, "" where there is nothing.
    """
    import csv

    lines = text.splitlines()
    head = lines[0] if lines else ""
    separator = max(("\t", ";", ","), key=head.count)
    for row in csv.DictReader(lines, delimiter=separator, restval=""):
        yield {str(key).strip(): (value or "").strip() for key, value in row.items() if key is not None}


def _files(folder: Path) -> Iterator[SourceFile]:
    """Walk a folder and the heads of its archives."""
    for parent, subfolders, names in os.walk(folder, onerror=_refuse_folder):
        subfolders[:] = [name for name in subfolders if _counts(name)]
        place = Path(parent).relative_to(folder).as_posix()
        prefix = "" if place == "." else f"{place}/"
        for name in filter(_counts, names):
            if name.lower().endswith(".zip"):
                yield from _members(Path(parent, name), f"{prefix}{name[:-4]}/")
            else:
                yield SourceFile(f"{prefix}{name}", str(Path(parent, name)))


def _members(path: Path, prefix: str) -> Iterator[SourceFile]:
    """List an archive; one that lies in it is named in what is seen, not looked into."""
    archive = Archive(path)
    for member in archive.members():
        if all(_counts(part) for part in member.split("/")):
            yield SourceFile(prefix + member, member, archive)


def _counts(name: str) -> bool:
    """Whether a file or folder belongs to the set."""
    return not name.startswith(".") and name != "__MACOSX"


def _refuse_folder(error: OSError) -> None:
    """Stop at a folder that cannot be listed rather than pass over its images in silence."""
    raise InputError(
        f"the folder {error.filename} cannot be read: {error.strerror}. Ask for permission to read it."
    ) from error
