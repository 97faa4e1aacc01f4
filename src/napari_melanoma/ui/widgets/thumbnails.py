"""Thumbnails for lists, read in a thread."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import QModelIndex, QObject, QRect, QSize, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPixmap
from qtpy.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from napari_melanoma.ui.widgets.job import BackgroundJob
from napari_melanoma.ui.widgets.style import PRIMARY

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.ui.widgets.style import ThemedIcons

MARGIN_PX = 4
CACHE_SIZE = 600
MAX_QUEUED = 60  # more rows than are visible at once; rows that were scrolled past are not read
BATCH_SIZE = 6


class RowStyle(NamedTuple):
    """The colors of a row, and whether it is selected."""

    text: QColor
    faint: QColor
    selected: bool


class ThumbnailDelegate(QStyledItemDelegate):
    """Paints rows in the colors of the theme; subclasses implement ``paint_row``."""

    def __init__(self, icons: ThemedIcons, picture_px: int, width_px: int, parent: QWidget) -> None:
        super().__init__(parent)
        self._icons = icons
        self._size = QSize(width_px, picture_px + 2 * MARGIN_PX)

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:  # noqa: N802 - Qt's name
        """Return the same size for every row."""
        return self._size

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Paint a row."""
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colors = self._icons.palette
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        if selected:
            painter.fillRect(option.rect, QColor(PRIMARY))
        elif option.state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(option.rect, QColor(colors.raised))
        text = QColor("white") if selected else QColor(colors.text)
        faint = QColor(text)
        faint.setAlphaF(0.75)  # napari's list is darker than its docks: a fixed gray would lack contrast
        self.paint_row(painter, option.rect, index, RowStyle(text, faint, selected))
        painter.restore()

    def paint_row(self, painter: QPainter, row_rect: QRect, index: QModelIndex, style: RowStyle) -> None:
        """Paint the content of a row."""
        raise NotImplementedError


def paint_thumbnail(painter: QPainter, square: QRect, picture: QPixmap | None, frame: QColor) -> None:
    """Paint the center of a thumbnail, or an empty frame."""
    if picture is None:
        painter.setPen(frame)
        painter.drawRoundedRect(square.adjusted(0, 0, -1, -1), 3, 3)
        return
    side = min(picture.width(), picture.height())  # the center, since lesions are seldom at the border
    part = QRect((picture.width() - side) // 2, (picture.height() - side) // 2, side, side)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.drawPixmap(square, picture, part)


class ThumbnailLoader(QObject):
    """Returns cached thumbnails, and reads missing ones in a thread, the latest request first."""

    thumbnail_read = Signal(object)

    def __init__(self, side_px: int, parent: QObject) -> None:
        super().__init__(parent)
        self._side_px = side_px
        self._cache: OrderedDict[Path, QPixmap | None] = OrderedDict()
        self._queued: OrderedDict[Path, None] = OrderedDict()
        self._job: BackgroundJob | None = None

    def get(self, path: Path) -> QPixmap | None:
        """Return a thumbnail; None if it is not read yet (it is queued) or cannot be read."""
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        self._queued.pop(path, None)
        self._queued[path] = None
        while len(self._queued) > MAX_QUEUED:
            self._queued.popitem(last=False)
        self._next()
        return None

    def _next(self) -> None:
        if self._job is not None or not self._queued:
            return
        batch = [self._queued.popitem()[0] for _ in range(min(BATCH_SIZE, len(self._queued)))]
        self._job = BackgroundJob(partial(_read, batch, self._side_px))
        self._job.succeeded.connect(self._on_read)
        self._job.finished.connect(self._on_finished)
        self._job.start(self)

    def _on_read(self, pictures: dict[Path, QImage | None]) -> None:
        for path, picture in pictures.items():
            self._cache[path] = None if picture is None else QPixmap.fromImage(picture)
            if picture is not None:
                self.thumbnail_read.emit(path)
        while len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)

    def _on_finished(self) -> None:
        self._job = None
        self._next()


def _read(paths: list[Path], side_px: int, run: RunContext) -> dict[Path, QImage | None]:
    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.io.thumbnails import read_thumbnail

    pictures: dict[Path, QImage | None] = {}
    for path in paths:
        run.check()
        try:
            rgb = read_thumbnail(path, side_px)
        except MelanomaError:  # the image rating reports the error
            pictures[path] = None
            continue
        rows, columns = rgb.shape[:2]
        pictures[path] = QImage(rgb.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888).copy()
    return pictures
