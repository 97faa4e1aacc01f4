"""Base classes of the tables of lesions and of regions, whose rows are positions on the slide."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Generic, NamedTuple, TypeVar

from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    Qt,
    Signal,
)
from qtpy.QtGui import QKeyEvent, QMouseEvent, QShowEvent
from qtpy.QtWidgets import QAbstractItemView, QTableView

from napari_melanoma.ui.viewer.shortcuts import is_delete_key

AnyIndex = QModelIndex | QPersistentModelIndex
Row = TypeVar("Row")
Id = TypeVar("Id", int, str)
ROW_PX, VISIBLE_ROWS = 22, 10


class Column(NamedTuple):
    """A column; ``largest_first``: the first click on its title sorts in descending order."""

    title: str
    tip: str
    largest_first: bool = False


class RowTableModel(QAbstractTableModel, Generic[Row, Id]):
    """Table model of rows with an id. It sorts and filters them itself, which is fast enough for thousands.

    ``rows``: in the displayed order. Subclasses implement ``data``, ``row_id`` and ``sort_key``.
    """

    columns: tuple[Column, ...]

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[Row, ...] = ()
        self._all: tuple[Row, ...] = ()
        self._column, self._descending = -1, False  # column -1: not sorted

    def row_id(self, row: Row) -> Id:
        """Return what identifies a row when the rows are replaced."""
        raise NotImplementedError

    def sort_key(self, row: Row, column: int) -> tuple[bool, object]:
        """Return whether a cell is empty, in which case its row is last, and the value by which it is sorted."""
        raise NotImplementedError

    def matches_filter(self, row: Row) -> bool:
        return True

    @property
    def count(self) -> int:
        """Number of rows, including those that the filter hides."""
        return len(self._all)

    def set_rows(self, rows: Sequence[Row]) -> None:
        self._all = tuple(rows)
        self.arrange()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; -1 for the original order."""
        self._column, self._descending = column, order == Qt.SortOrder.DescendingOrder
        self.arrange()

    def arrange(self) -> None:
        self.beginResetModel()
        rows = [row for row in self._all if self.matches_filter(row)]
        if 0 <= self._column < len(self.columns):
            rows.sort(key=lambda row: self.sort_key(row, self._column), reverse=self._descending)
            if self._descending:  # empty cells stay last
                rows.sort(key=lambda row: self.sort_key(row, self._column)[0])
        self.rows = tuple(rows)
        self.endResetModel()

    def find_rows(self, ids: Collection[Id]) -> list[int]:
        wanted = set(ids)
        return [number for number, row in enumerate(self.rows) if self.row_id(row) in wanted] if wanted else []

    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and way
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and way
        return 0 if parent.isValid() else len(self.columns)

    def headerData(self, index: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:  # noqa: N802
        """Return title or tooltip of a column."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        title, tip, largest_first = self.columns[index]
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{tip} (click to sort; a third click restores the order)"
        if role == Qt.ItemDataRole.InitialSortOrderRole:
            return int(largest_first)  # Qt expects its ascending or descending order as a number
        return title if role == Qt.ItemDataRole.DisplayRole else None


class RowTable(QTableView, Generic[Row, Id]):
    """Table whose rows are selected as a whole; a click on a column title sorts it, the third click restores the order.

    ``chosen``: the user selected rows, or clicked the selected ones again; tuple of their ids. ``key_pressed``: name of
    the action of a key, such as "remove".
    """

    chosen = Signal(object)
    key_pressed = Signal(str)

    def __init__(self, model: RowTableModel[Row, Id], least_rows: int) -> None:
        super().__init__()
        self.table_model: RowTableModel[Row, Id] = model
        self._least_rows = least_rows
        self._selected_ids: tuple[Id, ...] = ()
        self._silent = False  # True while rows are selected by code, which must not activate them
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
        self.setSortingEnabled(True)
        header.sortIndicatorChanged.connect(lambda *_: self.select(self._selected_ids))
        self.selectionModel().selectionChanged.connect(self._on_selection)

    @property
    def selected(self) -> tuple[Id, ...]:
        """Ids of the selected rows, from top to bottom."""
        rows = sorted({index.row() for index in self.selectionModel().selectedRows()})
        return tuple(self.table_model.row_id(self.table_model.rows[row]) for row in rows)

    def select(self, ids: Collection[Id]) -> None:
        """Select rows, and scroll to the first of them; rows that are selected already stay where they are."""
        self._selected_ids = tuple(ids)
        if set(ids) == set(self.selected):
            return
        model, self._silent = self.table_model, True
        selection, last = QItemSelection(), len(model.columns) - 1
        rows = model.find_rows(ids)
        for row in rows:
            selection.select(model.index(row, 0), model.index(row, last))
        self.selectionModel().select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        if rows:
            self.scrollTo(model.index(rows[0], 0))
            self.selectionModel().setCurrentIndex(model.index(rows[0], 0), QItemSelectionModel.SelectionFlag.NoUpdate)
        self._silent = False

    def scroll_to(self, row_id: Id) -> None:
        for row in self.table_model.find_rows((row_id,)):
            self.scrollTo(self.table_model.index(row, 0))

    def show_rows(self, rows: Sequence[Row], selected: Collection[Id]) -> None:
        """Replace the rows without changing the scroll position."""
        position = self.verticalScrollBar().value()
        self._silent = True
        self.table_model.set_rows(rows)
        self._silent = False
        self.verticalScrollBar().setValue(position)
        self.select(selected)
        self._fit_height()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Fit the height again, because the header has the font of the theme now."""
        super().showEvent(event)
        self._fit_height()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Activate the selected rows again if the click does not change the selection."""
        previous = self.selectionModel().selectedRows()
        super().mousePressEvent(event)
        is_left = event.button() == Qt.MouseButton.LeftButton
        if is_left and previous == self.selectionModel().selectedRows() and self.indexAt(event.pos()).isValid():
            self._activate_selected()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Request the removal of the selected rows with Delete."""
        if is_delete_key(event):
            self.key_pressed.emit("remove")
        else:
            super().keyPressEvent(event)

    def _fit_height(self) -> None:
        shown_rows = max(self._least_rows, min(self.table_model.count, VISIBLE_ROWS))
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + ROW_PX * shown_rows + 4)

    def _on_selection(self, *_: object) -> None:
        if not self._silent:
            self._activate_selected()

    def _activate_selected(self) -> None:
        self._selected_ids = self.selected
        self.chosen.emit(self._selected_ids)
