"""How a row of the review looks: picture, name, how unsure the model is, and what was said of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, QRect, Qt
from qtpy.QtGui import QColor, QPainter, QPixmap
from qtpy.QtWidgets import QWidget

from napari_melanoma.ui.picture_rows import MARGIN_PX, PictureRows, RowLook, paint_picture
from napari_melanoma.ui.review.listing import SCORE_ROLE, STATE_ROLE, WORDS_ROLE

if TYPE_CHECKING:
    from napari_melanoma.ui.look import ThemedIcons

PICTURE_PX, WIDTH_PX = 48, 160
GAP_PX = 8
BAR_PX = 5
MARKS = {"accepted": "✓", "corrected": "✎", "rejected": "✕", "unreadable": "!"}


class ReviewDelegate(PictureRows):
    """Paints rows in the colours of the theme."""

    def __init__(self, icons: ThemedIcons, parent: QWidget) -> None:
        super().__init__(icons, PICTURE_PX, WIDTH_PX, parent)

    def paint_row(self, painter: QPainter, place: QRect, index: QModelIndex, look: RowLook) -> None:
        """Paint a photograph with what is known of it."""
        picture = index.data(Qt.ItemDataRole.DecorationRole)
        square = QRect(place.left() + GAP_PX, place.top() + MARGIN_PX, PICTURE_PX, PICTURE_PX)
        paint_picture(painter, square, picture if isinstance(picture, QPixmap) else None, look.faint)
        words = place.adjusted(PICTURE_PX + 2 * GAP_PX, 6, -GAP_PX, -6)
        self._paint_words(painter, words, index, (look.text, look.faint))
        self._paint_score(painter, words, index, look.faint)

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
