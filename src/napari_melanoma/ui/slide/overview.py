"""The whole slide as a small picture, framed where the viewer looks: click or drag, and the view goes there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_melanoma.ui.look import ThemedIcons, named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.ui.slide.camera import View

TALLEST_PX = 160
LEAST_PX = 7.0  # of the rectangle: smaller, nobody would find it
STEP = 0.5  # of what is in view, for an arrow key
FRAME, HALO = QColor("#f0c000"), QColor(0, 0, 0, 160)
ARROWS = {
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}


class Overview(QWidget):
    """A picture of the slide that says and sets where the viewer looks.

    ``wanted``: the user wants to see this row and column, in pixels of the finest level.
    """

    wanted = Signal(float, float)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        tip = "The whole slide; the frame is what you see. Click or drag to go elsewhere"
        named(self, "overview", "Overview of the slide", tip)
        self._icons = icons
        self._image: QImage | None = None
        self._size = (1, 1)
        self._view: View | None = None
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def show_slide(self, size: tuple[int, int] | None) -> None:
        """Make room for another slide; its picture comes later."""
        self._image, self._view, self._size = None, None, size or (1, 1)
        self.updateGeometry()
        self.update()

    def show_picture(self, image: QImage | None) -> None:
        """Show the picture."""
        self._image = image
        self.update()

    def show_view(self, view: View) -> None:
        """Draw the rectangle somewhere else."""
        if view != self._view:
            self._view = view
            self.update()

    def hasHeightForWidth(self) -> bool:  # noqa: N802 - Qt's name
        """Say that the height follows the width, as Qt asks."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802 - Qt's name
        """Keep the slide's shape, as far as the dock has room."""
        return max(40, min(TALLEST_PX, round(width * self._size[0] / self._size[1])))

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Want the width of a dock."""
        return QSize(320, self.heightForWidth(320))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw slide and rectangle."""
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.SmoothPixmapTransform | QPainter.RenderHint.Antialiasing)
        room = self._room()
        if self._image is None:
            painter.fillRect(room, QColor(self._icons.palette.raised))
        else:
            painter.drawImage(room, self._image)
        if self._view is not None:
            frame = self._frame(self._view).intersected(room.adjusted(1, 1, -1, -1))
            for colour, width in ((HALO, 4.0), (FRAME, 2.0)):
                painter.setPen(QPen(colour, width))
                painter.drawRect(frame)
        if self.hasFocus():
            painter.setPen(QPen(QColor(self._icons.palette.highlight), 1))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Go where the mouse is."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._go(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Follow the mouse while it is pressed."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._go(event.position())

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Go half a view further with an arrow key."""
        step = ARROWS.get(Qt.Key(event.key()))
        if step is None or self._view is None:
            super().keyPressEvent(event)
            return
        row, column = self._view.center
        self._want(row + STEP * step[0] * self._view.height, column + STEP * step[1] * self._view.width)

    def _go(self, at: QPointF) -> None:
        room = self._room()
        self._want(
            (at.y() - room.top()) / room.height() * self._size[0], (at.x() - room.left()) / room.width() * self._size[1]
        )

    def _want(self, row: float, column: float) -> None:
        if self._size != (1, 1):
            self.wanted.emit(min(max(row, 0.0), float(self._size[0])), min(max(column, 0.0), float(self._size[1])))

    def _room(self) -> QRectF:
        """Where the slide is drawn: as large as fits, in the middle."""
        scale = min(self.width() / self._size[1], self.height() / self._size[0])
        width, height = self._size[1] * scale, self._size[0] * scale
        return QRectF((self.width() - width) / 2, (self.height() - height) / 2, width, height)

    def _frame(self, view: View) -> QRectF:
        """The rectangle of a view, never too small to be seen."""
        room = self._room()
        down, across = room.height() / self._size[0], room.width() / self._size[1]
        height, width = max(LEAST_PX, view.height * down), max(LEAST_PX, view.width * across)
        row, column = view.center
        return QRectF(room.left() + column * across - width / 2, room.top() + row * down - height / 2, width, height)


def as_image(rgb: NDArray[np.uint8]) -> QImage:
    """Turn pixels into what Qt draws.

    ``rgb``: uint8 (row, column, channel=3). With its own copy of the pixels; made in any thread.
    """
    import numpy as np

    pixels = np.ascontiguousarray(rgb)
    height, width = pixels.shape[:2]
    return QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888).copy()
