"""Layers, results and corrections of the Lesion dock kept in step."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.lesion.analysis import LesionOptions, LesionResult, band_of, derive, remeasure
from napari_melanoma.ui.lesion import state
from napari_melanoma.ui.lesion.state import MASK, REGION, Change, Lesion, LesionBook, Point, same, threshold_of
from napari_melanoma.ui.viewer import layers, linked
from napari_melanoma.ui.viewer.photographs import pixel_size
from napari_melanoma.ui.widgets.job import Latest, Turns, Work
from napari_melanoma.ui.widgets.look import Connections

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Labels, Layer
    from napari.utils.events import Event
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.ui.lesion.analysis_queue import Analysed
    from napari_melanoma.ui.lesion.state import Recovered
    from napari_melanoma.ui.viewer.photographs import Source

Make = Callable[["LesionResult", "NDArray[np.uint8]"], "LesionResult"]
"""Makes a result from the one that is known and the mask as it is, uint8 (row, column)."""
MEANWHILE = "You drew on the mask in the meantime, so it stays as you drew it."


@dataclass(frozen=True)
class Handed:
    """What was made of a lesion outside, such as a file, and who wants to hear of it on the GUI thread."""

    identity: str
    value: Any
    then: Callable[[Any], None]


class LesionWork(QObject):
    """Takes wishes of the dock, and lets everything derived follow the masks."""

    changed = Signal(str)
    restored = Signal(str)
    saved = Signal(object, object)
    dropped = Signal(str)
    said = Signal(str)
    failed = Signal(object)

    def __init__(
        self,
        viewer: Viewer,
        options_of: Callable[[str], LesionOptions],
        for_all: Callable[[], LesionOptions],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.book = LesionBook(viewer)
        self.keeper = Keeper(self)
        self.watcher = LayerWatch(self.book, self)
        self.watcher.rested.connect(self._follow)
        self.watcher.stroked.connect(partial(self.keeper.keep, book=self.book))
        self.watcher.removed.connect(self._on_removed)
        self.options_of = options_of
        self.wanted: dict[str, LesionOptions] = {}  # by identity: options that no result has yet
        self._for_all = for_all
        self._presenter = Presenter(self.book, self)
        self._presenter.shown.connect(self.changed)
        self._presenter.drawable.connect(self.watcher.watch)
        self.recovering = Recovering(self.book, self._presenter, self._replace, self)
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether something is still to be computed, shown or kept."""
        return self.watcher.busy or self._latest.busy or self._presenter.busy or self.keeper.busy

    def take(self, analysed: Analysed, before: str | None, options: LesionOptions) -> None:
        """Show what the worker found; a mask that is shown already changes in one step that can be undone."""
        identity, result = analysed.identity, analysed.result
        if self.book.mask(identity) is not None:
            self.wanted[identity] = options
            self._replace(identity, partial(_as_wanted, result, options), expected=before or "", key="take")
        elif self.book.image(identity) is not None:
            expected = None if self.book.digest(identity) is None else before
            lesion = Lesion.new(result, analysed.image_digest, analysed.digest, None)
            self.book.lesions[identity] = replace(lesion, standard=self._for_all())
            self.wanted[identity] = options
            self._presenter.show_new(identity, partial(self._put, analysed, expected))

    def _put(self, analysed: Analysed, before: str | None) -> None:
        """Write a first result into the mask that a previous dock left, and follow it if it was drawn on.

        Options may have changed while the layers were added: those that hold now count.
        """
        identity, result = analysed.identity, analysed.result
        labels, options = self.book.mask(identity), self.options_of(identity)
        if labels is not None:
            linked.set_made(labels, self.book.lesions[identity].digest)
        if before is None and not _is_met(options, result):
            before = analysed.digest
        if before is None:
            self.wanted.pop(identity, None)
            return
        self._replace(identity, partial(_as_wanted, result, options), expected=before, key="take")
        self.watcher.mark(identity)

    def _on_removed(self, identity: str, gone: dict[str, Layer]) -> None:
        """Let go of a photograph; corrections that were not saved are kept for the day it is opened again."""
        lesion = self.book.lesions.pop(identity, None)
        self.wanted.pop(identity, None)
        if lesion is not None:
            mask, strokes = (gone.get(role) or self.book.orphan(identity, role) for role in ("mask", "scribbles"))
            drawn = (
                lesion.result.mask if mask is None or mask.data.shape != lesion.result.mask.shape else mask.data != 0
            )
            self.keeper.keep_last(identity, lesion, drawn, strokes.data if strokes and strokes.data.any() else None)
        self.dropped.emit(identity)

    def _follow(self, identity: str) -> None:
        self._latest.submit(f"follow {identity}", partial(self._prepare_follow, identity))

    def _prepare_follow(self, identity: str) -> Work | None:
        labels = self.book.mask(identity)
        if labels is None:
            return None
        lesion, mask = self.book.lesions[identity], labels.data != 0
        return lambda run: follow(lesion, identity, mask, lesion.result.options)

    def preview(self, identity: str) -> None:
        """Draw the contour for the options as they are now; the mask waits for ``rederive``."""
        lesion, options = self.book.lesions[identity], self.options_of(identity)
        work = partial(preview, identity, lesion.result, options, lesion.chosen)
        self._latest.submit(f"preview {identity}", lambda: lambda run: work())

    def rederive(self, identity: str, chosen: Point | None = None, options: LesionOptions | None = None) -> None:
        """Make the mask anew from the probability.

        ``chosen``: a point (row, column) of the lesion that is meant; the one chosen before by default.
        """
        lesion, wanted = self.book.lesions[identity], options or self.options_of(identity)
        point = chosen or lesion.chosen
        self.wanted[identity] = wanted
        self._replace(identity, lambda known, mask: rederive(known, wanted, point), point, lesion.digest)

    def redraw(self, identity: str) -> None:
        """Redraw the border from the strokes of the scribbles layer."""
        lesion, strokes = self.book.lesions[identity], self.book.strokes(identity)
        if strokes is None:
            self.said.emit("Draw a stroke inside the lesion or on the skin first.")
        else:
            self._replace(identity, lambda known, mask: by_strokes(known, mask, strokes), lesion.chosen)

    def _replace(
        self,
        identity: str,
        make: Make,
        chosen: Point | None = None,
        expected: str | None = None,
        key: str = "replace",
    ) -> None:
        """Put a result in the place of the mask as it is when the turn has come.

        Where a mask is ``expected``, it and those that a model gave are replaced, and one that was drawn since is not.
        """

        def prepare() -> Work | None:
            labels = self.book.mask(identity)
            if labels is None:
                return None
            lesion, before = self.book.lesions[identity], labels.data.copy()
            known, allowed = lesion.result, None if expected is None else lesion.given | {expected}
            return lambda run: replacement(identity, make(known, before), before, chosen, allowed)

        self._latest.submit(f"{key} {identity}", prepare)

    def measure_again(self, identity: str, options: LesionOptions | None = None) -> None:
        """Crop and measure anew, after the scale or the options of the region changed."""
        wanted = options or self.options_of(identity)
        self.wanted[identity] = wanted

        def prepare() -> Work | None:
            image, lesion = self.book.image(identity), self.book.lesions.get(identity)
            if image is None or lesion is None:
                return None
            size = pixel_size(image)
            return lambda run: again(identity, lesion, wanted, size)

        self._latest.submit(f"measure {identity}", prepare)

    def hand_over(
        self, key: str, identity: str, use: Callable[[Lesion], Work | None], then: Callable[[Any], None]
    ) -> None:
        """Let a lesion be kept somewhere as it is drawn now, after which it counts as saved."""
        self.watcher.mark(identity)
        self.watcher.flush()

        def prepare() -> Work | None:
            lesion = self.book.lesions.get(identity)
            work = None if lesion is None else use(lesion)
            return None if work is None else lambda run: Handed(identity, work(run), then)

        self._latest.submit(f"{key} {identity}", prepare)

    def _on_done(self, done: Change | Handed | None) -> None:
        if isinstance(done, Change):
            self._take_over(done)
        elif done is not None:
            lesion = self.book.lesions.get(done.identity)
            if lesion is not None:
                lesion.unsaved = False
                self.keeper.forget(done.identity, self.book)
            done.then(done.value)

    def _take_over(self, change: Change) -> None:
        identity, lesion = change.identity, self.book.lesions.get(change.identity)
        labels = self.book.mask(identity)
        if lesion is None or labels is None:
            return
        if not self._presenter.show_change(change):
            self.wanted.pop(identity, None)
            self.said.emit(MEANWHILE)
        elif change.result is not None:
            lesion.take(change)
            if change.restored or (identity in self.wanted and _is_met(self.wanted[identity], lesion.result)):
                self.wanted.pop(identity, None)
            if lesion.unsaved:
                self.keeper.keep(identity, self.book)
            else:
                self.keeper.forget(identity, self.book)
            if not lesion.corrected:
                linked.set_made(labels, lesion.digest)
            if change.restored:
                self.restored.emit(identity)
            self.changed.emit(identity)


def _is_met(options: LesionOptions, result: LesionResult) -> bool:
    """Whether a result was made with options; those of the mask do not count where it was drawn by hand."""
    names = REGION if result.corrected else MASK + REGION
    return same(options, result.options, names)


def _as_wanted(
    found: LesionResult, options: LesionOptions, known: LesionResult, mask: NDArray[np.uint8]
) -> LesionResult:
    """Take what an analysis found, with the options as they are wanted by now."""
    wanted = options.model_copy(update={"model": found.options.model, "flips": found.options.flips})
    return found if wanted == found.options else rederive(found, wanted, None)


BAND_ROWS = 128


def drawn(result: LesionResult, mask: NDArray[np.bool_]) -> LesionResult:
    """Give the result for a mask that was drawn by hand.

    ``mask``: bool (row, column). Marked as corrected where the mask is another one.
    """
    corrected = result.corrected or bool((mask != result.mask).any())
    return replace(remeasure(result, mask, result.options), corrected=corrected)


def replacement(
    identity: str,
    result: LesionResult,
    before: NDArray[np.uint8],
    chosen: Point | None,
    allowed: Collection[str] | None,
) -> Change:
    """Prepare that a result takes the place of a mask.

    ``before``: uint8 (row, column), a copy of the mask as it is. With the pixels that differ; outdated where the mask
    may not be replaced.
    """
    mask = before != 0
    if allowed is not None and fingerprint(mask) not in allowed:
        return Change(identity, outdated=True)
    return Change(identity, result, None, fingerprint(result.mask), chosen, before, _where(mask != result.mask))


def _where(different: NDArray[np.bool_]) -> tuple[NDArray[np.intp], ...]:
    """Do what ``numpy.nonzero`` does, in bands: as a whole it would hold Python, and the window, for 60 ms."""
    import numpy as np

    bands = [np.nonzero(different[top : top + BAND_ROWS]) for top in range(0, different.shape[0], BAND_ROWS)]
    rows = [found[0] + BAND_ROWS * index for index, found in enumerate(bands)]
    return np.concatenate(rows), np.concatenate([found[1] for found in bands])


def again(identity: str, lesion: Lesion, options: LesionOptions, pixel_size: PixelSize | None) -> Change:
    """Crop and measure the same mask anew, after the scale or the options of the region changed."""
    result = lesion.result
    scaled = replace(result, photograph=replace(result.photograph, pixel_size=pixel_size))
    measured = replace(remeasure(scaled, result.mask, options), corrected=result.corrected)
    return Change(identity, measured, None, lesion.digest, lesion.chosen)


def by_strokes(result: LesionResult, before: NDArray[np.uint8], strokes: NDArray[np.uint8]) -> LesionResult:
    """Redraw the border from strokes inside (1) and outside (2).

    ``before``: uint8 (row, column), a copy of the mask as it is. ``strokes``: uint8 (row, column).
    """
    from napari_melanoma.imaging.scribbles import redraw

    return drawn(result, redraw(result.probability, result.photograph.rgb, before != 0, strokes))


def follow(lesion: Lesion, identity: str, mask: NDArray[np.bool_], options: LesionOptions) -> Change | None:
    """Let everything follow a mask that may have been drawn on, or brought back by undo.

    ``mask``: bool (row, column), a copy of the mask as it is. None where the mask is the one that is known.
    """
    digest = fingerprint(mask)
    if digest == lesion.digest:
        return None
    origin = lesion.origins.get(digest)
    if origin is None:
        return Change(identity, remeasure(lesion.result, mask, options), None, digest, lesion.chosen)
    result = origin.restore(lesion.result, mask, options.roi)
    return Change(identity, result, None, digest, origin.chosen, restored=True)


def rederive(result: LesionResult, options: LesionOptions, chosen: Point | None) -> LesionResult:
    """Threshold and refine anew; the probability is smoothed again only where the smoothing changed.

    ``chosen``: a point (row, column) of the lesion that is meant.
    """
    # Another model, and flips or not, may be picked for next time.
    options = options.model_copy(update={"model": result.options.model, "flips": result.options.flips})
    if options.refinement.smoothing != result.options.refinement.smoothing:
        return derive(result.photograph, result.answer, options, result.model, chosen)
    threshold = threshold_of(result.model, options)
    followed = remeasure(result, _thresholded(result, options, chosen), options, threshold)
    band = band_of(result.answer, followed.mask, threshold, options.refinement)
    return replace(followed, options=options, corrected=False, threshold=threshold, band=band)


def prediction(result: LesionResult) -> NDArray[np.bool_]:
    """Give the mask that the model gives by itself: default threshold and refinement, no click, nothing drawn.

    Returns bool (row, column).
    """
    from napari_melanoma.imaging.refinement import RefinementConfig, refine_mask, smooth_probability

    usual, smoothed = RefinementConfig(), result.smoothed
    if usual.smoothing != result.options.refinement.smoothing:
        smoothed = smooth_probability(result.probability, usual)
    return refine_mask(smoothed >= result.model.threshold, usual)


def preview(identity: str, result: LesionResult, options: LesionOptions, chosen: Point | None) -> Change:
    """Find the contour that a threshold would give, without a new forward pass.

    ``chosen``: a point (row, column) of the lesion that is meant.
    """
    from napari_melanoma.imaging.masks import contours
    from napari_melanoma.imaging.refinement import other_lesions

    mask = _thresholded(result, options, chosen)
    others = other_lesions(result.smoothed >= threshold_of(result.model, options), mask, options.refinement)
    return Change(identity, contours=contours(mask), others=contours(others))


def _thresholded(result: LesionResult, options: LesionOptions, chosen: Point | None) -> NDArray[np.bool_]:
    from napari_melanoma.imaging.refinement import refine_mask

    return refine_mask(result.smoothed >= threshold_of(result.model, options), options.refinement, chosen)


class Presenter(QObject):
    """Shows what the book says."""

    drawable = Signal(object)
    shown = Signal(str)

    def __init__(self, book: LesionBook, parent: QObject) -> None:
        super().__init__(parent)
        self._book = book
        self._turns = Turns(self)

    @property
    def busy(self) -> bool:
        """Whether layers are still to be added."""
        return self._turns.busy

    def show_new(self, identity: str, then: Callable[[], None] | None = None) -> None:
        """Add the layers of a result, one a turn, so that the viewer lives in between."""
        pieces = (self._show_mask, self._show_probability, self._show_contours, self._show_roi, self._show_rest)
        self._turns.add(*(partial(piece, identity) for piece in pieces))
        if then is not None:
            self._turns.add(then)

    def _show_mask(self, identity: str) -> None:
        image = self._book.image(identity)
        if image is not None:
            mask = self._book.lesions[identity].result.mask
            labels = self._book.mask(identity)
            if labels is None:  # else one that a dock of before left: nothing is stacked on it
                labels = layers.show_mask(self._book.viewer, image, mask.astype("uint8"))
            self.drawable.emit(labels)

    def _show_probability(self, identity: str) -> None:
        image = self._book.image(identity)
        if image is not None:
            layers.show_probability(self._book.viewer, image, self._book.lesions[identity].result.smoothed)

    def _show_contours(self, identity: str) -> None:
        image = self._book.image(identity)
        if image is not None:
            layers.show_contours(self._book.viewer, image, self._book.lesions[identity].result.contours)
            layers.show_others(self._book.viewer, image, self._book.lesions[identity].result)

    def _show_roi(self, identity: str) -> None:
        image = self._book.image(identity)
        if image is not None:
            layers.show_roi(self._book.viewer, image, self._book.lesions[identity].result.roi)

    def _show_rest(self, identity: str) -> None:
        image, labels = self._book.image(identity), self._book.mask(identity)
        if image is not None and labels is not None:
            result = self._book.lesions[identity].result
            layers.show_band(self._book.viewer, image, result.band)
            layers.show_measurements(self._book.viewer, image, result)
            if self._is_at_rest(identity):
                self._book.viewer.layers.selection.active = labels
            self.shown.emit(identity)

    def _is_at_rest(self, identity: str) -> bool:
        """Whether the user looks at a photograph, with no tool in the hand: another layer may be selected."""
        active = self._book.viewer.layers.selection.active
        return active is not None and linked.identity(active) == identity and str(active.mode) == "pan_zoom"

    def show_change(self, change: Change) -> bool:
        """Show what a computation found out about a photograph whose layers are there.

        False where the user drew in the meantime, so that nothing was done.
        """
        viewer, lesion = self._book.viewer, self._book.lesions[change.identity]
        image, labels = self._book.image(change.identity), self._book.mask(change.identity)
        if image is None or labels is None:
            return False
        if change.outdated or (change.before is not None and (labels.data != change.before).any()):
            layers.show_contours(viewer, image, lesion.result.contours)
            layers.show_others(viewer, image, lesion.result)
            return False
        if change.result is None:
            layers.show_contours(viewer, image, change.contours or [])
            layers.show_other_contours(viewer, image, change.others or [])
            return True
        if change.where is not None:
            layers.write_mask(labels, change.where, change.result.mask)
        if change.result.smoothed is not lesion.result.smoothed:
            layers.show_probability(viewer, image, change.result.smoothed)
        layers.show_result(viewer, image, change.result)
        return True


KEEP_MS = 600


class Keeper(QObject):
    """Writes, finds and removes recovery folders in a thread, one thing at a time."""

    found = Signal(str, object)
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._latest = Latest(self, delay_ms=KEEP_MS)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether something is still to be written."""
        return self._latest.busy

    def keep(self, identity: str, book: LesionBook) -> None:
        """Write corrections soon; of several wishes in a row the last is written."""

        def prepare() -> Work | None:
            lesion, labels = book.lesions.get(identity), book.mask(identity)
            strokes = book.strokes(identity)
            if lesion is None or labels is None or not (lesion.unsaved or strokes is not None):
                return None
            return partial(
                _save, lesion, state.recovery_folder(lesion.image_digest, identity), labels.data != 0, strokes
            )

        self._latest.submit(f"keep {identity}", prepare)

    def keep_last(
        self, identity: str, lesion: Lesion, mask: NDArray[np.bool_], strokes: NDArray[np.uint8] | None
    ) -> None:
        """Write what is not saved of a photograph that was removed.

        ``mask``: bool (row, column), the mask as it was. ``strokes``: uint8 (row, column); None where there were none.
        """
        place = state.recovery_folder(lesion.image_digest, identity)
        self._latest.submit(f"keep {identity}", lambda: partial(_save_last, lesion, place, mask, strokes))

    def forget(self, identity: str, book: LesionBook) -> None:
        """Remove what was kept of a photograph, because it is saved or undone."""
        place = state.recovery_folder(book.lesions[identity].image_digest, identity)
        self._latest.submit(f"keep {identity}", lambda: partial(_remove, place))

    def discard(self, found: state.Recovered) -> None:
        """Remove what a crash left, because nobody wants it."""
        self._latest.submit(f"discard {found.place}", lambda: partial(_remove, found.place))

    def adopt(self, identity: str, found: state.Recovered) -> None:
        """Let what a crash left become what is kept of a photograph."""
        place = state.recovery_folder(found.image_digest, identity)
        self._latest.submit(f"adopt {identity}", lambda: partial(_adopt, found, place))

    def look_for(self, identity: str, source: Source, others: Collection[str]) -> None:
        """Look whether a crash left corrections of a photograph; costs nothing where nothing was ever left."""
        self._latest.submit(f"look {identity}", lambda: partial(_look, identity, source, others))

    def _on_done(self, found: tuple[str, state.Recovered] | None) -> None:
        if found is not None:
            self.found.emit(*found)


def _save(
    lesion: Lesion, place: Path, mask: NDArray[np.bool_], strokes: NDArray[np.uint8] | None, run: RunContext
) -> None:
    run.check()
    state.save_recovery(place, lesion.result, mask, lesion.chosen, strokes)


def _save_last(
    lesion: Lesion, place: Path, mask: NDArray[np.bool_], strokes: NDArray[np.uint8] | None, run: RunContext
) -> None:
    if lesion.unsaved or strokes is not None or fingerprint(mask) != lesion.digest:
        _save(lesion, place, mask, strokes, run)
    else:
        _remove(place, run)


def _remove(place: Path, run: RunContext) -> None:
    run.check()
    state.remove_recovery(place)


def _adopt(found: state.Recovered, place: Path, run: RunContext) -> None:
    run.check()
    state.adopt_recovery(found, place)


def _look(
    identity: str, source: Source, others: Collection[str], run: RunContext
) -> tuple[str, state.Recovered] | None:
    run.check()
    state.prune_recoveries()
    if not any(state.recovery_root().glob("*/recovery.json")):
        return None
    photograph = source.read()
    found = state.find_recovery(fingerprint(photograph.rgb), photograph, others)
    return None if found is None else (identity, found)


Put = Callable[[str, "Make", "Point | None"], None]


class Recovering(QObject):
    """Puts what was found where it belongs, beside or over what is there by now."""

    def __init__(self, book: LesionBook, presenter: Presenter, put: Put, parent: QObject) -> None:
        super().__init__(parent)
        self._book = book
        self._presenter = presenter
        self._put = put

    def bring_back(self, identity: str, found: Recovered) -> None:
        """Show corrections that a crash left; Ctrl+Z takes them back to the mask that is there, or the model's."""
        if self._book.mask(identity) is not None:
            self._draw(identity, found)
        elif self._book.image(identity) is not None:
            self._book.lesions[identity] = Lesion.new(found.result, found.image_digest, found.digest, found.chosen)
            self._presenter.show_new(identity, partial(self._draw, identity, found))

    def _draw(self, identity: str, found: Recovered) -> None:
        image = self._book.image(identity)
        if image is None:
            return
        if found.scribbles is not None:
            strokes = layers.scribbles(self._book.viewer, image)
            self._presenter.drawable.emit(strokes)
            layers.add_strokes(strokes, found.scribbles)
        photograph = replace(found.result.photograph, pixel_size=pixel_size(image))
        base = replace(found.result, photograph=photograph)
        self._put(identity, lambda known, mask: drawn(base, found.mask), found.chosen)


FOLLOW_MS = 100
HIDDEN_MS = 1000


class LayerWatch(QObject):
    """Tells when a hand rests after drawing, and what went along when a photograph was removed."""

    touched = Signal(str)
    rested = Signal(str)
    stroked = Signal(str)
    removed = Signal(str, object)

    def __init__(self, book: LesionBook, parent: QObject) -> None:
        super().__init__(parent)
        self.connections = Connections()
        self._book = book
        self._drawn: set[str] = set()
        self._gone: dict[str, dict[str, Layer]] = {}
        self._rest = self._timer(FOLLOW_MS, self.flush)
        self._end = self._timer(0, self._on_end)  # a photograph and its layers go one after the other
        self.connections.connect(book.viewer.layers.events.removed, self._on_removed)
        self._active: Layer | None = book.viewer.layers.selection.active
        self.connections.connect(book.viewer.layers.selection.events.active, self._on_active)
        hidden = QTimer(self)
        hidden.timeout.connect(self._look)
        hidden.start(HIDDEN_MS)

    def _timer(self, wait_ms: int, slot: object) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(wait_ms)
        timer.timeout.connect(slot)
        return timer

    @property
    def busy(self) -> bool:
        """Whether something was done that nobody was told of yet."""
        return bool(self._drawn or self._gone)

    def watch(self, labels: Labels) -> None:
        """Hear what is drawn on a layer, and undone."""
        self.connections.connect(labels.events.paint, self._on_drawn)
        self.connections.connect(labels.events.set_data, self._on_drawn)  # undo and redo emit only this

    def mark(self, identity: str) -> None:
        """Take a mask for one that was drawn on."""
        self._drawn.add(identity)
        self._rest.start()
        self.touched.emit(identity)

    def flush(self) -> None:
        """Tell of what was drawn up to now, without waiting for the hand to rest."""
        drawn, self._drawn = self._drawn, set()
        for identity in drawn:
            self.rested.emit(identity)

    def _on_drawn(self, event: Event) -> None:
        identity = linked.identity(event.source)
        if identity not in self._book.lesions:
            return
        if event.source == self._book.mask(identity):
            self.mark(identity)
        else:
            self.stroked.emit(identity)

    def _on_active(self, event: Event) -> None:
        self._look()
        self._active = event.value

    def _look(self) -> None:
        """Take the mask that keys act on for drawn on while it is hidden: napari tells nobody of its undo then."""
        layer = self._active
        identity = None if layer is None or layer.visible else linked.identity(layer)
        if identity in self._book.lesions and layer == self._book.mask(str(identity)):
            self.mark(str(identity))

    def _on_removed(self, event: Event) -> None:
        identity = linked.identity(event.value)
        if identity is not None:
            self._gone.setdefault(identity, {})[linked.role(event.value) or "photograph"] = event.value
            self._end.start()

    def _on_end(self) -> None:
        gone, self._gone = self._gone, {}
        for identity, gone_layers in gone.items():
            if self._book.image(identity) is None:
                self._drawn.discard(identity)
                self.removed.emit(identity, gone_layers)
