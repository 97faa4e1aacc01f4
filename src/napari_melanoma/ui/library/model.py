"""The list model of slides and photographs, and the delegates, which paint them as tiles or rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, QObject, QRect, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QWidget

from napari_melanoma.ui.library.resolve import (
    ALL,
    STATE_MARKS,
    ImageState,
    LibraryImage,
    Query,
    ReviewRecords,
    arrange,
    describe_image,
    resolve_state,
)
from napari_melanoma.ui.widgets.style import PRIMARY, ThemedIcons, elide
from napari_melanoma.ui.widgets.thumbnails import MARGIN_PX, RowStyle, ThumbnailDelegate, paint_thumbnail

if TYPE_CHECKING:
    from napari_melanoma.ui.widgets.thumbnails import BackgroundCache, ThumbnailLoader

TILE_PICTURE_PX, TILE_PX = 112, 132
LINES = 2  # lines of text below the picture of a tile, or beside that of a row
ROW_PX, GAP_PX = 160, 8  # minimum width of a row; gap around its picture
BAR_PX, BAR_WIDTH_PX = 5, 120  # of the bar that shows the score
NO_INDEX = QModelIndex()
ALIGN_TOP, ALIGN_LEFT, ALIGN_RIGHT = Qt.AlignmentFlag.AlignTop, Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight


class LibraryModel(QAbstractListModel):
    """List model of slides and photographs, one per row.

    Thumbnails and states of slides are read from files only when a row is painted. ``states``: cache of the
    ``WorkItem`` of each slide. ``records``: for a list of photographs to review, which determine their states.
    Set ``images`` and ``query``, then call ``update_order``; after changes of states, call ``update_states``. While
    ``keeps_order``, states neither change positions nor remove rows.
    """

    def __init__(
        self,
        thumbnails: ThumbnailLoader,
        parent: QObject,
        states: BackgroundCache | None = None,
        records: ReviewRecords | None = None,
    ) -> None:
        super().__init__(parent)
        self._images: Sequence[LibraryImage] = ()
        self._versions: dict[Path, tuple[float, int]] = {}  # of the files when they were last listed: time and size
        self.query = Query()
        self.rows: list[LibraryImage] = []
        self.displayed: Path | None = None  # file of the image in view
        self._thumbnails, self._states, self._records = thumbnails, states, records
        self._row_by_path: dict[Path, int] = {}
        self._positions: dict[Path, int] = {}  # while the order is kept
        for cache in filter(None, (thumbnails, states)):
            cache.value_read.connect(self.update_row)

    @property
    def images(self) -> Sequence[LibraryImage]:
        """All images, also those that the query does not list; thumbnails of replaced files are read again."""
        return self._images

    @images.setter
    def images(self, images: Sequence[LibraryImage]) -> None:
        versions = {image.path: (image.modified, image.size) for image in images}
        self._thumbnails.remove(path for path, one in versions.items() if self._versions.get(path, one) != one)
        self._versions |= versions
        self._images = images

    def rowCount(self, parent: QModelIndex = NO_INDEX) -> int:  # noqa: N802 - Qt's name
        """Return the number of rows."""
        return 0 if parent.isValid() else len(self.rows)

    def data(self, index: QModelIndex, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:  # noqa: ANN401 - by role
        """Return the data of a row."""
        image = self.image(index)
        if image is None:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return image.name
        if role == Qt.ItemDataRole.DecorationRole:
            return self._thumbnails.get(image.path)
        if role == Qt.ItemDataRole.ToolTipRole:
            return "\n".join((str(image.path), *self._describe(image)))
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return ", ".join((image.name, *self._describe(image)))
        return None

    def image(self, index: QModelIndex) -> LibraryImage | None:
        """Return the image of a row; None if there is no such row."""
        return self.rows[index.row()] if index.isValid() and index.row() < len(self.rows) else None

    def find_name(self, path: Path) -> str:
        """Return the name by which a file is listed, for messages about it; that of the file if it is not listed."""
        image = self.image(self.find_index(path)) or next((one for one in self.images if one.path == path), None)
        return path.name if image is None else image.name

    def find_index(self, path: Path | None) -> QModelIndex:
        """Return the row of a file; invalid if it is not listed. A file of a DICOM slide is found by its folder."""
        if path is None:
            return QModelIndex()
        row = self._row_by_path.get(path, self._row_by_path.get(path.parent, -1))
        return self.index(row) if row >= 0 else QModelIndex()

    def get_state(self, image: LibraryImage) -> ImageState:
        """Return the state of an image, as far as it has been read."""
        if self._records is not None:
            return self._records.find_state(image)
        return resolve_state(image, None if self._states is None else self._states.peek(image.path))

    def request_state(self, image: LibraryImage) -> ImageState:
        """Return the state of an image as ``get_state``, and request it if it has not been read."""
        if image.is_slide and self._states is not None:
            self._states.request(image.path)
        return self.get_state(image)

    def get_fault(self, image: LibraryImage) -> str:
        """Return the type of a problem of the file; empty if there is none or it is not known yet."""
        return self._thumbnails.get_fault(image.path)

    @property
    def keeps_order(self) -> bool:
        """Whether the images keep their order although their states change."""
        return bool(self._positions)

    @keeps_order.setter
    def keeps_order(self, keeps: bool) -> None:
        everything = self.query._replace(text="", kind=ALL)
        ordered = arrange(self.images, everything, self.get_state) if keeps else []
        if keeps:  # the listed ones as they are shown, although states may have changed since they were sorted
            images, shown = {image.path for image in self.images}, {image.path for image in self.rows}
            rows = iter([image for image in self.rows if image.path in images])
            ordered = [next(rows) if image.path in shown else image for image in ordered]
        self._positions = {image.path: position for position, image in enumerate(ordered)}

    @property
    def is_outdated(self) -> bool:
        """Whether the kept order differs from that of the current states."""
        return self.keeps_order and arrange(self.images, self.query, self.get_state) != self.rows

    def update_order(self) -> bool:
        """Filter and sort the rows again; return whether they have changed, in which case no row is selected."""
        return self._set_rows(arrange(self.images, self.query, self.get_state))

    def update_states(self) -> bool:
        """As ``update_order``, but while the order is kept, listed images stay, also if the query excludes them now."""
        rows = arrange(self.images, self.query, self.get_state)
        if self.keeps_order:
            excluded = self._row_by_path.keys() - {image.path for image in rows}
            rows += [image for image in self.images if image.path in excluded]
        return self._set_rows(rows)

    def _set_rows(self, rows: list[LibraryImage]) -> bool:
        if self._positions:
            rows.sort(key=lambda image: self._positions.get(image.path, len(self._positions)))
        if rows == self.rows:
            return False
        self.beginResetModel()
        self.rows = rows
        self._row_by_path = {image.path: row for row, image in enumerate(rows)}
        self.endResetModel()
        return True

    def set_displayed(self, path: Path | None) -> None:
        """Mark the file of the image in view."""
        if path != self.displayed:
            previous, self.displayed = self.displayed, path
            for changed in filter(None, (previous, path)):
                self.update_row(changed)

    def is_displayed(self, index: QModelIndex) -> bool:
        """Return whether a row is that of the image in view."""
        return index.isValid() and self.find_index(self.displayed).row() == index.row()

    def update_row(self, path: Path) -> None:
        """Repaint the row of a file."""
        index = self.find_index(path)
        if index.isValid():
            self.dataChanged.emit(index, index)

    def update_texts(self) -> None:
        """Repaint all rows: their states may have changed."""
        if self.rows:
            self.dataChanged.emit(self.index(0), self.index(len(self.rows) - 1))

    def _describe(self, image: LibraryImage) -> list[str]:
        fault = self._thumbnails.get_fault(image.path)
        return describe_image(image, self.get_state(image), fault, self._thumbnails.get_problem(image.path))


class TileDelegate(ThumbnailDelegate):
    """Paints tiles with thumbnail, name and state."""

    def __init__(self, icons: ThemedIcons, parent: QWidget) -> None:
        text_px = LINES * parent.fontMetrics().height() + MARGIN_PX
        super().__init__(icons, TILE_PICTURE_PX + text_px, TILE_PX, parent)

    def paint_row(self, painter: QPainter, row_rect: QRect, index: QModelIndex, style: RowStyle) -> None:
        """Paint a slide or photograph with its name and state; a frame marks the image in view."""
        model, image = _find_image(index)
        fault, is_displayed, state = model.get_fault(image), model.is_displayed(index), model.request_state(image)
        square = QRect(0, row_rect.top() + MARGIN_PX, TILE_PICTURE_PX, TILE_PICTURE_PX)
        square.moveLeft(row_rect.center().x() - TILE_PICTURE_PX // 2)
        warning = QColor("white") if style.selected else QColor(self._icons.palette.fault)
        picture = index.data(Qt.ItemDataRole.DecorationRole)
        if isinstance(picture, QPixmap):
            _paint_whole(painter, square, picture)
        else:
            _paint_empty(painter, square, fault, style.faint, warning)
        if is_displayed:
            painter.setPen(QPen(QColor("white" if style.selected else PRIMARY), 2))
            painter.drawRect(square.adjusted(-2, -2, 2, 2))
        state_line = f"! {fault}" if fault else f"{STATE_MARKS.get(state.state, '')} {state.text}".strip()
        text_area = row_rect.adjusted(MARGIN_PX, TILE_PICTURE_PX + 2 * MARGIN_PX, -MARGIN_PX, 0)
        colors = (style.text, warning if fault or state.state == "failed" else style.faint)
        _set_bold(painter, is_displayed)
        metrics = painter.fontMetrics()
        for number, (line, color) in enumerate(zip((image.name, state_line), colors, strict=True)):
            painter.setPen(color)
            area = text_area.adjusted(0, number * metrics.height(), 0, 0)
            text = metrics.elidedText(line, Qt.TextElideMode.ElideMiddle, area.width())
            painter.drawText(area, int(ALIGN_TOP | Qt.AlignmentFlag.AlignHCenter), text)


class RowDelegate(ThumbnailDelegate):
    """Paints rows with thumbnail, name, state, details, and the uncertainty as a bar."""

    def __init__(self, icons: ThemedIcons, picture_px: int, parent: QWidget) -> None:
        super().__init__(icons, picture_px, ROW_PX, parent)
        self._picture_px = picture_px

    def paint_row(self, painter: QPainter, rect: QRect, index: QModelIndex, style: RowStyle) -> None:
        """Paint the row of a slide or photograph; the name of the image in view is bold."""
        model, image = _find_image(index)
        state, fault = model.request_state(image), model.get_fault(image)
        picture = index.data(Qt.ItemDataRole.DecorationRole)
        square = QRect(rect.left() + GAP_PX, rect.top() + MARGIN_PX, self._picture_px, self._picture_px)
        paint_thumbnail(painter, square, picture if isinstance(picture, QPixmap) else None, style.faint)
        area = rect.adjusted(self._picture_px + 2 * GAP_PX, MARGIN_PX + 1, -GAP_PX, -MARGIN_PX - 1)
        metrics = painter.fontMetrics()
        mark = (f"! {fault}" if fault and not state.mark else state.mark) if not state.label else state.symbol
        details = state.details if state.details != state.state else ""
        second_line = area.adjusted(0, metrics.height() + 1, 0, 0)
        painter.setPen(style.faint)
        painter.drawText(area, int(ALIGN_RIGHT | ALIGN_TOP), mark)
        text = state.label or elide(metrics, details, area.width())  # a diagnosis is never cut
        painter.setPen(style.text if state.label else style.faint)
        painter.drawText(second_line, int(ALIGN_LEFT | ALIGN_TOP), text)
        second_line.setHeight(metrics.height())
        second_line.setLeft(
            max(second_line.right() - BAR_WIDTH_PX, area.left() + metrics.horizontalAdvance(text) + GAP_PX)
        )
        painter.setPen(style.text)
        _set_bold(painter, model.is_displayed(index))
        name_px = area.width() - (metrics.horizontalAdvance(mark) + GAP_PX if mark else 0)
        name = painter.fontMetrics().elidedText(image.name, Qt.TextElideMode.ElideMiddle, name_px)
        painter.drawText(area, int(ALIGN_LEFT | ALIGN_TOP), name)
        if state.score is not None and second_line.width() > GAP_PX:
            _paint_score(painter, second_line, state.score, style.faint)


def _find_image(index: QModelIndex) -> tuple[LibraryModel, LibraryImage]:
    """Return the model of an index, and the image of the row."""
    model = index.model()
    assert isinstance(model, LibraryModel)
    return model, model.rows[index.row()]


def _set_bold(painter: QPainter, is_bold: bool) -> None:
    font = painter.font()
    font.setBold(is_bold)
    painter.setFont(font)


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


def _paint_score(painter: QPainter, rect: QRect, score: float, track: QColor) -> None:
    """Paint the score as a bar in the middle; ``track``: color of the full length, made transparent."""
    whole = QRect(rect.left(), rect.center().y() - BAR_PX // 2, rect.width(), BAR_PX)
    painter.setPen(Qt.PenStyle.NoPen)
    track.setAlphaF(0.3)
    painter.setBrush(track)
    painter.drawRoundedRect(whole, 2, 2)
    painter.setBrush(QColor("#e69f00"))  # visible in both themes, also with color vision deficiency
    painter.drawRoundedRect(QRect(whole.left(), whole.top(), round(score * whole.width()), BAR_PX), 2, 2)
