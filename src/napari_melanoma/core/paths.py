"""Check and resolve paths that come from files, and turn ids into valid file names.

Paths in a file may not lead out of the folder of that file unless the user allowed it.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePath
from typing import NamedTuple

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import normalize_name

MAX_NAMED = 3  # files that a message lists
MAX_NAME_LENGTH = 64
MAX_NAME_BYTES = 150  # of UTF-8: file systems allow 255, and suffixes and temporary names are added
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[\d¹²³]|lpt[\d¹²³])\s*(\..*)?", re.IGNORECASE)
_FORBIDDEN = frozenset('<>:"/\\|?*')
# Control and bidirectional characters, surrogates, private, unassigned.
_INVISIBLE_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_DIGITS = 24  # hexadecimal digits of a digest: enough that no two texts share one
_DIGEST = re.compile(rf"~[0-9a-f]{{{_DIGITS}}}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


def real_path(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path without links; a link that leads to itself is kept, where ``Path.resolve`` may raise."""
    return Path(os.path.realpath(path))


def expand_user(path: str | os.PathLike[str]) -> Path:
    """Replace a leading ``~``; kept in names such as ``~copy.png``, for which ``Path.expanduser`` raises."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def expand_input(path: str | os.PathLike[str]) -> Path:
    """Return the path of a specified input as ``expand_user``; raise ``InputError`` for an empty text.

    An empty text, as of a variable of the shell that is not set, would be the current folder.
    """
    if os.fspath(path) == "":
        raise InputError("the path of an input is empty. Specify a file or a folder; '.' is the current folder.")
    return expand_user(path)


def provide_home() -> Path | None:
    """Set HOME to a private temporary folder if it is not set and the user has no account, as in some containers.

    On Windows, USERPROFILE is set. Without it, neither this program nor the libraries that it uses have a place for
    settings and models. Returns the folder, which does not exist if no temporary folder can be written, so that
    commands run that store nothing in it; None if there is a home folder.
    """
    if expand_user("~") != Path("~"):
        return None
    try:
        folder = _make_private_folder()
    except OSError:  # tempfile has tried all usual folders
        folder = Path(os.sep, "nonexistent")
    os.environ["USERPROFILE" if sys.platform == "win32" else "HOME"] = str(folder)
    return folder


def _make_private_folder() -> Path:
    """Make a temporary folder that no other user can read, of the same name for each call if possible."""
    if sys.platform == "win32":  # a service without a profile
        return Path(tempfile.mkdtemp(prefix="napari-melanoma-"))
    folder = Path(tempfile.gettempdir(), f"napari-melanoma-{os.getuid()}")
    with suppress(OSError):
        folder.mkdir(0o700, exist_ok=True)
    status = folder.lstat() if os.path.lexists(folder) else None
    if status is None or not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        folder = Path(tempfile.mkdtemp(prefix="napari-melanoma-"))  # the name was taken by another user
    return folder


class UnsafePath(InputError):  # noqa: N818 - the name describes the path
    """A path in a file leads out of the folder of that file, or is invalid.

    The message is the end of a sentence that starts with the path, such as "is absolute".
    """


@dataclass
class OutsidePaths:
    """Number and first names of the files outside ``folder`` that a file in it refers to, as the user allowed."""

    folder: Path
    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.first) < MAX_NAMED:
            self.first.append(name)

    def __str__(self) -> str:
        more = f" and {self.count - MAX_NAMED} more" if self.count > MAX_NAMED else ""
        subject = "file lies" if self.count == 1 else "files lie"
        return f"{self.count} {subject} outside {self.folder}: {', '.join(self.first)}{more}"


class _AllowedPaths(NamedTuple):
    """Where files outside the folder of a data set may be: anywhere, or in some folders.

    ``report``: called with the files outside, once their paths are resolved.
    """

    anywhere: bool = False
    folders: tuple[Path, ...] = ()
    report: Callable[[OutsidePaths], None] | None = None


_NONE_ALLOWED = _AllowedPaths()
_allowed: ContextVar[_AllowedPaths] = ContextVar("allowed", default=_NONE_ALLOWED)
_trusted: set[Path] = set()


def trust_folder(folder: Path) -> None:
    """Allow the data set in a folder to refer to files outside it until this process ends; the user confirmed it."""
    _trusted.add(Path(os.path.realpath(folder)))


def is_trusted(folder: Path) -> bool:
    """Whether the user confirmed that the data set in a folder may refer to files outside it."""
    return Path(os.path.realpath(folder)) in _trusted


@contextmanager
def allow_outside_files(report: Callable[[OutsidePaths], None] | None = None) -> Iterator[None]:
    """Allow data sets to refer to files outside their folders, in this thread, until the end of the block."""
    with _allow_paths(_AllowedPaths(anywhere=True, report=report)):
        yield


@contextmanager
def allow_folders(folders: Iterable[Path]) -> Iterator[None]:
    """Allow data sets to refer to files in further folders that the user gave, until the end of the block.

    Used for tables of a reproduction, which refer to images of the user's data sets.
    """
    previous = _allowed.get()
    with _allow_paths(
        previous._replace(folders=(*previous.folders, *(Path(os.path.realpath(path)) for path in folders)))
    ):
        yield


@contextmanager
def _allow_paths(allowed: _AllowedPaths) -> Iterator[None]:
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


class PathResolver:
    """Resolve the paths in one file relative to its folder, and check that they do not lead out of it.

    ``allow_outside``: whether paths may lead out; None: as the user allowed. ``outside``: those that do.
    """

    def __init__(self, folder: Path, *, allow_outside: bool | None = None) -> None:
        self.folder = folder
        allowed = _allowed.get() if allow_outside is None else _AllowedPaths(anywhere=allow_outside)
        self.outside = OutsidePaths(folder)
        self._allowed_folders = allowed.folders
        self._real = Path(os.path.realpath(folder))
        self.allow_outside = allowed.anywhere or (allow_outside is None and self._real in _trusted)
        self._inside: dict[Path, bool] = {}  # by folder: a table of 400,000 images refers to few folders

    def resolve(self, text: str) -> Path:
        """Resolve a path, which need not exist; raise ``UnsafePath`` if it is not allowed."""
        if _CONTROL.search(text):
            raise UnsafePath("has a control character")
        path = self.folder / text
        problem = _describe_invalid_path(text)
        if problem and not self.allow_outside and not (self._allowed_folders and self.contains(path)):
            raise UnsafePath(problem)
        return self.check(path)

    def check(self, path: Path) -> Path:
        """Check a path that is not a text from a file, such as an entry of the listed folder."""
        if not self.contains(path):
            if not self.allow_outside:
                raise UnsafePath("is or contains a link that leads out of the folder")
            self.outside.add(str(path.absolute()))
        return path

    def contains(self, path: Path) -> bool:
        """Whether a path is in the folder or in a further allowed folder after all links are resolved."""
        parent, name = path.parent, path.name
        if name in ("", ".."):
            return self._is_inside(path)
        inside = self._inside.get(parent)
        if inside is None:
            inside = self._inside[parent] = self._is_inside(parent)
        return inside and (not _may_be_link(path) or self._is_inside(path))

    def report_outside(self) -> None:
        """Report the files outside the folder; call this after all paths were resolved."""
        report = _allowed.get().report
        if self.outside.count and report is not None:
            report(self.outside)

    def _is_inside(self, path: Path) -> bool:
        try:
            real = Path(os.path.realpath(path))
        except ValueError:  # such as half of a surrogate pair, which no file name has
            return False
        return real.is_relative_to(self._real) or any(map(real.is_relative_to, self._allowed_folders))


def corrections_folder() -> Path:
    """Return the folder of the user's corrections, which need not exist."""
    from platformdirs import user_data_path

    return user_data_path("napari-melanoma", appauthor=False) / "corrections"


def is_file(path: Path) -> bool:
    """Whether a file exists; ``Path.is_file`` raises for a long name or a folder without access."""
    try:
        return path.is_file()
    except OSError:
        return False


def count_same_end(first: PurePath, second: PurePath) -> int:
    """Return how many parts at the end of two paths are the same; 0 if even the names of the files differ."""
    pairs = zip(reversed(first.parts), reversed(second.parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path is in a folder after all links are resolved."""
    return PathResolver(folder, allow_outside=False).contains(path)


def _describe_invalid_path(text: str) -> str:
    """Explain why a text is not a path inside a folder; "" if it may be one."""
    if "\\" in text:
        return "has a backslash: write '/' on every system"
    if text.startswith("/"):
        return "is absolute"
    if _DRIVE.match(text):
        return "begins with a drive letter"
    if ".." in text.split("/"):
        return "has '..' in it"
    if os.name == "nt" and any(map(is_device_name, text.split("/"))):
        return "names a device of Windows"
    return ""


def _may_be_link(path: Path) -> bool:
    """Whether a file is a link or, on Windows, another reparse point."""
    try:
        status = path.lstat()
    except OSError:
        return False
    except ValueError:
        return True
    return stat.S_ISLNK(status.st_mode) or bool(getattr(status, "st_reparse_tag", 0))


def describe_invalid_id(text: str) -> str:
    """Explain why a text cannot be an id (one line, no path), such as ``"has a '/'"``; "" if it can.

    An id need not be a valid file name: ``id_to_file_name`` turns it into one.
    """
    if not text.strip(" ."):
        return "is empty or consists of dots"
    separator = next((character for character in text if character in "/\\"), "")
    if separator:
        return f"has a '{separator}'"
    invisible = "" if text.isprintable() else next(filter(_is_invisible, text), "")
    if invisible:
        return f"has a character that is invisible (U+{ord(invisible):04X})"
    if len(text.encode("utf-8", "surrogatepass")) > 255:
        return "is longer than 255 bytes"
    return ""


def folder_name(name: str) -> str:
    """Name a folder after an image, without the dots and spaces at the end, which Windows removes from names."""
    return name.rstrip(". ") or "image"


def is_device_name(name: str) -> bool:
    """Whether a file name is that of a device on Windows, such as ``con`` or ``LPT1.png``."""
    return _RESERVED.fullmatch(name) is not None


def is_file_name(text: str) -> bool:
    """Whether a text is a valid file name (without suffix) on every system."""
    return (
        0 < len(text.encode("utf-8", "surrogatepass")) <= MAX_NAME_BYTES
        and text[0] not in " .-~"
        and text[-1] not in " ."
        and not is_device_name(text)
        and not any(character in _FORBIDDEN for character in text)
        and (text.isprintable() or not any(map(_is_invisible, text)))
        and (text.isascii() or unicodedata.normalize("NFC", text) == text)
    )


def id_to_file_name(text: str) -> str:
    """Turn an id into a file name without suffix; different ids have different names.

    A valid name is unchanged; an invalid one, or one that ends like a digest, gets a digest at its end. Names that
    differ only in case are the same file on Windows and macOS: use ``ids_to_file_names`` for the ids of a data set.
    """
    return text if is_file_name(text) and not _DIGEST.fullmatch(text[-_DIGITS - 1 :]) else _with_digest(text)


def ids_to_file_names(texts: Iterable[str]) -> dict[str, str]:
    """Turn the ids of one data set into file names that are distinct on every system, and return them by id.

    The names are those of ``id_to_file_name``; of several names that a file system may not distinguish, all but the
    first get a digest at their end.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for text in texts:
        if text not in names:
            name = id_to_file_name(text)
            names[text] = name = name if normalize_name(name) not in taken else _with_digest(text)
            taken.add(normalize_name(name))
    return names


def safe_name(name: str) -> str:
    """Turn a text into a file name that is valid on every system; different texts may get the same name.

    It consists of 1 to 64 ASCII letters, digits, ``_``, ``.`` and ``-``, and cannot be mistaken for a hidden file, an
    option, a device or a formula.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", plain)[:MAX_NAME_LENGTH].strip("._-")
    return f"image-{plain}".rstrip("-") if not plain or is_device_name(plain) else plain


def free_name(name: str, taken: Container[str]) -> str:
    """Return ``name``, or if it is taken the first free name of ``name-2``, ``name-3`` ...

    ``taken``: names in lower case.
    """
    number, free = 1, name
    while free.lower() in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _is_invisible(character: str) -> bool:
    """Whether a character is invisible, or changes how others are displayed."""
    return unicodedata.category(character) in _INVISIBLE_CATEGORIES


def _with_digest(text: str) -> str:
    """Append a digest of a text to its readable part."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{safe_name(text)}~{digest}"
