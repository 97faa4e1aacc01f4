"""Images of a case in the viewer."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_melanoma.core.errors import DamagedImage, InputError, MelanomaError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.ui.case.settings import CaseSettings
from napari_melanoma.ui.case.store import CaseDesk
from napari_melanoma.ui.case.tree import CaseTree
from napari_melanoma.ui.lesion.companion import BesideLesion, read
from napari_melanoma.ui.lesion.state import Recovered
from napari_melanoma.ui.slide.dock import SlideDock
from napari_melanoma.ui.viewer import linked
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.photographs import KEY, Source
from napari_melanoma.ui.viewer.slide_layers import open_slides, parts
from napari_melanoma.ui.viewer.view_memory import offer_damaged, turn_to
from napari_melanoma.ui.widgets.job import Latest

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from napari.layers import Image
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.case.model import CaseCorrection, CaseImage, CaseResult
    from napari_melanoma.case.store import CaseStore
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.contributions import LayerData
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


def stored(image: CaseImage, source: Source, run: RunContext) -> Recovered | NDArray[np.bool_] | None:
    """Read the analysis of an image and the mask that counts; meant for a thread.

    Returns the analysis with its mask; the corrected mask alone, bool (row, column), where the photograph has to be
    analysed again; None where nothing is stored.
    """
    photograph = source.read()
    digest = fingerprint(photograph.rgb)
    run.check()
    mask = None if image.correction is None else _corrected(image.correction, photograph, digest)
    result = next(filter(None, (_read(kept, photograph, digest) for kept in _in_order(image))), None)
    if result is None:
        return mask
    drawn = result.mask if mask is None else mask
    return Recovered(result, fingerprint(result.mask), digest, None, drawn, None, time.time(), image.path)


def _in_order(image: CaseImage) -> list[CaseResult]:
    """Results of an image: the model's own first, as a correction is drawn on it; then the newest."""
    newest = image.results[::-1]
    return sorted(newest, key=lambda kept: kept.correction != "")


def _corrected(correction: CaseCorrection, photograph: Photograph, digest: str) -> NDArray[np.bool_]:
    from napari_melanoma.case.store import read_correction

    mask = read_correction(correction)
    if mask.shape != photograph.rgb.shape[:2] or correction.image_digest not in ("", digest):
        raise InputError(
            f"{photograph.name} is not the picture that its mask was drawn on: the file was changed. The mask stays "
            f"in the case ({correction.path.name}); bring the old file back to see it."
        )
    return mask


def _read(kept: CaseResult, photograph: Photograph, digest: str) -> LesionResult | None:
    """Read a result folder; None where it is damaged, of another picture, or of a version that says less."""
    from PIL import Image

    from napari_melanoma.io.results import read_mask
    from napari_melanoma.lesion.analysis import LesionOptions, ModelStamp, derive, remeasure
    from napari_melanoma.lesion.results import read_result

    try:
        about = read_result(kept.path)
        if about["image_sha256"] != digest:
            return None
        mask = read_mask(kept.path / "mask.png")
        probability = _probability(Image.open(kept.path / "probability.png"))
        options = LesionOptions.parse(about["options"], str(kept.path))
        whole = derive(photograph, probability, options, ModelStamp(**about["model"]))
        if mask.shape != whole.mask.shape:
            return None
        if about["corrected_by_hand"]:
            return whole
        measured = replace(remeasure(whole, mask, options), corrected=False, options=options)
        return replace(measured, threshold=float(about["threshold"]), smoothed=probability)
    except (MelanomaError, OSError, ValueError, KeyError, TypeError):
        return None  # it is analysed again


def _probability(picture: object) -> NDArray[np.float32]:
    """An 8-bit picture as float32 (row, column) in [0, 1]."""
    import numpy as np

    return np.asarray(picture, np.float32) / np.float32(255)


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


def show_slide(viewer: Viewer, path: Path) -> None:
    """Open a slide in the Slide dock, or show it where it is open already."""
    dock = show_dock(viewer, "Slide")
    assert isinstance(dock, SlideDock)
    identity = str(path.absolute())
    if any(slide.identity == identity for slide in open_slides(viewer)):
        dock.picker.pick(identity)
    else:
        dock.opener.open([path])


def close_slides(viewer: Viewer, paths: Iterable[Path]) -> None:
    """Take slides out of the viewer; what was drawn on them is kept in their own folders."""
    wanted = {str(path.absolute()) for path in paths}
    for slide in [slide for slide in open_slides(viewer) if slide.identity in wanted]:
        for layer in slide.layers:
            viewer.layers.remove(layer)
        for layer in parts(viewer, slide.identity):
            viewer.layers.remove(layer)
