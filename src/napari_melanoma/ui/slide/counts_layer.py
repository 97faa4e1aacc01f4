"""The layer of the counted points, and the areas within which they are counted."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui.slide.shape_layers import HALF, Keys, bind_keys, is_slide_open
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.widgets.style import Connections

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Points
    from napari.viewer import Viewer

    from napari_melanoma.core.polygons import Polygon
    from napari_melanoma.io.geojson import Color
    from napari_melanoma.slides.counts import CountedPoints
    from napari_melanoma.slides.regions import RegionClass
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

ROLE: slide_layers.Role = "counts"
CLASS_FEATURE = "class"
MARK_UM, MARK_PX = 12.0, (9, 60)  # size of a mark on the slide, and limits on the screen
OTHER_COLOR: Color = (255, 255, 0)
VIEW, SLIDE, SELECTED, OF_CLASS = "view", "slide", "selected", "class "
AREAS = {VIEW: "the view", SLIDE: "the whole slide", SELECTED: "the selected regions"}


class CountLayer(QObject):
    """The points layer of the current slide.

    ``changed`` carries all ``CountedPoints``. ``left``: the tool was changed in napari, or another layer was selected.
    """

    changed = Signal(object)
    left = Signal()

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._keys = viewer, dict[str, Any]()
        self._slide: ViewerSlide | None = None
        self._is_active = self._showing = False
        self._next_class = ""
        self._connected_to: Callable[[], Points | None] = lambda: None
        self._events, self._viewer_events = Connections(), Connections()
        self._viewer_events.connect(viewer.layers.selection.events.active, self._on_active)
        for events in (self._events, self._viewer_events):
            self.destroyed.connect(events.close)

    @property
    def layer(self) -> Points | None:
        """The layer; None if there is none."""
        found: Points | None = None
        if self._slide is not None:
            found = slide_layers.find_layer(self._viewer, self._slide, ROLE)
        return found

    def bind(self, keys: Keys) -> None:
        """Set the key bindings of the layer."""
        self._keys = dict(keys)

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Switch to another slide; the layer of the previous one stays."""
        self._slide = slide

    def show(self, points: CountedPoints, classes: Sequence[RegionClass]) -> None:
        """Replace the shown points."""
        import numpy as np

        slide = self._slide
        if slide is None or (not points and self.layer is None) or not is_slide_open(self._viewer, slide):
            return
        layer = self._ensure_layer()
        colors = {one.name: one.color for one in classes}
        self._showing = True
        layer.selected_data = set()
        if points != self._read(layer):
            layer.data = np.array([one.at for one in points], np.float64).reshape(-1, 2) - HALF
            layer.features = {CLASS_FEATURE: np.array([one.class_name for one in points], object)}
        if points:
            layer.border_color = [_to_rgba(colors.get(one.class_name, OTHER_COLOR)) for one in points]
        layer.feature_defaults = {CLASS_FEATURE: self._next_class}
        self._showing = False

    def set_tool(self, region_class: RegionClass | None) -> None:
        """Start the tool that adds a point of a class with each click; None stops it."""
        slide, was_active, self._is_active = self._slide, self._is_active, False
        if slide is None or (region_class is None and not was_active):
            return
        layer = self._ensure_layer()
        if region_class is None:
            layer.mode = "pan_zoom"
            if is_slide_open(self._viewer, slide) and self._viewer.layers.selection.active == layer:
                self._viewer.layers.selection.active = slide.layers[-1]
            return
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = "add"
        self._is_active = True
        self.set_class(region_class)

    def set_class(self, region_class: RegionClass) -> None:
        """Set the class of the points that are added next."""
        layer, self._next_class = self.layer, region_class.name
        if layer is not None:
            self._showing = True
            layer.selected_data = set()  # otherwise napari changes the selected points too
            layer.current_border_color = _to_rgba(region_class.color)
            layer.feature_defaults = {CLASS_FEATURE: region_class.name}
            self._showing = False

    def _ensure_layer(self) -> Points:
        """Return the layer, created if necessary."""
        slide, previous = self._slide, self.layer
        assert slide is not None, "points are counted on slides only"
        layer: Points = slide_layers.get_or_add_layer(self._viewer, slide, ROLE, lambda: _create_layer(slide))
        if previous is None or self._connected_to() != layer:
            self._events.close()
            self._events.connect(layer.events.data, self._on_data)
            self._events.connect(layer.events.mode, self._on_mode)
            bind_keys(layer, self._keys)
            self._connected_to = weakref.ref(getattr(layer, "__wrapped__", layer))
        return layer

    def _read(self, layer: Points) -> CountedPoints:
        """Return the points of the layer."""
        from napari_melanoma.slides.counts import CountedPoint

        names = layer.features[CLASS_FEATURE] if CLASS_FEATURE in layer.features else [""] * len(layer.data)
        return tuple(
            CountedPoint(str(name), (round(float(one[-2]) + HALF, 2), round(float(one[-1]) + HALF, 2)))
            for name, one in zip(names, layer.data, strict=True)
        )

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        action = str(getattr(event.action, "value", event.action))
        if not self._showing and event.source == self.layer and action in ("added", "changed", "removed"):
            QTimer.singleShot(0, self._emit_changed)  # after napari has finished the change

    def _emit_changed(self) -> None:
        layer = self.layer
        if layer is not None:
            self.changed.emit(self._read(layer))

    def _on_mode(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """React to a change of the tool in napari's layer controls; the space bar pans with any tool."""
        if self._is_active and event.source == self.layer and str(event.source.mode) not in ("add", "pan_zoom"):
            self._is_active = False
            self.left.emit()

    def _on_active(self, event: object) -> None:
        if self._is_active and self._viewer.layers.selection.active != self.layer:
            self._is_active = False
            self.left.emit()


def get_view_outline(viewer: Viewer, slide: ViewerSlide) -> tuple[Polygon, ...]:
    """Return the outline of the visible part of a slide, which may be rotated, in pixels of the finest level."""
    from napari_melanoma.core.polygons import Polygon, clip_polygon

    camera = get_camera(viewer)
    (height, width), zoom = viewer.canvas.size, max(float(camera.zoom), 1e-12)
    y, x = (float(value) for value in camera.center[-2:])
    half = height / zoom / 2, width / zoom / 2
    top, left, bottom, right = y - half[0], x - half[1], y + half[0], x + half[1]
    corners = (top, left), (top, right), (bottom, right), (bottom, left)
    return clip_polygon(Polygon(tuple(map(slide.to_slide, corners))), slide.size)


def _to_rgba(color: Color) -> tuple[float, float, float, float]:
    return color[0] / 255, color[1] / 255, color[2] / 255, 1.0


def _create_layer(slide: ViewerSlide) -> Points:
    import numpy as np
    from napari.layers import Points

    return Points(
        ndim=2,
        size=MARK_UM / slide.pixel_um[1],
        face_color="transparent",
        border_width=0.15,
        features={CLASS_FEATURE: np.array([], object)},
        canvas_size_limits=MARK_PX,
    )
