"""Mouse tools that use the displayed pixels of a slide: the magic wand, and clicks that refine outlines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_visible_region, get_zoom
from napari_melanoma.ui.viewer.shape_layers import Keys, bind_keys, remove_tool_layer, to_rgba
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.signals import Connections

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image, Labels
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.slides.outlines import OutlineClick
    from napari_melanoma.slides.reading.tiled import TiledSlide
    from napari_melanoma.slides.region_operations import ChannelDisplay, ColorFlood
    from napari_melanoma.slides.regions import RegionClass


class PixelTool(QObject):
    """Base class of mouse tools that work while their Labels layer is the active layer.

    ``left``: another layer was selected, or the layer of the tool was removed.
    """

    left = Signal()

    def __init__(self, viewer: Viewer, parent: QObject, role: slide_layers.Role) -> None:
        super().__init__(parent)
        self._viewer, self._role = viewer, role
        self._slide: ViewerSlide | None = None
        self._events = Connections(self)
        self._events.connect(viewer.layers.selection.events.active, self._on_active)
        self._events.connect_first(viewer.layers.events.removing, self._on_removing)

    @property
    def layer(self) -> Labels | None:
        """The layer; None if the tool is not active."""
        if self._slide is None:
            return None
        layer: Labels | None = slide_layers.find_layer(self._viewer, self._slide, self._role)
        return layer

    def add_layer(self, slide: ViewerSlide, keys: Keys) -> Labels:
        """Add and select the layer of the tool, and bind keys to it."""
        slide = _with_all_channels(self._viewer, slide)
        placement = MapPlacement(0.0, 0.0, 1.0, 1.0, slide.info.pixel_size)
        layer: Labels = slide_layers.get_or_add_layer(self._viewer, slide, self._role, _create_layer, placement)
        self._slide = None  # so that selecting the layer here does not emit left
        layer.visible = layer.editable = True  # it may be hidden since the tool was active last
        self._viewer.layers.selection.active = layer
        layer.mode = "pick"  # a mode that neither pans nor paints; the space bar pans
        if self._on_press not in layer.mouse_drag_callbacks:
            layer.mouse_drag_callbacks.append(self._on_press)
        bind_keys(layer, keys)
        self._slide = slide
        return layer

    def stop(self) -> None:
        layer, slide = self.layer, self._slide
        self._slide = None
        if layer is not None and slide is not None:
            remove_tool_layer(self._viewer, slide, layer)

    def _on_press(self, layer: Labels, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Follow the mouse from the press to the release."""
        raise NotImplementedError

    def _on_removing(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Deactivate the tool if its layer is being removed elsewhere, since it must not be removed a second time.

        In a window, napari selects another layer before it takes the removed layer off the list.
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
    """A part of one level of a slide, with the display settings of its channels.

    ``box``: in pixels of the level. ``displays``: None for a color slide, else one entry per channel, which is None for
    a hidden channel.
    """

    slide: TiledSlide
    level: int
    box: Box
    placement: MapPlacement
    displays: tuple[ChannelDisplay | None, ...] | None

    def read_colors(self) -> NDArray[np.uint8]:
        """Read the displayed colors, uint8 (row, column, channel=3); may be called in any thread.

        Fluorescence channels are merged as in the viewer.
        """
        from napari_melanoma.slides.region_operations import merge_channels

        pixels: NDArray[np.uint8] = self.slide.read_region(self.level, self.box)
        return pixels if self.displays is None else merge_channels(pixels, self.displays)


def find_window(
    viewer: Viewer, slide: ViewerSlide, point: tuple[float, float], reach: tuple[float, float], max_cells: int
) -> DisplayedWindow:
    """Return the part of the view around a point, at the displayed level or at a coarser one.

    ``point``: (row, column) in pixels of the finest level. ``reach``: greatest distance from the point along rows and
    columns, in the same pixels. ``max_cells``: a coarser level is used if the part has more pixels than this.
    """
    level, box = _find_box(viewer, slide, point, reach, max_cells)
    down = slide.info.levels[level].downsample
    placement = MapPlacement(box.top * down, box.left * down, down, down, slide.info.pixel_size)
    displays = None if slide.layers[0].rgb else tuple(_get_channel_display(layer) for layer in slide.layers)
    return DisplayedWindow(slide.slide, level, box, placement, displays)


def _with_all_channels(viewer: Viewer, slide: ViewerSlide) -> ViewerSlide:
    """Return the slide with the layers of all its channels: napari adds them one by one, so ``slide`` may lack some."""
    slides = slide_layers.list_slides(viewer)
    return next((current for current in slides if current.identity == slide.identity), slide)


def _find_box(
    viewer: Viewer, slide: ViewerSlide, point: tuple[float, float], reach: tuple[float, float], max_cells: int
) -> tuple[int, Box]:
    """Return the level and the box of ``find_window``, the box in pixels of the level."""
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


def _get_channel_display(layer: Image) -> ChannelDisplay | None:
    """Return the display settings of a channel; None if it is hidden."""
    import numpy as np

    from napari_melanoma.slides.region_operations import ChannelDisplay

    if not layer.visible:
        return None
    low, high = layer.contrast_limits
    colors = layer.colormap.map(np.linspace(0, 1, 256))[:, :3] * float(layer.opacity)
    return ChannelDisplay((float(low), float(high)), float(layer.gamma), colors)


MAX_CELLS = 2_000_000  # pixels that the wand reads at most; takes 0.2 s
NOTHING_FOUND = "Hardly any color around this point is similar enough. Increase the tolerance, or zoom in."
TOLERANCE_PER_PX = 0.15  # for each screen pixel by which the mouse is dragged
TOLERANCE_PER_NOTCH = 2.0  # for each notch of the mouse wheel


class RegionWand(PixelTool):
    """Magic wand: find areas of similar color with the mouse.

    The layer shows the area while the mouse button is held. Pixels are read in a background job, since the slide may be
    on a slow drive. ``area_found``: the button was released. ``tolerance_changed``: by dragging or by the mouse wheel.
    """

    area_found = Signal(object)  # tuple[Polygon, ...], in pixels of the finest level
    tolerance_changed = Signal(float)  # the new tolerance
    failed = Signal(object)  # the exception
    message = Signal(str)

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(viewer, parent, "painting")
        self._press = ""  # identifies the latest press of the button
        self.tolerance, self.reach = 0.0, 0.0
        self._queue = LatestJobQueue(self)
        self._queue.succeeded.connect(self._on_result)
        self._queue.failed.connect(self._on_failed)

    def start(self, slide: ViewerSlide, region_class: RegionClass) -> None:
        layer = self.add_layer(slide, {})
        layer.mouse_wheel_callbacks.append(self._on_wheel)
        self.set_class(region_class)

    def set_class(self, region_class: RegionClass) -> None:
        """Show the area in the color of a class."""
        from napari.utils.colormaps import DirectLabelColormap

        layer = self.layer
        if layer is not None:
            colors = {None: "transparent", 0: "transparent", 1: to_rgba(region_class.color)}
            layer.colormap = DirectLabelColormap(color_dict=colors)

    def _on_wheel(self, layer: Labels, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Change the tolerance if Shift is held, when napari does not zoom."""
        if "Shift" in event.modifiers:
            notches = float(sum(event.delta))  # with Shift, some systems report the wheel as horizontal
            self.tolerance = _clip_tolerance(self.tolerance + TOLERANCE_PER_NOTCH * notches)
            self.tolerance_changed.emit(self.tolerance)

    def _on_press(self, layer: Labels, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Find the area around the point; dragging to the right increases the tolerance."""
        slide = self._slide
        if slide is None or str(layer.mode) != "pick" or event.button != 1:
            return
        start, tolerance, press = float(event.pos[0]), self.tolerance, uuid4().hex
        self._press = press
        flood = cache(self._prepare_flood(slide, slide.to_slide(tuple(event.position[-2:]))))

        def submit(*, is_last: bool) -> None:
            """Find the area at the current tolerance, instead of at a previous one that was not computed yet."""
            now = self.tolerance

            def find(run: RunContext) -> Any:  # noqa: ANN401 - the polygons, or what is shown until the release
                found = flood()
                return found.polygons(now) if is_last else (press, found.placement, found.mask(now).astype("uint8"))

            self._queue.submit(press, lambda: find)

        submit(is_last=False)
        yield
        while event.type == "mouse_move":
            dragged = _clip_tolerance(tolerance + TOLERANCE_PER_PX * (float(event.pos[0]) - start))
            if dragged != self.tolerance:
                self.tolerance = dragged
                self.tolerance_changed.emit(dragged)
                submit(is_last=False)
            yield
        submit(is_last=True)

    def _prepare_flood(self, slide: ViewerSlide, point: tuple[float, float]) -> Callable[[], ColorFlood]:
        """Return a function that reads the colors around a point; it may be called in any thread."""
        reach, pixel_um = self.reach, slide.pixel_um
        window = find_window(self._viewer, slide, point, (reach / pixel_um[0], reach / pixel_um[1]), MAX_CELLS)

        def read() -> ColorFlood:
            from napari_melanoma.slides.region_operations import ColorFlood

            return ColorFlood(window.read_colors(), window.placement, point, reach, pixel_um)

        return read

    def stop(self) -> None:
        self._press = ""
        self._queue.cancel()
        super().stop()

    def _on_result(self, result: tuple[Any, ...]) -> None:
        """Show the area while the button is pressed, or emit the polygons of the final area."""
        layer, slide = self.layer, self._slide
        if result and isinstance(result[0], str):
            press, placement, mask = result
            if layer is not None and slide is not None and press == self._press:
                slide_layers.set_placement(slide, layer, placement)
                layer.data = mask
            return
        if layer is not None:
            _clear(layer)  # also if the button is pressed again: that area is shown after this result
        if result:
            self.area_found.emit(result)
        else:
            self.message.emit(NOTHING_FOUND)

    def _on_failed(self, error: Exception) -> None:
        layer = self.layer
        if layer is not None:
            _clear(layer)
        self.failed.emit(error)


def _clip_tolerance(tolerance: float) -> float:
    from napari_melanoma.slides.region_operations import TOLERANCES

    return round(min(max(tolerance, TOLERANCES[0]), TOLERANCES[1]), 1)


def _clear(layer: Labels) -> None:
    import numpy as np

    layer.data = np.zeros((1, 1), np.uint8)


WINDOW_PX = 512  # side of the square that is read around a click, in pixels of the displayed level
REACH_PX = 120.0  # in pixels of the screen: a click at a greater distance from all outlines has no effect
DRAG_PX = 6.0  # in pixels of the screen: longer drags are not clicks
RIGHT_BUTTON = 2
CLICK_HINT = (
    "Click next to an outline to include more, right-click or Shift+click in it to exclude. Space moves the view."
)


class OutlineClickTool(PixelTool):
    """Emit clicks on a slide, with the displayed pixels around them."""

    clicked = Signal(object)  # OutlineClick

    def start(self, slide: ViewerSlide, keys: Keys) -> None:
        self.add_layer(slide, keys)

    def _on_press(self, layer: Labels, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Emit a click at the position of the press, unless the mouse is dragged."""
        slide = self._slide
        if slide is None or str(layer.mode) != "pick":
            return
        include = event.button != RIGHT_BUTTON and "Shift" not in event.modifiers
        point, start, distance = slide.to_slide(tuple(event.position[-2:])), tuple(event.pos), 0.0
        yield
        while event.type == "mouse_move":
            distance = max(abs(float(now) - float(then)) for now, then in zip(event.pos, start, strict=True))
            yield
        if distance <= DRAG_PX:
            self.clicked.emit(self._make_click(slide, point, include=include))

    def _make_click(self, slide: ViewerSlide, point: tuple[float, float], *, include: bool) -> OutlineClick:
        from napari_melanoma.slides.outlines import OutlineClick

        side = WINDOW_PX / 2 * slide.info.levels[int(slide.layers[0].data_level)].downsample
        window = find_window(self._viewer, slide, point, (side, side), (WINDOW_PX + 1) ** 2)
        reach = REACH_PX / get_zoom(self._viewer)
        return OutlineClick(point, include, reach, slide.pixel_um, slide.size, window.placement, window.read_colors)
