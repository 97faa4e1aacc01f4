"""Update results of the Lesion dock after every edit, so that layers and measurements match the masks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.lesion.mask_record import mark_painted
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.session.analyzed_lesion import (
    MASK_OPTIONS,
    ROI_OPTIONS,
    AnalyzedLesion,
    LesionUpdate,
    MakeUpdate,
    Point,
    RecoveredLesion,
    have_equal_fields,
    keep_prediction_options,
    preview_contours,
    rederive,
    redraw_from_strokes,
    restore_mask,
)
from napari_melanoma.ui.session.open_photograph import OpenPhotograph, PhotographOptions, PhotographSessions
from napari_melanoma.ui.session.recovery import LesionAutosave
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource
from napari_melanoma.ui.widgets.job import GuiTaskQueue, JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.signals import Connections

if TYPE_CHECKING:
    from napari.layers import Labels, Layer
    from napari.utils.events import Event

    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.session.saved_result import SavedResult

MASK_EDITED_MESSAGE = "The mask was edited in the meantime and was not replaced."
BAND_ROWS = 128  # of ``_find_changed_pixels``
EDIT_IDLE_MS = 100
HIDDEN_CHECK_MS = 1000


class FinishedAnalysis(NamedTuple):
    """The result for a photograph, with the digests of the mask and of the pixels.

    ``previous_digest``: of the mask when the analysis was requested; None if there was none.
    """

    session: OpenPhotograph
    previous_digest: str | None
    result: LesionResult
    mask_digest: str
    image_digest: str


class LesionController(QObject):
    """Changes masks on request, and updates everything that is derived from them.

    ``changed``: the lesion of a photograph has changed, and its layers show it.
    """

    changed = Signal(object)  # OpenPhotograph
    message = Signal(str)
    failed = Signal(object)  # Exception

    def __init__(self, sessions: PhotographSessions, options: PhotographOptions, parent: QObject) -> None:
        super().__init__(parent)
        self.sessions, self.options = sessions, options
        self.autosave = LesionAutosave(self)
        self.watcher = LayerWatcher(sessions, self)
        self.watcher.edits_finished.connect(self._update_from_mask)
        self.watcher.scribbles_edited.connect(self.autosave.update)
        self.watcher.removed.connect(self._on_removed)
        self._layers = LesionLayers(self)
        self._layers.shown.connect(self._on_shown)
        self._layers.editable_layer_added.connect(self.watcher.watch)
        self._latest = LatestJobQueue(self)
        self._latest.failed.connect(self.failed)

    def add_result(self, analysis: FinishedAnalysis) -> None:
        """Show the result of an analysis; an existing mask changes in one step that can be undone."""
        session, result, options = analysis.session, analysis.result, self.options.get(analysis.session)
        if session.mask is not None:
            session.pending_options = options
            make = partial(_with_current_options, result, options)
            self.replace_mask(session, make, expected=analysis.previous_digest or "", key="options")
        elif session.is_open:
            expected = None if session.mask_digest is None else analysis.previous_digest
            lesion = AnalyzedLesion.from_model(result, analysis.image_digest, analysis.mask_digest, None)
            session.lesion = replace(lesion, default_options=self.options.current)
            session.pending_options = options
            self._layers.add_layers(session, partial(self._write_first_mask, analysis, expected))

    def _write_first_mask(self, analysis: FinishedAnalysis, expected: str | None) -> None:
        """Write the mask of a first result, with the current options, into the mask layer.

        A layer left by a previous dock is replaced only if its digest is ``expected``. A new layer (None) is replaced
        only if the options have changed while the layers were added.
        """
        session, result, options = analysis.session, analysis.result, self.options.get(analysis.session)
        labels, lesion = session.mask, session.lesion
        if labels is not None and lesion is not None:
            photographs.set_model_digest(labels, lesion.mask_digest)
        if expected is None and not _was_made_with(options, result):
            expected = analysis.mask_digest
        if expected is None:
            session.pending_options = None
            return
        make = partial(_with_current_options, result, options)
        self.replace_mask(session, make, expected=expected, key="update_options")
        self.watcher.mark_edited(session)

    def _on_shown(self, session: OpenPhotograph) -> None:
        session.shown.emit()
        self.changed.emit(session)
        if session.lesion is not None:
            source, photograph = session.source, session.lesion.result.photograph
            if (source.pixel_size, source.modality) != (photograph.pixel_size, photograph.modality):
                self.remeasure(session)  # they were changed while the photograph was analyzed, or its mask was read

    def _on_removed(self, session: OpenPhotograph, removed_layers: dict[str, Layer]) -> None:
        """Remove the session of a photograph, and hide its remaining layers; unsaved corrections can be recovered."""
        if session.lesion is not None:
            mask, strokes = (removed_layers.get(role) or session.orphaned_layer(role) for role in ("mask", "scribbles"))
            edited = session.lesion.result.mask if mask is None else mask.data != 0
            if edited.shape == session.lesion.result.mask.shape:
                session.lesion = _follow_mask(session.lesion, edited)  # a result that waits to be stored has this mask
            drawn = None if strokes is None or not strokes.data.any() else strokes.data
            is_applied = drawn is not None and array_fingerprint(drawn) == session.applied_strokes
            self.autosave.save_removed(session, session.lesion.result.mask, None if is_applied else drawn)
        self.sessions.remove(session)
        for layer in session.viewer.layers:  # of the photograph; others would lie over the next one
            if photographs.get_identity(layer) == session.identity:
                layer.visible = False

    def _update_from_mask(self, session: OpenPhotograph) -> None:
        def compute(lesion: AnalyzedLesion, labels: Labels) -> Callable[[], LesionUpdate | None]:
            return partial(update_from_mask, lesion, labels.data != 0, lesion.result.options)

        def apply(update: LesionUpdate | None) -> None:
            self._apply_update(session, update)
            is_pending = self._latest.is_pending(f"follow {session.identity}")
            session.is_mask_edited = is_pending or self.watcher.is_edited(session)

        self._submit("follow", session, compute, apply)

    def preview(self, session: OpenPhotograph) -> None:
        """Show the contour for the current options; the mask changes only with ``rederive``."""
        options = self.options.get(session)

        def compute(lesion: AnalyzedLesion, labels: Labels) -> Callable[[], LesionUpdate]:
            return partial(preview_contours, lesion.result, options, lesion.chosen)

        self._submit("preview", session, compute)

    def rederive(
        self, session: OpenPhotograph, chosen: Point | None = None, options: LesionOptions | None = None
    ) -> None:
        """Recompute the mask from the probability.

        ``chosen``: a point (row, column) in the selected lesion; by default the previous selection.
        """
        lesion, new_options = session.lesion, options or self.options.get(session)
        if lesion is not None:
            point = chosen or lesion.chosen
            session.pending_options = new_options
            self.replace_mask(
                session,
                lambda current, mask: LesionUpdate(rederive(current.result, new_options, point), point),
                lesion.mask_digest,
            )

    def redraw(self, session: OpenPhotograph) -> None:
        """Recompute the mask from the strokes in the scribbles layer."""
        strokes = session.strokes
        if strokes is None:
            self.message.emit("Draw strokes inside or outside the lesion first.")
        else:
            session.mark_strokes_applied()
            self.replace_mask(session, partial(redraw_from_strokes, strokes))

    def accept_recovered(self, session: OpenPhotograph) -> None:
        """Restore the unsaved corrections that were found for a photograph."""
        recovered, session.recovered = session.recovered, None
        if recovered is not None:
            self.autosave.adopt(session.identity, recovered)
            restored = self.restore(session, recovered)
            self.message.emit(f"The unsaved mask is shown. {restored}".strip())

    def discard_recovered(self, session: OpenPhotograph) -> None:
        """Delete the unsaved corrections that were found for a photograph."""
        recovered, session.recovered = session.recovered, None
        if recovered is not None:
            self.autosave.discard(recovered)

    def restore(self, session: OpenPhotograph, recovered: RecoveredLesion) -> str:
        """Restore a stored state; Ctrl+Z goes back to the current or the predicted mask.

        Returns a sentence on the values that were restored with the mask; empty if none were.
        """
        restored = recovered.stated.restore(session, recovered.options_text)
        lesion = session.masked_lesion
        if lesion is not None and lesion.image_digest == recovered.image_digest:
            self._restore_mask(session, recovered)
        elif session.is_open:
            session.lesion = self._as_predicted(recovered)
            self._layers.add_layers(session, partial(self._restore_mask, session, recovered))
        return restored

    def show_saved(self, session: OpenPhotograph, saved: SavedResult) -> str:
        """Show a saved result: the values that the user stated, and the mask unless the photograph has a result.

        Ctrl+Z goes back from a mask that users have made to the predicted mask, which is never shown. A mask left by a
        previous dock is replaced by such a mask only. Returns a sentence on what was restored.
        """
        stored, update, remaining = saved.lesion, saved.update, session.existing_mask
        is_shown = stored is not None and session.lesion is None and (update is not None or remaining is None)
        options_text = stored.options_text if stored is not None and is_shown else ""
        restored = saved.stated.restore(session, options_text)
        if stored is None or not is_shown:
            return restored
        lesion = self._as_predicted(stored)
        session.saved_mask = saved.description
        if update is None:
            session.lesion = lesion
            self._layers.add_layers(session, partial(self._on_saved_shown, session))
        elif remaining is not None:
            session.lesion = lesion
            apply = partial(self._apply_update, session, is_saved=True)
            self._layers.add_layers(session, partial(self._restore_mask, session, stored, apply))
        else:
            session.lesion = replace(lesion.apply(update), unsaved=False)
            self._layers.add_saved_mask(session, stored.result.mask, update)
            self._layers.add_layers(session, partial(self._on_saved_shown, session))
        return f"{saved.description} {restored}".strip()

    def _as_predicted(self, stored: RecoveredLesion) -> AnalyzedLesion:
        """Return the lesion of a stored state before the user has changed its mask."""
        digests = stored.image_digest, stored.mask_digest
        lesion = AnalyzedLesion.from_model(stored.result, *digests, stored.chosen, stored.prompts[0])
        return replace(lesion, default_options=self.options.current)

    def _on_saved_shown(self, session: OpenPhotograph) -> None:
        lesion, labels = session.lesion, session.mask
        if lesion is not None and labels is not None and not lesion.corrected:
            photographs.set_model_digest(labels, lesion.mask_digest)

    def _restore_mask(
        self,
        session: OpenPhotograph,
        recovered: RecoveredLesion,
        apply: Callable[[LesionUpdate | None], object] | None = None,
    ) -> None:
        if not session.is_open:
            return
        if recovered.scribbles is not None:
            strokes = layers.get_scribbles_layer(session.viewer, session.image)
            self.watcher.watch(strokes)
            layers.add_strokes(strokes, recovered.scribbles)
        self.replace_mask(session, lambda lesion, mask: restore_mask(recovered), apply=apply)

    def replace_mask(
        self,
        session: OpenPhotograph,
        make: MakeUpdate,
        expected: str | None = None,
        key: str = "replace",
        apply: Callable[[LesionUpdate | None], object] | None = None,
    ) -> None:
        """Replace the mask, as it is when the job starts, by that of a new result, in one step that can be undone.

        ``expected``: digest of a mask; only this mask and predicted masks are replaced, not a mask that was edited in
        the meantime. None replaces any mask. A pending replacement with the same key is dropped.
        """

        def compute(lesion: AnalyzedLesion, labels: Labels) -> Callable[[], LesionUpdate]:
            mask = labels.data.copy()
            allowed = None if expected is None else lesion.model_digests | {expected}
            return lambda: prepare_replacement(make(lesion, mask), mask, allowed)

        self._submit(key, session, compute, apply)

    def remeasure(self, session: OpenPhotograph, options: LesionOptions | None = None) -> None:
        """Crop and measure again, after the scale, the type of photograph or the ROI options changed."""
        if session.lesion is None:
            return
        session.pending_options = new_options = options or self.options.get(session)
        self._submit(
            "measure", session, lambda lesion, _: partial(remeasure_lesion, lesion, new_options, session.source)
        )

    def _submit(
        self,
        key: str,
        session: OpenPhotograph,
        make_work: Callable[[AnalyzedLesion, Labels], Callable[[], LesionUpdate | None]],
        apply: Callable[[LesionUpdate | None], object] | None = None,
    ) -> None:
        """Compute an update of a lesion in a thread, and apply it; without a mask, nothing is done.

        A pending computation with the same ``key`` is dropped. ``make_work``: called with the lesion and its mask layer
        when it is the turn of the computation. ``apply``: called with the update; by default, it is applied.
        """

        def prepare() -> JobFunction | None:
            lesion, labels = session.lesion, session.mask
            if lesion is None or labels is None:
                return None
            work = make_work(lesion, labels)
            return lambda run: work()

        self._latest.submit(f"{key} {session.identity}", prepare, apply or partial(self._apply_update, session))

    def store(
        self,
        key: str,
        session: OpenPhotograph,
        make_work: Callable[[AnalyzedLesion], JobFunction | None],
        done: Callable[[Any], object] = lambda value: None,
    ) -> None:
        """Store a lesion with its current mask, as a result, in the corrections or in a case, also if it is closed.

        Afterwards, its corrections count as saved. ``make_work``: returns the function that stores it in a thread; None
        if there is nothing to store. ``done``: called with the return value of this function. A pending request with
        the same ``key`` is dropped.
        """
        self.watcher.mark_edited(session)
        self.watcher.flush()

        def on_saved(value: object) -> None:
            if session.lesion is not None:
                session.lesion = replace(session.lesion, unsaved=False)
                session.saved_mask = ""
                (self.autosave.update if session.is_open else self.autosave.remove_saved)(session)
            done(value)

        def prepare() -> JobFunction | None:
            return None if session.lesion is None else make_work(session.lesion)

        self._latest.submit(f"{key} {session.identity}", prepare, on_saved)

    def is_storing(self, session: OpenPhotograph) -> bool:
        """Whether a photograph waits to be stored in the corrections."""
        return self._latest.is_pending(f"store {session.identity}")

    def set_unsaved(self, session: OpenPhotograph) -> None:
        """Keep corrections for recovery that are no longer stored elsewhere."""
        if session.lesion is not None:
            session.lesion = replace(session.lesion, unsaved=True)
            self.autosave.update(session)

    def _apply_update(self, session: OpenPhotograph, update: LesionUpdate | None, *, is_saved: bool = False) -> None:
        lesion, labels = session.lesion, session.mask
        if update is None or lesion is None or labels is None:
            return
        if not self._layers.show_update(session, update):
            session.pending_options = None
            self.message.emit(MASK_EDITED_MESSAGE)
        elif update.result is not None:
            lesion = lesion.apply(update)
            session.lesion = lesion = replace(lesion, unsaved=False) if is_saved else lesion
            pending = session.pending_options
            if update.restored or (pending is not None and _was_made_with(pending, lesion.result)):
                session.pending_options = None
            if not self._latest.is_pending(f"replace {session.identity}"):  # a recovered mask may be shown next
                self.autosave.update(session)
            if not lesion.corrected:
                photographs.set_model_digest(labels, lesion.mask_digest)
            self._on_shown(session)


class LesionLayers(QObject):
    """Adds and updates the layers of analyzed photographs."""

    editable_layer_added = Signal(object)  # Labels: a mask, or scribbles
    shown = Signal(object)  # OpenPhotograph

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._queue = GuiTaskQueue(self)

    def add_layers(self, session: OpenPhotograph, callback: Callable[[], None] | None = None) -> None:
        """Add the layers of a result, each in its own turn of the event loop, so that the viewer stays responsive.

        ``callback``: called after the last layer.
        """
        steps = (self._show_mask, self._show_probability, self._show_contours, self._show_roi, self._show_remaining)
        self._queue.add(*(partial(self._show, step, session) for step in steps))
        if callback is not None:
            self._queue.add(callback)

    def add_saved_mask(self, session: OpenPhotograph, predicted: NDArray[np.bool_], update: LesionUpdate) -> None:
        """Add the mask layer of a photograph, with an update from the predicted mask that can be undone."""
        labels = layers.show_mask(session.viewer, session.image, predicted.astype("uint8"))
        if update.changed_pixels is not None and update.result is not None:
            layers.write_mask(labels, update.changed_pixels, update.result.mask)

    def _show(self, step: Callable[[OpenPhotograph, LesionResult], None], session: OpenPhotograph) -> None:
        if session.is_open and session.lesion is not None:
            step(session, session.lesion.result)

    def _show_mask(self, session: OpenPhotograph, result: LesionResult) -> None:
        labels = session.mask
        if labels is None:  # otherwise the mask left by a previous dock is reused
            labels = layers.show_mask(session.viewer, session.image, result.mask.astype("uint8"))
        self.editable_layer_added.emit(labels)

    def _show_probability(self, session: OpenPhotograph, result: LesionResult) -> None:
        layers.show_probability(session.viewer, session.image, result.smoothed)

    def _show_contours(self, session: OpenPhotograph, result: LesionResult) -> None:
        layers.show_contours(session.viewer, session.image, result.contours)
        layers.show_other_lesions(session.viewer, session.image, result)
        layers.show_numbers(session.viewer, session.image, result.lesion_boxes)

    def _show_roi(self, session: OpenPhotograph, result: LesionResult) -> None:
        layers.show_roi(session.viewer, session.image, result.roi)

    def _show_remaining(self, session: OpenPhotograph, result: LesionResult) -> None:
        labels = session.mask
        if labels is not None:
            layers.show_band(session.viewer, session.image, result.band)
            layers.show_measurements(session.viewer, session.image, result)
            if _can_select_mask(session):
                session.viewer.layers.selection.active = labels
            self.shown.emit(session)

    def show_update(self, session: OpenPhotograph, update: LesionUpdate) -> bool:
        """Show an update in the layers of a photograph.

        Returns False if the mask was edited in the meantime, so that nothing was changed.
        """
        viewer, image, lesion, labels = session.viewer, session.image, session.lesion, session.mask
        if lesion is None or labels is None:
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


def _can_select_mask(session: OpenPhotograph) -> bool:
    """Whether a layer of the photograph is selected and no tool is active, so that the selection may change."""
    active = session.viewer.layers.selection.active
    is_own = active is not None and photographs.get_identity(active) == session.identity
    return is_own and str(active.mode) == "pan_zoom"


class LayerWatcher(QObject):
    """Watches the masks and scribbles of photographs.

    Each signal carries the session of the photograph. ``edits_finished``: after a pause in editing the mask.
    """

    edits_finished = Signal(object)
    scribbles_edited = Signal(object)
    removed = Signal(object, object)  # also the layers that were removed with a photograph, by role

    def __init__(self, sessions: PhotographSessions, parent: QObject) -> None:
        super().__init__(parent)
        self._connections = Connections(self)
        self._sessions = sessions
        self._edited: set[OpenPhotograph] = set()
        self._removed_layers: dict[str, dict[str, Layer]] = {}
        self._idle_timer = DebounceTimer(self, EDIT_IDLE_MS)
        self._idle_timer.timeout.connect(self._on_edits_finished)
        # A photograph and its layers are removed one after the other.
        self._removal_timer = DebounceTimer(self, 0)
        self._removal_timer.timeout.connect(self._on_removal_finished)
        viewer_layers = sessions.viewer.layers
        self._connections.connect(viewer_layers.events.removed, self._on_removed)
        self._active: Layer | None = viewer_layers.selection.active
        self._connections.connect(viewer_layers.selection.events.active, self._on_active)
        hidden_timer = QTimer(self)
        hidden_timer.timeout.connect(self._check_hidden_mask)
        hidden_timer.start(HIDDEN_CHECK_MS)

    def watch(self, labels: Labels) -> None:
        """Watch a layer for edits and undo."""
        self._connections.connect(labels.events.paint, self._on_painted)
        self._connections.connect(labels.events.set_data, self._on_painted)  # undo and redo emit only this

    def mark_edited(self, session: OpenPhotograph) -> None:
        """Mark a mask as edited."""
        self._edited.add(session)
        self._idle_timer.start()

    def is_edited(self, session: OpenPhotograph) -> bool:
        """Return whether a mask was edited since ``edits_finished``."""
        return session in self._edited

    def flush(self) -> None:
        """Emit pending edits at once."""
        self._idle_timer.flush()

    def _on_edits_finished(self) -> None:
        edited, self._edited = self._edited, set()
        for session in edited:
            self.edits_finished.emit(session)

    def _on_painted(self, event: Event) -> None:
        session = self._sessions.find(photographs.get_identity(event.source))
        if session is None or session.lesion is None:
            return
        if event.source == session.mask:
            session.is_mask_edited = True
            self.mark_edited(session)
        else:
            self.scribbles_edited.emit(session)

    def _on_active(self, event: Event) -> None:
        self._check_hidden_mask()
        self._active = event.value

    def _check_hidden_mask(self) -> None:
        """Treat the selected mask as edited while it is hidden, since napari emits no event for its undo then."""
        layer = self._active
        session = None if layer is None or layer.visible else self._sessions.find(photographs.get_identity(layer))
        if session is not None and layer == session.mask:
            self.mark_edited(session)

    def _on_removed(self, event: Event) -> None:
        identity = photographs.get_identity(event.value)
        if identity is not None:
            role = photographs.get_role(event.value) or "photograph"
            self._removed_layers.setdefault(identity, {})[role] = event.value
            self._removal_timer.start()

    def _on_removal_finished(self) -> None:
        removed_layers, self._removed_layers = self._removed_layers, {}
        for identity, layers_of_photograph in removed_layers.items():
            session = self._sessions.find(identity)
            if session is not None and not session.is_open:
                self._edited.discard(session)
                self.removed.emit(session, layers_of_photograph)


def _follow_mask(lesion: AnalyzedLesion, mask: NDArray[np.bool_]) -> AnalyzedLesion:
    """Return the lesion with its last mask, bool (row, column), which it may not follow yet."""
    update = update_from_mask(lesion, mask, lesion.result.options)
    return lesion if update is None else lesion.apply(update)


def _was_made_with(options: LesionOptions, result: LesionResult) -> bool:
    """Whether a result was made with options; mask options are ignored if the mask was corrected."""
    names = ROI_OPTIONS if result.corrected else MASK_OPTIONS + ROI_OPTIONS
    return have_equal_fields(options, result.options, names)


def _with_current_options(
    analyzed: LesionResult, options: LesionOptions, previous: AnalyzedLesion, previous_mask: NDArray[np.uint8]
) -> LesionUpdate:
    """Return the result of an analysis with the current options; the last two arguments are not needed."""
    new_options = keep_prediction_options(options, analyzed.options)
    return LesionUpdate(analyzed if new_options == analyzed.options else rederive(analyzed, new_options, None))


def prepare_replacement(
    update: LesionUpdate, previous_mask: NDArray[np.uint8], allowed: Collection[str] | None
) -> LesionUpdate:
    """Prepare the replacement of a mask by that of an update with a result.

    ``previous_mask``: uint8 (row, column), a copy of the current mask. ``allowed``: digests of the masks that may be
    replaced; None for any mask. Returns an update with the pixels that differ,
    or one marked as outdated if the mask may not be replaced.
    """
    mask, result = previous_mask != 0, update.result
    assert result is not None
    if allowed is not None and array_fingerprint(mask) not in allowed:
        return LesionUpdate(outdated=True)
    changed_pixels, digest = _find_changed_pixels(mask != result.mask), array_fingerprint(result.mask)
    return replace(update, mask_digest=digest, previous_mask=previous_mask, changed_pixels=changed_pixels)


def _find_changed_pixels(different: NDArray[np.bool_]) -> tuple[NDArray[np.intp], ...]:
    """Call ``numpy.nonzero`` for bands of rows: a single call would hold the GIL and block the window for 60 ms."""
    bands = [np.nonzero(different[top : top + BAND_ROWS]) for top in range(0, different.shape[0], BAND_ROWS)]
    rows = [indices[0] + BAND_ROWS * index for index, indices in enumerate(bands)]
    return np.concatenate(rows), np.concatenate([indices[1] for indices in bands])


def remeasure_lesion(lesion: AnalyzedLesion, options: LesionOptions, source: LayerPhotographSource) -> LesionUpdate:
    """Crop and measure the same mask again, after the scale, the type of photograph or the ROI options changed."""
    from napari_melanoma.lesion.analysis import remeasure

    result = lesion.result
    scaled = replace(result, photograph=source.describe(result.photograph.rgb))
    measured = replace(remeasure(scaled, result.mask, options), corrected=result.corrected)
    return LesionUpdate(measured, lesion.chosen, lesion.prompts, mask_digest=lesion.mask_digest)


def update_from_mask(lesion: AnalyzedLesion, mask: NDArray[np.bool_], options: LesionOptions) -> LesionUpdate | None:
    """Update the result for a mask that may have been edited, or restored by undo.

    ``mask``: bool (row, column), a copy of the current mask. Returns None if the mask has not changed.
    """
    from napari_melanoma.lesion.analysis import remeasure

    digest = array_fingerprint(mask)
    if digest == lesion.mask_digest:
        return None
    origin = lesion.origins.get(digest)
    if origin is None:
        painted = replace(remeasure(lesion.result, mask, options), provenance=mark_painted(lesion.result.provenance))
        return LesionUpdate(painted, lesion.chosen, lesion.prompts, mask_digest=digest)
    result = origin.restore(lesion.result, mask, options.roi)
    return LesionUpdate(result, origin.chosen, origin.prompts, mask_digest=digest, restored=True)
