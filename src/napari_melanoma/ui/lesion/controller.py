"""Keep the layers, results and corrections of the Lesion dock consistent."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.ui.lesion.analyzed_lesions import (
    MASK_OPTIONS,
    ROI_OPTIONS,
    AnalyzedLesion,
    LesionStore,
    LesionUpdate,
    MakeResult,
    Point,
    have_equal_fields,
)
from napari_melanoma.ui.lesion.mask_editing import preview_contours, rederive, redraw_from_strokes
from napari_melanoma.ui.lesion.recovery import LesionAutosave, LesionRecovery
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.viewer.photographs import get_pixel_size
from napari_melanoma.ui.widgets.job import GuiTaskQueue, JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import Connections

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Labels, Layer
    from napari.utils.events import Event
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.lesion.options import LesionOptions
    from napari_melanoma.ui.lesion.queues import FinishedAnalysis

MASK_EDITED_MESSAGE = "The mask was edited in the meantime and was not replaced."
BAND_ROWS = 128
EDIT_IDLE_MS = 100
HIDDEN_CHECK_MS = 1000


@dataclass(frozen=True)
class LesionSaveResult:
    """What was saved from a lesion, such as a file, and the callback for it on the GUI thread."""

    identity: str
    value: Any
    callback: Callable[[Any], None]


class LesionController(QObject):
    """Handles requests of the dock, and updates everything that is derived from the masks."""

    changed = Signal(str)
    restored = Signal(str)
    saved = Signal(object, object)
    photograph_removed = Signal(str)
    message = Signal(str)
    failed = Signal(object)

    def __init__(
        self,
        viewer: Viewer,
        options_of: Callable[[str], LesionOptions],
        get_shared_options: Callable[[], LesionOptions],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.store = LesionStore(viewer)
        self.autosave = LesionAutosave(self)
        self.watcher = LayerWatcher(self.store, self)
        self.watcher.edits_finished.connect(self._update_from_mask)
        self.watcher.scribbles_edited.connect(partial(self.autosave.save, store=self.store))
        self.watcher.removed.connect(self._on_removed)
        self.options_of = options_of
        self.pending_options: dict[str, LesionOptions] = {}  # by identity: options that are not applied yet
        self._get_shared_options = get_shared_options
        self._layers = LesionLayers(self.store, self)
        self._layers.shown.connect(self.changed)
        self._layers.editable_layer_added.connect(self.watcher.watch)
        self.recovery = LesionRecovery(self.store, self._layers, self._replace, self)
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)

    def add_result(self, analysis: FinishedAnalysis, previous_digest: str | None, options: LesionOptions) -> None:
        """Show the result of an analysis; an existing mask changes in one step that can be undone."""
        identity, result = analysis.identity, analysis.result
        if self.store.mask(identity) is not None:
            self.pending_options[identity] = options
            self._replace(
                identity, partial(_with_current_options, result, options), expected=previous_digest or "", key="take"
            )
        elif self.store.image(identity) is not None:
            expected = None if self.store.mask_digest(identity) is None else previous_digest
            lesion = AnalyzedLesion.from_model(result, analysis.image_digest, analysis.mask_digest, None)
            self.store.lesions[identity] = replace(lesion, default_options=self._get_shared_options())
            self.pending_options[identity] = options
            self._layers.add_layers(identity, partial(self._write_first_mask, analysis, expected))

    def _write_first_mask(self, analysis: FinishedAnalysis, before: str | None) -> None:
        """Write a first result into the mask layer left by a previous dock, unless that mask was edited.

        Uses the current options, which may have changed while the layers were added.
        """
        identity, result = analysis.identity, analysis.result
        labels, options = self.store.mask(identity), self.options_of(identity)
        if labels is not None:
            photographs.set_model_digest(labels, self.store.lesions[identity].mask_digest)
        if before is None and not _was_made_with(options, result):
            before = analysis.mask_digest
        if before is None:
            self.pending_options.pop(identity, None)
            return
        self._replace(identity, partial(_with_current_options, result, options), expected=before, key="take")
        self.watcher.mark_edited(identity)

    def _on_removed(self, identity: str, removed_layers: dict[str, Layer]) -> None:
        """Remove a photograph; its unsaved corrections are kept for recovery."""
        lesion = self.store.lesions.pop(identity, None)
        self.pending_options.pop(identity, None)
        if lesion is not None:
            mask, strokes = (
                removed_layers.get(role) or self.store.orphaned_layer(identity, role) for role in ("mask", "scribbles")
            )
            edited = (
                lesion.result.mask if mask is None or mask.data.shape != lesion.result.mask.shape else mask.data != 0
            )
            self.autosave.save_removed(
                identity, lesion, edited, strokes.data if strokes and strokes.data.any() else None
            )
        self.photograph_removed.emit(identity)

    def _update_from_mask(self, identity: str) -> None:
        self._latest.submit(f"follow {identity}", partial(self._prepare_update, identity))

    def _prepare_update(self, identity: str) -> JobFunction | None:
        labels = self.store.mask(identity)
        if labels is None:
            return None
        lesion, mask = self.store.lesions[identity], labels.data != 0
        return lambda run: update_from_mask(lesion, identity, mask, lesion.result.options)

    def preview(self, identity: str) -> None:
        """Show the contour for the current options; the mask changes only with ``rederive``."""
        lesion, options = self.store.lesions[identity], self.options_of(identity)
        work = partial(preview_contours, identity, lesion.result, options, lesion.chosen)
        self._latest.submit(f"preview {identity}", lambda: lambda run: work())

    def rederive(self, identity: str, chosen: Point | None = None, options: LesionOptions | None = None) -> None:
        """Recompute the mask from the probability.

        ``chosen``: a point (row, column) in the selected lesion; by default the previous selection.
        """
        lesion, new_options = self.store.lesions[identity], options or self.options_of(identity)
        point = chosen or lesion.chosen
        self.pending_options[identity] = new_options
        self._replace(identity, lambda known, mask: rederive(known, new_options, point), point, lesion.mask_digest)

    def redraw(self, identity: str) -> None:
        """Recompute the mask from the strokes in the scribbles layer."""
        lesion, strokes = self.store.lesions[identity], self.store.strokes(identity)
        if strokes is None:
            self.message.emit("Draw strokes inside or outside the lesion first.")
        else:
            self._replace(identity, lambda known, mask: redraw_from_strokes(known, mask, strokes), lesion.chosen)

    def _replace(
        self,
        identity: str,
        make: MakeResult,
        chosen: Point | None = None,
        expected: str | None = None,
        key: str = "replace",
    ) -> None:
        """Replace the mask, as it is when the job starts, by a new result.

        If a mask is ``expected``, only this mask and predicted masks are replaced, not one that was edited since.
        """

        def prepare() -> JobFunction | None:
            labels = self.store.mask(identity)
            if labels is None:
                return None
            lesion, before = self.store.lesions[identity], labels.data.copy()
            known, allowed = lesion.result, None if expected is None else lesion.model_digests | {expected}
            return lambda run: prepare_replacement(identity, make(known, before), before, chosen, allowed)

        self._latest.submit(f"{key} {identity}", prepare)

    def remeasure(self, identity: str, options: LesionOptions | None = None) -> None:
        """Crop and measure again, after the scale or the ROI options changed."""
        new_options = options or self.options_of(identity)
        self.pending_options[identity] = new_options

        def prepare() -> JobFunction | None:
            image, lesion = self.store.image(identity), self.store.lesions.get(identity)
            if image is None or lesion is None:
                return None
            size = get_pixel_size(image)
            return lambda run: remeasure_lesion(identity, lesion, new_options, size)

        self._latest.submit(f"measure {identity}", prepare)

    def submit_save(
        self,
        key: str,
        identity: str,
        make_work: Callable[[AnalyzedLesion], JobFunction | None],
        callback: Callable[[Any], None],
    ) -> None:
        """Store a lesion with its current mask; afterwards it counts as saved."""
        self.watcher.mark_edited(identity)
        self.watcher.flush()

        def prepare() -> JobFunction | None:
            lesion = self.store.lesions.get(identity)
            work = None if lesion is None else make_work(lesion)
            return None if work is None else lambda run: LesionSaveResult(identity, work(run), callback)

        self._latest.submit(f"{key} {identity}", prepare)

    def _on_done(self, done: LesionUpdate | LesionSaveResult | None) -> None:
        if isinstance(done, LesionUpdate):
            self._apply_update(done)
        elif done is not None:
            lesion = self.store.lesions.get(done.identity)
            if lesion is not None:
                lesion.unsaved = False
                self.autosave.remove(done.identity, self.store)
            done.callback(done.value)

    def _apply_update(self, change: LesionUpdate) -> None:
        identity, lesion = change.identity, self.store.lesions.get(change.identity)
        labels = self.store.mask(identity)
        if lesion is None or labels is None:
            return
        if not self._layers.show_update(change):
            self.pending_options.pop(identity, None)
            self.message.emit(MASK_EDITED_MESSAGE)
        elif change.result is not None:
            lesion.apply(change)
            if change.restored or (
                identity in self.pending_options and _was_made_with(self.pending_options[identity], lesion.result)
            ):
                self.pending_options.pop(identity, None)
            if lesion.unsaved:
                self.autosave.save(identity, self.store)
            else:
                self.autosave.remove(identity, self.store)
            if not lesion.corrected:
                photographs.set_model_digest(labels, lesion.mask_digest)
            if change.restored:
                self.restored.emit(identity)
            self.changed.emit(identity)


def _was_made_with(options: LesionOptions, result: LesionResult) -> bool:
    """Whether a result was made with options; mask options are ignored if the mask was corrected."""
    names = ROI_OPTIONS if result.corrected else MASK_OPTIONS + ROI_OPTIONS
    return have_equal_fields(options, result.options, names)


def _with_current_options(
    found: LesionResult, options: LesionOptions, known: LesionResult, mask: NDArray[np.uint8]
) -> LesionResult:
    """The result of an analysis with the current options."""
    new_options = options.model_copy(update={"model": found.options.model, "flips": found.options.flips})
    return found if new_options == found.options else rederive(found, new_options, None)


def prepare_replacement(
    identity: str,
    result: LesionResult,
    previous_mask: NDArray[np.uint8],
    chosen: Point | None,
    allowed: Collection[str] | None,
) -> LesionUpdate:
    """Prepare the replacement of a mask by a result.

    ``previous_mask``: uint8 (row, column), a copy of the current mask. Returns an update with the pixels that differ,
    or one marked as outdated if the mask may not be replaced.
    """
    mask = previous_mask != 0
    if allowed is not None and array_fingerprint(mask) not in allowed:
        return LesionUpdate(identity, outdated=True)
    return LesionUpdate(
        identity,
        result,
        None,
        array_fingerprint(result.mask),
        chosen,
        previous_mask,
        _find_changed_pixels(mask != result.mask),
    )


def _find_changed_pixels(different: NDArray[np.bool_]) -> tuple[NDArray[np.intp], ...]:
    """Like ``numpy.nonzero``, in bands: a single call would hold the GIL, and block the window, for 60 ms."""
    import numpy as np

    bands = [np.nonzero(different[top : top + BAND_ROWS]) for top in range(0, different.shape[0], BAND_ROWS)]
    rows = [found[0] + BAND_ROWS * index for index, found in enumerate(bands)]
    return np.concatenate(rows), np.concatenate([found[1] for found in bands])


def remeasure_lesion(
    identity: str, lesion: AnalyzedLesion, options: LesionOptions, pixel_size: PixelSize | None
) -> LesionUpdate:
    """Crop and measure the same mask again, after the scale or the ROI options changed."""
    from napari_melanoma.lesion.analysis import remeasure

    result = lesion.result
    scaled = replace(result, photograph=replace(result.photograph, pixel_size=pixel_size))
    measured = replace(remeasure(scaled, result.mask, options), corrected=result.corrected)
    return LesionUpdate(identity, measured, None, lesion.mask_digest, lesion.chosen)


def update_from_mask(
    lesion: AnalyzedLesion, identity: str, mask: NDArray[np.bool_], options: LesionOptions
) -> LesionUpdate | None:
    """Update the result for a mask that may have been edited, or restored by undo.

    ``mask``: bool (row, column), a copy of the current mask. Returns None if the mask has not changed.
    """
    from napari_melanoma.lesion.analysis import remeasure

    digest = array_fingerprint(mask)
    if digest == lesion.mask_digest:
        return None
    origin = lesion.origins.get(digest)
    if origin is None:
        return LesionUpdate(identity, remeasure(lesion.result, mask, options), None, digest, lesion.chosen)
    result = origin.restore(lesion.result, mask, options.roi)
    return LesionUpdate(identity, result, None, digest, origin.chosen, restored=True)


class LesionLayers(QObject):
    """Adds and updates the layers of analyzed photographs."""

    editable_layer_added = Signal(object)
    shown = Signal(str)

    def __init__(self, store: LesionStore, parent: QObject) -> None:
        super().__init__(parent)
        self._store = store
        self._queue = GuiTaskQueue(self)

    def add_layers(self, identity: str, callback: Callable[[], None] | None = None) -> None:
        """Add the layers of a result, one in each turn of the event loop, so that the viewer stays responsive."""
        tasks = (self._show_mask, self._show_probability, self._show_contours, self._show_roi, self._show_remaining)
        self._queue.add(*(partial(task, identity) for task in tasks))
        if callback is not None:
            self._queue.add(callback)

    def _show_mask(self, identity: str) -> None:
        image = self._store.image(identity)
        if image is not None:
            mask = self._store.lesions[identity].result.mask
            labels = self._store.mask(identity)
            if labels is None:  # otherwise the mask left by a previous dock is reused
                labels = layers.show_mask(self._store.viewer, image, mask.astype("uint8"))
            self.editable_layer_added.emit(labels)

    def _show_probability(self, identity: str) -> None:
        image = self._store.image(identity)
        if image is not None:
            layers.show_probability(self._store.viewer, image, self._store.lesions[identity].result.smoothed)

    def _show_contours(self, identity: str) -> None:
        image = self._store.image(identity)
        if image is not None:
            layers.show_contours(self._store.viewer, image, self._store.lesions[identity].result.contours)
            layers.show_other_lesions(self._store.viewer, image, self._store.lesions[identity].result)

    def _show_roi(self, identity: str) -> None:
        image = self._store.image(identity)
        if image is not None:
            layers.show_roi(self._store.viewer, image, self._store.lesions[identity].result.roi)

    def _show_remaining(self, identity: str) -> None:
        image, labels = self._store.image(identity), self._store.mask(identity)
        if image is not None and labels is not None:
            result = self._store.lesions[identity].result
            layers.show_band(self._store.viewer, image, result.band)
            layers.show_measurements(self._store.viewer, image, result)
            if self._can_select_mask(identity):
                self._store.viewer.layers.selection.active = labels
            self.shown.emit(identity)

    def _can_select_mask(self, identity: str) -> bool:
        """Whether a layer of the photograph is selected and no tool is active, so that the selection may change."""
        active = self._store.viewer.layers.selection.active
        return active is not None and photographs.get_identity(active) == identity and str(active.mode) == "pan_zoom"

    def show_update(self, update: LesionUpdate) -> bool:
        """Show an update in the layers of a photograph.

        Returns False if the mask was edited in the meantime, so that nothing was changed.
        """
        viewer, lesion = self._store.viewer, self._store.lesions[update.identity]
        image, labels = self._store.image(update.identity), self._store.mask(update.identity)
        if image is None or labels is None:
            return False
        if update.outdated or (update.previous_mask is not None and (labels.data != update.previous_mask).any()):
            layers.show_contours(viewer, image, lesion.result.contours)
            layers.show_other_lesions(viewer, image, lesion.result)
            return False
        if update.result is None:
            layers.show_contours(viewer, image, update.contours or [])
            layers.show_other_contours(viewer, image, update.other_contours or [])
            return True
        if update.changed_pixels is not None:
            layers.write_mask(labels, update.changed_pixels, update.result.mask)
        if update.result.smoothed is not lesion.result.smoothed:
            layers.show_probability(viewer, image, update.result.smoothed)
        layers.show_result(viewer, image, update.result)
        return True


class LayerWatcher(QObject):
    """Watches mask and scribble layers: emits pauses in drawing, and the layers removed with a photograph."""

    mask_edited = Signal(str)
    edits_finished = Signal(str)
    scribbles_edited = Signal(str)
    removed = Signal(str, object)

    def __init__(self, store: LesionStore, parent: QObject) -> None:
        super().__init__(parent)
        self.connections = Connections()
        self._store = store
        self._edited: set[str] = set()
        self._removed_layers: dict[str, dict[str, Layer]] = {}
        self._idle_timer = DebounceTimer(self, EDIT_IDLE_MS)
        self._idle_timer.timeout.connect(self._on_edits_finished)
        # A photograph and its layers are removed one after the other.
        self._removal_timer = DebounceTimer(self, 0)
        self._removal_timer.timeout.connect(self._on_removal_finished)
        self.connections.connect(store.viewer.layers.events.removed, self._on_removed)
        self._active: Layer | None = store.viewer.layers.selection.active
        self.connections.connect(store.viewer.layers.selection.events.active, self._on_active)
        hidden = QTimer(self)
        hidden.timeout.connect(self._check_hidden_mask)
        hidden.start(HIDDEN_CHECK_MS)

    def watch(self, labels: Labels) -> None:
        """Watch a layer for edits and undo."""
        self.connections.connect(labels.events.paint, self._on_painted)
        self.connections.connect(labels.events.set_data, self._on_painted)  # undo and redo emit only this

    def mark_edited(self, identity: str) -> None:
        """Mark a mask as edited."""
        self._edited.add(identity)
        self._idle_timer.start()
        self.mask_edited.emit(identity)

    def flush(self) -> None:
        """Emit pending edits at once."""
        self._idle_timer.flush()

    def _on_edits_finished(self) -> None:
        edited, self._edited = self._edited, set()
        for identity in edited:
            self.edits_finished.emit(identity)

    def _on_painted(self, event: Event) -> None:
        identity = photographs.get_identity(event.source)
        if identity not in self._store.lesions:
            return
        if event.source == self._store.mask(identity):
            self.mark_edited(identity)
        else:
            self.scribbles_edited.emit(identity)

    def _on_active(self, event: Event) -> None:
        self._check_hidden_mask()
        self._active = event.value

    def _check_hidden_mask(self) -> None:
        """Treat the selected mask as edited while it is hidden, since napari emits no event for its undo then."""
        layer = self._active
        identity = None if layer is None or layer.visible else photographs.get_identity(layer)
        if identity in self._store.lesions and layer == self._store.mask(str(identity)):
            self.mark_edited(str(identity))

    def _on_removed(self, event: Event) -> None:
        identity = photographs.get_identity(event.value)
        if identity is not None:
            self._removed_layers.setdefault(identity, {})[photographs.get_role(event.value) or "photograph"] = (
                event.value
            )
            self._removal_timer.start()

    def _on_removal_finished(self) -> None:
        removed_layers, self._removed_layers = self._removed_layers, {}
        for identity, layers_of_photograph in removed_layers.items():
            if self._store.image(identity) is None:
                self._edited.discard(identity)
                self.removed.emit(identity, layers_of_photograph)
