"""The magic wand of the Regions section: click on a color, drag or turn the wheel to change the tolerance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.slide.pixel_tools import PixelTool, find_window
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Labels
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.map_placement import MapPlacement
    from napari_melanoma.core.polygons import Polygon
    from napari_melanoma.slides.region_wand import ColorFlood
    from napari_melanoma.slides.regions import RegionClass
    from napari_melanoma.ui.slide.shape_layers import Keys
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

MAX_CELLS = 2_000_000  # of a read area: 0.2 s
NOTHING_FOUND = "Hardly any color around this point is so similar. Increase the tolerance, or zoom in."
TOLERANCE_PER_PX = 0.15  # of the screen, by which the mouse is dragged
TOLERANCE_PER_NOTCH = 2.0  # of the mouse wheel


class RegionWand(PixelTool):
    """Find areas of similar color with the mouse.

    While the tool is active, its layer shows the area that is found. The window does not wait for it: the slide may be
    on a slow drive. ``found``: its polygons. ``tolerance_changed``: by dragging or the wheel.
    """

    found = Signal(object)
    tolerance_changed = Signal(float)
    failed = Signal(object)
    message = Signal(str)

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(viewer, parent, "painting")
        self._region_class: RegionClass | None = None
        self._press: _Press | None = None
        self.tolerance, self.reach = 0.0, 0.0
        self._queue = LatestJobQueue(self)
        self._queue.succeeded.connect(self._on_found)
        self._queue.failed.connect(self._on_failed)

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
        press = self._press = _Press(self._find_flood(slide, slide.to_slide(tuple(event.position[-2:]))), tolerance)
        self._queue.submit(press.key, press.preview)
        yield
        while event.type == "mouse_move":
            now = _clip_tolerance(tolerance + TOLERANCE_PER_PX * (float(event.pos[0]) - start))
            if now != press.tolerance:
                press.tolerance = now
                self.tolerance_changed.emit(now)
                self._queue.submit(press.key, press.preview)
            yield
        self.tolerance = press.tolerance
        self._queue.submit(press.key, press.finish)

    def _find_flood(self, slide: ViewerSlide, point: tuple[float, float]) -> Callable[[], ColorFlood]:
        """Return a function that reads the displayed colors around a point, within the view, in any thread."""
        reach, pixel_um = self.reach, slide.pixel_um
        window = find_window(self._viewer, slide, point, (reach / pixel_um[0], reach / pixel_um[1]), MAX_CELLS)

        def read() -> ColorFlood:
            from napari_melanoma.slides.region_wand import ColorFlood

            return ColorFlood(window.read_colors(), window.placement, point, reach, pixel_um)

        return read

    def stop(self) -> None:
        """Deactivate the tool."""
        self._press = None
        self._queue.cancel()
        super().stop()

    def _on_found(self, found: _Preview | tuple[Polygon, ...]) -> None:
        """Show the area while the button is held, and emit it afterwards."""
        layer, slide = self.layer, self._slide
        if isinstance(found, tuple):
            if layer is not None and not self._queue.busy:
                _clear(layer)
            if found:
                self.found.emit(found)
            else:
                self.message.emit(NOTHING_FOUND)
        elif layer is not None and slide is not None and found.press is self._press:
            slide_layers.set_placement(slide, layer, found.placement)
            layer.data = found.mask

    def _on_failed(self, error: Exception) -> None:
        layer = self.layer
        if layer is not None:
            _clear(layer)
        self.failed.emit(error)


class _Press:
    """A press of the button: the area around its point, in jobs that run one at a time.

    ``tolerance``: the current one, changed by dragging.
    """

    def __init__(self, read: Callable[[], ColorFlood], tolerance: float) -> None:
        self.key, self.tolerance = uuid4().hex, tolerance
        self._flood = cache(read)

    def preview(self) -> JobFunction:
        """Return the job that finds the area at the current tolerance."""
        tolerance = self.tolerance

        def find(run: RunContext) -> _Preview:
            flood = self._flood()
            return _Preview(self, flood.placement, flood.mask(tolerance).astype("uint8"))

        return find

    def finish(self) -> JobFunction:
        """Return the job that finds the outlines of the area at the current tolerance."""
        tolerance = self.tolerance
        return lambda run: self._flood().polygons(tolerance)


@dataclass(frozen=True)
class _Preview:
    """The area that is shown while the button is held: uint8 (row, column), 1 in the area."""

    press: _Press
    placement: MapPlacement
    mask: NDArray[np.uint8]


def _clip_tolerance(tolerance: float) -> float:
    from napari_melanoma.slides.region_wand import TOLERANCES

    return round(min(max(tolerance, TOLERANCES[0]), TOLERANCES[1]), 1)


def _clear(layer: Labels) -> None:
    """Show nothing."""
    import numpy as np

    layer.data = np.zeros((1, 1), np.uint8)
