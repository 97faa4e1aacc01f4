"""The view of the Tray's tiles: keys, context menu, and dragging of images onto the views of slides."""

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
    """Shows the images as tiles, in rows that fill the width.

    Images that are dropped on a view of napari are opened by the docks for them, not by napari's readers.

    ``open_requested``: a list of ``TrayImage``. ``side_by_side_requested``: the ``TrayImage`` of the slide for the
    second view. ``label_requested``: path of the slide whose label is to be shown.
    """

    open_requested = Signal(object)
    side_by_side_requested = Signal(object)
    label_requested = Signal(object)

    def __init__(self, model: TrayModel, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "tray_list", "Slides and photographs").setToolTip("")
        self.is_dragging = False
        self._dropped_on: Literal["first", "second"] | None = None  # the view on which images were dropped
        self._model = model
        self.setModel(model)
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
        self.doubleClicked.connect(lambda index: self._request_opening([index]))
        icons.changed.connect(self.viewport().update)

    @property
    def selected_images(self) -> list[TrayImage]:
        """The selected images, in the order of the rows."""
        return self._get_images(sorted(self.selectedIndexes()))

    @property
    def selected_slide(self) -> TrayImage | None:
        """The selected image if it is a slide and the only one."""
        return _find_single_slide(self.selected_images)

    def list_visible(self) -> list[TrayImage]:
        """List the images whose tiles are visible."""
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
        """Select the tile of a file and scroll to it, if it is shown."""
        index = self._model.find_index(path)
        if index.isValid():
            self.selectionModel().setCurrentIndex(index, QItemSelectionModel.SelectionFlag.ClearAndSelect)
            self.scrollTo(index)

    def select_paths(self, paths: Sequence[Path]) -> None:
        """Select the tiles of files; files without a tile are ignored."""
        selection = QItemSelection()
        for index in filter(QModelIndex.isValid, map(self._model.find_index, paths)):
            selection.select(index, index)
        self.selectionModel().select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Open the selected images with Enter, or show one in the second view with Shift+Enter."""
        if event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)
        elif event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.request_side_by_side()
        else:
            self._request_opening(sorted(self.selectedIndexes()))

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:  # noqa: N802 - Qt's name
        """Show the menu for the selected images."""
        images = self.selected_images
        if images:
            self.create_menu(images).popup(event.globalPos())

    def create_menu(self, images: list[TrayImage]) -> QMenu:
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
        view, self._dropped_on = self._dropped_on, None
        if view is not None:  # after the end of the drag, because opening may show a dialog
            self._open_dropped(self._get_images(indexes), view)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Accept images of this list on a view, and record on which view they are dropped."""
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
            self.side_by_side_requested.emit(slides[0])
        else:
            self.open_requested.emit(images)

    def _find_drop_targets(self) -> Iterator[QWidget]:
        """Yield the views of the window, and the widgets in them that accept drops."""
        from napari.qt import QtViewer

        window: QWidget = self
        while (parent := window.parentWidget()) is not None:  # window() of a floating dock would be only its own frame
            window = parent
        for view in window.findChildren(QtViewer):
            yield view
            yield from (part for part in view.findChildren(QWidget) if part.acceptDrops())

    def _request_opening(self, indexes: list[QModelIndex]) -> None:
        images = self._get_images(indexes)
        if images:
            self.open_requested.emit(images)

    def _get_images(self, indexes: list[QModelIndex]) -> list[TrayImage]:
        return [image for image in map(self._model.image, indexes) if image is not None]


def _find_single_slide(images: Sequence[TrayImage]) -> TrayImage | None:
    """Return the slide if it is the only image."""
    return images[0] if len(images) == 1 and images[0].is_slide else None


def _is_in_dock(widget: QWidget) -> bool:
    """Return whether a view is in a dock, as the second view is; the first one is the center of the window."""
    parent: QWidget | None = widget
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent is not None
