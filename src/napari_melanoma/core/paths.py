"""The one place where a path that a file names is followed: it leads no farther than the folder of that file.

A data set, a case or a result folder may come from anybody. A row ``path=/etc/passwd`` or ``../../key.pem``, or a link
among the images, would otherwise have this program read, copy or overwrite what lies elsewhere. A user who keeps images
outside the data set says so with ``--allow-outside``, for one command.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.file_names import is_device

NAMED = 3  # files outside that a message names
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


class UnsafePath(InputError):  # noqa: N818 - reads as what it is at the place it is raised
    """A path that a file names leads out of the folder of that file, or is no path; the message says how."""


@dataclass
class Outside:
    """Files that lie outside the folder of the file that names them, where the user allowed it."""

    folder: Path
    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Count one, and keep its name if it is among the first."""
        self.count += 1
        if len(self.first) < NAMED:
            self.first.append(text)

    def __str__(self) -> str:
        """Say how many, and name the first."""
        more = f" and {self.count - NAMED} more" if self.count > NAMED else ""
        verb = "file lies" if self.count == 1 else "files lie"
        return f"{self.count} {verb} outside {self.folder}: {', '.join(self.first)}{more}"


@dataclass(frozen=True)
class _Allowed:
    """What the user allowed: files anywhere, or in other folders that the user named too."""

    anywhere: bool = False
    folders: tuple[Path, ...] = ()
    report: Callable[[Outside], None] | None = None


_NOTHING = _Allowed()
_allowed: ContextVar[_Allowed] = ContextVar("allowed", default=_NOTHING)


_trusted: set[Path] = set()


def trust(folder: Path) -> None:
    """Let the data set in a folder name files outside it until this process ends, as the user confirmed."""
    _trusted.add(Path(os.path.realpath(folder)))


def is_trusted(folder: Path) -> bool:
    """Whether the user confirmed that a data set names files outside its folder."""
    return Path(os.path.realpath(folder)) in _trusted


@contextmanager
def outside_allowed(report: Callable[[Outside], None] | None = None) -> Iterator[None]:
    """Let data sets name files outside their folders, as the user asked; in this thread, until the end of the block."""
    with _allowing(_Allowed(anywhere=True, report=report)):
        yield


@contextmanager
def also_in(folders: Iterable[Path]) -> Iterator[None]:
    """Let data sets name files in further folders, which the user named too, until the end of the block.

    Such are the tables that a reproduction writes over the images of the user's data sets.
    """
    before = _allowed.get()
    with _allowing(replace(before, folders=(*before.folders, *(Path(os.path.realpath(path)) for path in folders)))):
        yield


@contextmanager
def _allowing(allowed: _Allowed) -> Iterator[None]:
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


class NamedPaths:
    """Follows the paths that one file names."""

    def __init__(self, folder: Path, *, allow_outside: bool | None = None) -> None:
        self.folder = folder
        allowed = _allowed.get() if allow_outside is None else _Allowed(anywhere=allow_outside)
        self.outside = Outside(folder)
        self._others = allowed.folders
        self._real = Path(os.path.realpath(folder))
        self.allow_outside = allowed.anywhere or (allow_outside is None and self._real in _trusted)
        self._inside: dict[Path, bool] = {}  # folders that were followed: 400,000 images lie in a few

    def follow(self, text: str) -> Path:
        """Follow a path; nothing is opened, and it may name nothing that is there.

        Below ``folder``, unless it may lie outside.
        """
        if _CONTROL.search(text):
            raise UnsafePath("has a control character")
        path = self.folder / text
        said = _unfit(text)
        if said and not self.allow_outside and not (self._others and self.holds(path)):
            raise UnsafePath(said)
        return self.check(path)

    def check(self, path: Path) -> Path:
        """Check a file that was found in the folder, such as by listing it."""
        if not self.holds(path):
            if not self.allow_outside:
                raise UnsafePath("is a link, or lies behind one, that leads out of the folder")
            self.outside.add(str(path.absolute()))
        return path

    def holds(self, path: Path) -> bool:
        """Whether a path lies in the folder, or in another one that is allowed, also after all links are followed."""
        parent, name = path.parent, path.name
        if name in ("", ".."):
            return self._is_inside(path)
        inside = self._inside.get(parent)
        if inside is None:
            inside = self._inside[parent] = self._is_inside(parent)
        return inside and (not _may_be_link(path) or self._is_inside(path))

    def report(self) -> None:
        """Let the user know what lay outside; to be called once all paths were followed."""
        report = _allowed.get().report
        if self.outside.count and report is not None:
            report(self.outside)

    def _is_inside(self, path: Path) -> bool:
        try:
            real = Path(os.path.realpath(path))
        except ValueError:  # such as half of a character, which no file name has
            return False
        return real.is_relative_to(self._real) or any(map(real.is_relative_to, self._others))


def is_file(path: Path) -> bool:
    """Whether a file is there; ``Path.is_file`` raises where a name is too long or a folder is closed."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder, also after all links are followed."""
    return NamedPaths(folder, allow_outside=False).holds(path)


def _unfit(text: str) -> str:
    """Why a text is no path inside a folder, whatever lies on the disk; "" where it may be one."""
    if "\\" in text:
        return "has a backslash: write '/' on every system"
    if text.startswith("/"):
        return "is absolute"
    if _DRIVE.match(text):
        return "begins with a drive"
    if ".." in text.split("/"):
        return "has '..' in it"
    if os.name == "nt" and any(map(is_device, text.split("/"))):
        return "names a device of Windows"
    return ""


def _may_be_link(path: Path) -> bool:
    """Whether a file is a link or, on Windows, anything else that may stand for another one."""
    try:
        found = path.lstat()
    except OSError:
        return False
    except ValueError:
        return True
    return stat.S_ISLNK(found.st_mode) or bool(getattr(found, "st_reparse_tag", 0))
