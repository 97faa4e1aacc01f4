"""How a row of the review looks: picture, name, how unsure the model is, and what was said of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, QRect, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPixmap
from qtpy.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from napari_melanoma.ui.look import PRIMARY
from napari_melanoma.ui.review_list import SCORE_ROLE, STATE_ROLE, WORDS_ROLE

if TYPE_CHECKING:
    from napari_melanoma.ui.look import ThemedIcons

PICTURE_PX = 48
ROW_PX = PICTURE_PX + 8
GAP_PX = 8
BAR_PX = 5
MARKS = {"accepted": "✓", "corrected": "✎", "rejected": "✕", "unreadable": "!"}


class ReviewDelegate(QStyledItemDelegate):
    """Paints rows in the colours of the theme.

    Parameters
    ----------
    icons : ThemedIcons
        Knows the colours.
    parent : QWidget
        The view.
    """

    def __init__(self, icons: ThemedIcons, parent: QWidget) -> None:
        super().__init__(parent)
        self._icons = icons

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:  # noqa: N802 - Qt's name
        """Give every row the same height.

        Parameters
        ----------
        option : QStyleOptionViewItem
            Where, and whether it is selected.
        index : QModelIndex
            The row.

        Returns
        -------
        QSize
            In pixels.
        """
        return QSize(160, ROW_PX)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Paint a row.

        Parameters
        ----------
        painter : QPainter
            Of the view.
        option : QStyleOptionViewItem
            Where, and whether it is selected.
        index : QModelIndex
            The row.
        """
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colours = self._icons.palette
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        if selected:
            painter.fillRect(option.rect, QColor(PRIMARY))
        elif option.state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(option.rect, QColor(colours.raised))
        text = QColor("white") if selected else QColor(colours.text)
        faint = QColor(text)
        faint.setAlphaF(0.75)  # napari's list is darker than its docks: a fixed grey would fade on it
        self._paint_picture(painter, option.rect, index, faint)
        words = option.rect.adjusted(PICTURE_PX + 2 * GAP_PX, 6, -GAP_PX, -6)
        self._paint_words(painter, words, index, (text, faint))
        self._paint_score(painter, words, index, faint)
        painter.restore()

    def _paint_picture(self, painter: QPainter, place: QRect, index: QModelIndex, frame: QColor) -> None:
        square = QRect(place.left() + GAP_PX, place.top() + 4, PICTURE_PX, PICTURE_PX)
        picture = index.data(Qt.ItemDataRole.DecorationRole)
        if not isinstance(picture, QPixmap):
            painter.setPen(frame)
            painter.drawRoundedRect(square.adjusted(0, 0, -1, -1), 3, 3)
            return
        side = min(picture.width(), picture.height())  # the middle: lesions are seldom at the border
        part = QRect((picture.width() - side) // 2, (picture.height() - side) // 2, side, side)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawPixmap(square, picture, part)

    def _paint_words(self, painter: QPainter, place: QRect, index: QModelIndex, colours: tuple[QColor, QColor]) -> None:
        text, faint = colours
        metrics = painter.fontMetrics()
        state = index.data(STATE_ROLE)
        said = f"{MARKS[state]} {state}" if state in MARKS else ""
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
