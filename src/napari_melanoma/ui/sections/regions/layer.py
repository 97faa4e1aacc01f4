"""Layers of the Regions section: a Shapes layer of the regions, and a Labels layer to paint on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.geometry import MapPlacement
from napari_melanoma.slides.regions import RegionOutline, ShapesState, region_outlines
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import cover_view, get_zoom
from napari_melanoma.ui.viewer.shape_layers import (
    HALF,
    Keys,
    bind_keys,
    complete_lasso_strokes,
    end_shape,
    get_data_action,
    is_slide_open,
    line_width,
    remove_tool_layer,
    repair_features,
    to_rgba,
)
from napari_melanoma.ui.widgets.class_list import DEFAULT_COLOR
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import Connections

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    import numpy as np
    from napari.layers import Labels, Shapes
    from napari.utils.colormaps import DirectLabelColormap
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.slides.regions import RegionClass, Regions
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

RING_FEATURE = "ring"  # feature of a shape: index of its outline; -1 for a new shape
SELECT_MODES = ("select", "direct", "vertex_insert", "vertex_remove")
LINE_MODE = "add_path"
MOST_SHOWN_FIRST = 100  # up to this number, selected regions are shown even if there are too many to show all
SNAP_PX = 8.0  # in screen pixels: outlines that are closer to each other are snapped
FILL_OPACITY = 0.12


class RegionLayer(QObject):
    """Shapes layer of the regions of one slide; there is none until the first region is shown or drawn.

    ``keys``: work while the layer is active. ``selection_changed``: the user selected regions on the slide. ``left``:
    the user changed the tool in napari, or selected another layer.
    """

    changed = Signal(object)  # ShapesState
    line_drawn = Signal(object)  # array (vertex, 2) of (row, column) in pixels of the finest level
    selection_changed = Signal(object)  # tuple of the ids of regions
    left = Signal()

    def __init__(
        self, viewer: Viewer, slide: ViewerSlide, keys: Keys, show_message: Callable[[str], None], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._viewer, self._slide, self._keys, self._show_message = viewer, slide, keys, show_message
        self._outlines: tuple[RegionOutline, ...] = ()
        self._drawing_mode = ""  # of an unfinished shape
        self._is_updating = False
        self._followed: Shapes | None = None  # the layer whose events are connected
        self._events, self._viewer_events = Connections(), Connections()
        self._viewer_events.connect(viewer.layers.selection.events.active, self._on_active)
        self._regions: Regions = ()
        self._mode = "pan_zoom"  # mode of the active tool
        self._line: list[tuple[float, float]] = []  # the latest line, (row, column) in data coordinates of the layer
        self._emit_timer = DebounceTimer(self, 0)  # napari must have finished the shape
        self._emit_timer.timeout.connect(self._emit_shapes)

    def close(self) -> None:
        """Disconnect all signals; the layer stays with its slide."""
        self._viewer_events.close()
        self._unfollow()

    def flush(self) -> None:
        """Emit what was just drawn; an unfinished shape ends."""
        layer = self.layer
        if layer is not None and self._drawing_mode:
            end_shape(layer, self._drawing_mode)
        self._emit_timer.flush()

    @property
    def layer(self) -> Shapes | None:
        """The Shapes layer of the slide; None if there is none."""
        layer: Shapes | None = slide_layers.find_layer(self._viewer, self._slide, "regions")
        return layer

    @property
    def outlines(self) -> tuple[RegionOutline, ...]:
        """The outlines that are shown."""
        return self._outlines

    @property
    def selected(self) -> tuple[str, ...]:
        """Ids of the regions whose shapes are selected."""
        layer = self.layer
        rings = [] if layer is None else layer.features[RING_FEATURE].fillna(-1).astype(int).tolist()
        # While napari removes shapes, selected_data may contain indices of shapes that have no features any more.
        keys = [] if layer is None else [rings[index] for index in layer.selected_data if index < len(rings)]
        return tuple({self._outlines[key].ring_key[0]: None for key in keys if 0 <= key < len(self._outlines)})

    def show(self, regions: Regions, first: Collection[str] = ()) -> None:
        """Replace the shown regions; if there are too many, those with the ids ``first`` take precedence."""
        slide, self._regions = self._slide, regions
        if (not regions and self.layer is None) or not is_slide_open(self._viewer, slide):
            return
        self._is_updating = True
        try:
            layer = self._ensure_layer()
            self._outlines = region_outlines(regions, slide.size, first)
            colors = {region.id: region.color or DEFAULT_COLOR for region in regions}
            layer.selected_data = set()
            layer.data = []
            self._drawing_mode = ""  # napari has ended an unfinished shape
            if self._outlines:
                edge_colors = [to_rgba(colors[outline.ring_key[0]]) for outline in self._outlines]
                opacities = _list_fill_opacities(regions, self._outlines)
                fill_colors = [(*color[:3], opacity) for color, opacity in zip(edge_colors, opacities, strict=True)]
                vertices = [outline.vertices - HALF for outline in self._outlines]
                width = line_width(self._viewer, slide, "regions")
                layer.add_polygons(vertices, edge_width=width, edge_color=edge_colors, face_color=fill_colors)
            layer.features = {RING_FEATURE: list(range(len(self._outlines)))}
            layer.feature_defaults = {RING_FEATURE: -1}
        finally:
            self._is_updating = False

    def select(self, ids: Collection[str]) -> None:
        """Select the shapes of the regions with these ids, unless a drawing tool is active."""
        layer = self.layer
        if layer is None or layer.mode not in (*SELECT_MODES, "pan_zoom"):
            return
        shown = {one.ring_key[0] for one in self._outlines}
        if len(ids) <= MOST_SHOWN_FIRST and not shown.issuperset(ids):
            self.show(self._regions, ids)
        self._is_updating = True
        layer.selected_data = {index for index, one in enumerate(self._outlines) if one.ring_key[0] in ids}
        self._is_updating = False

    def set_mode(self, mode: str, region_class: RegionClass) -> None:
        """Activate the tool of a mode of the Shapes layer; "pan_zoom" for no tool."""
        if not is_slide_open(self._viewer, self._slide):
            return
        layer = self._ensure_layer()
        layer.visible = True
        self._mode = "pan_zoom"  # so that selecting the layer here does not emit left
        self._viewer.layers.selection.active = layer
        layer.mode = mode
        self._mode = mode
        self.set_class(region_class)

    def set_class(self, region_class: RegionClass) -> None:
        """Draw new shapes in the color of a class."""
        layer = self.layer
        if layer is not None:
            self._is_updating = True
            layer.selected_data = set()  # otherwise napari would recolor the selected shapes
            color = to_rgba(region_class.color)
            layer.current_edge_color, layer.current_face_color = color, (*color[:3], FILL_OPACITY)
            layer.current_edge_width = line_width(self._viewer, self._slide, "regions")
            self._is_updating = False

    def _ensure_layer(self) -> Shapes:
        """Return the Shapes layer of the slide; create it if necessary."""
        is_new = self.layer is None
        layer: Shapes = slide_layers.get_or_add_layer(self._viewer, self._slide, "regions", _create_layer)
        if is_new:
            layer.features = {RING_FEATURE: []}
            layer.feature_defaults = {RING_FEATURE: -1}
            complete_lasso_strokes(layer, self._show_message)
        if layer != self._followed:
            self._unfollow()
            self._followed = layer
            self._events.connect(layer.events.data, self._on_data)
            self._events.connect(layer.events.mode, self._on_mode)
            self._events.connect(layer.events.highlight, self._on_highlight)
            layer.mouse_drag_callbacks.append(self._track_line)
            bind_keys(layer, self._keys)
        return layer

    def _unfollow(self) -> None:
        self._events.close()
        if self._followed is not None:
            self._followed.mouse_drag_callbacks.remove(self._track_line)
            self._followed = None

    def _on_highlight(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Emit the selection of a selecting tool; drawing tools select the shape that is being drawn."""
        layer = self.layer
        if not self._is_updating and layer is not None and layer.mode in SELECT_MODES:
            self.selection_changed.emit(self.selected)

    def _on_mode(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """React to another mode in napari's layer controls, except pan_zoom, which the space bar sets for a moment."""
        if self._drawing_mode:
            end_shape(event.source, self._drawing_mode)
        if self._mode != "pan_zoom" and str(event.source.mode) not in (self._mode, "pan_zoom"):
            self._mode = "pan_zoom"
            self.left.emit()

    def _on_active(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """React to the selection of another layer."""
        if self._mode != "pan_zoom" and self._viewer.layers.selection.active != self.layer:
            self.flush()  # with the tool it was drawn with
            self._mode = "pan_zoom"
            self.left.emit()

    def _track_line(self, layer: Shapes, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Record a line while it is drawn, since napari drops its last vertices."""
        if str(layer.mode) != LINE_MODE:
            return
        self._line = [layer.world_to_data(event.position)[-2:]]
        yield
        while event.type == "mouse_move":
            self._line.append(layer.world_to_data(event.position)[-2:])
            yield
        self._line.append(layer.world_to_data(event.position)[-2:])

    def _emit_line(self, layer: Shapes) -> None:
        """Emit the recorded line, or the last shape if the line was not drawn but clicked vertex by vertex."""
        import numpy as np

        line = np.array(self._line, np.float64)
        if not len(line) or not np.ptp(line, axis=0).any():
            line = np.asarray(layer.data[-1], np.float64)[:, -2:] if len(layer.data) else np.zeros((0, 2))
        self.line_drawn.emit(line + HALF)

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        if self._is_updating:
            return
        action = get_data_action(event)
        if action == "adding":
            self._drawing_mode = event.source.mode
        elif action in ("added", "changed", "removed"):
            self._drawing_mode = ""
            self._emit_timer.start()

    def _emit_shapes(self) -> None:
        layer = self.layer
        if layer is None or self._drawing_mode:
            return
        repair_features(layer)
        if self._mode == LINE_MODE:
            self._emit_line(layer)
            return
        keys = [int(key) for key in layer.features[RING_FEATURE].fillna(-1)]
        vertices = [self._to_slide(data, key) for data, key in zip(layer.data, keys, strict=True)]
        self.changed.emit(ShapesState(vertices, list(layer.shape_type), keys))

    def _to_slide(self, data: NDArray[np.floating], key: int) -> NDArray[np.float64]:
        """Return the vertices of a shape in slide pixels; for an unchanged shape, exactly those of its outline."""
        import numpy as np

        vertices = np.asarray(data, np.float64)[:, -2:]
        if 0 <= key < len(self._outlines):
            previous = self._outlines[key].vertices
            if previous.shape == vertices.shape and np.allclose(vertices + HALF, previous, atol=1e-2, rtol=0):
                return previous
        return vertices + HALF


def _list_fill_opacities(regions: Regions, outlines: Sequence[RegionOutline]) -> list[float]:
    """Return the opacity of each outline's fill: 0 for a polygon with holes, which napari would fill as well."""
    with_holes = {
        (region.id, part) for region in regions for part, polygon in enumerate(region.polygons) if polygon.holes
    }
    return [0.0 if outline.ring_key[:2] in with_holes else FILL_OPACITY for outline in outlines]


def get_snap_distance(viewer: Viewer) -> float:
    """Return the distance within which outlines are snapped at the current zoom, in the unit of the pixel size."""
    return SNAP_PX / get_zoom(viewer)


def _create_layer() -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2)


BRUSH_CELLS = 30  # diameter of the brush


@dataclass(frozen=True, eq=False)
class Painting:
    """Painted labels, uint8 (row, column), 1 for the first of ``classes``, and their placement.

    ``snap_distance``: at the zoom at which the user painted.
    """

    labels: NDArray[np.uint8]
    classes: tuple[RegionClass, ...]
    placement: MapPlacement
    snap_distance: float


class RegionBrush(QObject):
    """Paint classes on the view in a Labels layer."""

    painted = Signal(object)  # Painting

    def __init__(self, viewer: Viewer, slide: ViewerSlide, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._slide = viewer, slide
        self._placement: MapPlacement | None = None  # None if the brush is not active
        self._snap_distance = 0.0
        self._classes: list[RegionClass] = []  # by label - 1; the list in the dock may change while the brush is active

    @property
    def layer(self) -> Labels | None:
        """The Labels layer; None if the brush is not active."""
        if self._placement is None:
            return None
        layer: Labels | None = slide_layers.find_layer(self._viewer, self._slide, "painting")
        return layer

    def start(self, classes: Sequence[RegionClass]) -> bool:
        """Add an empty Labels layer over the view; return False if no part of the slide is in view."""
        placement, shape = cover_view(self._viewer, self._slide)
        if min(shape) < 1:
            return False

        def create_layer() -> Labels:
            import numpy as np
            from napari.layers import Labels

            return Labels(np.zeros(shape, np.uint8), opacity=0.45)

        self._classes = list(classes)
        layer: Labels = slide_layers.get_or_add_layer(self._viewer, self._slide, "painting", create_layer, placement)
        self._placement, self._snap_distance = placement, get_snap_distance(self._viewer)
        layer.colormap = self._make_colormap()
        layer.brush_size = BRUSH_CELLS
        self._viewer.layers.selection.active = layer
        layer.mode = "paint"
        return True

    def set_class(self, region_class: RegionClass) -> None:
        """Paint with another class, which need not be one of those passed to ``start``."""
        layer = self.layer
        if layer is None:
            return
        if region_class not in self._classes:
            self._classes.append(region_class)
            layer.colormap = self._make_colormap()
        layer.selected_label = self._classes.index(region_class) + 1

    def replace_class(self, previous: RegionClass, edited: RegionClass) -> None:
        """Apply the new name or color of a class to the pixels that were painted with it."""
        layer = self.layer
        if layer is not None and previous in self._classes:
            self._classes[self._classes.index(previous)] = edited
            layer.colormap = self._make_colormap()

    def _make_colormap(self) -> DirectLabelColormap:
        """Return the colors of the classes by label."""
        from napari.utils.colormaps import DirectLabelColormap

        colors: dict[int | None, Any] = {
            number: to_rgba(one.color) for number, one in enumerate(self._classes, start=1)
        }
        return DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", **colors})

    def flush(self) -> None:
        """Emit the painting unless it is empty, and continue with an empty layer."""
        import numpy as np

        layer, placement = self.layer, self._placement
        if layer is None or placement is None:
            return
        labels = np.asarray(layer.data).astype(np.uint8)
        if labels.any():
            layer.data = np.zeros_like(labels)
            self.painted.emit(Painting(labels, tuple(self._classes), placement, self._snap_distance))

    def finish(self) -> None:
        """Emit the painting unless it is empty, and remove the layer."""
        self.flush()
        layer, self._placement = self.layer, None
        if layer is not None:
            remove_tool_layer(self._viewer, self._slide, layer)
