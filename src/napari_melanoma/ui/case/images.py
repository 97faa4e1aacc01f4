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
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.ui.case.controller import CaseController
from napari_melanoma.ui.case.settings import CaseSettings
from napari_melanoma.ui.case.tree import CaseTree
from napari_melanoma.ui.lesion.dock_link import LesionDockLink, read_photograph_layers
from napari_melanoma.ui.lesion.state import RecoveredLesion
from napari_melanoma.ui.slide.dock import SlideDock
from napari_melanoma.ui.viewer import photograph_layers
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.photographs import METADATA_KEY, LayerPhotographSource
from napari_melanoma.ui.viewer.slide_layers import find_layers, list_slides
from napari_melanoma.ui.viewer.view_memory import confirm_open_damaged, show_photograph
from napari_melanoma.ui.widgets.job import LatestJobQueue

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

LoadedLayers = tuple[Path, "list[LayerData]"]
StoredAnalysis = tuple[str, "RecoveredLesion | NDArray[np.bool_] | None"]
RAISE_MS = 50  # after the Lesion dock has come to the front


class CaseImageOpener(LesionDockLink):
    """Shows images one at a time, with the Lesion dock behind it."""

    lesion_dock_opened = Signal()
    task_changed = Signal(str)
    progressed = Signal(object)
    slide_found = Signal(object)
    analyzed = Signal(str, object)
    failed = Signal(object)

    def __init__(self, viewer: Viewer, dock: QWidget, find: Callable[[Path], CaseImage | None]) -> None:
        super().__init__(viewer, dock)
        self._find = find
        self._queue: list[Path] = []
        self._current_path = Path()
        self._accepted: set[Path] = set()  # damaged photographs that the user opens nevertheless
        self._masks: dict[str, NDArray[np.bool_]] = {}  # for photographs that are analysed first
        self._looked_up: set[str] = set()
        self._unanalyzed: set[str] = set()  # photographs of which nothing is stored; what fails once is not tried again
        self.restored: set[str] = set()  # photographs whose analysis is the stored one
        self._raise_timer = QTimer(self)
        self._raise_timer.setSingleShot(True)
        self._raise_timer.timeout.connect(self._raise_dock)
        self._image_reader = LatestJobQueue(self)
        self._image_reader.succeeded.connect(self._on_read)
        self._image_reader.failed.connect(self._on_failed)
        self._store_reader = LatestJobQueue(self)
        self._store_reader.succeeded.connect(self._on_stored)
        self._store_reader.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether an image is being opened, analysed or followed."""
        mine = self._image_reader.busy or self._store_reader.busy or bool(self._queue)
        return mine or (self.connected_dock is not None and self.connected_dock.busy)

    def open(self, images: list[CaseImage]) -> None:
        """Open images, the last one in view."""
        had = self.connected_dock
        self.open_lesion_dock()
        if had is not self.connected_dock:
            self._raise_timer.start(RAISE_MS)
        self._queue = [image.path for image in images]
        self.task_changed.emit("opening")
        self._open_next()

    def is_open_or_queued(self, path: Path) -> bool:
        """Say whether a photograph is open, or about to be.

        False where it was closed.
        """
        return path in self._queue or self.find_image(path) is not None

    def close(self, paths: list[Path]) -> None:
        """Take photographs out of the viewer with all that was made from them, unless they hold unsaved work."""
        for path in paths:
            image = self.find_image(path)
            if image is None:
                continue
            known = (
                None
                if self.connected_dock is None
                else self.connected_dock.controller.store.lesions.get(str(photograph_layers.get_identity(image)))
            )
            if known is None or not known.unsaved:
                self._looked_up.discard(str(photograph_layers.get_identity(image)))
                for layer in reversed(photograph_layers.find_layers(self.viewer, image)):
                    self.viewer.layers.remove(layer)

    def report_remaining(self, paths: list[Path]) -> None:
        """Tell once more of photographs that stayed open, as what was drawn on them is kept nowhere."""
        for path in paths:
            image = self.find_image(path)
            if image is not None and self.connected_dock is not None:
                self._on_changed(str(photograph_layers.get_identity(image)))

    def connect_lesion_dock(self, dock: LesionDock) -> None:
        """Listen to a Lesion dock; called once for each."""
        for known in (self._looked_up, self._unanalyzed, self.restored):
            known.clear()  # this one knows nothing of what is open
        dock.controller.changed.connect(self._on_changed)
        dock.analysis_controller.changed.connect(self._analyze)
        dock.analysis_controller.changed.connect(self._update_task)
        dock.analysis_controller.queue.progressed.connect(self.progressed)
        dock.picker.changed.connect(self._analyze)
        self.lesion_dock_opened.emit()

    def cancel(self) -> None:
        """Open and analyse no more; what is open stays."""
        self._queue = []
        if self.connected_dock is not None:
            self.connected_dock.analysis_controller.queue.cancel()
        self._update_task()

    def _update_task(self) -> None:
        """Tell what is being done now."""
        analysing = self.connected_dock is not None and self.connected_dock.analysis_controller.queue.busy
        self.task_changed.emit("opening" if self._queue else "analysing" if analysing else "")

    def _raise_dock(self) -> None:
        """Stay in sight where the Lesion dock opened as a tab before this one."""
        frame = self._dock.parentWidget()
        if isinstance(frame, QDockWidget):
            frame.raise_()

    def _open_next(self) -> None:
        """Open the next one that is wanted; those that are open are shown at once."""
        while self._queue:
            path = self._queue[0]
            there = self.find_image(path)
            if there is None:
                self._image_reader.submit("read", partial(self._start_reading, path))
                return
            self._queue.pop(0)
            self._show_photograph(there, path)
        self._update_task()

    def _start_reading(self, path: Path) -> Callable[[RunContext], LoadedLayers]:
        """Read a photograph, now that its turn has come."""
        self._current_path = path
        return partial(read_photograph_layers, path, accept_damaged=True if path in self._accepted else None)

    def _on_failed(self, error: Exception) -> None:
        path = self._current_path
        if path in self._queue:
            self._queue.remove(path)  # else it would be read again, for ever
            if isinstance(error, DamagedImage):
                confirm_open_damaged(self._dock, path, error.damage, partial(self._open_damaged, path))
            else:
                self.failed.emit(error)
        self._open_next()

    def _open_damaged(self, path: Path) -> None:
        """Open a photograph although a part of it is missing."""
        self._accepted.add(path)
        self._queue.append(path)
        self._update_task()
        if not self._image_reader.busy:
            self._open_next()

    def _on_read(self, found: LoadedLayers) -> None:
        from napari.layers import Layer

        path, layers = found
        if path not in self._queue:
            return
        if any(attributes["metadata"][METADATA_KEY].get("role") == "slide" for _, attributes, _ in layers):
            self._queue.remove(path)
            self.slide_found.emit(path)
            self._open_next()
            return
        image = self._find(path)
        for data, attributes, kind in layers if image is not None else ():
            self.viewer.add_layer(Layer.create(data, attributes, kind))
        layer = self.find_image(path)
        self._queue.remove(path)
        if layer is not None and image is not None:
            if image.mpp_x and image.mpp_y:
                photograph_layers.set_pixel_size(self.viewer, layer, PixelSize(image.mpp_y, image.mpp_x))
            self._show_photograph(layer, path)
        self._open_next()

    def _show_photograph(self, layer: Image, path: Path) -> None:
        """Bring a photograph into view, and its stored analysis with it."""
        identity = str(photograph_layers.get_identity(layer))
        show_photograph(self.viewer, layer)
        active = self.viewer.layers.selection.active
        if active is None or photograph_layers.get_identity(active) != identity:
            self.viewer.layers.selection.active = layer  # the Lesion dock goes by what is selected
        image = self._find(path)
        known = self.connected_dock is not None and identity in self.connected_dock.controller.store.lesions
        if image is not None and not known and identity not in self._looked_up:
            self._looked_up.add(identity)
            self._store_reader.submit(f"look {identity}", partial(self._prepare, identity, image))
        self._analyze()
        self.changed.emit()

    def _prepare(self, identity: str, image: CaseImage) -> Callable[[RunContext], StoredAnalysis] | None:
        layer = self.find_image(image.path)
        return (
            None
            if layer is None
            else partial(_read_analysis_of, identity, image, LayerPhotographSource.from_layer(layer))
        )

    def _on_stored(self, found: StoredAnalysis) -> None:
        identity, kept = found
        lesion = self.connected_dock
        if lesion is None:
            return
        if isinstance(kept, RecoveredLesion):
            self.restored.add(identity)
            left = _find_remaining_mask(self.viewer, identity)
            shown = kept if left is None or left.shape != kept.mask.shape else replace(kept, mask=left)
            lesion.controller.recovery.restore(identity, shown)
            return
        if kept is not None:
            self._masks[identity] = kept
        self._unanalyzed.add(identity)
        self._analyze()

    def _analyze(self) -> None:
        """Have the photograph in view analysed where nothing is stored of it, when the Lesion dock is free."""
        dock = self.connected_dock
        if dock is None or dock.analysis_controller.queue.busy:
            return
        identity = str(dock.picker.identity)
        known = identity in dock.controller.store.lesions
        if identity in self._unanalyzed and not known and dock.analyze_button.isEnabled():
            self._unanalyzed.discard(identity)
            dock.analyze_button.click()

    def _on_changed(self, identity: str) -> None:
        """Tell of an analysis; a corrected mask that waited for it is drawn first."""
        path, dock = self.find_path(identity), self.connected_dock
        image = None if path is None else self._find(path)
        if image is None or dock is None or identity not in dock.controller.store.lesions:
            return
        mask, lesion = self._masks.pop(identity, None), dock.controller.store.lesions[identity]
        if mask is not None and mask.shape == lesion.result.mask.shape:
            found = RecoveredLesion(
                lesion.result, lesion.mask_digest, lesion.image_digest, None, mask, None, 0.0, image.path
            )
            dock.controller.recovery.restore(identity, found)
        else:
            self.analyzed.emit(image.id, identity)
        self.changed.emit()


def pixel_size_by_hand(layer: Image) -> PixelSize | None:
    """Give the scale that a person gave a photograph.

    None where nobody did.
    """
    given: PixelSize | None = layer.metadata.get(METADATA_KEY, {}).get("ruler")
    return given


def _read_analysis_of(
    identity: str, image: CaseImage, source: LayerPhotographSource, run: RunContext
) -> StoredAnalysis:
    return identity, read_stored_analysis(image, source, run)


def _find_remaining_mask(viewer: Viewer, identity: str) -> NDArray[np.bool_] | None:
    """The mask that a Lesion dock of before left in the viewer: it counts as it is now."""
    image = next(
        (
            image
            for image in photograph_layers.identify_photographs(viewer)
            if photograph_layers.get_identity(image) == identity
        ),
        None,
    )
    labels = None if image is None else photograph_layers.find_layer(viewer, image, "mask")
    return None if labels is None else labels.data != 0


def read_stored_analysis(
    image: CaseImage, source: LayerPhotographSource, run: RunContext
) -> RecoveredLesion | NDArray[np.bool_] | None:
    """Read the analysis of an image and the mask that counts; meant for a thread.

    Returns the analysis with its mask; the corrected mask alone, bool (row, column), where the photograph has to be
    analysed again; None where nothing is stored.
    """
    photograph = source.read()
    digest = array_fingerprint(photograph.rgb)
    run.check()
    mask = None if image.correction is None else _read_corrected_mask(image.correction, photograph, digest)
    result = next(filter(None, (_read_result_folder(kept, photograph, digest) for kept in _sort_results(image))), None)
    if result is None:
        return mask
    drawn = result.mask if mask is None else mask
    return RecoveredLesion(result, array_fingerprint(result.mask), digest, None, drawn, None, time.time(), image.path)


def _sort_results(image: CaseImage) -> list[CaseResult]:
    """Results of an image: the model's own first, as a correction is drawn on it; then the newest."""
    newest = image.results[::-1]
    return sorted(newest, key=lambda kept: kept.correction != "")


def _read_corrected_mask(correction: CaseCorrection, photograph: Photograph, digest: str) -> NDArray[np.bool_]:
    from napari_melanoma.case.store import read_correction

    mask = read_correction(correction)
    if mask.shape != photograph.rgb.shape[:2] or correction.image_digest not in ("", digest):
        raise InputError(
            f"{photograph.name} is not the picture that its mask was drawn on: the file was changed. The mask stays "
            f"in the case ({correction.path.name}); bring the old file back to see it."
        )
    return mask


def _read_result_folder(stored_result: CaseResult, photograph: Photograph, digest: str) -> LesionResult | None:
    """Read a result folder; None where it is damaged, of another picture, or of a version that says less."""
    from PIL import Image

    from napari_melanoma.io.results import read_mask
    from napari_melanoma.lesion.analysis import LesionOptions, ModelStamp, derive_result, remeasure
    from napari_melanoma.lesion.results import read_result

    try:
        about = read_result(stored_result.path)
        if about["image_sha256"] != digest:
            return None
        mask = read_mask(stored_result.path / "mask.png")
        probability = _to_probability(Image.open(stored_result.path / "probability.png"))
        options = LesionOptions.parse(about["options"], str(stored_result.path))
        whole = derive_result(photograph, probability, options, ModelStamp(**about["model"]))
        if mask.shape != whole.mask.shape:
            return None
        if about["corrected_by_hand"]:
            return whole
        measured = replace(remeasure(whole, mask, options), corrected=False, options=options)
        return replace(measured, threshold=float(about["threshold"]), smoothed=probability)
    except (MelanomaError, OSError, ValueError, KeyError, TypeError):
        return None  # it is analysed again


def _to_probability(picture: object) -> NDArray[np.float32]:
    """An 8-bit picture as float32 (row, column) in [0, 1]."""
    import numpy as np

    return np.asarray(picture, np.float32) / np.float32(255)


MAX_REOPENED = 8  # images that come back into the viewer with their case


class CaseImageViewer(QObject):
    """Takes images of the open case to the viewer."""

    message = Signal(str)

    def __init__(
        self, viewer: Viewer, dock: QWidget, controller: CaseController, tree: CaseTree, settings: CaseSettings
    ) -> None:
        super().__init__(dock)
        self._controller = controller
        self._tree = tree
        self._settings = settings
        self._paths: list[Path] = []
        self._slides: list[Path] = []
        self._store: CaseStore | None = None  # that the images in the viewer were opened from
        self.opener = CaseImageOpener(viewer, dock, self._find_image)
        self.opener.changed.connect(self._save_open_images)
        self.opener.slide_found.connect(self._show_slide)
        tree.opened.connect(self._on_image_activated)

    @property
    def selected_images(self) -> list[str]:
        """Ids of the images that are selected, or else of those of the lesion at hand."""
        case, current = self._controller.case, self._tree.current_id
        lesions = () if case is None else (found for found in case.lesions if found.id == current)
        return self._tree.selected_images or [image.id for found in lesions for image in found.images]

    def open_selected(self) -> None:
        """Open what is chosen, the first of it in view."""
        self.open(self.selected_images[::-1])

    def on_case_changed(self) -> None:
        """Close what belongs to the case before, and open what was open when this one was last.

        A case that is opened again is shown again, as somebody else may have changed its masks. What was drawn here and
        could not be kept, as while another window had the case, is kept now.
        """
        store, before = self._controller.store, self._paths
        shown = [] if store is None else self._settings.get_open_images(store.folder)
        is_read_again = store is not self._store
        if self._store is not None and (store is None or store.folder != self._store.folder):
            slides, self._slides = self._slides, []
            close_slides(self.opener.viewer, slides)  # else a slide of one patient stays open beside another
        self._store = store
        self.opener.close([path for path in before if is_read_again or self._find_image(path) is None])
        self._paths = []
        if store is not None:
            self.open([image for image in shown if image not in store.missing][-MAX_REOPENED:])
            self._paths += [path for path in before if path not in self._paths and self._find_image(path) is not None]
            self.opener.report_remaining(before)

    def open(self, ids: list[str]) -> None:
        """Open images, the last one in view; says of those that cannot be why."""
        case = self._controller.case
        images = [] if case is None else [image for _, image in case.iterate_images() if image.id in ids]
        images.sort(key=lambda image: ids.index(image.id))
        gone = [image for image in images if not image.path.is_file()]
        slides = [image for image in images if image.modality == "wsi" and image not in gone]
        if gone:
            self.message.emit(f"{gone[0].path.name} is gone: it is not at {gone[0].path}.")
        usable = [image for image in images if image not in gone and image not in slides]
        if usable:
            self._paths += [image.path for image in usable if image.path not in self._paths]
            self.opener.open(usable)
            if slides:
                self.message.emit(f"{slides[0].path.name} is a slide: double-click it to open it in the Slide dock.")
        elif slides:
            self._show_slide(slides[-1].path)

    def _show_slide(self, path: Path) -> None:
        self._slides.append(path)
        show_slide(self.opener.viewer, path)

    def _on_image_activated(self, image: str) -> None:
        self.open([image])

    def _find_image(self, path: Path) -> CaseImage | None:
        """The image of the case with that file."""
        case = self._controller.case
        images = () if case is None else (image for _, image in case.iterate_images())
        return next((image for image in images if image.path == path), None)

    def _save_open_images(self) -> None:
        """Remember which images are in the viewer, the one in view last."""
        case, store = self._controller.case, self._controller.store
        if case is None or store is None:
            return
        images = [image for _, image in case.iterate_images()]
        there = [image for image in images if self.opener.is_open_or_queued(image.path)]
        lesion = self.opener.connected_dock
        seen = None if lesion is None else lesion.picker.identity
        there.sort(key=lambda image: seen is not None and self.opener.find_path(seen) == image.path)
        self._settings.set_open_images(store.folder, [image.id for image in there])


def show_slide(viewer: Viewer, path: Path) -> None:
    """Open a slide in the Slide dock, or show it where it is open already."""
    dock = show_dock(viewer, "Slide")
    assert isinstance(dock, SlideDock)
    identity = str(path.absolute())
    if any(slide.identity == identity for slide in list_slides(viewer)):
        dock.picker.select_slide(identity)
    else:
        dock.opener.open([path])


def close_slides(viewer: Viewer, paths: Iterable[Path]) -> None:
    """Take slides out of the viewer; what was drawn on them is kept in their own folders."""
    wanted = {str(path.absolute()) for path in paths}
    for slide in [slide for slide in list_slides(viewer) if slide.identity in wanted]:
        for layer in slide.layers:
            viewer.layers.remove(layer)
        for layer in find_layers(viewer, slide.identity):
            viewer.layers.remove(layer)
