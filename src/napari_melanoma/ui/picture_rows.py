"""How rows with a picture look in a list, whatever else a list shows in them: colours, picture, room for words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import QModelIndex, QRect, QSize
from qtpy.QtGui import QColor, QPainter, QPixmap
from qtpy.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from napari_melanoma.ui.look import PRIMARY

if TYPE_CHECKING:
    from napari_melanoma.ui.look import ThemedIcons

MARGIN_PX = 4


class RowLook(NamedTuple):
    """In which colours a row is painted, and whether it is selected."""

    text: QColor
    faint: QColor
    selected: bool


class PictureRows(QStyledItemDelegate):
    """Paints rows in the colours of the theme; a list says in ``paint_row`` what is in them."""

    def __init__(self, icons: ThemedIcons, picture_px: int, width_px: int, parent: QWidget) -> None:
        super().__init__(parent)
        self._icons = icons
        self._size = QSize(width_px, picture_px + 2 * MARGIN_PX)

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:  # noqa: N802 - Qt's name
        """Give every row the same height.

        In pixels.
        """
        return self._size

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Paint a row."""
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
        self.paint_row(painter, option.rect, index, RowLook(text, faint, selected))
        painter.restore()

    def paint_row(self, painter: QPainter, place: QRect, index: QModelIndex, look: RowLook) -> None:
        """Paint what is in a row."""
        raise NotImplementedError


def paint_picture(painter: QPainter, square: QRect, picture: QPixmap | None, frame: QColor) -> None:
    """Paint the middle of a picture, or a frame in its place."""
    if picture is None:
        painter.setPen(frame)
        painter.drawRoundedRect(square.adjusted(0, 0, -1, -1), 3, 3)
        return
    side = min(picture.width(), picture.height())  # the middle: lesions are seldom at the border
    part = QRect((picture.width() - side) // 2, (picture.height() - side) // 2, side, side)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.drawPixmap(square, picture, part)
