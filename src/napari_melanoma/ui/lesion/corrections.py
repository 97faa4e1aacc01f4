"""Store the photograph in view in the corrections folder, after questions where needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QAbstractButton, QMessageBox, QWidget

from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.lesion.corrections_bar import StoreStage
from napari_melanoma.ui.lesion.corrections_store import (
    CorrectionsIndex,
    CorrectionsStore,
    ReviewDecision,
    StoredCorrection,
    store_result,
)
from napari_melanoma.ui.viewer.photographs import get_path
from napari_melanoma.ui.widgets.dialogs import create_question

if TYPE_CHECKING:
    from napari_melanoma.data.dataset import Review
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.lesion.analyzed_lesions import AnalyzedLesion
    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.lesion.result_updates import LesionController
    from napari_melanoma.ui.widgets.job import JobFunction


class StoreKey(NamedTuple):
    """Identifies a request to store a photograph; an equal request would store the same again."""

    mask_digest: str
    review: str
    with_others: bool
    diagnosis: str
    reviewer: str
    folder: Path


class LesionCorrectionsController(QObject):
    """Handles the corrections bar: stores photographs with their masks; repeated requests are ignored."""

    stored = Signal(str, object)  # identity of the photograph, StoredCorrection
    failed = Signal(object)  # Exception

    def __init__(self, controls: LesionControls, controller: LesionController) -> None:
        super().__init__(controls)
        self._controls = controls
        self._controller = controller
        self._bar = controls.corrections_bar
        self._diagnoses: dict[str, str] = {}
        self._last_keys: dict[str, StoreKey] = {}
        self._stored: dict[str, StoredCorrection] = {}
        self._folders: dict[str, Path] = {}  # the folder in which each photograph was stored last, unless undone
        self._storing: dict[str, str] = {}  # digest of the mask that is being stored, by photograph
        self._stored_digests: dict[str, str] = {}  # digest of the mask that was stored last
        self._confirmed_others: dict[str, tuple[str, bool]] = {}  # mask digest, and whether to include other lesions
        self.corrections_store = CorrectionsStore(controls.review_settings, self)
        self.corrections_store.changed.connect(self.update_view)
        self.corrections_store.undone.connect(self._on_undone)
        self.corrections_store.failed.connect(self._on_failed)
        self._bar.add_requested.connect(self.add)
        self._bar.reject_requested.connect(self.reject)
        self._bar.undo_requested.connect(self.corrections_store.undo)
        self._bar.folder_chosen.connect(self._on_folder)
        self._bar.diagnosis_changed.connect(self._on_diagnosis)

    def update_view(self) -> None:
        """Show the review state of the photograph in view, and how it is stored."""
        identity = self._controls.picker.identity
        lesion = self._lesion(identity)
        stored_row = None if lesion is None else self.corrections_store.index.rows.get(lesion.image_digest)
        state = None if lesion is None else "corrected" if lesion.is_user_edited else "accepted"
        self._bar.set_photograph(state, identity is not None, self._store_stage(str(identity), lesion, state))
        self._bar.set_folder(self.corrections_store.folder, self.corrections_store.index.total)
        self._bar.set_stored_row(stored_row)
        self._bar.set_diagnoses(self.corrections_store.index.diagnoses)
        stored_diagnosis = "" if stored_row is None else stored_row.get("diagnosis", "")
        self._bar.blockSignals(True)
        self._bar.set_diagnosis(self._diagnoses.get(str(identity), stored_diagnosis))
        self._bar.blockSignals(False)

    def _store_stage(self, identity: str, lesion: AnalyzedLesion | None, state: str | None) -> StoreStage:
        """Return whether the current mask of a photograph is stored, is being stored, or is not stored."""
        if identity in self._storing:
            return "storing"
        row = None if lesion is None else self.corrections_store.index.rows.get(lesion.image_digest)
        if lesion is None or row is None or row.get("review") != state:
            return "open"
        is_stored = not lesion.is_user_edited or self._stored_digests.get(identity) == lesion.mask_digest
        return "stored" if is_stored else "open"

    def add(self) -> None:
        """Store the photograph in view with its current mask."""
        identity = self._controls.picker.identity
        lesion = self._lesion(identity)
        if identity is None or lesion is None or not self._bar.add_button.isEnabled():
            return
        digest, with_others = self._confirmed_others.get(identity, ("", False))
        if not lesion.result.other_masks or digest == lesion.mask_digest:
            self._store(identity, with_others=with_others and digest == lesion.mask_digest)
        else:
            confirm_other_lesions(
                self._controls, lesion.result, partial(self._on_others_confirmed, identity, lesion.mask_digest)
            )

    def _on_others_confirmed(self, identity: str, digest: str, with_others: bool) -> None:
        """Store the photograph with or without the other lesions, unless the mask changed in the meantime."""
        lesion = self._lesion(identity)
        if lesion is not None and lesion.mask_digest == digest:
            self._confirmed_others[identity] = (digest, with_others)
            self._store(identity, with_others=with_others)

    def reject(self) -> None:
        """Store the photograph in view as rejected; it need not be analyzed."""
        identity = self._controls.picker.identity
        if identity is None:
            return
        if self._lesion(identity) is not None:
            self._store(identity, "rejected")
            return
        source = self._controller.store.source(identity)
        if source is not None:
            self._controls.status.begin("storing", "Storing ...")
            decision = self._make_decision(identity, "rejected")._replace(keep_mask=True)
            self.corrections_store.reject(source, decision, partial(self._on_stored, identity))

    def reset(self) -> None:
        """Clear the record of requests, so that they can be repeated, for example after an error."""
        self._last_keys.clear()
        self._stored.clear()
        self._storing.clear()
        self.update_view()

    def _store(self, identity: str, review: Review | None = None, *, with_others: bool = False) -> None:
        self._controls.status.begin("storing", "Storing ...")

        def prepare(lesion: AnalyzedLesion) -> JobFunction | None:
            image = self._controller.store.image(identity)
            decision = self._make_decision(identity, review or ("corrected" if lesion.is_user_edited else "accepted"))
            if review == "rejected" and not lesion.unsaved:
                decision = decision._replace(keep_mask=True)
            decision = decision._replace(with_others=with_others)
            folder, diagnosis = self.corrections_store.folder, decision.diagnosis or ""
            key = StoreKey(lesion.mask_digest, decision.review, with_others, diagnosis, decision.reviewer, folder)
            if self._last_keys.get(identity) == key or image is None:
                self._report_already_stored(identity)
                return None
            self._last_keys[identity] = key
            if review is None:
                self._storing[identity] = lesion.mask_digest
                self.update_view()
            result, name = lesion.result, image.name
            return lambda run: store_result(folder, result, name, decision)

        self._controller.submit_save("store", identity, prepare, partial(self._on_stored, identity))

    def _lesion(self, identity: str | None) -> AnalyzedLesion | None:
        """Return the analyzed lesion of a photograph; None if it was not analyzed or its mask was removed."""
        has_mask = identity is not None and self._controller.store.mask(identity) is not None
        return self._controller.store.lesions[str(identity)] if has_mask else None

    def _make_decision(self, identity: str, review: Review) -> ReviewDecision:
        image = self._controller.store.image(identity)
        settings = self._controls.review_settings
        if identity == self._controls.picker.identity and self._bar.diagnosis:
            settings.add_recent_diagnosis(self._bar.diagnosis)
            self._diagnoses[identity] = self._bar.diagnosis
        return ReviewDecision(review, settings.reviewer, self._diagnoses.get(identity), get_path(image))

    def _on_stored(self, identity: str, stored: StoredCorrection) -> None:
        if not self._diagnoses.get(identity):
            self._diagnoses.pop(identity, None)  # cleared only once, so that a later diagnosis by others is kept
        self._stored[identity] = stored
        self._folders[identity] = stored.index.folder
        if identity in self._storing:
            self._stored_digests[identity] = self._storing.pop(identity)
        self.corrections_store.set_stored(stored)
        self._report_stored(f"{stored.image_id} stored as {stored.review}", stored.index)
        self.stored.emit(identity, stored)

    def _report_already_stored(self, identity: str) -> None:
        """Report that the photograph is already stored."""
        stored = self._stored.get(identity)
        if stored is None:
            self._controls.status.end("storing")
        else:
            self._report_stored(f"{stored.image_id} is already stored as {stored.review}", self.corrections_store.index)

    def _report_stored(self, message: str, index: CorrectionsIndex) -> None:
        """Report that a photograph is stored, with a link to training."""
        train = f" {self._controls.icons.link('train', 'Train on them')}." if index.total else ""
        self._controls.status.end("storing", f"{message} in {self._describe_folder(index)}{train}")

    def _describe_folder(self, index: CorrectionsIndex) -> str:
        """Return a link to a folder and its number of images; another folder may be selected by now."""
        folder_link = self._controls.icons.link(index.folder.as_uri(), index.folder.name)
        return f"{folder_link}: {format_count(index.total, 'image')} with masks in total."

    def _on_undone(self, image_id: str | None, index: CorrectionsIndex) -> None:
        for identity in [identity for identity, folder in self._folders.items() if folder == index.folder]:
            lesion = self._lesion(identity)
            stored_row = {} if lesion is None else index.rows.get(lesion.image_digest, {})
            if stored_row.get("image_id", image_id) != image_id:
                continue
            del self._folders[identity]
            if lesion is not None and lesion.corrected:
                lesion.unsaved = True  # the corrections are no longer stored elsewhere
                self._controller.autosave.save(identity, self._controller.store)
        self.reset()
        self._diagnoses.clear()
        self._stored_digests.clear()
        self.update_view()
        message = f"Undid the last change of {image_id} in {self._describe_folder(index)}"
        self._controls.status.show_message(message if image_id else "Nothing to undo.")

    def _on_failed(self, error: Exception) -> None:
        self._controls.status.end("storing")
        self.reset()
        self.failed.emit(error)

    def _on_folder(self, folder: Path) -> None:
        self.reset()
        self._stored_digests.clear()
        self.corrections_store.folder = folder

    def _on_diagnosis(self, diagnosis: str) -> None:
        identity = self._controls.picker.identity
        if identity is not None:
            self._diagnoses[identity] = diagnosis.strip()


INCLUDE_OTHERS, NO_LESIONS = "include_others", "no_lesions"


def confirm_other_lesions(parent: QWidget, result: LesionResult, callback: Callable[[bool], None]) -> None:
    """Ask whether to include the other lesions before storing a photograph.

    Stored as background, they would harm training. ``callback``: called with whether to include them, unless the user
    cancels.
    """
    others = len(result.other_masks)
    pronoun, noun = ("it", "lesion") if others == 1 else ("them", "lesions")
    details = (
        f"{others} other {noun} found (thin outlines) would be stored as background, so that models trained on "
        f"this photograph tend to miss {pronoun}. Include {pronoun} if the outlines are correct, or correct the mask "
        "first."
    )
    box = create_question(parent, "other_lesions", "The mask does not contain all lesions", details)
    box.addButton("Include all", QMessageBox.ButtonRole.AcceptRole).setObjectName(INCLUDE_OTHERS)
    box.addButton("Not lesions", QMessageBox.ButtonRole.DestructiveRole).setObjectName(NO_LESIONS)
    box.setDefaultButton(box.addButton("Do not store", QMessageBox.ButtonRole.RejectRole))

    def on_clicked(button: QAbstractButton) -> None:
        if button.objectName() in (INCLUDE_OTHERS, NO_LESIONS):
            callback(button.objectName() == INCLUDE_OTHERS)

    box.buttonClicked.connect(on_clicked)
    box.finished.connect(box.deleteLater)
    box.open()
