"""How far threshold, refinement and region reach: shown beside them, and changed by *Use for all* alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_melanoma.ui.lesion.own_options import MASK, REGION, OwnOptions, same, with_fields
from napari_melanoma.workflows.lesion import LesionOptions

if TYPE_CHECKING:
    from napari_melanoma.ui.correcting import Correcting
    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.lesion.work import LesionWork


class Sharing(QObject):
    """Keeps what is set by hand with its photograph, and applies values to all others where the user says so."""

    def __init__(self, controls: LesionControls, work: LesionWork, correcting: Correcting, own: OwnOptions) -> None:
        super().__init__(controls)
        self._controls, self._work, self._correcting, self._own = controls, work, correcting, own
        for part, names in ((controls.mask_controls.for_all, MASK), (controls.roi.for_all, REGION)):
            part.used.connect(partial(self._on_used, names))
            part.reset.connect(partial(self._share, names, LesionOptions()))
        for changed in (controls.mask_controls.moved, controls.mask_controls.settled, controls.roi.settled):
            changed.connect(self._on_changed)

    def show(self) -> None:
        """Show how far the values of the photograph in view reach."""
        shown, shared, usual = self._controls.options(), self._own.for_all, LesionOptions()
        for part, names, words in (
            (self._controls.mask_controls.for_all, MASK, mask_in_words),
            (self._controls.roi.for_all, REGION, region_in_words),
        ):
            is_own, is_shared = not same(shown, shared, names), not same(shared, usual, names)
            own = words(shown)
            text = f"{own[:1].upper()}{own[1:]}: for {'this photograph only' if is_own else 'all photographs'}."
            if is_own and is_shared:
                text += f" All others: {words(shared)}."
            part.show_state(text, is_own=is_own, is_shared=is_shared)

    def _on_changed(self) -> None:
        identity = self._correcting.subject
        if identity is not None:
            self._own.set(identity, self._controls.options())
            if identity in self._work.book.lesions:
                self._work.wanted[identity] = self._controls.options()
        self.show()

    def _on_used(self, names: tuple[str, ...]) -> None:
        self._correcting.settle()
        self._share(names, self._controls.options())

    def _share(self, names: tuple[str, ...], options: LesionOptions) -> None:
        self._correcting.settle()
        before, shown = self._own.for_all, self._controls.options()
        self._own.use_for_all(options, names)
        after = self._own.for_all
        if same(shown, before, names):
            self._controls.set_options(with_fields(shown, after, names))
        for identity, lesion in self._work.book.lesions.items():
            known = self._work.wanted.get(identity, lesion.result.options)
            if not same(known, before, names) or same(known, after, names):
                continue
            if names == REGION:
                self._work.measure_again(identity, with_fields(known, after, names))
            elif not lesion.corrected:
                lesion.standard = after
                self._work.rederive(identity, options=with_fields(known, after, names))
        self.show()


def mask_in_words(options: LesionOptions) -> str:
    """Name threshold and refinement.

    Such as ``threshold 0.90, all lesions``.
    """
    refinement = options.refinement
    said = ["the model's own threshold" if options.threshold is None else f"threshold {options.threshold:.2f}"]
    said += [] if refinement.largest_only else ["all lesions"]
    said += [] if refinement.fill_holes else ["holes not filled"]
    said += [] if refinement.smoothing else ["not smoothed"]
    return ", ".join(said)


def region_in_words(options: LesionOptions) -> str:
    """Name the options of the region of interest.

    Such as ``margin 10 %, black background, 299 px``.
    """
    roi = options.roi
    background = "black background" if roi.background == "zero" else "skin kept"
    return f"margin {100 * roi.margin:.3g} %, {background}, {roi.side_px} px"
