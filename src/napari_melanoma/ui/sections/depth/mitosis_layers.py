"""The layers of the mitoses that a reader has marked, and of the areas in which they are counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_visible_region
from napari_melanoma.ui.viewer.shape_layers import HALF, Keys, bind_keys, get_data_action, is_slide_open, line_width

if TYPE_CHECKING:
    from napari.layers import Points, Shapes
    from napari.viewer import Viewer

    from napari_melanoma.depth.readings import MitosisCount
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

POINTS_ROLE, AREA_ROLE = "mitoses", "mitosis area"
TOOLS = {  # role and mode of the layer, by tool
    "count": (POINTS_ROLE, "add"),
    "area": (AREA_ROLE, "add_polygon"),
    "hotspot": (AREA_ROLE, "pan_zoom"),  # a drag that starts in an area moves the area
}
# Color of the marks, their size on the slide, and its limits in pixels of the screen
MITOSIS_COLOR, MARK_UM, MARK_PX = "#ff9500", 14.0, (9, 60)
COUNTED_FILL = (1.0, 0.58, 0.0, 0.35)  # of marks that are counted; the cell stays visible
CORNERS = 90  # of the polygon for a circle
HOTSPOT_MM2 = 1.0


class MitosisLayers(QObject):
    """The layers of mitosis marks and counting areas of a slide.

    ``changed``: a tuple of the marks, and a tuple of the outlines of the areas; all points are (row, column) in pixels
    of the finest level.
    """

    changed = Signal(object, object)
    tool_changed = Signal()

    def __init__(self, viewer: Viewer, slide: ViewerSlide, parent: QObject, keys: Keys) -> None:
        super().__init__(parent)
        self._viewer, self._slide, self._keys = viewer, slide, keys
        self.tool = ""
        self._connected: dict[str, Any] = {}  # layers by role
        self._showing = self._is_drawing = False
        self._events = SectionConnections(self)
        self._events.connect(viewer.layers.selection.events.active, self._on_active)

    @property
    def connected(self) -> tuple[Any, ...]:
        """The layers, also after they were removed."""
        return tuple(self._connected.values())

    def close(self) -> None:
        """End the tool, and disconnect the layers, which stay with their slide; an unfinished area is ignored."""
        self._events.close()
        self.set_tool("")
        if AREA_ROLE in self._connected:
            self._connected[AREA_ROLE].mouse_drag_callbacks.remove(self._move_area)
        self._connected.clear()

    def show(self, mitoses: MitosisCount) -> None:
        """Replace marks and areas."""
        if self._is_drawing or not is_slide_open(self._viewer, self._slide):
            return
        self._showing = True
        try:
            if mitoses.points or self._find_layer(POINTS_ROLE) is not None:
                self._show_points(mitoses)
            if mitoses.areas or self._find_layer(AREA_ROLE) is not None:
                self._show_areas(mitoses)
        finally:
            self._showing = False

    def set_tool(self, tool: str) -> None:
        """Activate a tool; empty deactivates it."""
        previous, self.tool = self.tool, ""
        own_layer = self._find_layer(TOOLS[previous][0]) if previous else None
        if previous != tool and own_layer is not None:
            own_layer.mode = "pan_zoom"
        if tool:
            role, mode = TOOLS[tool]
            layer = self._ensure_layer(role)
            layer.visible = True
            self._viewer.layers.selection.active = layer
            layer.mode = mode
            self.tool = tool
        elif (
            previous and self._viewer.layers.selection.active == own_layer and is_slide_open(self._viewer, self._slide)
        ):
            self._viewer.layers.selection.active = self._slide.layers[-1]
        if self.tool != previous:
            self.tool_changed.emit()

    def add_hotspot(self) -> None:
        """Replace the counting area by a circle of 1 mm² at the center of the view, unless such a circle is in view."""
        import numpy as np

        view, areas = get_visible_region(self._viewer, self._slide), self._areas()
        turns = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
        inside = CORNERS / 2 * np.sin(2 * np.pi / CORNERS)  # area of the polygon for a circle of 1 mm radius, in mm²
        shape = np.stack([np.sin(turns), np.cos(turns)], axis=1) * 1000 * np.sqrt(HOTSPOT_MM2 / inside)
        circle = shape / np.array(self._slide.pixel_um)
        if len(areas) == 1 and len(areas[0]) == CORNERS:
            y, x = np.mean(areas[0], axis=0)
            is_in_view = view.top <= y <= view.top + view.height and view.left <= x <= view.left + view.width
            if is_in_view and np.allclose(np.array(areas[0]) - (y, x), circle, atol=1):  # else drawn at another scale
                return
        ring = circle + np.array(view.center)
        self.changed.emit(self._points(), (tuple((float(y), float(x)) for y, x in ring),))

    def _find_layer(self, role: Any) -> Any:  # noqa: ANN401 - a layer, by its role
        return slide_layers.find_layer(self._viewer, self._slide, role)

    def _ensure_layer(self, role: Any) -> Any:  # noqa: ANN401 - a layer, by its role
        """Return the layer of a role; create and connect it if necessary."""
        slide, width = self._slide, line_width(self._viewer, self._slide, "mitosis area")
        create = (lambda: _create_point_layer(slide)) if role == POINTS_ROLE else (lambda: _create_area_layer(width))
        layer = slide_layers.get_or_add_layer(self._viewer, slide, role, create)
        if self._connected.get(role) != layer:  # napari passes proxies to docks
            self._connected[role] = layer
            self._events.connect(layer.events.data, self._on_data)
            self._events.connect(layer.events.mode, self._on_mode)
            bind_keys(layer, self._keys)
            if role == AREA_ROLE:
                layer.mouse_drag_callbacks.append(self._move_area)
        return layer

    def _move_area(self, layer: Shapes, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Move the area in which the mouse button is pressed, with the tool ``hotspot``."""
        from napari_melanoma.core.polygons import Polygon, points_within

        slide, areas = self._slide, self._areas()
        if self.tool != "hotspot" or event.button != 1:
            return
        start = slide.to_slide(tuple(event.position[-2:]))
        pressed = [points_within([start], [Polygon(area)]).any() for area in areas]
        if not any(pressed):
            return
        event.handled = True  # otherwise the view would move
        yield
        moved = areas
        while event.type == "mouse_move":
            event.handled = True
            to = slide.to_slide(tuple(event.position[-2:]))
            y, x = to[0] - start[0], to[1] - start[1]
            moved = tuple(
                tuple((row + y, column + x) for row, column in area) if is_pressed else area
                for area, is_pressed in zip(areas, pressed, strict=True)
            )
            self._showing = True
            self._draw_areas(layer, moved)
            self._showing = False
            yield
        if moved != areas:
            self.changed.emit(self._points(), self._areas())

    def _show_points(self, mitoses: MitosisCount) -> None:
        """Show the marks; those outside the areas are hollow, because they are not counted."""
        import numpy as np

        from napari_melanoma.core.polygons import Polygon, points_within

        layer = self._ensure_layer(POINTS_ROLE)
        if self._points() != mitoses.points:
            layer.data = np.array(mitoses.points, np.float64).reshape(-1, 2) - HALF
        if mitoses.points:
            areas = [Polygon(area) for area in mitoses.areas]
            is_counted = points_within(mitoses.points, areas) if areas else np.ones(len(mitoses.points), bool)
            colors = np.where(is_counted[:, None], COUNTED_FILL, (0.0, 0.0, 0.0, 0.0))
            if not np.array_equal(layer.face_color, colors.astype(layer.face_color.dtype)):
                layer.face_color = colors
                layer.current_face_color = "transparent"
        layer.selected_data = set()

    def _show_areas(self, mitoses: MitosisCount) -> None:
        layer = self._ensure_layer(AREA_ROLE)
        if self._areas() != mitoses.areas:
            self._draw_areas(layer, mitoses.areas)

    def _draw_areas(self, layer: Shapes, areas: Sequence[Sequence[tuple[float, float]]]) -> None:
        """Replace the drawn areas."""
        import numpy as np

        layer.data = []
        if areas:
            outlines = [np.array(area, np.float64) - HALF for area in areas]
            width = line_width(self._viewer, self._slide, "mitosis area")
            layer.add_polygons(outlines, edge_width=width, edge_color=MITOSIS_COLOR, face_color="transparent")

    def _points(self) -> tuple[tuple[float, float], ...]:
        layer = self._find_layer(POINTS_ROLE)
        return () if layer is None else tuple(_round_point(point[-2:] + HALF) for point in layer.data)

    def _areas(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        layer = self._find_layer(AREA_ROLE)
        if layer is None:
            return ()
        return tuple(
            tuple(_round_point(corner[-2:] + HALF) for corner in outline) for outline in layer.data if len(outline) > 2
        )

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        if self._showing or event.source not in (self._find_layer(POINTS_ROLE), self._find_layer(AREA_ROLE)):
            return
        action = get_data_action(event)
        if event.source == self._find_layer(AREA_ROLE):
            self._is_drawing = action == "adding"
        if action in ("added", "changed", "removed"):
            self._is_drawing = False
            QTimer.singleShot(0, self._emit_changed)  # after napari has finished the change

    def _emit_changed(self) -> None:
        if self._connected and not self._is_drawing:
            self.changed.emit(self._points(), self._areas())

    def _on_mode(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Update the tool when it is changed in napari's layer controls; the space bar pans with any tool."""
        role, mode = TOOLS.get(self.tool, ("", ""))
        if role and event.source == self._find_layer(role) and str(event.source.mode) not in (mode, "pan_zoom"):
            self.tool = ""
            self.tool_changed.emit()

    def _on_active(self, event: object) -> None:
        """Deactivate the tool when another layer is selected."""
        if self.tool and self._viewer.layers.selection.active != self._find_layer(TOOLS[self.tool][0]):
            self.set_tool("")


def _round_point(point: Any) -> tuple[float, float]:  # noqa: ANN401 - two numbers
    """Round to a hundredth of a pixel, because napari stores points with less precision."""
    return round(float(point[0]), 2), round(float(point[1]), 2)


def _create_point_layer(slide: ViewerSlide) -> Points:
    from napari.layers import Points

    return Points(
        ndim=2,
        size=MARK_UM / slide.pixel_um[1],
        face_color="transparent",
        border_color=MITOSIS_COLOR,
        border_width=0.15,
        canvas_size_limits=MARK_PX,
    )


def _create_area_layer(width: float) -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2, edge_color=MITOSIS_COLOR, edge_width=width, face_color="transparent")
