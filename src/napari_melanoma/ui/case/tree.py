"""The tree of the lesions and images of a case."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, QRect, Qt, Signal
from qtpy.QtGui import QColor, QDragEnterEvent, QDragMoveEvent, QDropEvent, QKeyEvent, QPainter, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QTreeWidget, QTreeWidgetItem, QWidget

from napari_melanoma.case.model import Case, CaseImage, CaseLesion, number_lesions
from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.body_map.widget import DARK_COLORS
from napari_melanoma.ui.case import formatting
from napari_melanoma.ui.sections.prediction.view import format_short_verdict, format_verdict
from napari_melanoma.ui.viewer.shortcuts import is_delete_key
from napari_melanoma.ui.widgets.style import ThemedIcons, elide, named
from napari_melanoma.ui.widgets.thumbnails import MARGIN_PX, RowStyle, ThumbnailDelegate, paint_thumbnail

if TYPE_CHECKING:
    from napari_melanoma.case.results import CaseLesionPrediction

ROW_ROLE = Qt.ItemDataRole.UserRole + 1
PICTURE_PX, WIDTH_PX = 36, 140
ROW_PX = PICTURE_PX + 2 * MARGIN_PX
DOT_PX = 22
GAP_PX = 6
MAX_ROWS, MIN_ROWS = 7, 2  # visible rows
FREE_PX = 20  # space below the rows, to drop images for a new lesion
EXPANDED_UP_TO = 8  # up to this number of lesions, all are expanded at first
NO_LESION = "loose"  # id of the row of unassigned images
OUTDATED_ROW = "Outdated: press classify"


class CaseDelegate(ThumbnailDelegate):
    """Paints rows in the colors of the theme."""

    def __init__(self, icons: ThemedIcons, find_thumbnail: Callable[[Path], QPixmap | None], parent: QWidget) -> None:
        super().__init__(icons, PICTURE_PX, WIDTH_PX, parent)
        self._find_thumbnail = find_thumbnail

    def paint_row(self, painter: QPainter, area: QRect, index: QModelIndex, style: RowStyle) -> None:
        """Paint a lesion or an image."""
        row = index.data(ROW_ROLE)
        if not isinstance(row, CaseRow):
            return
        square = QRect(area.left() + 2, area.top() + MARGIN_PX, PICTURE_PX, PICTURE_PX)
        if row.path is not None:
            missing = row.state == "missing"
            paint_thumbnail(painter, square, None if missing else self._find_thumbnail(row.path), style.faint)
            if missing:
                painter.drawText(square, int(Qt.AlignmentFlag.AlignCenter), "?")
        elif row.number:
            square.setWidth(DOT_PX + 4)
            _paint_dot(painter, square, row.number, style.selected)
        else:
            square.setWidth(0)
        left = square.right() + GAP_PX
        text_area = QRect(left, area.top() + 5, area.right() - GAP_PX - left, area.height() - 8)
        _paint_text(painter, text_area, row, style.text, style.faint)


@dataclass(frozen=True)
class CaseRow:
    """Content of a row.

    ``state``: a short text at the right, such as ``corrected``. ``number``: of a lesion, shown in a dot. ``path``: of
    an image. ``tip``: the tooltip. ``rows``: the rows of the lesion's images.
    """

    id: str
    title: str
    subtitle: str = ""
    state: str = ""
    number: str = ""
    path: Path | None = None
    tip: str = ""
    rows: tuple[CaseRow, ...] = ()


def _paint_dot(painter: QPainter, area: QRect, number: str, selected: bool) -> None:
    """Paint the number of a lesion as on the body map."""
    dot = QRect(0, 0, DOT_PX, DOT_PX)
    dot.moveCenter(area.center())
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(DARK_COLORS.current if selected else DARK_COLORS.mark))
    painter.drawEllipse(dot)
    painter.setPen(QColor(DARK_COLORS.mark_edge))
    font = painter.font()
    font.setBold(True)
    painter.setFont(font)
    painter.drawText(dot, int(Qt.AlignmentFlag.AlignCenter), number)
    font.setBold(False)
    painter.setFont(font)


def _paint_text(painter: QPainter, area: QRect, row: CaseRow, text: QColor, faint: QColor) -> None:
    """Paint title, state and subtitle."""
    metrics = painter.fontMetrics()
    top, left, right = (Qt.AlignmentFlag.AlignTop, Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight)
    state = metrics.horizontalAdvance(row.state) + GAP_PX if row.state else 0
    painter.setPen(text)
    title = elide(metrics, row.title, area.width() - state)
    painter.drawText(area, int(left | top), title)
    painter.setPen(faint)
    painter.drawText(area, int(right | top), row.state)
    below = area.adjusted(0, metrics.height() + 2, 0, 0)
    painter.drawText(below, int(left | top), elide(metrics, row.subtitle, area.width()))


class CaseTree(QTreeWidget):
    """Tree of lesions and images; emits signals for the user's actions and does not change the case itself."""

    current_changed = Signal()
    opened = Signal(str)  # id of an image
    moved = Signal(object, str, int)  # ids of images, id of the target lesion, position among its images or -1
    removed = Signal(object)  # ids of lesions and images
    dropped = Signal(object, str)  # paths of files, id of the target lesion or ""

    def __init__(self, icons: ThemedIcons, find_thumbnail: Callable[[Path], QPixmap | None]) -> None:
        super().__init__()
        named(self, "case_tree", "Lesions and images").setToolTip("")
        self.editable = True
        self._collapsed: set[str] = set()
        self._expanded: set[str] = set()
        self._updating = False
        self.setItemDelegate(CaseDelegate(icons, find_thumbnail, self))
        self.setHeaderHidden(True)
        self.setStyleSheet("QTreeView { show-decoration-selected: 0; }")  # the rows are painted by the delegate
        self.setIndentation(16)
        self.setUniformRowHeights(True)
        self.setExpandsOnDoubleClick(False)
        self.setMouseTracking(True)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setDragDropMode(QAbstractItemView.DragDropMode.DragDrop)
        self.setDefaultDropAction(Qt.DropAction.MoveAction)
        self.itemDoubleClicked.connect(self._on_double)
        self.itemExpanded.connect(self._on_expanded)
        self.itemCollapsed.connect(self._on_collapsed)
        self.currentItemChanged.connect(self._on_current)
        icons.changed.connect(self.viewport().update)

    @property
    def current_id(self) -> str:
        """Id of the current row, or ""."""
        item = self.currentItem()
        return "" if item is None else _row_of_item(item).id

    @property
    def selected_images(self) -> list[str]:
        """Ids of the selected images, from top to bottom."""
        return [
            _row_of_item(item).id for item in self._items() if item.isSelected() and _row_of_item(item).path is not None
        ]

    def show_rows(self, rows: Sequence[CaseRow], current: str = "") -> None:
        """Set the rows; expansion, selection and scroll position are kept if possible.

        ``current``: id of the row to select; empty to keep the selection.
        """
        target, selected = current or self.current_id, {_row_of_item(item).id for item in self.selectedItems()}
        scroll_position = self.verticalScrollBar().value()
        previous = [_row_of_item(item) for item in self._top_items()]
        if previous == list(rows) and not current:
            return
        self._updating = True
        self.clear()
        self.addTopLevelItems([_create_item(row) for row in rows])
        for item in self._top_items():
            item.setExpanded(self._is_expanded(_row_of_item(item).id, len(rows)))
        self._select(target, {current} if current else selected)
        self._updating = False
        self.verticalScrollBar().setValue(scroll_position)
        if current and self.currentItem() is not None:
            self.scrollToItem(self.currentItem())
        self._fit_height()
        if self.current_id != target or current:
            self.current_changed.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Open with Enter, remove with Delete."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            item = self.currentItem()
            if item is not None:
                self._on_double(item)
        elif is_delete_key(event):
            chosen = [_row_of_item(item).id for item in self.selectedItems() if _row_of_item(item).id != NO_LESION]
            if chosen and self.editable:
                self.removed.emit(chosen)
        else:
            super().keyPressEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802 - Qt's name
        """Accept files, and images of this tree."""
        if self._accepts(event):
            super().dragEnterEvent(event)
            event.acceptProposedAction()
        else:
            event.ignore()

    def dragMoveEvent(self, event: QDragMoveEvent) -> None:  # noqa: N802 - Qt's name
        """Show the drop position."""
        if self._accepts(event):
            super().dragMoveEvent(event)
            event.acceptProposedAction()
        else:
            event.ignore()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - Qt's name
        """Emit where images or files were dropped; the rows change only with the case."""
        lesion, position = self._drop_target(event)
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            event.acceptProposedAction()
            self.dropped.emit(paths, "" if lesion == NO_LESION else lesion)
        elif event.source() is self and self.selected_images:
            event.setDropAction(Qt.DropAction.CopyAction)  # else Qt would remove the rows after a move
            event.accept()
            self.moved.emit(self.selected_images, lesion, position)
        else:
            event.ignore()
        self.setState(QAbstractItemView.State.NoState)
        self.viewport().update()

    def _accepts(self, event: QDropEvent) -> bool:
        return self.editable and (event.mimeData().hasUrls() or event.source() is self)

    def _drop_target(self, event: QDropEvent) -> tuple[str, int]:
        """Return the id of the lesion under the mouse, or "", and the position among its images, or -1."""
        item = self.itemAt(event.position().toPoint())
        if item is None:
            return "", -1
        parent = item.parent()
        if parent is None:
            return _row_of_item(item).id, -1
        below = self.dropIndicatorPosition() == QAbstractItemView.DropIndicatorPosition.BelowItem
        preceding = [_row_of_item(parent.child(n)).id for n in range(parent.indexOfChild(item) + below)]
        chosen = set(self.selected_images)
        return _row_of_item(parent).id, len([image for image in preceding if image not in chosen])

    def _top_items(self) -> list[QTreeWidgetItem]:
        items = (self.topLevelItem(index) for index in range(self.topLevelItemCount()))
        return [item for item in items if item is not None]

    def _items(self) -> Iterator[QTreeWidgetItem]:
        for item in self._top_items():
            yield item
            yield from (item.child(n) for n in range(item.childCount()))

    def _is_expanded(self, name: str, count: int) -> bool:
        return name in self._expanded or (count <= EXPANDED_UP_TO and name not in self._collapsed)

    def _select(self, current: str, chosen: set[str]) -> None:
        for item in self._items():
            name = _row_of_item(item).id
            if name == current:
                self.setCurrentItem(item)
        for item in self._items():
            item.setSelected(_row_of_item(item).id in chosen)

    def _fit_height(self) -> None:
        """Fit the height to the rows, within limits."""
        rows = sum(1 + (item.childCount() if item.isExpanded() else 0) for item in self._top_items())
        height = min(max(rows, MIN_ROWS), MAX_ROWS) * ROW_PX + FREE_PX + 2 * self.frameWidth()
        if self.minimumHeight() != height:
            self.setFixedHeight(height)

    def _on_double(self, item: QTreeWidgetItem, column: int = 0) -> None:
        row = _row_of_item(item)
        if row.path is not None:
            self.opened.emit(row.id)
        else:
            item.setExpanded(not item.isExpanded())

    def _on_expanded(self, item: QTreeWidgetItem) -> None:
        self._expanded.add(_row_of_item(item).id)
        self._collapsed.discard(_row_of_item(item).id)
        if not self._updating:
            self._fit_height()

    def _on_collapsed(self, item: QTreeWidgetItem) -> None:
        self._collapsed.add(_row_of_item(item).id)
        self._expanded.discard(_row_of_item(item).id)
        if not self._updating:
            self._fit_height()

    def _on_current(self, item: QTreeWidgetItem | None, previous: QTreeWidgetItem | None) -> None:
        if not self._updating:
            self.current_changed.emit()


def _row_of_item(item: QTreeWidgetItem) -> CaseRow:
    row: CaseRow = item.data(0, ROW_ROLE)
    return row


def _create_item(row: CaseRow) -> QTreeWidgetItem:
    """Create an item with its children."""
    item = QTreeWidgetItem([f"{row.number} {row.title}, {row.subtitle} {row.state}".strip()])  # for screen readers
    item.setData(0, ROW_ROLE, row)
    item.setToolTip(0, row.tip)
    usable = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsDropEnabled
    item.setFlags(usable | Qt.ItemFlag.ItemIsDragEnabled if row.path is not None else usable)
    item.addChildren([_create_item(child) for child in row.rows])
    return item


def create_rows(
    case: Case,
    missing: Collection[str] = (),
    predictions: Mapping[str, CaseLesionPrediction] | None = None,
    outdated: Collection[str] = (),
) -> tuple[CaseRow, ...]:
    """Create the rows of a case: lesions, then unassigned images.

    ``missing``: ids of images without a file. ``predictions``: the current ones, by lesion id. ``outdated``: ids of
    lesions with an outdated prediction.
    """
    numbers = number_lesions(case)
    by_lesion = predictions or {}
    lesions = tuple(
        _create_lesion_row(
            lesion, numbers[lesion.id], missing, by_lesion.get(lesion.id), is_outdated=lesion.id in outdated
        )
        for lesion in case.lesions
    )
    if not case.images:
        return lesions
    images = tuple(_create_image_row(image, missing) for image in case.images)
    count = format_count(len(images), "image")
    return (*lesions, CaseRow(NO_LESION, "Not assigned", f"{count}: drag each to its lesion", rows=images))


def _create_lesion_row(
    lesion: CaseLesion,
    number: str,
    missing: Collection[str],
    prediction: CaseLesionPrediction | None,
    *,
    is_outdated: bool,
) -> CaseRow:
    """Create the row of a lesion; the prediction precedes the summary."""
    tip = f"Lesion {number}{f', label {lesion.label}' if lesion.label not in ('', number) else ''}"
    images = tuple(_create_image_row(image, missing) for image in lesion.images)
    subtitle, state = formatting.summarize_lesion(lesion), ""
    if prediction is not None:
        subtitle = f"{format_short_verdict(prediction.prediction)} · {subtitle}"
        tip = "\n".join((tip, format_verdict(prediction.prediction), *prediction.prediction.validity.cautions))
        if prediction.prediction.validity.valid and prediction.outlier and prediction.outlier.is_outlier:
            state = "outlier"
    elif is_outdated:
        subtitle, tip = f"{OUTDATED_ROW} · {subtitle}", f"{tip}\nThe case has changed since its prediction."
    return CaseRow(lesion.id, formatting.format_site(lesion), subtitle, state, number=number, tip=tip, rows=images)


def _create_image_row(image: CaseImage, missing: Collection[str]) -> CaseRow:
    is_missing = image.id in missing
    state = "missing" if is_missing else "✎ corrected" if image.correction else "analyzed" if image.results else ""
    tip = f"{image.path}\n{'The file is missing.' if is_missing else 'Double click or press Enter to open it.'}"
    title = " · ".join(filter(None, (formatting.format_modality(image), image.taken_on)))
    return CaseRow(image.id, title, image.path.name, state, path=image.path, tip=tip)
