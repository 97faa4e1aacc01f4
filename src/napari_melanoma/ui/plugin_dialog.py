"""The list of plug-ins in napari: packages, and files of the plug-in folder, which are used once they are confirmed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.plugin_files import confirm_plugin_file, list_plugin_files, plugin_folder
from napari_melanoma.core.plugins import describe_objects, list_errors, list_packages, refresh
from napari_melanoma.ui.widgets.status_line import describe_failure
from napari_melanoma.ui.widgets.style import WrappedLabel, named, quiet_label

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.core.plugin_files import PluginFile

DIALOG_NAME = "plugin_dialog"
SIZE_PX = (560, 400)
TEXT_SIZE_PX = (720, 640)
NONE = "No plug-in is installed. Packages and files add networks, losses, sections and more."
STATES = {"new": "New: not used yet.", "changed": "Changed since it was confirmed: not used."}
RIGHTS = "A plug-in runs with all your rights. Read a file before you use it."
MENU = "Layers > Segment > Manage plug-ins (Melanoma)"
_announced: set[str] = set()  # contents of files that were announced in this process


class PluginDialog(QDialog):
    """List plug-ins with what they add; files can be confirmed."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName(DIALOG_NAME)
        self.setWindowTitle("Plug-ins of Melanoma")
        self.resize(*SIZE_PX)
        self._area = QScrollArea()
        self._area.setWidgetResizable(True)
        self._area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._message = named(WrappedLabel(""), "plugin_message", "Result of the last action")
        self._message.hide()
        layout = QVBoxLayout(self)
        layout.addWidget(self._area)
        layout.addWidget(self._message)
        self.update_list()

    def update_list(self) -> None:
        """List the plug-ins again, such as after a file was copied to the folder."""
        refresh()
        rows, files, errors = QVBoxLayout(), list_plugin_files(), list_errors()
        for origin, objects in list_packages().items():
            _add_entry(rows, objects[0].package if objects[0].is_file else origin, describe_objects(objects))
            for error in errors.get(objects[0].package, []):
                rows.addWidget(WrappedLabel(error))
        for file in files:
            if file.state != "confirmed" or file.fault:
                self._add_file(rows, file)
        if not rows.count():
            rows.addWidget(WrappedLabel(NONE))
        if files:
            rows.addWidget(WrappedLabel(RIGHTS))
        folder = named(WrappedLabel(f"Plug-in folder: {plugin_folder()}"), "plugin_folder", "Plug-in folder")
        folder.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        rows.addStretch()
        rows.addWidget(folder)
        content = QWidget()
        content.setLayout(rows)
        self._area.setWidget(content)

    def _add_file(self, rows: QVBoxLayout, file: PluginFile) -> None:
        _add_entry(rows, f"{file.name}. {STATES.get(file.state, '')}", file.describe_contents())
        buttons = QHBoxLayout()
        read = named(QPushButton("Read"), f"read_{file.name}", f"Show the text of {file.name}")
        read.setEnabled(bool(file.sha256))
        read.clicked.connect(partial(self._read, file))
        use = named(QPushButton("Use this file"), f"use_{file.name}", f"Use {file.name} from now on, until it changes")
        use.setEnabled(not file.fault)
        use.clicked.connect(partial(self._confirm, file))
        buttons.addWidget(read)
        buttons.addWidget(use)
        buttons.addStretch()
        rows.addLayout(buttons)

    def _read(self, file: PluginFile) -> None:
        try:
            _show_text(self, file)
        except (MelanomaError, OSError, ValueError) as error:
            self._message.setText(str(error))
            self._message.show()
            QTimer.singleShot(0, self.update_list)

    def _confirm(self, file: PluginFile) -> None:
        try:
            confirm_plugin_file(file.name, file.sha256)
            refresh()
            errors = list_errors().get(file.name, [])
            text = " ".join(errors) or f"{file.name} is used from now on. Open a dock again to see what it adds."
        except MelanomaError as error:
            text = describe_failure(error)
        self._message.setText(text)
        self._message.show()
        QTimer.singleShot(0, self.update_list)  # the clicked button is still in use


def _show_text(parent: QWidget, file: PluginFile) -> None:
    """Show a file here: the system may open it with Python, which would run it."""
    text = named(QPlainTextEdit(file.read_text()), "plugin_text", f"Text of {file.name}")
    dialog = named(QDialog(parent), "plugin_text_dialog", f"Text of {file.name}")
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setWindowTitle(str(file.path))
    text.setToolTip("")
    text.setReadOnly(True)
    text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
    buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
    buttons.rejected.connect(dialog.reject)
    layout = QVBoxLayout(dialog)
    layout.addWidget(text)
    layout.addWidget(buttons)
    dialog.resize(*TEXT_SIZE_PX)
    dialog.show()


def _add_entry(rows: QVBoxLayout, title: str, details: str) -> None:
    heading = QLabel(title)
    font = heading.font()
    font.setBold(True)
    heading.setFont(font)
    rows.addWidget(heading)
    rows.addWidget(quiet_label(details))


def show_plugins(napari_viewer: Viewer | None = None) -> None:
    """Show the list over the active window; called from napari's menu."""
    windows = [window for window in QApplication.topLevelWidgets() if isinstance(window, QMainWindow)]
    active = [window for window in windows if window.isActiveWindow()] or [one for one in windows if one.isVisible()]
    if active:
        dialog = active[0].findChild(PluginDialog, DIALOG_NAME) or PluginDialog(active[0])
        dialog.update_list()
        dialog.show()
        dialog.raise_()


def announce_new_files() -> None:
    """Notify the user of files that are not used before they are confirmed, once for each content."""
    files = [file for file in list_plugin_files() if file.state != "confirmed" and file.sha256 not in _announced]
    if not files:
        return
    from napari.utils import notifications

    _announced.update(file.sha256 for file in files)
    names = ", ".join(file.name for file in files)
    notifications.show_info(f"Plug-in files are not used until you confirm them: {names}. See {MENU}.")
