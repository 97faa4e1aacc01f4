"""The log of a run: its end, as it grows; selectable, and copied as a whole with one button."""

from __future__ import annotations

from qtpy.QtGui import QFontDatabase, QGuiApplication
from qtpy.QtWidgets import QPlainTextEdit, QVBoxLayout, QWidget

from napari_melanoma.ui.look import ThemedIcons, named, row, tool

MOST_LINES = 1000


class LogView(QWidget):
    """Follows its end, unless the reader has scrolled up."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._text = named(QPlainTextEdit(), "log", "Log of the run")
        self._text.setToolTip("")
        self._text.setReadOnly(True)
        self._text.setMaximumBlockCount(MOST_LINES)
        self._text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._text.setPlaceholderText("Nothing was logged yet.")
        font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        font.setPointSizeF(8.0)
        self._text.setFont(font)
        self._text.setFixedHeight(110)
        self._copy = tool("log_copy", "Copy the log", "Copy the log to the clipboard", "copy")
        self._copy.setEnabled(False)
        self._copy.clicked.connect(self._on_copy)
        icons.add(self._copy, "copy_to_clipboard")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._text)
        layout.addWidget(row(self._copy))

    @property
    def text(self) -> str:
        """What it shows."""
        return str(self._text.toPlainText())

    def clear(self) -> None:
        """Show nothing."""
        self._text.clear()
        self._copy.setEnabled(False)

    def add(self, text: str) -> None:
        """Append lines."""
        lines = text.rstrip("\n")
        if not lines:
            return
        bar = self._text.verticalScrollBar()
        at_end = bar.value() >= bar.maximum() - 2
        self._text.appendPlainText(lines)
        self._copy.setEnabled(True)
        if at_end:
            bar.setValue(bar.maximum())

    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text)
