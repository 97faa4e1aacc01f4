"""Magnification and rotation of the view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QWidget

from napari_melanoma.ui.viewer import camera as slide_camera
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import fly, holds, seen
from napari_melanoma.ui.viewer.view_memory import fit
from napari_melanoma.ui.widgets.look import named, quiet, tool
from napari_melanoma.ui.widgets.number_box import show_value

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.slide.controls import SlideControls
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

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


QUARTER, FULL = 90.0, 360.0


class Rotation(QWidget):
    """Quarter turns, and an angle.

    ``wanted``: the slide shall be turned so far, in degrees clockwise from how it was scanned.
    """

    wanted = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        named(self, "rotation", "Rotation of the view")
        left = tool("rotate_left", "Turn left", "Turn the view a quarter to the left", "↺ 90°")
        right = tool("rotate_right", "Turn right", "Turn the view a quarter to the right", "↻ 90°")
        tip = "Degrees clockwise from how the slide was scanned; what is saved and exported is not turned"
        self.angle = named(QDoubleSpinBox(), "rotation_angle", "Angle of the view", tip)
        self.angle.setRange(-180.0, 180.0)
        self.angle.setDecimals(0)
        self.angle.setSingleStep(5.0)
        self.angle.setSuffix("°")
        self.angle.setWrapping(True)
        self.angle.setKeyboardTracking(False)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (QLabel("turn"), left, right, self.angle):
            layout.addWidget(widget)
        layout.addStretch(1)
        left.clicked.connect(lambda: self.wanted.emit(self.angle.value() - QUARTER))
        right.clicked.connect(lambda: self.wanted.emit(self.angle.value() + QUARTER))
        self.angle.valueChanged.connect(self.wanted)

    def show_angle(self, angle: float) -> None:
        """Show an angle; nothing is turned.

        ``angle``: in degrees clockwise.
        """
        self.angle.blockSignals(True)
        show_value(self.angle, within_half(angle))
        self.angle.blockSignals(False)


class SlideRotating(QObject):
    """Turns the dock's slide: if all of it is in view, it is so afterwards; else the middle stays."""

    turned = Signal()

    def __init__(self, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(dock)
        self._dock, self._viewer = dock, viewer
        dock.rotation.wanted.connect(self._on_wanted)

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide."""
        self._dock.rotation.show_angle(0.0 if slide is None else slide.angle)
        self._dock.rotation.setEnabled(slide is not None)

    def show_kept(self, angle: float) -> None:
        """Turn the slide as it was turned when it was last open.

        ``angle``: in degrees clockwise.
        """
        slide = self._dock.slide
        if slide is not None and slide.angle != angle:
            self._turn(slide, angle)

    def _on_wanted(self, angle: float) -> None:
        slide = self._dock.slide
        if slide is not None:
            self._turn(slide, within_half(angle))
            self.turned.emit()

    def _turn(self, slide: OpenSlide, angle: float) -> None:
        view = seen(self._viewer, slide)
        whole = holds(view, slide.size)
        slide_layers.set_angle(self._viewer, slide, angle)
        if whole:
            fit(self._viewer, tuple(slide.layers))
        else:
            fly(self._viewer, slide, view.center)
        self._dock.rotation.show_angle(slide.angle)
        self._dock.showing.follow()


def within_half(angle: float) -> float:
    """Give an angle as one between -180 and 180 degrees.

    ``angle``: in degrees. Returns the same direction; 180 rather than -180.
    """
    return FULL / 2 - (FULL / 2 - angle) % FULL
