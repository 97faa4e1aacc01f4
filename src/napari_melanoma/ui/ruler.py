"""The ruler: a line drawn over a known length gives every layer of the photograph its scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QFrame, QPushButton, QVBoxLayout

from napari_melanoma.core.errors import MelanomaError, ScaleMissing
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.ui import layers, linked
from napari_melanoma.ui.look import named, quiet, row
from napari_melanoma.ui.photographs import aspect, in_words

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.ui.settings import Settings


class RulerPanel(QFrame):
    """Asks for a line and its length, and sets or clears the scale."""

    said = Signal(str)
    failed = Signal(object)

    def __init__(self, viewer: Viewer, settings: Settings) -> None:
        super().__init__()
        self.setObjectName("notice")
        self._viewer = viewer
        self._settings = settings
        self._image: Image | None = None
        self._length = named(QDoubleSpinBox(), "ruler_length", "Length of the line", "True length of the line, in mm")
        self._length.setRange(0.01, 1000)
        self._length.setDecimals(2)
        self._length.setSuffix(" mm")
        self._length.setValue(settings.ruler_mm)
        self._set = named(QPushButton("Set scale"), "ruler_set", "Set scale", "Take the last line that was drawn")
        self._clear = named(QPushButton("Clear"), "ruler_clear", "Clear scale", "Back to the scale of the file")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(quiet("Draw a line over a known length, such as 10 mm of the ruler in the photograph."))
        layout.addWidget(row(self._length, self._set, self._clear, stretch=0))
        self._set.clicked.connect(self._on_set)
        self._clear.clicked.connect(self._on_clear)
        self.hide()

    def start(self, image: Image) -> None:
        """Put the line tool into the user's hand."""
        self._image = image
        line = layers.ruler(self._viewer, image)
        line.visible = True
        self._viewer.layers.selection.active = line
        line.mode = "add_line"
        self.show()

    def stop(self) -> None:
        """Put the tool away; the line stays as it is."""
        line = None if self._image is None else linked.part(self._viewer, self._image, "ruler")
        if line is not None:
            line.mode = "pan_zoom"
        self._image = None
        self.hide()

    def _on_set(self) -> None:
        image = self._image
        line = None if image is None else linked.part(self._viewer, image, "ruler")
        try:
            if image is None or line is None or not line.data:
                raise ScaleMissing("there is no line yet: draw one over a known length, then set the scale.")
            start, *_, end = line.data[-1]
            length_mm = self._length.value()
            size = PixelSize.from_ruler(tuple(start[-2:]), tuple(end[-2:]), length_mm, aspect(image))
        except MelanomaError as error:
            self.failed.emit(error)
            return
        self._settings.ruler_mm = length_mm
        linked.set_pixel_size(self._viewer, image, size)
        self.said.emit(f"{image.name}: {in_words(size)} per pixel, from a line of {length_mm:g} mm.")

    def _on_clear(self) -> None:
        image = self._image
        if image is not None:
            linked.set_pixel_size(self._viewer, image, None)
            line = linked.part(self._viewer, image, "ruler")
            if line is not None:
                line.data = []
            self.said.emit(f"{image.name}: the scale that was drawn is cleared.")
