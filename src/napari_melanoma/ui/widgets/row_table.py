"""Base class of the tables of lesions and of regions, whose rows are positions on the slide."""

from __future__ import annotations

from qtpy.QtCore import QAbstractTableModel, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QAbstractItemView, QTableView

ROW_PX, VISIBLE_ROWS = 22, 7


class RowTable(QTableView):
    """Table whose rows are selected as a whole; a click on a column title sorts it, the third click restores the order.

    Subclasses implement ``_activate_selected``.
    """

    def __init__(self, model: QAbstractTableModel) -> None:
        super().__init__()
        self.setModel(model)
        model.setParent(self)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_PX)
        header = self.horizontalHeader()
        header.setSortIndicatorClearable(True)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self._silent = False  # True while rows are selected by code, which must not activate them
        self.selectionModel().selectionChanged.connect(self._on_selection)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Activate the selected rows again if the click does not change the selection."""
        previous = self.selectionModel().selectedRows()
        super().mousePressEvent(event)
        is_left = event.button() == Qt.MouseButton.LeftButton
        if is_left and previous == self.selectionModel().selectedRows() and self.indexAt(event.pos()).isValid():
            self._activate_selected()

    def _on_selection(self, *_: object) -> None:
        if not self._silent:
            self._activate_selected()

    def _activate_selected(self) -> None:
        """Show the rows that the user has selected."""
        raise NotImplementedError
