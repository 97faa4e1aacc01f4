"""The foot of the Lesion dock: corrections, saving and recovered corrections."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
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
from napari_melanoma.ui.viewer.shortcuts import shown_key
from napari_melanoma.ui.widgets.dialogs import ask
from napari_melanoma.ui.widgets.look import ThemedIcons, Words, named, quiet, row, tool

if TYPE_CHECKING:
    from napari_melanoma.ui.lesion.saving import Target
    from napari_melanoma.ui.lesion.state import Recovered
    from napari_melanoma.ui.widgets.settings import Settings

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


SAVE_KEY = shown_key("lesion.save")


class SaveBar(QWidget):
    """The button and the choice of the folder."""

    wanted = Signal(object, object)

    def __init__(self, settings: Settings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self._target: Target | None = None
        self._then: Target | None = None
        self._mine: dict[Path, tuple[str, str]] = {}
        self.button = named(QPushButton("Save"), "save", "Save", "")
        self._folder = tool("save_folder", "Choose the folder", "Choose the folder for results", "folder ...")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(row(self.button, self._folder, stretch=0))
        self.button.clicked.connect(self.save)
        self._folder.clicked.connect(self._ask_folder)
        self.set_target(None)

    def set_target(self, target: Target | None) -> None:
        """Say whose result would be saved."""
        self._target = target
        self.button.setEnabled(target is not None)
        folder = self._settings.folder
        if target is None:
            self.button.setToolTip("Analyse a photograph first")
            return
        where = saving.place(folder, target.name) if folder else "a folder that you choose once"
        self.button.setToolTip(f"Save mask, region, overlay and measurements into {where} ({SAVE_KEY})")

    def remember(self, target: Target, saved: Path) -> None:
        """Remember whose result a folder of today holds: saving the same one again replaces it unasked."""
        self._mine[_key(saved)] = (target.identity, target.image_digest)

    def save(self) -> None:
        """Ask what must be asked, then want it saved."""
        if self._target is None:
            return
        if self._settings.folder is None:
            self._then = self._target
            self._choose_folder()
        else:
            self._save(self._target, saving.place(self._settings.folder, self._target.name))

    def _save(self, target: Target, place: Path) -> None:
        if place.exists() and self._mine.get(_key(place)) != (target.identity, target.image_digest):
            self._ask_replace(target, place)
        else:
            self.wanted.emit(target, place)

    def _ask_folder(self) -> None:
        self._then = None
        self._choose_folder()

    def _choose_folder(self) -> None:
        dialog = QFileDialog(self.window(), "Folder for results", str(self._settings.folder or Path.home()))
        dialog.setObjectName("folder_dialog")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.fileSelected.connect(self._on_folder)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_folder(self, name: str) -> None:
        self._settings.folder = Path(name)
        self.set_target(self._target)
        if self._then is not None:
            self._save(self._then, saving.place(Path(name), self._then.name))

    def _ask_replace(self, target: Target, place: Path) -> None:
        details = f"{place} exists already, and may be of another photograph of this name."
        box = ask(self, "replace_result", f"Replace the result of '{target.name}'?", details)
        box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.buttonClicked.connect(partial(self._on_replace, target, place))
        box.finished.connect(box.deleteLater)
        box.open()

    def _on_replace(self, target: Target, place: Path, button: QAbstractButton) -> None:
        if button.objectName() == "replace":
            self.wanted.emit(target, place)


def _key(place: Path) -> Path:
    """One key for all names that a file system may take for the same folder."""
    return Path(str(place).casefold())


class RecoveryNotice(QFrame):
    """One sentence and two buttons, shown where there is something to bring back."""

    accepted = Signal(str, object)
    discarded = Signal(str, object)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("notice")
        self._offers: dict[str, Recovered] = {}
        self._identity: str | None = None
        self._words = quiet()
        bring = named(QPushButton("Bring back"), "recover", "Bring back", "Show the mask as you drew it")
        discard = named(QPushButton("Discard"), "recover_discard", "Discard", "Remove what was kept")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self._words)
        layout.addWidget(row(bring, discard))
        bring.clicked.connect(self._on_bring)
        discard.clicked.connect(self._on_discard)
        self.hide()

    def offer(self, identity: str, found: Recovered) -> None:
        """Keep an offer until the dock is about its photograph."""
        self._offers[identity] = found
        self.set_photograph(self._identity)

    def withdraw(self, identity: str) -> None:
        """Let go of an offer without an answer; it is made again when the photograph is opened again."""
        self._offers.pop(identity, None)
        self.set_photograph(self._identity)

    def set_photograph(self, identity: str | None) -> None:
        """Show the offer of a photograph, if there is one."""
        self._identity = identity
        found = None if identity is None else self._offers.get(identity)
        if found is not None:
            when = ago(time.time() - found.saved_at)
            self._words.setText(f"You corrected this photograph {when} and did not save it.")
        self.setVisible(found is not None)

    def _on_bring(self) -> None:
        self._answer(self.accepted)

    def _on_discard(self) -> None:
        self._answer(self.discarded)

    def _answer(self, signal: object) -> None:
        identity = self._identity
        found = None if identity is None else self._offers.pop(identity, None)
        self.set_photograph(identity)
        if found is not None:
            signal.emit(identity, found)  # type: ignore[attr-defined]


def ago(seconds: float) -> str:
    """Say a time span as people do."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "a moment ago"
