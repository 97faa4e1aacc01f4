"""The corrections folder: the settings of reviews, and storing photographs and decisions in it in a thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QWindow

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.formatting import format_count, shorten_name
from napari_melanoma.core.paths import corrections_folder
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.signals import follow_focus
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.widgets.style import ThemedIcons

if TYPE_CHECKING:
    from napari_melanoma.core.files import FileStamp
    from napari_melanoma.data.corrections import Correction, CorrectionChange
    from napari_melanoma.data.dataset import Review
    from napari_melanoma.data.diagnosis_labels import DiagnosisLabel
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
    from napari_melanoma.ui.session.lesion_updates import LesionController
    from napari_melanoma.ui.session.open_photograph import OpenPhotograph

TRAINING_REVIEWS = ("accepted", "corrected")
DIAGNOSES = (
    "melanoma",
    "nevus",
    "atypical nevus",
    "seborrheic keratosis",
    "basal cell carcinoma",
    "squamous cell carcinoma",
    "actinic keratosis",
    "solar lentigo",
    "lichenoid keratosis",
    "dermatofibroma",
    "vascular lesion",
)


class CorrectionsIndex(NamedTuple):
    """The rows of a corrections folder, by the digest of the photograph's pixels.

    ``stamp``: version of the table when it was read; None if there was none.
    """

    folder: Path
    rows: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    stamp: FileStamp | None = None

    @property
    def total(self) -> int:
        """Number of rows that can be used for training."""
        return sum(row.get("review") in TRAINING_REVIEWS for row in self.rows.values())

    @property
    def diagnoses(self) -> list[str]:
        """The distinct diagnoses in the folder."""
        return list(dict.fromkeys(self._list_all()))

    def list_most_used(self, count: int) -> list[str]:
        """Return the diagnoses of most photographs, the most frequent first."""
        return [name for name, _ in Counter(self._list_all()).most_common(count)]

    def _list_all(self) -> list[str]:
        return [name for row in self.rows.values() if (name := row.get("diagnosis", ""))]


class ReviewDecision(NamedTuple):
    """The review of a photograph, without its mask.

    ``source``: the file of the photograph. A ``diagnosis`` of None keeps the stored diagnosis, "" clears it.
    ``keep_mask``: keep a mask that is already stored in the corrections, for photographs without new edits.
    ``with_others``: also store the other detected lesions, which the user has confirmed.
    ``patient``: id of the patient of the open case that contains the photograph; stored as a pseudonym. ``cleared``:
    which of ``pixel_size`` and ``modality`` are cleared; those that were never stated keep the stored ones.
    """

    review: Review
    reviewer: str
    diagnosis: str | None
    source: Path | None
    keep_mask: bool = False
    with_others: bool = False
    patient: str = ""
    cleared: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredCorrection:
    """A stored correction, with the index of the corrections folder afterwards."""

    image_id: str
    image_digest: str
    review: str
    index: CorrectionsIndex

    @property
    def row(self) -> Mapping[str, str]:
        """The row of the photograph; empty if it was removed meanwhile."""
        return self.index.rows.get(self.image_digest, {})


@dataclass(frozen=True)
class StoredLabel:
    """A stored diagnosis of a photograph: its row, and the index of the corrections folder afterwards."""

    row: Mapping[str, str]
    index: CorrectionsIndex


class CorrectionsStore(QObject):
    """Reads and writes the corrections folder of a dock in a thread."""

    changed = Signal()
    undone = Signal(object, object)  # CorrectionChange that was undone or None, CorrectionsIndex afterwards
    failed = Signal(object)  # Exception

    def __init__(self, settings: ReviewSettings, parent: QObject) -> None:
        super().__init__(parent)
        self._settings = settings
        self.index = CorrectionsIndex(settings.corrections)
        self._is_read = False
        self._undo_numbers = count()
        self._latest = LatestJobQueue(self)
        self._latest.failed.connect(self.failed)
        user_data().corrections_changed.connect(self._on_changed)
        follow_focus(self._on_focus_window)

    @property
    def folder(self) -> Path:
        """The corrections folder; setting it selects another folder in all docks."""
        return self.index.folder

    @folder.setter
    def folder(self, folder: Path) -> None:
        self._settings.corrections = folder

    @property
    def is_current(self) -> bool:
        """Whether the index is that of the table as it is now; it may be read while the table is written."""
        from napari_melanoma.data.corrections import Corrections

        return Corrections(self.folder).stamp == self.index.stamp

    def refresh(self) -> None:
        """Read the folder again, or the folder that was selected in another dock."""
        folder = self._settings.corrections
        if folder != self.folder:
            self.index = CorrectionsIndex(folder)
        self._latest.submit("read", lambda: lambda run: read_index(folder), self.set_index)

    def reject(
        self, source: LayerPhotographSource, decision: ReviewDecision, callback: Callable[[StoredCorrection], None]
    ) -> None:
        """Store a photograph that was not analyzed as rejected."""
        folder = self.folder
        self._latest.submit(f"reject {id(source.data)}", lambda: partial(_reject, folder, source, decision), callback)

    def label(
        self,
        source: LayerPhotographSource,
        path: Path,
        label: DiagnosisLabel,
        callback: Callable[[StoredLabel], None],
        patient: str = "",
    ) -> None:
        """Store the diagnosis of a photograph, which need not be analyzed; ``patient``: as in ``ReviewDecision``."""
        folder = self.folder
        work = partial(_label, folder, source, path, label, patient)
        self._latest.submit(f"label {path} {label.reader}", lambda: work, callback)

    def undo(self, is_own: Callable[[CorrectionChange], bool], confirm: Callable[[CorrectionChange], bool]) -> None:
        """Undo the last change of the folder.

        ``is_own``: called in a thread with the change, which is undone without a question if it returns True;
        otherwise, ``confirm`` asks.
        """
        folder, key = self.folder, f"undo {next(self._undo_numbers)}"  # each one counts

        def on_found(found: tuple[CorrectionChange | None, bool, CorrectionsIndex]) -> None:
            change, is_undone, index = found
            if change is None:
                self.undone.emit(None, index)
            elif is_undone:
                self._on_undone(change, index)
            elif confirm(change):
                work = partial(_undo, folder, lambda last: last == change)
                self._latest.submit(f"{key} confirmed", lambda: work, on_confirmed)

        def on_confirmed(found: tuple[CorrectionChange | None, bool, CorrectionsIndex]) -> None:
            change, is_undone, index = found
            if change is not None and is_undone:
                self._on_undone(change, index)
            else:
                self.undo(is_own, confirm)  # another change was stored meanwhile

        self._latest.submit(key, lambda: partial(_undo, folder, is_own), on_found)

    def set_stored(self, stored: StoredCorrection) -> None:
        """Update the index after storing, and notify all docks."""
        self.set_index(stored.index)
        user_data().corrections_changed.emit(stored.index.folder)

    def set_index(self, index: CorrectionsIndex) -> None:
        """Set the index, unless another folder was selected in the meantime."""
        if index.folder == self.folder:
            self.index, self._is_read = index, True
            self.changed.emit()

    def _on_changed(self, folder: Path) -> None:
        self.refresh()

    def _on_focus_window(self, window: QWindow | None) -> None:
        """Follow what other programs have stored while another window had the focus."""
        if window is None or not self._is_read:
            return  # before the first reading, which imports the module in a thread
        if not self.is_current:
            self.refresh()

    def _on_undone(self, change: CorrectionChange, index: CorrectionsIndex) -> None:
        self.set_index(index)
        user_data().corrections_changed.emit(index.folder)
        self.undone.emit(change, index)


def store_result(folder: Path, result: LesionResult, name: str, decision: ReviewDecision) -> StoredCorrection:
    """Add an analyzed photograph to the corrections; call this in a thread."""
    from napari_melanoma.data.corrections import Correction
    from napari_melanoma.ui.session.analyzed_lesion import predict_default_mask

    predicted, mask = predict_default_mask(result), result.mask
    if decision.with_others and result.others is not None:
        predicted, mask = predicted | result.others, mask | result.others
    if decision.review == "corrected" and not decision.keep_mask and not (predicted != mask).any():
        decision = decision._replace(review="accepted")  # the changes were reverted
    correction = Correction(
        name=name,
        rgb=result.photograph.rgb,
        mask=mask,
        review=decision.review,
        model=result.model.name,
        model_fingerprint=result.model.fingerprint,
        prediction=predicted if result.is_predicted else None,
        modality=result.photograph.modality,
        damage=result.photograph.damage,
        pixel_size=result.photograph.pixel_size,
    )
    return _add(folder, correction, decision)


def _add(folder: Path, correction: Correction, decision: ReviewDecision) -> StoredCorrection:
    from napari_melanoma.core.provenance import array_fingerprint
    from napari_melanoma.data.corrections import Corrections
    from napari_melanoma.privacy.pseudonyms import pseudonym

    reviewed = replace(correction, reviewer=decision.reviewer, diagnosis=decision.diagnosis, source=decision.source)
    reviewed = replace(reviewed, patient_id=pseudonym(decision.patient) or None)
    if "modality" in decision.cleared and correction.modality is None:
        reviewed = replace(reviewed, modality="")
    if "pixel_size" in decision.cleared and correction.pixel_size is None:
        reviewed = replace(reviewed, clinical=dict.fromkeys(("mpp_x", "mpp_y"), ""))
    if decision.keep_mask:
        reviewed = _with_stored_masks(folder, reviewed)
    image_id = Corrections(folder).add(reviewed)
    return StoredCorrection(image_id, array_fingerprint(correction.rgb), decision.review, read_index(folder))


def _with_stored_masks(folder: Path, correction: Correction) -> Correction:
    """Return a correction with the masks that are stored for its photograph, and their model."""
    from napari_melanoma.core.errors import UnreadableImage
    from napari_melanoma.core.provenance import array_fingerprint
    from napari_melanoma.data.corrections import Corrections
    from napari_melanoma.io.results import read_mask

    row = Corrections(folder).find_row(array_fingerprint(correction.rgb)) or {}
    masks = {}
    for name in ("mask", "prediction"):
        with suppress(UnreadableImage):  # a missing mask cannot be kept
            if path := row.get(f"{name}_path"):
                masks[name] = read_mask(folder / path)
    if "mask" not in masks:
        return correction
    return replace(
        correction,
        mask=masks["mask"],
        prediction=masks.get("prediction"),
        model=row.get("model", ""),
        model_fingerprint=row.get("model_fingerprint", ""),
    )


def read_index(folder: Path) -> CorrectionsIndex:
    """Read the table of a corrections folder; call this in a thread."""
    from napari_melanoma.data.corrections import Corrections

    corrections = Corrections(folder)
    stamp, rows = corrections.stamp, corrections.rows()  # in this order, so that a change meanwhile is noticed
    return CorrectionsIndex(folder, {row["image_sha256"]: row for row in rows if row.get("image_sha256")}, stamp)


def _reject(
    folder: Path,
    source: LayerPhotographSource,
    decision: ReviewDecision,
    run: RunContext,
) -> StoredCorrection:
    import numpy as np

    from napari_melanoma.data.corrections import Correction

    photograph = source.read()
    empty_mask = np.zeros(photograph.rgb.shape[:2], bool)
    correction = Correction(
        photograph.name,
        photograph.rgb,
        empty_mask,
        decision.review,
        modality=photograph.modality,
        damage=photograph.damage,
        pixel_size=photograph.pixel_size,
    )
    return _add(folder, correction, decision)


def _label(
    folder: Path,
    source: LayerPhotographSource,
    path: Path,
    label: DiagnosisLabel,
    patient: str,
    run: RunContext,
) -> StoredLabel:
    from napari_melanoma.data.corrections import Correction, Corrections
    from napari_melanoma.privacy.pseudonyms import pseudonym

    photograph = source.read()
    correction = Correction(
        photograph.name,
        photograph.rgb,
        None,
        "unreviewed",
        patient_id=pseudonym(patient) or None,
        modality=photograph.modality,
        source=path,
        damage=photograph.damage,
        pixel_size=photograph.pixel_size,
    )
    return StoredLabel(Corrections(folder).label(correction, label), read_index(folder))


def _undo(
    folder: Path, is_expected: Callable[[CorrectionChange], bool], run: RunContext
) -> tuple[CorrectionChange | None, bool, CorrectionsIndex]:
    """Undo the last change if it is expected; returns the change, whether it was undone, and the index."""
    from napari_melanoma.data.corrections import Corrections

    corrections = Corrections(folder)
    change = corrections.find_last_change()
    is_undone = change is not None and is_expected(change) and corrections.undo(change) is not None
    return change, is_undone, read_index(folder)


def is_change_of(source: LayerPhotographSource, change: CorrectionChange) -> bool:
    """Return whether a change is one of a photograph, which is read; call this in a thread."""
    return change.row.get("image_sha256", "") == source.read_with_digest()[1]


class ReviewSettings(DockSettings):
    """The settings of all docks, with those of the corrections and of the Review dock."""

    @property
    def reviewer(self) -> str:
        """The reader of all sections; else the reviewer entered in an earlier version. Empty if not given."""
        return self.reader or str(self._store.value("corrections/reviewer", "") or "")

    @reviewer.setter
    def reviewer(self, name: str) -> None:
        self._store.remove("corrections/reviewer")
        self.reader = name.strip()

    @property
    def corrections(self) -> Path:
        """The corrections folder; by default the one in the user's data folder."""
        stored = str(self._store.value("corrections/folder", "") or "")
        return Path(stored) if stored else corrections_folder()

    @corrections.setter
    def corrections(self, folder: Path) -> None:
        self._store.setValue("corrections/folder", str(folder))
        user_data().corrections_changed.emit(folder)

    @property
    def review_folder(self) -> Path | None:
        """The folder that was reviewed last; None if it no longer exists."""
        stored = str(self._store.value("review/folder", "") or "")
        return Path(stored) if stored and Path(stored).is_dir() else None

    @review_folder.setter
    def review_folder(self, folder: Path) -> None:
        self._store.setValue("review/folder", str(folder))


class PhotographCorrections(QObject):
    """Stores photographs with their masks and diagnoses; repeated requests are ignored."""

    stored = Signal(object, object)  # OpenPhotograph, StoredCorrection
    failed = Signal(object)  # Exception

    def __init__(
        self,
        controller: LesionController,
        settings: ReviewSettings,
        status: StatusLine,
        icons: ThemedIcons,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.settings = settings
        self.store = CorrectionsStore(settings, self)
        self._sessions, self._controller, self._status, self._icons = controller.sessions, controller, status, icons
        self.store.changed.connect(self._on_index)
        self.store.undone.connect(self._on_undone)
        self.store.failed.connect(self._on_failed)

    def find_row(self, session: OpenPhotograph) -> Mapping[str, str] | None:
        """Return the row of a photograph in the corrections table; None if it is not stored or not analyzed."""
        lesion = session.masked_lesion
        return None if lesion is None else self.store.index.rows.get(lesion.image_digest)

    def set_diagnosis(self, session: OpenPhotograph, diagnosis: str) -> None:
        """Set the diagnosis of a photograph, which is stored with its mask."""
        session.review = replace(session.review, diagnosis=diagnosis.strip())

    def add(self, session: OpenPhotograph, *, with_others: bool = False) -> None:
        """Store a photograph with its current mask; ``with_others``: also the lesions outside the mask."""
        self._submit(session, None, with_others=with_others)

    def keep_mask(self, session: OpenPhotograph, review: Review) -> None:
        """Store a photograph, for example with its diagnosis, with the mask and the review that are stored already."""
        self._submit(session, review, keep_mask=True)

    def reject(self, session: OpenPhotograph) -> None:
        """Store a photograph as rejected; it need not be analyzed."""
        if session.masked_lesion is not None:
            self._submit(session, "rejected")
            return
        self._status.begin("storing", "Storing ...")
        decision = self._make_decision(session, "rejected")._replace(keep_mask=True)
        self.store.reject(session.source, decision, partial(self._on_stored, session))

    def reset(self) -> None:
        """Clear the record of requests, so that they can be repeated, for example after an error."""
        for session in self._sessions:
            session.review = replace(session.review, request=(), storing_digest="")

    def set_folder(self, folder: Path) -> None:
        """Select another corrections folder in all docks."""
        for session in self._sessions:
            session.review = replace(session.review, stored_digest="")
        self.reset()
        self.store.folder = folder

    def _submit(
        self,
        session: OpenPhotograph,
        review: Review | None,
        *,
        with_others: bool = False,
        keep_mask: bool = False,
    ) -> None:
        self._status.begin("storing", "Storing ...")

        def prepare(lesion: AnalyzedLesion) -> JobFunction | None:
            decision = self._make_decision(session, review or ("corrected" if lesion.is_user_edited else "accepted"))
            if keep_mask or (review == "rejected" and not lesion.unsaved):
                decision = decision._replace(keep_mask=True)
            decision = decision._replace(with_others=with_others)
            folder, result, name = self.store.folder, lesion.result, session.name
            stated = result.model, result.photograph.pixel_size, result.photograph.modality
            request = lesion.mask_digest, decision._replace(diagnosis=None, keep_mask=keep_mask), folder, stated
            row = self.store.index.rows.get(lesion.image_digest)
            is_repeated = request == session.review.request and row == session.review.row
            if row is not None and is_repeated and has_diagnosis(row, decision.diagnosis):
                self._report_already_stored(row)
                return None
            storing = lesion.mask_digest if review is None else session.review.storing_digest
            session.review = replace(session.review, request=request, storing_digest=storing)
            return lambda run: store_result(folder, result, name, decision)

        self._controller.store("store", session, prepare, partial(self._on_stored, session))

    def _make_decision(self, session: OpenPhotograph, review: Review) -> ReviewDecision:
        reviewer, patient = self.settings.reviewer, session.workspace.find_patient_id(session.path)
        cleared = photographs.list_cleared(session.image)
        return ReviewDecision(
            review, reviewer, session.review.diagnosis, session.path, patient=patient, cleared=cleared
        )

    def _on_stored(self, session: OpenPhotograph, stored: StoredCorrection) -> None:
        review = session.review
        session.review = replace(
            review,
            diagnosis=review.diagnosis or None,  # cleared only once, so that a later diagnosis by others is kept
            folder=stored.index.folder,
            image_id=stored.image_id,
            row=stored.row,
            storing_digest="",
            stored_digest=review.storing_digest or review.stored_digest,
        )
        self.store.set_stored(stored)
        self._report_stored(f"{shorten_name(stored.image_id)} stored as {stored.review}", stored.index)
        self.stored.emit(session, stored)

    def _report_already_stored(self, row: Mapping[str, str]) -> None:
        self._report_stored(f"{shorten_name(row['image_id'])} is already stored as {row['review']}", self.store.index)

    def _report_stored(self, message: str, index: CorrectionsIndex) -> None:
        """Report that a photograph is stored, with a link to training."""
        train = f" {self._icons.link('train', 'Train on them')}." if index.total else ""
        self._status.end("storing", f"{message} in {self._describe_folder(index)}{train}")

    def _describe_folder(self, index: CorrectionsIndex) -> str:
        """Return a link to a folder and its number of images; another folder may be selected by now."""
        folder_link = self._icons.link(index.folder.as_uri(), index.folder.name)
        return f"{folder_link}: {format_count(index.total, 'image')} with masks."

    def _on_index(self) -> None:
        """Keep corrections for recovery whose mask was removed or replaced by another window or program."""
        index = self.store.index
        for session in self._sessions:
            row = session.review.row
            if not row or session.review.folder != index.folder or not self.store.is_current:
                continue
            if index.rows.get(row["image_sha256"], {}).get("mask_path") != row["mask_path"]:
                session.review = replace(session.review, row={}, stored_digest="")
                self._controller.set_unsaved(session)

    def _on_undone(self, change: CorrectionChange | None, index: CorrectionsIndex) -> None:
        if change is None:
            self._status.show_briefly("Nothing to undo.")
            return
        image_id = change.image_id
        for session in self._sessions:
            if _is_undone(session, image_id, index):
                session.review = replace(session.review, folder=None, diagnosis=None, stored_digest="")
                self._controller.set_unsaved(session)
        self.reset()
        self._status.show_message(f"Undid the last change of {image_id} in {self._describe_folder(index)}")

    def _on_failed(self, error: Exception) -> None:
        self._status.end("storing")
        self.reset()
        self.failed.emit(error)


def has_diagnosis(row: Mapping[str, str], diagnosis: str | None) -> bool:
    """Whether storing a diagnosis leaves that of a row as it is; None keeps it."""
    return diagnosis is None or " ".join(diagnosis.split()) == row.get("diagnosis", "")


def _is_undone(session: OpenPhotograph, image_id: str, index: CorrectionsIndex) -> bool:
    """Whether the change of a row that was undone was made by storing this photograph.

    ``index``: the rows afterwards; that of a photograph that was stored once is missing.
    """
    lesion, review = session.masked_lesion, session.review
    if review.folder != index.folder:
        return False
    if lesion is None:
        return review.image_id == image_id
    return index.rows.get(lesion.image_digest, {}).get("image_id", image_id) == image_id
