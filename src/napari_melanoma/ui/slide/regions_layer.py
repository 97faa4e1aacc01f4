"""Regions as a layer of shapes: drawn, moved and deleted with napari's own tools, and followed when a shape is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.analysis.region_edits import ShapesNow, Shown, shown
from napari_melanoma.ui.connections import Connections
from napari_melanoma.ui.slide import layers as slide_layers
from napari_melanoma.ui.slide.drawn_layers import HALF, bind
from napari_melanoma.ui.slide.freehand import complete_strokes, repair_features
from napari_melanoma.ui.slide.line_width import line_width

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import numpy as np
    from napari.layers import Shapes
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.analysis.regions import RegionClass, Regions
    from napari_melanoma.io.geojson import Color
    from napari_melanoma.ui.slide.layers import OpenSlide

KEY = "ring"  # feature of a shape: which outline it is; -1 for one that was drawn since
FAINT = 0.12  # opacity within an outline


class RegionLayer(QObject):
    """Shows the regions of one slide."""

    changed = Signal(object)
    said = Signal(str)

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._slide: OpenSlide | None = None
        self._shown: tuple[Shown, ...] = ()
        self._keys: dict[str, Callable[[], None]] = {}
        self.busy = False
        self._in_hand = self._showing = False
        self._events = Connections()

    @property
    def layer(self) -> Shapes | None:
        """The layer; None where there is none."""
        found: Shapes | None = None
        if self._slide is not None:
            found = slide_layers.part(self._viewer, self._slide, "regions")
        return found

    @property
    def shown(self) -> tuple[Shown, ...]:
        """The outlines as they were last shown."""
        return self._shown

    @property
    def selected(self) -> tuple[str, ...]:
        """Ids of the regions whose shapes are selected."""
        layer = self.layer
        keys = [] if layer is None else [int(layer.features[KEY].iloc[index]) for index in layer.selected_data]
        return tuple({self._shown[key].at[0]: None for key in keys if 0 <= key < len(self._shown)})

    def bind(self, keys: dict[str, Callable[[], None]]) -> None:
        """Say what keys do while the layer is the active one."""
        self._keys = keys

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide; its layer stays as it is."""
        self._slide, self._shown, self._in_hand = slide, (), False

    def show(self, regions: Regions, selected: Collection[str] = ()) -> None:
        """Show regions in place of what is shown."""
        slide = self._slide
        if slide is None or (not regions and self.layer is None):
            return
        self._showing = True
        try:
            layer = self._made()
            self._shown = shown(regions, slide.size)
            colours = {one.id: one.color or (255, 255, 0) for one in regions}
            layer.selected_data = set()
            layer.data = []
            if self._shown:
                drawn = [_rgba(colours[one.at[0]]) for one in self._shown]
                faint = [(*colour[:3], FAINT) for colour in drawn]
                outlines = [one.vertices - HALF for one in self._shown]
                width = line_width(self._viewer, slide, "regions")
                layer.add_polygons(outlines, edge_width=width, edge_color=drawn, face_color=faint)
            layer.features = {KEY: list(range(len(self._shown)))}
            layer.feature_defaults = {KEY: -1}
            chosen = {index for index, one in enumerate(self._shown) if one.at[0] in selected}
            if chosen and layer.mode in ("select", "direct"):
                layer.selected_data = chosen
        finally:
            self._showing = False

    def draw(self, mode: str, of: RegionClass) -> None:
        """Take a tool in hand."""
        if self._slide is None:
            return
        layer = self._made()
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = mode
        self.colour(of)

    def colour(self, of: RegionClass) -> None:
        """Draw in the colour of a class from now on."""
        layer, slide = self.layer, self._slide
        if layer is not None and slide is not None:
            self._showing = True
            layer.selected_data = set()  # else napari gives those the colour too
            colour = _rgba(of.color)
            layer.current_edge_color, layer.current_face_color = colour, (*colour[:3], FAINT)
            layer.current_edge_width = line_width(self._viewer, slide, "regions")
            self._showing = False

    def _made(self) -> Shapes:
        """The layer, made where there is none."""
        slide, before = self._slide, self.layer
        assert slide is not None, "only slides have regions"
        layer: Shapes = slide_layers.put(self._viewer, slide, "regions", _shapes)
        if before is None:
            layer.features = {KEY: []}
            layer.feature_defaults = {KEY: -1}
            complete_strokes(layer, self.said.emit)
        if before is None or not self._shown:
            self._events.close()
            self._events.connect(layer.events.data, self._on_data)
            bind(layer, self._keys)
        return layer

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        if self._showing:
            return
        action = str(getattr(event.action, "value", event.action))
        if action == "adding":
            self._in_hand = True
        elif action in ("added", "changed", "removed"):
            self._in_hand = False
            self.busy = True
            QTimer.singleShot(0, self._tell)  # when napari is done with the shape

    def _tell(self) -> None:
        layer, self.busy = self.layer, False
        if layer is None or self._in_hand:
            return
        repair_features(layer)
        keys = [int(key) for key in layer.features[KEY].fillna(-1)]
        vertices = [self._placed(data, key) for data, key in zip(layer.data, keys, strict=True)]
        self.changed.emit(ShapesNow(vertices, list(layer.shape_type), keys))

    def _placed(self, data: NDArray[np.floating], key: int) -> NDArray[np.float64]:
        """Vertices on the slide; of a shape that nobody touched exactly those that were shown."""
        import numpy as np

        vertices = np.asarray(data, np.float64)[:, -2:]
        if 0 <= key < len(self._shown):
            before = self._shown[key].vertices
            if before.shape == vertices.shape and np.allclose(vertices + HALF, before, atol=1e-2, rtol=0):
                return before
        return vertices + HALF


def _rgba(colour: Color) -> tuple[float, float, float, float]:
    """A colour as napari takes it."""
    return colour[0] / 255, colour[1] / 255, colour[2] / 255, 1.0


def _shapes() -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2)
