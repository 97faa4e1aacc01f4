"""The folder of a case: ``case.json``, corrections, the lock, and files that moved."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property
from itertools import chain, islice
from pathlib import Path, PurePath, PureWindowsPath
from typing import TYPE_CHECKING, Any, Self

from napari_melanoma.case.edits import set_patient
from napari_melanoma.case.model import (
    VERSION,
    Case,
    CaseCorrection,
    CaseImage,
    CaseLesion,
    CasePatient,
    CaseResult,
    CaseRisk,
)
from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import CaseChanged, InputError, MalformedFile, RunError, SaveError
from napari_melanoma.core.files import open_regular, replace_non_finite, save_error, write_text
from napari_melanoma.core.locks import hold_lock, lock_holder
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.paths import is_inside
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.io.results import read_mask, write_mask
from napari_melanoma.privacy.pseudonyms import pseudonym

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class CaseStore:
    """A case folder that is open, made with ``open`` or ``create``; a context that closes it.

    One process at a time may write a case. ``read_only`` says in words why this one may not, and is empty where it may.
    ``missing`` and ``found`` name by image id the files that are gone, and those that were found at another place.
    """

    def __init__(self, folder: Path, read_only: str, lock: ExitStack) -> None:
        self.folder = folder
        self.read_only = read_only
        self._lock = lock
        self._raw = b""  # of case.json, as we read or wrote it
        self._located = LocatedCase(Case())
        self._added: set[Path] = set()
        self._referenced: set[Path] = set()  # by a case that was saved

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a case; where another window or process has it, to look at alone.

        With ``case``; to be closed.
        """
        folder = _resolve_folder(folder)
        _read_raw(folder)  # before a lock is made in a folder that is no case
        store = cls(folder, *lock_case(folder))
        try:
            store._read()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open_read_only(cls, folder: Path) -> Self:
        """Read a case and leave no trace, not even a lock; ``read_only`` says so.

        With ``case``; need not be closed.
        """
        store = cls(_resolve_folder(folder), "it was opened to look at alone.", ExitStack())
        store._read()
        return store

    @classmethod
    def create(cls, folder: Path, case: Case | None = None) -> Self:
        """Make a case in a folder, which may hold images already, and open it."""
        folder = folder.expanduser().absolute()
        if (folder / CASE).exists():
            raise InputError(f"{folder} holds a case already. Open it, or name another folder.")
        _reject_links(folder)
        store = cls(folder, *lock_case(folder))
        try:
            store.save(_with_patient_id(case or Case()))
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

    def save(self, case: Case, *, overwrite: bool = False) -> None:
        """Write the case, atomically."""
        if self.read_only:
            raise SaveError(f"cannot save {self.folder / CASE}: {self.read_only}")
        changed = "" if overwrite else self.describe_outside_change()
        if changed:
            raise CaseChanged(changed)
        text = case_to_json(case, self.folder)
        if text.encode() != self._raw or not (self.folder / CASE).is_file():
            write_text(self.folder / CASE, text)
        self._raw = text.encode()
        self._located = LocatedCase(case, self.found, self.missing)
        self._referenced |= _list_case_files(case)

    def describe_outside_change(self) -> str:
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

    def search_folders(self, places: list[Path]) -> Case:
        """Look for missing images in further folders.

        With the paths of those that were found; not saved yet.
        """
        self._located = locate_images(self.case, self.folder, places)
        return self.case

    def find_result_folder(self, image_id: str, correction: CaseCorrection | None = None) -> Path:
        """Where the result of an image goes; one of another mask goes elsewhere.

        In the case folder; not made.
        """
        return self.folder / RESULTS / (correction.path.stem if correction else image_id)

    def register_file(self, path: Path) -> None:
        """Remember a mask, a risk or a result folder that is about to be written into the case folder."""
        self._added.add(path)

    def close(self) -> None:
        """Let others write the case, and remove files that an undo left over; closing twice does no harm.

        Nothing is removed where the file is not as it was saved here: what it names now may be just these files.
        """
        if not self.read_only:
            if _is_as_saved(self):
                _remove(_removable_files(self._added, self._referenced, self.folder) - _list_case_files(self.case))
            self.read_only = "the case was closed. Open it again."
        self._lock.close()

    def __enter__(self) -> Self:
        """Give the store."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def _read(self) -> None:
        """Take the case from its file, and look where its images are."""
        self._raw = _read_raw(self.folder)
        self._located = locate_images(parse_case(_decode(self._raw, self.folder), self.folder), self.folder)
        self._added |= {path for path in _list_case_files(self.case) if _is_risk(path, self.folder)}


def _is_as_saved(store: CaseStore) -> bool:
    try:
        return not store.describe_outside_change()
    except SaveError:
        return False


def _list_case_files(case: Case) -> set[Path]:
    """Masks, risks and result folders that a case names."""
    images = [image for _, image in case.iterate_images()]
    masks = {image.correction.path for image in images if image.correction}
    risks = {image.risk.path for image in images if image.risk}
    return masks | risks | {result.path for image in images for result in image.results}


def _removable_files(added: set[Path], referenced: set[Path], folder: Path) -> set[Path]:
    """Files that may be removed once no case names them; a mask that no case ever named is a person's work."""
    return {path for path in added if path in referenced or _is_risk(path, folder)}


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


def _with_patient_id(case: Case) -> Case:
    """A new case with its date, and a patient who can be told from others."""
    if not case.patient.patient_id:
        case = set_patient(case, patient_id=pseudonym(uuid.uuid4().hex))
    return case.model_copy(update={"created": datetime.now(UTC).isoformat(timespec="seconds")})


def _resolve_folder(named: Path) -> Path:
    """The case folder that is meant, absolute."""
    path = named.expanduser().absolute()
    folder = path.parent if path.name == CASE and not path.is_dir() else path
    _reject_links(folder)
    return folder


def _reject_links(folder: Path) -> None:
    """Refuse a folder from somebody else that would have masks and results written to another place."""
    for part in (CASE, CORRECTIONS, RESULTS, RISKS):
        if not is_inside(folder / part, folder):
            raise InputError(
                f"{folder / part} is a link that leads out of the case folder, where masks, results and risks of a "
                "case belong. The case was not opened: put the files themselves in the place of the link."
            )


def _read_raw(folder: Path) -> bytes:
    """Content of the ``case.json`` in a folder."""
    path = folder / CASE
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder} holds no {CASE}. Name the folder of a case, or make one there.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Ask for permission to read it.") from error


def _decode(raw: bytes, folder: Path) -> str:
    """The same as text."""
    try:
        return raw.decode("utf-8-sig")  # an editor may have put a byte order mark there
    except UnicodeDecodeError as error:
        raise InputError(f"{folder / CASE} is damaged: expected UTF-8 text. Bring it back from a backup.") from error


FORMAT_VERSION = ("guesses", "images", "correction", "results", "risk")
CASE, CORRECTIONS, RESULTS, RISKS = "case.json", "corrections", "results", "risk"
_PARTS: dict[type[Config], dict[str, type[Config]]] = {
    Case: {"patient": CasePatient, "lesions": CaseLesion, "images": CaseImage},
    CaseLesion: {"images": CaseImage},
    CaseImage: {"correction": CaseCorrection, "results": CaseResult, "risk": CaseRisk},
}
_IN_THE_FOLDER = (CaseCorrection, CaseResult, CaseRisk)  # images may lie anywhere, as they are only read


def case_to_json(case: Case, folder: Path) -> str:
    """Write a case as JSON; what is not known is left out.

    Indented, with a line feed at the end; what UTF-8 cannot write, as in a file's name of another encoding, is escaped
    as JSON does it.
    """
    values = _map_parts(case.model_dump(mode="json"), Case, lambda part, kind: _part_to_json(part, kind, folder))
    text = json.dumps(replace_non_finite(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()


def parse_case(text: str, folder: Path) -> Case:
    """Read a case from JSON."""
    where = str(folder / CASE)
    try:
        values = parse_json(text, where)
    except MalformedFile as error:
        raise InputError(f"{where} is damaged: {error.reason}. Bring it back from a backup.") from error
    if not isinstance(values, dict) or "version" not in values:
        raise InputError(f"{where} is no case: expected a JSON object with a version. Name the folder of a case.")
    _check_version(str(values["version"]), where)
    return Case.parse(_map_parts(values, Case, lambda part, kind: _part_from_json(part, kind, folder)), where)


def _check_version(found: str, where: str) -> None:
    """Refuse a format whose first number is greater than ours; a greater second number only adds keys."""
    known = VERSION.split(".")[0]
    major = found.split(".")[0]
    if major.isdecimal() and int(major) > int(known):
        raise InputError(
            f"{where} was written by a newer version of napari-melanoma: its format is {found}, and this version reads "
            f"up to {known}.x. Update napari-melanoma; the file was not changed."
        )


def _map_parts(values: Any, kind: type[Config], step: Callable[[dict[str, Any], type[Config]], dict[str, Any]]) -> Any:  # noqa: ANN401 - JSON
    """Take a step at each part of a case, the innermost first; what is no part is left for the check to refuse."""
    if isinstance(values, list):
        return [_map_parts(item, kind, step) for item in values]
    if not isinstance(values, dict):
        return values
    inner = _PARTS.get(kind, {})
    return step(
        {key: _map_parts(item, inner[key], step) if key in inner else item for key, item in values.items()}, kind
    )


def _part_to_json(part: dict[str, Any], kind: type[Config], folder: Path) -> dict[str, Any]:
    """One part as it is written: without what is not known, with paths relative where they can be."""
    order = sorted(part, key=FORMAT_VERSION.__contains__)  # what a person looks for first
    kept = {key: _plain_number(part[key]) for key in order if key != "more" and part[key] not in (None, "", [], {})}
    if "path" in kept:
        kept["path"] = _to_relative(Path(kept["path"]), folder)
    return {**kept, **part.get("more", {})}


def _plain_number(value: Any) -> Any:  # noqa: ANN401 - JSON
    """A number without a needless point, such as an age."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _part_from_json(part: dict[str, Any], kind: type[Config], folder: Path) -> dict[str, Any]:
    """One part as the model takes it: paths absolute, unknown keys set aside."""
    known = {key: value for key, value in part.items() if key in kind.model_fields and key != "more"}
    if isinstance(known.get("path"), str):
        known["path"] = _to_absolute(known["path"], folder)
        if kind in _IN_THE_FOLDER and (".." in known["path"].parts or not is_inside(Path(known["path"]), folder)):
            raise InputError(
                f"{folder / CASE} names {part['path'][:200]!r}, which does not lie in the case folder, as masks, "
                "results and risks of a case do. The case was not opened: correct the path."
            )
    return {**known, "more": {key: value for key, value in part.items() if key not in known}}


def _to_relative(path: Path, folder: Path) -> str:
    """A path as it is written."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _to_absolute(text: str, folder: Path) -> PurePath:
    """A path as it was meant; one of Windows, read elsewhere, stays what it is."""
    return Path(text) if PureWindowsPath(text).is_absolute() or Path(text).is_absolute() else folder / text


LOCK = ".case.lock"


def lock_case(folder: Path) -> tuple[str, ExitStack]:
    """Take the right to write a case.

    Why it is not to be had; "" where it is.
    """
    held = ExitStack()
    try:
        held.enter_context(hold_lock(folder / LOCK))
    except RunError:
        return f"{_describe_owner(folder)} has the case open. Close it there, and open it again here.", held
    except SaveError as error:
        held.close()
        return f"it is open to look at alone: {error}", ExitStack()
    except NotImplementedError:
        return "its file system has no locks, so that two windows could overwrite each other. Copy it elsewhere.", held
    return "", held


def _describe_owner(folder: Path) -> str:
    """Say who has the case, from what they left beside it."""
    found = lock_holder(folder / LOCK)
    if not found:
        return "another window or process"
    who = "another window of yours" if found["pid"] == os.getpid() else found["user"] or "somebody"
    return f"{who} (on {found['host']}, since {found['since']})"


DIGITS = 12  # of the digest, in the file's name


def write_correction(
    store: CaseStore, image_id: str, mask: NDArray[np.bool_], *, image_digest: str = "", model: str = ""
) -> CaseCorrection:
    """Write a mask into the case folder; ``edit.set_correction`` and ``CaseStore.save`` make it part of the case.

    ``mask``: bool (row, column), of the upright image's size. Returns the same where the same mask was written before.
    """
    from napari_melanoma import __version__

    if store.read_only:
        raise SaveError(f"cannot save a mask in {store.folder / CASE}: {store.read_only}")
    digest = array_fingerprint(mask.astype(bool))
    path = store.folder / CORRECTIONS / f"{image_id}-{digest[:DIGITS]}.png"
    if not path.is_file():
        store.register_file(path)
        write_mask(path, mask)
    return CaseCorrection(
        path=path,
        digest=digest,
        image_digest=image_digest,
        model=model,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        program=__version__,
    )


def read_correction(correction: CaseCorrection) -> NDArray[np.bool_]:
    """Read a mask that a person stands for.

    Returns bool (row, column).
    """
    mask = read_mask(correction.path)
    if array_fingerprint(mask) != correction.digest:
        raise InputError(
            f"{correction.path} is not the mask that was saved: another program changed it. Bring it back from a "
            "backup, or draw it again."
        )
    return mask


PARENTS, TAIL = 3, 4
MAX_FILES = 20_000  # looked through in a folder before the search is given up


@dataclass(frozen=True)
class LocatedCase:
    """A case with its images where they are now: ``found`` says where each moved one is, ``missing`` what is gone."""

    case: Case
    found: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def locate_images(case: Case, folder: Path, places: Iterable[Path] = ()) -> LocatedCase:
    """Find the images of a case again that are not at their paths."""
    found, missing = dict[str, Path](), dict[str, str]()
    images = [image for _, image in case.iterate_images()]
    there = {image.path for image in images if image.path.is_file()}
    search = _ImageSearch(folder, places, there)
    for image in images:
        if image.path in there:
            continue
        path = search.find(image)
        if path is None:
            missing[image.id] = f"{_file_name(image.path)} is not at {image.path}, nor near the case."
        else:
            found[image.id] = path
    said = {
        image.id: f"{_file_name(image.path)} was found again at {found[image.id]}."
        for image in images
        if image.id in found
    }
    return LocatedCase(_with_paths(case, found) if found else case, said, missing)


def _with_paths(case: Case, paths: Mapping[str, Path]) -> Case:
    """A case with its images at other places; all at once, as there may be thousands."""

    def at(images: Iterable[CaseImage]) -> tuple[CaseImage, ...]:
        return tuple(
            image.model_copy(update={"path": paths[image.id]}) if image.id in paths else image for image in images
        )

    lesions = tuple(lesion.model_copy(update={"images": at(lesion.images)}) for lesion in case.lesions)
    return case.model_copy(update={"lesions": lesions, "images": at(case.images)})


class _ImageSearch:
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
        name = _file_name(image.path)
        for path in chain(_moved_paths(image.path, self.folder), self.files_by_name.get(name, ())):
            # an image whose content is not known is taken by its name
            if path not in self.taken and path.is_file() and image.content in ("", self.digest(path)):
                return path
        return self.by_content(Path(name).suffix.lower()).get(image.content) if image.content else None

    @cached_property
    def files_by_name(self) -> dict[str, list[Path]]:
        """Files in the folders that are looked through, of many the first, by name."""
        found: dict[str, list[Path]] = defaultdict(list)
        for path in islice((path for place in self.places for path in _list_files(place)), MAX_FILES):
            found[path.name].append(path)
        return found

    def _by_content(self, suffix: str) -> dict[str, Path]:
        """Files of a kind by their digest, as one may have been renamed."""
        named = (path for found in self.files_by_name.values() for path in found if path not in self.taken)
        paths = (path for path in named if path.suffix.lower() == suffix)
        return {self.digest(path): path for path in paths}


def _digest(path: Path) -> str:
    """Digest of a file, "-" where it cannot be read."""
    try:
        return content_digest(path)
    except InputError:
        return "-"


def _moved_paths(path: Path, folder: Path) -> Iterator[Path]:
    """Where a file is whose folder was moved together with the case's."""
    parts = _to_pure_path(path).parts
    for parent in (folder, *folder.parents[:PARENTS]):
        for length in range(min(TAIL, len(parts) - 1), 0, -1):
            yield parent.joinpath(*parts[-length:])


def _list_files(place: Path) -> Iterator[Path]:
    """Files in a folder and its subfolders; what cannot be listed is passed over."""
    for parent, subfolders, names in os.walk(place):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names))


def _to_pure_path(path: Path) -> PurePath:
    """A path in the manner of the system that wrote it."""
    return PureWindowsPath(path) if PureWindowsPath(path).is_absolute() else path


def _file_name(path: Path) -> str:
    """A file's name, whichever system wrote the path."""
    return _to_pure_path(path).name


FULL_DIGEST_UP_TO = 64 * 1024 * 1024  # a slide of 4 GB would take half a minute
BLOCK, BLOCKS = 1024 * 1024, 16


def content_digest(path: Path) -> str:
    """SHA-256 of a file's size and content; of a file above 64 MiB, of 16 blocks of 1 MiB spread evenly over it."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            digest = hashlib.sha256(f"{size} ".encode())
            for start in _block_offsets(size):
                file.seek(start)
                digest.update(file.read(BLOCK))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}. Check that it is still there.") from error
    return digest.hexdigest()


def _block_offsets(size: int) -> list[int]:
    """Where the blocks begin that are read of a file of so many bytes."""
    if size <= FULL_DIGEST_UP_TO:
        return list(range(0, size, BLOCK))
    return [number * (size - BLOCK) // (BLOCKS - 1) for number in range(BLOCKS)]
