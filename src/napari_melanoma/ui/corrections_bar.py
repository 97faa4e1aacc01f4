"""The foot of the Lesion dock that puts a photograph with its mask and diagnosis into the corrections."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QInputDialog,
    QLabel,
    QMenu,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.ui.look import ThemedIcons, named, row, tool
from napari_melanoma.ui.recovery_notice import ago
from napari_melanoma.ui.review.settings import ReviewSettings
from napari_melanoma.ui.shortcuts import shown_key
from napari_melanoma.ui.words import Words

ADD_KEY = shown_key("lesion.correct")
RETELL_MS = 30_000  # how long "2 minutes ago" stays true enough
STATES = {
    "accepted": "The mask is the model's own: it is stored as accepted.",
    "corrected": "You changed the mask: it is stored as corrected, with the model's own beside it.",
}
Stage = Literal["open", "storing", "stored"]
STAGES: dict[Stage, dict[str, str]] = {
    "open": dict.fromkeys(STATES, "not stored"),
    "storing": dict.fromkeys(STATES, "storing ..."),
    "stored": {state: state for state in STATES},
}  # as short as they are: more does not fit beside the diagnosis


class CorrectionsBar(QWidget):
    """Diagnosis, the review state, and the buttons that store, reject and take back."""

    added = Signal()
    rejected = Signal()
    taken_back = Signal()
    folder_chosen = Signal(object)
    diagnosed = Signal(str)

    def __init__(self, settings: ReviewSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self._row: Mapping[str, str] | None = None
        self._diagnosis = self._diagnosis_box()
        self._state = named(QLabel(), "review_state", "Review state")
        self.add = named(QPushButton("Add to corrections"), "add_correction", "Add to corrections")
        self.reject = tool("reject", "Reject", "", "reject")
        self.undo = tool("undo_correction", "Undo the last addition", "Take the last addition back", "undo")
        self._standing = Words()
        self._standing.setProperty("quiet", True)
        self._standing.setObjectName("standing")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(row(QLabel("diagnosis"), self._diagnosis, self._state, stretch=1))
        layout.addWidget(row(self.add, self.reject, self.undo, self._menu_button(icons), stretch=0))
        layout.addWidget(self._standing)
        self._retell = QTimer(self)
        self._retell.setInterval(RETELL_MS)
        self._retell.timeout.connect(self._tell)
        self._retell.start()
        self.add.clicked.connect(self.added)
        self.reject.clicked.connect(self.rejected)
        self.undo.clicked.connect(self.taken_back)
        self.set_photograph(None, False)
        self.set_row(None)
        self.offer([])

    @property
    def diagnosis(self) -> str:
        """The diagnosis as it stands in the box."""
        return str(self._diagnosis.currentText()).strip()

    def set_diagnosis(self, diagnosis: str) -> None:
        """Show a diagnosis without telling anybody."""
        if diagnosis != self.diagnosis:
            self._diagnosis.setEditText(diagnosis)

    def offer(self, diagnoses: Sequence[str]) -> None:
        """List diagnoses to choose from: those that were given before, of the data, and the usual ones."""
        words = list(dict.fromkeys(["", *self._settings.diagnoses, *diagnoses]))
        if words != [self._diagnosis.itemText(index) for index in range(self._diagnosis.count())]:
            said = self.diagnosis
            self._diagnosis.blockSignals(True)
            self._diagnosis.clear()
            self._diagnosis.addItems(words)
            self._diagnosis.setEditText(said)
            self._diagnosis.blockSignals(False)

    def set_photograph(self, state: str | None, there: bool, stage: Stage = "open") -> None:
        """Show what can be stored, and whether it is."""
        self._state.setText(STAGES[stage].get(state or "", ""))
        self._state.setVisible(state is not None)
        self._state.setToolTip(STATES.get(state or "", ""))
        self.add.setEnabled(state is not None)
        tip = f"Store photograph, mask and diagnosis, to train on ({ADD_KEY}). {STATES.get(state or '', '')}"
        self.add.setToolTip(tip if state else "Analyse a photograph first")
        self.reject.setEnabled(there)
        self.reject.setToolTip("Store that this photograph is of no use: nothing is learnt from it")
        self._diagnosis.setEnabled(there)

    def set_row(self, standing: Mapping[str, str] | None) -> None:
        """Say what the corrections have of the photograph already."""
        self._row = standing
        self._tell()

    def set_folder(self, folder: Path, total: int) -> None:
        """Say where corrections go."""
        self._folder.setText(f"Folder of the corrections ({total}) ...")
        self._folder.setToolTip(str(folder))
        self.undo.setEnabled(folder.is_dir())

    def _diagnosis_box(self) -> QComboBox:
        box = named(
            QComboBox(), "diagnosis", "Diagnosis", "The diagnosis, if you know it: choose one or type; empty for none"
        )
        box.setEditable(True)
        box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        box.setMinimumContentsLength(8)
        box.lineEdit().setPlaceholderText("not known")
        box.editTextChanged.connect(self.diagnosed)
        box.textActivated.connect(self.diagnosed)  # "not known", chosen where it stood already
        return box

    def _menu_button(self, icons: ThemedIcons) -> QToolButton:
        button = tool("corrections_menu", "More on corrections", "Who corrects, and where corrections go")
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(button)
        menu.setToolTipsVisible(True)
        self._who = menu.addAction("")
        self._who.setObjectName("reviewer")
        self._folder = menu.addAction("Folder of the corrections ...")
        self._folder.setObjectName("corrections_folder")
        self._who.triggered.connect(self._ask_name)
        self._folder.triggered.connect(self._ask_folder)
        menu.aboutToShow.connect(self._name)
        button.setMenu(menu)
        icons.add(button, "chevron_down")
        self._name()
        return button

    def _name(self) -> None:
        self._who.setText(f"You are: {self._settings.reviewer or 'not named'} ...")

    def _ask_name(self) -> None:
        dialog = named(QInputDialog(self.window()), "reviewer_dialog", "Your name")
        dialog.setWindowTitle("Corrections")
        dialog.setLabelText("Name or initials that go with your corrections:")
        dialog.setTextValue(self._settings.reviewer)
        dialog.textValueSelected.connect(self._on_name)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_name(self, name: str) -> None:
        self._settings.reviewer = name
        self._name()

    def _ask_folder(self) -> None:
        dialog = QFileDialog(self.window(), "Folder of the corrections", str(self._settings.corrections))
        dialog.setObjectName("corrections_dialog")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.fileSelected.connect(self._on_folder)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_folder(self, name: str) -> None:
        self.folder_chosen.emit(Path(name))

    def _tell(self) -> None:
        self._standing.setVisible(self._row is not None)
        if self._row is not None:
            self._standing.setText(in_words(self._row, time.time()))


def in_words(standing: Mapping[str, str], now: float) -> str:
    """Say what the corrections have of a photograph.

    ``now``: unix seconds. Such as ``in corrections: corrected by Ana, 2 minutes ago``.
    """
    who = f" by {standing['reviewer']}" if standing.get("reviewer") else ""
    try:
        then = datetime.fromisoformat(standing.get("reviewed_at", "")).timestamp()
    except ValueError:  # no time, or one that somebody wrote by hand
        return f"in corrections: {standing.get('review') or 'unreviewed'}{who}"
    return f"in corrections: {standing.get('review') or 'unreviewed'}{who}, {ago(max(0.0, now - then))}"
