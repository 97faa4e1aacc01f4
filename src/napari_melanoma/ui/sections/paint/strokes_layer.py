"""The strokes of a slide on the canvas: the mouse tool that draws them, and the layer that shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import cover_view, get_camera, get_zoom
from napari_melanoma.ui.viewer.pixel_tools import PixelTool
from napari_melanoma.ui.viewer.shape_layers import HALF, Keys, to_rgba
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import Connections

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Labels, Shapes
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import MapPlacement
    from napari_melanoma.io.geojson import Color
    from napari_melanoma.slides.tissue_classifier.strokes import Stroke
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

StrokeToolName = Literal["brush", "polygon", "cells", "erase", "similar"]
CELL_TOOLS, WHITE_TOOLS = ("cells", "similar"), ("erase", "similar")
LINE_WIDTH_PX = 3.0  # on the screen, of the outline of a polygon while it is drawn
STROKE_OPACITY, FILL_OPACITY = 0.75, 0.35
PREVIEW_LABEL = 1
NOT_IN_VIEW = "The slide is not in view: press Home to show it, then select the tool again."


class DrawnPath(NamedTuple):
    """A path that was drawn with the button held.

    ``points``: float64 (point, 2), (row, column) in pixels of the finest level. ``radius_px``: half the width of the
    brush, and ``tolerance_px``: side of a pixel of the screen, in the same pixels.
    """

    tool: StrokeToolName
    points: NDArray[np.float64]
    radius_px: float
    tolerance_px: float


class StrokeTool(PixelTool):
    """Draw strokes with the mouse: napari's brush shows the path, which is emitted when the button is released.

    The brush has the same width on the screen at each magnification. ``cell_px``: side of a cell, in pixels of the
    finest level. ``left``: another layer was selected.
    ``size_changed``: the width of the brush was changed in napari.
    """

    drawn = Signal(object)  # DrawnPath
    size_changed = Signal(int)

    def __init__(self, viewer: Viewer, parent: QObject, cell_px: float) -> None:
        super().__init__(viewer, parent, "stroke")
        self._cell_px = cell_px
        self._tool: StrokeToolName = "brush"
        self._size_px = 1.0
        self._color: Color = (255, 255, 0)
        self._placement: MapPlacement | None = None
        self._is_pressed = False
        self._layer_events = Connections()
        # The preview is cleared after napari's brush has ended its stroke.
        self._clear_timer, self._view_timer = DebounceTimer(self, 0), DebounceTimer(self, 30)
        self._clear_timer.timeout.connect(self._cover_view)
        self._view_timer.timeout.connect(self._cover_view)
        camera = get_camera(viewer)
        for event in (camera.events.center, camera.events.zoom):
            self._events.connect(event, self._on_camera)

    def start(self, slide: ViewerSlide, tool: StrokeToolName, keys: Keys) -> bool:
        """Activate a tool; return False if no part of the slide is in view."""
        if min(cover_view(self._viewer, slide)[1]) < 1:
            return False
        self._tool = tool
        layer = self.layer or self.add_layer(slide, keys)
        layer.mode = "paint"
        self._layer_events.close()
        self._layer_events.connect(layer.events.brush_size, self._on_brush_size)
        self._cover_view()
        self.set_color(self._color)
        return True

    def set_size(self, size_px: float) -> None:
        """Set the width of the brush, in pixels of the screen."""
        self._size_px = size_px
        if self.layer is not None:
            self._cover_view()

    def set_color(self, color: Color) -> None:
        """Draw in the color of a class."""
        from napari.utils.colormaps import DirectLabelColormap

        self._color, layer = color, self.layer
        if layer is not None:
            shown = (255, 255, 255) if self._tool in WHITE_TOOLS else color
            colors = {None: "transparent", 0: "transparent", PREVIEW_LABEL: to_rgba(shown)}
            layer.colormap = DirectLabelColormap(color_dict=colors)
            layer.selected_label = PREVIEW_LABEL

    def _on_camera(self, event: object = None) -> None:
        if self._slide is not None:
            self._view_timer.start()

    def _cover_view(self) -> None:
        """Show an empty layer over the view, about one of its pixels for each pixel of the screen."""
        import numpy as np

        layer, slide = self.layer, self._slide
        if layer is None or slide is None or self._is_pressed:
            return
        placement, shape = cover_view(self._viewer, slide)
        if min(shape) < 1:
            return
        self._placement = placement
        slide_layers.set_placement(slide, layer, placement)
        layer.data = np.zeros(shape, np.uint8)
        with layer.events.brush_size.blocker():
            layer.brush_size = max(1, round(self._find_width(placement)))

    def _find_width(self, placement: MapPlacement) -> float:
        """Return the width of the drawn line, in pixels of the layer."""
        if self._tool in CELL_TOOLS:
            return self._cell_px / placement.step_x
        on_screen = self._size_px if self._tool == "brush" else LINE_WIDTH_PX
        return on_screen / (get_zoom(self._viewer) * placement.scale[1])

    def _on_brush_size(self, event: object) -> None:
        """React to another width, such as by napari's keys ``[`` and ``]``."""
        layer = self.layer
        if layer is not None and self._placement is not None and self._tool == "brush":
            self._size_px = max(1.0, float(layer.brush_size) * get_zoom(self._viewer) * self._placement.scale[1])
            self.size_changed.emit(round(self._size_px))

    def _on_press(self, layer: Labels, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Record the path from the press to the release."""
        import numpy as np

        slide = self._slide
        if slide is None or str(layer.mode) != "paint":
            return
        points = [slide.to_slide(tuple(event.position[-2:]))]
        is_left, self._is_pressed = event.button == 1, True
        yield
        while event.type == "mouse_move":
            points.append(slide.to_slide(tuple(event.position[-2:])))
            yield
        self._is_pressed = False
        self._clear_timer.start()
        if is_left and self._placement is not None:
            step = self._placement.step_x
            radius = 0.5 * float(layer.brush_size) * step
            self.drawn.emit(DrawnPath(self._tool, np.array(points, np.float64), radius, step))

    def stop(self) -> None:
        """Deactivate the tool."""
        self._is_pressed = False
        self._layer_events.close()
        for timer in (self._clear_timer, self._view_timer):
            timer.stop()
        super().stop()


class StrokesLayer:
    """The layer with the strokes of a slide; it is updated by differences, since napari takes 1 to 2 ms for each."""

    def __init__(self, viewer: Viewer, slide: ViewerSlide) -> None:
        self._viewer, self._slide = viewer, slide
        self._shown: list[tuple[Stroke, Color]] = []  # by shape

    @property
    def layer(self) -> Shapes | None:
        """The layer; None if there are no strokes yet."""
        layer: Shapes | None = slide_layers.find_layer(self._viewer, self._slide, "strokes")
        return layer

    def show(self, strokes: Sequence[Stroke], colors: Mapping[str, Color], cell_px: float) -> None:
        """Show strokes in the colors of their classes.

        ``cell_px``: side of a cell in pixels of the finest level.
        """
        wanted = [(stroke, colors.get(stroke.class_name, (255, 255, 0))) for stroke in strokes]
        if (not wanted and self.layer is None) or not self._is_open:
            return
        layer = slide_layers.get_or_add_layer(self._viewer, self._slide, "strokes", _create_layer)
        outdated = {index for index, shown in enumerate(self._shown) if shown not in wanted}
        if outdated:
            layer.selected_data = outdated
            layer.remove_selected()
            self._shown = [shown for index, shown in enumerate(self._shown) if index not in outdated]
        for item in wanted:
            if item not in self._shown:
                count = len(layer.data)
                _add_shapes(layer, *item, cell_px)
                self._shown += [item] * (len(layer.data) - count)

    def remove(self) -> None:
        """Remove the layer."""
        layer, self._shown = self.layer, []
        if layer is not None:
            self._viewer.layers.remove(layer)

    @property
    def _is_open(self) -> bool:
        return any(layer in self._viewer.layers for layer in self._slide.layers)


def _create_layer() -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2, opacity=STROKE_OPACITY)


def _add_shapes(layer: Shapes, stroke: Stroke, color: Color, cell_px: float) -> None:
    """Add the shapes of a stroke: a line as wide as the brush, a filled polygon, or squares."""
    import numpy as np

    rgba = to_rgba(color)
    points = np.array(stroke.points, np.float64) - HALF
    if stroke.kind == "polygon" and len(points) > 2:
        layer.add_polygons([points], edge_width=cell_px / 8, edge_color=rgba, face_color=(*rgba[:3], FILL_OPACITY))
    elif stroke.kind != "cells" and np.ptp(points, axis=0).any():
        layer.add_paths([points], edge_width=max(2 * stroke.radius_px, cell_px / 8), edge_color=rgba)
    else:
        half = max(stroke.radius_px, cell_px / 2) if stroke.kind == "brush" else cell_px / 2
        squares = [np.array([point - half, point + half]) for point in points]
        add = layer.add_ellipses if stroke.kind == "brush" else layer.add_rectangles
        add(squares, edge_width=0, edge_color="transparent", face_color=(*rgba[:3], 1.0))
