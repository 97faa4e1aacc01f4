"""Store the photograph in view in the corrections folder, after questions where needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QAbstractButton, QMessageBox, QWidget

from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.session.corrections_store import (
    CorrectionsIndex,
    CorrectionsStore,
    ReviewDecision,
    StoredCorrection,
    store_result,
)
from napari_melanoma.ui.session.photograph import PhotographSession, ReviewState, StoreKey
from napari_melanoma.ui.widgets.dialogs import create_question

if TYPE_CHECKING:
    from pathlib import Path

    from napari_melanoma.data.dataset import Review
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.lesion.corrections_bar import StoreStage
    from napari_melanoma.ui.lesion.result_updates import LesionController
    from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
    from napari_melanoma.ui.widgets.job import JobFunction


class LesionCorrectionsController(QObject):
    """Handles the corrections bar: stores photographs with their masks; repeated requests are ignored."""

    stored = Signal(object, object)  # PhotographSession, StoredCorrection
    failed = Signal(object)  # Exception

    def __init__(self, controls: LesionControls, controller: LesionController) -> None:
        super().__init__(controls)
        self._controls = controls
        self._controller = controller
        self._bar = controls.corrections_bar
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
        session, index = self._controls.picker.session, self.corrections_store.index
        lesion = None if session is None else session.masked_lesion
        review = ReviewState() if session is None else session.review
        stored_row = None if lesion is None else index.rows.get(lesion.image_digest)
        state = None if lesion is None else "corrected" if lesion.is_user_edited else "accepted"
        self._bar.set_photograph(state, session is not None, find_stage(lesion, review, stored_row))
        self._bar.set_folder(self.corrections_store.folder, index.total)
        self._bar.set_stored_row(stored_row)
        self._bar.set_diagnoses(index.diagnoses)
        stored_diagnosis = "" if stored_row is None else stored_row.get("diagnosis", "")
        self._bar.blockSignals(True)
        self._bar.set_diagnosis(stored_diagnosis if review.diagnosis is None else review.diagnosis)
        self._bar.blockSignals(False)

    def add(self) -> None:
        """Store the photograph in view with its current mask."""
        session = self._controls.picker.session
        lesion = None if session is None else session.masked_lesion
        if session is None or lesion is None or not self._bar.add_button.isEnabled():
            return
        is_confirmed = session.review.confirmed_digest == lesion.mask_digest
        if not lesion.result.other_masks or is_confirmed:
            self._store(session, with_others=session.review.with_others and is_confirmed)
        else:
            confirm_other_lesions(
                self._controls, lesion.result, partial(self._on_others_confirmed, session, lesion.mask_digest)
            )

    def _on_others_confirmed(self, session: PhotographSession, digest: str, with_others: bool) -> None:
        """Store the photograph with or without the other lesions, unless the mask changed in the meantime."""
        lesion = session.masked_lesion
        if lesion is not None and lesion.mask_digest == digest:
            session.review = replace(session.review, confirmed_digest=digest, with_others=with_others)
            self._store(session, with_others=with_others)

    def reject(self) -> None:
        """Store the photograph in view as rejected; it need not be analyzed."""
        session = self._controls.picker.session
        if session is None:
            return
        if session.masked_lesion is not None:
            self._store(session, "rejected")
            return
        self._controls.status.begin("storing", "Storing ...")
        decision = self._make_decision(session, "rejected")._replace(keep_mask=True)
        self.corrections_store.reject(session.source, decision, partial(self._on_stored, session))

    def reset(self) -> None:
        """Clear the record of requests, so that they can be repeated, for example after an error."""
        for session in self._controls.sessions:
            session.review = replace(session.review, request=None, stored=None, storing_digest="")
        self.update_view()

    def _store(self, session: PhotographSession, review: Review | None = None, *, with_others: bool = False) -> None:
        self._controls.status.begin("storing", "Storing ...")

        def prepare(lesion: AnalyzedLesion) -> JobFunction | None:
            decision = self._make_decision(session, review or ("corrected" if lesion.is_user_edited else "accepted"))
            if review == "rejected" and not lesion.unsaved:
                decision = decision._replace(keep_mask=True)
            decision = decision._replace(with_others=with_others)
            folder, diagnosis = self.corrections_store.folder, decision.diagnosis or ""
            key = StoreKey(lesion.mask_digest, decision.review, with_others, diagnosis, decision.reviewer, folder)
            if session.review.request == key or not session.is_open:
                self._report_already_stored(session.review.stored)
                return None
            session.review = replace(session.review, request=key)
            if review is None:
                session.review = replace(session.review, storing_digest=lesion.mask_digest)
                self.update_view()
            result, name = lesion.result, session.name
            return lambda run: store_result(folder, result, name, decision)

        self._controller.submit_save("store", session, prepare, partial(self._on_stored, session))

    def _make_decision(self, session: PhotographSession, review: Review) -> ReviewDecision:
        settings = self._controls.review_settings
        if session is self._controls.picker.session and self._bar.diagnosis:
            settings.add_recent_diagnosis(self._bar.diagnosis)
            session.review = replace(session.review, diagnosis=self._bar.diagnosis)
        return ReviewDecision(review, settings.reviewer, session.review.diagnosis, session.path)

    def _on_stored(self, session: PhotographSession, stored: StoredCorrection) -> None:
        review = session.review
        session.review = replace(
            review,
            diagnosis=review.diagnosis or None,  # cleared only once, so that a later diagnosis by others is kept
            stored=stored,
            folder=stored.index.folder,
            storing_digest="",
            stored_digest=review.storing_digest or review.stored_digest,
        )
        self.corrections_store.set_stored(stored)
        self._report_stored(f"{stored.image_id} stored as {stored.review}", stored.index)
        self.stored.emit(session, stored)

    def _report_already_stored(self, stored: StoredCorrection | None) -> None:
        """Report that the photograph is already stored."""
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
        for session in self._controls.sessions:
            lesion, review = session.masked_lesion, session.review
            stored_row = {} if lesion is None else index.rows.get(lesion.image_digest, {})
            if review.folder == index.folder and stored_row.get("image_id", image_id) == image_id:
                review = replace(review, folder=None)
                if lesion is not None and lesion.corrected:
                    session.lesion = replace(lesion, unsaved=True)  # the corrections are no longer stored elsewhere
                    self._controller.autosave.save(session)
            session.review = replace(review, diagnosis=None, stored_digest="")
        self.reset()
        message = f"Undid the last change of {image_id} in {self._describe_folder(index)}"
        self._controls.status.show_message(message if image_id else "Nothing to undo.")

    def _on_failed(self, error: Exception) -> None:
        self._controls.status.end("storing")
        self.reset()
        self.failed.emit(error)

    def _on_folder(self, folder: Path) -> None:
        for session in self._controls.sessions:
            session.review = replace(session.review, stored_digest="")
        self.reset()
        self.corrections_store.folder = folder

    def _on_diagnosis(self, diagnosis: str) -> None:
        session = self._controls.picker.session
        if session is not None:
            session.review = replace(session.review, diagnosis=diagnosis.strip())


def find_stage(lesion: AnalyzedLesion | None, review: ReviewState, stored_row: Mapping[str, str] | None) -> StoreStage:
    """Return whether the current mask of a photograph is stored, is being stored, or is not stored.

    ``stored_row``: the row of the photograph in the corrections table; None if there is none.
    """
    if review.storing_digest:
        return "storing"
    if lesion is None or stored_row is None:
        return "open"
    state = "corrected" if lesion.is_user_edited else "accepted"
    is_stored = not lesion.is_user_edited or review.stored_digest == lesion.mask_digest
    return "stored" if is_stored and stored_row.get("review") == state else "open"


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
