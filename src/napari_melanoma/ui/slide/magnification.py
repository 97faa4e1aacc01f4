"""Magnification and rotation of the view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QWidget

from napari_melanoma.ui.viewer import camera as slide_camera
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import center_view, get_visible_region, shows_whole_slide
from napari_melanoma.ui.viewer.view_memory import fit_view
from napari_melanoma.ui.widgets.number_box import set_spin_box_value
from napari_melanoma.ui.widgets.style import named, quiet_label, tool_button

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

UM_AT_1X = 10.0  # per screen pixel at 1x; a 20x scan has 0.5 µm per pixel
STEPS = (1, 2, 4, 5, 10, 20, 40)
TOLERANCE = 0.02  # relative: closer than this, the view counts as having a magnification
SCANNER_TOLERANCE = 1.1  # scanners report 40x for 0.23 to 0.27 µm per pixel
FOLLOW_MS = 50
NO_SCALE = "Magnification requires the pixel size: set the scale with the ruler button at the top"


class MagnificationButtons(QWidget):
    """Buttons for magnifications, and the magnification of the view."""

    magnification_requested = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        named(self, "magnification", "Magnification")
        self._value_label = named(quiet_label(), "magnification_now", "Magnification of the view")
        self._value_label.setToolTip(f"Magnification of the view: 1x is {UM_AT_1X:g} µm per screen pixel")
        self._buttons = {
            step: tool_button(f"magnify_{step}", f"{step}x", "", f"{step}x", checkable=True) for step in STEPS
        }
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(1)
        for step, button in self._buttons.items():
            button.clicked.connect(lambda _=False, step=step: self.magnification_requested.emit(float(step)))
            layout.addWidget(button)
        layout.addStretch(1)
        layout.addWidget(self._value_label)

    def show_native(self, native: float | None) -> None:
        """Enable the magnifications up to that of the scan.

        ``native``: magnification at which a pixel of the slide fills one of the screen; None without a scale.
        """
        for step, button in self._buttons.items():
            fits = native is not None and step <= native * SCANNER_TOLERANCE
            button.setEnabled(fits)
            blocker = NO_SCALE if native is None else f"The slide was scanned at {native:.3g}x only"
            button.setToolTip(f"Magnify {step}x, about the center of the view" if fits else blocker)

    def show_magnification(self, magnification: float | None) -> None:
        """Show the magnification of the view."""
        self._value_label.setText("" if magnification is None else f"{magnification:.3g}x")
        for step, button in self._buttons.items():
            button.setChecked(magnification is not None and abs(magnification / step - 1) < TOLERANCE)


class MagnificationController(QObject):
    """Synchronize the buttons with the camera, and zoom."""

    def __init__(self, context: SlideContext, buttons: MagnificationButtons) -> None:
        super().__init__(context)
        self._viewer, self._buttons = context.viewer, buttons
        self._slide: ViewerSlide | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(FOLLOW_MS)
        self._timer.timeout.connect(self.update_magnification)
        context.connections.connect(slide_camera.get_camera(self._viewer).events.zoom, self._on_zoom)
        self._buttons.magnification_requested.connect(self._on_magnification_requested)

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide, or the same with another scale."""
        self._slide = slide
        size = None if slide is None else slide.info.pixel_size
        self._buttons.show_native(None if size is None else UM_AT_1X / size.x_um)
        self.update_magnification()

    def update_magnification(self) -> None:
        """Show the current magnification of the view."""
        scaled = self._slide is not None and self._slide.info.pixel_size is not None
        self._buttons.show_magnification(get_magnification(self._viewer) if scaled else None)

    def _on_zoom(self, event: object = None) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _on_magnification_requested(self, magnification: float) -> None:
        slide_camera.get_camera(self._viewer).zoom = magnification / UM_AT_1X
        self.update_magnification()


def get_magnification(viewer: Viewer) -> float:
    """Return the magnification of a viewer with world units of micrometers: 10 for one micrometer per screen pixel."""
    return float(slide_camera.get_camera(viewer).zoom) * UM_AT_1X


QUARTER, FULL = 90.0, 360.0


class RotationControls(QWidget):
    """Buttons for quarter turns, and a field for the angle in degrees clockwise from the scanned orientation."""

    angle_requested = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        named(self, "rotation", "Rotation of the view")
        left = tool_button("rotate_left", "Rotate left", "Rotate the view by 90° to the left", "↺ 90°")
        right = tool_button("rotate_right", "Rotate right", "Rotate the view by 90° to the right", "↻ 90°")
        tip = "Degrees clockwise from the scanned orientation; saved and exported data are not rotated"
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
        for widget in (QLabel("rotate"), left, right, self.angle):
            layout.addWidget(widget)
        layout.addStretch(1)
        left.clicked.connect(lambda: self.angle_requested.emit(self.angle.value() - QUARTER))
        right.clicked.connect(lambda: self.angle_requested.emit(self.angle.value() + QUARTER))
        self.angle.valueChanged.connect(self.angle_requested)

    def show_angle(self, angle: float) -> None:
        """Show an angle in degrees clockwise, without rotating the slide."""
        self.angle.blockSignals(True)
        set_spin_box_value(self.angle, normalize_angle(angle))
        self.angle.blockSignals(False)


class RotationController(QObject):
    """Rotate the displayed slide: a view of the whole slide is fitted again, else the center stays."""

    rotated = Signal()
    view_changed = Signal()

    def __init__(self, context: SlideContext, controls: RotationControls) -> None:
        super().__init__(context)
        self._context, self._viewer, self._controls = context, context.viewer, controls
        controls.angle_requested.connect(self._on_angle_requested)

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide."""
        self._controls.show_angle(0.0 if slide is None else slide.angle)
        self._controls.setEnabled(slide is not None)

    def restore_angle(self, angle: float) -> None:
        """Rotate the slide as it was saved, by an angle in degrees clockwise."""
        slide = self._context.slide
        if slide is not None and slide.angle != angle:
            self._rotate(slide, angle)

    def _on_angle_requested(self, angle: float) -> None:
        slide = self._context.slide
        if slide is not None:
            self._rotate(slide, normalize_angle(angle))
            self.rotated.emit()

    def _rotate(self, slide: ViewerSlide, angle: float) -> None:
        view = get_visible_region(self._viewer, slide)
        whole = shows_whole_slide(view, slide.size)
        slide_layers.set_angle(self._viewer, slide, angle)
        if whole:
            fit_view(self._viewer, tuple(slide.layers))
        else:
            center_view(self._viewer, slide, view.center)
        self._controls.show_angle(slide.angle)
        self.view_changed.emit()


def normalize_angle(angle: float) -> float:
    """Return an angle in degrees as one above -180 and up to 180."""
    return FULL / 2 - (FULL / 2 - angle) % FULL
