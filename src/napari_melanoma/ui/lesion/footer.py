"""The footer and the notices of the Lesion dock: corrections, saving, recovery, modality, and multiple lesions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QFileDialog,
    QFrame,
    QInputDialog,
    QLabel,
    QMenu,
    QMessageBox,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.ui.lesion import saving
from napari_melanoma.ui.lesion.corrections_store import ReviewSettings
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.dialogs import create_question
from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, named, quiet_label, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.lesion.saving import SaveTarget
    from napari_melanoma.ui.lesion.state import RecoveredLesion
    from napari_melanoma.ui.widgets.settings import DockSettings


ADD_KEY = format_key("lesion.correct")
REFRESH_MS = 30_000  # update interval of texts such as "2 minutes ago"
STATE_TOOLTIPS = {
    "accepted": "The predicted mask is unchanged. It will be stored as accepted.",
    "corrected": "The mask was changed. It will be stored as corrected, together with the predicted mask.",
}
StoreStage = Literal["open", "storing", "stored"]
# Short, to fit next to the diagnosis
STAGE_TEXTS: dict[StoreStage, dict[str, str]] = {
    "open": dict.fromkeys(STATE_TOOLTIPS, "not stored"),
    "storing": dict.fromkeys(STATE_TOOLTIPS, "storing ..."),
    "stored": {state: state for state in STATE_TOOLTIPS},
}
SAVE_KEY = format_key("lesion.save")


class CorrectionsBar(QWidget):
    """The diagnosis, the review state, and buttons to store, reject and undo."""

    add_requested = Signal()
    reject_requested = Signal()
    undo_requested = Signal()
    folder_chosen = Signal(object)
    diagnosis_changed = Signal(str)

    def __init__(self, settings: ReviewSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self._row: Mapping[str, str] | None = None
        self._diagnosis_combo = self._make_diagnosis_combo()
        self._state_label = named(QLabel(), "review_state", "Review state")
        self.add_button = named(QPushButton("Add to corrections"), "add_correction", "Add to corrections")
        self.reject_button = tool_button("reject", "Reject", "", "reject")
        self.undo_button = tool_button("undo_correction", "Undo the last addition", "Undo the last addition", "undo")
        self._stored_label = WrappedLabel()
        self._stored_label.setProperty("quiet", True)
        self._stored_label.setObjectName("standing")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(row(QLabel("diagnosis"), self._diagnosis_combo, self._state_label, stretch=1))
        layout.addWidget(
            row(self.add_button, self.reject_button, self.undo_button, self._make_menu_button(icons), stretch=0)
        )
        layout.addWidget(self._stored_label)
        self._refresh_timer = QTimer(self)
        self._refresh_timer.setInterval(REFRESH_MS)
        self._refresh_timer.timeout.connect(self._update_text)
        self._refresh_timer.start()
        self.add_button.clicked.connect(self.add_requested)
        self.reject_button.clicked.connect(self.reject_requested)
        self.undo_button.clicked.connect(self.undo_requested)
        self.set_photograph(None, False)
        self.set_stored_row(None)
        self.set_diagnoses([])

    @property
    def diagnosis(self) -> str:
        """The diagnosis in the combo box."""
        return str(self._diagnosis_combo.currentText()).strip()

    def set_diagnosis(self, diagnosis: str) -> None:
        """Show a diagnosis."""
        if diagnosis != self.diagnosis:
            self._diagnosis_combo.setEditText(diagnosis)

    def set_diagnoses(self, diagnoses: Sequence[str]) -> None:
        """List diagnoses: recently used ones, common ones, and those in the corrections."""
        words = list(dict.fromkeys(["", *self._settings.diagnoses, *diagnoses]))
        if words != [self._diagnosis_combo.itemText(index) for index in range(self._diagnosis_combo.count())]:
            current = self.diagnosis
            self._diagnosis_combo.blockSignals(True)
            self._diagnosis_combo.clear()
            self._diagnosis_combo.addItems(words)
            self._diagnosis_combo.setEditText(current)
            self._diagnosis_combo.blockSignals(False)

    def set_photograph(self, state: str | None, has_photograph: bool, stage: StoreStage = "open") -> None:
        """Show the review state, and whether the photograph is stored."""
        self._state_label.setText(STAGE_TEXTS[stage].get(state or "", ""))
        self._state_label.setVisible(state is not None)
        self._state_label.setToolTip(STATE_TOOLTIPS.get(state or "", ""))
        self.add_button.setEnabled(state is not None)
        tip = f"Store photograph, mask and diagnosis for training ({ADD_KEY}). {STATE_TOOLTIPS.get(state or '', '')}"
        self.add_button.setToolTip(tip if state else "Analyze a photograph first")
        self.reject_button.setEnabled(has_photograph)
        self.reject_button.setToolTip("Store the photograph as rejected. It is not used for training.")
        self._diagnosis_combo.setEnabled(has_photograph)

    def set_stored_row(self, stored_row: Mapping[str, str] | None) -> None:
        """Show how the photograph is stored in the corrections."""
        self._row = stored_row
        self._update_text()

    def set_folder(self, folder: Path, total: int) -> None:
        """Show the corrections folder and its number of images."""
        self._folder_action.setText(f"Corrections folder ({total}) ...")
        self._folder_action.setToolTip(str(folder))
        self.undo_button.setEnabled(folder.is_dir())

    def _make_diagnosis_combo(self) -> QComboBox:
        box = named(QComboBox(), "diagnosis", "Diagnosis", "Select or enter a diagnosis. Leave empty if unknown.")
        box.setEditable(True)
        box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        box.setMinimumContentsLength(8)
        box.lineEdit().setPlaceholderText("unknown")
        box.editTextChanged.connect(self.diagnosis_changed)
        box.textActivated.connect(self.diagnosis_changed)  # if the empty diagnosis is selected again
        return box

    def _make_menu_button(self, icons: ThemedIcons) -> QToolButton:
        button = tool_button("corrections_menu", "Corrections settings", "Reviewer and corrections folder")
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(button)
        menu.setToolTipsVisible(True)
        self._reviewer_action = menu.addAction("")
        self._reviewer_action.setObjectName("reviewer")
        self._folder_action = menu.addAction("Corrections folder ...")
        self._folder_action.setObjectName("corrections_folder")
        self._reviewer_action.triggered.connect(self._edit_reviewer)
        self._folder_action.triggered.connect(self._choose_folder)
        menu.aboutToShow.connect(self._update_reviewer)
        button.setMenu(menu)
        icons.add(button, "chevron_down")
        self._update_reviewer()
        return button

    def _update_reviewer(self) -> None:
        self._reviewer_action.setText(f"Reviewer: {self._settings.reviewer or 'not set'} ...")

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
        dialog = QFileDialog(self.window(), "Corrections folder", str(self._settings.corrections))
        dialog.setObjectName("corrections_dialog")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.fileSelected.connect(self._on_folder)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_folder(self, name: str) -> None:
        self.folder_chosen.emit(Path(name))

    def _update_text(self) -> None:
        self._stored_label.setVisible(self._row is not None)
        if self._row is not None:
            self._stored_label.setText(describe_correction(self._row, time.time()))


def describe_correction(correction_row: Mapping[str, str], now: float) -> str:
    """Describe how a photograph is stored, such as ``in corrections: corrected by Ana, 2 minutes ago``.

    ``now``: Unix time in seconds.
    """
    reviewer = f" by {correction_row['reviewer']}" if correction_row.get("reviewer") else ""
    try:
        then = datetime.fromisoformat(correction_row.get("reviewed_at", "")).timestamp()
    except ValueError:  # missing or edited manually
        return f"in corrections: {correction_row.get('review') or 'unreviewed'}{reviewer}"
    time_ago = format_time_ago(max(0.0, now - then))
    return f"in corrections: {correction_row.get('review') or 'unreviewed'}{reviewer}, {time_ago}"


class SaveBar(QWidget):
    """The Save button, and the button to select the results folder."""

    save_requested = Signal(object, object)

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self._target: SaveTarget | None = None
        self._pending_target: SaveTarget | None = None
        self._saved_folders: dict[Path, tuple[str, str]] = {}
        self.button = named(QPushButton("Save"), "save", "Save", "")
        self._folder_button = tool_button("save_folder", "Results folder", "Select the results folder", "folder ...")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(row(self.button, self._folder_button, stretch=0))
        self.button.clicked.connect(self.save)
        self._folder_button.clicked.connect(self._on_choose_folder)
        self.set_target(None)

    def set_target(self, target: SaveTarget | None) -> None:
        """Set the photograph whose result is saved."""
        self._target = target
        self.button.setEnabled(target is not None)
        folder = self._settings.folder
        if target is None:
            self.button.setToolTip("Analyze a photograph first")
            return
        destination = saving.result_folder(folder, target.name) if folder else "a folder that you select"
        self.button.setToolTip(f"Save mask, ROI, overlay and measurements to {destination} ({SAVE_KEY})")

    def set_saved(self, target: SaveTarget, folder: Path) -> None:
        """Record which result a folder contains: saving it again replaces it without confirmation."""
        self._saved_folders[_folder_key(folder)] = (target.identity, target.image_digest)

    def save(self) -> None:
        """Request saving, after asking for the folder or for confirmation if needed."""
        if self._target is None:
            return
        if self._settings.folder is None:
            self._pending_target = self._target
            self._choose_folder()
        else:
            self._request_save(self._target, saving.result_folder(self._settings.folder, self._target.name))

    def _request_save(self, target: SaveTarget, folder: Path) -> None:
        if folder.exists() and self._saved_folders.get(_folder_key(folder)) != (target.identity, target.image_digest):
            self._confirm_replace(target, folder)
        else:
            self.save_requested.emit(target, folder)

    def _on_choose_folder(self) -> None:
        self._pending_target = None
        self._choose_folder()

    def _choose_folder(self) -> None:
        dialog = QFileDialog(self.window(), "Results folder", str(self._settings.folder or Path.home()))
        dialog.setObjectName("folder_dialog")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.fileSelected.connect(self._on_folder)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_folder(self, name: str) -> None:
        self._settings.folder = Path(name)
        self.set_target(self._target)
        if self._pending_target is not None:
            self._request_save(self._pending_target, saving.result_folder(Path(name), self._pending_target.name))

    def _confirm_replace(self, target: SaveTarget, folder: Path) -> None:
        details = f"{folder} already exists and may belong to another photograph with the same name."
        box = create_question(self, "replace_result", f"Replace the result of '{target.name}'?", details)
        box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.buttonClicked.connect(partial(self._on_replace, target, folder))
        box.finished.connect(box.deleteLater)
        box.open()

    def _on_replace(self, target: SaveTarget, folder: Path, button: QAbstractButton) -> None:
        if button.objectName() == "replace":
            self.save_requested.emit(target, folder)


def _folder_key(folder: Path) -> Path:
    """The same key for all spellings of a folder on a case-insensitive file system."""
    return Path(str(folder).casefold())


class RecoveryNotice(QFrame):
    """Offers to restore or discard recovered corrections of the photograph."""

    accepted = Signal(str, object)
    discarded = Signal(str, object)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("notice")
        self._offers: dict[str, RecoveredLesion] = {}
        self._identity: str | None = None
        self._label = quiet_label()
        restore = named(QPushButton("Restore"), "recover", "Restore", "Restore the unsaved corrections")
        discard = named(QPushButton("Discard"), "recover_discard", "Discard", "Delete the unsaved corrections")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self._label)
        layout.addWidget(row(restore, discard))
        restore.clicked.connect(self._on_restore)
        discard.clicked.connect(self._on_discard)
        self.hide()

    def add_offer(self, identity: str, found: RecoveredLesion) -> None:
        """Add recovered corrections, offered when their photograph is selected."""
        self._offers[identity] = found
        self.set_photograph(self._identity)

    def remove_offer(self, identity: str) -> None:
        """Remove an offer; it is made again when the photograph is opened again."""
        self._offers.pop(identity, None)
        self.set_photograph(self._identity)

    def set_photograph(self, identity: str | None) -> None:
        """Show the offer for a photograph, if there is one."""
        self._identity = identity
        found = None if identity is None else self._offers.get(identity)
        if found is not None:
            time_ago = format_time_ago(time.time() - found.saved_at)
            self._label.setText(f"This photograph has unsaved corrections from {time_ago}.")
        self.setVisible(found is not None)

    def _on_restore(self) -> None:
        self._close_offer(self.accepted)

    def _on_discard(self) -> None:
        self._close_offer(self.discarded)

    def _close_offer(self, signal: object) -> None:
        identity = self._identity
        found = None if identity is None else self._offers.pop(identity, None)
        self.set_photograph(identity)
        if found is not None:
            signal.emit(identity, found)  # type: ignore[attr-defined]


def format_time_ago(seconds: float) -> str:
    """Format a time span, such as ``2 minutes ago``."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "a moment ago"


INCLUDE_OTHERS, NO_LESIONS = "include_others", "no_lesions"


def describe_other_lesions(result: LesionResult, *, with_advice: bool = False) -> str:
    """Describe detected lesions that are not in the mask, such as ``2 lesions found; showing the largest.``.

    Empty if all are in the mask.
    """
    others = len(result.other_masks)
    if not others:
        return ""
    if result.corrected or len(result.mask_parts) != 1:
        text = f"{others} other lesion{'s' if others > 1 else ''} found outside the mask (thin outlines)."
    else:
        area = int(result.mask.sum())
        shown = "the largest" if all(area >= int(one.sum()) for one in result.other_masks) else "the selected one"
        text = f"{result.lesions_found} lesions found; showing {shown}."
    if with_advice:
        text += " Measurements and prediction refer to the mask only. Use Select lesion for another lesion, "
        text += "or clear 'largest only' to include all."
    return text


def confirm_other_lesions(parent: QWidget, result: LesionResult, callback: Callable[[bool], None]) -> None:
    """Ask whether to include other lesions before storing a photograph; as background, they would harm training."""
    others = len(result.other_masks)
    them, lesions = ("it", "lesion") if others == 1 else ("them", "lesions")
    details = (
        f"{others} other {lesions} found (thin outlines) would be stored as background, so that models trained on "
        f"this photograph tend to miss {them}. Include {them} if the outlines are correct, or correct the mask first."
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


class ModalityNotice(QFrame):
    """Shows the warning of a result, such as a mismatch of modality and model."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("notice")
        self._label = named(WrappedLabel(), "modality_warning", "Photograph and model")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self._label)
        self.hide()

    def show_result(self, result: LesionResult | None) -> None:
        """Show the warning of a result, if it has one."""
        warning = "" if result is None else result.warning
        self._label.setText(warning)
        self.setVisible(bool(warning))
