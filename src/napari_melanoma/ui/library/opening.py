"""Open the images of the Tray in the docks for them, and show the label of a slide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QDialog, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_melanoma.core.paths import real_path
from napari_melanoma.ui.library.listing import SlideLabel
from napari_melanoma.ui.library.resolve import LibraryImage
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.slide_layers import find_slide
from napari_melanoma.ui.viewer.view_memory import show_photograph
from napari_melanoma.ui.widgets.style import named, quiet_label
from napari_melanoma.ui.widgets.thumbnails import to_qimage

if TYPE_CHECKING:
    from napari.viewer import Viewer


LABEL_PX = 420  # largest side of a picture in the dialog
LABEL_NOTICE = "A label may identify the patient. It is read from the file for this window, and not stored."
NO_FIRST_SLIDE = "Open another slide first: the second view shows a slide next to it."


class TrayOpener(QObject):
    """Opens slides in the Slide dock, photographs in the Lesion dock, and images of a case in the Case dock.

    A dock is imported when it is first needed.
    """

    message = Signal(str)

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._connected_docks: WeakSet[QWidget] = WeakSet()  # Case docks whose signals are connected
        self._case_request: tuple[Path, list[str]] | None = None  # folder of a case that is being opened, and image ids
        # Slide dock, and identities of second and first slide, while the second slide is being opened
        self._side_by_side_request: tuple[Any, str, str] | None = None

    def open(self, images: Sequence[LibraryImage], case_folder: Path | None) -> None:
        """Open images; the first one is shown."""
        self.message.emit("")  # that of the previous request
        if case_folder is not None:
            self._open_from_case([image.case_id for image in reversed(images)], case_folder)
            return
        for image in reversed(images):
            if image.is_slide:
                self._show_dock("Slide").show_file(image.path)
            else:
                self._open_photograph(image.path)

    def open_side_by_side(self, path: Path, case_folder: Path | None) -> None:
        """Show a slide in the second view, next to the displayed slide.

        ``case_folder``: the case that the slide belongs to, if any. If it is open, the Case dock closes the slide with
        the case.
        """
        self.message.emit("")
        dock, identity = self._show_dock("Slide"), str(path.absolute())
        case_dock = self._find_case_dock()
        if case_folder is not None and case_dock is not None and _is_open_case(case_dock, case_folder):
            case_dock.images.add_slide(path)
        if dock.slide is None or dock.slide.identity == identity:
            dock.show_file(path)
            self.message.emit(NO_FIRST_SLIDE)
        elif find_slide(self._viewer, identity):
            _compare(dock, identity)
        else:
            self._side_by_side_request = (dock, identity, dock.slide.identity)
            dock.opener.finished.connect(self._on_second_opened)
            dock.opener.open([path])

    def _show_dock(self, name: str) -> Any:  # noqa: ANN401 - a dock, by its name
        return show_dock(self._viewer, name)

    def _open_photograph(self, path: Path) -> None:
        dock = self._show_dock("Lesion")
        image = photographs.find_file(self._viewer, path)
        if image is None:
            dock.opener.open([path])
        else:
            show_photograph(self._viewer, image)

    def _open_from_case(self, ids: list[str], folder: Path) -> None:
        """Open images with their masks in the Case dock, which opens the case first if needed."""
        dock = self._show_dock("Case")
        if _is_open_case(dock, folder):
            self._drop_case_request()
            dock.images.open(ids)
            return
        if dock not in self._connected_docks:
            self._connected_docks.add(dock)
            dock.controller.opened.connect(self._on_case_opened)
            dock.controller.failed.connect(self._drop_case_request)
        self._case_request = (folder, ids)
        dock.controller.open(folder)

    def _find_case_dock(self) -> Any | None:  # noqa: ANN401 - a dock that may not be imported yet
        docks = getattr(self._viewer.window, "dock_widgets", {})  # since napari 0.6.2
        return next((dock for dock in docks.values() if dock.objectName() == "case_dock"), None)

    def _drop_case_request(self) -> None:
        self._case_request = None

    def _on_case_opened(self) -> None:
        """Open the requested images, unless another case was opened."""
        request, self._case_request = self._case_request, None
        dock = self._find_case_dock()
        if request is not None and dock is not None and _is_open_case(dock, request[0]):
            dock.images.open(request[1])

    def _on_second_opened(self, count: int) -> None:
        """Show the first slide again, and the second one next to it, unless it could not be opened."""
        if self._side_by_side_request is not None:
            (dock, identity, first), self._side_by_side_request = self._side_by_side_request, None
            dock.opener.finished.disconnect(self._on_second_opened)
            if all(find_slide(self._viewer, one) for one in (identity, first)):
                dock.picker.select_slide(first)
                _compare(dock, identity)


def _compare(dock: Any, identity: str) -> None:  # noqa: ANN401 - the Slide dock, which is not imported
    """Show an open slide beside the displayed one."""
    dock.side_by_side_section.expand()
    dock.sections.hosted.sessions.second.set(identity)


def _is_open_case(dock: Any, folder: Path) -> bool:  # noqa: ANN401 - the Case dock, which is not imported
    store = dock.controller.store
    return store is not None and bool(real_path(store.folder) == real_path(folder))


class LabelDialog(QDialog):
    """Shows the label and other images in the file of a slide; nothing is kept after it is closed."""

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
        for text in (*label.problems, LABEL_NOTICE):
            layout.addWidget(quiet_label(text))


def _create_picture(name: str, rgb: Any) -> QWidget:  # noqa: ANN401 - uint8 (row, column, channel=3)
    """Create a picture with its name below it."""
    from qtpy.QtGui import QPixmap

    pixels = QPixmap.fromImage(to_qimage(rgb))
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
