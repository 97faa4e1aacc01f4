"""What the Mask and Region sections do to the photograph that they show, also when it has just left the view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_melanoma.ui.choosing import Choosing

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.lesion.work import LesionWork


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
