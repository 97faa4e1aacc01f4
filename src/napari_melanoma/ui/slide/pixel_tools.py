"""Mouse tools that use the displayed pixels of a slide: the magic wand, and clicks that refine outlines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.geometry import Box
from napari_melanoma.core.map_placement import MapPlacement
from napari_melanoma.ui.slide.shape_layers import Keys, bind_keys, remove_tool_layer, to_rgba
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_visible_region, get_zoom
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.style import Connections

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image, Labels
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.polygons import Polygon
    from napari_melanoma.slides.outline_clicks import OutlineClick
    from napari_melanoma.slides.reading.tiled import TiledSlide
    from napari_melanoma.slides.region_wand import ChannelDisplay, ColorFlood
    from napari_melanoma.slides.regions import RegionClass
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide


class PixelTool(QObject):
    """A tool whose layer is active while it works. ``left``: another layer was selected."""

    left = Signal()

    def __init__(self, viewer: Viewer, parent: QObject, role: slide_layers.Role) -> None:
        super().__init__(parent)
        self._viewer, self._role = viewer, role
        self._slide: ViewerSlide | None = None
        self._events = Connections()
        self._events.connect(viewer.layers.selection.events.active, self._on_active)
        self._events.connect_first(viewer.layers.events.removing, self._on_removing)
        self.destroyed.connect(self._events.close)

    @property
    def layer(self) -> Labels | None:
        """The layer; None if the tool is not active."""
        found: Labels | None = None
        if self._slide is not None:
            found = slide_layers.find_layer(self._viewer, self._slide, self._role)
        return found

    def add_layer(self, slide: ViewerSlide, keys: Keys) -> Labels:
        """Activate the tool, and return its layer; the keys work while it is active."""
        slide = _with_all_channels(self._viewer, slide)
        placement = MapPlacement(0.0, 0.0, 1.0, 1.0, slide.info.pixel_size)
        layer: Labels = slide_layers.get_or_add_layer(self._viewer, slide, self._role, _create_layer, placement)
        self._slide = None  # events in between are not changes by the user
        self._viewer.layers.selection.active = layer
        layer.mode = "pick"  # a mode that neither pans nor paints; the space bar pans
        layer.mouse_drag_callbacks.append(self._on_press)
        bind_keys(layer, keys)
        self._slide = slide
        return layer

    def stop(self) -> None:
        """Deactivate the tool."""
        layer, slide = self.layer, self._slide
        self._slide = None
        if layer is not None and slide is not None:
            remove_tool_layer(self._viewer, slide, layer)

    def _on_press(self, layer: Labels, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Follow the mouse from the press to the release."""
        raise NotImplementedError

    def _on_removing(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Deactivate the tool when its layer was removed elsewhere: the layer must not be removed a second time.

        In a window, napari selects another layer before the removed one has left the list.
        """
        if self._slide is not None and self._viewer.layers[event.index] == self.layer:
            self._slide = None
            self.left.emit()

    def _on_active(self, event: object) -> None:
        """React to the selection of another layer."""
        if self._slide is not None and self._viewer.layers.selection.active != self.layer:
            self.left.emit()


def _create_layer() -> Labels:
    import numpy as np
    from napari.layers import Labels

    return Labels(np.zeros((1, 1), np.uint8), opacity=0.45)


@dataclass(frozen=True)
class DisplayedWindow:
    """A part of a level of a slide, and how its channels are displayed; None for a color slide."""

    slide: TiledSlide
    level: int
    box: Box
    placement: MapPlacement
    displays: tuple[ChannelDisplay | None, ...] | None

    def read_colors(self) -> NDArray[np.uint8]:
        """Read the displayed colors, uint8 (row, column, channel=3), in any thread.

        Channels of fluorescence are merged as their layers show them.
        """
        from napari_melanoma.slides.region_wand import merge_channels

        pixels: NDArray[np.uint8] = self.slide.read_region(self.level, self.box)
        return pixels if self.displays is None else merge_channels(pixels, self.displays)


def find_window(
    viewer: Viewer, slide: ViewerSlide, point: tuple[float, float], reach: tuple[float, float], max_cells: int
) -> DisplayedWindow:
    """Find the part of the displayed level that is in view and in reach of a point; coarser if that is large.

    ``point``, ``reach``: (row, column) in pixels of the finest level.
    """
    level, box = _find_box(viewer, slide, point, reach, max_cells)
    down = slide.info.levels[level].downsample
    placement = MapPlacement(box.top * down, box.left * down, down, down, slide.info.pixel_size)
    displays = None if slide.layers[0].rgb else tuple(_display_of(layer) for layer in slide.layers)
    return DisplayedWindow(slide.slide, level, box, placement, displays)


def _with_all_channels(viewer: Viewer, slide: ViewerSlide) -> ViewerSlide:
    """Return the slide with the layers of all channels, which napari adds one by one after the slide was shown."""
    return next((one for one in slide_layers.list_slides(viewer) if one.identity == slide.identity), slide)


def _find_box(
    viewer: Viewer, slide: ViewerSlide, point: tuple[float, float], reach: tuple[float, float], max_cells: int
) -> tuple[int, Box]:
    view, size = get_visible_region(viewer, slide), slide.size
    top, left = max(0.0, view.top, point[0] - reach[0]), max(0.0, view.left, point[1] - reach[1])
    bottom = min(float(size[0]), view.top + view.height, point[0] + reach[0])
    right = min(float(size[1]), view.left + view.width, point[1] + reach[1])
    level = int(slide.layers[0].data_level)
    while True:
        info = slide.info.levels[level]
        down = info.downsample
        first = int(top / down), int(left / down)
        last = min(info.height, int(bottom / down) + 1), min(info.width, int(right / down) + 1)
        box = Box(*first, max(1, last[0] - first[0]), max(1, last[1] - first[1]))
        if box.height * box.width <= max_cells or level == len(slide.info.levels) - 1:
            return level, box
        level += 1


def _display_of(layer: Image) -> ChannelDisplay | None:
    """Return how a channel is displayed; None for a hidden one."""
    import numpy as np

    from napari_melanoma.slides.region_wand import ChannelDisplay

    if not layer.visible:
        return None
    low, high = layer.contrast_limits
    colors = layer.colormap.map(np.linspace(0, 1, 256))[:, :3] * float(layer.opacity)
    return ChannelDisplay((float(low), float(high)), float(layer.gamma), colors)


MAX_CELLS = 2_000_000  # of the area that is read: takes 0.2 s
NOTHING_FOUND = "Hardly any color around this point is similar enough. Increase the tolerance, or zoom in."
TOLERANCE_PER_PX = 0.15  # for each pixel of the screen by which the mouse is dragged
TOLERANCE_PER_NOTCH = 2.0  # for each notch of the mouse wheel


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

        layer = self.layer
        if layer is not None:
            colors = {None: "transparent", 0: "transparent", 1: to_rgba(region_class.color)}
            layer.colormap = DirectLabelColormap(color_dict=colors)

    def _on_wheel(self, layer: Labels, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Change the tolerance while Shift is held; napari does not zoom then."""
        if "Shift" in event.modifiers:
            notches = float(sum(event.delta))  # with Shift, some systems report the wheel as horizontal
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
        """Return a function that reads the colors around a point within the view; it may run in any thread."""
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
    """A press of the button, with the jobs that find the area around its point; they run one at a time.

    ``tolerance``: is changed by dragging.
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


WINDOW_PX = 512  # side of the area that is read around a click, in pixels of the displayed level
REACH_PX = 120.0  # in pixels of the screen: a click at a greater distance from all outlines has no effect
DRAG_PX = 6.0  # in pixels of the screen: longer drags are not clicks
RIGHT_BUTTON = 2
CLICK_HINT = (
    "Click next to an outline to include more, right-click or Shift+click in it to exclude. Space moves the view."
)


class OutlineClickTool(PixelTool):
    """Emit the clicks on a slide with the displayed pixels around them. ``clicked``: an ``OutlineClick``."""

    clicked = Signal(object)

    def start(self, slide: ViewerSlide, keys: Keys) -> None:
        """Activate the tool."""
        self.add_layer(slide, keys)

    def _on_press(self, layer: Labels, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Emit a click at the position of the press, unless the mouse is dragged."""
        slide = self._slide
        if slide is None or str(layer.mode) != "pick":
            return
        include = event.button != RIGHT_BUTTON and "Shift" not in event.modifiers
        point, pressed, distance = slide.to_slide(tuple(event.position[-2:])), tuple(event.pos), 0.0
        yield
        while event.type == "mouse_move":
            distance = max(abs(float(now) - float(then)) for now, then in zip(event.pos, pressed, strict=True))
            yield
        if distance <= DRAG_PX:
            self.clicked.emit(self._make_click(slide, point, include=include))

    def _make_click(self, slide: ViewerSlide, point: tuple[float, float], *, include: bool) -> OutlineClick:
        from napari_melanoma.slides.outline_clicks import OutlineClick

        side = WINDOW_PX / 2 * slide.info.levels[int(slide.layers[0].data_level)].downsample
        window = find_window(self._viewer, slide, point, (side, side), (WINDOW_PX + 1) ** 2)
        reach = REACH_PX / get_zoom(self._viewer)
        return OutlineClick(point, include, reach, slide.pixel_um, slide.size, window.placement, window.read_colors)
