"""How a row of a case looks: a lesion with its numbered dot, an image with its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, QRect, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPixmap
from qtpy.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from napari_melanoma.ui.body_painting import DARK
from napari_melanoma.ui.case_rows import CaseRow
from napari_melanoma.ui.look import PRIMARY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_melanoma.ui.look import ThemedIcons

ROW_ROLE = Qt.ItemDataRole.UserRole + 1
PICTURE_PX = 36
ROW_PX = PICTURE_PX + 8
DOT_PX = 22
GAP_PX = 6


class CaseDelegate(QStyledItemDelegate):
    """Paints rows in the colours of the theme.

    Parameters
    ----------
    icons : ThemedIcons
        Knows the colours.
    find : callable
        Gives the picture of a file, or None.
    parent : QWidget
        The view.
    """

    def __init__(self, icons: ThemedIcons, find: Callable[[Path], QPixmap | None], parent: QWidget) -> None:
        super().__init__(parent)
        self._icons = icons
        self._find = find

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
        return QSize(140, ROW_PX)

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
        row = index.data(ROW_ROLE)
        if not isinstance(row, CaseRow):
            return
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
        square = QRect(option.rect.left() + 2, option.rect.top() + 4, PICTURE_PX, PICTURE_PX)
        if row.path is not None:
            self._paint_picture(painter, square, row, faint)
        elif row.number:
            square.setWidth(DOT_PX + 4)
            _paint_dot(painter, square, row.number, selected)
        else:
            square.setWidth(0)
        left = square.right() + GAP_PX
        words = QRect(left, option.rect.top() + 5, option.rect.right() - GAP_PX - left, option.rect.height() - 8)
        _paint_words(painter, words, row, text, faint)
        painter.restore()

    def _paint_picture(self, painter: QPainter, square: QRect, row: CaseRow, frame: QColor) -> None:
        assert row.path is not None
        picture = self._find(row.path) if row.state != "missing" else None
        if picture is None:
            painter.setPen(frame)
            painter.drawRoundedRect(square.adjusted(0, 0, -1, -1), 3, 3)
            if row.state == "missing":
                painter.drawText(square, int(Qt.AlignmentFlag.AlignCenter), "?")
            return
        side = min(picture.width(), picture.height())  # the middle: lesions are seldom at the border
        part = QRect((picture.width() - side) // 2, (picture.height() - side) // 2, side, side)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawPixmap(square, picture, part)


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
