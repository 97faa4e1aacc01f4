"""The notes of a reading, and the table of all readers."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QFocusEvent, QHideEvent
from qtpy.QtWidgets import QAbstractItemView, QFrame, QHeaderView, QPlainTextEdit, QTableWidget, QTableWidgetItem

from napari_melanoma.depth.reading_texts import READER_COLUMNS
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import named

NOTES_PX, ROW_PX = 58, 24


class NotesField(QPlainTextEdit):
    """Free text; ``edited`` emits it when typing pauses or the field loses the focus."""

    edited = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        named(self, "depth_notes", "Notes", "Free text; saved with the slide, never exported")
        self.setFixedHeight(NOTES_PX)
        self.setTabChangesFocus(True)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._timer = DebounceTimer(self)
        self._timer.timeout.connect(lambda: self.edited.emit(self.toPlainText()))
        self.textChanged.connect(self._timer.start)
        self.flush = self._timer.flush

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802 - Qt's name
        """Emit the text."""
        super().focusOutEvent(event)
        self.flush()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Emit the text."""
        super().hideEvent(event)
        self.flush()

    def show_text(self, text: str, lock: str) -> None:
        """Show the stored text, unless another one is being typed; ``lock``: why it must not be changed."""
        self.setEnabled(not lock)
        if not self._timer.isActive() and self.toPlainText() != text:
            self.blockSignals(True)
            self.setPlainText(text)
            self.blockSignals(False)


class ReaderTable(QTableWidget):
    """The readings of all readers."""

    def __init__(self) -> None:
        super().__init__(0, len(READER_COLUMNS))
        named(self, "depth_readers", "Readings of all readers")
        self.setHorizontalHeaderLabels(list(READER_COLUMNS))
        self.verticalHeader().hide()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.verticalHeader().setDefaultSectionSize(ROW_PX)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.horizontalHeaderItem(len(READER_COLUMNS) - 1).setToolTip("Mitoses per mm²")
        self.hide()

    def show_rows(self, rows: Sequence[Sequence[str]]) -> None:
        """Show cells in the order of the columns; hidden with less than two readings."""
        self.setRowCount(len(rows))
        for index, cells in enumerate(rows):
            for place, cell in enumerate(cells):
                self.setItem(index, place, QTableWidgetItem(cell))
        self.setFixedHeight(ROW_PX * (len(rows) + 1) + 4)
        self.setVisible(len(rows) > 1)
