"""The control of a file that may be named: a line for its path, and a button that looks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QLineEdit, QWidget

from napari_melanoma.ui.editors import Editor
from napari_melanoma.ui.look import tool

LEAST_PX = 90


class PathEditor(Editor):
    """A path or nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._line = QLineEdit()
        self._line.setPlaceholderText("none")
        self._line.setClearButtonEnabled(True)
        self._line.setMinimumWidth(LEAST_PX)
        self._button = tool("browse", "Choose a file", "Choose a file", "...")
        self._line.textChanged.connect(self._on_text)
        self._button.clicked.connect(self._on_browse)
        self._row.addWidget(self._line, 1)
        self._row.addWidget(self._button)

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The path; None where the line is empty."""
        text = self._line.text().strip()
        return Path(text) if text else None

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        self._line.blockSignals(True)
        self._line.setText("" if value is None else str(value))
        self._line.setCursorPosition(0)
        self._line.setToolTip("" if value is None else str(value))
        self._line.blockSignals(False)

    @property
    def fault(self) -> str:
        """Say that there is no such file."""
        path = self.value
        return "" if path is None or path.expanduser().is_file() else "there is no such file"

    @property
    def controls(self) -> list[QWidget]:
        """The line, then the button."""
        return [self._line, self._button]

    def _on_text(self, text: str) -> None:
        self._line.setToolTip(text)
        self.changed.emit()

    def _on_browse(self) -> None:
        dialog = QFileDialog(self.window(), "Choose a file", str((self.value or Path.home()).parent))
        dialog.setObjectName("path_dialog")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(self._line.setText)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()
