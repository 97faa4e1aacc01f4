"""Open the images of a case in the viewer, with their stored analyses."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_melanoma.core.errors import DamagedImage, InputError, MelanomaError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.ui.case.controller import CaseController, CaseSettings
from napari_melanoma.ui.case.tree import CaseTree
from napari_melanoma.ui.lesion.dock import LesionDockLink, read_photograph_layers
from napari_melanoma.ui.session.analyzed_lesion import RecoveredLesion
from napari_melanoma.ui.slide.dock import SlideDock
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.docking import find_frame, show_dock
from napari_melanoma.ui.viewer.photographs import METADATA_KEY, LayerPhotographSource
from napari_melanoma.ui.viewer.slide_layers import close_slides
from napari_melanoma.ui.viewer.view_memory import confirm_open_damaged, show_photograph
from napari_melanoma.ui.widgets.job import LatestJobQueue, tasks

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
    from napari_melanoma.ui.lesion.dock import LesionDock
    from napari_melanoma.ui.readers import LayerData
    from napari_melanoma.ui.session.photograph import PhotographSession

LoadedLayers = tuple[Path, "list[LayerData]"]
StoredAnalysis = tuple[str, "RecoveredLesion | NDArray[np.bool_] | None"]
"""The identity of a photograph with its analysis, with only its corrected mask, or with None if nothing is stored."""
RAISE_MS = 50  # delay after the Lesion dock was opened
MAX_REOPENED = 8  # images that are reopened with their case


class CaseImageOpener(LesionDockLink):
    """Opens photographs one after the other, with the Lesion dock; ``task_changed``: the current task, or ""."""

    lesion_dock_opened = Signal()
    task_changed = Signal(str)
    progressed = Signal(object)  # Progress
    slide_found = Signal(object)  # Path
    analyzed = Signal(str, object)  # id of the image in the case, PhotographSession
    explained = Signal(str, object)  # the same, for a new heatmap
    failed = Signal(object)  # Exception

    def __init__(self, viewer: Viewer, dock: QWidget, find: Callable[[Path], CaseImage | None]) -> None:
        super().__init__(viewer, dock)
        self._find = find
        self._queue: list[Path] = []
        self._current_path = Path()
        self._accepted: set[Path] = set()  # damaged photographs that the user chose to open
        self._masks: dict[str, NDArray[np.bool_]] = {}  # stored masks of photographs that must be analyzed first
        self._looked_up: set[str] = set()  # identities of photographs whose stored analysis was requested
        self._unanalyzed: set[str] = set()  # photographs without stored analysis; a failed one is not tried again
        self.restored: set[str] = set()  # photographs whose analysis was read from the case
        self._raise_timer = QTimer(self)
        self._raise_timer.setSingleShot(True)
        self._raise_timer.timeout.connect(self._raise_dock)
        self._image_reader = LatestJobQueue(self)
        self._image_reader.succeeded.connect(self._on_read)
        self._image_reader.failed.connect(self._on_failed)
        self._store_reader = LatestJobQueue(self)
        self._store_reader.succeeded.connect(self._on_stored)
        self._store_reader.failed.connect(self.failed)

    def open(self, images: list[CaseImage]) -> None:
        """Open images; the last one is shown."""
        previous_dock = self.connected_dock
        self.open_lesion_dock()
        if previous_dock is not self.connected_dock:
            self._raise_timer.start(RAISE_MS)
        self._queue = [image.path for image in images]
        self.task_changed.emit("opening")
        self._open_next()

    def is_open_or_queued(self, path: Path) -> bool:
        """Return whether a photograph is open or queued."""
        return path in self._queue or self.find_image(path) is not None

    def close(self, paths: list[Path]) -> None:
        """Close photographs with their layers, unless they have unsaved changes."""
        for path in paths:
            image = self.find_image(path)
            if image is None:
                continue
            identity = str(photographs.get_identity(image))
            session = self.find_session(identity)
            if session is None or session.lesion is None or not session.lesion.unsaved:
                self._looked_up.discard(identity)
                for layer in reversed(photographs.find_layers(self.viewer, image)):
                    self.viewer.layers.remove(layer)

    def report_remaining(self, paths: list[Path]) -> None:
        """Emit ``analyzed`` again for photographs that stayed open because of unsaved corrections."""
        for path in paths:
            image = self.find_image(path)
            session = None if image is None else self.find_session(photographs.get_identity(image))
            if session is not None:
                self._on_changed(session)

    def connect_lesion_dock(self, dock: LesionDock) -> None:
        """Connect the signals of a Lesion dock; called once for each."""
        for identities in (self._looked_up, self._unanalyzed, self.restored):
            identities.clear()  # a new dock has no analyses
        dock.controller.changed.connect(self._on_changed)
        dock.predictions.explained.connect(self._on_heatmap)
        dock.analysis_controller.changed.connect(self._analyze)
        dock.analysis_controller.changed.connect(self._update_task)
        dock.analysis_controller.queue.progressed.connect(self.progressed)
        dock.picker.changed.connect(self._analyze)
        self.lesion_dock_opened.emit()

    def cancel(self) -> None:
        """Stop opening and analyzing; open images stay open."""
        self._queue = []
        if self.connected_dock is not None:
            self.connected_dock.analysis_controller.queue.cancel()
        self._update_task()

    def _update_task(self) -> None:
        """Emit the current task."""
        dock = self.connected_dock
        is_analyzing = dock is not None and not tasks.is_idle(dock.analysis_controller.queue)
        self.task_changed.emit("opening" if self._queue else "analysing" if is_analyzing else "")

    def _raise_dock(self) -> None:
        """Keep this dock visible if the Lesion dock was opened as a tab in front of it."""
        frame = find_frame(self._dock)
        if frame is not None:
            frame.raise_()

    def _open_next(self) -> None:
        """Open the next image of the queue; show open ones at once."""
        while self._queue:
            path = self._queue[0]
            layer = self.find_image(path)
            if layer is None:
                self._image_reader.submit("read", partial(self._start_reading, path))
                return
            self._queue.pop(0)
            self._show_photograph(layer, path)
        self._update_task()

    def _start_reading(self, path: Path) -> Callable[[RunContext], LoadedLayers]:
        """Create the job that reads a photograph."""
        self._current_path = path
        return partial(read_photograph_layers, path, accept_damaged=True if path in self._accepted else None)

    def _on_failed(self, error: Exception) -> None:
        path = self._current_path
        if path in self._queue:
            self._queue.remove(path)  # else it would be read again endlessly
            if isinstance(error, DamagedImage):
                confirm_open_damaged(self._dock, path, error.damage, partial(self._open_damaged, path))
            else:
                self.failed.emit(error)
        self._open_next()

    def _open_damaged(self, path: Path) -> None:
        """Open a damaged photograph."""
        self._accepted.add(path)
        self._queue.append(path)
        self._update_task()
        self._open_next()

    def _on_read(self, loaded: LoadedLayers) -> None:
        from napari.layers import Layer

        path, layers = loaded
        if path not in self._queue:
            return
        if any(attributes["metadata"][METADATA_KEY].get("role") == "slide" for _, attributes, _ in layers):
            self._queue.remove(path)
            self.slide_found.emit(path)
            self._open_next()
            return
        image = self._find(path)
        for data, attributes, layer_type in layers if image is not None else ():
            self.viewer.add_layer(Layer.create(data, attributes, layer_type))
        layer = self.find_image(path)
        self._queue.remove(path)
        if layer is not None and image is not None:
            if image.mpp_x and image.mpp_y:
                photographs.set_pixel_size(self.viewer, layer, PixelSize(image.mpp_y, image.mpp_x))
            self._show_photograph(layer, path)
        self._open_next()

    def _show_photograph(self, layer: Image, path: Path) -> None:
        """Show a photograph with its stored analysis."""
        identity = str(photographs.get_identity(layer))
        show_photograph(self.viewer, layer)
        active = self.viewer.layers.selection.active
        if active is None or photographs.get_identity(active) != identity:
            self.viewer.layers.selection.active = layer  # the Lesion dock follows the selection
        image = self._find(path)
        session = self.find_session(identity)
        is_analyzed = session is not None and session.lesion is not None
        if image is not None and not is_analyzed and identity not in self._looked_up:
            self._looked_up.add(identity)
            self._store_reader.submit(f"look {identity}", partial(self._prepare, identity, image))
        self._analyze()
        self.changed.emit()

    def _prepare(self, identity: str, image: CaseImage) -> Callable[[RunContext], StoredAnalysis] | None:
        layer = self.find_image(image.path)
        if layer is None:
            return None
        return partial(_read_stored_analysis, identity, image, LayerPhotographSource.from_layer(layer))

    def _on_stored(self, analysis: StoredAnalysis) -> None:
        identity, stored = analysis
        dock, session = self.connected_dock, self.find_session(identity)
        if dock is None or session is None:
            return
        if isinstance(stored, RecoveredLesion):
            self.restored.add(identity)
            remaining = session.existing_mask  # a mask left in the viewer takes precedence
            if remaining is not None:
                stored = stored._replace(mask=remaining.data != 0)
            dock.controller.restore(session, stored)
            return
        if stored is not None:
            self._masks[identity] = stored
        self._unanalyzed.add(identity)
        self._analyze()

    def _analyze(self) -> None:
        """Analyze the shown photograph if it has no stored analysis and the Lesion dock is idle."""
        dock = self.connected_dock
        if dock is None or not tasks.is_idle(dock.analysis_controller.queue):
            return
        session = dock.picker.session
        is_waiting = session is not None and session.lesion is None and session.identity in self._unanalyzed
        if session is not None and is_waiting and dock.analyze_button.isEnabled():
            self._unanalyzed.discard(session.identity)
            dock.analyze_button.click()

    def _on_changed(self, session: PhotographSession) -> None:
        """Report an analysis, after applying a stored corrected mask."""
        dock, lesion = self.connected_dock, session.lesion
        image = None if session.path is None or not session.is_open else self._find(session.path)
        if image is None or dock is None or lesion is None:
            return
        mask = self._masks.pop(session.identity, None)
        if mask is not None and mask.shape == lesion.result.mask.shape:
            recovered = RecoveredLesion(
                lesion.result, lesion.mask_digest, lesion.image_digest, None, mask, None, 0.0, image.path
            )
            dock.controller.restore(session, recovered)
        else:
            self.analyzed.emit(image.id, session)
        self.changed.emit()

    def _on_heatmap(self, session: PhotographSession) -> None:
        """Report a new heatmap of a photograph of the case."""
        image = None if session.path is None else self._find(session.path)
        if image is not None:
            self.explained.emit(image.id, session)


def _read_stored_analysis(
    identity: str, image: CaseImage, source: LayerPhotographSource, run: RunContext
) -> StoredAnalysis:
    """Read the analysis of an image with its current mask; call this in a thread.

    If the photograph must be analyzed again, only its corrected mask is returned, bool (row, column).
    """
    photograph = source.read()
    digest = array_fingerprint(photograph.rgb)
    run.check()
    mask = None if image.correction is None else _read_corrected_mask(image.correction, photograph, digest)
    newest = image.results[::-1]
    stored = sorted(newest, key=lambda result: result.correction != "")  # results without correction first
    result = next(filter(None, (_read_result_folder(entry, photograph, digest) for entry in stored)), None)
    if result is None:
        return identity, mask
    current_mask = result.mask if mask is None else mask
    origin = {} if mask is None or image.current is None else _read_mask_origin(image.current.path)
    return identity, RecoveredLesion(
        result, array_fingerprint(result.mask), digest, None, current_mask, None, time.time(), image.path, origin
    )


def _read_corrected_mask(correction: CaseCorrection, photograph: Photograph, digest: str) -> NDArray[np.bool_]:
    from napari_melanoma.case.store import read_correction

    mask = read_correction(correction)
    if mask.shape != photograph.rgb.shape[:2] or correction.image_digest not in ("", digest):
        raise InputError(
            f"{photograph.name} has changed since its mask was drawn. The mask is kept "
            f"in the case ({correction.path.name}); restore the original file to use it."
        )
    return mask


def _read_mask_origin(folder: Path) -> dict[str, object]:
    """Read how the corrected mask of a result folder was made; empty if the folder is damaged."""
    from napari_melanoma.lesion.mask_record import get_mask_origin
    from napari_melanoma.lesion.results import read_result

    try:
        return get_mask_origin(read_result(folder).get("provenance") or {})
    except (MelanomaError, TypeError, AttributeError):
        return {}


def _read_result_folder(stored_result: CaseResult, photograph: Photograph, digest: str) -> LesionResult | None:
    """Read a result folder; None if it is damaged, of another image, or of an older version."""
    from PIL import Image

    from napari_melanoma.io.results import read_mask
    from napari_melanoma.lesion.analysis import ModelStamp, derive_result, remeasure
    from napari_melanoma.lesion.mask_record import has_user_mask
    from napari_melanoma.lesion.options import LesionOptions
    from napari_melanoma.lesion.results import read_result

    try:
        values = read_result(stored_result.path)
        if values["image_sha256"] != digest:
            return None
        mask = read_mask(stored_result.path / "mask.png")
        probability = _to_probability(Image.open(stored_result.path / "probability.png"))
        options = LesionOptions.parse(values["options"], str(stored_result.path))
        whole = derive_result(photograph, probability, options, ModelStamp(**values["model"]))
        if mask.shape != whole.mask.shape:
            return None
        if has_user_mask(values):
            return whole
        measured = replace(remeasure(whole, mask, options), corrected=False, options=options)
        return replace(measured, threshold=float(values["threshold"]), smoothed=probability)
    except (MelanomaError, OSError, ValueError, KeyError, TypeError):
        return None  # it is analyzed again


def _to_probability(picture: object) -> NDArray[np.float32]:
    """Convert an 8-bit image to probabilities, float32 (row, column) in [0, 1]."""
    import numpy as np

    return np.asarray(picture, np.float32) / np.float32(255)


class CaseImageViewer(QObject):
    """Opens images of the case in the viewer."""

    opening = Signal()
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
        self._store: CaseStore | None = None  # the case of the open images
        self.opener = CaseImageOpener(viewer, dock, self._find_image)
        self.opener.changed.connect(self._save_open_images)
        self.opener.slide_found.connect(self._show_slide)
        tree.opened.connect(self._on_image_activated)

    @property
    def selected_images(self) -> list[str]:
        """Ids of the selected images, or of the images of the selected lesion."""
        case, current = self._controller.case, self._tree.current_id
        lesions = () if case is None else (lesion for lesion in case.lesions if lesion.id == current)
        return self._tree.selected_images or [image.id for lesion in lesions for image in lesion.images]

    def open_selected(self) -> None:
        """Open the selected images; the first one is shown."""
        self.open(self.selected_images[::-1])

    def on_case_changed(self) -> None:
        """Close the images of the previous case, and reopen those that were open in this case.

        If the same case is reopened, its images are opened again, because other users may have changed their masks.
        Corrections that could not be saved before, for example while another window had the case open, are saved now.
        """
        store, previous = self._controller.store, self._paths
        shown = [] if store is None else self._settings.get_open_images(store.folder)
        is_read_again = store is not self._store
        if self._store is not None and (store is None or store.folder != self._store.folder):
            slides, self._slides = self._slides, []
            close_slides(self.opener.viewer, slides)  # else a slide of another patient would stay open
        self._store = store
        self.opener.close([path for path in previous if is_read_again or self._find_image(path) is None])
        self._paths = []
        if store is not None:
            self.open([image for image in shown if image not in store.missing][-MAX_REOPENED:])
            self._paths += [path for path in previous if path not in self._paths and self._find_image(path) is not None]
            self.opener.report_remaining(previous)

    def open(self, ids: list[str]) -> None:
        """Open images by their ids and show the last one; report a missing file."""
        self.opening.emit()
        case = self._controller.case
        images = [] if case is None else [image for _, image in case.iterate_images() if image.id in ids]
        images.sort(key=lambda image: ids.index(image.id))
        missing = [image for image in images if not image.path.is_file()]
        slides = [image for image in images if image.is_slide and image not in missing]
        if missing:
            self.message.emit(f"{missing[0].path.name} was not found at {missing[0].path}.")
        usable = [image for image in images if image not in missing and image not in slides]
        if usable:
            self._paths += [image.path for image in usable if image.path not in self._paths]
            self.opener.open(usable)
        for slide in slides:
            self._show_slide(slide.path)

    def add_slide(self, path: Path) -> None:
        """Register an open slide of the case, which is closed with it."""
        self._slides.append(path)

    def _show_slide(self, path: Path) -> None:
        self.add_slide(path)
        show_slide(self.opener.viewer, path)

    def _on_image_activated(self, image: str) -> None:
        self.open([image])

    def _find_image(self, path: Path) -> CaseImage | None:
        case = self._controller.case
        images = () if case is None else (image for _, image in case.iterate_images())
        return next((image for image in images if image.path == path), None)

    def _save_open_images(self) -> None:
        """Store which images are open; the image in view is the last."""
        case, store = self._controller.case, self._controller.store
        if case is None or store is None:
            return
        images = [image for _, image in case.iterate_images()]
        open_images = [image for image in images if self.opener.is_open_or_queued(image.path)]
        dock = self.opener.connected_dock
        shown = None if dock is None else dock.picker.session
        open_images.sort(key=lambda image: shown is not None and shown.path == image.path)
        self._settings.set_open_images(store.folder, [image.id for image in open_images])


def show_slide(viewer: Viewer, path: Path) -> None:
    """Open a slide in the Slide dock, or show it if it is open."""
    dock = show_dock(viewer, "Slide")
    assert isinstance(dock, SlideDock)
    dock.show_file(path)
