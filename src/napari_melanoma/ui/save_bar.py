"""Save: the folder is chosen once and remembered, and a result of another day is not replaced without asking."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QAbstractButton, QFileDialog, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.ui import saving
from napari_melanoma.ui.close_guard import ask
from napari_melanoma.ui.look import ThemedIcons, named, row, tool

if TYPE_CHECKING:
    from napari_melanoma.ui.settings import Settings

SAVE_KEY = "Ctrl+Alt+S"


class SaveBar(QWidget):
    """The button and the choice of the folder.

    Parameters
    ----------
    settings : Settings
        Remembers the folder.
    icons : ThemedIcons
        Gives the icon.

    Attributes
    ----------
    wanted : Signal(object)
        Save into this folder, a ``pathlib.Path``.
    """

    wanted = Signal(object)

    def __init__(self, settings: Settings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self._name = ""
        self._mine: set[Path] = set()
        self.button = named(QPushButton("Save"), "save", "Save", "")
        self._folder = tool("save_folder", "Choose the folder", "Choose the folder for results", "folder ...")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(row(self.button, self._folder, stretch=0))
        self.button.clicked.connect(self.save)
        self._folder.clicked.connect(self._ask_folder)
        self._saves_after = False
        self.set_name("")

    def set_name(self, name: str) -> None:
        """Say whose result would be saved.

        Parameters
        ----------
        name : str
            Name of the photograph; empty where it was not analysed.
        """
        self._name = name
        self.button.setEnabled(bool(name))
        folder = self._settings.folder
        where = f"into {saving.place(folder, name)}" if folder else "into a folder that you choose once"
        why = (
            f"Save mask, region, overlay and measurements {where} ({SAVE_KEY})"
            if name
            else "Analyse a photograph first"
        )
        self.button.setToolTip(why)

    def remember(self, saved: Path) -> None:
        """Remember a folder as one of today, which may be replaced.

        Parameters
        ----------
        saved : pathlib.Path
            A result folder.
        """
        self._mine.add(saved)

    def save(self) -> None:
        """Ask what must be asked, then want it saved."""
        folder = self._settings.folder
        if not self._name:
            return
        if folder is None:
            self._saves_after = True
            self._choose_folder()
        elif saving.place(folder, self._name).exists() and saving.place(folder, self._name) not in self._mine:
            self._ask_replace(saving.place(folder, self._name))
        else:
            self.wanted.emit(folder)

    def _ask_folder(self) -> None:
        self._saves_after = False
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
        self.set_name(self._name)
        if self._saves_after:
            self.save()

    def _ask_replace(self, place: Path) -> None:
        box = ask(self, "replace_result", f"Replace the result of '{self._name}'?", f"{place} exists already.")
        box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.buttonClicked.connect(self._on_replace)
        box.finished.connect(box.deleteLater)
        box.open()

    def _on_replace(self, button: QAbstractButton) -> None:
        if button.objectName() == "replace" and self._settings.folder is not None:
            self.wanted.emit(self._settings.folder)
