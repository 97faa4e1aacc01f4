"""Save: the folder is chosen once and remembered, and a result of another day is not replaced without asking."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QAbstractButton, QFileDialog, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.ui import saving
from napari_melanoma.ui.close_guard import ask
from napari_melanoma.ui.look import ThemedIcons, named, row, tool
from napari_melanoma.ui.shortcuts import shown_key

if TYPE_CHECKING:
    from napari_melanoma.ui.saving import Target
    from napari_melanoma.ui.settings import Settings

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
