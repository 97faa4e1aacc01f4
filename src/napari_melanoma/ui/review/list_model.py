"""The list of photographs to review: their scores and states, the list model, the view and its delegate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from qtpy.QtCore import QAbstractListModel, QEvent, QModelIndex, QObject, QRect, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QListView, QWidget

from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import ThemedIcons, named
from napari_melanoma.ui.widgets.thumbnails import MARGIN_PX, RowStyle, ThumbnailDelegate, paint_thumbnail

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.lesion.uncertainty_ratings import CachedRating

PICTURE_PX, WIDTH_PX = 48, 160  # side of a thumbnail; minimum width of a row
GAP_PX = 8
BAR_PX = 5  # height of the bar that shows the score
STATE_MARKS = {"accepted": "✓", "corrected": "✎", "rejected": "✕", "unreadable": "!"}
WORDS_ROLE = int(Qt.ItemDataRole.UserRole) + 1
STATE_ROLE = int(Qt.ItemDataRole.UserRole) + 2
SCORE_ROLE = int(Qt.ItemDataRole.UserRole) + 3
NO_INDEX = QModelIndex()
UPDATE_ORDER_MS = 1000  # interval between two sortings while photographs are rated
State = Literal["to do", "accepted", "corrected", "rejected", "unreadable"]
STATES: tuple[State, ...] = ("to do", "accepted", "corrected", "rejected", "unreadable")
TO_DO, UNREADABLE = 0, 4  # indices in STATES
# Sort keys of photographs without a rating; those of rated photographs are smaller.
UNREADABLE_KEY = np.iinfo(np.uint16).max
UNRATED_KEY = UNREADABLE_KEY - 1
CERTAINTY_WORDS: dict[str, tuple[tuple[float, str], ...]] = {  # by method: upper limit of the score, words
    "entropy": ((0.15, "certain"), (0.25, "fairly certain"), (0.4, "uncertain"), (2.0, "very uncertain")),
    "disagreement": ((0.05, "certain"), (0.12, "fairly certain"), (0.25, "uncertain"), (2.0, "very uncertain")),
}


class ReviewDelegate(ThumbnailDelegate):
    """Paint rows with thumbnail, name, state and uncertainty."""

    def __init__(self, icons: ThemedIcons, parent: QWidget) -> None:
        super().__init__(icons, PICTURE_PX, WIDTH_PX, parent)

    def paint_row(self, painter: QPainter, rect: QRect, index: QModelIndex, style: RowStyle) -> None:
        """Paint the row of a photograph."""
        picture = index.data(Qt.ItemDataRole.DecorationRole)
        square = QRect(rect.left() + GAP_PX, rect.top() + MARGIN_PX, PICTURE_PX, PICTURE_PX)
        paint_thumbnail(painter, square, picture if isinstance(picture, QPixmap) else None, style.faint)
        text_area = rect.adjusted(PICTURE_PX + 2 * GAP_PX, 6, -GAP_PX, -6)
        self._paint_text(painter, text_area, index, (style.text, style.faint))
        self._paint_score(painter, text_area, index, style.faint)

    def _paint_text(self, painter: QPainter, rect: QRect, index: QModelIndex, colors: tuple[QColor, QColor]) -> None:
        text, faint = colors
        metrics = painter.fontMetrics()
        state = index.data(STATE_ROLE)
        mark = f"{STATE_MARKS[state]} {state}" if state in STATE_MARKS else ""
        name_width = rect.width() - (metrics.horizontalAdvance(mark) + GAP_PX if mark else 0)
        name = metrics.elidedText(index.data(), Qt.TextElideMode.ElideMiddle, name_width)
        top = Qt.AlignmentFlag.AlignTop
        painter.setPen(text)
        painter.drawText(rect, int(Qt.AlignmentFlag.AlignLeft | top), name)
        painter.setPen(faint)
        painter.drawText(rect, int(Qt.AlignmentFlag.AlignRight | top), mark)
        second_line = rect.adjusted(0, metrics.height() + 1, 0, 0)
        words = metrics.elidedText(index.data(WORDS_ROLE), Qt.TextElideMode.ElideRight, rect.width())
        painter.drawText(second_line, int(Qt.AlignmentFlag.AlignLeft | top), words)

    def _paint_score(self, painter: QPainter, rect: QRect, index: QModelIndex, track: QColor) -> None:
        """Paint the score as a bar at the bottom; ``track``: color of the full length, made transparent."""
        score = index.data(SCORE_ROLE)
        if score is None or math.isnan(score):
            return
        whole = QRect(rect.left(), rect.bottom() - BAR_PX + 1, rect.width(), BAR_PX)
        painter.setPen(Qt.PenStyle.NoPen)
        track.setAlphaF(0.3)
        painter.setBrush(track)
        painter.drawRoundedRect(whole, 2, 2)
        painter.setBrush(QColor("#e69f00"))  # visible in both themes, also with color vision deficiency
        painter.drawRoundedRect(QRect(whole.left(), whole.top(), round(score * whole.width()), BAR_PX), 2, 2)


class ReviewListModel(QAbstractListModel):
    """List model of ``ReviewItems``: sorted, and filtered by state.

    An item is the fixed number of a photograph; its row changes. ``thumbnail``: returns the thumbnail of a photograph,
    None until it has been read.
    """

    counts_changed = Signal()

    def __init__(self, thumbnail: Callable[[Path], QPixmap | None], parent: QObject) -> None:
        super().__init__(parent)
        self.items = ReviewItems()
        self.rating_method = "entropy"
        self.only_unreviewed = True
        self._thumbnail = thumbnail
        self._order = np.zeros(0, np.intp)  # items by row
        self._rows = np.zeros(0, np.intp)  # rows by item; -1 if an item is not shown

    def rowCount(self, parent: QModelIndex = NO_INDEX) -> int:  # noqa: N802 - Qt's name
        """Return the number of rows."""
        return 0 if parent.isValid() else len(self._order)

    def data(self, index: QModelIndex, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:  # noqa: ANN401 - by role
        """Return the data of a row."""
        item = self.item(index.row()) if index.isValid() else None
        if item is None:
            return None
        name, state, words = (
            self.items.paths[item].name,
            self.state(item),
            self.items.describe_rating(item, self.rating_method),
        )
        if role == Qt.ItemDataRole.DisplayRole:
            return name
        if role == Qt.ItemDataRole.DecorationRole:
            return self._thumbnail(self.items.paths[item])
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{name}, {words}, {state}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.items.errors.get(item) or str(self.items.paths[item])
        return {WORDS_ROLE: words, STATE_ROLE: state, SCORE_ROLE: float(self.items.scores[item])}.get(role)

    def item(self, row: int) -> int | None:
        """Return the item in a row; None if there is no such row."""
        return int(self._order[row]) if 0 <= row < len(self._order) else None

    def row(self, item: int | None) -> int:
        """Return the row of an item; -1 if it is not shown."""
        return -1 if item is None or item >= len(self._rows) else int(self._rows[item])

    def next_unreviewed(self, row: int) -> int | None:
        """Return the first unreviewed item at or below a row, else the first of all; None if all are reviewed."""
        rows = np.flatnonzero(self.items.states[self._order] == TO_DO)
        return self.item(int(rows[np.searchsorted(rows, row) % len(rows)])) if len(rows) else None

    def state(self, item: int) -> str:
        """Return the state of an item, one of ``STATES``."""
        return STATES[self.items.states[item]]

    def set_items(self, items: ReviewItems) -> None:
        """Replace the photographs."""
        self.beginResetModel()
        self.items = items
        self._set_order(items.order(self.only_unreviewed))
        self.endResetModel()
        self.counts_changed.emit()

    def update_order(self, pinned: tuple[int, int] | None = None) -> None:
        """Sort the rows after scores, states or the filter have changed. ``pinned``: as in ``ReviewItems.order``."""
        order = self.items.order(self.only_unreviewed, pinned)
        if len(order) == len(self._order):
            self._reorder(order)
        else:
            self.beginResetModel()
            self._set_order(order)
            self.endResetModel()
        self.counts_changed.emit()

    def update_item(self, item: int) -> None:
        """Repaint the row of an item."""
        index = self.index(self.row(item))
        if index.isValid():
            self.dataChanged.emit(index, index)

    def _reorder(self, order: NDArray[np.intp]) -> None:
        """Change the order of the same number of rows without changing the selected photograph."""
        self.layoutAboutToBeChanged.emit()
        indices = self.persistentIndexList()
        items = [self.item(index.row()) for index in indices]
        self._set_order(order)
        self.changePersistentIndexList(indices, [self.index(self.row(item)) for item in items])
        self.layoutChanged.emit()

    def _set_order(self, order: NDArray[np.intp]) -> None:
        self._order = order
        self._rows = np.full(len(self.items), -1, np.intp)
        self._rows[order] = np.arange(len(order))


class ReviewListView(QListView):
    """The list of photographs; ``item`` is the one under review, None if there is none."""

    item_selected = Signal(int)  # the user selected another item

    def __init__(self, rows: ReviewListModel, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "review_list", "Photographs, most uncertain first").setToolTip("")
        self.item: int | None = None
        self._list = rows
        self._order_timer = DebounceTimer(self, UPDATE_ORDER_MS)
        self._order_timer.timeout.connect(self.update_order)
        self.setModel(rows)
        self.setItemDelegate(ReviewDelegate(icons, self))
        self.setUniformItemSizes(True)
        self.setMouseTracking(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.selectionModel().currentChanged.connect(self._on_current)
        rows.modelReset.connect(self._select)

    def set_item(self, item: int | None) -> None:
        """Set the item under review without emitting signals, and scroll to it."""
        self.item = item
        self._select()
        self.scrollTo(self._list.index(self._list.row(item)))

    def update_item(self, item: int) -> None:
        """Repaint an item, and sort after a delay."""
        self._list.update_item(item)
        if not self._order_timer.isActive():
            self._order_timer.start()

    def update_order(self) -> None:
        """Sort the rows without moving the photograph under the mouse, else without moving the one under review."""
        self._order_timer.stop()
        hovered = self._hovered()
        previous_top = self._current_row_top()
        self._list.update_order(hovered)
        self._select()
        top = self._current_row_top()
        if hovered is None and previous_top is not None and top is not None:
            bar = self.verticalScrollBar()
            bar.setValue(bar.value() + top - previous_top)

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Sort again, since the row under the mouse may have been kept out of order."""
        super().leaveEvent(event)
        self._order_timer.start()

    def _hovered(self) -> tuple[int, int] | None:
        """Return item and row under the mouse; None if there is none."""
        viewport = self.viewport()
        if not viewport.underMouse():
            return None
        row = self.indexAt(viewport.mapFromGlobal(self.cursor().pos())).row()
        item = self._list.item(row)
        return None if item is None else (item, row)

    def _current_row_top(self) -> int | None:
        """Return the top of the row under review in the viewport; None if it is not visible."""
        index = self._list.index(self._list.row(self.item))
        rect = self.visualRect(index)
        return rect.top() if index.isValid() and self.viewport().rect().intersects(rect) else None

    def _select(self) -> None:
        """Select the row under review without emitting signals."""
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
            self.item_selected.emit(item)


class ReviewItems:
    """Scores and states of photographs, as arrays over the items, which are the fixed numbers of the photographs.

    ``scores``: float32 (item,), uncertainty, NaN if not rated. ``states``: uint8 (item,), indices in ``STATES``.
    ``errors``: why files cannot be read.
    """

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        self.paths = list(paths)
        self.scores = np.full(len(self.paths), np.nan, np.float32)
        self.states = np.zeros(len(self.paths), np.uint8)
        self.without_lesion: set[int] = set()  # items in which no lesion was detected
        self.errors: dict[int, str] = {}
        self._digests: dict[int, str] = {}
        self._by_digest: dict[str, list[int]] = {}
        self._reviews: Mapping[str, str] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def set_rating(self, item: int, rating: CachedRating) -> None:
        """Set the rating of a photograph."""
        self.scores[item] = rating.score
        if not rating.lesion_found:
            self.without_lesion.add(item)
        self.set_digest(item, rating.image_sha256)

    def set_digest(self, item: int, image_digest: str) -> None:
        """Set the digest of a photograph's pixels, by which the corrections identify it; clears its error."""
        self.errors.pop(item, None)
        if self._digests.get(item) != image_digest:
            self._digests[item] = image_digest
            self._by_digest.setdefault(image_digest, []).append(item)
        self.states[item] = self._state(self._reviews.get(image_digest))

    def set_unreadable(self, item: int, reason: str) -> None:
        """Mark a file as unreadable."""
        self.errors[item] = reason
        self.states[item] = UNREADABLE

    def set_reviews(self, reviews: Mapping[str, str]) -> None:
        """Set the reviews in the corrections, by the digest of the pixels, and update the states."""
        for digest in {*self._reviews, *reviews}:
            for item in self._by_digest.get(digest, ()):
                self.states[item] = self._state(reviews.get(digest))
        self._reviews = dict(reviews)

    def clear_ratings(self) -> None:
        """Clear all ratings, after a change of model or uncertainty measure."""
        self.scores[:] = np.nan
        self.without_lesion.clear()

    def unrated(self) -> list[int]:
        """Return the unrated items in folder order, without unreadable files."""
        return np.flatnonzero(np.isnan(self.scores) & (self.states != UNREADABLE)).tolist()

    def order(self, only_unreviewed: bool, pinned: tuple[int, int] | None = None) -> NDArray[np.intp]:
        """Return the items by row, intp (row,): the most uncertain first, then unrated, then unreadable ones.

        ``pinned``: an item, and the row in which it stays if it is listed.
        """
        certainty = (1 - np.nan_to_num(self.scores)).clip(0, 1)
        keys = np.where(np.isnan(self.scores), UNRATED_KEY, (UNRATED_KEY - 1) * certainty)
        keys[self.states == UNREADABLE] = UNREADABLE_KEY
        items = np.argsort(keys.astype(np.uint16), kind="stable")  # radix sort, which is fast for uint16
        if only_unreviewed:
            items = items[self.states[items] == TO_DO]
        if pinned is None or not (position := np.flatnonzero(items == pinned[0])).size:
            return items
        return np.insert(np.delete(items, position), min(pinned[1], len(items) - 1), pinned[0])

    def describe_rating(self, item: int, method: str) -> str:
        """Describe the uncertainty of a photograph, such as ``uncertain 0.31``, or why there is none."""
        score = float(self.scores[item])
        if item in self.errors:
            return "unreadable"
        if np.isnan(score):
            return "not rated yet"
        if item in self.without_lesion:
            return "no lesion found"
        return f"{next(words for limit, words in CERTAINTY_WORDS[method] if score < limit)} {score:.2f}"

    def counts(self) -> dict[State, int]:
        """Return the number of items in each state, including zeros."""
        counts = np.bincount(self.states, minlength=len(STATES))
        return {state: int(count) for state, count in zip(STATES, counts, strict=True)}

    @staticmethod
    def _state(review: str | None) -> int:
        return STATES.index(review) if review in ("accepted", "corrected", "rejected") else TO_DO
