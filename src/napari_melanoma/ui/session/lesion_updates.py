"""Change the masks of photographs, and derive everything else from them.

A mask is the pixels of its layer, no matter what has written them. After each change, ``derive_lesion`` makes the
lesion from them, and ``changed`` is emitted for everything that shows or stores it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.session.analyzed_lesion import (
    MASK_OPTIONS,
    ROI_OPTIONS,
    AnalyzedLesion,
    Contours,
    MakeChange,
    MaskChange,
    MaskOrigin,
    Point,
    RecoveredLesion,
    derive_lesion,
    follow_pixels,
    have_equal_fields,
    keep_prediction_options,
    preview_contours,
    rederive,
    redraw_from_strokes,
)
from napari_melanoma.ui.session.open_photograph import OpenPhotograph, PhotographOptions, PhotographSessions
from napari_melanoma.ui.session.recovery import LesionAutosave
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.widgets.job import GuiTaskQueue, JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.signals import Connections

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.utils.events import Event

    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.session.saved_result import SavedResult

MASK_EDITED_MESSAGE = "The mask was edited in the meantime and was not replaced."
BAND_ROWS = 128  # of ``_find_changed_pixels``
EDIT_IDLE_MS = 100
EDITED_ROLES = ("mask", "scribbles")


class FinishedAnalysis(NamedTuple):
    """The lesion that was predicted for a photograph.

    ``previous``: bool (row, column), the mask when the analysis was requested; without pixels if there was none.
    """

    session: OpenPhotograph
    previous: NDArray[np.bool_]
    lesion: AnalyzedLesion


class MaskStep(NamedTuple):
    """A change of the mask layer in one step that can be undone.

    ``base``: uint8 (row, column), the pixels that are replaced. ``where``: rows and columns of those that differ.
    """

    change: MaskChange
    mask_digest: str
    base: NDArray[np.uint8]
    where: tuple[NDArray[np.intp], ...]


class LesionController(QObject):
    """Changes masks on request, and derives the lesion after each change of a mask layer.

    ``changed``: the lesion of a photograph has changed, and its layers show it.
    """

    changed = Signal(object)  # OpenPhotograph
    message = Signal(str)
    failed = Signal(object)  # Exception

    def __init__(self, sessions: PhotographSessions, options: PhotographOptions, parent: QObject) -> None:
        super().__init__(parent)
        self.sessions, self.options = sessions, options
        self.autosave = LesionAutosave(sessions, self)
        self.watcher = LayerWatcher(sessions, self)
        self.watcher.edits_finished.connect(self.follow)
        self.watcher.scribbles_edited.connect(self.autosave.update)
        self.watcher.removed.connect(self._on_removed)
        self._layers = LesionLayers(self)
        self._latest = LatestJobQueue(self)
        self._latest.failed.connect(self.failed)

    def follow(self, session: OpenPhotograph) -> None:
        """Derive the lesion from the mask in the layer, unless it is that of its pixels."""
        key = f"follow {session.identity}"

        def prepare() -> JobFunction | None:
            lesion, labels = session.lesion, session.mask
            session.is_mask_edited = session.is_behind_mask
            if lesion is None or labels is None or not session.is_mask_edited:
                return None
            mask, photograph = labels.data != 0, _describe_photograph(session, lesion)
            return lambda run: derive_lesion(lesion, mask, None, photograph)

        session.is_mask_edited = session.is_behind_mask
        if session.is_mask_edited and not self._latest.is_pending(key):  # the pixels are read when it is its turn
            self._latest.submit(key, prepare, partial(self._on_derived, session))

    def _on_derived(self, session: OpenPhotograph, derived: AnalyzedLesion) -> None:
        previous = session.masked_lesion
        if previous is None or previous.image_digest != derived.image_digest:
            return  # the layer was removed, or the pixels of the photograph were replaced
        session.lesion = replace(derived, stored_digest=previous.stored_digest)
        self._layers.show_lesion(session, previous)
        if not self._latest.is_pending(f"replace {session.identity}"):  # a recovered mask may be shown next
            self.autosave.update(session)
        self._on_shown(session)
        session.is_mask_edited = session.is_behind_mask

    def _on_shown(self, session: OpenPhotograph) -> None:
        lesion, labels = session.lesion, session.mask
        pending = session.pending_options
        if lesion is not None and pending is not None and _was_made_with(pending, lesion.result):
            session.pending_options = None
        if lesion is not None and labels is not None and not lesion.corrected:
            photographs.set_model_digest(labels, lesion.mask_digest)
        session.shown.emit()
        self.changed.emit(session)
        if lesion is not None:
            source, photograph = session.source, lesion.result.photograph
            if (source.pixel_size, source.modality) != (photograph.pixel_size, photograph.modality):
                self.remeasure(session)  # they were changed while the photograph was analyzed, or its mask was read

    def _on_removed(self, session: OpenPhotograph, removed_layers: dict[str, Layer]) -> None:
        """Remove the session of a photograph, and hide its remaining layers; unsaved corrections can be recovered."""
        if session.lesion is not None:
            mask, strokes = (removed_layers.get(role) or session.orphaned_layer(role) for role in ("mask", "scribbles"))
            if mask is not None:
                session.lesion = follow_pixels(session.lesion, mask.data)  # a result that waits to be stored has it
            drawn = None if strokes is None or not strokes.data.any() else strokes.data
            is_applied = drawn is not None and session.has_applied(drawn)
            self.autosave.save_removed(session, None if is_applied else drawn)
        self.sessions.remove(session)
        for layer in session.viewer.layers:  # of the photograph; others would lie over the next one
            if photographs.get_identity(layer) == session.identity:
                layer.visible = False

    def preview(self, session: OpenPhotograph) -> None:
        """Show the contour for the current options; the mask changes only with ``rederive``."""
        options = self.options.get(session)

        def prepare(lesion: AnalyzedLesion) -> JobFunction:
            return lambda run: preview_contours(lesion.result, options, lesion.chosen)

        self._submit("preview", session, prepare, partial(self._layers.show_contours, session))

    def add_result(self, analysis: FinishedAnalysis) -> None:
        """Show the result of an analysis; an existing mask changes in one step that can be undone."""
        session, lesion = analysis.session, analysis.lesion
        session.pending_options = self.options.get(session)
        if self._has_mask_of(session, lesion.image_digest):
            self._replace_by_analysis(analysis)
        elif session.is_open:
            self._add_layers(session, lesion, lesion.result.mask, partial(self._replace_by_analysis, analysis))

    def _replace_by_analysis(self, analysis: FinishedAnalysis) -> None:
        """Write the mask of an analysis with the current options, unless the layer was made with it and them."""
        session, result, lesion = analysis.session, analysis.lesion.result, analysis.session.masked_lesion
        options = self.options.get(session)
        is_made = lesion is not None and lesion.result is result and not session.is_behind_mask
        if not (is_made and _was_made_with(options, result)):
            make = partial(_apply_analysis, result, options)
            self.replace_mask(session, make, analysis.previous, "options")

    def _add_layers(
        self,
        session: OpenPhotograph,
        lesion: AnalyzedLesion,
        predicted: NDArray[np.bool_],
        callback: Callable[[], None] | None = None,
    ) -> None:
        """Show the first lesion of a photograph; ``predicted``: the mask to which undo returns."""

        def on_added() -> None:
            if session.masked_lesion is not None:
                self._on_shown(session)
            self.follow(session)  # a mask that a previous dock has left, or that was edited meanwhile
            if callback is not None:
                callback()

        session.lesion = replace(lesion, default_options=self.options.current)
        self._layers.add_layers(session, predicted, on_added)

    def rederive(
        self, session: OpenPhotograph, chosen: Point | None = None, options: LesionOptions | None = None
    ) -> None:
        """Compute the mask from the probability again.

        ``chosen``: a point (row, column) in the selected lesion; by default the previous selection.
        """
        lesion, new_options = session.lesion, options or self.options.get(session)
        if lesion is not None:
            point = chosen or lesion.chosen
            session.pending_options = new_options
            self.replace_mask(
                session, lambda current, mask: rederive(current.result, new_options, point), lesion.result.mask
            )

    def redraw(self, session: OpenPhotograph) -> None:
        """Compute the mask from the strokes in the scribbles layer."""
        strokes = session.strokes
        if strokes is None:
            self.message.emit("Draw strokes inside or outside the lesion first.")
        else:
            session.applied_strokes = strokes
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
        if recovered.scribbles is not None and session.is_open:
            layers.add_strokes(layers.get_scribbles_layer(session.viewer, session.image), recovered.scribbles)
        if self._has_mask_of(session, recovered.image_digest):
            self.replace_mask(session, lambda lesion, mask: recovered.change)
        else:
            show = partial(self._show_restored, session, recovered)
            self._latest.submit(f"restore {session.identity}", lambda: lambda run: recovered.derive(), show)
        return restored

    def _show_restored(self, session: OpenPhotograph, recovered: RecoveredLesion, lesion: AnalyzedLesion) -> None:
        if self._has_mask_of(session, recovered.image_digest):  # it was analyzed meanwhile
            self.replace_mask(session, lambda lesion, mask: recovered.change)
        elif session.is_open:
            self._add_layers(session, lesion, recovered.result.mask, partial(self.autosave.update, session))

    def _has_mask_of(self, session: OpenPhotograph, image_digest: str) -> bool:
        """Return whether the same pixels were analyzed, so that the mask layer is changed."""
        lesion = session.masked_lesion
        return lesion is not None and lesion.image_digest == image_digest

    def show_saved(self, session: OpenPhotograph, saved: SavedResult) -> str:
        """Show a saved result: the values that the user stated, and the mask unless the photograph has a result.

        Ctrl+Z goes back from a mask that users have made to the predicted mask, which is never shown. A mask left by a
        previous dock is replaced by such a mask only. Returns a sentence on what was restored.
        """
        stored, lesion, is_mask_left = saved.stored, saved.lesion, session.existing_mask is not None
        is_shown = lesion is not None and session.lesion is None and (saved.is_of_user or not is_mask_left)
        options_text = stored.options_text if stored is not None and is_shown else ""
        restored = saved.stated.restore(session, options_text)
        if stored is None or lesion is None:
            return f"{saved.description} {restored}".strip()
        if not is_shown:
            return restored
        session.saved_mask = saved.description
        self._add_layers(session, replace(lesion, stored_digest=lesion.mask_digest), stored.result.mask)
        return f"{saved.description} {restored}".strip()

    def replace_mask(
        self, session: OpenPhotograph, make: MakeChange, expected: NDArray[np.bool_] | None = None, key: str = "replace"
    ) -> None:
        """Write a new mask into the layer in one step that can be undone; the lesion is derived from it.

        ``make``: called in a thread, with the mask in the layer when it is its turn. ``expected``: bool (row, column);
        only this mask and predicted masks are replaced, not one that was edited in the meantime; None replaces any
        mask. A pending change with the same key is dropped.
        """

        def prepare(lesion: AnalyzedLesion) -> JobFunction | None:
            labels = session.mask
            if labels is None:
                return None
            base = labels.data.copy()
            return lambda run: _prepare_step(lesion, base, make) if _may_replace(lesion, base, expected) else None

        self._submit(key, session, prepare, partial(self._write, session))

    def _write(self, session: OpenPhotograph, step: MaskStep | None) -> None:
        """Write a step into the layer unless it was edited meanwhile; as after a stroke, the lesion follows."""
        lesion, labels = session.lesion, session.mask
        if lesion is None or labels is None:
            return
        if step is None or (labels.data != step.base).any():
            session.pending_options = None
            self._layers.show_contours(session, (lesion.result.contours, lesion.result.other_contours))
            self.message.emit(MASK_EDITED_MESSAGE)
            return
        session.lesion = lesion.add_origin(step.mask_digest, step.change.origin)
        layers.write_mask(labels, step.where, step.change.mask)
        self.watcher.mark_edited(session)
        self.watcher.flush()

    def remeasure(self, session: OpenPhotograph, options: LesionOptions | None = None) -> None:
        """Crop and measure again, after the scale, the type of photograph or the ROI options changed."""
        if session.lesion is None:
            return
        session.pending_options = new_options = options or self.options.get(session)

        def prepare(lesion: AnalyzedLesion) -> JobFunction:
            mask, photograph = lesion.result.mask, _describe_photograph(session, lesion)
            return lambda run: derive_lesion(lesion, mask, new_options.roi, photograph)

        self._submit("measure", session, prepare, partial(self._on_derived, session))

    def _submit(
        self,
        key: str,
        session: OpenPhotograph,
        make_work: Callable[[AnalyzedLesion], JobFunction | None],
        done: Callable[[Any], object],
    ) -> None:
        """Run a function for a lesion in a thread after the lesion was derived from its layer.

        A pending one with the same ``key`` is dropped. ``make_work``: called when it is its turn; never, if the lesion
        cannot be derived. ``done``: called with the result.
        """
        name = f"{key} {session.identity}"

        def prepare(tried: AnalyzedLesion | None = None) -> JobFunction | None:
            lesion = session.lesion
            if session.is_behind_mask:
                if lesion is not tried:  # the mask was written since, by a function that was pending before this one
                    self.follow(session)
                    self._latest.submit(name, partial(prepare, lesion), done)
                return None
            return None if lesion is None else make_work(lesion)

        self.follow(session)
        self._latest.submit(name, prepare, done)

    def when_followed(self, session: OpenPhotograph, done: Callable[[AnalyzedLesion], object]) -> None:
        """Call a function with the lesion of a photograph once it follows the mask and the options."""
        self._submit("await", session, lambda lesion: lambda run: lesion, done)

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

        def prepare(lesion: AnalyzedLesion) -> JobFunction | None:
            work = make_work(lesion)
            return None if work is None else lambda run: (lesion.mask_digest, work(run))

        def on_saved(stored: tuple[str, object]) -> None:
            mask_digest, value = stored
            if session.lesion is not None:
                session.lesion = replace(session.lesion, stored_digest=mask_digest)
                session.saved_mask = ""
                (self.autosave.update if session.is_open else self.autosave.remove_saved)(session)
            done(value)

        self._submit(key, session, prepare, on_saved)

    def is_storing(self, session: OpenPhotograph) -> bool:
        """Whether a photograph waits to be stored in the corrections."""
        return self._latest.is_pending(f"store {session.identity}")

    def set_unsaved(self, session: OpenPhotograph) -> None:
        """Keep corrections for recovery that are no longer stored elsewhere, also those to which a redo returns."""
        if session.lesion is not None:
            session.lesion = replace(session.lesion, stored_digest="")
            self.autosave.update(session)


class LesionLayers(QObject):
    """Adds and updates the layers of analyzed photographs."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._queue = GuiTaskQueue(self)

    def add_layers(self, session: OpenPhotograph, predicted: NDArray[np.bool_], callback: Callable[[], None]) -> None:
        """Add the mask of a lesion, then its other layers, each in its own turn of the event loop.

        So the viewer stays responsive. ``predicted``: the mask to which undo returns. ``callback``: called after the
        last layer.
        """
        self._show(partial(self._show_mask, predicted), session)
        steps = (self._show_probability, self._show_contours, self._show_roi, self._show_remaining)
        self._queue.add(*(partial(self._show, step, session) for step in steps), callback)

    def _show(self, step: Callable[[OpenPhotograph, LesionResult], None], session: OpenPhotograph) -> None:
        if session.is_open and session.lesion is not None:
            step(session, session.lesion.result)

    def _show_mask(self, predicted: NDArray[np.bool_], session: OpenPhotograph, result: LesionResult) -> None:
        """Add the mask layer; in one that a previous dock has left, replace the mask by one that users have made."""
        labels = session.mask
        if labels is None:
            labels = layers.show_mask(session.viewer, session.image, predicted.astype("uint8"))
        if result.mask is not predicted:
            layers.write_mask(labels, _find_changed_pixels((labels.data != 0) != result.mask), result.mask)

    def _show_probability(self, session: OpenPhotograph, result: LesionResult) -> None:
        layers.show_probability(session.viewer, session.image, result.smoothed)

    def _show_contours(self, session: OpenPhotograph, result: LesionResult) -> None:
        self.show_contours(session, (result.contours, result.other_contours))
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

    def show_contours(self, session: OpenPhotograph, contours: tuple[Contours, Contours]) -> None:
        """Show contours of the mask and of other lesions, of the lesion or a preview of them."""
        if session.is_open:
            layers.show_contours(session.viewer, session.image, contours[0])
            layers.show_other_contours(session.viewer, session.image, contours[1])

    def show_lesion(self, session: OpenPhotograph, previous: AnalyzedLesion) -> None:
        """Show what follows from the mask of a photograph."""
        lesion = session.lesion
        if lesion is not None:
            if lesion.result.smoothed is not previous.result.smoothed:
                layers.show_probability(session.viewer, session.image, lesion.result.smoothed)
            layers.show_result(session.viewer, session.image, lesion.result)


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
        self._removed_layers: dict[str, dict[str, Layer]] = {}
        self._idle_timer = DebounceTimer(self, EDIT_IDLE_MS)
        self._idle_timer.timeout.connect(self._on_edits_finished)
        # A photograph and its layers are removed one after the other.
        self._removal_timer = DebounceTimer(self, 0)
        self._removal_timer.timeout.connect(self._on_removal_finished)
        events = sessions.viewer.layers.events
        self._connections.connect(events.removed, self._on_removed)
        self._connections.connect(events.inserted, self._on_inserted)
        for layer in sessions.viewer.layers:
            self._watch(layer)

    def _watch(self, layer: Layer) -> None:
        """Watch a mask or scribbles for edits and undo."""
        if photographs.get_role(layer) in EDITED_ROLES:
            events = layer.events
            self._connections.connect(events.paint, self._on_edited)
            # A copy that napari makes is no ``MaskLabels``, which emit an event also while they are hidden
            self._connections.connect(getattr(events, "refreshed", events.set_data), self._on_edited)

    def _on_inserted(self, event: Event) -> None:
        """Watch a layer that was added, or restored after it was removed and perhaps edited."""
        self._watch(event.value)
        session = self._sessions.find(photographs.get_identity(event.value))
        if session is not None and session.lesion is not None and event.value == session.mask:
            self.mark_edited(session)

    def mark_edited(self, session: OpenPhotograph) -> None:
        """Mark a mask as edited."""
        session.is_mask_edited = True
        self._idle_timer.start()

    def flush(self) -> None:
        """Emit pending edits at once."""
        self._idle_timer.flush()

    def _on_edits_finished(self) -> None:
        for session in self._sessions:
            if session.is_mask_edited:
                self.edits_finished.emit(session)

    def _on_edited(self, event: Event) -> None:
        session = self._sessions.find(photographs.get_identity(event.source))
        if session is None or session.lesion is None:
            return
        if event.source == session.mask:
            self.mark_edited(session)
        else:
            self.scribbles_edited.emit(session)

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
                self.removed.emit(session, layers_of_photograph)


def _describe_photograph(session: OpenPhotograph, lesion: AnalyzedLesion) -> Photograph:
    """Return the photograph of a lesion with what its layer states now, such as the scale."""
    known = lesion.result.photograph
    return replace(session.source.describe(known.rgb), notes=known.notes)  # some were found when pixels were read


def _was_made_with(options: LesionOptions, result: LesionResult) -> bool:
    """Whether a result was made with options; mask options are ignored if the mask was corrected."""
    names = ROI_OPTIONS if result.corrected else MASK_OPTIONS + ROI_OPTIONS
    return have_equal_fields(options, result.options, names)


def _apply_analysis(
    analyzed: LesionResult, options: LesionOptions, lesion: AnalyzedLesion, mask: NDArray[np.uint8]
) -> MaskChange:
    """Return the mask of an analysis with the current options; the last two arguments are not needed."""
    new_options = keep_prediction_options(options, analyzed.options)
    if new_options == analyzed.options:
        return MaskChange(analyzed.mask, MaskOrigin.from_result(analyzed, None))
    return rederive(analyzed, new_options, None)


def _may_replace(lesion: AnalyzedLesion, base: NDArray[np.uint8], expected: NDArray[np.bool_] | None) -> bool:
    """Whether a mask, uint8 (row, column), is the expected or a predicted one, so that no corrections are lost."""
    mask = base != 0
    is_expected = expected is None or np.array_equal(mask, expected)
    return is_expected or not lesion.find_origin(array_fingerprint(mask)).corrected


def _prepare_step(lesion: AnalyzedLesion, base: NDArray[np.uint8], make: MakeChange) -> MaskStep:
    change = make(lesion, base)
    where = _find_changed_pixels((base != 0) != change.mask)
    return MaskStep(change, array_fingerprint(change.mask), base, where)


def _find_changed_pixels(different: NDArray[np.bool_]) -> tuple[NDArray[np.intp], ...]:
    """Call ``numpy.nonzero`` for bands of rows: a single call would hold the GIL and block the window for 60 ms."""
    bands = [np.nonzero(different[top : top + BAND_ROWS]) for top in range(0, different.shape[0], BAND_ROWS)]
    rows = [indices[0] + BAND_ROWS * index for index, indices in enumerate(bands)]
    return np.concatenate(rows), np.concatenate([indices[1] for indices in bands])
