"""Layers of the Regions section: regions as shapes, and a brush."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.map_placement import MapPlacement
from napari_melanoma.slides.regions import RegionOutline, ShapesState, region_outlines
from napari_melanoma.ui.slide.regions_classes import DEFAULT_COLOR
from napari_melanoma.ui.slide.shape_layers import (
    HALF,
    Keys,
    bind_keys,
    complete_lasso_strokes,
    get_data_action,
    is_slide_open,
    line_width,
    remove_tool_layer,
    repair_features,
    to_rgba,
)
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_visible_region, get_zoom
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import Connections

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import numpy as np
    from napari.layers import Labels, Shapes
    from napari.utils.colormaps import DirectLabelColormap
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.slides.regions import RegionClass, Regions
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

RING_FEATURE = "ring"  # feature of a shape: index of its outline; -1 for a new one
SELECT_MODES = ("select", "direct", "vertex_insert", "vertex_remove")
LINE_MODE = "add_path"
MOST_SHOWN_FIRST = 100  # selected regions that are drawn if there are too many for all
SNAP_PX = 8.0  # of the screen: outlines that are closer are snapped
FILL_OPACITY = 0.12  # of the fill


class RegionLayer(QObject):
    """Shapes layer of the regions of one slide.

    ``line_drawn``: vertices (vertex, 2) in pixels of the finest level. ``selection_changed``: ids of the regions that
    the user selected on the slide. ``left``: the active tool was changed in napari, or another layer was selected.
    """

    changed = Signal(object)
    line_drawn = Signal(object)
    selection_changed = Signal(object)
    left = Signal()
    message = Signal(str)

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._slide: ViewerSlide | None = None
        self._outlines: tuple[RegionOutline, ...] = ()
        self._keys: Keys = {}
        self._is_drawing = self._showing = False
        self._events, self._viewer_events = Connections(), Connections()
        self._viewer_events.connect(viewer.layers.selection.events.active, self._on_active)
        self.destroyed.connect(self._viewer_events.close)
        self._regions: Regions = ()
        self._mode = "pan_zoom"  # that a tool has set
        self._line: list[tuple[float, float]] = []  # drawn last
        self._emit_timer = DebounceTimer(self, 0)  # napari must have finished the shape
        self._emit_timer.timeout.connect(self._emit_shapes)

    @property
    def layer(self) -> Shapes | None:
        """The layer; None if there is none."""
        found: Shapes | None = None
        if self._slide is not None:
            found = slide_layers.find_layer(self._viewer, self._slide, "regions")
        return found

    @property
    def outlines(self) -> tuple[RegionOutline, ...]:
        """The outlines that are shown."""
        return self._outlines

    @property
    def selected(self) -> tuple[str, ...]:
        """Ids of the regions whose shapes are selected."""
        layer = self.layer
        rings = [] if layer is None else layer.features[RING_FEATURE].fillna(-1).astype(int).tolist()
        # While napari removes shapes, features and selection differ.
        keys = [] if layer is None else [rings[index] for index in layer.selected_data if index < len(rings)]
        return tuple({self._outlines[key].ring_key[0]: None for key in keys if 0 <= key < len(self._outlines)})

    def bind(self, keys: Keys) -> None:
        """Set the keys that work while the layer is active."""
        self._keys = keys

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Switch to another slide; the layer of the previous one stays."""
        self._slide, self._outlines, self._is_drawing = slide, (), False
        self._regions, self._mode = (), "pan_zoom"

    def show(self, regions: Regions, first: Collection[str] = ()) -> None:
        """Replace the shown regions; those with the ids ``first`` are shown even if there are too many for all."""
        slide, self._regions = self._slide, regions
        if slide is None or (not regions and self.layer is None) or not is_slide_open(self._viewer, slide):
            return
        self._showing = True
        try:
            layer = self._ensure_layer()
            self._outlines = region_outlines(regions, slide.size, first)
            colors = {one.id: one.color or DEFAULT_COLOR for one in regions}
            layer.selected_data = set()
            layer.data = []
            if self._outlines:
                drawn = [to_rgba(colors[one.ring_key[0]]) for one in self._outlines]
                faint = [(*color[:3], FILL_OPACITY) for color in drawn]
                outlines = [one.vertices - HALF for one in self._outlines]
                width = line_width(self._viewer, slide, "regions")
                layer.add_polygons(outlines, edge_width=width, edge_color=drawn, face_color=faint)
            layer.features = {RING_FEATURE: list(range(len(self._outlines)))}
            layer.feature_defaults = {RING_FEATURE: -1}
        finally:
            self._showing = False

    def select(self, regions: Collection[str]) -> None:
        """Select the shapes of regions, by their ids, unless shapes are being drawn."""
        layer = self.layer
        if layer is None or layer.mode not in (*SELECT_MODES, "pan_zoom"):
            return
        shown = {one.ring_key[0] for one in self._outlines}
        if len(regions) <= MOST_SHOWN_FIRST and not shown.issuperset(regions):
            self.show(self._regions, regions)
        self._showing = True
        layer.selected_data = {index for index, one in enumerate(self._outlines) if one.ring_key[0] in regions}
        self._showing = False

    def set_mode(self, mode: str, region_class: RegionClass) -> None:
        """Activate a tool."""
        if self._slide is None or not is_slide_open(self._viewer, self._slide):
            return
        layer = self._ensure_layer()
        layer.visible = True
        self._mode = "pan_zoom"  # events in between are not changes by the user
        self._viewer.layers.selection.active = layer
        layer.mode = mode
        self._mode = mode
        self.set_class(region_class)

    def set_class(self, region_class: RegionClass) -> None:
        """Draw new shapes in the color of a class."""
        layer, slide = self.layer, self._slide
        if layer is not None and slide is not None:
            self._showing = True
            layer.selected_data = set()  # else napari changes the selected shapes too
            color = to_rgba(region_class.color)
            layer.current_edge_color, layer.current_face_color = color, (*color[:3], FILL_OPACITY)
            layer.current_edge_width = line_width(self._viewer, slide, "regions")
            self._showing = False

    def _ensure_layer(self) -> Shapes:
        """Return the layer, created if necessary."""
        slide, previous = self._slide, self.layer
        assert slide is not None, "only slides have regions"
        layer: Shapes = slide_layers.get_or_add_layer(self._viewer, slide, "regions", _create_layer)
        if previous is None:
            layer.features = {RING_FEATURE: []}
            layer.feature_defaults = {RING_FEATURE: -1}
            complete_lasso_strokes(layer, self.message.emit)
            layer.mouse_drag_callbacks.append(self._track_line)
        if previous is None or not self._outlines:
            self._events.close()
            self._events.connect(layer.events.data, self._on_data)
            self._events.connect(layer.events.mode, self._on_mode)
            self._events.connect(layer.events.highlight, self._on_highlight)
            bind_keys(layer, self._keys)
        return layer

    def _on_highlight(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Emit the selection that the user made; drawing tools select what they draw."""
        layer = self.layer
        if not self._showing and layer is not None and layer.mode in SELECT_MODES:
            self.selection_changed.emit(self.selected)

    def _on_mode(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """React to a change of the tool in napari's layer controls; the space bar pans with any tool."""
        if self._mode != "pan_zoom" and str(event.source.mode) not in (self._mode, "pan_zoom"):
            self._mode = "pan_zoom"
            self.left.emit()

    def _on_active(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """React to the selection of another layer."""
        if self._mode != "pan_zoom" and self._viewer.layers.selection.active != self.layer:
            self._mode = "pan_zoom"
            self.left.emit()

    def _track_line(self, layer: Shapes, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Record a line: napari drops its last vertices."""
        if str(layer.mode) != LINE_MODE:
            return
        self._line = [layer.world_to_data(event.position)[-2:]]
        yield
        while event.type == "mouse_move":
            self._line.append(layer.world_to_data(event.position)[-2:])
            yield
        self._line.append(layer.world_to_data(event.position)[-2:])

    def _emit_line(self, layer: Shapes) -> None:
        """Emit the line that was drawn, or clicked vertex by vertex."""
        import numpy as np

        line = np.array(self._line, np.float64)
        if not len(line) or not np.ptp(line, axis=0).any():
            line = np.asarray(layer.data[-1], np.float64)[:, -2:] if len(layer.data) else np.zeros((0, 2))
        self.line_drawn.emit(line + HALF)

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        if self._showing:
            return
        action = get_data_action(event)
        if action == "adding":
            self._is_drawing = True
        elif action in ("added", "changed", "removed"):
            self._is_drawing = False
            self._emit_timer.start()

    def _emit_shapes(self) -> None:
        layer = self.layer
        if layer is None or self._is_drawing:
            return
        repair_features(layer)
        if self._mode == LINE_MODE:
            self._emit_line(layer)
            return
        keys = [int(key) for key in layer.features[RING_FEATURE].fillna(-1)]
        vertices = [self._to_slide(data, key) for data, key in zip(layer.data, keys, strict=True)]
        self.changed.emit(ShapesState(vertices, list(layer.shape_type), keys))

    def _to_slide(self, data: NDArray[np.floating], key: int) -> NDArray[np.float64]:
        """Return vertices in slide pixels; for an unchanged shape exactly those that were shown."""
        import numpy as np

        vertices = np.asarray(data, np.float64)[:, -2:]
        if 0 <= key < len(self._outlines):
            previous = self._outlines[key].vertices
            if previous.shape == vertices.shape and np.allclose(vertices + HALF, previous, atol=1e-2, rtol=0):
                return previous
        return vertices + HALF


def get_snap_distance(viewer: Viewer) -> float:
    """Return how close outlines must be to be snapped at the current zoom, in the unit of the pixel size."""
    return SNAP_PX / get_zoom(viewer)


def _create_layer() -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2)


CELLS = 1024  # along the longer side of the view: about one screen pixel each
BRUSH_CELLS = 30


@dataclass(frozen=True, eq=False)
class Painting:
    """Painted labels, uint8 (row, column), 1 for the first of ``classes``, and their placement.

    ``snap_distance``: how close outlines must be to be snapped at the zoom that was painted at, in the unit
    of ``pixel_um``, the height and width of a pixel of the finest level.
    """

    labels: NDArray[np.uint8]
    classes: tuple[RegionClass, ...]
    placement: MapPlacement
    snap_distance: float
    pixel_um: tuple[float, float]


class RegionBrush(QObject):
    """Paint classes on the view in a Labels layer.

    ``painted``: a ``Painting``.
    """

    painted = Signal(object)

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._slide: ViewerSlide | None = None
        self._placement: MapPlacement | None = None
        self._snap_distance = 0.0
        self._classes: list[RegionClass] = []  # that may be painted; the list in the dock may change meanwhile

    @property
    def layer(self) -> Labels | None:
        """The layer; None if the brush is not active."""
        found: Labels | None = None
        if self._slide is not None:
            found = slide_layers.find_layer(self._viewer, self._slide, "painting")
        return found

    def start(self, slide: ViewerSlide, classes: Sequence[RegionClass], keys: Keys) -> bool:
        """Add an empty Labels layer over the view; return False if no part of the slide is in view."""
        self._slide = slide
        placement, shape = _visible_grid(self._viewer, slide)
        if min(shape) < 1:
            self._slide = None
            return False

        def make() -> Labels:
            import numpy as np
            from napari.layers import Labels

            return Labels(np.zeros(shape, np.uint8), opacity=0.45)

        self._classes = list(classes)
        layer: Labels = slide_layers.get_or_add_layer(self._viewer, slide, "painting", make, placement)
        self._placement, self._snap_distance = placement, get_snap_distance(self._viewer)
        layer.colormap = self._make_colormap()
        layer.brush_size = BRUSH_CELLS
        bind_keys(layer, keys)
        self._viewer.layers.selection.active = layer
        layer.mode = "paint"
        return True

    def set_class(self, one: RegionClass) -> None:
        """Paint with another class, which may be new."""
        layer = self.layer
        if layer is None:
            return
        if one not in self._classes:
            self._classes.append(one)
            layer.colormap = self._make_colormap()
        layer.selected_label = self._classes.index(one) + 1

    def replace_class(self, previous: RegionClass, now: RegionClass) -> None:
        """Show what was painted with a class that has another name or color now."""
        layer = self.layer
        if layer is not None and previous in self._classes:
            self._classes[self._classes.index(previous)] = now
            layer.colormap = self._make_colormap()

    def _make_colormap(self) -> DirectLabelColormap:
        """Return the colors of the classes by label."""
        from napari.utils.colormaps import DirectLabelColormap

        colors: dict[int | None, Any] = {
            number: to_rgba(one.color) for number, one in enumerate(self._classes, start=1)
        }
        return DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", **colors})

    def finish(self) -> None:
        """Emit what was painted, and remove the layer."""
        import numpy as np

        layer, placement, slide = self.layer, self._placement, self._slide
        self._slide = self._placement = None
        if layer is None or placement is None or slide is None:
            return
        labels = np.asarray(layer.data).astype(np.uint8)
        remove_tool_layer(self._viewer, slide, layer)
        if labels.any():
            self.painted.emit(Painting(labels, tuple(self._classes), placement, self._snap_distance, slide.pixel_um))


def _visible_grid(viewer: Viewer, slide: ViewerSlide) -> tuple[MapPlacement, tuple[int, int]]:
    """Return placement and shape of a grid over the view, in whole cells of at least a pixel."""
    view = get_visible_region(viewer, slide)
    top, left = max(0.0, view.top), max(0.0, view.left)
    bottom, right = min(float(slide.size[0]), view.top + view.height), min(float(slide.size[1]), view.left + view.width)
    step = max(1, round(max(bottom - top, right - left) / CELLS))
    first = int(top // step * step), int(left // step * step)
    shape = int(-((first[0] - bottom) // step)), int(-((first[1] - right) // step))
    return MapPlacement(float(first[0]), float(first[1]), float(step), float(step), slide.info.pixel_size), shape
