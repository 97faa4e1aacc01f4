"""Tools that work with the mouse on the displayed pixels of a slide: their layer, and the colors around a point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.geometry import Box
from napari_melanoma.core.map_placement import MapPlacement
from napari_melanoma.ui.slide.shape_layers import Keys, bind_keys, remove_tool_layer
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_visible_region
from napari_melanoma.ui.widgets.style import Connections

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image, Labels
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.slides.reading.tiled import TiledSlide
    from napari_melanoma.slides.region_wand import ChannelDisplay
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
        """Deactivate the tool when its layer is removed by others: the layer must not be removed a second time.

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
