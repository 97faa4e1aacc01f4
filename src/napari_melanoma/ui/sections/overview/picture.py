"""The overview of a slide: its thumbnail with the visited area and a frame around the view."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QTransform
from qtpy.QtWidgets import QSizePolicy

from napari_melanoma.ui.viewer.camera import CameraWidget, get_extent, get_visible_region
from napari_melanoma.ui.viewer.view_memory import center_view
from napari_melanoma.ui.widgets.signals import follow
from napari_melanoma.ui.widgets.style import named

if TYPE_CHECKING:
    from napari_melanoma.ui.session.slide import SlideSession

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


class Overview(CameraWidget):
    """Thumbnail of a slide with a frame around the view; click or drag to move the view."""

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session.services.viewer, session.slide)
        tip = "The whole slide; the frame marks the view. Click or drag to move it"
        named(self, "overview", "Overview of the slide", tip)
        self._session, self._slide = session, session.slide
        self._viewer, self._icons = session.services.viewer, session.services.icons
        self._view: tuple[tuple[float, float], tuple[float, float]] | None = None  # center and extent
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        follow(self, session.rotated, self._on_rotated)
        for shown in (session.thumbnail, session.visited):
            follow(self, shown.changed, self._on_picture)
        self.update_view()

    def show_view(self) -> None:
        view = get_visible_region(self._viewer, self._slide).center, get_extent(self._viewer)
        if view != self._view:
            self._view = view
            self.update()

    def _on_picture(self, _: object) -> None:
        self.update()

    def _on_rotated(self) -> None:
        """Rotate with the slide, which changes the shape of the overview."""
        self.updateGeometry()
        self.update()
        self.update_view()

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
        thumbnail, visited = self._session.thumbnail.value, self._session.visited.value
        whole = QRectF(0, 0, self._slide.size[1], self._slide.size[0])
        painter.setTransform(self._transform())
        if thumbnail is None:
            painter.fillRect(whole, QColor(self._icons.palette.raised))
        else:
            painter.drawImage(whole, thumbnail)
        if visited is not None:
            painter.drawImage(whole, visited)
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
            self._go_to(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Move the view while the mouse is dragged."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._go_to(event.position())

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Move by half a view with an arrow key."""
        step = ARROWS.get(Qt.Key(event.key()))
        if step is None or self._view is None:
            super().keyPressEvent(event)
            return
        (row, column), (height, width) = self._view
        scale = self._scale()
        move = QPointF(STEP * step[1] * width * scale, STEP * step[0] * height * scale)
        self._go_to(self._transform().map(QPointF(column, row)) + move)

    def _go_to(self, point: QPointF) -> None:
        """Center the view on the slide position that is shown at a point of the widget."""
        on_slide, (height, width) = self._transform().inverted()[0].map(point), self._slide.size
        center = min(max(on_slide.y(), 0.0), float(height)), min(max(on_slide.x(), 0.0), float(width))
        center_view(self._viewer, self._slide, center)

    def _rotated_extent(self) -> tuple[float, float]:
        """Return height and width of the rotated slide in the unit of the pixel size."""
        height, width = (count * side for count, side in zip(self._slide.size, self._slide.pixel_um, strict=True))
        cosine, sine = abs(math.cos(math.radians(self._slide.angle))), abs(math.sin(math.radians(self._slide.angle)))
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
            .rotate(self._slide.angle)
            .scale(scale * self._slide.pixel_um[1], scale * self._slide.pixel_um[0])
            .translate(-self._slide.size[1] / 2, -self._slide.size[0] / 2)
        )

    def _frame_rect(self, center: tuple[float, float], extent: tuple[float, float]) -> QRectF:
        """Return the frame around a view in widget pixels, with a minimum size."""
        height, width = (max(MIN_FRAME_PX, side * self._scale()) for side in extent)
        middle = self._transform().map(QPointF(center[1], center[0]))
        return QRectF(middle.x() - width / 2, middle.y() - height / 2, width, height)
