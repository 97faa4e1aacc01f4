"""A slide turned in the view, by quarters or freely: it and all that was made of it, as one affine of their layers.

Napari turns its camera in 3D alone, so the layers turn, about the middle of the slide; files, results and coordinates
on the slide do not know of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QWidget

from napari_melanoma.ui.look import named, tool
from napari_melanoma.ui.number_box import show_value
from napari_melanoma.ui.slide import layers as slide_layers
from napari_melanoma.ui.slide.camera import fly, holds, seen
from napari_melanoma.ui.view_memory import fit

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.layers import OpenSlide

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
