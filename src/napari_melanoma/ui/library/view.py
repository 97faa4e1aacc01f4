"""The views of the lists of images: selection, keys and order; tiles also with a menu and dragging onto slides."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal

from qtpy.QtCore import QEvent, QItemSelection, QItemSelectionModel, QModelIndex, QObject, QPoint, Qt, Signal
from qtpy.QtGui import QContextMenuEvent, QDrag, QDropEvent, QKeyEvent, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QListView, QMenu, QWidget

from napari_melanoma.ui.library.model import DRAG_FORMAT, TILE_PICTURE_PX, LibraryModel, RowDelegate, TileDelegate
from napari_melanoma.ui.library.resolve import LibraryImage
from napari_melanoma.ui.viewer.camera import find_main_window
from napari_melanoma.ui.viewer.docking import find_frame
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import ThemedIcons, named

SPACING_PX = 2
ORDER_MS = 1000  # interval between two sortings while states or scores are read
Opening = Literal["double click", "selection"]


class LibraryView(QListView):
    """Shows images as rows. ``opening``: how an image is opened with the mouse; Enter opens it in any case.

    With ``selection``, the selected image is under review: ``path``. It stays the same while other images are listed.
    ``open_requested``: a list of ``LibraryImage``. ``order_updated``: the rows or the selection may have changed.
    """

    open_requested = Signal(object)
    order_updated = Signal()

    def __init__(
        self, model: LibraryModel, icons: ThemedIcons, name: str, *, opening: Opening, picture_px: int = 0
    ) -> None:
        super().__init__()
        named(self, name, "Slides and photographs").setToolTip("")
        self.path: Path | None = None  # of the image under review
        self._model, self._opening = model, opening
        self._changed: set[Path] = set()  # files whose states have changed since the last sorting
        self._order_timer = DebounceTimer(self, ORDER_MS)
        self._order_timer.timeout.connect(self._update_changed)
        self.setModel(model)
        self.setItemDelegate(RowDelegate(icons, picture_px, self) if picture_px else TileDelegate(icons, self))
        self.setUniformItemSizes(True)
        self.setMouseTracking(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        icons.changed.connect(self.viewport().update)
        if opening == "selection":
            self.selectionModel().currentChanged.connect(self._on_current)
        else:
            self.doubleClicked.connect(self._request_opening)

    @property
    def selected_images(self) -> list[LibraryImage]:
        """The selected images, in the order of the rows."""
        return self._get_images(sorted(self.selectedIndexes()))

    def list_visible(self) -> list[LibraryImage]:
        """List the images whose rows are visible."""
        area = self.viewport().rect()
        first = self.indexAt(QPoint(SPACING_PX + 1, SPACING_PX + 1))
        indexes = []
        for row in range(max(first.row(), 0), self._model.rowCount()):
            index = self._model.index(row)
            rect = self.visualRect(index)
            if rect.top() > area.bottom():
                break
            if rect.intersects(area):
                indexes.append(index)
        return self._get_images(indexes)

    def select_path(self, path: Path | None) -> None:
        """Select the row of a file, which becomes the one under review, and scroll to it; None selects none."""
        self.path = path
        self.select_paths([path])
        self.scrollTo(self.currentIndex())

    def select_paths(self, paths: Sequence[Path | None]) -> None:
        """Select the rows of files; files that are not listed are ignored."""
        indexes = [index for index in map(self._model.find_index, paths) if index.isValid()]
        selection = QItemSelection()
        for index in indexes:
            selection.select(index, index)
        self.selectionModel().select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        current = indexes[0] if indexes else QModelIndex()
        self.selectionModel().setCurrentIndex(current, QItemSelectionModel.SelectionFlag.NoUpdate)

    def schedule_order(self, path: Path) -> None:
        """Filter and sort a row again after a delay: the state of the file has changed."""
        self._changed.add(path)
        if not self._order_timer.isActive():
            self._order_timer.start()

    def update_order(self) -> None:
        """Filter and sort the rows; selected images stay selected.

        The row under the mouse does not move, otherwise the position of the image under review in the view does not.
        """
        self._update_rows(None)

    def _update_changed(self) -> None:
        self._update_rows(self._changed)

    def _update_rows(self, changed: Collection[Path] | None) -> None:
        """Filter and sort all rows, or those of changed files."""
        self._order_timer.stop()
        self._changed = set()
        pinned, top = self._find_hovered(), self._find_top()
        selected: list[Path | None] = [image.path for image in self.selected_images]
        if self._opening == "selection":  # the image under review may not have been listed
            selected = [self.path]
        scroll = self.verticalScrollBar().value()
        if self._model.update_order(pinned, changed):
            self.select_paths(selected)
            self.doItemsLayout()
            new_top = self._find_top()
            moved = 0 if top is None or new_top is None or pinned is not None else new_top - top
            self.verticalScrollBar().setValue(scroll + moved)
        self.order_updated.emit()

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Sort again, since the row under the mouse may have been kept out of order."""
        super().leaveEvent(event)
        self._order_timer.start()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Open the selected images with Enter."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._request_opening()
        else:
            super().keyPressEvent(event)

    def _find_hovered(self) -> tuple[LibraryImage, int] | None:
        """Return the image and the row under the mouse; None if there is none."""
        viewport = self.viewport()
        index = self.indexAt(viewport.mapFromGlobal(self.cursor().pos())) if viewport.underMouse() else QModelIndex()
        image = self._model.image(index)
        return None if image is None else (image, index.row())

    def _find_top(self) -> int | None:
        """Return the top of the current row in the viewport; None if it is not visible."""
        index = self.currentIndex()
        rect = self.visualRect(index)
        return rect.top() if index.isValid() and self.viewport().rect().intersects(rect) else None

    def _on_current(self, index: QModelIndex) -> None:
        image = self._model.image(index)
        if image is not None and image.path != self.path:
            self.path = image.path
            self.open_requested.emit([image])

    def _request_opening(self, index: QModelIndex | None = None) -> None:
        """Request to open the image of a row, by default all selected images."""
        images = self.selected_images if index is None else self._get_images([index])
        if images:
            self.open_requested.emit(images)

    def _get_images(self, indexes: Sequence[QModelIndex]) -> list[LibraryImage]:
        return [image for image in map(self._model.image, indexes) if image is not None]


class TileView(LibraryView):
    """Shows images as tiles, in rows that fill the width; several can be selected, and dragged.

    Images that are dropped on a view of napari are opened by the docks for them, not by napari's readers.

    ``side_by_side_requested``: the ``LibraryImage`` of the slide for the second view. ``label_requested``: path of the
    slide whose label is to be shown.
    """

    side_by_side_requested = Signal(object)
    label_requested = Signal(object)

    def __init__(self, model: LibraryModel, icons: ThemedIcons, name: str) -> None:
        super().__init__(model, icons, name, opening="double click")
        self.is_dragging = False
        self._dropped_on: Literal["first", "second"] | None = None  # the view on which images were dropped
        self.setFlow(QListView.Flow.LeftToRight)
        self.setWrapping(True)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setSpacing(SPACING_PX)
        self.setDragEnabled(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)

    @property
    def selected_slide(self) -> LibraryImage | None:
        """The selected image if it is a slide and the only one."""
        return _find_single_slide(self.selected_images)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Open the selected images with Enter, or show one in the second view with Shift+Enter."""
        if (
            event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
            and event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        ):
            self.request_side_by_side()
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:  # noqa: N802 - Qt's name
        """Show the menu for the selected images."""
        images = self.selected_images
        if images:
            self.create_menu(images).popup(event.globalPos())

    def create_menu(self, images: list[LibraryImage]) -> QMenu:
        """Create the context menu for some images."""
        menu = QMenu(self)
        menu.setObjectName("tray_menu")
        menu.aboutToHide.connect(menu.deleteLater)
        menu.addAction("Open").triggered.connect(lambda: self.open_requested.emit(images))
        slide = _find_single_slide(images)
        if slide is not None:
            menu.addAction("Show side by side").triggered.connect(lambda: self.side_by_side_requested.emit(slide))
            menu.addAction("Show label ...").triggered.connect(lambda: self.label_requested.emit(slide.path))
        return menu

    def request_side_by_side(self) -> None:
        """Request the second view for the selected slide."""
        if self.selected_slide is not None:
            self.side_by_side_requested.emit(self.selected_slide)

    def request_label(self) -> None:
        """Request the label of the selected slide."""
        if self.selected_slide is not None:
            self.label_requested.emit(self.selected_slide.path)

    def startDrag(self, supported: Qt.DropAction) -> None:  # noqa: N802 - Qt's name
        """Drag the selected images; the views of this window accept them until the drag ends."""
        indexes = sorted(self.selectedIndexes())
        drag = QDrag(self)
        drag.setMimeData(self._model.mimeData(indexes))
        picture = self._model.data(indexes[0], int(Qt.ItemDataRole.DecorationRole)) if indexes else None
        if isinstance(picture, QPixmap):
            small = picture.scaled(TILE_PICTURE_PX, TILE_PICTURE_PX, Qt.AspectRatioMode.KeepAspectRatio)
            drag.setPixmap(small)
            drag.setHotSpot(small.rect().center())
        targets = list(self._find_drop_targets())
        for target in targets:
            target.installEventFilter(self)
        self.is_dragging = True
        try:
            drag.exec(Qt.DropAction.CopyAction)
        finally:
            self.is_dragging = False
            for target in targets:
                target.removeEventFilter(self)
        view, self._dropped_on = self._dropped_on, None
        if view is not None:  # after the end of the drag, because opening may show a dialog
            self._open_dropped(self._get_images(indexes), view)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Accept images of this list on a view, and record on which view they are dropped."""
        if event.type() not in (QEvent.Type.DragEnter, QEvent.Type.DragMove, QEvent.Type.Drop):
            return bool(super().eventFilter(watched, event))
        assert isinstance(event, QDropEvent)
        if not event.mimeData().hasFormat(DRAG_FORMAT):
            return False
        event.setDropAction(Qt.DropAction.CopyAction)
        event.accept()
        if event.type() == QEvent.Type.Drop:
            is_second = isinstance(watched, QWidget) and find_frame(watched) is not None
            self._dropped_on = "second" if is_second else "first"  # which is in the middle of the window
        return True

    def _open_dropped(self, images: list[LibraryImage], view: Literal["first", "second"]) -> None:
        slides = [image for image in images if image.is_slide]
        if view == "second" and slides:
            self.side_by_side_requested.emit(slides[0])
        else:
            self.open_requested.emit(images)

    def _find_drop_targets(self) -> Iterator[QWidget]:
        """Yield the views of the window, and the widgets in them that accept drops."""
        from napari.qt import QtViewer

        window = find_main_window(self)
        for view in () if window is None else window.findChildren(QtViewer):
            yield view
            yield from (part for part in view.findChildren(QWidget) if part.acceptDrops())


def _find_single_slide(images: Sequence[LibraryImage]) -> LibraryImage | None:
    """Return the slide if it is the only image."""
    return images[0] if len(images) == 1 and images[0].is_slide else None
