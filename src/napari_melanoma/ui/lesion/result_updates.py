"""Update results of the Lesion dock after every edit, so that layers and measurements match the masks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.lesion.mask_record import mark_painted
from napari_melanoma.ui.lesion.analyzed_lesions import (
    MASK_OPTIONS,
    ROI_OPTIONS,
    AnalyzedLesion,
    LesionStore,
    LesionUpdate,
    MakeResult,
    Point,
    have_equal_fields,
    keep_prediction_options,
    preview_contours,
    rederive,
    redraw_from_strokes,
)
from napari_melanoma.ui.lesion.layers import LayerWatcher, LesionLayers
from napari_melanoma.ui.lesion.recovery import LesionAutosave, LesionRecovery
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Layer
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.lesion.options import LesionOptions
    from napari_melanoma.ui.lesion.queues import FinishedAnalysis

MASK_EDITED_MESSAGE = "The mask was edited in the meantime and was not replaced."
BAND_ROWS = 128  # of ``_find_changed_pixels``


class LesionSaveResult(NamedTuple):
    """The outcome of saving a lesion: a value, such as the written folder, for a callback on the GUI thread."""

    identity: str
    value: Any
    callback: Callable[[Any], None]


class LesionController(QObject):
    """Changes masks on request, and updates everything that is derived from them.

    ``changed``, ``restored`` and ``photograph_removed`` carry the identity of a photograph; ``restored`` is emitted
    when undo has restored a mask with its options. ``options_of``: returns the current options of a photograph.
    """

    changed = Signal(str)
    restored = Signal(str)
    saved = Signal(object, object)  # SaveTarget, folder
    photograph_removed = Signal(str)
    message = Signal(str)
    failed = Signal(object)  # Exception

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
        self.recovery = LesionRecovery(self.store, self._layers, self._replace, get_shared_options, self)
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)

    def add_result(self, analysis: FinishedAnalysis, previous_digest: str | None, options: LesionOptions) -> None:
        """Show the result of an analysis; an existing mask changes in one step that can be undone."""
        identity, result = analysis.identity, analysis.result
        if self.store.mask(identity) is not None:
            self.pending_options[identity] = options
            self._replace(
                identity, partial(_with_current_options, result, options), expected=previous_digest or "", key="options"
            )
        elif self.store.image(identity) is not None:
            expected = None if self.store.mask_digest(identity) is None else previous_digest
            lesion = AnalyzedLesion.from_model(result, analysis.image_digest, analysis.mask_digest, None)
            self.store.lesions[identity] = replace(lesion, default_options=self._get_shared_options())
            self.pending_options[identity] = options
            self._layers.add_layers(identity, partial(self._write_first_mask, analysis, expected))

    def _write_first_mask(self, analysis: FinishedAnalysis, expected: str | None) -> None:
        """Write the mask of a first result, with the current options, into the mask layer.

        A layer left by a previous dock is replaced only if its digest is ``expected``. A new layer (None) is replaced
        only if the options have changed while the layers were added.
        """
        identity, result = analysis.identity, analysis.result
        labels, options = self.store.mask(identity), self.options_of(identity)
        if labels is not None:
            photographs.set_model_digest(labels, self.store.lesions[identity].mask_digest)
        if expected is None and not _was_made_with(options, result):
            expected = analysis.mask_digest
        if expected is None:
            self.pending_options.pop(identity, None)
            return
        self._replace(
            identity, partial(_with_current_options, result, options), expected=expected, key="update_options"
        )
        self.watcher.mark_edited(identity)

    def _on_removed(self, identity: str, removed_layers: dict[str, Layer]) -> None:
        """Remove a photograph; its unsaved corrections are kept for recovery."""
        lesion = self.store.lesions.pop(identity, None)
        self.pending_options.pop(identity, None)
        if lesion is not None:
            mask, strokes = (
                removed_layers.get(role) or self.store.orphaned_layer(identity, role) for role in ("mask", "scribbles")
            )
            edited_mask = (
                lesion.result.mask if mask is None or mask.data.shape != lesion.result.mask.shape else mask.data != 0
            )
            self.autosave.save_removed(
                identity, lesion, edited_mask, strokes.data if strokes and strokes.data.any() else None
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
        self._replace(identity, lambda result, mask: rederive(result, new_options, point), point, lesion.mask_digest)

    def redraw(self, identity: str) -> None:
        """Recompute the mask from the strokes in the scribbles layer."""
        lesion, strokes = self.store.lesions[identity], self.store.strokes(identity)
        if strokes is None:
            self.message.emit("Draw strokes inside or outside the lesion first.")
        else:
            self._replace(identity, lambda result, mask: redraw_from_strokes(result, mask, strokes), lesion.chosen)

    def replace_mask(self, identity: str, make: MakeResult, key: str = "replace") -> None:
        """Replace the mask by that of a new result, in one step that can be undone.

        A pending replacement with the same key is dropped.
        """
        self._replace(identity, make, self.store.lesions[identity].chosen, key=key)

    def _replace(
        self,
        identity: str,
        make: MakeResult,
        chosen: Point | None = None,
        expected: str | None = None,
        key: str = "replace",
    ) -> None:
        """Replace the mask, as it is when the job starts, by that of a new result.

        ``expected``: digest of a mask; only this mask and predicted masks are replaced, not a mask that was edited in
        the meantime. None replaces any mask.
        """

        def prepare() -> JobFunction | None:
            labels = self.store.mask(identity)
            if labels is None:
                return None
            lesion, mask = self.store.lesions[identity], labels.data.copy()
            result, allowed = lesion.result, None if expected is None else lesion.model_digests | {expected}
            return lambda run: prepare_replacement(identity, make(result, mask), mask, chosen, allowed)

        self._latest.submit(f"{key} {identity}", prepare)

    def remeasure(self, identity: str, options: LesionOptions | None = None) -> None:
        """Crop and measure again, after the scale, the type of photograph or the ROI options changed."""
        new_options = options or self.options_of(identity)
        self.pending_options[identity] = new_options

        def prepare() -> JobFunction | None:
            image, lesion = self.store.image(identity), self.store.lesions.get(identity)
            if image is None or lesion is None:
                return None
            source = LayerPhotographSource.from_layer(image)
            return lambda run: remeasure_lesion(identity, lesion, new_options, source)

        self._latest.submit(f"measure {identity}", prepare)

    def submit_save(
        self,
        key: str,
        identity: str,
        make_work: Callable[[AnalyzedLesion], JobFunction | None],
        callback: Callable[[Any], None],
    ) -> None:
        """Save a lesion with its current mask; afterwards, its corrections count as saved.

        ``make_work``: returns the function that saves it in a thread; None if there is nothing to save. ``callback``:
        called with the return value of this function. A pending save with the same ``key`` is dropped.
        """
        self.watcher.mark_edited(identity)
        self.watcher.flush()

        def prepare() -> JobFunction | None:
            lesion = self.store.lesions.get(identity)
            work = None if lesion is None else make_work(lesion)
            return None if work is None else lambda run: LesionSaveResult(identity, work(run), callback)

        self._latest.submit(f"{key} {identity}", prepare)

    def _on_done(self, outcome: LesionUpdate | LesionSaveResult | None) -> None:
        if isinstance(outcome, LesionUpdate):
            self._apply_update(outcome)
        elif outcome is not None:
            lesion = self.store.lesions.get(outcome.identity)
            if lesion is not None:
                lesion.unsaved = False
                self.autosave.remove(outcome.identity, self.store)
            outcome.callback(outcome.value)

    def _apply_update(self, update: LesionUpdate) -> None:
        identity, lesion = update.identity, self.store.lesions.get(update.identity)
        labels = self.store.mask(identity)
        if lesion is None or labels is None:
            return
        if not self._layers.show_update(update):
            self.pending_options.pop(identity, None)
            self.message.emit(MASK_EDITED_MESSAGE)
        elif update.result is not None:
            lesion.apply(update)
            if update.restored or (
                identity in self.pending_options and _was_made_with(self.pending_options[identity], lesion.result)
            ):
                self.pending_options.pop(identity, None)
            if lesion.unsaved:
                self.autosave.save(identity, self.store)
            else:
                self.autosave.remove(identity, self.store)
            if not lesion.corrected:
                photographs.set_model_digest(labels, lesion.mask_digest)
            if update.restored:
                self.restored.emit(identity)
            self.changed.emit(identity)


def _was_made_with(options: LesionOptions, result: LesionResult) -> bool:
    """Whether a result was made with options; mask options are ignored if the mask was corrected."""
    names = ROI_OPTIONS if result.corrected else MASK_OPTIONS + ROI_OPTIONS
    return have_equal_fields(options, result.options, names)


def _with_current_options(
    analyzed: LesionResult, options: LesionOptions, previous: LesionResult, previous_mask: NDArray[np.uint8]
) -> LesionResult:
    """Return the result of an analysis with the current options; the last two arguments are not needed."""
    new_options = keep_prediction_options(options, analyzed.options)
    return analyzed if new_options == analyzed.options else rederive(analyzed, new_options, None)


def prepare_replacement(
    identity: str,
    result: LesionResult,
    previous_mask: NDArray[np.uint8],
    chosen: Point | None,
    allowed: Collection[str] | None,
) -> LesionUpdate:
    """Prepare the replacement of a mask by that of a result.

    ``previous_mask``: uint8 (row, column), a copy of the current mask. ``allowed``: digests of the masks that may be
    replaced; None for any mask. Returns an update with the pixels that differ,
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
    """Call ``numpy.nonzero`` for bands of rows: a single call would hold the GIL and block the window for 60 ms."""
    import numpy as np

    bands = [np.nonzero(different[top : top + BAND_ROWS]) for top in range(0, different.shape[0], BAND_ROWS)]
    rows = [indices[0] + BAND_ROWS * index for index, indices in enumerate(bands)]
    return np.concatenate(rows), np.concatenate([indices[1] for indices in bands])


def remeasure_lesion(
    identity: str, lesion: AnalyzedLesion, options: LesionOptions, source: LayerPhotographSource
) -> LesionUpdate:
    """Crop and measure the same mask again, after the scale, the type of photograph or the ROI options changed."""
    from napari_melanoma.lesion.analysis import remeasure

    result = lesion.result
    scaled = replace(result, photograph=source.describe(result.photograph.rgb))
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
        painted = replace(remeasure(lesion.result, mask, options), provenance=mark_painted(lesion.result.provenance))
        return LesionUpdate(identity, painted, None, digest, lesion.chosen)
    result = origin.restore(lesion.result, mask, options.roi)
    return LesionUpdate(identity, result, None, digest, origin.chosen, restored=True)
