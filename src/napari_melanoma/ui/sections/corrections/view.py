"""The widgets of the Corrections section: the bar that adds photographs and shows their state."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QComboBox, QInputDialog, QLabel, QMenu, QPushButton, QToolButton, QVBoxLayout, QWidget

from napari_melanoma.core.formatting import format_time_ago
from napari_melanoma.ui.session.corrections_store import DIAGNOSES, ReviewSettings
from napari_melanoma.ui.widgets.dialogs import choose_folder
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, enable, named, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.ui.sections.corrections.resolve import CorrectionsView

REJECT_TIP = "Store the photograph as rejected. It is not used for training."
REFRESH_MS = 30_000  # update interval of texts such as "2 minutes ago"


class CorrectionsBar(QWidget):
    """The diagnosis, the review state, and buttons to store, reject and undo."""

    add_requested = Signal()
    reject_requested = Signal()
    undo_requested = Signal()
    folder_chosen = Signal(object)  # Path
    diagnosis_changed = Signal(str)

    def __init__(self, settings: ReviewSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self._stored_row: Mapping[str, str] | None = None
        self._diagnosis_combo = self._make_diagnosis_combo()
        self._state_label = named(QLabel(), "review_state", "Review state")
        self.add_button = named(QPushButton("Add to corrections"), "add_correction", "Add to corrections")
        self.reject_button = tool_button("reject", "Reject", REJECT_TIP, "reject")
        self.undo_button = tool_button(
            "undo_correction",
            "Undo the last change of the corrections",
            "Undo the last change of the corrections",
            "undo",
        )
        self._stored_label = WrappedLabel()
        self._stored_label.setProperty("quiet", True)
        self._stored_label.setObjectName("storage_state")
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

    @property
    def diagnosis(self) -> str:
        """The diagnosis in the combo box."""
        return str(self._diagnosis_combo.currentText()).strip()

    def set_diagnosis(self, diagnosis: str) -> None:
        """Show a diagnosis."""
        if diagnosis != self.diagnosis:
            self._diagnosis_combo.setEditText(diagnosis)

    def set_diagnoses(self, diagnoses: Sequence[str]) -> None:
        """List diagnoses: those in the corrections, and common ones."""
        words = list(dict.fromkeys(["", *diagnoses, *DIAGNOSES]))
        if words != [self._diagnosis_combo.itemText(index) for index in range(self._diagnosis_combo.count())]:
            current = self.diagnosis
            self._diagnosis_combo.blockSignals(True)
            self._diagnosis_combo.clear()
            self._diagnosis_combo.addItems(words)
            self._diagnosis_combo.setEditText(current)
            self._diagnosis_combo.blockSignals(False)

    def show_view(self, view: CorrectionsView) -> None:
        """Show the review state and the diagnosis, without emitting signals."""
        self._state_label.setText(view.state)
        self._state_label.setVisible(bool(view.state))
        self._state_label.setToolTip(view.state_tip)
        enable(self.add_button, view.add_tip, view.add_blocker)
        enable(self.reject_button, REJECT_TIP, view.reject_blocker)
        self.blockSignals(True)
        self.set_diagnosis(view.diagnosis)
        self.blockSignals(False)

    def set_stored_row(self, stored_row: Mapping[str, str] | None) -> None:
        """Show how the photograph is stored; ``stored_row``: its row in the corrections table, None if not stored."""
        self._stored_row = stored_row
        self._update_text()

    def set_folder(self, folder: Path, trainable: int) -> None:
        """Show the corrections folder and how many of its photographs can be used for training."""
        self._folder_action.setText(f"Corrections folder ({trainable}) ...")
        self._folder_action.setToolTip(str(folder))
        self.undo_button.setEnabled(folder.is_dir())

    def _make_diagnosis_combo(self) -> QComboBox:
        box = named(NoWheelComboBox(), "diagnosis", "Diagnosis", "Select or enter a diagnosis. Leave empty if unknown.")
        box.setEditable(True)
        box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        box.setMinimumContentsLength(8)
        box.lineEdit().setPlaceholderText("unknown")
        box.lineEdit().setAcceptDrops(False)  # otherwise the path of a dropped photograph would be inserted
        box.editTextChanged.connect(self.diagnosis_changed)
        box.textActivated.connect(
            self.diagnosis_changed
        )  # also without a change of the text: the empty word clears a stored diagnosis
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
        folder = self._settings.corrections
        choose_folder(self, "corrections_dialog", "Corrections folder", folder, self.folder_chosen.emit)

    def _update_text(self) -> None:
        self._stored_label.setVisible(self._stored_row is not None)
        if self._stored_row is not None:
            self._stored_label.setText(describe_correction(self._stored_row, time.time()))


def describe_correction(correction_row: Mapping[str, str], now: float) -> str:
    """Describe how a photograph is stored, such as ``in corrections: corrected by Ana, 2 minutes ago``.

    ``now``: Unix time in seconds.
    """
    reviewer = f" by {correction_row['reviewer']}" if correction_row.get("reviewer") else ""
    text = f"in corrections: {correction_row.get('review') or 'unreviewed'}{reviewer}"
    try:
        then = datetime.fromisoformat(correction_row.get("reviewed_at", "")).timestamp()
    except ValueError:  # missing or edited manually
        return text
    return f"{text}, {format_time_ago(max(0.0, now - then))}"
