"""The Corrections section of a photograph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QAbstractButton, QMessageBox, QWidget

from napari_melanoma.ui.sections import PhotographSection
from napari_melanoma.ui.sections.corrections.resolve import resolve_corrections
from napari_melanoma.ui.sections.corrections.view import CorrectionsBar
from napari_melanoma.ui.widgets.dialogs import create_question

if TYPE_CHECKING:
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.session.photograph_services import HostedPhotograph


class CorrectionsSection(PhotographSection):
    """Stores a photograph in the corrections folder, after a question if it has lesions outside the mask."""

    tools = ("correct",)

    def open(self, session: HostedPhotograph) -> QWidget:
        """Show the review state of a photograph."""
        self._session, self._corrections = session, session.services.corrections
        corrections = self._corrections
        self._bar = CorrectionsBar(corrections.settings, session.services.icons)
        self._bar.add_requested.connect(self.add)
        self._bar.reject_requested.connect(partial(corrections.reject, session))
        self._bar.undo_requested.connect(corrections.store.undo)
        self._bar.folder_chosen.connect(corrections.set_folder)
        self._bar.diagnosis_changed.connect(partial(corrections.set_diagnosis, session))
        corrections.store.changed.connect(self._update)
        for signal in (session.shown, session.events.review, session.services.hidden.changed):
            signal.connect(self._update)
        self._update()
        return self._bar

    def close(self) -> None:
        """Stop following the photograph."""
        self._corrections.store.changed.disconnect(self._update)
        for signal in (self._session.shown, self._session.events.review, self._session.services.hidden.changed):
            signal.disconnect(self._update)
        del self._session, self._corrections, self._bar

    def toggle_tool(self, name: str) -> None:
        """Store the photograph by its keyboard shortcut."""
        self._bar.add_button.click()

    def add(self) -> None:
        """Store the photograph with its current mask."""
        lesion, review = self._session.masked_lesion, self._session.review
        if lesion is None:
            return
        is_confirmed = review.confirmed_digest == lesion.mask_digest
        if lesion.result.other_masks and not is_confirmed:
            callback = partial(self._corrections.confirm, self._session, lesion.mask_digest)
            confirm_other_lesions(self._bar, lesion.result, callback)
        else:
            self._corrections.add(self._session, with_others=review.with_others and is_confirmed)

    def _update(self, _: object = None) -> None:
        session, store = self._session, self._corrections.store
        stored_row = self._corrections.find_row(session)
        self._bar.set_folder(store.folder, store.index.total)
        self._bar.set_stored_row(stored_row)
        self._bar.set_diagnoses(store.index.diagnoses)
        hidden = session.services.hidden.value
        self._bar.show_view(resolve_corrections(session.masked_lesion, session.review, stored_row, hidden))


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
