"""The panel that sets the scale of a photograph with a ruler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QPushButton, QVBoxLayout

from napari_melanoma.core.errors import MelanomaError, ScaleMissing
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.ui.session.photograph_scale import PhotographScale
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.photographs import (
    format_pixel_size,
    get_pixel_aspect,
)
from napari_melanoma.ui.viewer.shape_layers import get_ruler_ends
from napari_melanoma.ui.widgets.number_box import DecimalBox
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import named, quiet_label, row

if TYPE_CHECKING:
    from napari.utils.events import Event
    from napari.viewer import Viewer

    from napari_melanoma.ui.session.open_photograph import OpenPhotograph


DRAW_HINT = "Draw a line over a known length, such as 10 mm of the ruler in the photograph."
MOVE_HINT = "Move the ends of the line or correct its length in mm, then set the scale."


class RulerPanel(QFrame):
    """Sets the scale from a line over a known length, or clears it."""

    scaled = Signal(str)  # what was done
    failed = Signal(object)  # Exception
    drawn = Signal()  # a line

    def __init__(self, viewer: Viewer, settings: DockSettings) -> None:
        super().__init__()
        self.setObjectName("notice")
        self._viewer = viewer
        self._settings = settings
        self._session: OpenPhotograph | None = None
        self._length = named(DecimalBox(), "ruler_length", "Length of the line", "True length of the line, in mm")
        self._length.setRange(0.01, 1000)
        self._length.setDecimals(2)
        self._length.setSuffix(" mm")
        self._length.setValue(settings.ruler_mm)
        self._set_button = named(
            QPushButton("Set scale"), "ruler_set", "Set scale", "Set the scale from the last line drawn"
        )
        self._clear_button = named(QPushButton("Clear"), "ruler_clear", "Clear scale", "Restore the scale of the file")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        self._hint = quiet_label(DRAW_HINT)
        layout.addWidget(self._hint)
        layout.addWidget(row(self._length, self._set_button, self._clear_button, stretch=0))
        self._set_button.clicked.connect(self._on_set)
        self._clear_button.clicked.connect(self._on_clear)
        self.hide()

    def start(self, session: OpenPhotograph) -> None:
        """Activate the line tool; the line of a proposed scale that the user corrects can be moved."""
        self._session, scale = session, session.part(PhotographScale)
        line, drawn = scale.get_ruler_layer(), scale.state.drawn
        is_corrected = scale.state.status == "corrected" and bool(line.data)
        line.visible = True
        self._viewer.layers.selection.active = line
        line.mode = "direct" if is_corrected else "add_line"
        if is_corrected:
            line.selected_data = {len(line.data) - 1}
        if drawn is not None:
            self._length.setValue(drawn.millimeters)
        self._hint.setText(MOVE_HINT if is_corrected else DRAW_HINT)
        line.events.data.connect(self._on_data)
        self.show()

    def stop(self) -> None:
        """Deactivate the line tool; the line is kept."""
        session = self._session
        line = None if session is None else photographs.find_layer(self._viewer, session.image, "ruler")
        if line is not None:
            line.mode = "pan_zoom"
            line.events.data.disconnect(self._on_data)
        self._session = None
        self.hide()

    def _on_data(self, event: Event) -> None:
        self.drawn.emit()

    def _on_set(self) -> None:
        session, image = self._session, None if self._session is None else self._session.image
        line = None if image is None else photographs.find_layer(self._viewer, image, "ruler")
        try:
            if session is None or image is None or line is None or not line.data:
                raise ScaleMissing("there is no line yet. Draw a line over a known length, then set the scale.")
            length_mm = self._length.value()
            size = PixelSize.from_ruler(*get_ruler_ends(line), length_mm, get_pixel_aspect(image))
        except MelanomaError as error:
            self.failed.emit(error)
            return
        self._settings.ruler_mm = length_mm
        session.part(PhotographScale).set_size(size)
        self.scaled.emit(f"{format_pixel_size(size)} per pixel, from a line of {length_mm:g} mm.")

    def _on_clear(self) -> None:
        session = self._session
        if session is not None:
            session.part(PhotographScale).set_size(None)
            line = photographs.find_layer(self._viewer, session.image, "ruler")
            if line is not None:
                line.data = []
            self.scaled.emit("the scale from the ruler was cleared.")
