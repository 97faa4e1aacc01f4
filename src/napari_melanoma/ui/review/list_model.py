"""The list of photographs under review."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from qtpy.QtCore import QAbstractListModel, QEvent, QModelIndex, QObject, QRect, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QPainter, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QListView, QWidget

from napari_melanoma.ui.widgets.style import ThemedIcons, named
from napari_melanoma.ui.widgets.thumbnails import MARGIN_PX, RowStyle, ThumbnailDelegate, paint_thumbnail

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.lesion.review import CachedRating

PICTURE_PX, WIDTH_PX = 48, 160
GAP_PX = 8
BAR_PX = 5
STATE_MARKS = {"accepted": "✓", "corrected": "✎", "rejected": "✕", "unreadable": "!"}


class ReviewDelegate(ThumbnailDelegate):
    """Paints rows in the colours of the theme."""

    def __init__(self, icons: ThemedIcons, parent: QWidget) -> None:
        super().__init__(icons, PICTURE_PX, WIDTH_PX, parent)

    def paint_row(self, painter: QPainter, place: QRect, index: QModelIndex, style: RowStyle) -> None:
        """Paint a photograph with what is known of it."""
        picture = index.data(Qt.ItemDataRole.DecorationRole)
        square = QRect(place.left() + GAP_PX, place.top() + MARGIN_PX, PICTURE_PX, PICTURE_PX)
        paint_thumbnail(painter, square, picture if isinstance(picture, QPixmap) else None, style.faint)
        words = place.adjusted(PICTURE_PX + 2 * GAP_PX, 6, -GAP_PX, -6)
        self._paint_words(painter, words, index, (style.text, style.faint))
        self._paint_score(painter, words, index, style.faint)

    def _paint_words(self, painter: QPainter, place: QRect, index: QModelIndex, colours: tuple[QColor, QColor]) -> None:
        text, faint = colours
        metrics = painter.fontMetrics()
        state = index.data(STATE_ROLE)
        said = f"{STATE_MARKS[state]} {state}" if state in STATE_MARKS else ""
        room = place.width() - (metrics.horizontalAdvance(said) + GAP_PX if said else 0)
        name = metrics.elidedText(index.data(), Qt.TextElideMode.ElideMiddle, room)
        top = Qt.AlignmentFlag.AlignTop
        painter.setPen(text)
        painter.drawText(place, int(Qt.AlignmentFlag.AlignLeft | top), name)
        painter.setPen(faint)
        painter.drawText(place, int(Qt.AlignmentFlag.AlignRight | top), said)
        below = place.adjusted(0, metrics.height() + 1, 0, 0)
        words = metrics.elidedText(index.data(WORDS_ROLE), Qt.TextElideMode.ElideRight, place.width())
        painter.drawText(below, int(Qt.AlignmentFlag.AlignLeft | top), words)

    def _paint_score(self, painter: QPainter, place: QRect, index: QModelIndex, track: QColor) -> None:
        score = index.data(SCORE_ROLE)
        if score is None or math.isnan(score):
            return
        whole = QRect(place.left(), place.bottom() - BAR_PX + 1, place.width(), BAR_PX)
        painter.setPen(Qt.PenStyle.NoPen)
        track.setAlphaF(0.3)
        painter.setBrush(track)
        painter.drawRoundedRect(whole, 2, 2)
        painter.setBrush(QColor("#e69f00"))  # seen by colour-blind eyes on both themes
        painter.drawRoundedRect(QRect(whole.left(), whole.top(), round(score * whole.width()), BAR_PX), 2, 2)


WORDS_ROLE = int(Qt.ItemDataRole.UserRole) + 1
STATE_ROLE = int(Qt.ItemDataRole.UserRole) + 2
SCORE_ROLE = int(Qt.ItemDataRole.UserRole) + 3
NO_INDEX = QModelIndex()


class ReviewListModel(QAbstractListModel):
    """Rows over ``ReviewItems``."""

    counts_changed = Signal()

    def __init__(self, thumbnail: Callable[[Path], QPixmap | None], parent: QObject) -> None:
        super().__init__(parent)
        self.items = ReviewItems()
        self.rating_method = "entropy"
        self.only_unreviewed = True
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
        """Give the item of a row.

        None where there is no such row.
        """
        return int(self._order[row]) if 0 <= row < len(self._order) else None

    def row(self, item: int | None) -> int:
        """Give the row of an item.

        -1 where it is not shown.
        """
        return -1 if item is None or item >= len(self._rows) else int(self._rows[item])

    def next_unreviewed(self, row: int) -> int | None:
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
        self._set_order(items.order(self.only_unreviewed))
        self.endResetModel()
        self.counts_changed.emit()

    def update_order(self, pinned: tuple[int, int] | None = None) -> None:
        """Order the rows anew after scores, states or the filter changed."""
        order = self.items.order(self.only_unreviewed, pinned)
        if len(order) == len(self._order):
            self._reorder(order)
        else:
            self.beginResetModel()
            self._set_order(order)
            self.endResetModel()
        self.counts_changed.emit()

    def update_item(self, item: int) -> None:
        """Paint the row of an item anew."""
        index = self.index(self.row(item))
        if index.isValid():
            self.dataChanged.emit(index, index)

    def _reorder(self, order: Any) -> None:  # noqa: ANN401 - an array, or what Qt makes of it
        """Put as many rows in another order; what is selected stays selected."""
        self.layoutAboutToBeChanged.emit()
        before = self.persistentIndexList()
        items = [self.item(index.row()) for index in before]
        self._set_order(order)
        self.changePersistentIndexList(before, [self.index(self.row(item)) for item in items])
        self.layoutChanged.emit()

    def _set_order(self, order: Any) -> None:  # noqa: ANN401 - as above
        self._order = order
        self._rows = np.full(len(self.items), -1, np.intp)
        self._rows[order] = np.arange(len(order))


UPDATE_ORDER_MS = 1000  # while ratings come in, the order is made anew so often


class ReviewListView(QListView):
    """Rows of which one is under review."""

    item_selected = Signal(int)

    def __init__(self, rows: ReviewListModel, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "review_list", "Photographs, the least sure first").setToolTip("")
        self.item: int | None = None
        self._list = rows
        self._order_timer = QTimer(self)
        self._order_timer.setSingleShot(True)
        self._order_timer.setInterval(UPDATE_ORDER_MS)
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

    @property
    def busy(self) -> bool:
        """Whether the order is still to be made anew."""
        return self._order_timer.isActive()

    def set_item(self, item: int | None) -> None:
        """Put an item under review without telling anybody, and bring it into sight."""
        self.item = item
        self._select()
        self.scrollTo(self._list.index(self._list.row(item)))

    def update_item(self, item: int) -> None:
        """Paint an item anew, and soon make the order anew as well."""
        self._list.update_item(item)
        if not self._order_timer.isActive():
            self._order_timer.start()

    def update_order(self) -> None:
        """Order the rows anew; the one under the hand stays, and the one under review stays where it is seen."""
        self._order_timer.stop()
        hovered = self._hovered()
        before = self._current_row_top()
        self._list.update_order(hovered)
        self._select()
        after = self._current_row_top()
        if hovered is None and before is not None and after is not None:
            bar = self.verticalScrollBar()
            bar.setValue(bar.value() + after - before)

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Put the row that stayed for the hand where it belongs."""
        super().leaveEvent(event)
        self._order_timer.start()

    def _hovered(self) -> tuple[int, int] | None:
        """Item and row that the mouse is over."""
        viewport = self.viewport()
        if not viewport.underMouse():
            return None
        row = self.indexAt(viewport.mapFromGlobal(self.cursor().pos())).row()
        item = self._list.item(row)
        return None if item is None else (item, row)

    def _current_row_top(self) -> int | None:
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
            self.item_selected.emit(item)


State = Literal["to do", "accepted", "corrected", "rejected", "unreadable"]
STATES: tuple[State, ...] = ("to do", "accepted", "corrected", "rejected", "unreadable")
TO_DO, UNREADABLE = 0, 4
LAST_POSITION = np.iinfo(np.uint16).max  # where what was not rated yet stands in the order
CERTAINTY_WORDS: dict[str, tuple[tuple[float, str], ...]] = {
    "entropy": ((0.15, "sure"), (0.25, "fairly sure"), (0.4, "unsure"), (2.0, "very unsure")),
    "disagreement": ((0.05, "sure"), (0.12, "fairly sure"), (0.25, "unsure"), (2.0, "very unsure")),
}


class ReviewItems:
    """A column for each thing that is known; an item is known by its number, which never changes."""

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        self.paths = list(paths)
        self.scores = np.full(len(self.paths), np.nan, np.float32)
        self.states = np.zeros(len(self.paths), np.uint8)
        self.without_lesion: set[int] = set()  # the model found no lesion
        self.errors: dict[int, str] = {}
        self._digests: dict[int, str] = {}
        self._by_digest: dict[str, list[int]] = {}
        self._reviews: Mapping[str, str] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def set_rating(self, item: int, rating: CachedRating) -> None:
        """Take what the model says of a photograph."""
        self.scores[item] = rating.score
        if not rating.lesion_found:
            self.without_lesion.add(item)
        self.set_digest(item, rating.image_sha256)

    def set_digest(self, item: int, image_digest: str) -> None:
        """Take the fingerprint of a photograph's pixels, by which the corrections know it."""
        if self._digests.get(item) != image_digest:
            self._digests[item] = image_digest
            self._by_digest.setdefault(image_digest, []).append(item)
        self.states[item] = self._state(self._reviews.get(image_digest))

    def set_unreadable(self, item: int, reason: str) -> None:
        """Take that a file cannot be read."""
        self.errors[item] = reason
        self.states[item] = UNREADABLE

    def set_reviews(self, reviews: Mapping[str, str]) -> None:
        """Take what the corrections say of photographs.

        ``reviews``: review state by the fingerprint of the pixels.
        """
        for digest in {*self._reviews, *reviews}:
            for item in self._by_digest.get(digest, ()):
                self.states[item] = self._state(reviews.get(digest))
        self._reviews = dict(reviews)

    def clear_ratings(self) -> None:
        """Forget all scores, because another model or another way rates."""
        self.scores[:] = np.nan
        self.without_lesion.clear()

    def unrated(self) -> list[int]:
        """List what is still to be rated.

        In the order of the folder; what cannot be read is left out.
        """
        return np.flatnonzero(np.isnan(self.scores) & (self.states != UNREADABLE)).tolist()

    def order(self, only_unreviewed: bool, pinned: tuple[int, int] | None = None) -> NDArray[np.intp]:
        """Give the items with the most unsure first; then what was not rated, then what cannot be read.

        Item numbers, by row.
        """
        places = np.where(
            np.isnan(self.scores), LAST_POSITION, (LAST_POSITION - 2) * (1 - np.nan_to_num(self.scores)).clip(0, 1)
        )
        places[self.states == UNREADABLE] = LAST_POSITION
        found = np.argsort(places.astype(np.uint16), kind="stable")  # of this kind of number it is done in a moment
        if only_unreviewed:
            found = found[self.states[found] == TO_DO]
        if pinned is None or not (there := np.flatnonzero(found == pinned[0])).size:
            return found
        return np.insert(np.delete(found, there), min(pinned[1], len(found) - 1), pinned[0])

    def describe_rating(self, item: int, method: str) -> str:
        """Say how unsure the model is of a photograph."""
        score = float(self.scores[item])
        if item in self.errors:
            return "cannot be read"
        if np.isnan(score):
            return "not rated yet"
        if item in self.without_lesion:
            return "no lesion found"
        return f"{next(word for below, word in CERTAINTY_WORDS[method] if score < below)} {score:.2f}"

    def counts(self) -> dict[State, int]:
        """Count the items of each state.

        Every state, 0 where there is none.
        """
        counted = np.bincount(self.states, minlength=len(STATES))
        return {state: int(count) for state, count in zip(STATES, counted, strict=True)}

    @staticmethod
    def _state(review: str | None) -> int:
        return STATES.index(review) if review in ("accepted", "corrected", "rejected") else TO_DO
