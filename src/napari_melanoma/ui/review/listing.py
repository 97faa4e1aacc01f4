"""The photographs of a review as Qt's list model: rows that are ordered anew without moving under a hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QAbstractListModel, QModelIndex, QObject, Qt, Signal
from qtpy.QtGui import QPixmap

from napari_melanoma.ui.review.items import STATES, TO_DO, ReviewItems

if TYPE_CHECKING:
    from pathlib import Path

WORDS_ROLE = int(Qt.ItemDataRole.UserRole) + 1
STATE_ROLE = int(Qt.ItemDataRole.UserRole) + 2
SCORE_ROLE = int(Qt.ItemDataRole.UserRole) + 3
NO_INDEX = QModelIndex()


class ReviewList(QAbstractListModel):
    """Rows over ``ReviewItems``."""

    counted = Signal()

    def __init__(self, thumbnail: Callable[[Path], QPixmap | None], parent: QObject) -> None:
        super().__init__(parent)
        self.items = ReviewItems()
        self.how = "entropy"
        self.to_do = True
        self._thumbnail = thumbnail
        self._order = np.zeros(0, np.intp)
        self._rows = np.zeros(0, np.intp)

    def rowCount(self, parent: QModelIndex = NO_INDEX) -> int:  # noqa: N802 - Qt's name
        """Count the rows that are shown."""
        return 0 if parent.isValid() else len(self._order)

    def data(self, index: QModelIndex, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:  # noqa: ANN401 - by role
        """Give what a row shows."""
        item = self.item(index.row()) if index.isValid() else None
        if item is None:
            return None
        name, state, words = self.items.paths[item].name, self.state(item), self.items.in_words(item, self.how)
        if role == Qt.ItemDataRole.DisplayRole:
            return name
        if role == Qt.ItemDataRole.DecorationRole:
            return self._thumbnail(self.items.paths[item])
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{name}, {words}, {state}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.items.refusals.get(item) or str(self.items.paths[item])
        return {WORDS_ROLE: words, STATE_ROLE: state, SCORE_ROLE: float(self.items.scores[item])}.get(role)

    def item(self, row: int) -> int | None:
        """Give the item of a row.

        None where there is no such row.
        """
        return int(self._order[row]) if 0 <= row < len(self._order) else None

    def row(self, item: int | None) -> int:
        """Give the row of an item.

        -1 where it is not shown.
        """
        return -1 if item is None or item >= len(self._rows) else int(self._rows[item])

    def next_to_do(self, row: int) -> int | None:
        """Find what to look at next.

        Returns the first item from there on that nobody has reviewed; None where all are.
        """
        rows = np.flatnonzero(self.items.states[self._order] == TO_DO)
        return self.item(int(rows[np.searchsorted(rows, row) % len(rows)])) if len(rows) else None

    def state(self, item: int) -> str:
        """Say what was said of an item."""
        return STATES[self.items.states[item]]

    def set_items(self, items: ReviewItems) -> None:
        """Show other photographs."""
        self.beginResetModel()
        self.items = items
        self._take(items.order(self.to_do))
        self.endResetModel()
        self.counted.emit()

    def arrange(self, pinned: tuple[int, int] | None = None) -> None:
        """Order the rows anew after scores, states or the filter changed."""
        order = self.items.order(self.to_do, pinned)
        if len(order) == len(self._order):
            self._move(order)
        else:
            self.beginResetModel()
            self._take(order)
            self.endResetModel()
        self.counted.emit()

    def refresh(self, item: int) -> None:
        """Paint the row of an item anew."""
        index = self.index(self.row(item))
        if index.isValid():
            self.dataChanged.emit(index, index)

    def _move(self, order: Any) -> None:  # noqa: ANN401 - an array, or what Qt makes of it
        """Put as many rows in another order; what is selected stays selected."""
        self.layoutAboutToBeChanged.emit()
        before = self.persistentIndexList()
        items = [self.item(index.row()) for index in before]
        self._take(order)
        self.changePersistentIndexList(before, [self.index(self.row(item)) for item in items])
        self.layoutChanged.emit()

    def _take(self, order: Any) -> None:  # noqa: ANN401 - as above
        self._order = order
        self._rows = np.full(len(self.items), -1, np.intp)
        self._rows[order] = np.arange(len(order))
