"""Puts results into the viewer in small turns, and changes of a mask as steps that can be undone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui import layers, linked
from napari_melanoma.ui.job import Turns

if TYPE_CHECKING:
    from napari_melanoma.ui.lesion.book import LesionBook
    from napari_melanoma.ui.lesion.state import Change


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
