"""Storing open photographs in the corrections folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.session.corrections_store import CorrectionsStore, ReviewDecision, ReviewSettings, store_result
from napari_melanoma.ui.session.photograph import PhotographSession, StoreKey

if TYPE_CHECKING:
    from pathlib import Path

    from napari_melanoma.data.dataset import Review
    from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
    from napari_melanoma.ui.session.corrections_store import CorrectionsIndex, StoredCorrection
    from napari_melanoma.ui.session.lesion_updates import LesionController
    from napari_melanoma.ui.widgets.job import JobFunction
    from napari_melanoma.ui.widgets.status_line import StatusLine
    from napari_melanoma.ui.widgets.style import ThemedIcons


class PhotographCorrections(QObject):
    """Stores photographs with their masks and diagnoses; repeated requests are ignored."""

    stored = Signal(object, object)  # PhotographSession, StoredCorrection
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
        self.store.undone.connect(self._on_undone)
        self.store.failed.connect(self._on_failed)

    def find_row(self, session: PhotographSession) -> Mapping[str, str] | None:
        """Return the row of a photograph in the corrections table; None if it is not stored or not analyzed."""
        lesion = session.masked_lesion
        return None if lesion is None else self.store.index.rows.get(lesion.image_digest)

    def set_diagnosis(self, session: PhotographSession, diagnosis: str) -> None:
        """Set the diagnosis of a photograph, which is stored with its mask."""
        session.review = replace(session.review, diagnosis=diagnosis.strip())

    def confirm(self, session: PhotographSession, digest: str, with_others: bool) -> None:
        """Store a photograph with or without its other lesions, unless the mask changed in the meantime.

        ``digest``: of the mask for which the user has decided.
        """
        lesion = session.masked_lesion
        if lesion is not None and lesion.mask_digest == digest:
            session.review = replace(session.review, confirmed_digest=digest, with_others=with_others)
            self.add(session, with_others=with_others)

    def add(self, session: PhotographSession, *, with_others: bool = False) -> None:
        """Store a photograph with its current mask; ``with_others``: also the lesions outside the mask."""
        self._submit(session, None, with_others=with_others)

    def reject(self, session: PhotographSession) -> None:
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
            session.review = replace(session.review, request=None, stored=None, storing_digest="")

    def set_folder(self, folder: Path) -> None:
        """Select another corrections folder in all docks."""
        for session in self._sessions:
            session.review = replace(session.review, stored_digest="")
        self.reset()
        self.store.folder = folder

    def _submit(self, session: PhotographSession, review: Review | None, *, with_others: bool = False) -> None:
        self._status.begin("storing", "Storing ...")

        def prepare(lesion: AnalyzedLesion) -> JobFunction | None:
            decision = self._make_decision(session, review or ("corrected" if lesion.is_user_edited else "accepted"))
            if review == "rejected" and not lesion.unsaved:
                decision = decision._replace(keep_mask=True)
            decision = decision._replace(with_others=with_others)
            folder, diagnosis = self.store.folder, decision.diagnosis or ""
            key = StoreKey(lesion.mask_digest, decision.review, with_others, diagnosis, decision.reviewer, folder)
            if session.review.request == key or not session.is_open:
                self._report_already_stored(session.review.stored)
                return None
            storing = lesion.mask_digest if review is None else session.review.storing_digest
            session.review = replace(session.review, request=key, storing_digest=storing)
            result, name = lesion.result, session.name
            return lambda run: store_result(folder, result, name, decision)

        self._controller.store("store", session, prepare, partial(self._on_stored, session))

    def _make_decision(self, session: PhotographSession, review: Review) -> ReviewDecision:
        return ReviewDecision(review, self.settings.reviewer, session.review.diagnosis, session.path)

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
        self.store.set_stored(stored)
        self._report_stored(f"{stored.image_id} stored as {stored.review}", stored.index)
        self.stored.emit(session, stored)

    def _report_already_stored(self, stored: StoredCorrection | None) -> None:
        """Report that the photograph is already stored."""
        if stored is None:
            self._status.end("storing")
        else:
            self._report_stored(f"{stored.image_id} is already stored as {stored.review}", self.store.index)

    def _report_stored(self, message: str, index: CorrectionsIndex) -> None:
        """Report that a photograph is stored, with a link to training."""
        train = f" {self._icons.link('train', 'Train on them')}." if index.total else ""
        self._status.end("storing", f"{message} in {self._describe_folder(index)}{train}")

    def _describe_folder(self, index: CorrectionsIndex) -> str:
        """Return a link to a folder and its number of images; another folder may be selected by now."""
        folder_link = self._icons.link(index.folder.as_uri(), index.folder.name)
        return f"{folder_link}: {format_count(index.total, 'image')} with masks in total."

    def _on_undone(self, image_id: str | None, index: CorrectionsIndex) -> None:
        if image_id is None:
            self._status.show_briefly("Nothing to undo.")
            return
        for session in self._sessions:
            if _is_undone(session, image_id, index):
                session.review = replace(session.review, folder=None, diagnosis=None, stored_digest="")
                lesion = session.masked_lesion
                if lesion is not None and lesion.corrected:
                    self._controller.set_unsaved(session)
        self.reset()
        self._status.show_message(f"Undid the last change of {image_id} in {self._describe_folder(index)}")

    def _on_failed(self, error: Exception) -> None:
        self._status.end("storing")
        self.reset()
        self.failed.emit(error)


def _is_undone(session: PhotographSession, image_id: str, index: CorrectionsIndex) -> bool:
    """Whether the change of a row that was undone was made by storing this photograph.

    ``index``: the rows afterwards; that of a photograph that was stored once is missing.
    """
    lesion, review = session.masked_lesion, session.review
    if review.folder != index.folder:
        return False
    if lesion is None:
        return review.stored is not None and review.stored.image_id == image_id
    return index.rows.get(lesion.image_digest, {}).get("image_id", image_id) == image_id
