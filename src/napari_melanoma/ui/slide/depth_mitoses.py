"""Mitoses counted with clicks over an area that is drawn for it: two layers, told as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui.connections import Connections
from napari_melanoma.ui.slide import layers as slide_layers
from napari_melanoma.ui.slide.camera import seen
from napari_melanoma.ui.slide.drawn_layers import HALF, Keys, bind, is_open
from napari_melanoma.ui.slide.line_width import line_width

if TYPE_CHECKING:
    from napari.layers import Points, Shapes
    from napari.viewer import Viewer

    from napari_melanoma.io.slide_depth import Mitoses
    from napari_melanoma.ui.slide.layers import OpenSlide

POINTS, AREA = "mitoses", "mitosis area"
TOOLS = {"count": (POINTS, "add"), "area": (AREA, "add_polygon")}
COLOUR, MARK_UM, MARK_PX = "#ff9500", 14.0, (9, 60)  # width of a mark on the slide, and least and most on the screen
CORNERS = 90
HOTSPOT_MM2 = 1.0


class MitosisLayers(QObject):
    """Shows marks and area, and tells when the user changes them.

    ``changed``: points and areas as they are now, in pixels of the finest level.
    """

    changed = Signal(object, object)
    tool_changed = Signal()

    def __init__(self, viewer: Viewer, parent: QObject, keys: Keys) -> None:
        super().__init__(parent)
        self._viewer, self._keys = viewer, keys
        self._slide: OpenSlide | None = None
        self.tool = ""
        self._wired: set[str] = set()
        self._showing = self._in_hand = False
        self._layer_events, self._viewer_events = Connections(), Connections()
        self._viewer_events.connect(viewer.layers.selection.events.active, self._on_active)
        self.destroyed.connect(self._viewer_events.close)
        self.destroyed.connect(self._layer_events.close)

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide."""
        if slide is None or self._slide is None or slide.identity != self._slide.identity:
            self.take("")
            self._layer_events.close()
            self._wired.clear()
            self._in_hand = False
        self._slide = slide

    def show(self, mitoses: Mitoses) -> None:
        """Show marks and areas in place of what is shown."""
        slide = self._slide
        if slide is None or self._in_hand or not is_open(self._viewer, slide):
            return
        self._showing = True
        try:
            if mitoses.points or self._part(POINTS) is not None:
                self._show_points(mitoses)
            if mitoses.areas or self._part(AREA) is not None:
                self._show_areas(mitoses)
        finally:
            self._showing = False

    def take(self, tool: str) -> None:
        """Put a tool into the user's hand, or away."""
        slide, before, self.tool = self._slide, self.tool, ""
        if before and before != tool and (last := self._part(TOOLS[before][0])) is not None:
            last.mode = "pan_zoom"
        if tool and slide is not None:
            role, mode = TOOLS[tool]
            layer = self._made(role)
            layer.visible = True
            self._viewer.layers.selection.active = layer
            layer.mode = mode
            self.tool = tool
        elif before and slide is not None and is_open(self._viewer, slide):
            self._viewer.layers.selection.active = slide.layers[-1]
        if self.tool != before:
            self.tool_changed.emit()

    def add_hotspot(self) -> None:
        """Put a circle of a square millimetre where the user looks, in place of the area before."""
        import numpy as np

        slide = self._slide
        if slide is None:
            return
        row, column = seen(self._viewer, slide).center
        turns = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
        shape = np.stack([np.sin(turns), np.cos(turns)], axis=1) * 1000 / np.array(slide.um)
        inside = CORNERS / 2 * np.sin(2 * np.pi / CORNERS)  # what the polygon of a circle of 1 mm encloses, in mm²
        ring = shape * np.sqrt(HOTSPOT_MM2 / inside) + np.array((row, column))
        self.changed.emit(self._points(), (tuple((float(y), float(x)) for y, x in ring),))

    def _part(self, role: Any) -> Any:  # noqa: ANN401 - a layer, by its role
        return None if self._slide is None else slide_layers.part(self._viewer, self._slide, role)

    def _made(self, role: Any) -> Any:  # noqa: ANN401 - a layer, by its role
        """A layer, made where there is none."""
        slide, before = self._slide, self._part(role)
        assert slide is not None, "only slides have mitoses"
        width = line_width(self._viewer, slide, "mitosis area")
        make = (lambda: _marks(slide)) if role == POINTS else (lambda: _outlines(width))
        layer = slide_layers.put(self._viewer, slide, role, make)
        if before is None or role not in self._wired:
            self._wired.add(role)
            self._layer_events.connect(layer.events.data, self._on_data)
            self._layer_events.connect(layer.events.mode, self._on_mode)
            bind(layer, self._keys)
        return layer

    def _show_points(self, mitoses: Mitoses) -> None:
        import numpy as np

        layer = self._made(POINTS)
        if self._points() != mitoses.points:
            layer.data = np.array(mitoses.points, np.float64).reshape(-1, 2) - HALF
        layer.selected_data = set()

    def _show_areas(self, mitoses: Mitoses) -> None:
        import numpy as np

        layer = self._made(AREA)
        if self._areas() != mitoses.areas:
            layer.data = []
            if mitoses.areas:
                outlines = [np.array(area, np.float64) - HALF for area in mitoses.areas]
                assert self._slide is not None
                width = line_width(self._viewer, self._slide, "mitosis area")
                layer.add_polygons(outlines, edge_width=width, edge_color=COLOUR, face_color="transparent")

    def _points(self) -> tuple[tuple[float, float], ...]:
        layer = self._part(POINTS)
        return () if layer is None else tuple(_rounded(one[-2:] + HALF) for one in layer.data)

    def _areas(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        layer = self._part(AREA)
        if layer is None:
            return ()
        return tuple(tuple(_rounded(one[-2:] + HALF) for one in data) for data in layer.data if len(data) > 2)

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        if self._showing or event.source not in (self._part(POINTS), self._part(AREA)):
            return
        action = str(getattr(event.action, "value", event.action))
        if event.source == self._part(AREA):
            self._in_hand = action == "adding"
        if action in ("added", "changed", "removed"):
            self._in_hand = False
            QTimer.singleShot(0, self._tell)  # when napari is done with it

    def _tell(self) -> None:
        if self._slide is not None and not self._in_hand:
            self.changed.emit(self._points(), self._areas())

    def _on_mode(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Show that another tool was taken in napari's own controls."""
        role, mode = TOOLS.get(self.tool, ("", ""))
        if role and event.source == self._part(role) and str(event.source.mode) != mode:
            self.tool = ""
            self.tool_changed.emit()

    def _on_active(self, event: object) -> None:
        """Put the tool away when the user turns to another layer."""
        if self.tool and self._viewer.layers.selection.active != self._part(TOOLS[self.tool][0]):
            self.take("")


def _rounded(point: Any) -> tuple[float, float]:  # noqa: ANN401 - two numbers
    """A place to a hundredth of a pixel, so that what napari rounds compares equal."""
    return round(float(point[0]), 2), round(float(point[1]), 2)


def _marks(slide: OpenSlide) -> Points:
    from napari.layers import Points

    return Points(
        ndim=2,
        size=MARK_UM / slide.um[1],
        face_color="transparent",
        border_color=COLOUR,
        border_width=0.15,
        canvas_size_limits=MARK_PX,
    )


def _outlines(width: float) -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2, edge_color=COLOUR, edge_width=width, face_color="transparent")
