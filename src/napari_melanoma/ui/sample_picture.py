"""What the sample predictions are shown with: a picture that keeps its shape, a slider that lets the page scroll."""

from __future__ import annotations

import html
from pathlib import Path

from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QImage, QPainter, QPaintEvent, QWheelEvent
from qtpy.QtWidgets import QSlider, QWidget

from napari_melanoma.ui.look import named


class Picture(QWidget):
    """An image that fills its width and keeps a shape; an enlarged one is its tooltip."""

    def __init__(self, name: str, spoken: str) -> None:
        super().__init__()
        named(self, name, spoken)
        self._spoken = spoken
        self._image: QImage | None = None
        self._shape = 1.0
        policy = self.sizePolicy()
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setMinimumSize(40, 40)

    @property
    def image(self) -> QImage | None:
        """What it shows."""
        return self._image

    def show_image(self, image: QImage | None, shape: float, path: Path | None = None) -> None:
        """Show an image."""
        self._image = image
        enlarged = f"<br><img src='{html.escape(path.as_posix())}' width='420'>" if path is not None else ""
        self.setToolTip(self._spoken + (enlarged if image is not None else ""))
        if shape != self._shape:
            self._shape = shape
            self.updateGeometry()
        self.update()

    def hasHeightForWidth(self) -> bool:  # noqa: N802 - Qt's name
        """Say that the height follows the width, as Qt asks."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802 - Qt's name
        """Give the height that keeps the shape, as Qt asks."""
        return round(width * min(1.4, self._shape))

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Want a third of a dock."""
        return QSize(100, self.heightForWidth(100))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw the image, or the frame of an empty place."""
        painter = QPainter(self)
        place = QSize(100, round(100 * self._shape)).scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio)
        left, top = (self.width() - place.width()) / 2, (self.height() - place.height()) / 2
        where = QRectF(left, top, place.width(), place.height())
        if self._image is None:
            painter.setPen(Qt.GlobalColor.gray)
            painter.drawRect(where.adjusted(0.5, 0.5, -1, -1))
            return
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(where, self._image)


class CalmSlider(QSlider):
    """A slider that leaves the wheel to the page that it stands in, unless it has the focus."""

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 - Qt's name
        """Move only where the user has clicked it."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()
