"""How a row of a case looks: a lesion with its numbered dot, an image with its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, QRect, Qt
from qtpy.QtGui import QColor, QPainter, QPixmap
from qtpy.QtWidgets import QWidget

from napari_melanoma.ui.body.painting import DARK
from napari_melanoma.ui.case.rows import CaseRow
from napari_melanoma.ui.picture_rows import MARGIN_PX, PictureRows, RowLook, paint_picture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_melanoma.ui.look import ThemedIcons

ROW_ROLE = Qt.ItemDataRole.UserRole + 1
PICTURE_PX, WIDTH_PX = 36, 140
ROW_PX = PICTURE_PX + 2 * MARGIN_PX
DOT_PX = 22
GAP_PX = 6


class CaseDelegate(PictureRows):
    """Paints rows in the colours of the theme."""

    def __init__(self, icons: ThemedIcons, find: Callable[[Path], QPixmap | None], parent: QWidget) -> None:
        super().__init__(icons, PICTURE_PX, WIDTH_PX, parent)
        self._find = find

    def paint_row(self, painter: QPainter, place: QRect, index: QModelIndex, look: RowLook) -> None:
        """Paint a lesion or an image."""
        row = index.data(ROW_ROLE)
        if not isinstance(row, CaseRow):
            return
        square = QRect(place.left() + 2, place.top() + MARGIN_PX, PICTURE_PX, PICTURE_PX)
        if row.path is not None:
            missing = row.state == "missing"
            paint_picture(painter, square, None if missing else self._find(row.path), look.faint)
            if missing:
                painter.drawText(square, int(Qt.AlignmentFlag.AlignCenter), "?")
        elif row.number:
            square.setWidth(DOT_PX + 4)
            _paint_dot(painter, square, row.number, look.selected)
        else:
            square.setWidth(0)
        left = square.right() + GAP_PX
        words = QRect(left, place.top() + 5, place.right() - GAP_PX - left, place.height() - 8)
        _paint_words(painter, words, row, look.text, look.faint)


def _paint_dot(painter: QPainter, place: QRect, number: str, selected: bool) -> None:
    """Paint the number of a lesion as on the body map."""
    dot = QRect(0, 0, DOT_PX, DOT_PX)
    dot.moveCenter(place.center())
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(DARK.current if selected else DARK.mark))
    painter.drawEllipse(dot)
    painter.setPen(QColor(DARK.mark_edge))
    font = painter.font()
    font.setBold(True)
    painter.setFont(font)
    painter.drawText(dot, int(Qt.AlignmentFlag.AlignCenter), number)
    font.setBold(False)
    painter.setFont(font)


def _paint_words(painter: QPainter, place: QRect, row: CaseRow, text: QColor, faint: QColor) -> None:
    """Paint title, state and the quiet line."""
    metrics = painter.fontMetrics()
    top, left, right = (Qt.AlignmentFlag.AlignTop, Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight)
    state = metrics.horizontalAdvance(row.state) + GAP_PX if row.state else 0
    painter.setPen(text)
    title = metrics.elidedText(row.title, Qt.TextElideMode.ElideRight, place.width() - state)
    painter.drawText(place, int(left | top), title)
    painter.setPen(faint)
    painter.drawText(place, int(right | top), row.state)
    below = place.adjusted(0, metrics.height() + 2, 0, 0)
    middle = Qt.TextElideMode.ElideMiddle if row.path else Qt.TextElideMode.ElideRight
    painter.drawText(below, int(left | top), metrics.elidedText(row.words, middle, place.width()))
