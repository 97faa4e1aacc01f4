"""Open the images of a case with their stored analyses, and save corrections and results in the case folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_melanoma.case.model import Case, CaseCorrection, CaseImage, set_correction, set_image
from napari_melanoma.case.store import CaseStore
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DamagedImage, InputError, MelanomaError
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.io.formats import Modality
from napari_melanoma.lesion.mask_record import get_mask_origin
from napari_melanoma.ui.case.controller import CaseController, CaseSettings
from napari_melanoma.ui.case.tree import CaseTree
from napari_melanoma.ui.lesion.dock import LesionDock, LesionDockLink, read_photograph_layers
from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion, RecoveredLesion
from napari_melanoma.ui.session.photograph import PhotographSession
from napari_melanoma.ui.session.photograph_opener import confirm_open_damaged
from napari_melanoma.ui.session.saved_result import read_stored_result
from napari_melanoma.ui.session.stated_values import StatedValues
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.docking import find_frame
from napari_melanoma.ui.viewer.photographs import METADATA_KEY, LayerPhotographSource
from napari_melanoma.ui.viewer.slide_layers import close_slides
from napari_melanoma.ui.viewer.view_memory import show_photograph
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue, tasks
from napari_melanoma.ui.widgets.settings import DebounceTimer

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.readers import LayerData

LoadedLayers = tuple[Path, "list[LayerData]"]
StoredAnalysis = tuple[str, "RecoveredLesion | NDArray[np.bool_] | None"]
"""The identity of a photograph with its analysis, with only its corrected mask, or with None if nothing is stored."""
RAISE_MS = 50  # delay after the Lesion dock was opened
MAX_REOPENED = 8  # images that are reopened with their case
SAVE_DELAY_MS = 700
ResultState = tuple[object, ...]  # see ``_result_state``


class CaseImages(LesionDockLink):
    """Opens images of the case: photographs one after the other with the Lesion dock, slides in the Slide dock.

    ``task_changed``: the current task, or "".
    """

    opening = Signal()
    message = Signal(str)
    lesion_dock_opened = Signal()
    task_changed = Signal(str)
    progressed = Signal(object)  # Progress
    analyzed = Signal(str, object)  # id of the image in the case, PhotographSession
    explained = Signal(str, object)  # the same, for a new heatmap
    failed = Signal(object)  # Exception

    def __init__(
        self, viewer: Viewer, dock: QWidget, controller: CaseController, tree: CaseTree, settings: CaseSettings
    ) -> None:
        super().__init__(viewer, dock)
        self._controller, self._tree, self._settings = controller, tree, settings
        self._store: CaseStore | None = None  # the case of the open images
        self._paths: list[Path] = []  # photographs that were opened from it
        self._queue: list[Path] = []
        self._current_path = Path()
        self._accepted: set[Path] = set()  # damaged photographs that the user chose to open
        self._masks: dict[str, NDArray[np.bool_]] = {}  # stored masks of photographs that must be analyzed first
        self._looked_up: set[str] = set()  # identities of photographs whose stored analysis was requested
        self._unanalyzed: set[str] = set()  # photographs without stored analysis; a failed one is not tried again
        self.restored: set[str] = set()  # photographs whose analysis was read from the case
        self.scaled: set[str] = set()  # photographs that have the scale of the case
        self._image_reader = LatestJobQueue(self)
        self._image_reader.succeeded.connect(self._on_read)
        self._image_reader.failed.connect(self._on_failed)
        self._store_reader = LatestJobQueue(self)
        self._store_reader.succeeded.connect(self._on_stored)
        self._store_reader.failed.connect(self.failed)
        self.changed.connect(self._save_open_images)
        tree.opened.connect(lambda image: self.open([image]))

    @property
    def selected_images(self) -> list[str]:
        """Ids of the selected images, or of the images of the selected lesion."""
        case, current = self._controller.case, self._tree.current_id
        lesions = () if case is None else (lesion for lesion in case.lesions if lesion.id == current)
        return self._tree.selected_images or [image.id for lesion in lesions for image in lesion.images]

    def open_selected(self) -> None:
        """Open the selected images; the first one is shown."""
        self.open(self.selected_images[::-1])

    def open(self, ids: list[str]) -> None:
        """Open images by their ids and show the last one; report a missing file."""
        self.opening.emit()
        images = sorted((image for image in self._list_images() if image.id in ids), key=lambda one: ids.index(one.id))
        missing = [image for image in images if not image.path.is_file()]
        if missing:
            self.message.emit(f"{missing[0].path.name} was not found at {missing[0].path}.")
        paths = [image.path for image in images if not image.is_slide and image not in missing]
        if paths:
            self._paths += [path for path in paths if path not in self._paths]
            previous_dock = self.connected_dock
            self.open_lesion_dock()
            if previous_dock is not self.connected_dock:
                QTimer.singleShot(RAISE_MS, self._raise_dock)
            self._queue = paths
            self.task_changed.emit("opening")
            self._open_next()
        for image in images:
            if image.is_slide and image not in missing:
                self._show_slide(image.path)

    def on_case_changed(self) -> None:
        """Close the images of the previous case, and reopen those that were open in this case.

        If the same case is reopened, its images are opened again, because other users may have changed their masks.
        Corrections that could not be saved before, for example while another window had the case open, are saved now.
        """
        store, previous, paths = self._controller.store, self._paths, {image.path for image in self._list_images()}
        shown = [] if store is None else self._settings.get_open_images(store.folder)
        is_read_again = store is not self._store
        if self._store is not None and (store is None or store.folder != self._store.folder):
            slides, self._controller.slides = self._controller.slides, []
            close_slides(self.viewer, slides)  # else a slide of another patient would stay open
        self._store = store
        self._close([path for path in previous if is_read_again or path not in paths])
        self._paths = []
        if is_read_again:
            for identities in (self._looked_up, self._unanalyzed, self.restored, self.scaled):
                identities.clear()  # photographs that stay open were compared with another case
        if store is not None:
            self.open([image for image in shown if image not in store.missing][-MAX_REOPENED:])
            for image in self._list_images():
                self._look_up(image)
            self._paths += [path for path in previous if path not in self._paths and path in paths]
            for path in previous:  # that stayed open because of unsaved corrections
                layer = self.find_image(path)
                session = None if layer is None else self.find_session(photographs.get_identity(layer))
                if session is not None:
                    self._on_changed(session)

    def _list_images(self) -> list[CaseImage]:
        case = self._controller.case
        return [] if case is None else [image for _, image in case.iterate_images()]

    def _find(self, path: Path | None) -> CaseImage | None:
        return next((image for image in self._list_images() if image.path == path), None)

    def _show_slide(self, path: Path) -> None:
        """Open a slide in the Slide dock, or show it if it is open."""
        self._controller.slides.append(path)
        self.workspace.slides.show().show_file(path)

    def _save_open_images(self) -> None:
        """Store which images are open; the image in view is the last."""
        store, dock = self._controller.store, self.connected_dock
        if store is None:
            return
        open_images = [image for image in self._list_images() if self.is_open_or_queued(image.path)]
        shown = None if dock is None else dock.picker.session
        open_images.sort(key=lambda image: shown is not None and shown.path == image.path)
        self._settings.set_open_images(store.folder, [image.id for image in open_images])

    def is_open_or_queued(self, path: Path) -> bool:
        """Return whether a photograph is open or queued."""
        return path in self._queue or self.find_image(path) is not None

    def _close(self, paths: list[Path]) -> None:
        """Close photographs with their layers, unless they have unsaved changes."""
        for path in paths:
            image = self.find_image(path)
            if image is None:
                continue
            identity = str(photographs.get_identity(image))
            session = self.find_session(identity)
            if session is None or not session.has_unsaved_corrections:
                self._looked_up.discard(identity)
                for layer in reversed(photographs.find_layers(self.viewer, image)):
                    self.viewer.layers.remove(layer)

    def connect_lesion_dock(self, dock: LesionDock) -> None:
        """Connect the signals of a Lesion dock; called once for each."""
        for identities in (self._looked_up, self._unanalyzed, self.restored):
            identities.clear()  # a new dock has no analyses
        dock.controller.changed.connect(self._on_changed)
        dock.predictions.explained.connect(self._on_heatmap)
        dock.analysis_controller.changed.connect(self._analyze)
        dock.analysis_controller.changed.connect(self._update_task)
        dock.analysis_controller.progressed.connect(self.progressed)
        dock.picker.changed.connect(self._analyze)
        dock.predictions.loaded.connect(self._analyze)
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
            self._show_slide(path)
            self._open_next()
            return
        image = self._find(path)
        if image is not None:
            for data, attributes, layer_type in layers:
                if image.modality in get_args(Modality):
                    attributes["metadata"][METADATA_KEY]["modality"] = image.modality  # the file may state another type
                self.viewer.add_layer(Layer.create(data, attributes, layer_type))
        layer = self.find_image(path)
        self._queue.remove(path)
        if layer is not None and image is not None:
            self._show_photograph(layer, path)
        self._open_next()

    def _show_photograph(self, layer: Image, path: Path) -> None:
        """Show a photograph with its stored analysis."""
        identity, image = str(photographs.get_identity(layer)), self._find(path)
        if image is not None and image.pixel_size is not None and identity not in self.scaled:
            self.scaled.add(identity)
            if photographs.get_ruler_size(layer) is None:
                photographs.set_pixel_size(self.viewer, layer, image.pixel_size)
        show_photograph(self.viewer, layer)
        active = self.viewer.layers.selection.active
        if active is None or photographs.get_identity(active) != identity:
            self.viewer.layers.selection.active = layer  # the Lesion dock follows the selection
        if image is not None:
            self._look_up(image)
        self._analyze()
        self.changed.emit()

    def _look_up(self, image: CaseImage) -> None:
        """Read the stored analysis of an open photograph, unless a mask that the user has drawn is in the viewer.

        A photograph that was analyzed before the case was opened shows another mask than the correction in the case,
        which would be replaced by the first stroke.
        """
        layer = self.find_image(image.path)
        if layer is None or (identity := str(photographs.get_identity(layer))) in self._looked_up:
            return
        session = self.find_session(identity)
        if session is None or session.lesion is None:
            is_needed = image.path in self._paths  # otherwise, the user has not opened it from the case
        else:
            is_needed = image.correction is not None and not session.lesion.corrected
        if is_needed:
            self._looked_up.add(identity)
            self._store_reader.submit(f"look {identity}", partial(self._prepare, identity, image))

    def _prepare(self, identity: str, image: CaseImage) -> Callable[[RunContext], StoredAnalysis] | None:
        layer = self.find_image(image.path)
        if layer is None:
            return None
        return partial(_read_stored_analysis, identity, image, LayerPhotographSource.from_layer(layer))

    def _on_stored(self, analysis: StoredAnalysis) -> None:
        identity, stored = analysis
        dock, session = self.connected_dock, self.find_session(identity)
        if dock is None or session is None or (session.lesion is not None and session.lesion.corrected):
            return
        if isinstance(stored, RecoveredLesion):
            self.restored.add(identity)
            remaining = None if session.lesion is not None else session.existing_mask
            if remaining is not None:  # a mask left in the viewer takes precedence
                stored = stored._replace(mask=remaining.data != 0)
            dock.controller.restore(session, stored)
            return
        if stored is not None:
            self._masks[identity] = stored
        self._unanalyzed.add(identity)
        if session.lesion is not None:
            self._on_changed(session)
        self._analyze()

    def _analyze(self) -> None:
        """Analyze the shown photograph if it has no stored analysis and the Lesion dock is idle."""
        dock = self.connected_dock
        if dock is None or not tasks.is_idle(dock.analysis_controller.queue):
            return
        session = dock.picker.session
        if session is not None and dock.predictions.is_loading(session):
            return  # its saved mask may be shown instead
        is_waiting = session is not None and session.lesion is None and session.identity in self._unanalyzed
        if session is not None and is_waiting and dock.analyze_button.isEnabled():
            self._unanalyzed.discard(session.identity)
            dock.analyze_button.click()

    def _on_changed(self, session: PhotographSession) -> None:
        """Report an analysis, after applying a stored corrected mask."""
        dock, lesion = self.connected_dock, session.lesion
        image = self._find(session.path) if session.is_open else None
        if image is None or dock is None or lesion is None:
            return
        self._look_up(image)
        self._looked_up.add(session.identity)  # from now on, the user may undo the correction
        mask = self._masks.pop(session.identity, None)
        if mask is not None and mask.shape == lesion.result.mask.shape:
            recovered = RecoveredLesion(lesion.result, lesion.image_digest, None, mask, None, 0.0, image.path)
            dock.controller.restore(session, recovered)
        else:
            self.analyzed.emit(image.id, session)
        self.changed.emit()

    def _on_heatmap(self, session: PhotographSession) -> None:
        """Report a new heatmap of a photograph of the case."""
        image = self._find(session.path)
        if image is not None:
            self.explained.emit(image.id, session)


class CaseCorrectionSaver(QObject):
    """Saves masks and results through the Lesion dock's queue, so that they match the viewer."""

    def __init__(self, controller: CaseController, images: CaseImages, parent: QObject) -> None:
        super().__init__(parent)
        self._controller = controller
        self._images = images
        self._pending: dict[PhotographSession, str] = {}  # with the id of the image
        self._saved_states: dict[str, ResultState] = {}
        self._in_sync: set[str] = set()  # photographs whose mask in the viewer has matched the saved correction
        self._save_timer = DebounceTimer(self, SAVE_DELAY_MS)
        self._save_timer.timeout.connect(self._save_pending)
        images.analyzed.connect(self._on_analyzed)
        images.explained.connect(self._save_heatmap)
        controller.opened.connect(self._on_opened)
        controller.saver.corrections = self

    @property
    def is_saved(self) -> bool:
        """Whether all corrections are in the case folder."""
        lesion = self._images.connected_dock
        return tasks.is_idle(self) and (lesion is None or tasks.is_idle(lesion.controller))

    def flush(self) -> None:
        """Save at once, without delay."""
        lesion = self._images.connected_dock
        if lesion is not None:
            lesion.controller.watcher.flush()
        self._save_timer.flush()

    def _on_opened(self) -> None:
        """Clear what is known of photographs, of which some stay open: the masks in another case may differ."""
        self._saved_states.clear()
        self._in_sync.clear()

    def _on_analyzed(self, image_id: str, session: PhotographSession) -> None:
        if self._controller.is_editable:
            self._pending[session] = image_id
            self._save_timer.start()

    def _save_pending(self) -> None:
        pending, self._pending = self._pending, {}
        for session, image_id in pending.items():
            self._save_analysis(session, image_id)

    def _save_analysis(self, session: PhotographSession, image_id: str) -> None:
        """Save an analysis, unless it is saved already, or the case has a correction that is not in the viewer yet."""
        dock, image = self._images.connected_dock, _find_image(self._controller.case, image_id)
        lesion, identity = session.lesion, session.identity
        if dock is None or image is None or lesion is None or not self._controller.is_editable:
            return
        correction, state = image.correction, _result_state(lesion)
        is_same = (correction.digest if correction else "") == (lesion.mask_digest if lesion.corrected else "")
        if is_same:
            self._in_sync.add(identity)
        elif correction is not None and not lesion.corrected and identity not in self._in_sync:
            return  # the correction could not be read or is not shown yet; the user has not undone it
        if is_same and identity in self._images.restored:
            self._images.restored.discard(identity)
            self._saved_states[identity] = state
        if self._saved_states.get(identity) != state:
            on_saved = partial(self._on_saved, session, image_id, state)
            dock.controller.store("case", session, partial(self._prepare, image_id, session), on_saved)
            return
        if lesion.unsaved:
            dock.controller.store("case", session, lambda lesion: lambda run: None)
        self._save_heatmap(image_id, session)

    def _save_heatmap(self, image_id: str, session: PhotographSession) -> None:
        """Save the visible heatmap if its analysis is saved; otherwise the heatmap is saved after the analysis."""
        dock = self._images.connected_dock
        if dock is not None and self._controller.is_editable:
            prepare = partial(self._prepare_heatmap, image_id, session)
            dock.controller.store("heatmap", session, prepare)

    def _prepare_heatmap(self, image_id: str, session: PhotographSession, lesion: AnalyzedLesion) -> JobFunction | None:
        from napari_melanoma.case.results import save_case_explanation

        dock, store = self._images.connected_dock, self._controller.store
        image = _find_image(self._controller.case, image_id)
        is_saved = not lesion.unsaved and self._saved_states.get(session.identity) == _result_state(lesion)
        if dock is None or store is None or image is None or image.path != session.path or not is_saved:
            return None
        result = dock.predictions.add_prediction(session, lesion)
        return None if result.heatmap is None else lambda run: save_case_explanation(store, image, result)

    def _prepare(self, image_id: str, session: PhotographSession, lesion: AnalyzedLesion) -> JobFunction | None:
        store, case, result = self._controller.store, self._controller.case, lesion.result
        image = _find_image(case, image_id)
        if store is None or case is None or image is None or image.path != session.path:  # of another case
            return None
        return lambda run: _save_result(store, case, image_id, result)

    def _on_saved(self, session: PhotographSession, image_id: str, state: ResultState, saved: Case) -> None:
        case, new = self._controller.case, saved.find_image(image_id)
        current = _find_image(case, image_id)
        if case is None or current is None or current.path != new.path:
            return
        self._saved_states[session.identity] = state
        self._in_sync.add(session.identity)
        digests = ("", new.correction.digest if new.correction else "")
        results = tuple(result for result in new.results if result.correction in digests)
        layer = self._images.find_image(current.path)
        size, scaled = None if layer is None else photographs.get_ruler_size(layer), self._images.scaled
        scale: dict[str, float | None] = {}
        if size is not None:
            scaled.add(session.identity)
            scale = {"mpp_x": size.x_um, "mpp_y": size.y_um}
        elif layer is not None and session.identity in scaled:
            scaled.discard(session.identity)
            scale = {"mpp_x": None, "mpp_y": None}  # the user has cleared it
        self._controller.amend(
            set_correction(set_image(case, image_id, results=results, **scale), image_id, new.correction)
        )
        self._save_heatmap(image_id, session)


def _result_state(lesion: AnalyzedLesion) -> ResultState:
    """Return the values that decide whether a result must be saved again."""
    result = lesion.result
    stated = result.photograph.pixel_size, result.photograph.modality
    return lesion.mask_digest, lesion.corrected, result.model.fingerprint, result.options.model_dump_json(), stated


def _find_image(case: Case | None, image_id: str) -> CaseImage | None:
    """Find an image of a case; None if it was removed."""
    images = () if case is None else case.iterate_images()
    return next((image for _, image in images if image.id == image_id), None)


def _save_result(store: CaseStore, case: Case, image_id: str, result: LesionResult) -> Case:
    """Write a result, and remove a correction that was undone."""
    from napari_melanoma.case.results import save_result

    saved = save_result(store, case, image_id, result)
    return saved if result.corrected else set_correction(saved, image_id, None)


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
    result = next(filter(None, (read_stored_result(entry.path, photograph, digest) for entry in stored)), None)
    if result is None:
        return identity, mask
    current_mask = result.mask if mask is None else mask
    current = {} if image.current is None else _read_values(image.current.path)
    provenance = current.get("provenance")
    origin = get_mask_origin(provenance) if mask is not None and isinstance(provenance, dict) else {}
    stated = _read_scale(current) if image.pixel_size is not None else StatedValues()
    return identity, RecoveredLesion(
        result, digest, None, current_mask, None, time.time(), image.path, origin, stated=stated
    )


def _read_scale(values: Mapping[str, Any]) -> StatedValues:
    """Return the scale of a result with its origin, which a case does not state; ``values``: of ``result.json``."""
    try:
        return StatedValues(StatedValues.from_json(values).pixel_size)
    except (MelanomaError, KeyError, TypeError, ValueError, AttributeError):
        return StatedValues()


def _read_corrected_mask(correction: CaseCorrection, photograph: Photograph, digest: str) -> NDArray[np.bool_]:
    from napari_melanoma.case.store import read_correction

    mask = read_correction(correction)
    if mask.shape != photograph.rgb.shape[:2] or correction.image_digest not in ("", digest):
        raise InputError(
            f"{photograph.name} has changed since its mask was drawn. The mask is kept "
            f"in the case ({correction.path.name}); restore the original file to use it."
        )
    return mask


def _read_values(folder: Path) -> Mapping[str, Any]:
    """Read the ``result.json`` of a result folder; empty if the folder is damaged."""
    from napari_melanoma.lesion.results import read_result

    try:
        return read_result(folder)
    except MelanomaError:
        return {}
