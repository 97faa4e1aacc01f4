"""The tiles of the Tray: keys, menu, and dragging them onto the views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from qtpy.QtCore import QEvent, QItemSelection, QItemSelectionModel, QModelIndex, QObject, QPoint, Qt, Signal
from qtpy.QtGui import QContextMenuEvent, QDrag, QDropEvent, QKeyEvent, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QDockWidget, QListView, QMenu, QWidget

from napari_melanoma.ui.tray.images import TrayImage
from napari_melanoma.ui.tray.model import PICTURE_PX, TRAY_FORMAT, TrayDelegate, TrayModel
from napari_melanoma.ui.widgets.style import ThemedIcons, named

SPACING_PX = 2


class TrayView(QListView):
    """Shows the tiles in rows, as many in each as fit.

    Images that are dropped on a view are opened by the docks that they belong to, not by napari's readers.
    """

    opened = Signal(object)
    beside_requested = Signal(object)
    label_requested = Signal(object)

    def __init__(self, rows: TrayModel, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "tray_list", "Slides and photographs").setToolTip("")
        self.is_dragging = False
        self._dropped_on: Literal["first", "second"] | None = None
        self._list = rows
        self.setModel(rows)
        self.setItemDelegate(TrayDelegate(icons, self))
        self.setFlow(QListView.Flow.LeftToRight)
        self.setWrapping(True)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setUniformItemSizes(True)
        self.setSpacing(SPACING_PX)
        self.setMouseTracking(True)
        self.setDragEnabled(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.doubleClicked.connect(lambda index: self._emit_opened([index]))
        icons.changed.connect(self.viewport().update)

    @property
    def selected_images(self) -> list[TrayImage]:
        """The selected images, in the order of the rows."""
        return self._images_of(sorted(self.selectedIndexes()))

    @property
    def selected_slide(self) -> TrayImage | None:
        """The selected image if it is a slide and the only one."""
        images = self.selected_images
        return images[0] if len(images) == 1 and images[0].is_slide else None

    def list_visible(self) -> list[TrayImage]:
        """List the images whose tiles are visible."""
        area = self.viewport().rect()
        first = self.indexAt(QPoint(SPACING_PX + 1, SPACING_PX + 1))
        found = []
        for row in range(max(first.row(), 0), self._list.rowCount()):
            index = self._list.index(row)
            rect = self.visualRect(index)
            if rect.top() > area.bottom():
                break
            if rect.intersects(area):
                found.append(index)
        return self._images_of(found)

    def select_path(self, path: Path | None) -> None:
        """Select the tile of a file and scroll to it, if it is shown."""
        index = self._list.find_index(path)
        if index.isValid():
            self.selectionModel().setCurrentIndex(index, QItemSelectionModel.SelectionFlag.ClearAndSelect)
            self.scrollTo(index)

    def select_paths(self, paths: Sequence[Path]) -> None:
        """Select the tiles of files as far as they are shown."""
        selection = QItemSelection()
        for index in filter(QModelIndex.isValid, map(self._list.find_index, paths)):
            selection.select(index, index)
        self.selectionModel().select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Open the selected images with Enter, or show one in the second view with Shift+Enter."""
        if event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)
        elif event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.request_beside()
        else:
            self._emit_opened(sorted(self.selectedIndexes()))

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:  # noqa: N802 - Qt's name
        """Show what can be done with the selected images."""
        images = self.selected_images
        if images:
            self.create_menu(images).popup(event.globalPos())

    def create_menu(self, images: list[TrayImage]) -> QMenu:
        """Create the menu of some images."""
        menu = QMenu(self)
        menu.setObjectName("tray_menu")
        menu.aboutToHide.connect(menu.deleteLater)
        menu.addAction("Open").triggered.connect(lambda: self.opened.emit(images))
        if self.selected_slide is not None:
            menu.addAction("Show side by side").triggered.connect(self.request_beside)
            menu.addAction("Show label ...").triggered.connect(self.request_label)
        return menu

    def request_beside(self) -> None:
        """Request the second view for the selected slide."""
        if self.selected_slide is not None:
            self.beside_requested.emit([self.selected_slide])

    def request_label(self) -> None:
        """Request the label of the selected slide."""
        if self.selected_slide is not None:
            self.label_requested.emit(self.selected_slide.path)

    def startDrag(self, supported: Qt.DropAction) -> None:  # noqa: N802 - Qt's name
        """Drag the selected images; views of this window accept them as long as this lasts."""
        indexes = sorted(self.selectedIndexes())
        drag = QDrag(self)
        drag.setMimeData(self._list.mimeData(indexes))
        picture = self._list.data(indexes[0], int(Qt.ItemDataRole.DecorationRole)) if indexes else None
        if isinstance(picture, QPixmap):
            small = picture.scaled(PICTURE_PX, PICTURE_PX, Qt.AspectRatioMode.KeepAspectRatio)
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
        dropped, self._dropped_on = self._dropped_on, None
        if dropped is not None:  # only now: opening may show a dialog, which waits for the end of the drag
            self._open_dropped(self._images_of(indexes), dropped)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Accept images of this list on a view, and open what is dropped there."""
        if event.type() not in (QEvent.Type.DragEnter, QEvent.Type.DragMove, QEvent.Type.Drop):
            return bool(super().eventFilter(watched, event))
        assert isinstance(event, QDropEvent)
        if not event.mimeData().hasFormat(TRAY_FORMAT):
            return False
        event.setDropAction(Qt.DropAction.CopyAction)
        event.accept()
        if event.type() == QEvent.Type.Drop:
            self._dropped_on = "second" if isinstance(watched, QWidget) and _is_in_dock(watched) else "first"
        return True

    def _open_dropped(self, images: list[TrayImage], view: Literal["first", "second"]) -> None:
        slides = [image for image in images if image.is_slide]
        if view == "second" and slides:
            self.beside_requested.emit(slides[:1])
        else:
            self.opened.emit(images)

    def _find_drop_targets(self) -> Iterator[QWidget]:
        """Yield the views of the window, and what accepts drops in them."""
        from napari.qt import QtViewer

        window: QWidget = self
        while (parent := window.parentWidget()) is not None:  # window() of a floating dock is only its own frame
            window = parent
        for view in window.findChildren(QtViewer):
            yield view
            yield from (part for part in view.findChildren(QWidget) if part.acceptDrops())

    def _emit_opened(self, indexes: list[QModelIndex]) -> None:
        images = self._images_of(indexes)
        if images:
            self.opened.emit(images)

    def _images_of(self, indexes: list[QModelIndex]) -> list[TrayImage]:
        return [image for image in map(self._list.image, indexes) if image is not None]


def _is_in_dock(widget: QWidget) -> bool:
    """Whether a view is in a dock, as the second view is; the first is the center of the window."""
    parent: QWidget | None = widget
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent is not None
