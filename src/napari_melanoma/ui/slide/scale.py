"""The scale of a slide, where its file has none or lies: a number, or a line drawn over a known length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QFrame, QPushButton, QVBoxLayout

from napari_melanoma.core.errors import MelanomaError, ScaleMissing
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.ui.look import named, quiet, row
from napari_melanoma.ui.slide import layers as slide_layers

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.ui.settings import Settings
    from napari_melanoma.ui.slide.layers import OpenSlide

USUAL_UM = 0.5  # of a scan at 20x


class SlideScale(QFrame):
    """Asks for micrometres per pixel, or for a line and its length.

    ``wanted``: the user says that pixels have this ``PixelSize``; None for what the file says.
    """

    wanted = Signal(object)
    failed = Signal(object)

    def __init__(self, viewer: Viewer, settings: Settings) -> None:
        super().__init__()
        named(self, "notice", "Scale").setToolTip("")
        self._viewer, self._settings = viewer, settings
        self._slide: OpenSlide | None = None
        self._number = _box("scale_number", "Micrometres per pixel", (0.01, 100.0), " µm/px", 4)
        self._set_number = named(QPushButton("Set"), "scale_set", "Set the scale", "Every pixel has this size")
        self._length = _box("scale_length", "Length of the line", (0.1, 1e6), " µm", 1)
        self._length.setValue(float(settings.kept("slide/ruler_um", 1000.0)))
        self._set_line = named(
            QPushButton("Set by line"), "scale_ruler", "Set the scale by the line", "Take the last line"
        )
        self._clear = named(QPushButton("Clear"), "scale_clear", "Clear the scale", "Back to the scale of the file")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(quiet("What you set here is kept with the results, as set by you."))
        layout.addWidget(row(self._number, self._set_number, self._clear, stretch=0))
        layout.addWidget(quiet("Or draw a line over a known length on the slide:"))
        layout.addWidget(row(self._length, self._set_line, stretch=0))
        self._set_number.clicked.connect(self._on_number)
        self._set_line.clicked.connect(self._on_line)
        self._clear.clicked.connect(lambda: self.wanted.emit(None))
        self.hide()

    def start(self, slide: OpenSlide) -> None:
        """Show the panel, and put the line tool into the user's hand."""
        from napari.layers import Shapes

        self._slide = slide
        size = slide.info.pixel_size
        self._number.setValue(USUAL_UM if size is None else size.x_um)
        width = max(slide.size) / 400

        def make() -> Shapes:
            return Shapes(ndim=2, edge_color="yellow", edge_width=width)

        line = slide_layers.put(self._viewer, slide, "ruler", make)
        line.visible = True
        line.current_edge_width, line.current_edge_color = width, "yellow"
        self._viewer.layers.selection.active = line
        line.mode = "add_line"
        self.show()

    def stop(self) -> None:
        """Put the tool away; a line that was drawn stays."""
        line = None if self._slide is None else slide_layers.part(self._viewer, self._slide, "ruler")
        if line is not None:
            line.mode = "pan_zoom"
            if not len(line.data):
                self._viewer.layers.remove(line)
        self._slide = None
        self.hide()

    def _on_number(self) -> None:
        self.wanted.emit(PixelSize(self._number.value(), self._number.value(), "given"))

    def _on_line(self) -> None:
        slide = self._slide
        line = None if slide is None else slide_layers.part(self._viewer, slide, "ruler")
        try:
            if slide is None or line is None or not len(line.data):
                raise ScaleMissing("there is no line yet: draw one over a known length, then set the scale.")
            start, *_, end = line.data[-1]
            size = PixelSize.from_ruler(tuple(start[-2:]), tuple(end[-2:]), self._length.value() / 1000)
        except MelanomaError as error:
            self.failed.emit(error)
            return
        self._settings.keep("slide/ruler_um", self._length.value())
        self.wanted.emit(size)


def _box(name: str, spoken: str, limits: tuple[float, float], suffix: str, decimals: int) -> QDoubleSpinBox:
    box = named(QDoubleSpinBox(), name, spoken)
    box.setDecimals(decimals)
    box.setRange(*limits)
    box.setSuffix(suffix)
    return box
