"""The overview of a slide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QShowEvent,
    QTransform,
)
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_melanoma.ui.widgets.style import ThemedIcons, named

if TYPE_CHECKING:
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

MAX_HEIGHT_PX = 160
MIN_FRAME_PX = 7.0  # minimum side of the frame around the view, so that it stays visible
STEP = 0.5  # share of the view by which an arrow key moves it
FRAME, HALO = QColor("#f0c000"), QColor(0, 0, 0, 160)
ARROWS = {  # directions (rows, columns)
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}


class Overview(QWidget):
    """Thumbnail of the slide with a frame around the view; click or drag to move the view.

    ``position_requested``: row and column in pixels of the finest level.
    """

    position_requested = Signal(float, float)
    updated = Signal()

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        tip = "The whole slide; the frame marks the view. Click or drag to move it"
        named(self, "overview", "Overview of the slide", tip)
        self._icons = icons
        self._image: QImage | None = None
        self._visited: QImage | None = None
        self._size = (1, 1)
        self._pixel_size = (1.0, 1.0)
        self._angle = 0.0
        self._source: Overview | None = None
        self._view: tuple[tuple[float, float], tuple[float, float]] | None = None  # center and extent, as in show_view
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def show_slide(self, slide: ViewerSlide | None) -> None:
        """Show an empty area with the size of another slide; its thumbnail is set by ``show_picture``."""
        self._image, self._view, self._visited = None, None, None
        self._size = (1, 1) if slide is None else slide.size
        self.show_placement(slide)

    def show_placement(self, slide: ViewerSlide | None) -> None:
        """Update the pixel size and the rotation, which change the shape of the overview."""
        self._pixel_size = (1.0, 1.0) if slide is None else slide.pixel_um
        self._angle = 0.0 if slide is None else slide.angle
        self.updateGeometry()
        self._redraw()

    def show_picture(self, image: QImage | None) -> None:
        """Show the thumbnail."""
        self._image = image
        self._redraw()

    def show_visited(self, image: QImage | None) -> None:
        """Show a transparent image of the whole slide above the thumbnail; None to remove it."""
        if image is not self._visited:
            self._visited = image
            self._redraw()

    def show_view(self, center: tuple[float, float], extent: tuple[float, float]) -> None:
        """Move the frame.

        ``center``: (row, column) in pixels of the finest level. ``extent``: height and width in the unit of the pixel
        size.
        """
        if (center, extent) != self._view:
            self._view = (center, extent)
            self._redraw()

    def follow(self, other: Overview) -> None:
        """Show the same as another overview; requests are passed on to it."""
        self._source = other
        self.position_requested.connect(other.position_requested)
        other.updated.connect(self._copy)

    def _copy(self) -> None:
        """Show what the other overview shows, if this one is visible."""
        other = self._source
        if other is not None and self.isVisible():
            self._image, self._visited, self._view = other._image, other._visited, other._view
            self._size, self._pixel_size, self._angle = other._size, other._pixel_size, other._angle
            self.updateGeometry()
            self.update()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Show the current state of the other overview."""
        super().showEvent(event)
        self._copy()

    def _redraw(self) -> None:
        self.update()
        self.updated.emit()

    def hasHeightForWidth(self) -> bool:  # noqa: N802 - Qt's name
        """Return True: the height depends on the width."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802 - Qt's name
        """Return the height that keeps the aspect ratio of the rotated slide, up to a maximum."""
        slide_height, slide_width = self._rotated_extent()
        return max(40, min(MAX_HEIGHT_PX, round(width * slide_height / slide_width)))

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Prefer the width of a dock."""
        return QSize(320, self.heightForWidth(320))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw slide, visited area and frame."""
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.SmoothPixmapTransform | QPainter.RenderHint.Antialiasing)
        whole = QRectF(0, 0, self._size[1], self._size[0])
        painter.setTransform(self._transform())
        if self._image is None:
            painter.fillRect(whole, QColor(self._icons.palette.raised))
        else:
            painter.drawImage(whole, self._image)
        if self._visited is not None:
            painter.drawImage(whole, self._visited)
        painter.resetTransform()
        if self._view is not None:
            bounds = self._transform().mapRect(whole).adjusted(1, 1, -1, -1)
            frame = self._frame_rect(*self._view).intersected(bounds)
            for color, width in ((HALO, 4.0), (FRAME, 2.0)):
                painter.setPen(QPen(color, width))
                painter.drawRect(frame)
        if self.hasFocus():
            painter.setPen(QPen(QColor(self._icons.palette.highlight), 1))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Move the view to the mouse position."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._request_position(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Move the view while the mouse is dragged."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._request_position(event.position())

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Move by half a view with an arrow key."""
        step = ARROWS.get(Qt.Key(event.key()))
        if step is None or self._view is None:
            super().keyPressEvent(event)
            return
        (row, column), (height, width) = self._view
        scale = self._scale()
        move = QPointF(STEP * step[1] * width * scale, STEP * step[0] * height * scale)
        self._request_position(self._transform().map(QPointF(column, row)) + move)

    def _request_position(self, point: QPointF) -> None:
        """Request a view of the slide position that is shown at a point of the widget."""
        if self._size != (1, 1):
            on_slide = self._transform().inverted()[0].map(point)
            self.position_requested.emit(
                min(max(on_slide.y(), 0.0), float(self._size[0])), min(max(on_slide.x(), 0.0), float(self._size[1]))
            )

    def _rotated_extent(self) -> tuple[float, float]:
        """Return height and width of the rotated slide in the unit of the pixel size."""
        height, width = (count * side for count, side in zip(self._size, self._pixel_size, strict=True))
        cosine, sine = abs(math.cos(math.radians(self._angle))), abs(math.sin(math.radians(self._angle)))
        return height * cosine + width * sine, width * cosine + height * sine

    def _scale(self) -> float:
        """Return the number of widget pixels per unit of the pixel size with which the whole slide fits."""
        height, width = self._rotated_extent()
        return min(self.width() / width, self.height() / height)

    def _transform(self) -> QTransform:
        """Return the transform from (column, row) in pixels of the finest level to the widget."""
        scale = self._scale()
        return (
            QTransform()
            .translate(self.width() / 2, self.height() / 2)
            .rotate(self._angle)
            .scale(scale * self._pixel_size[1], scale * self._pixel_size[0])
            .translate(-self._size[1] / 2, -self._size[0] / 2)
        )

    def _frame_rect(self, center: tuple[float, float], extent: tuple[float, float]) -> QRectF:
        """Return the frame around a view in widget pixels, with a minimum size."""
        height, width = (max(MIN_FRAME_PX, side * self._scale()) for side in extent)
        middle = self._transform().map(QPointF(center[1], center[0]))
        return QRectF(middle.x() - width / 2, middle.y() - height / 2, width, height)
