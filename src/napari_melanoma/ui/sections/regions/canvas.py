"""The regions of a slide on the canvas: their layer, and the tools that draw, select, split and refine regions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.geometry import MapPlacement
from napari_melanoma.core.polygons import Polygon, as_ring
from napari_melanoma.slides import region_operations
from napari_melanoma.slides.outlines import OutlineClick
from napari_melanoma.slides.regions import (
    RegionClass,
    RegionOutline,
    Regions,
    ShapesState,
    apply_shape_edits,
    edit_class,
    region_from_polygons,
    region_outlines,
    regions_from_labels,
    shape_outline,
)
from napari_melanoma.ui.sections.regions.operations import RegionMemory, copy_regions, paste_regions
from napari_melanoma.ui.session.annotations import select_regions
from napari_melanoma.ui.session.slide import SlideSession
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.annotation_layer import AnnotationLayer
from napari_melanoma.ui.viewer.camera import cover_view, get_zoom
from napari_melanoma.ui.viewer.layers import complete_brush_strokes, restart_labels
from napari_melanoma.ui.viewer.pixel_tools import CLICK_HINT, OutlineClickTool, RegionWand
from napari_melanoma.ui.viewer.shape_layers import HALF, complete_lasso_strokes, remove_tool_layer, to_rgba
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
from napari_melanoma.ui.widgets.class_list import DEFAULT_COLOR, REGION_CLASSES, load_classes
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from napari.layers import Labels, Shapes
    from napari.utils.colormaps import DirectLabelColormap
    from napari.viewer import Viewer


RING_FEATURE = "ring"  # feature of a shape: index of its outline; -1 for a new shape
SELECT_MODES = ("select", "direct", "vertex_insert", "vertex_remove")
MOST_SHOWN_FIRST = 100  # up to this number, selected regions are shown even if there are too many to show all
SNAP_PX = 8.0  # in screen pixels: outlines that are closer to each other are snapped
FILL_OPACITY = 0.12
NOT_IN_VIEW = "The slide is not in view: press Home to show it, then select the brush again."
SNAP_SETTING = "slide/region_snap"


class RegionCanvas(AnnotationLayer):
    """The layer of the regions, also while the section is collapsed; each drawing is one step.

    The tools brush, wand and refine have layers of their own. ``added``: the id of the last new region.
    """

    role, stays_selected = "regions", True
    modes = {
        "rectangle": "add_rectangle",
        "ellipse": "add_ellipse",
        "add_polygon": "add_polygon",
        "add_polygon_lasso": "add_polygon_lasso",
        "select": "select",
        "split": "add_path",
        "hole": "add_polygon_lasso",
    }
    added = Signal(str)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session, session.regions)
        self.memory = session.sessions.part(RegionMemory)
        self.outlines: tuple[RegionOutline, ...] = ()  # that are shown
        self._line: list[tuple[float, float]] = []  # the latest line, (row, column) in data coordinates of the layer
        classes = load_classes(session.services.settings, REGION_CLASSES)
        self.region_class = next((one for one in classes if one.name == self.memory.class_name), classes[0])
        self._history_keys = dict(self.keys)
        self.keys |= {"Control-C": partial(copy_regions, session), "Control-V": partial(paste_regions, session)}
        self.brush = RegionBrush(self.viewer, self.slide, self)
        self.wand = RegionWand(self.viewer, self)
        self.clicks = OutlineClickTool(self.viewer, self, "painting")
        session.follow(session.selected_regions.changed, self.select)
        session.follow(session.commit_requested.drawn, self.brush.flush)
        self.brush.painted.connect(self._on_painted)
        self.wand.area_found.connect(self._on_wand_found)
        self.wand.message.connect(session.services.status.show_message)
        self.wand.failed.connect(partial(show_failure, session.services.status))
        self.clicks.clicked.connect(self._on_refining_click)
        for tool in (self.wand, self.clicks):
            tool.left.connect(self.stop)
        self.show()

    @property
    def selected(self) -> tuple[str, ...]:
        layer = self.layer
        rings = [] if layer is None else layer.features[RING_FEATURE].fillna(-1).astype(int).tolist()
        # While napari removes shapes, selected_data may contain indices of shapes that have no features any more.
        keys = [] if layer is None else [rings[index] for index in layer.selected_data if index < len(rings)]
        return tuple({self.outlines[key].ring_key[0]: None for key in keys if 0 <= key < len(self.outlines)})

    def create(self) -> Shapes:
        """Return an empty layer."""
        from napari.layers import Shapes

        layer = Shapes(ndim=2, features={RING_FEATURE: []}, feature_defaults={RING_FEATURE: -1})
        complete_lasso_strokes(layer, self.session.services.status.show_message)
        return layer

    def connect_layer(self, layer: Shapes) -> None:
        """Follow the user's changes, the selection, and the lines that are drawn."""
        super().connect_layer(layer)
        self.session.follow(layer.events.highlight, self._on_highlight)
        self.add_mouse_callback(layer, self._track_line)

    def draw(self, layer: Shapes) -> None:
        """Draw the regions; if there are too many, the selected ones take precedence."""
        regions: Regions = self.document.value
        self.outlines = region_outlines(regions, self.slide.size, self.session.selected_regions.value)
        layer.selected_data = set()
        layer.data = []
        if self.outlines:
            colors = {region.id: to_rgba(region.color or DEFAULT_COLOR) for region in regions}
            edges = [colors[outline.ring_key[0]] for outline in self.outlines]
            opacities = _list_fill_opacities(regions, self.outlines)
            layer.add_polygons(
                [outline.vertices - HALF for outline in self.outlines],
                edge_width=self.line_width,
                edge_color=edges,
                face_color=[(*color[:3], opacity) for color, opacity in zip(edges, opacities, strict=True)],
            )
        layer.features = {RING_FEATURE: list(range(len(self.outlines)))}

    def prepare(self, layer: Shapes) -> None:
        """Draw new shapes in the color of the class, and select the shapes of the selected regions."""
        color = to_rgba(self.region_class.color)
        layer.selected_data = set()  # otherwise napari would recolor the selected shapes
        layer.feature_defaults = {RING_FEATURE: -1}
        layer.current_edge_color, layer.current_face_color = color, (*color[:3], FILL_OPACITY)
        layer.current_edge_width = self.line_width
        self._select_shapes(layer)

    def select(self, ids: Collection[str]) -> None:
        """Select the shapes of the regions with these ids, unless a drawing tool is active."""
        shown, layer = {one.ring_key[0] for one in self.outlines}, self.layer
        if len(ids) <= MOST_SHOWN_FIRST and not shown.issuperset(ids):
            self.show()
        elif layer is not None:
            with self.writing():
                self._select_shapes(layer)

    def _select_shapes(self, layer: Shapes) -> None:
        """Select the shapes of the selected regions, unless a drawing tool is active.

        While another layer is active, none is: napari's lines of selected shapes would cover theirs until it is hidden.
        """
        if str(layer.mode) in (*SELECT_MODES, "pan_zoom"):
            ids = set(self.session.selected_regions.value if self.viewer.layers.selection.active == layer else ())
            layer.selected_data = {index for index, one in enumerate(self.outlines) if one.ring_key[0] in ids}

    def read(self, layer: Shapes) -> None:
        """Apply the changes of the shapes; a line splits regions, an outline of the hole tool is cut out of them."""
        ids, regions = self.session.selected_regions.value, self.session.regions
        if self.tool == "split":
            line = self._find_line(layer)
            regions.apply(lambda known: region_operations.split_regions(known, ids, line))
            return
        keys = [int(key) for key in layer.features[RING_FEATURE].fillna(-1)]
        vertices = [self._to_slide(data, key) for data, key in zip(layer.data, keys, strict=True)]
        kinds = list(layer.shape_type)
        if self.tool == "hole" and keys and keys[-1] < 0:
            hole = Polygon(as_ring(shape_outline(vertices[-1], kinds[-1])))
            regions.apply(lambda known: region_operations.cut_hole(known, ids, (hole,)))
            return
        shapes, outlines = ShapesState(vertices, kinds, keys), self.outlines
        region_class, reader = self.region_class, self.session.services.reader
        self._draw(lambda known: apply_shape_edits(known, outlines, shapes, region_class, reader))

    def set_tool(self, name: str) -> None:
        """Start a tool, or only stop the active one (empty name)."""
        self.flush()
        previous = self.tool
        if previous == "brush":
            self.brush.finish()
        elif previous in ("wand", "refine"):
            (self.wand if previous == "wand" else self.clicks).stop()
            self.session.services.status.end_message(CLICK_HINT)
        super().set_tool(name if name in self.modes else "")
        if name not in ("", *self.modes):
            self.tool = name
            self._start(name)
            self.tool_changed.emit(self.tool)

    def _start(self, name: str) -> None:
        status = self.session.services.status
        if name == "wand":
            self.wand.start(self.slide, self.region_class)
        elif name == "refine":
            self.clicks.start(self.slide, self._history_keys)
            status.show_message(CLICK_HINT)
        elif self.brush.start(load_classes(self.session.services.settings, REGION_CLASSES)):
            self.brush.set_class(self.region_class)
        else:
            self.tool = ""
            status.show_briefly(NOT_IN_VIEW)

    def set_class(self, region_class: RegionClass) -> None:
        """Draw regions of another class."""
        super().set_class(region_class)
        self.brush.set_class(region_class)
        self.wand.set_class(region_class)

    def edit_class(self, previous: RegionClass, edited: RegionClass) -> None:
        """Apply the new name or color of a class to its regions and to the current painting."""
        self.session.regions.apply(lambda regions: edit_class(regions, previous.name, edited))
        self.brush.replace_class(previous, edited)

    def _on_highlight(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Follow the selection of a selecting tool; drawing tools select the shape that is being drawn."""
        if not self._is_writing and str(event.source.mode) in SELECT_MODES:
            select_regions(self.session.selected_regions, self.selected)

    def _track_line(self, layer: Shapes, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Record a line while it is drawn, since napari drops its last vertices."""
        if str(layer.mode) != self.modes["split"]:
            return
        self._line = [layer.world_to_data(event.position)[-2:]]
        yield
        while event.type == "mouse_move":
            self._line.append(layer.world_to_data(event.position)[-2:])
            yield
        self._line.append(layer.world_to_data(event.position)[-2:])

    def _find_line(self, layer: Shapes) -> NDArray[np.float64]:
        """Return the recorded line, or the last shape if the line was not drawn but clicked vertex by vertex."""
        line = np.array(self._line, np.float64)
        if not len(line) or not np.ptp(line, axis=0).any():
            line = np.asarray(layer.data[-1], np.float64)[:, -2:] if len(layer.data) else np.zeros((0, 2))
        return line + HALF

    def _to_slide(self, data: NDArray[np.floating], key: int) -> NDArray[np.float64]:
        """Return the vertices of a shape in slide pixels; for an unchanged shape, exactly those of its outline."""
        vertices = np.asarray(data, np.float64)[:, -2:]
        if 0 <= key < len(self.outlines):
            previous = self.outlines[key].vertices
            if previous.shape == vertices.shape and np.allclose(vertices + HALF, previous, atol=1e-2, rtol=0):
                return previous
        return vertices + HALF

    def _on_painted(self, painting: Painting) -> None:
        """Convert a painting to regions; the view may have moved since."""
        reader = self.session.services.reader
        new = regions_from_labels(painting.labels, painting.placement, painting.classes, reader)
        self._draw(lambda regions: ((*regions, *new), new), painting.snap_distance)

    def _on_wand_found(self, polygons: tuple[Polygon, ...]) -> None:
        new = region_from_polygons(polygons, self.region_class, self.session.services.reader)
        self._draw(lambda regions: ((*regions, new), (new,)))

    def _on_refining_click(self, click: OutlineClick) -> None:
        ids = self.session.selected_regions.value
        self.session.regions.apply_slow(lambda regions: region_operations.refine_region(regions, ids, click))

    def _draw(self, draw: Callable[[Regions], tuple[Regions, Regions]], snap_distance: float | None = None) -> None:
        """Apply a function that returns all regions and those that were drawn, which are snapped to their neighbors.

        ``snap_distance``: of ``get_snap_distance``; None for the current zoom.
        """
        document, settings = self.session.regions, self.session.services.settings
        distance = get_snap_distance(self.viewer) if snap_distance is None else snap_distance
        previous = {one.id for one in document.value}

        def edit(regions: Regions) -> Regions:
            edited, drawn = draw(regions)
            if not drawn or not settings.get(SNAP_SETTING, False):
                return edited
            return region_operations.snap_regions(edited, {one.id for one in drawn}, distance, self.slide.pixel_um)

        document.apply(edit)
        new = [one.id for one in document.value if one.id not in previous]
        if new:
            self.added.emit(new[-1])


def _list_fill_opacities(regions: Regions, outlines: Sequence[RegionOutline]) -> list[float]:
    """Return the opacity of each outline's fill: 0 for a polygon with holes, which napari would fill as well."""
    with_holes = {
        (region.id, part)
        for region in regions
        for part, polygon in enumerate(region.polygons)
        if len(polygon.arrays) > 1
    }
    return [0.0 if outline.ring_key[:2] in with_holes else FILL_OPACITY for outline in outlines]


def get_snap_distance(viewer: Viewer) -> float:
    """Return the distance within which outlines are snapped at the current zoom, in the unit of the pixel size."""
    return SNAP_PX / get_zoom(viewer)


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
            from napari.layers import Labels

            labels = Labels(np.zeros(shape, np.uint8), opacity=0.45)
            complete_brush_strokes(labels)
            return labels

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
        from napari.utils.colormaps import DirectLabelColormap

        colors: dict[int | None, Any] = {
            number: to_rgba(one.color) for number, one in enumerate(self._classes, start=1)
        }
        return DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", **colors})

    def flush(self) -> None:
        """Emit the painting unless it is empty, and continue with an empty layer."""
        layer, placement = self.layer, self._placement
        if layer is None or placement is None:
            return
        labels = np.asarray(layer.data).astype(np.uint8)
        if labels.any():
            restart_labels(layer, np.zeros_like(labels))
            self.painted.emit(Painting(labels, tuple(self._classes), placement, self._snap_distance))

    def finish(self) -> None:
        """Emit the painting unless it is empty, and remove the layer."""
        self.flush()
        layer, self._placement = self.layer, None
        if layer is not None:
            remove_tool_layer(self._viewer, self._slide, layer)
