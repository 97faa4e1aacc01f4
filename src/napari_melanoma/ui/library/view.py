"""The views of the lists of images: selection, keys and order; tiles also with a menu."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from qtpy.QtCore import QEvent, QItemSelection, QItemSelectionModel, QModelIndex, QPoint, Qt, Signal
from qtpy.QtGui import QContextMenuEvent, QKeyEvent
from qtpy.QtWidgets import QAbstractItemView, QListView, QMenu

from napari_melanoma.ui.library.model import LibraryModel, RowDelegate, TileDelegate
from napari_melanoma.ui.library.resolve import LibraryImage
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
        self._order_timer = DebounceTimer(self, ORDER_MS)
        self._awaits_leaving = False  # of the pointer: states have changed
        self._order_timer.timeout.connect(self.update_states)
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

    def schedule_order(self) -> None:
        """Filter and sort the rows again after a delay: states have changed."""
        if not self._order_timer.isActive():
            self._order_timer.start()

    def update_order(self) -> None:
        """Filter and sort the rows; selected images stay selected, and the current row keeps its position."""
        self._order_timer.stop()
        self._awaits_leaving = False
        self._update_rows(self._model.update_order)

    def update_states(self) -> None:
        """Filter and sort the rows after changes of states; unless the order is kept, not under the pointer."""
        self._order_timer.stop()
        self._awaits_leaving = self.underMouse() and not self._model.keeps_order
        if self._awaits_leaving:
            self.order_updated.emit()
        else:
            self._update_rows(self._model.update_states)

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Sort the rows by the states that have changed under the pointer."""
        super().leaveEvent(event)
        if self._awaits_leaving:
            self.update_states()

    def _update_rows(self, update: Callable[[], bool]) -> None:
        top = self._find_top()
        selected: list[Path | None] = [image.path for image in self.selected_images]
        if self._opening == "selection":  # the image under review may not have been listed
            selected = [self.path]
        scroll = self.verticalScrollBar().value()
        if update():
            self.select_paths(selected)
            self.doItemsLayout()
            new_top = self._find_top()
            self.verticalScrollBar().setValue(scroll + (0 if top is None or new_top is None else new_top - top))
        self.order_updated.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Open the selected images with Enter."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._request_opening()
        else:
            super().keyPressEvent(event)

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
    """Shows images as tiles, in rows that fill the width; several can be selected.

    ``side_by_side_requested``: the ``LibraryImage`` of the slide for the second view. ``label_requested``: path of the
    slide whose label is to be shown.
    """

    side_by_side_requested = Signal(object)
    label_requested = Signal(object)

    def __init__(self, model: LibraryModel, icons: ThemedIcons, name: str) -> None:
        super().__init__(model, icons, name, opening="double click")
        self.setFlow(QListView.Flow.LeftToRight)
        self.setWrapping(True)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setSpacing(SPACING_PX)
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
            menu.addAction("Show label...").triggered.connect(lambda: self.label_requested.emit(slide.path))
        return menu

    def request_side_by_side(self) -> None:
        """Request the second view for the selected slide."""
        if self.selected_slide is not None:
            self.side_by_side_requested.emit(self.selected_slide)

    def request_label(self) -> None:
        """Request the label of the selected slide."""
        if self.selected_slide is not None:
            self.label_requested.emit(self.selected_slide.path)


def _find_single_slide(images: Sequence[LibraryImage]) -> LibraryImage | None:
    """Return the slide if it is the only image."""
    return images[0] if len(images) == 1 and images[0].is_slide else None
