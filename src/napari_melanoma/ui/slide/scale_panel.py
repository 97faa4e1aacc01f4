"""The panel of the Slide dock that sets the scale of a slide, by a number or by a line of known length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QPushButton, QVBoxLayout

from napari_melanoma.core.errors import MelanomaError, ScaleMissing
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.shape_layers import end_lines_at_pointer, get_ruler_ends, line_width
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
from napari_melanoma.ui.widgets.number_box import DecimalBox
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import named, quiet_label, row

if TYPE_CHECKING:
    from napari.utils.events import Event
    from napari.viewer import Viewer


DEFAULT_UM_PER_PX = 0.5  # usual for a scan at 20x


class SlideScalePanel(QFrame):
    """Set the scale by a number of micrometers per pixel, or by a line of known length.

    ``pixel_size_changed``: the ``PixelSize`` that the user set; None for that of the file.
    """

    pixel_size_changed = Signal(object)
    failed = Signal(object)
    drawn = Signal()  # a line

    def __init__(self, viewer: Viewer, settings: DockSettings) -> None:
        super().__init__()
        named(self, "notice", "Scale").setToolTip("")
        self._viewer, self._settings = viewer, settings
        self._slide: ViewerSlide | None = None
        self._number = _create_number_box("scale_number", "Micrometers per pixel", (0.01, 100.0), " µm/px", 4)
        self._set_number = named(QPushButton("Set"), "scale_set", "Set the scale", "Use this pixel size")
        self._length = _create_number_box("scale_length", "Length of the line", (0.1, 1e6), " µm", 1)
        self._length.setValue(float(settings.get("slide/ruler_um", 1000.0)))
        self._set_line = named(
            QPushButton("Set by line"), "scale_ruler", "Set the scale by the line", "Use the last line"
        )
        self._clear = named(QPushButton("Reset"), "scale_clear", "Reset the scale", "Restore the scale of the file")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(quiet_label("The scale that you set is saved with the results."))
        layout.addWidget(row(self._number, self._set_number, self._clear, stretch=0))
        layout.addWidget(quiet_label("Or draw a line over a known length on the slide:"))
        layout.addWidget(row(self._length, self._set_line, stretch=0))
        self._set_number.clicked.connect(self._on_number)
        self._set_line.clicked.connect(self._on_line)
        self._clear.clicked.connect(lambda: self.pixel_size_changed.emit(None))
        self.hide()

    def start(self, slide: ViewerSlide) -> None:
        """Show the panel, and activate the line tool."""
        from napari.layers import Shapes

        self._slide = slide
        size = slide.info.pixel_size
        self._number.setValue(DEFAULT_UM_PER_PX if size is None else size.x_um)
        width = line_width(self._viewer, slide, "ruler")

        def create_layer() -> Shapes:
            created = Shapes(ndim=2, edge_color="yellow", edge_width=width)
            end_lines_at_pointer(created)
            return created

        layer = slide_layers.get_or_add_layer(self._viewer, slide, "ruler", create_layer)
        layer.visible = True
        layer.current_edge_width, layer.current_edge_color = width, "yellow"
        self._viewer.layers.selection.active = layer
        layer.mode = "add_line"
        layer.events.data.connect(self._on_data)
        self.show()

    def stop(self) -> None:
        """Deactivate the line tool; a drawn line stays."""
        layer = None if self._slide is None else slide_layers.find_layer(self._viewer, self._slide, "ruler")
        if layer is not None:
            layer.mode = "pan_zoom"
            layer.events.data.disconnect(self._on_data)
            if not len(layer.data):
                self._viewer.layers.remove(layer)
        self._slide = None
        self.hide()

    def _on_data(self, event: Event) -> None:
        self.drawn.emit()

    def _on_number(self) -> None:
        width = self._number.value()
        aspect = 1.0 if self._slide is None else _get_aspect(self._slide)
        self.pixel_size_changed.emit(PixelSize(width * aspect, width, "given"))

    def _on_line(self) -> None:
        slide = self._slide
        layer = None if slide is None else slide_layers.find_layer(self._viewer, slide, "ruler")
        try:
            if slide is None or layer is None or not len(layer.data):
                raise ScaleMissing("there is no line yet: draw one over a known length, then set the scale.")
            length_mm = self._length.value() / 1000
            size = PixelSize.from_ruler(*get_ruler_ends(layer), length_mm, _get_aspect(slide))
        except MelanomaError as error:
            self.failed.emit(error)
            return
        self._settings.set("slide/ruler_um", self._length.value())
        self.pixel_size_changed.emit(size)


def _get_aspect(slide: ViewerSlide) -> float:
    """Return the height of a pixel divided by its width, as the file states it; 1 if it states no scale."""
    size = slide.slide.info.pixel_size
    return 1.0 if size is None else size.y_um / size.x_um


def _create_number_box(
    name: str, accessible_name: str, limits: tuple[float, float], suffix: str, decimals: int
) -> DecimalBox:
    box = named(DecimalBox(), name, accessible_name)
    box.setDecimals(decimals)
    box.setRange(*limits)
    box.setSuffix(suffix)
    return box
