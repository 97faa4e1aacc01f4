"""Magnifications as on a microscope: buttons from 1x to 40x, and which one the view has now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_melanoma.ui.look import named, quiet, tool
from napari_melanoma.ui.slide import camera as slide_camera

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.slide.controls import SlideControls
    from napari_melanoma.ui.slide.layers import OpenSlide

UM_AT_1X = 10.0  # what a pixel of the screen shows at 1x; a scan at 20x has 0.5 µm a pixel
STEPS = (1, 2, 4, 5, 10, 20, 40)
SAME = 0.02  # of a magnification: so near, the view counts as having it
BEYOND = 1.1  # scanners say 40x of 0.23 to 0.27 µm a pixel
FOLLOW_MS = 50
NO_SCALE = "A magnification needs the size of a pixel: set the scale with the ruler, at the top"


class Magnification(QWidget):
    """A row of buttons, and the magnification of the view."""

    wanted = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        named(self, "magnification", "Magnification")
        self._now = named(quiet(), "magnification_now", "Magnification of the view")
        self._now.setToolTip(f"Magnification of the view: {UM_AT_1X:g} µm a pixel of the screen is 1x")
        self._buttons = {step: tool(f"magnify_{step}", f"{step}x", "", f"{step}x", checkable=True) for step in STEPS}
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(1)
        for step, button in self._buttons.items():
            button.clicked.connect(lambda _=False, step=step: self.wanted.emit(float(step)))
            layout.addWidget(button)
        layout.addStretch(1)
        layout.addWidget(self._now)

    def show_native(self, native: float | None) -> None:
        """Offer what the slide has.

        ``native``: magnification at which a pixel of the slide fills one of the screen; None without a scale.
        """
        for step, button in self._buttons.items():
            fits = native is not None and step <= native * BEYOND
            button.setEnabled(fits)
            finer = "" if native is None else f"The slide was scanned at {native:.3g}x: there is nothing finer to see"
            button.setToolTip(f"Magnify {step}x, about the middle of the view" if fits else finer or NO_SCALE)

    def show_now(self, magnification: float | None) -> None:
        """Say which one the view has."""
        self._now.setText("" if magnification is None else f"{magnification:.3g}x")
        for step, button in self._buttons.items():
            button.setChecked(magnification is not None and abs(magnification / step - 1) < SAME)


class SlideMagnifying(QObject):
    """Keeps the buttons in step with the camera, and zooms."""

    def __init__(self, viewer: Viewer, controls: SlideControls) -> None:
        super().__init__(controls)
        self._viewer, self._buttons = viewer, controls.magnification
        self._slide: OpenSlide | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(FOLLOW_MS)
        self._timer.timeout.connect(self.follow)
        controls.connections.connect(slide_camera.camera(viewer).events.zoom, self._on_zoom)
        self._buttons.wanted.connect(self._on_wanted)

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide, or the same with another scale."""
        self._slide = slide
        size = None if slide is None else slide.info.pixel_size
        self._buttons.show_native(None if size is None else UM_AT_1X / size.x_um)
        self.follow()

    def follow(self) -> None:
        """Say the magnification of the view."""
        scaled = self._slide is not None and self._slide.info.pixel_size is not None
        self._buttons.show_now(magnification_of(self._viewer) if scaled else None)

    def _on_zoom(self, event: object = None) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _on_wanted(self, magnification: float) -> None:
        slide_camera.camera(self._viewer).zoom = magnification / UM_AT_1X
        self.follow()


def magnification_of(viewer: Viewer) -> float:
    """Say the magnification of a viewer whose world is in micrometres.

    10 where a pixel of the screen is one micrometre.
    """
    return float(slide_camera.camera(viewer).zoom) * UM_AT_1X
