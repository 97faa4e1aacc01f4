"""Which images of a case are in the viewer: opened on demand, closed with their case, and back with it another day."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_melanoma.ui.case.desk import CaseDesk
from napari_melanoma.ui.case.opening import CaseOpening
from napari_melanoma.ui.case.settings import CaseSettings
from napari_melanoma.ui.case.slides import close_slides, show_slide
from napari_melanoma.ui.case.tree import CaseTree

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.data.case.model import CaseImage
    from napari_melanoma.data.case.store import CaseStore

MOST_REOPENED = 8  # images that come back into the viewer with their case


class CaseViewing(QObject):
    """Takes images of the open case to the viewer."""

    said = Signal(str)

    def __init__(self, viewer: Viewer, dock: QWidget, desk: CaseDesk, tree: CaseTree, settings: CaseSettings) -> None:
        super().__init__(dock)
        self._desk = desk
        self._tree = tree
        self._settings = settings
        self._paths: list[Path] = []
        self._slides: list[Path] = []
        self._store: CaseStore | None = None  # that the images in the viewer were opened from
        self.opening = CaseOpening(viewer, dock, self._image_of)
        self.opening.changed.connect(self._remember)
        self.opening.slide_found.connect(self._show_slide)
        tree.opened.connect(self._on_wanted)

    @property
    def chosen(self) -> list[str]:
        """Ids of the images that are selected, or else of those of the lesion at hand."""
        case, current = self._desk.case, self._tree.current
        lesions = () if case is None else (found for found in case.lesions if found.id == current)
        return self._tree.images or [image.id for found in lesions for image in found.images]

    def open_chosen(self) -> None:
        """Open what is chosen, the first of it in view."""
        self.open(self.chosen[::-1])

    def change_case(self) -> None:
        """Close what belongs to the case before, and open what was open when this one was last.

        A case that is opened again is shown again, as somebody else may have changed its masks. What was drawn here and
        could not be kept, as while another window had the case, is kept now.
        """
        store, before = self._desk.store, self._paths
        shown = [] if store is None else self._settings.shown(store.folder)
        is_read_again = store is not self._store
        if self._store is not None and (store is None or store.folder != self._store.folder):
            slides, self._slides = self._slides, []
            close_slides(self.opening.viewer, slides)  # else a slide of one patient stays open beside another
        self._store = store
        self.opening.close([path for path in before if is_read_again or self._image_of(path) is None])
        self._paths = []
        if store is not None:
            self.open([image for image in shown if image not in store.missing][-MOST_REOPENED:])
            self._paths += [path for path in before if path not in self._paths and self._image_of(path) is not None]
            self.opening.tell_left(before)

    def open(self, ids: list[str]) -> None:
        """Open images, the last one in view; says of those that cannot be why."""
        case = self._desk.case
        images = [] if case is None else [image for _, image in case.each_image() if image.id in ids]
        images.sort(key=lambda image: ids.index(image.id))
        gone = [image for image in images if not image.path.is_file()]
        slides = [image for image in images if image.modality == "wsi" and image not in gone]
        if gone:
            self.said.emit(f"{gone[0].path.name} is gone: it is not at {gone[0].path}.")
        usable = [image for image in images if image not in gone and image not in slides]
        if usable:
            self._paths += [image.path for image in usable if image.path not in self._paths]
            self.opening.open(usable)
            if slides:
                self.said.emit(f"{slides[0].path.name} is a slide: double-click it to open it in the Slide dock.")
        elif slides:
            self._show_slide(slides[-1].path)

    def _show_slide(self, path: Path) -> None:
        self._slides.append(path)
        show_slide(self.opening.viewer, path)

    def _on_wanted(self, image: str) -> None:
        self.open([image])

    def _image_of(self, path: Path) -> CaseImage | None:
        """The image of the case with that file."""
        case = self._desk.case
        images = () if case is None else (image for _, image in case.each_image())
        return next((image for image in images if image.path == path), None)

    def _remember(self) -> None:
        """Remember which images are in the viewer, the one in view last."""
        case, store = self._desk.case, self._desk.store
        if case is None or store is None:
            return
        images = [image for _, image in case.each_image()]
        there = [image for image in images if self.opening.is_wanted(image.path)]
        lesion = self.opening.lesion
        seen = None if lesion is None else lesion.picker.identity
        there.sort(key=lambda image: seen is not None and self.opening.path(seen) == image.path)
        self._settings.set_shown(store.folder, [image.id for image in there])
