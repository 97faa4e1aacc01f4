"""The Corrections section of a photograph: store it with its mask and diagnosis for training, or reject it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, cast

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QCompleter,
    QInputDialog,
    QLabel,
    QMenu,
    QMessageBox,
    QPushButton,
    QToolButton,
    QWidget,
)
from superqt import QElidingLabel

from napari_melanoma.core.formatting import format_time_ago
from napari_melanoma.data.dataset import Review
from napari_melanoma.ui.sections.base import PhotographSection
from napari_melanoma.ui.session.corrections_store import DIAGNOSES, TRAINING_REVIEWS, is_change_of
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.dialogs import choose_folder, confirm, create_question
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import enable, named, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.data.corrections import CorrectionChange
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
    from napari_melanoma.ui.session.open_photograph import ReviewState
    from napari_melanoma.ui.session.photograph import PhotographSession

ADD_KEY = format_key("lesion.correct")
ADD_TIP = f"Store photograph, mask and diagnosis for training ({ADD_KEY}). {{}}"
REJECT_TIP = "Store the photograph as rejected. It is not used for training."
UNDO_TIP = "Undo the last change of the corrections. You are asked first if it is of another photograph."
NOT_ANALYZED_TIP = "Analyze a photograph first"
DIAGNOSIS_TIP = "Choose a diagnosis, or type a part of its name to search. Leave empty if unknown."
USED_MOST, LISTED = 10, 12  # diagnoses at the top of the list, and without scrolling
STATE_TIPS: dict[Review | None, str] = {
    None: "",
    "accepted": "The predicted mask is unchanged: accepted.",
    "corrected": "The mask was changed: corrected. The predicted mask is stored with it.",
}
REFRESH_MS = 30_000  # update interval of texts such as "2 minutes ago"
INCLUDE_OTHERS, NO_LESIONS = "include_others", "no_lesions"


class CorrectionsSection(PhotographSection):
    """The diagnosis, the review state, and buttons to store, reject and undo, which do not move."""

    tools = ("correct",)

    def __init__(self, session: PhotographSession) -> None:
        super().__init__(session)
        self._corrections = corrections = session.services.corrections
        self._settings = corrections.settings
        self._confirmed = "", False  # digest of the mask for which the user has answered, and the answer
        self._diagnosis_combo = self._create_diagnosis_combo()
        self._state_label = QElidingLabel()
        named(self._state_label, "review_state", "Review state").setProperty("quiet", True)
        self._add_button = named(QPushButton("Add to corrections"), "add_correction", "Add to corrections")
        self._reject_button = tool_button("reject", "Reject", REJECT_TIP, "Reject")
        self._undo_button = tool_button("undo_correction", "Undo the last change", UNDO_TIP, "Undo")
        buttons = self._add_button, self._reject_button, self._create_menu_button()
        self.add(
            row(QLabel("Diagnosis"), self._diagnosis_combo, self._undo_button, stretch=1),
            row(*buttons, self._state_label, stretch=3),
        )
        self._age_timer = QTimer(self)
        self._age_timer.setInterval(REFRESH_MS)
        self._age_timer.timeout.connect(self._update_age)
        self._add_button.clicked.connect(self._on_add)
        self._reject_button.clicked.connect(lambda: corrections.reject(session))
        self._undo_button.clicked.connect(
            lambda: corrections.store.undo(partial(is_change_of, session.source), self._confirm_undo)
        )
        services, events = session.services, session.events
        for signal in (corrections.store.changed, session.shown, events.review, services.hidden.changed):
            self.follow(signal, self._update)
        self.follow(session.displayed.changed, self._on_displayed)
        self._update()
        self._on_displayed()

    def _on_displayed(self) -> None:
        """Keep texts such as "2 minutes ago" up to date while they can be seen."""
        if self.session.displayed.value:
            self._update_age()
            self._age_timer.start()
        else:
            self._age_timer.stop()

    def toggle_tool(self, name: str) -> None:
        """Store the photograph by its keyboard shortcut."""
        self._add_button.click()

    def _on_add(self) -> None:
        """Store the photograph, once what is stated about its lesions is that of the current mask."""
        session, lesion = self.session, self.session.masked_lesion
        if session.is_mask_changing:
            session.services.controller.when_followed(session, self._add)
        elif lesion is not None:
            self._add(lesion)

    def _add(self, lesion: AnalyzedLesion) -> None:
        """Store the photograph with its mask, after a question if it has lesions outside it, or a user's is stored."""
        stored_row = self._corrections.find_row(self.session)
        is_own = lesion.is_user_edited or bool(self.session.review.stored_digest)
        if stored_row is not None and is_mask_of_user(stored_row) and not is_own:
            confirm_stored_mask(self, self.session.name, stored_row, partial(self._on_kept, lesion.mask_digest))
        else:
            self._add_mask(lesion)

    def _on_kept(self, digest: str, review: Review | None) -> None:
        """Keep the stored mask with its review, or replace it, unless the mask has changed since the question."""
        lesion = self.session.masked_lesion
        if lesion is None or lesion.mask_digest != digest:
            return
        if review is not None:
            self._corrections.keep_mask(self.session, review)
        else:
            self._add_mask(lesion)

    def _add_mask(self, lesion: AnalyzedLesion) -> None:
        digest, with_others = self._confirmed
        is_confirmed = digest == lesion.mask_digest
        if lesion.result.other_masks and not is_confirmed:
            confirm_other_lesions(self, lesion.result, partial(self._on_confirmed, lesion.mask_digest))
        else:
            self._corrections.add(self.session, with_others=with_others and is_confirmed)

    def _confirm_undo(self, change: CorrectionChange) -> bool:
        """Ask before the last change is undone, which is not one of this photograph; no if it was closed meanwhile."""
        if not self.session.is_open:
            return False
        return confirm_undo(self, change, self.session.name, "Lesion")

    def _on_confirmed(self, digest: str, with_others: bool) -> None:
        """Store the photograph with or without its other lesions, unless the mask has changed since the question."""
        lesion = self.session.masked_lesion
        if lesion is not None and lesion.mask_digest == digest:
            self._confirmed = digest, with_others
            self._corrections.add(self.session, with_others=with_others)

    def _update(self) -> None:
        session, store = self.session, self._corrections.store
        lesion, review, hidden = session.masked_lesion, session.review, session.services.hidden.value
        stored_row = self._corrections.find_row(session)
        self._folder_action.setText(f"Corrections folder ({store.index.total})...")
        self._folder_action.setToolTip(str(store.folder))
        self._undo_button.setEnabled(store.folder.is_dir())
        state = find_review(lesion)
        text = describe_state(lesion, review, stored_row) or (stored_row or {}).get("review", "")
        self._state_label.setText(text)
        tip = ADD_TIP.format(STATE_TIPS[state])
        enable(self._add_button, tip, hidden or (NOT_ANALYZED_TIP if state is None else ""))
        enable(self._reject_button, REJECT_TIP, hidden)
        self._update_diagnoses(find_diagnosis(review, stored_row))
        self._update_age()

    def _update_diagnoses(self, diagnosis: str) -> None:
        """List diagnoses: those used most, common ones, and all others in the corrections; show the photograph's."""
        box = self._diagnosis_combo
        index = self._corrections.store.index
        words = list(dict.fromkeys(["", *index.list_most_used(USED_MOST), *DIAGNOSES, *index.diagnoses]))
        box.blockSignals(True)
        if words != [box.itemText(index) for index in range(box.count())]:
            current = box.currentText()
            box.clear()
            box.addItems(words)
            box.setEditText(current)
        if diagnosis != box.currentText().strip():
            box.setEditText(diagnosis)
        box.blockSignals(False)
        self._show_start()

    def _show_start(self) -> None:
        """Show the start of a diagnosis that is wider than the box, unless the user edits it."""
        line = self._diagnosis_combo.lineEdit()
        if not line.isModified() and not line.hasFocus():
            line.setCursorPosition(0)

    def _update_age(self) -> None:
        stored_row = self._corrections.find_row(self.session)
        stored = "" if stored_row is None else describe_correction(stored_row, time.time())
        tip = STATE_TIPS[find_review(self.session.masked_lesion)]
        self._state_label.setToolTip("\n".join(filter(None, (stored, tip))))

    def _on_diagnosis(self, diagnosis: str) -> None:
        self._corrections.set_diagnosis(self.session, diagnosis)

    def _create_diagnosis_combo(self) -> QComboBox:
        box = named(NoWheelComboBox(), "diagnosis", "Diagnosis", DIAGNOSIS_TIP)
        box.setEditable(True)
        box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        box.setMinimumContentsLength(8)
        box.setMaxVisibleItems(LISTED)
        box.completer().setFilterMode(Qt.MatchFlag.MatchContains)  # typing searches the list
        box.completer().setCompletionMode(QCompleter.CompletionMode.PopupCompletion)
        box.lineEdit().setPlaceholderText("unknown")
        box.lineEdit().setAcceptDrops(False)  # otherwise the path of a dropped photograph would be inserted
        box.editTextChanged.connect(self._on_diagnosis)
        box.textActivated.connect(
            self._on_diagnosis
        )  # also without a change of the text: the empty word clears a stored diagnosis
        box.textActivated.connect(lambda _: box.lineEdit().setCursorPosition(0))
        box.lineEdit().editingFinished.connect(lambda: box.lineEdit().setCursorPosition(0))
        return box

    def _create_menu_button(self) -> QToolButton:
        button = tool_button("corrections_menu", "Corrections settings", "Reviewer and corrections folder")
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(button)
        menu.setToolTipsVisible(True)
        self._reviewer_action = menu.addAction("")
        self._reviewer_action.setObjectName("reviewer")
        self._folder_action = menu.addAction("Corrections folder...")
        self._folder_action.setObjectName("corrections_folder")
        self._reviewer_action.triggered.connect(self._edit_reviewer)
        self._folder_action.triggered.connect(self._choose_folder)
        menu.aboutToShow.connect(self._update_reviewer)
        button.setMenu(menu)
        self.session.services.icons.add(button, "chevron_down")
        self._update_reviewer()
        return button

    def _update_reviewer(self) -> None:
        self._reviewer_action.setText(f"Reviewer: {self._settings.reviewer or 'not set'}...")

    def _edit_reviewer(self) -> None:
        dialog = named(QInputDialog(self.window()), "reviewer_dialog", "Reviewer")
        dialog.setWindowTitle("Corrections")
        dialog.setLabelText("Name or initials stored with your corrections:")
        dialog.setTextValue(self._settings.reviewer)
        dialog.textValueSelected.connect(self._on_reviewer)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_reviewer(self, name: str) -> None:
        self._settings.reviewer = name
        self._update_reviewer()

    def _choose_folder(self) -> None:
        folder = self._settings.corrections
        choose_folder(self, "corrections_dialog", "Corrections folder", folder, self._corrections.set_folder)


def confirm_undo(parent: QWidget, change: CorrectionChange, open_name: str, title: str) -> bool:
    """Ask whether to undo a change of another photograph than the open one."""
    question = f"Undo the last change of '{change.image_id}'?"
    row = change.row
    stated = f"review {row.get('review') or 'unreviewed'}, diagnosis {row.get('diagnosis') or 'unknown'}"
    other = f"It is another photograph than the open one, '{open_name}'. " if open_name else ""
    return confirm(parent, "undo_other", question, f"{other}Its last change: {stated}.", "Undo", title)


def find_review(lesion: AnalyzedLesion | None) -> Review | None:
    """Return what storing a lesion would state; None without a mask, also if the first click was undone."""
    if lesion is None or lesion.is_before_prompts:
        return None
    return "corrected" if lesion.is_user_edited else "accepted"


def find_diagnosis(review: ReviewState, stored_row: Mapping[str, str] | None) -> str:
    """Return the diagnosis that the user has entered, or the stored one."""
    stored = "" if stored_row is None else stored_row.get("diagnosis", "")
    return stored if review.diagnosis is None else review.diagnosis


def describe_state(lesion: AnalyzedLesion | None, review: ReviewState, stored_row: Mapping[str, str] | None) -> str:
    """Describe whether the current mask is stored, is being stored, or is not stored."""
    state = find_review(lesion)
    if lesion is None or state is None:
        return ""
    if review.storing_digest:
        return "storing..."
    stored = None if stored_row is None else stored_row.get("review")
    # A mask by clicks alone is stored as accepted: it is the one that its model predicted
    is_same_review = stored is not None and stored in (state, review.row.get("review"))
    if stored_row is not None and stored and is_same_review and _is_current(lesion, review, stored_row):
        return stored
    return "mask not stored" if stored_row is not None and _is_diagnosis_only(stored_row) else "not stored"


def _is_current(lesion: AnalyzedLesion, review: ReviewState, stored_row: Mapping[str, str]) -> bool:
    """Whether the stored mask is the current one: by its digest, else, of an earlier day, by the model of both."""
    if review.stored_digest or lesion.is_user_edited:
        return review.stored_digest == lesion.mask_digest
    is_same_model = stored_row.get("model_fingerprint") == lesion.result.model.fingerprint  # an imported mask has none
    return is_same_model and stored_row.get("review") == "accepted"


def _is_diagnosis_only(row: Mapping[str, str]) -> bool:
    """Return whether the photograph was stored with its diagnosis alone, without review and mask."""
    return row.get("review") in (None, "", "unreviewed") and not row.get("mask_path")


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


def is_mask_of_user(correction_row: Mapping[str, str]) -> bool:
    """Return whether the mask of a row was corrected by a user, or imported from other software."""
    is_reviewed = correction_row.get("review") in TRAINING_REVIEWS and bool(correction_row.get("mask_path"))
    return is_reviewed and (correction_row["review"] == "corrected" or not correction_row.get("model"))


def confirm_stored_mask(
    parent: QWidget, name: str, correction_row: Mapping[str, str], callback: Callable[[Review | None], None]
) -> None:
    """Ask whether to keep the stored mask of a user, which is not the predicted one in view.

    ``callback``: called with the stored review to keep the mask, or with None to replace it, unless the user cancels.
    """
    origin = "" if correction_row["review"] == "corrected" else ", with a mask from other software"
    stored = f"It is {describe_correction(correction_row, time.time())}{origin}."
    details = (
        f"{stored} The mask in view is the unchanged prediction. Keep the stored mask to store the diagnosis alone."
    )
    box = create_question(parent, "stored_mask", f"Replace the stored mask of '{name}'?", details)
    keep = box.addButton("Keep stored mask", QMessageBox.ButtonRole.AcceptRole)
    replace_button = box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole)
    box.addButton(QMessageBox.StandardButton.Cancel)
    box.setDefaultButton(keep)
    keep.clicked.connect(lambda: callback(cast("Review", correction_row["review"])))
    replace_button.clicked.connect(lambda: callback(None))
    for button, button_name in ((keep, "keep_stored"), (replace_button, "replace")):
        button.setObjectName(button_name)
    box.finished.connect(box.deleteLater)
    box.open()


def describe_correction(correction_row: Mapping[str, str], now: float) -> str:
    """Describe how a photograph is stored, such as ``in corrections: corrected by Ana, 2 minutes ago``.

    ``now``: Unix time in seconds.
    """
    reviewer = f" by {correction_row['reviewer']}" if correction_row.get("reviewer") else ""
    state = "diagnosis only" if _is_diagnosis_only(correction_row) else correction_row.get("review") or "unreviewed"
    text = f"in corrections: {state}{reviewer}"
    try:
        then = datetime.fromisoformat(correction_row.get("reviewed_at", "")).timestamp()
    except ValueError:  # missing or edited manually
        return text
    return f"{text}, {format_time_ago(max(0.0, now - then))}"
