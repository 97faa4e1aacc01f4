"""Images of a case in the viewer: opened with the mask that counts, analysed where nothing is stored, kept as drawn."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_melanoma.core.errors import DamagedImage
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.ui import linked
from napari_melanoma.ui.beside import BesideLesion, read
from napari_melanoma.ui.case.stored import stored
from napari_melanoma.ui.job import Latest
from napari_melanoma.ui.opening import offer_damaged
from napari_melanoma.ui.photographs import KEY, Source
from napari_melanoma.ui.recovery import Recovered
from napari_melanoma.ui.turning import turn_to

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from napari.layers import Image
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.data.case.model import CaseImage
    from napari_melanoma.io.napari_functions import LayerData
    from napari_melanoma.ui.lesion.dock import LesionDock

Layers = tuple[Path, "list[LayerData]"]
Stored = tuple[str, "Recovered | NDArray[np.bool_] | None"]
RAISE_MS = 50  # after the Lesion dock has come to the front


class CaseOpening(BesideLesion):
    """Shows images one at a time, with the Lesion dock behind it."""

    lesion_opened = Signal()
    working = Signal(str)
    progressed = Signal(object)
    slide_found = Signal(object)
    analysed = Signal(str, object)
    failed = Signal(object)

    def __init__(self, viewer: Viewer, dock: QWidget, find: Callable[[Path], CaseImage | None]) -> None:
        super().__init__(viewer, dock)
        self._find = find
        self._wanted: list[Path] = []
        self._being_read = Path()
        self._accepted: set[Path] = set()  # damaged photographs that the user opens nevertheless
        self._masks: dict[str, NDArray[np.bool_]] = {}  # for photographs that are analysed first
        self._looked: set[str] = set()
        self._unknown: set[str] = set()  # photographs of which nothing is stored; what fails once is not tried again
        self.restored: set[str] = set()  # photographs whose analysis is the stored one
        self._raising = QTimer(self)
        self._raising.setSingleShot(True)
        self._raising.timeout.connect(self._to_front)
        self._reading = Latest(self)
        self._reading.succeeded.connect(self._on_read)
        self._reading.failed.connect(self._on_failed)
        self._looking = Latest(self)
        self._looking.succeeded.connect(self._on_stored)
        self._looking.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether an image is being opened, analysed or followed."""
        mine = self._reading.busy or self._looking.busy or bool(self._wanted)
        return mine or (self.lesion is not None and self.lesion.busy)

    def open(self, images: list[CaseImage]) -> None:
        """Open images, the last one in view."""
        had = self.lesion
        self.lesion_dock()
        if had is not self.lesion:
            self._raising.start(RAISE_MS)
        self._wanted = [image.path for image in images]
        self.working.emit("opening")
        self._next()

    def is_wanted(self, path: Path) -> bool:
        """Say whether a photograph is open, or about to be.

        False where it was closed.
        """
        return path in self._wanted or self.image(path) is not None

    def close(self, paths: list[Path]) -> None:
        """Take photographs out of the viewer with all that was made from them, unless they hold unsaved work."""
        for path in paths:
            image = self.image(path)
            if image is None:
                continue
            known = None if self.lesion is None else self.lesion.work.book.lesions.get(str(linked.identity(image)))
            if known is None or not known.unsaved:
                self._looked.discard(str(linked.identity(image)))
                for layer in reversed(linked.parts(self.viewer, image)):
                    self.viewer.layers.remove(layer)

    def tell_left(self, paths: list[Path]) -> None:
        """Tell once more of photographs that stayed open, as what was drawn on them is kept nowhere."""
        for path in paths:
            image = self.image(path)
            if image is not None and self.lesion is not None:
                self._on_changed(str(linked.identity(image)))

    def join(self, lesion: LesionDock) -> None:
        """Listen to a Lesion dock; called once for each."""
        for known in (self._looked, self._unknown, self.restored):
            known.clear()  # this one knows nothing of what is open
        lesion.work.changed.connect(self._on_changed)
        lesion.analysing.changed.connect(self._analyse)
        lesion.analysing.changed.connect(self._tell)
        lesion.analysing.queue.progressed.connect(self.progressed)
        lesion.picker.changed.connect(self._analyse)
        self.lesion_opened.emit()

    def cancel(self) -> None:
        """Open and analyse no more; what is open stays."""
        self._wanted = []
        if self.lesion is not None:
            self.lesion.analysing.queue.cancel()
        self._tell()

    def _tell(self) -> None:
        """Tell what is being done now."""
        analysing = self.lesion is not None and self.lesion.analysing.queue.busy
        self.working.emit("opening" if self._wanted else "analysing" if analysing else "")

    def _to_front(self) -> None:
        """Stay in sight where the Lesion dock opened as a tab before this one."""
        frame = self._dock.parentWidget()
        if isinstance(frame, QDockWidget):
            frame.raise_()

    def _next(self) -> None:
        """Open the next one that is wanted; those that are open are shown at once."""
        while self._wanted:
            path = self._wanted[0]
            there = self.image(path)
            if there is None:
                self._reading.submit("read", partial(self._begin, path))
                return
            self._wanted.pop(0)
            self._show(there, path)
        self._tell()

    def _begin(self, path: Path) -> Callable[[RunContext], Layers]:
        """Read a photograph, now that its turn has come."""
        self._being_read = path
        return partial(read, path, accept_damaged=True if path in self._accepted else None)

    def _on_failed(self, error: Exception) -> None:
        path = self._being_read
        if path in self._wanted:
            self._wanted.remove(path)  # else it would be read again, for ever
            if isinstance(error, DamagedImage):
                offer_damaged(self._dock, path, error.damage, partial(self._open_damaged, path))
            else:
                self.failed.emit(error)
        self._next()

    def _open_damaged(self, path: Path) -> None:
        """Open a photograph although a part of it is missing."""
        self._accepted.add(path)
        self._wanted.append(path)
        self._tell()
        if not self._reading.busy:
            self._next()

    def _on_read(self, found: Layers) -> None:
        from napari.layers import Layer

        path, layers = found
        if path not in self._wanted:
            return
        if any(attributes["metadata"][KEY].get("role") == "slide" for _, attributes, _ in layers):
            self._wanted.remove(path)
            self.slide_found.emit(path)
            self._next()
            return
        image = self._find(path)
        for data, attributes, kind in layers if image is not None else ():
            self.viewer.add_layer(Layer.create(data, attributes, kind))
        layer = self.image(path)
        self._wanted.remove(path)
        if layer is not None and image is not None:
            if image.mpp_x and image.mpp_y:
                linked.set_pixel_size(self.viewer, layer, PixelSize(image.mpp_y, image.mpp_x))
            self._show(layer, path)
        self._next()

    def _show(self, layer: Image, path: Path) -> None:
        """Bring a photograph into view, and its stored analysis with it."""
        identity = str(linked.identity(layer))
        turn_to(self.viewer, layer)
        active = self.viewer.layers.selection.active
        if active is None or linked.identity(active) != identity:
            self.viewer.layers.selection.active = layer  # the Lesion dock goes by what is selected
        image = self._find(path)
        known = self.lesion is not None and identity in self.lesion.work.book.lesions
        if image is not None and not known and identity not in self._looked:
            self._looked.add(identity)
            self._looking.submit(f"look {identity}", partial(self._prepare, identity, image))
        self._analyse()
        self.changed.emit()

    def _prepare(self, identity: str, image: CaseImage) -> Callable[[RunContext], Stored] | None:
        layer = self.image(image.path)
        return None if layer is None else partial(_stored, identity, image, Source.of(layer))

    def _on_stored(self, found: Stored) -> None:
        identity, kept = found
        lesion = self.lesion
        if lesion is None:
            return
        if isinstance(kept, Recovered):
            self.restored.add(identity)
            left = _left(self.viewer, identity)
            shown = kept if left is None or left.shape != kept.mask.shape else replace(kept, mask=left)
            lesion.work.recovering.bring_back(identity, shown)
            return
        if kept is not None:
            self._masks[identity] = kept
        self._unknown.add(identity)
        self._analyse()

    def _analyse(self) -> None:
        """Have the photograph in view analysed where nothing is stored of it, when the Lesion dock is free."""
        dock = self.lesion
        if dock is None or dock.analysing.queue.busy:
            return
        identity = str(dock.picker.identity)
        known = identity in dock.work.book.lesions
        if identity in self._unknown and not known and dock.analyse.isEnabled():
            self._unknown.discard(identity)
            dock.analyse.click()

    def _on_changed(self, identity: str) -> None:
        """Tell of an analysis; a corrected mask that waited for it is drawn first."""
        path, dock = self.path(identity), self.lesion
        image = None if path is None else self._find(path)
        if image is None or dock is None or identity not in dock.work.book.lesions:
            return
        mask, lesion = self._masks.pop(identity, None), dock.work.book.lesions[identity]
        if mask is not None and mask.shape == lesion.result.mask.shape:
            found = Recovered(lesion.result, lesion.digest, lesion.image_digest, None, mask, None, 0.0, image.path)
            dock.work.recovering.bring_back(identity, found)
        else:
            self.analysed.emit(image.id, identity)
        self.changed.emit()


def ruler(layer: Image) -> PixelSize | None:
    """Give the scale that a person gave a photograph.

    None where nobody did.
    """
    given: PixelSize | None = layer.metadata.get(KEY, {}).get("ruler")
    return given


def _stored(identity: str, image: CaseImage, source: Source, run: RunContext) -> Stored:
    return identity, stored(image, source, run)


def _left(viewer: Viewer, identity: str) -> NDArray[np.bool_] | None:
    """The mask that a Lesion dock of before left in the viewer: it counts as it is now."""
    image = next((image for image in linked.identify(viewer) if linked.identity(image) == identity), None)
    labels = None if image is None else linked.part(viewer, image, "mask")
    return None if labels is None else labels.data != 0
