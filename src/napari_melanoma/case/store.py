"""The folder of a case: reading and writing ``case.json`` and corrected masks, and the lock against other processes."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.case.model import (
    VERSION,
    Case,
    CaseCorrection,
    CaseFindings,
    CaseImage,
    CaseLesion,
    CasePart,
    CasePatient,
    CaseResult,
    CaseRisk,
    add_slide_findings,
    set_patient,
)
from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import CaseChanged, InputError, MalformedFile, RunError, SaveError
from napari_melanoma.core.files import back_up_file, replace_non_finite, save_error, write_text
from napari_melanoma.core.locks import hold_lock, lock_holder
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.paths import count_same_end, expand_user, is_inside, real_path
from napari_melanoma.core.provenance import array_fingerprint, utc_time
from napari_melanoma.depth.findings import SlideFindings
from napari_melanoma.depth.readings import read_depth_file
from napari_melanoma.io.results import read_mask, write_mask
from napari_melanoma.privacy.pseudonyms import pseudonym

Key = TypeVar("Key")

# Are written after other fields
NESTED_FIELDS = ("imported", "synoptic", "images", "correction", "results", "risk", "findings")
CASE, CORRECTIONS, RESULTS, RISKS = "case.json", "corrections", "results", "risk"
EARLIER_READINGS = "depth"  # folder of earlier versions with the readings of each slide, now in case.json
LOCK = ".case.lock"
DIGEST_DIGITS = 12  # of the digest in a file name
# Types of the nested parts of a case by their fields
_PARTS: dict[type[Config], dict[str, type[Config]]] = {
    Case: {"patient": CasePatient, "lesions": CaseLesion, "images": CaseImage},
    CaseLesion: {"imported": CaseFindings, "images": CaseImage},
    CaseImage: {"correction": CaseCorrection, "results": CaseResult, "risk": CaseRisk},
}
_INSIDE_FOLDER = (CaseCorrection, CaseResult, CaseRisk)  # their paths must be inside; images, never written, need not


class CaseStore:
    """An open case folder, from ``open``, ``open_read_only`` or ``create``; a context manager that closes it.

    Only one process at a time may write a case. ``read_only``: why this one may not; empty if it may.
    """

    def __init__(self, folder: Path, read_only: str, lock: ExitStack) -> None:
        self.folder = folder
        self.read_only = read_only
        self._lock = lock
        self._raw = b""  # content of case.json when it was last read or written here
        self.case = Case()  # as opened or last saved
        self.missing: dict[str, str] = {}  # messages on images without a file when they were last searched, by id
        self.unread: dict[str, InputError] = {}  # why readings of an earlier version cannot be read, by image id
        self._earlier: list[Path] = []  # files with readings that case.json will contain once it is saved
        self._added: set[Path] = set()  # files that close may remove
        self._referenced: set[Path] = set()  # files in any case that was saved here

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a case; read-only if it is open in another window or process."""
        folder = _resolve_folder(folder)
        _read_raw(folder)  # raises an error before a lock is created in a folder without a case
        store = cls(folder, *lock_case(folder))
        try:
            store._read()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open_read_only(cls, folder: Path) -> Self:
        """Open a case read-only and without a lock; the store need not be closed."""
        store = cls(_resolve_folder(folder), "it was opened read-only.", ExitStack())
        store._read()
        return store

    @classmethod
    def create(cls, folder: Path, case: Case | None = None) -> Self:
        """Create a case in a folder, which may contain images but no case, and open it."""
        folder = expand_user(folder).absolute()
        if (folder / CASE).exists():
            raise InputError(f"{folder} already contains a case. Open it, or choose another folder.")
        _reject_links(folder)
        store = cls(folder, *lock_case(folder))
        try:
            store.save(_with_patient_id(case or Case()))
        except BaseException:
            store.close()
            raise
        return store

    def open_again(self, folder: Path) -> Self:
        """Read the case again into a new store, which takes over the lock, and close this one.

        ``folder``: of this case, which may have another name. If the case cannot be read, this store stays open, and
        the error is raised.
        """
        if self.read_only:  # no lock of this store, which another window may have released
            return type(self).open(folder)
        store = type(self)(_resolve_folder(folder), "", ExitStack())
        store._read()
        lock, self._lock = self._lock, store._lock
        self.close()
        store._lock = lock
        return store

    def save(self, case: Case, *, overwrite: bool = False) -> None:
        """Write the case atomically.

        Raise ``CaseChanged`` if another program has changed it, unless ``overwrite``; ``SaveError`` if it is read-only.
        """
        if self.read_only:
            raise SaveError(f"cannot save {self.folder / CASE}: {self.read_only}")
        if not overwrite:
            self.require_unchanged()
        text = case_to_json(case, self.folder)
        if text.encode() != self._raw or not (self.folder / CASE).is_file():
            write_text(self.folder / CASE, text)
            self._back_up_earlier()
        self._raw = text.encode()
        self.case = case
        self._referenced |= _list_case_files(case)

    def require_unchanged(self) -> None:
        """Raise ``CaseChanged`` if another program has changed the case since it was read or saved here."""
        if changed := self.describe_outside_change():
            raise CaseChanged(changed)

    def describe_outside_change(self) -> str:
        """Describe a change of the case by another program since it was read or saved here; empty if there is none."""
        path = self.folder / CASE
        if self._raw and not self.folder.is_dir():
            return f"{self.folder} no longer exists: it was moved or removed. Open the case at its new location."
        try:
            is_changed = path.exists() and path.read_bytes() != self._raw
        except OSError as error:
            raise save_error(path, error) from error
        if not is_changed:
            return ""
        return (
            f"{path} was changed by another program in the meantime. Open it again to see the change, or overwrite it."
        )

    def find_result_folder(self, image_id: str, correction: CaseCorrection | None = None) -> Path:
        """Return the folder for the result of an image; ``correction``: the mask, None for the predicted one."""
        return self.folder / RESULTS / (correction.path.stem if correction else image_id)

    def register_file(self, path: Path) -> None:
        """Register a mask, a risk or a result folder before it is written, so that ``close`` may remove it."""
        self._added.add(path)

    def close(self) -> None:
        """Release the lock, and remove registered files that the case no longer contains, for example after an undo.

        Nothing is removed if another program has changed the case, which may contain these files now. Closing twice is
        allowed.
        """
        if not self.read_only:
            if _is_as_saved(self):
                # Masks and results that were never part of a saved case are unsaved work of the user
                saved = {path for path in self._added if path in self._referenced or _is_risk(path, self.folder)}
                _remove(saved - _list_case_files(self.case))
            self.read_only = "the case was closed. Open it again."
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the case."""
        self.close()

    def _read(self) -> None:
        """Read the case, and check whether its images exist."""
        self._raw = _read_raw(self.folder)
        self.case = self._read_earlier(parse_case(_decode(self._raw, self.folder), self.folder))
        self.missing = find_missing_images(self.case)
        self._added |= {path for path in _list_case_files(self.case) if _is_risk(path, self.folder)}

    def _read_earlier(self, case: Case) -> Case:
        """Add the readings of slides that an earlier version has stored in files of their own."""
        for _, image in tuple(case.iterate_images()):
            path = self.folder / EARLIER_READINGS / f"{image.id}.json"
            if not image.is_slide or image.findings is not None or not path.is_file():
                continue
            try:
                findings = SlideFindings(**dict(read_depth_file(path)))
            except InputError as error:  # reports state it
                self.unread[image.id] = error
                continue
            case = add_slide_findings(case, image.id, findings)
            self._earlier.append(path)
        return case

    def _back_up_earlier(self) -> None:
        """Rename the files whose readings have been saved in ``case.json``."""
        for path in self._earlier:
            with suppress(SaveError):  # it is read no more
                if is_inside(path, self.folder):
                    back_up_file(path)
        self._earlier = []


def find_missing_images(case: Case) -> dict[str, str]:
    """Return a message on each image whose file does not exist, by id."""
    images = [image for _, image in case.iterate_images() if not image.path.is_file()]
    return {image.id: f"{_moved_path(image).name} was not found at {image.path}." for image in images}


def locate_images(case: Case, folder: Path) -> dict[str, Path]:
    """Find the missing images of a case in a folder, where they are now; return their paths by id.

    An image is found at the file of its name that shares the longest end of its path, if there is only one. A file is
    that of one image: of several, it is that of the longest end, and of none if these are equally long. The file of
    another image of the case is that of none.
    """
    missing, names = find_missing_images(case), defaultdict[str, list[Path]](list)
    used = {real_path(image.path) for _, image in case.iterate_images() if image.id not in missing}
    for parent, _, files in os.walk(folder):
        for name in files:
            names[name].append(Path(parent, name))
    claims = defaultdict[Path, dict[str, int]](dict)  # with the number of shared parts, by image
    for image_id in missing:
        stored = _moved_path(case.find_image(image_id))
        free = (path for path in names[stored.name] if real_path(path) not in used)
        shared = {path: count_same_end(path, stored) for path in free}
        if (found := _find_single_maximum(shared)) is not None:
            claims[found][image_id] = shared[found]
    owners = {path: _find_single_maximum(images) for path, images in claims.items()}
    return {image_id: path for path, image_id in owners.items() if image_id is not None}


def _find_single_maximum(values: Mapping[Key, int]) -> Key | None:
    """Return the key of the largest value; None if several keys have it, or there are none."""
    highest = max(values.values(), default=0)
    largest = [key for key, value in values.items() if value == highest]
    return largest[0] if len(largest) == 1 else None


def _moved_path(image: CaseImage) -> PurePath:
    """Return a path that can be taken apart, also if it was written on Windows."""
    return PureWindowsPath(image.path) if PureWindowsPath(image.path).is_absolute() else image.path


def _is_as_saved(store: CaseStore) -> bool:
    """Return whether no other program has changed the case; False if that is unknown."""
    try:
        return not store.describe_outside_change()
    except SaveError:
        return False


def _list_case_files(case: Case) -> set[Path]:
    images = [image for _, image in case.iterate_images()]
    masks = {image.correction.path for image in images if image.correction}
    risks = {image.risk.path for image in images if image.risk}
    return masks | risks | {result.path for image in images for result in image.results}


def _is_risk(path: Path, folder: Path) -> bool:
    """Return whether a path is that of a risk written by this program, not a path that was edited by hand."""
    return path.parent == folder / RISKS and path.suffix == ".json"


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _with_patient_id(case: Case) -> Case:
    """Return a new case with its date and, unless it has one, a unique patient id."""
    if not case.patient.patient_id:
        case = set_patient(case, patient_id=pseudonym(uuid.uuid4().hex))
    return case.model_copy(update={"created": utc_time()})


def _resolve_folder(path: Path) -> Path:
    """Return the absolute folder of a case, also for the path of its ``case.json``."""
    path = expand_user(path).absolute()
    folder = path.parent if path.name == CASE and not path.is_dir() else path
    _reject_links(folder)
    return folder


def _reject_links(folder: Path) -> None:
    """Raise an error if links in a folder would cause masks and results to be written elsewhere."""
    for part in (CASE, CORRECTIONS, RESULTS, RISKS):
        if not is_inside(folder / part, folder):
            raise InputError(
                f"{folder / part} is a link out of the case folder; masks, results and risks must be inside it. The "
                "case was not opened: replace the link by the files."
            )


def _read_raw(folder: Path) -> bytes:
    """Read the ``case.json`` of a folder."""
    path = folder / CASE
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder} contains no {CASE}. Choose the folder of a case, or create one there.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Ask for permission to read it.") from error


def _decode(raw: bytes, folder: Path) -> str:
    """Decode the content of ``case.json``."""
    try:
        return raw.decode("utf-8-sig")  # some editors add a byte order mark
    except UnicodeDecodeError as error:
        raise InputError(f"{folder / CASE} is damaged: expected UTF-8 text. Restore it from a backup.") from error


def case_to_json(case: Case, folder: Path) -> str:
    """Convert a case to indented JSON text without unknown values.

    Characters that UTF-8 cannot encode are escaped; they occur in file names with another encoding.
    """
    values = _map_parts(case.model_dump(mode="json"), Case, lambda part, kind: _part_to_json(part, kind, folder))
    text = json.dumps(replace_non_finite(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()


def parse_case(text: str, folder: Path) -> Case:
    """Read a case from JSON text. ``folder``: of the case, to which paths are relative."""
    where = str(folder / CASE)
    try:
        values = parse_json(text, where)
    except MalformedFile as error:
        raise InputError(f"{where} is damaged: {error.reason}. Restore it from a backup.") from error
    if not isinstance(values, dict) or "version" not in values:
        raise InputError(f"{where} is not a case: expected a JSON object with a version. Choose the folder of a case.")
    _check_version(str(values["version"]), where)
    return Case.parse(_map_parts(values, Case, lambda part, kind: _part_from_json(part, kind, folder)), where)


def _check_version(found: str, where: str) -> None:
    """Raise an error if the major version of a format is newer; a newer minor version only adds keys."""
    readable = VERSION.split(".")[0]
    major = found.split(".")[0]
    if major.isdecimal() and int(major) > int(readable):
        raise InputError(
            f"{where} was written by a newer version of napari-melanoma: its format is {found}, and this version reads "
            f"up to {readable}.x. Update napari-melanoma; the file was not changed."
        )


def _map_parts(values: Any, kind: type[Config], step: Callable[[dict[str, Any], type[Config]], dict[str, Any]]) -> Any:  # noqa: ANN401 - JSON
    """Apply a function to each part of a case, the innermost first; values of wrong types are left to validation."""
    if isinstance(values, list):
        return [_map_parts(item, kind, step) for item in values]
    if not isinstance(values, dict):
        return values
    kinds = _PARTS.get(kind, {})
    mapped = {key: _map_parts(item, kinds[key], step) if key in kinds else item for key, item in values.items()}
    return step(mapped, kind)


def _part_to_json(part: dict[str, Any], kind: type[Config], folder: Path) -> dict[str, Any]:
    """Convert a part to JSON: without unknown values, with relative paths where possible."""
    order = sorted(part, key=NESTED_FIELDS.__contains__)
    values = {key: _plain_number(part[key]) for key in order if key != "more" and part[key] not in (None, "", [], {})}
    if "path" in values:
        path = Path(values["path"])
        if path.is_relative_to(folder.parent):  # in the case, or next to it: they are moved together
            values["path"] = Path(os.path.relpath(path, folder)).as_posix()
    return {**values, **part.get("more", {})}


def _plain_number(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Convert whole numbers, such as an age, to integers, which are written without a decimal point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _part_from_json(part: dict[str, Any], kind: type[Config], folder: Path) -> dict[str, Any]:
    """Convert a part from JSON: with absolute paths, and unknown keys in ``more``."""
    names: Collection[str] = kind.field_names() if issubclass(kind, CasePart) else kind.model_fields
    known = {key: value for key, value in part.items() if key in names and key != "more"}
    if isinstance(known.get("path"), str):
        known["path"] = _to_absolute(known["path"], folder)
        if kind in _INSIDE_FOLDER and (".." in known["path"].parts or not is_inside(Path(known["path"]), folder)):
            raise InputError(
                f"{folder / CASE} contains the path {part['path'][:200]!r}, which is outside the case folder; masks, "
                "results and risks must be inside it. The case was not opened: correct the path."
            )
        if kind is CaseImage:
            known["path"] = Path(os.path.normpath(known["path"]))
    return {**known, "more": {key: value for key, value in part.items() if key not in known}}


def _to_absolute(text: str, folder: Path) -> PurePath:
    """Return an absolute path; Windows paths stay unchanged on other systems."""
    return Path(text) if PureWindowsPath(text).is_absolute() or Path(text).is_absolute() else folder / text


def lock_case(folder: Path) -> tuple[str, ExitStack]:
    """Lock a case for writing; return the reason if that is not possible, else an empty text, and the lock."""
    lock = ExitStack()
    try:
        lock.enter_context(hold_lock(folder / LOCK))
    except RunError:
        return f"{_describe_owner(folder)} has the case open. Close it there, and open it here again.", lock
    except SaveError as error:
        lock.close()
        return str(error), ExitStack()
    return "", lock


def _describe_owner(folder: Path) -> str:
    """Describe who has the case open, from its lock file."""
    holder = lock_holder(folder / LOCK)
    if not holder:
        return "another window or process"
    owner = "another window of yours" if holder["pid"] == os.getpid() else holder["user"] or "another user"
    return f"{owner} (on {holder['host']}, since {holder['since']})"


def write_correction(
    store: CaseStore, image_id: str, mask: NDArray[np.bool_], *, image_digest: str = "", model: str = ""
) -> CaseCorrection:
    """Write a mask to the case folder; ``set_correction`` and ``CaseStore.save`` make it part of the case.

    ``mask``: bool (row, column), with the size of the upright image; an identical mask is written only once. ``model``:
    name of the model whose mask was corrected, empty if there is none.
    """
    from napari_melanoma import __version__

    if store.read_only:
        raise SaveError(f"cannot save a mask in {store.folder / CASE}: {store.read_only}")
    digest = array_fingerprint(mask.astype(bool))
    path = store.folder / CORRECTIONS / f"{image_id}-{digest[:DIGEST_DIGITS]}.png"
    if not path.is_file():
        store.register_file(path)
        write_mask(path, mask)
    return CaseCorrection(
        path=path,
        digest=digest,
        image_digest=image_digest,
        model=model,
        created=utc_time(),
        program=__version__,
    )


def read_correction(correction: CaseCorrection) -> NDArray[np.bool_]:
    """Read a corrected mask, bool (row, column); raise ``InputError`` if another program has changed it."""
    mask = read_mask(correction.path)
    if array_fingerprint(mask) != correction.digest:
        raise InputError(
            f"{correction.path} is not the mask that was saved: another program changed it. Restore it from a backup, "
            "or draw it again."
        )
    return mask
