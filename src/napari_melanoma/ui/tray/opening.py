"""Open the images of the Tray in the docks that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QDialog, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.slide_layers import list_slides
from napari_melanoma.ui.viewer.view_memory import show_photograph
from napari_melanoma.ui.widgets.style import named, quiet_label
from napari_melanoma.ui.widgets.thumbnails import rgb_to_image

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.tray.images import SlideLabel, TrayImage

LABEL_PX = 420
LABEL_NOTICE = "A label may identify the patient. It is read from the file for this window, and not stored."
ALONE = "Open another slide first: the second view shows a slide next to it."


class TrayOpener(QObject):
    """Opens slides in the Slide dock, photographs in the Lesion dock, and images of a case in the Case dock.

    These docks are not imported before.
    """

    message = Signal(str)

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._case: tuple[Any, Path, list[str]] | None = None  # dock, folder and images of a case that is being opened
        self._second: tuple[Any, str, str] | None = None  # dock, second and first slide, while the second is opened

    def open(self, images: Sequence[TrayImage], case_folder: Path | None) -> None:
        """Open images; the first one is shown."""
        if case_folder is not None:
            self._open_from_case([image.case_id for image in reversed(images)], case_folder)
            return
        for image in reversed(images):
            if image.is_slide:
                self._show("Slide").show_file(image.path)
            else:
                self._open_photograph(image.path)

    def open_beside(self, path: Path) -> None:
        """Show a slide in the second view, next to the displayed one."""
        dock, identity = self._show("Slide"), str(path.absolute())
        if dock.slide is None or dock.slide.identity == identity:
            dock.show_file(path)
            self.message.emit(ALONE)
        elif self._is_open(identity):
            dock.sections.side_by_side.show(identity)
        else:
            self._second = (dock, identity, dock.slide.identity)
            dock.opener.finished.connect(self._on_second_opened)
            dock.opener.open([path])

    def _show(self, name: str) -> Any:  # noqa: ANN401 - a dock, by its name
        return show_dock(self._viewer, name)

    def _is_open(self, identity: str) -> bool:
        return any(slide.identity == identity for slide in list_slides(self._viewer))

    def _open_photograph(self, path: Path) -> None:
        dock = self._show("Lesion")
        image = photographs.find_file(self._viewer, path)
        if image is None:
            dock.opener.open([path])
        else:
            show_photograph(self._viewer, image)

    def _open_from_case(self, ids: list[str], folder: Path) -> None:
        """Open images with their masks in the Case dock, which opens the case first if needed."""
        dock = self._show("Case")
        store = dock.controller.store
        if store is not None and store.folder.resolve() == folder.resolve():
            dock.image_viewer.open(ids)
        else:
            self._case = (dock, folder, ids)
            dock.controller.opened.connect(self._on_case_opened)
            dock.controller.open(folder)

    def _on_case_opened(self) -> None:
        if self._case is not None:
            (dock, folder, ids), self._case = self._case, None
            dock.controller.opened.disconnect(self._on_case_opened)
            if dock.controller.store is not None:
                self._open_from_case(ids, folder)

    def _on_second_opened(self, count: int) -> None:
        """Show the first slide again, and the opened one next to it, unless it could not be opened."""
        if self._second is not None:
            (dock, identity, first), self._second = self._second, None
            dock.opener.finished.disconnect(self._on_second_opened)
            if self._is_open(identity) and self._is_open(first):
                dock.picker.select_slide(first)
                dock.sections.side_by_side.show(identity)


class LabelDialog(QDialog):
    """Shows the label of a slide and the other images in its file, which are dropped when it is closed."""

    def __init__(self, label: SlideLabel, parent: QWidget) -> None:
        super().__init__(parent)
        named(self, "slide_label", f"Label of {label.path.name}").setToolTip("")
        self.setWindowTitle(self.accessibleName())
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        pictures = QWidget()
        pictures_row = QHBoxLayout(pictures)
        for name, rgb in label.images.items():
            pictures_row.addWidget(_create_picture(name, rgb))
        layout = QVBoxLayout(self)
        layout.addWidget(pictures)
        layout.addWidget(quiet_label(LABEL_NOTICE))


def _create_picture(name: str, rgb: Any) -> QWidget:  # noqa: ANN401 - uint8 (row, column, channel=3)
    """Create a picture with its name below it."""
    from qtpy.QtGui import QPixmap

    pixels = QPixmap.fromImage(rgb_to_image(rgb))
    if max(pixels.width(), pixels.height()) > LABEL_PX:
        pixels = pixels.scaled(
            LABEL_PX, LABEL_PX, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
        )
    picture = named(QLabel(), f"slide_label_{name}", name)
    picture.setPixmap(pixels)
    holder = QWidget()
    column = QVBoxLayout(holder)
    for widget in (picture, QLabel(name)):
        column.addWidget(widget, alignment=Qt.AlignmentFlag.AlignHCenter)
    column.addStretch(1)
    return holder
