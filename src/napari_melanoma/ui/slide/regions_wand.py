"""The magic wand of the Regions section: click on a color, drag or turn the wheel to change the tolerance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.slide.pixel_tools import PixelTool, find_window
from napari_melanoma.ui.viewer import slide_layers

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

    from napari_melanoma.slides.region_wand import ColorFlood
    from napari_melanoma.slides.regions import RegionClass
    from napari_melanoma.ui.slide.shape_layers import Keys
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

MAX_CELLS = 2_000_000  # of a read area: 0.2 s
TOLERANCE_PER_PX = 0.15  # of the screen, by which the mouse is dragged
TOLERANCE_PER_NOTCH = 2.0  # of the mouse wheel


class RegionWand(PixelTool):
    """Find areas of similar color with the mouse.

    While the tool is active, its layer shows the area that is found. ``found``: its polygons. ``tolerance_changed``: by
    dragging or the wheel.
    """

    found = Signal(object)
    tolerance_changed = Signal(float)
    failed = Signal(object)

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(viewer, parent, "painting")
        self._region_class: RegionClass | None = None
        self.tolerance, self.reach = 0.0, 0.0

    def start(self, slide: ViewerSlide, region_class: RegionClass, keys: Keys) -> None:
        """Activate the tool."""
        layer = self.add_layer(slide, keys)
        layer.mouse_wheel_callbacks.append(self._on_wheel)
        self.set_class(region_class)

    def set_class(self, region_class: RegionClass) -> None:
        """Show what is found in the color of a class."""
        from napari.utils.colormaps import DirectLabelColormap

        self._region_class = region_class
        layer = self.layer
        if layer is not None:
            color = tuple(value / 255 for value in region_class.color)
            layer.colormap = DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: color})

    def _on_wheel(self, layer: Labels, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Change the tolerance while Shift is held, when napari does not zoom."""
        if "Shift" in event.modifiers:
            notches = float(sum(event.delta))  # some systems turn the direction of the wheel with Shift
            self.tolerance = _clip_tolerance(self.tolerance + TOLERANCE_PER_NOTCH * notches)
            self.tolerance_changed.emit(self.tolerance)

    def _on_press(self, layer: Labels, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Find the area around the point; dragging to the right increases the tolerance."""
        slide = self._slide
        if slide is None or str(layer.mode) != "pick" or event.button != 1:
            return
        start, tolerance = float(event.pos[0]), self.tolerance
        try:
            flood = self._read_flood(slide, slide.to_slide(tuple(event.position[-2:])))
        except MelanomaError as error:
            self.failed.emit(error)
            return
        slide_layers.set_placement(slide, layer, flood.placement)
        self._preview(layer, flood, tolerance)
        yield
        while event.type == "mouse_move":
            now = _clip_tolerance(self.tolerance + TOLERANCE_PER_PX * (float(event.pos[0]) - start))
            if now != tolerance:
                tolerance = now
                self.tolerance_changed.emit(tolerance)
                self._preview(layer, flood, tolerance)
            yield
        self.tolerance = tolerance
        _clear(layer)
        try:
            self.found.emit(flood.polygons(tolerance))
        except MelanomaError as error:
            self.failed.emit(error)

    def _read_flood(self, slide: ViewerSlide, point: tuple[float, float]) -> ColorFlood:
        """Read the displayed colors around a point, within the view."""
        from napari_melanoma.slides.region_wand import ColorFlood

        reach = self.reach / slide.pixel_um[0], self.reach / slide.pixel_um[1]
        window = find_window(self._viewer, slide, point, reach, MAX_CELLS)
        return ColorFlood(window.read_colors(), window.placement, point, self.reach, slide.pixel_um)

    def _preview(self, layer: Labels, flood: ColorFlood, tolerance: float) -> None:
        """Show the area."""
        import numpy as np

        layer.data = flood.mask(tolerance).astype(np.uint8)


def _clip_tolerance(tolerance: float) -> float:
    from napari_melanoma.slides.region_wand import TOLERANCES

    return round(min(max(tolerance, TOLERANCES[0]), TOLERANCES[1]), 1)


def _clear(layer: Labels) -> None:
    """Show nothing."""
    import numpy as np

    layer.data = np.zeros((1, 1), np.uint8)
