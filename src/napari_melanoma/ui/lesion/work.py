"""How layers, results and corrections of the Lesion dock follow each other, with the arithmetic in a thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui import linked
from napari_melanoma.ui.job import Latest, Work
from napari_melanoma.ui.keeper import Keeper
from napari_melanoma.ui.layer_watch import LayerWatch
from napari_melanoma.ui.lesion import steps as lesion_steps
from napari_melanoma.ui.lesion.book import LesionBook
from napari_melanoma.ui.lesion.own_options import MASK, REGION, same
from napari_melanoma.ui.lesion.state import Change, Lesion
from napari_melanoma.ui.origin import Point
from napari_melanoma.ui.photographs import pixel_size
from napari_melanoma.ui.presenter import Presenter
from napari_melanoma.ui.recovering import Recovering

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Layer
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.ui.analysis_queue import Analysed
    from napari_melanoma.workflows.lesion import LesionOptions, LesionResult

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
        return lambda run: lesion_steps.follow(lesion, identity, mask, lesion.result.options)

    def preview(self, identity: str) -> None:
        """Draw the contour for the options as they are now; the mask waits for ``rederive``."""
        lesion, options = self.book.lesions[identity], self.options_of(identity)
        work = partial(lesion_steps.preview, identity, lesion.result, options, lesion.chosen)
        self._latest.submit(f"preview {identity}", lambda: lambda run: work())

    def rederive(self, identity: str, chosen: Point | None = None, options: LesionOptions | None = None) -> None:
        """Make the mask anew from the probability.

        ``chosen``: a point (row, column) of the lesion that is meant; the one chosen before by default.
        """
        lesion, wanted = self.book.lesions[identity], options or self.options_of(identity)
        point = chosen or lesion.chosen
        self.wanted[identity] = wanted
        self._replace(identity, lambda known, mask: lesion_steps.rederive(known, wanted, point), point, lesion.digest)

    def redraw(self, identity: str) -> None:
        """Redraw the border from the strokes of the scribbles layer."""
        lesion, strokes = self.book.lesions[identity], self.book.strokes(identity)
        if strokes is None:
            self.said.emit("Draw a stroke inside the lesion or on the skin first.")
        else:
            self._replace(identity, lambda known, mask: lesion_steps.by_strokes(known, mask, strokes), lesion.chosen)

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
            return lambda run: lesion_steps.replacement(identity, make(known, before), before, chosen, allowed)

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
            return lambda run: lesion_steps.again(identity, lesion, wanted, size)

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
    return found if wanted == found.options else lesion_steps.rederive(found, wanted, None)
