"""The magic wand of the Regions section: click on a color, drag or turn the wheel to change the tolerance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.map_placement import MapPlacement
from napari_melanoma.ui.slide.shape_layers import bind_keys, remove_tool_layer
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_visible_region
from napari_melanoma.ui.widgets.style import Connections

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image, Labels
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.slides.region_wand import ChannelDisplay, ColorFlood
    from napari_melanoma.slides.regions import RegionClass
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

MAX_CELLS = 2_000_000  # of a read area: 0.2 s
TOLERANCE_PER_PX = 0.15  # of the screen, by which the mouse is dragged
TOLERANCE_PER_NOTCH = 2.0  # of the mouse wheel
ROLE: slide_layers.Role = "painting"


class RegionWand(QObject):
    """Find areas of similar color with the mouse.

    While the tool is active, a Labels layer shows the area that is found. ``found``: its polygons.
    ``tolerance_changed``: by dragging or the wheel. ``left``: another layer was selected.
    """

    found = Signal(object)
    tolerance_changed = Signal(float)
    failed = Signal(object)
    left = Signal()

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._slide: ViewerSlide | None = None
        self._region_class: RegionClass | None = None
        self.tolerance, self.reach = 0.0, 0.0
        self._events = Connections()
        self._events.connect(viewer.layers.selection.events.active, self._on_active)
        self.destroyed.connect(self._events.close)

    @property
    def layer(self) -> Labels | None:
        """The layer of the preview; None if the tool is not active."""
        found: Labels | None = None
        if self._slide is not None:
            found = slide_layers.find_layer(self._viewer, self._slide, ROLE)
        return found

    def start(self, slide: ViewerSlide, region_class: RegionClass, keys: dict[str, Callable[[], None]]) -> None:
        """Activate the tool."""
        slide = _with_all_channels(self._viewer, slide)
        placement = MapPlacement(0.0, 0.0, 1.0, 1.0, slide.info.pixel_size)
        layer = slide_layers.get_or_add_layer(self._viewer, slide, ROLE, _create_layer, placement)
        self._slide = None  # events in between are not changes by the user
        self._viewer.layers.selection.active = layer
        layer.mode = "pick"  # a mode that neither pans nor paints; the space bar pans
        layer.mouse_drag_callbacks.append(self._on_press)
        layer.mouse_wheel_callbacks.append(self._on_wheel)
        bind_keys(layer, keys)
        self._slide = slide
        self.set_class(region_class)

    def stop(self) -> None:
        """Deactivate the tool."""
        layer, slide = self.layer, self._slide
        self._slide = None
        if layer is not None and slide is not None:
            remove_tool_layer(self._viewer, slide, layer)

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

        level, box = self._find_window(slide, point)
        down = slide.info.levels[level].downsample
        pixels = slide.slide.read_region(level, box)
        placement = MapPlacement(box.top * down, box.left * down, down, down, slide.info.pixel_size)
        return ColorFlood(_displayed_colors(slide, pixels), placement, point, self.reach, slide.pixel_um)

    def _find_window(self, slide: ViewerSlide, point: tuple[float, float]) -> tuple[int, Box]:
        """Return the displayed level, and the part of it that is in view and in reach; coarser if that is large."""
        view, size = get_visible_region(self._viewer, slide), slide.size
        reach = self.reach / slide.pixel_um[0], self.reach / slide.pixel_um[1]
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
            if box.height * box.width <= MAX_CELLS or level == len(slide.info.levels) - 1:
                return level, box
            level += 1

    def _preview(self, layer: Labels, flood: ColorFlood, tolerance: float) -> None:
        """Show the area."""
        import numpy as np

        layer.data = flood.mask(tolerance).astype(np.uint8)

    def _on_active(self, event: object) -> None:
        """React to the selection of another layer."""
        if self._slide is not None and self._viewer.layers.selection.active != self.layer:
            self.left.emit()


def _with_all_channels(viewer: Viewer, slide: ViewerSlide) -> ViewerSlide:
    """Return the slide with the layers of all channels, which napari adds one by one after the slide was shown."""
    return next((one for one in slide_layers.list_slides(viewer) if one.identity == slide.identity), slide)


def _clip_tolerance(tolerance: float) -> float:
    from napari_melanoma.slides.region_wand import TOLERANCES

    return round(min(max(tolerance, TOLERANCES[0]), TOLERANCES[1]), 1)


def _clear(layer: Labels) -> None:
    """Show nothing."""
    import numpy as np

    layer.data = np.zeros((1, 1), np.uint8)


def _create_layer() -> Labels:
    import numpy as np
    from napari.layers import Labels

    return Labels(np.zeros((1, 1), np.uint8), opacity=0.45)


def _displayed_colors(slide: ViewerSlide, pixels: NDArray) -> NDArray[np.uint8]:
    """Return the colors that are displayed; channels of fluorescence are merged as their layers show them."""
    from napari_melanoma.slides.region_wand import merge_channels

    if slide.layers[0].rgb:
        return pixels
    return merge_channels(pixels, [_display_of(layer) for layer in slide.layers])


def _display_of(layer: Image) -> ChannelDisplay | None:
    """Return how a channel is displayed; None for a hidden one."""
    import numpy as np

    from napari_melanoma.slides.region_wand import ChannelDisplay

    if not layer.visible:
        return None
    low, high = layer.contrast_limits
    colors = layer.colormap.map(np.linspace(0, 1, 256))[:, :3] * float(layer.opacity)
    return ChannelDisplay((float(low), float(high)), float(layer.gamma), colors)
