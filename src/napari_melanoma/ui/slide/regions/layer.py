"""Regions as shapes, and the brush."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.core.placement import MapPlacement
from napari_melanoma.slides.regions import RegionOutline, ShapesState, region_outlines
from napari_melanoma.ui.slide.shape_layers import (
    HALF,
    bind_keys,
    complete_lasso_strokes,
    is_slide_open,
    line_width,
    repair_features,
)
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_visible_region
from napari_melanoma.ui.widgets.style import Connections

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import numpy as np
    from napari.layers import Labels, Shapes
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.io.geojson import Color
    from napari_melanoma.slides.regions import RegionClass, Regions
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

RING_FEATURE = "ring"  # feature of a shape: which outline it is; -1 for one that was drawn since
FILL_OPACITY = 0.12  # opacity within an outline


class RegionLayer(QObject):
    """Shows the regions of one slide."""

    changed = Signal(object)
    message = Signal(str)

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._slide: ViewerSlide | None = None
        self._outlines: tuple[RegionOutline, ...] = ()
        self._keys: dict[str, Callable[[], None]] = {}
        self.busy = False
        self._is_drawing = self._showing = False
        self._events = Connections()

    @property
    def layer(self) -> Shapes | None:
        """The layer; None where there is none."""
        found: Shapes | None = None
        if self._slide is not None:
            found = slide_layers.find_layer(self._viewer, self._slide, "regions")
        return found

    @property
    def outlines(self) -> tuple[RegionOutline, ...]:
        """The outlines as they were last shown."""
        return self._outlines

    @property
    def selected(self) -> tuple[str, ...]:
        """Ids of the regions whose shapes are selected."""
        layer = self.layer
        keys = [] if layer is None else [int(layer.features[RING_FEATURE].iloc[index]) for index in layer.selected_data]
        return tuple({self._outlines[key].ring_key[0]: None for key in keys if 0 <= key < len(self._outlines)})

    def bind(self, keys: dict[str, Callable[[], None]]) -> None:
        """Say what keys do while the layer is the active one."""
        self._keys = keys

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Be about another slide; its layer stays as it is."""
        self._slide, self._outlines, self._is_drawing = slide, (), False

    def show(self, regions: Regions, selected: Collection[str] = ()) -> None:
        """Show regions in place of what is shown."""
        slide = self._slide
        if slide is None or (not regions and self.layer is None):
            return
        self._showing = True
        try:
            layer = self._ensure_layer()
            self._outlines = region_outlines(regions, slide.size)
            colours = {one.id: one.color or (255, 255, 0) for one in regions}
            layer.selected_data = set()
            layer.data = []
            if self._outlines:
                drawn = [_to_rgba(colours[one.ring_key[0]]) for one in self._outlines]
                faint = [(*colour[:3], FILL_OPACITY) for colour in drawn]
                outlines = [one.vertices - HALF for one in self._outlines]
                width = line_width(self._viewer, slide, "regions")
                layer.add_polygons(outlines, edge_width=width, edge_color=drawn, face_color=faint)
            layer.features = {RING_FEATURE: list(range(len(self._outlines)))}
            layer.feature_defaults = {RING_FEATURE: -1}
            chosen = {index for index, one in enumerate(self._outlines) if one.ring_key[0] in selected}
            if chosen and layer.mode in ("select", "direct"):
                layer.selected_data = chosen
        finally:
            self._showing = False

    def set_mode(self, mode: str, region_class: RegionClass) -> None:
        """Take a tool in hand."""
        if self._slide is None:
            return
        layer = self._ensure_layer()
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = mode
        self.set_class(region_class)

    def set_class(self, region_class: RegionClass) -> None:
        """Draw in the colour of a class from now on."""
        layer, slide = self.layer, self._slide
        if layer is not None and slide is not None:
            self._showing = True
            layer.selected_data = set()  # else napari gives those the colour too
            colour = _to_rgba(region_class.color)
            layer.current_edge_color, layer.current_face_color = colour, (*colour[:3], FILL_OPACITY)
            layer.current_edge_width = line_width(self._viewer, slide, "regions")
            self._showing = False

    def _ensure_layer(self) -> Shapes:
        """The layer, made where there is none."""
        slide, before = self._slide, self.layer
        assert slide is not None, "only slides have regions"
        layer: Shapes = slide_layers.get_or_add_layer(self._viewer, slide, "regions", _create_layer)
        if before is None:
            layer.features = {RING_FEATURE: []}
            layer.feature_defaults = {RING_FEATURE: -1}
            complete_lasso_strokes(layer, self.message.emit)
        if before is None or not self._outlines:
            self._events.close()
            self._events.connect(layer.events.data, self._on_data)
            bind_keys(layer, self._keys)
        return layer

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        if self._showing:
            return
        action = str(getattr(event.action, "value", event.action))
        if action == "adding":
            self._is_drawing = True
        elif action in ("added", "changed", "removed"):
            self._is_drawing = False
            self.busy = True
            QTimer.singleShot(0, self._emit_shapes)  # when napari is done with the shape

    def _emit_shapes(self) -> None:
        layer, self.busy = self.layer, False
        if layer is None or self._is_drawing:
            return
        repair_features(layer)
        keys = [int(key) for key in layer.features[RING_FEATURE].fillna(-1)]
        vertices = [self._to_slide(data, key) for data, key in zip(layer.data, keys, strict=True)]
        self.changed.emit(ShapesState(vertices, list(layer.shape_type), keys))

    def _to_slide(self, data: NDArray[np.floating], key: int) -> NDArray[np.float64]:
        """Vertices on the slide; of a shape that nobody touched exactly those that were shown."""
        import numpy as np

        vertices = np.asarray(data, np.float64)[:, -2:]
        if 0 <= key < len(self._outlines):
            before = self._outlines[key].vertices
            if before.shape == vertices.shape and np.allclose(vertices + HALF, before, atol=1e-2, rtol=0):
                return before
        return vertices + HALF


def _to_rgba(color: Color) -> tuple[float, float, float, float]:
    """A colour as napari takes it."""
    return color[0] / 255, color[1] / 255, color[2] / 255, 1.0


def _create_layer() -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2)


CELLS = 1024  # along the longer side of the view: about a pixel of the screen
BRUSH_CELLS = 30


class RegionBrush(QObject):
    """Lets the user paint classes over the view, and hands what was painted over.

    ``painted``: labels uint8 (row, column), 1 for the first class, and their ``MapPlace``.
    """

    painted = Signal(object, object)

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._slide: ViewerSlide | None = None
        self._place: MapPlacement | None = None

    @property
    def layer(self) -> Labels | None:
        """What is painted on; None while nobody paints."""
        found: Labels | None = None
        if self._slide is not None:
            found = slide_layers.find_layer(self._viewer, self._slide, "painting")
        return found

    def start(self, slide: ViewerSlide, classes: Sequence[RegionClass], keys: dict[str, Callable[[], None]]) -> None:
        """Lay an empty picture over what is in view."""
        self._slide = slide
        place, shape = _visible_grid(self._viewer, slide)
        if min(shape) < 1:
            self._slide = None
            return

        def make() -> Labels:
            import numpy as np
            from napari.layers import Labels
            from napari.utils.colormaps import DirectLabelColormap

            colours: dict[int | None, Any] = {
                number: tuple(c / 255 for c in one.color) for number, one in enumerate(classes, start=1)
            }
            table = {None: "transparent", 0: "transparent", **colours}
            return Labels(np.zeros(shape, np.uint8), opacity=0.45, colormap=DirectLabelColormap(color_dict=table))

        layer: Labels = slide_layers.get_or_add_layer(self._viewer, slide, "painting", make, place)
        self._place = place
        layer.brush_size = BRUSH_CELLS
        bind_keys(layer, keys)
        self._viewer.layers.selection.active = layer
        layer.mode = "paint"

    def set_class(self, number: int) -> None:
        """Paint a class from now on."""
        layer = self.layer
        if layer is not None:
            layer.selected_label = number

    def finish(self) -> None:
        """Hand over what was painted, and take the picture away."""
        import numpy as np

        layer, place, slide = self.layer, self._place, self._slide
        self._slide = self._place = None
        if layer is None or place is None or slide is None:
            return
        labels = np.asarray(layer.data).astype(np.uint8)
        self._viewer.layers.remove(layer)
        if is_slide_open(self._viewer, slide):
            self._viewer.layers.selection.active = slide.layers[-1]
        if labels.any():
            self.painted.emit(labels, place)


def _visible_grid(viewer: Viewer, slide: ViewerSlide) -> tuple[MapPlacement, tuple[int, int]]:
    """What is in view of a slide, in whole cells of at least a pixel: place, and rows and columns."""
    view = get_visible_region(viewer, slide)
    top, left = max(0.0, view.top), max(0.0, view.left)
    bottom, right = min(float(slide.size[0]), view.top + view.height), min(float(slide.size[1]), view.left + view.width)
    step = max(1, round(max(bottom - top, right - left) / CELLS))
    first = int(top // step * step), int(left // step * step)
    shape = int(-((first[0] - bottom) // step)), int(-((first[1] - right) // step))
    return MapPlacement(float(first[0]), float(first[1]), float(step), float(step), slide.info.pixel_size), shape
