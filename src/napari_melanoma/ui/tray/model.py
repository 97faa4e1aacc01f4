"""The list of images in the Tray: the model, which filters and sorts them, and the delegate, which paints tiles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qtpy.QtCore import QAbstractListModel, QMimeData, QModelIndex, QObject, QRect, QSize, Qt, QUrl, Signal
from qtpy.QtGui import QColor, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QWidget

from napari_melanoma.ui.widgets.style import PRIMARY, ThemedIcons
from napari_melanoma.ui.widgets.thumbnails import MARGIN_PX, RowStyle, ThumbnailDelegate

if TYPE_CHECKING:
    from napari_melanoma.slides.slide_table import WorkItem
    from napari_melanoma.ui.tray.images import TrayImage
    from napari_melanoma.ui.widgets.thumbnails import BackgroundCache, ThumbnailLoader

PICTURE_PX, TILE_PX = 112, 132
LINES = 2  # lines of text below the picture
TRAY_FORMAT = "application/x-napari-melanoma-tray"  # marks a drag that began in the Tray
STATE_ROLE = int(Qt.ItemDataRole.UserRole) + 1
FAULT_ROLE = int(Qt.ItemDataRole.UserRole) + 2
DISPLAYED_ROLE = int(Qt.ItemDataRole.UserRole) + 3
STATE_TEXT_ROLE = int(Qt.ItemDataRole.UserRole) + 4
NO_INDEX = QModelIndex()
NOT_ANALYZED = "not analyzed"
STATE_MARKS = {"running": "▶", "stopped": "■", "done": "✓", "failed": "✕", "signed": "✎", NOT_ANALYZED: "○"}
STATE_ORDER = ("running", "failed", "stopped", NOT_ANALYZED, "done", "signed", "")
FILTERS = ("all", "slides", "photographs", *STATE_ORDER[:-1])
SORT_KEYS = ("name", "status", "date")


class ImageState(NamedTuple):
    """The state of an image.

    ``state``: one of ``STATE_ORDER``; empty if unknown. ``text``: on the tile. ``details``: such as the reason for a
    failure.
    """

    state: str = ""
    text: str = ""
    details: str = ""


class TrayModel(QAbstractListModel):
    """List model of the images of a folder or a case, one per row.

    Thumbnails and states are requested when a row is painted. ``states``: cache of the ``WorkItem`` of each slide.
    ``counts_changed``: the number of rows. Set ``images``, ``text`` (part of the name), ``kind`` (one of ``FILTERS``)
    and ``sort_key``, then call ``update_order``.
    """

    counts_changed = Signal()

    def __init__(self, thumbnails: ThumbnailLoader, states: BackgroundCache, parent: QObject) -> None:
        super().__init__(parent)
        self.images: Sequence[TrayImage] = ()
        self.text, self.kind, self.sort_key = "", FILTERS[0], SORT_KEYS[0]
        self._thumbnails, self._states = thumbnails, states
        self._rows: list[TrayImage] = []
        self._row_by_path: dict[Path, int] = {}
        self._displayed: Path | None = None  # file of the image in view
        for cache in (thumbnails, states):
            cache.value_read.connect(self.update_row)

    def rowCount(self, parent: QModelIndex = NO_INDEX) -> int:  # noqa: N802 - Qt's name
        """Return the number of rows."""
        return 0 if parent.isValid() else len(self._rows)

    def data(self, index: QModelIndex, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:  # noqa: ANN401 - by role
        """Return the data of a row; thumbnail and state are read from files only when the row is painted."""
        image = self.image(index)
        if image is None:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return image.name
        if role == Qt.ItemDataRole.DecorationRole:
            return self._thumbnails.get(image.path)
        if role == STATE_ROLE:
            if image.is_slide:
                self._states.request(image.path)
            return self.get_state(image).state
        if role == STATE_TEXT_ROLE:
            return self.get_state(image).text
        if role == FAULT_ROLE:
            return self._thumbnails.get_fault(image.path)
        if role == DISPLAYED_ROLE:
            return image.path == self._displayed
        if role == Qt.ItemDataRole.ToolTipRole:
            return "\n".join(filter(None, (str(image.path), self._describe(image))))
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return ", ".join(filter(None, (image.name, self._describe(image))))
        return None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Make images selectable and draggable."""
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemNeverHasChildren
        return flags | Qt.ItemFlag.ItemIsDragEnabled if index.isValid() else Qt.ItemFlag.NoItemFlags

    def mimeTypes(self) -> list[str]:  # noqa: N802 - Qt's name
        """Return the formats of dragged images."""
        return ["text/uri-list", TRAY_FORMAT]

    def mimeData(self, indexes: Sequence[QModelIndex]) -> QMimeData:  # noqa: N802 - Qt's name
        """Return the files of dragged images, marked as those of the Tray."""
        images = [image for image in map(self.image, sorted(indexes)) if image is not None]
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(image.path)) for image in images])
        data.setData(TRAY_FORMAT, b"1")
        return data

    def supportedDragActions(self) -> Qt.DropAction:  # noqa: N802 - Qt's name
        """Allow copying only: files are never moved."""
        return Qt.DropAction.CopyAction

    def image(self, index: QModelIndex) -> TrayImage | None:
        """Return the image of a row; None if there is no such row."""
        return self._rows[index.row()] if index.isValid() and index.row() < len(self._rows) else None

    def find_index(self, path: Path | None) -> QModelIndex:
        """Return the row of a file; invalid if it is not shown."""
        row = -1 if path is None else self._row_by_path.get(path, -1)
        return self.index(row) if row >= 0 else QModelIndex()

    def get_state(self, image: TrayImage) -> ImageState:
        """Return the state of an image; it is empty for a slide until it is read, and for photographs of a folder."""
        if not image.is_slide:
            state = "done" if image.state in ("analyzed", "corrected") else image.state
            return ImageState(state, image.state or "photograph", image.state)
        item: WorkItem | None = self._states.peek(image.path)
        if item is None:
            return ImageState()
        if item.state == "waiting":
            return ImageState(NOT_ANALYZED, NOT_ANALYZED, NOT_ANALYZED)
        shows_progress = item.state in ("running", "stopped")
        text = item.description if shows_progress else item.state
        return ImageState(item.state, text, item.description)

    @property
    def needs_states(self) -> bool:
        """Whether the filter or the order depends on the states of all slides."""
        return self.sort_key == "status" or self.kind in STATE_ORDER

    def update_order(self) -> bool:
        """Filter and sort the rows again; return whether the rows have changed, which clears the selection."""
        rows = sorted(filter(self._accepts, self.images), key=self._sort_key)
        if rows == self._rows:
            return False
        self.beginResetModel()
        self._rows = rows
        self._row_by_path = {image.path: row for row, image in enumerate(rows)}
        self.endResetModel()
        self.counts_changed.emit()
        return True

    def set_displayed(self, path: Path | None) -> None:
        """Mark the file of the image in view."""
        if path != self._displayed:
            previous, self._displayed = self._displayed, path
            for changed in filter(None, (previous, path)):
                self.update_row(changed)

    def update_row(self, path: Path) -> None:
        """Repaint the row of a file."""
        index = self.find_index(path)
        if index.isValid():
            self.dataChanged.emit(index, index)

    def _describe(self, image: TrayImage) -> str:
        problem = self._thumbnails.get_problem(image.path)
        kind = "slide" if image.is_slide else "photograph"
        date = f"{datetime.fromtimestamp(image.modified):%Y-%m-%d}" if image.modified else "file not found"
        fault = self._thumbnails.get_fault(image.path).capitalize()
        facts = (f"{kind}, {date}", self.get_state(image).details, fault and f"{fault}: {problem}")
        return "\n".join(filter(None, facts))

    def _accepts(self, image: TrayImage) -> bool:
        if self.text.casefold() not in image.name.casefold():
            return False
        if self.kind in ("slides", "photographs"):
            return image.is_slide == (self.kind == "slides")
        return self.kind == "all" or self.get_state(image).state == self.kind

    def _sort_key(self, image: TrayImage) -> tuple[Any, ...]:
        if self.sort_key == "date":
            return -image.modified, image.name_key
        if self.sort_key == "status":
            return STATE_ORDER.index(self.get_state(image).state), image.name_key
        return image.name_key


class TrayDelegate(ThumbnailDelegate):
    """Paints tiles with thumbnail, name and state."""

    def __init__(self, icons: ThemedIcons, parent: QWidget) -> None:
        text_px = LINES * parent.fontMetrics().height() + MARGIN_PX
        super().__init__(icons, PICTURE_PX + text_px, TILE_PX, parent)

    def paint_row(self, painter: QPainter, row_rect: QRect, index: QModelIndex, style: RowStyle) -> None:
        """Paint a slide or photograph with its name and state; a frame marks the image in view."""
        fault, is_displayed = index.data(FAULT_ROLE), index.data(DISPLAYED_ROLE)
        square = QRect(0, row_rect.top() + MARGIN_PX, PICTURE_PX, PICTURE_PX)
        square.moveLeft(row_rect.center().x() - PICTURE_PX // 2)
        warning = QColor("white") if style.selected else QColor(self._icons.palette.fault)
        picture = index.data(Qt.ItemDataRole.DecorationRole)
        if isinstance(picture, QPixmap):
            _paint_whole(painter, square, picture)
        else:
            _paint_empty(painter, square, fault, style.faint, warning)
        if is_displayed:
            painter.setPen(QPen(QColor("white" if style.selected else PRIMARY), 2))
            painter.drawRect(square.adjusted(-2, -2, 2, 2))
        state = index.data(STATE_ROLE)
        state_line = f"! {fault}" if fault else f"{STATE_MARKS.get(state, '')} {index.data(STATE_TEXT_ROLE)}".strip()
        text_area = row_rect.adjusted(MARGIN_PX, PICTURE_PX + 2 * MARGIN_PX, -MARGIN_PX, 0)
        colors = (style.text, warning if fault or state == "failed" else style.faint)
        _paint_lines(painter, text_area, (index.data(), state_line), colors, is_bold=is_displayed)


def _paint_whole(painter: QPainter, square: QRect, picture: QPixmap) -> None:
    """Paint a whole thumbnail centered in a square."""
    size = picture.size().scaled(square.size(), Qt.AspectRatioMode.KeepAspectRatio)
    target = QRect(square.topLeft(), size.expandedTo(QSize(1, 1)))
    target.moveCenter(square.center())
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.drawPixmap(target, picture)


def _paint_empty(painter: QPainter, square: QRect, fault: str, frame: QColor, warning: QColor) -> None:
    """Paint the frame of a thumbnail that is not read yet (no ``fault``) or cannot be read."""
    painter.setPen(warning if fault else frame)
    painter.drawRoundedRect(square.adjusted(0, 0, -1, -1), 3, 3)
    painter.drawText(square, int(Qt.AlignmentFlag.AlignCenter), fault)


def _paint_lines(
    painter: QPainter, area: QRect, lines: tuple[str, str], colors: tuple[QColor, QColor], *, is_bold: bool
) -> None:
    """Paint name and state below each other, shortened to the width of the area."""
    font = painter.font()
    font.setBold(is_bold)
    painter.setFont(font)
    metrics = painter.fontMetrics()
    top_center = int(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignHCenter)
    for number, (line, color) in enumerate(zip(lines, colors, strict=True)):
        painter.setPen(color)
        line_area = area.adjusted(0, number * metrics.height(), 0, 0)
        painter.drawText(line_area, top_center, metrics.elidedText(line, Qt.TextElideMode.ElideMiddle, area.width()))
