"""The list of a review as a widget: ordered anew while a hand is over it, and never moving the row under the hand."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QModelIndex, Qt, QTimer, Signal
from qtpy.QtWidgets import QAbstractItemView, QListView

from napari_melanoma.ui.look import ThemedIcons, named
from napari_melanoma.ui.review.delegate import ReviewDelegate
from napari_melanoma.ui.review.listing import ReviewList

ARRANGE_MS = 1000  # while ratings come in, the order is made anew so often


class ReviewView(QListView):
    """Rows of which one is under review."""

    chosen = Signal(int)

    def __init__(self, rows: ReviewList, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "review_list", "Photographs, the least sure first").setToolTip("")
        self.item: int | None = None
        self._list = rows
        self._arranging = QTimer(self)
        self._arranging.setSingleShot(True)
        self._arranging.setInterval(ARRANGE_MS)
        self._arranging.timeout.connect(self.arrange)
        self.setModel(rows)
        self.setItemDelegate(ReviewDelegate(icons, self))
        self.setUniformItemSizes(True)
        self.setMouseTracking(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.selectionModel().currentChanged.connect(self._on_current)
        rows.modelReset.connect(self._select)

    @property
    def busy(self) -> bool:
        """Whether the order is still to be made anew."""
        return self._arranging.isActive()

    def turn_to(self, item: int | None) -> None:
        """Put an item under review without telling anybody, and bring it into sight."""
        self.item = item
        self._select()
        self.scrollTo(self._list.index(self._list.row(item)))

    def change(self, item: int) -> None:
        """Paint an item anew, and soon make the order anew as well."""
        self._list.refresh(item)
        if not self._arranging.isActive():
            self._arranging.start()

    def arrange(self) -> None:
        """Order the rows anew; the one under the hand stays, and the one under review stays where it is seen."""
        self._arranging.stop()
        hovered = self._hovered()
        before = self._top()
        self._list.arrange(hovered)
        self._select()
        after = self._top()
        if hovered is None and before is not None and after is not None:
            bar = self.verticalScrollBar()
            bar.setValue(bar.value() + after - before)

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Put the row that stayed for the hand where it belongs."""
        super().leaveEvent(event)
        self._arranging.start()

    def _hovered(self) -> tuple[int, int] | None:
        """Item and row that the mouse is over."""
        viewport = self.viewport()
        if not viewport.underMouse():
            return None
        row = self.indexAt(viewport.mapFromGlobal(self.cursor().pos())).row()
        item = self._list.item(row)
        return None if item is None else (item, row)

    def _top(self) -> int | None:
        """Where the row under review is, or None where it is out of sight."""
        index = self._list.index(self._list.row(self.item))
        place = self.visualRect(index)
        return place.top() if index.isValid() and self.viewport().rect().intersects(place) else None

    def _select(self) -> None:
        """Mark the row under review."""
        index = self._list.index(self._list.row(self.item))
        selection = self.selectionModel()
        if selection is not None and selection.currentIndex() != index:
            selection.blockSignals(True)
            self.setCurrentIndex(index)
            selection.blockSignals(False)
            self.viewport().update()

    def _on_current(self, index: QModelIndex, before: QModelIndex) -> None:
        item = self._list.item(index.row()) if index.isValid() else None
        if item is not None and item != self.item:
            self.item = item
            self.chosen.emit(item)
