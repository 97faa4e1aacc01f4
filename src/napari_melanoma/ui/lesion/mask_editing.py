"""Edits of the mask: refinement, chosen lesion, and options of one photograph or all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_melanoma.lesion.analysis import LesionOptions
from napari_melanoma.ui.lesion.state import MASK, REGION, same

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.lesion.work import LesionWork
    from napari_melanoma.ui.widgets.settings import Settings

PICK = "Click on the lesion that is meant."


class Correcting(QObject):
    """Takes what the user does with threshold, refinement, strokes and region to the photograph in view."""

    def __init__(self, controls: LesionControls, work: LesionWork, viewer: Viewer) -> None:
        super().__init__(controls)
        self._controls = controls
        self._work = work
        self._subject: str | None = None
        self._choosing = Choosing(viewer, self._on_chosen)
        controls.mask_controls.moved.connect(self._on_threshold)
        controls.mask_controls.settled.connect(self._on_mask)
        controls.mask_controls.reverted.connect(self._on_revert)
        controls.roi.settled.connect(self._on_region)
        controls.correction.strokes_layer.connect(work.watcher.watch)
        controls.correction.applied.connect(self._on_strokes)
        controls.correction.chosen.connect(self._on_choose)

    @property
    def subject(self) -> str | None:
        """Identity of the photograph whose values the controls show."""
        return self._subject

    def turn_to(self, identity: str | None) -> None:
        """Be about another photograph; what was set for the one before is done to that one."""
        self.stop()
        self.settle()
        self._subject = identity

    def settle(self) -> None:
        """Do at once what waits until the controls rest."""
        self._controls.mask_controls.settling.now()
        self._controls.roi.settling.now()

    def stop(self) -> None:
        """Wait for no click any more."""
        self._controls.correction.buttons["choose"].setChecked(False)
        self._choosing.stop()

    def _identity(self) -> str | None:
        """Identity of the photograph that the controls show, where it was analysed and still has its mask."""
        identity = self._subject
        return identity if identity is not None and self._work.book.mask(identity) is not None else None

    def _uncorrected(self) -> str | None:
        """The same, where the mask is the model's: none of the controls may replace one that was drawn."""
        identity = self._identity()
        return None if identity is None or self._work.book.lesions[identity].corrected else identity

    def _on_threshold(self) -> None:
        identity = self._uncorrected()
        if identity is not None:
            self._work.preview(identity)

    def _on_mask(self) -> None:
        identity = self._uncorrected()
        if identity is not None:
            self._work.rederive(identity)

    def _on_revert(self) -> None:
        identity = self._identity()
        if identity is not None:
            self._work.rederive(identity)

    def _on_region(self) -> None:
        identity = self._identity()
        if identity is not None:
            self._work.measure_again(identity)

    def _on_strokes(self) -> None:
        identity = self._identity()
        if identity is not None:
            self._work.redraw(identity)

    def _on_choose(self, on: bool) -> None:
        image = self._controls.picker.image
        if on and image is not None and self._identity() is not None:
            self._controls.status.say(PICK)
            self._choosing.start(image)
        else:
            self._choosing.stop()
            if self._controls.status.text == PICK:
                self._controls.status.say("")

    def _on_chosen(self, point: tuple[int, int]) -> None:
        self.stop()
        identity = self._identity()
        if identity is None:
            return
        if self._work.book.lesions[identity].corrected:
            self._controls.status.say("The mask is corrected by hand: go back to the model's mask first, then choose.")
        else:
            self._controls.status.say("")
            self._work.rederive(identity, point)


class Choosing:
    """Waits for a click on a photograph.

    ``chosen``: takes row and column of the pixel.
    """

    def __init__(self, viewer: Viewer, chosen: Callable[[tuple[int, int]], None]) -> None:
        self._viewer = viewer
        self._chosen = chosen
        self._image: Image | None = None

    def start(self, image: Image) -> None:
        """Wait for a click."""
        self.stop()
        self._image = image
        active = self._viewer.layers.selection.active
        if active is not None and hasattr(active, "mode"):
            active.mode = "pan_zoom"  # the click shall not paint
        self._viewer.mouse_drag_callbacks.append(self._on_click)

    def stop(self) -> None:
        """Wait no longer."""
        callbacks = self._viewer.mouse_drag_callbacks
        if self._on_click in callbacks:
            callbacks.remove(self._on_click)
        self._image = None

    def _on_click(self, viewer: Any, event: Any) -> None:  # noqa: ANN401 - napari's, called by it
        image = self._image
        if image is None:
            return
        row, column = (round(float(value)) for value in image.world_to_data(event.position)[-2:])
        rows, columns = (image.data[0] if image.multiscale else image.data).shape[:2]
        if 0 <= row < rows and 0 <= column < columns:
            self._chosen((row, column))


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


COMMON = ("model", "flips")  # settings of the dock: they hold for every analysis that is started


@dataclass
class OwnOptions:
    """Options by the identity of a photograph; those of a photograph without its own are the ones for all."""

    settings: Settings
    _own: dict[str, LesionOptions] = field(default_factory=dict)

    @property
    def for_all(self) -> LesionOptions:
        """The options of photographs for which nothing else was set by hand."""
        return self.settings.options

    def of(self, identity: str | None) -> LesionOptions:
        """Give the options of a photograph.

        Its own where a value was set by hand, else those for all.
        """
        return self._own.get(str(identity), self.for_all)

    def set(self, identity: str, options: LesionOptions) -> None:
        """Keep what was set by hand for a photograph."""
        self._own[identity] = options

    def forget(self, identity: str) -> None:
        """Forget a photograph that was removed."""
        self._own.pop(identity, None)

    def use_for_all(self, options: LesionOptions, names: tuple[str, ...]) -> None:
        """Let values hold for all photographs without their own, now and later."""
        before = self.for_all
        self.settings.options = after = with_fields(before, options, names)
        self._own = {
            identity: with_fields(own, after, names) if same(own, before, names) else own
            for identity, own in self._own.items()
        }


def with_fields(options: LesionOptions, source: LesionOptions, names: tuple[str, ...]) -> LesionOptions:
    """Give options with some fields of others."""
    return options.model_copy(update={name: getattr(source, name) for name in names})
