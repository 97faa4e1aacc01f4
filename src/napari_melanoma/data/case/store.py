"""The folder of a case: ``case.json`` and what belongs to it, open in one window at a time, saved as a whole or not."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from napari_melanoma.core.errors import CaseChanged, InputError, SaveError
from napari_melanoma.core.files import save_error, write_text
from napari_melanoma.core.paths import is_inside
from napari_melanoma.core.pseudonyms import pseudonym
from napari_melanoma.data.case.edit import set_patient
from napari_melanoma.data.case.files import CASE, CORRECTIONS, RESULTS, RISKS, case_text, parse_case
from napari_melanoma.data.case.model import Case, CaseCorrection
from napari_melanoma.data.case.moved import Located, locate
from napari_melanoma.data.case.owner import take


class CaseStore:
    """A case folder that is open, made with ``open`` or ``create``; a context that closes it.

    One process at a time may write a case. ``read_only`` says in words why this one may not, and is empty where it may.
    ``missing`` and ``found`` name by image id the files that are gone, and those that were found at another place.
    """

    def __init__(self, folder: Path, read_only: str, held: ExitStack) -> None:
        self.folder = folder
        self.read_only = read_only
        self._held = held
        self._raw = b""  # of case.json, as we read or wrote it
        self._located = Located(Case())
        self._added: set[Path] = set()
        self._named: set[Path] = set()  # by a case that was saved

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a case; where another window or process has it, to look at alone.

        With ``case``; to be closed.
        """
        folder = _folder(folder)
        _raw(folder)  # before a lock is made in a folder that is no case
        store = cls(folder, *take(folder))
        try:
            store._read()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def look_at(cls, folder: Path) -> Self:
        """Read a case and leave no trace, not even a lock; ``read_only`` says so.

        With ``case``; need not be closed.
        """
        store = cls(_folder(folder), "it was opened to look at alone.", ExitStack())
        store._read()
        return store

    @classmethod
    def create(cls, folder: Path, case: Case | None = None) -> Self:
        """Make a case in a folder, which may hold images already, and open it."""
        folder = folder.expanduser().absolute()
        if (folder / CASE).exists():
            raise InputError(f"{folder} holds a case already. Open it, or name another folder.")
        _refuse_links(folder)
        store = cls(folder, *take(folder))
        try:
            store.save(_named(case or Case()))
        except BaseException:
            store.close()
            raise
        return store

    @property
    def case(self) -> Case:
        """The case as it was opened, or last saved."""
        return self._located.case

    @property
    def missing(self) -> dict[str, str]:
        """Images whose file was not found when the case was opened: id to what is said of it."""
        return self._located.missing

    @property
    def found(self) -> dict[str, str]:
        """Images whose file was found at another place: id to where."""
        return self._located.found

    def save(self, case: Case, *, over: bool = False) -> None:
        """Write the case, atomically."""
        if self.read_only:
            raise SaveError(f"cannot save {self.folder / CASE}: {self.read_only}")
        changed = "" if over else self.changed()
        if changed:
            raise CaseChanged(changed)
        text = case_text(case, self.folder)
        if text.encode() != self._raw or not (self.folder / CASE).is_file():
            write_text(self.folder / CASE, text)
        self._raw = text.encode()
        self._located = Located(case, self.found, self.missing)
        self._named |= _files_of(case)

    def changed(self) -> str:
        """Say whether another program changed the case since it was read or saved last.

        Returns "" where it did not, else what happened and what to do.
        """
        path = self.folder / CASE
        if self._raw and not self.folder.is_dir():
            return f"{self.folder} is gone: it was moved or removed. Open the case where it is now."
        try:
            is_changed = path.exists() and path.read_bytes() != self._raw
        except OSError as error:
            raise save_error(path, error) from error
        if not is_changed:
            return ""
        return f"{path} was changed by another program meanwhile. Open it again to see the change, or save over it."

    def look_in(self, places: list[Path]) -> Case:
        """Look for missing images in further folders.

        With the paths of those that were found; not saved yet.
        """
        self._located = locate(self.case, self.folder, places)
        return self.case

    def result_folder(self, image_id: str, correction: CaseCorrection | None = None) -> Path:
        """Where the result of an image goes; one of another mask goes elsewhere.

        In the case folder; not made.
        """
        return self.folder / RESULTS / (correction.path.stem if correction else image_id)

    def added(self, path: Path) -> None:
        """Remember a mask, a risk or a result folder that is about to be written into the case folder."""
        self._added.add(path)

    def close(self) -> None:
        """Let others write the case, and remove files that an undo left over; closing twice does no harm.

        Nothing is removed where the file is not as it was saved here: what it names now may be just these files.
        """
        if not self.read_only:
            if _is_as_saved(self):
                _remove(_ours(self._added, self._named, self.folder) - _files_of(self.case))
            self.read_only = "the case was closed. Open it again."
        self._held.close()

    def __enter__(self) -> Self:
        """Give the store."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def _read(self) -> None:
        """Take the case from its file, and look where its images are."""
        self._raw = _raw(self.folder)
        self._located = locate(parse_case(_text(self._raw, self.folder), self.folder), self.folder)
        self._added |= {path for path in _files_of(self.case) if _is_risk(path, self.folder)}


def _is_as_saved(store: CaseStore) -> bool:
    try:
        return not store.changed()
    except SaveError:
        return False


def _files_of(case: Case) -> set[Path]:
    """Masks, risks and result folders that a case names."""
    images = [image for _, image in case.each_image()]
    masks = {image.correction.path for image in images if image.correction}
    risks = {image.risk.path for image in images if image.risk}
    return masks | risks | {result.path for image in images for result in image.results}


def _ours(added: set[Path], named: set[Path], folder: Path) -> set[Path]:
    """Files that may be removed once no case names them; a mask that no case ever named is a person's work."""
    return {path for path in added if path in named or _is_risk(path, folder)}


def _is_risk(path: Path, folder: Path) -> bool:
    """Whether a file is a risk of this program's in a case folder; another path, written by hand, is not ours."""
    return path.parent == folder / RISKS and path.suffix == ".json"


def _remove(paths: Iterable[Path]) -> None:
    """Remove files and folders; one that cannot be removed does no harm where it stays."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _named(case: Case) -> Case:
    """A new case with its date, and a patient who can be told from others."""
    if not case.patient.patient_id:
        case = set_patient(case, patient_id=pseudonym(uuid.uuid4().hex))
    return case.model_copy(update={"created": datetime.now(UTC).isoformat(timespec="seconds")})


def _folder(named: Path) -> Path:
    """The case folder that is meant, absolute."""
    path = named.expanduser().absolute()
    folder = path.parent if path.name == CASE and not path.is_dir() else path
    _refuse_links(folder)
    return folder


def _refuse_links(folder: Path) -> None:
    """Refuse a folder from somebody else that would have masks and results written to another place."""
    for part in (CASE, CORRECTIONS, RESULTS, RISKS):
        if not is_inside(folder / part, folder):
            raise InputError(
                f"{folder / part} is a link that leads out of the case folder, where masks, results and risks of a "
                "case belong. The case was not opened: put the files themselves in the place of the link."
            )


def _raw(folder: Path) -> bytes:
    """Content of the ``case.json`` in a folder."""
    path = folder / CASE
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder} holds no {CASE}. Name the folder of a case, or make one there.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Ask for permission to read it.") from error


def _text(raw: bytes, folder: Path) -> str:
    """The same as text."""
    try:
        return raw.decode("utf-8-sig")  # an editor may have put a byte order mark there
    except UnicodeDecodeError as error:
        raise InputError(f"{folder / CASE} is damaged: expected UTF-8 text. Bring it back from a backup.") from error
