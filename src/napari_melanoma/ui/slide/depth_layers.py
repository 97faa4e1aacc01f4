"""Layers of the Depth section: the measured line, other lines for comparison, and mitoses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera, get_visible_region
from napari_melanoma.ui.viewer.shape_layers import (
    HALF,
    Keys,
    bind_keys,
    get_data_action,
    is_slide_open,
    line_width,
    offset_label,
)
from napari_melanoma.ui.widgets.style import Connections

if TYPE_CHECKING:
    from napari.layers import Points, Shapes
    from napari.viewer import Viewer

    from napari_melanoma.depth.readings import Line, MitosisCount, SlideDepthProposals, SlideDepthReadings
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

MODEL_COLOR, READER_COLOR, COMPARED_TEXT_SIZE = "#5a5a5a", "#006b1b", 11
LABEL_OFFSET = 6 * "\n"  # moves a label below that of the measured line, which is close


@dataclass(frozen=True)
class ComparedDepthLine:
    """A line for comparison; both ends are (row, column) in pixels of the finest level."""

    line: Line
    label: str
    color: str


def select_compared_lines(
    depth: SlideDepthReadings, reader: str, proposed: SlideDepthProposals, hidden: Line | None
) -> tuple[ComparedDepthLine, ...]:
    """Return the lines of the analysis, numbered, and those of other readers once the reader has measured.

    ``hidden``: the measured line, which is drawn in its own layer.
    """
    own = depth.reading_by(reader)
    lines = [
        ComparedDepthLine(proposal.line, str(number), MODEL_COLOR)
        for number, proposal in enumerate(proposed.proposals, start=1)
    ]
    if own is not None and own.when and own.line is not None:
        lines += [
            ComparedDepthLine(reading.line, reading.reader or "(no name)", READER_COLOR)
            for reading in depth.readings
            if reading is not own and reading.when and reading.line is not None
        ]
    return tuple(compared for compared in lines if compared.line != hidden)


def show_compared_lines(viewer: Viewer, slide: ViewerSlide, lines: Sequence[ComparedDepthLine]) -> None:
    """Replace the lines for comparison."""
    import numpy as np

    layer = slide_layers.find_layer(viewer, slide, "readings")
    if layer is None and not lines:
        return
    layer = slide_layers.get_or_add_layer(viewer, slide, "readings", _create_compared_layer)
    layer.editable = True
    layer.data = []
    if lines:
        width = line_width(viewer, slide, "readings")
        ends = [np.array(compared.line, np.float64) - HALF for compared in lines]
        layer.add_lines(ends, edge_width=width, edge_color=[compared.color for compared in lines])
        shown = [
            f"{LABEL_OFFSET}{offset_label(data, 'line', compared.label)}"
            for data, compared in zip(layer.data, lines, strict=True)
        ]
        layer.features = {"shown": np.array(shown, object)}
        layer.refresh_text()
    layer.editable = False


def _create_compared_layer() -> Shapes:
    import numpy as np
    from napari.layers import Shapes

    return Shapes(
        ndim=2,
        face_color="transparent",
        opacity=0.9,
        features={"shown": np.array([], object)},
        feature_defaults={"shown": ""},
        text={"string": "{shown}", "color": MODEL_COLOR, "size": COMPARED_TEXT_SIZE, "anchor": "center"},
    )


MODES = {"draw": "add_line", "move": "direct"}  # mode of napari's layer, by tool


class DepthLineLayer(QObject):
    """The layer of the measured line, with tools to draw and to move it.

    ``line_moving``: the ``Line`` while it is drawn or an end is dragged. ``line_drawn``: the ``Line`` after the mouse
    button was released; None if it was removed. ``clicked``: the user clicked instead of drawing a line.
    ``tool_changed``: see ``tool``, which is empty if none is active.
    """

    line_moving = Signal(object)
    line_drawn = Signal(object)
    clicked = Signal()
    tool_changed = Signal()

    def __init__(self, viewer: Viewer, parent: QObject, keys: Keys) -> None:
        super().__init__(parent)
        self._viewer, self._keys = viewer, keys
        self._slide: ViewerSlide | None = None
        self.tool = self._connected_slide = ""
        self._showing = self._is_drawing = False
        self._known_line: Line | None = None  # the line that was shown last, with all digits
        self._dragged: Line | None = None  # start and current position of the mouse while a line is drawn
        self._layer_events, self._viewer_events = Connections(), Connections()
        self._viewer_events.connect(viewer.layers.selection.events.active, self._on_active)
        self.destroyed.connect(self._viewer_events.close)
        self.destroyed.connect(self._layer_events.close)

    @property
    def layer(self) -> Shapes | None:
        """The layer; None if the slide has none yet."""
        layer: Shapes | None = None
        if self._slide is not None:
            layer = slide_layers.find_layer(self._viewer, self._slide, "depth")
        return layer

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide; an unfinished line on the previous one is ignored."""
        is_same = slide is not None and self._slide is not None and slide.identity == self._slide.identity
        if not is_same:
            self.set_tool("")
            self._layer_events.close()
            self._is_drawing, self._known_line, self._connected_slide = False, None, ""
        self._slide = slide

    def show(self, line: Line | None, label: str) -> None:
        """Replace the line; ``line``: both ends in pixels of the finest level."""
        slide = self._slide
        if slide is None or self._is_drawing or not is_slide_open(self._viewer, slide):
            return
        if line is None and self.layer is None:
            return
        layer = self._ensure_layer()
        self._showing = True
        try:
            if line != read_line_ends(layer, self._known_line) or len(layer.data) > 1:
                layer.data = []
                if line is not None:
                    add_line(layer, line, line_width(self._viewer, slide, "depth"))
                    layer.selected_data = {0} if self.tool == "move" else set()
            self._known_line = line
            label_line(layer, label)
        finally:
            self._showing = False

    def set_label(self, label: str) -> None:
        """Change the label while the line is moved."""
        layer = self.layer
        if layer is not None and not self._is_drawing:
            self._showing = True
            label_line(layer, label)
            self._showing = False

    def set_tool(self, tool: str) -> None:
        """Activate a tool; empty deactivates it."""
        slide, previous, self.tool = self._slide, self.tool, ""  # events until the end are not changes by the user
        if tool and slide is not None:
            layer = self._ensure_layer()
            layer.visible = True
            self._viewer.layers.selection.active = layer
            layer.mode = MODES[tool]
            if tool == "move" and len(layer.data):
                layer.selected_data = {0}
            layer.current_edge_color, layer.current_edge_width = LINE_COLOR, line_width(self._viewer, slide, "depth")
            self.tool = tool
        elif previous and (own_layer := self.layer) is not None:
            own_layer.mode = "pan_zoom"
            if (
                slide is not None
                and self._viewer.layers.selection.active == own_layer
                and is_slide_open(self._viewer, slide)
            ):
                self._viewer.layers.selection.active = slide.layers[-1]
        if self.tool != previous:
            self.tool_changed.emit()

    def _ensure_layer(self) -> Shapes:
        """Return the layer; create and connect it if necessary."""
        slide, previous = self._slide, self.layer
        assert slide is not None, "only slides have a depth"
        width = line_width(self._viewer, slide, "depth")
        layer: Shapes = slide_layers.get_or_add_layer(self._viewer, slide, "depth", partial(create_line_layer, width))
        if previous is None or self._connected_slide != slide.identity:
            self._connected_slide = slide.identity
            self._layer_events.close()
            self._layer_events.connect(layer.events.data, self._on_data)
            self._layer_events.connect(layer.events.set_data, self._on_moving)
            self._layer_events.connect(layer.events.mode, self._on_mode)
            bind_keys(layer, self._keys)
            if self._track_drag not in layer.mouse_drag_callbacks:
                layer.mouse_drag_callbacks.append(self._track_drag)
        return layer

    def _track_drag(self, layer: Shapes, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Track the mouse while a line is drawn: napari cannot draw exactly vertical or horizontal lines."""
        slide = self._slide
        self._dragged = None
        if slide is None or layer != self.layer or self.tool != "draw":
            return
        start = slide.to_slide(tuple(event.position[-2:]))
        yield
        while event.type == "mouse_move":
            self._dragged = start, slide.to_slide(tuple(event.position[-2:]))
            yield

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        if self._showing or event.source != self.layer:
            return
        action = get_data_action(event)
        self._is_drawing = action == "adding" or (self._is_drawing and action != "added")
        if action in ("added", "changed", "removed"):
            self._is_drawing = False
            QTimer.singleShot(0, self._emit_line)  # after napari has finished the shape

    def _on_moving(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Emit the line while the mouse moves an end."""
        layer = self.layer
        if self._showing or layer is None or event.source != layer or not (self._is_drawing or self.tool == "move"):
            return
        ends = read_line_ends(layer, self._known_line)
        if ends is not None and ends != self._known_line:
            self.line_moving.emit(ends)

    def _emit_line(self) -> None:
        """Emit the line, or that it was a click, after the mouse button was released."""
        layer, slide = self.layer, self._slide
        if layer is None or slide is None or self._is_drawing:
            return
        ends = read_line_ends(layer, self._known_line)
        if ends is not None and self.tool == "draw" and is_click(self._viewer, slide, ends):
            self.clicked.emit()
        elif ends != self._known_line or len(layer.data) > 1:
            self.line_drawn.emit(ends if self._dragged is None or self.tool != "draw" else self._dragged)
        self._dragged = None

    def _on_mode(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Update the tool when it is changed in napari's layer controls; the space bar pans with any tool."""
        mode = str(event.source.mode)
        if event.source == self.layer and self.tool and mode not in (MODES[self.tool], "pan_zoom"):
            self.tool = next((tool for tool, tool_mode in MODES.items() if tool_mode == mode), "")
            self.tool_changed.emit()

    def _on_active(self, event: object) -> None:
        """Deactivate the tool when another layer is selected."""
        if self.tool and self._viewer.layers.selection.active != self.layer:
            self.set_tool("")


POINTS_ROLE, AREA_ROLE = "mitoses", "mitosis area"
TOOLS = {  # role and mode of the layer, by tool
    "count": (POINTS_ROLE, "add"),
    "area": (AREA_ROLE, "add_polygon"),
    "hotspot": (AREA_ROLE, "pan_zoom"),  # a drag that starts in an area moves the area
}
# Color of the marks, their size on the slide, and its limits in pixels of the screen
MITOSIS_COLOR, MARK_UM, MARK_PX = "#ff9500", 14.0, (9, 60)
CORNERS = 90  # of the polygon for a circle
HOTSPOT_MM2 = 1.0


class MitosisLayers(QObject):
    """The layers of mitosis marks and counting areas.

    ``changed``: a tuple of the marks, and a tuple of the outlines of the areas; all points are (row, column) in pixels
    of the finest level.
    """

    changed = Signal(object, object)
    tool_changed = Signal()

    def __init__(self, viewer: Viewer, parent: QObject, keys: Keys) -> None:
        super().__init__(parent)
        self._viewer, self._keys = viewer, keys
        self._slide: ViewerSlide | None = None
        self.tool = ""
        self._connected_roles: set[str] = set()
        self._showing = self._is_drawing = False
        self._layer_events, self._viewer_events = Connections(), Connections()
        self._viewer_events.connect(viewer.layers.selection.events.active, self._on_active)
        self.destroyed.connect(self._viewer_events.close)
        self.destroyed.connect(self._layer_events.close)

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide."""
        if slide is None or self._slide is None or slide.identity != self._slide.identity:
            self.set_tool("")
            self._layer_events.close()
            self._connected_roles.clear()
            self._is_drawing = False
        self._slide = slide

    def show(self, mitoses: MitosisCount) -> None:
        """Replace marks and areas."""
        slide = self._slide
        if slide is None or self._is_drawing or not is_slide_open(self._viewer, slide):
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
        slide, previous, self.tool = self._slide, self.tool, ""
        if previous and previous != tool and (layer := self._find_layer(TOOLS[previous][0])) is not None:
            layer.mode = "pan_zoom"
        if tool and slide is not None:
            role, mode = TOOLS[tool]
            layer = self._ensure_layer(role)
            layer.visible = True
            self._viewer.layers.selection.active = layer
            layer.mode = mode
            self.tool = tool
        elif previous and slide is not None and is_slide_open(self._viewer, slide):
            self._viewer.layers.selection.active = slide.layers[-1]
        if self.tool != previous:
            self.tool_changed.emit()

    def add_hotspot(self) -> None:
        """Replace the counting area by a circle of 1 mm² at the center of the view, unless such a circle is in view."""
        import numpy as np

        slide = self._slide
        if slide is None:
            return
        view, areas = get_visible_region(self._viewer, slide), self._areas()
        turns = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
        inside = CORNERS / 2 * np.sin(2 * np.pi / CORNERS)  # area of the polygon for a circle of 1 mm radius, in mm²
        shape = np.stack([np.sin(turns), np.cos(turns)], axis=1) * 1000 * np.sqrt(HOTSPOT_MM2 / inside)
        circle = shape / np.array(slide.pixel_um)
        if len(areas) == 1 and len(areas[0]) == CORNERS:
            y, x = np.mean(areas[0], axis=0)
            is_in_view = view.top <= y <= view.top + view.height and view.left <= x <= view.left + view.width
            if is_in_view and np.allclose(np.array(areas[0]) - (y, x), circle, atol=1):  # else drawn at another scale
                return
        ring = circle + np.array(view.center)
        self.changed.emit(self._points(), (tuple((float(y), float(x)) for y, x in ring),))

    def _find_layer(self, role: Any) -> Any:  # noqa: ANN401 - a layer, by its role
        return None if self._slide is None else slide_layers.find_layer(self._viewer, self._slide, role)

    def _ensure_layer(self, role: Any) -> Any:  # noqa: ANN401 - a layer, by its role
        """Return the layer of a role; create and connect it if necessary."""
        slide, previous = self._slide, self._find_layer(role)
        assert slide is not None, "only slides have mitoses"
        width = line_width(self._viewer, slide, "mitosis area")
        create = (lambda: _create_point_layer(slide)) if role == POINTS_ROLE else (lambda: _create_area_layer(width))
        layer = slide_layers.get_or_add_layer(self._viewer, slide, role, create)
        if previous is None or role not in self._connected_roles:
            self._connected_roles.add(role)
            self._layer_events.connect(layer.events.data, self._on_data)
            self._layer_events.connect(layer.events.mode, self._on_mode)
            bind_keys(layer, self._keys)
            if role == AREA_ROLE and self._move_area not in layer.mouse_drag_callbacks:
                layer.mouse_drag_callbacks.append(self._move_area)
        return layer

    def _move_area(self, layer: Shapes, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Move the area in which the mouse button is pressed, with the tool ``hotspot``."""
        from napari_melanoma.core.polygons import Polygon, points_within

        slide, areas = self._slide, self._areas()
        if slide is None or self.tool != "hotspot" or event.button != 1:
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
        import numpy as np

        layer = self._ensure_layer(POINTS_ROLE)
        if self._points() != mitoses.points:
            layer.data = np.array(mitoses.points, np.float64).reshape(-1, 2) - HALF
        layer.selected_data = set()

    def _show_areas(self, mitoses: MitosisCount) -> None:
        layer = self._ensure_layer(AREA_ROLE)
        if self._areas() != mitoses.areas:
            self._draw_areas(layer, mitoses.areas)

    def _draw_areas(self, layer: Shapes, areas: Sequence[Sequence[tuple[float, float]]]) -> None:
        """Replace the drawn areas."""
        import numpy as np

        assert self._slide is not None, "only slides have mitoses"
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
        if self._slide is not None and not self._is_drawing:
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


LINE_COLOR, TEXT_COLOR, TEXT_SIZE = "#0b3cff", "#00083d", 16
TOLERANCE_PX = 1e-2  # napari stores fewer digits than a file
CLICK_PX = 8.0  # a line shorter than this on the screen was a click


def create_line_layer(width: float) -> Shapes:
    """Create an empty layer; ``width``: that of its line in pixels of the finest level."""
    import numpy as np
    from napari.layers import Shapes

    return Shapes(
        ndim=2,
        edge_color=LINE_COLOR,
        edge_width=width,
        face_color="transparent",
        opacity=1,
        features={"shown": np.array([], object)},
        feature_defaults={"shown": ""},
        text={"string": "{shown}", "color": TEXT_COLOR, "size": TEXT_SIZE, "anchor": "center"},
    )


def add_line(layer: Shapes, line: Line, width: float) -> None:
    """Add a line to a layer; ends and width are in pixels of the finest level."""
    import numpy as np

    layer.add_lines([np.array(line, np.float64) - HALF], edge_width=width, edge_color=LINE_COLOR)


def read_line_ends(layer: Shapes, known: Line | None) -> Line | None:
    """Return the last line of a layer, in pixels of the finest level; None if there is no line.

    ``known``: returned instead of a line that differs only by rounding.
    """
    if not len(layer.data):
        return None
    data = layer.data[-1]
    (top, left), (bottom, right) = data[0][-2:] + HALF, data[-1][-2:] + HALF
    ends = (float(top), float(left)), (float(bottom), float(right))
    return known if known is not None and _is_same_line(ends, known) else ends


def label_line(layer: Shapes, label: str) -> None:
    """Set the label of the line."""
    import numpy as np

    shown = [offset_label(data, "line", label) for data in layer.data]
    if list(layer.features["shown"]) != shown:
        layer.features = {"shown": np.array(shown, object)}
        layer.refresh_text()
    layer.feature_defaults = {"shown": ""}


def is_click(viewer: Viewer, slide: ViewerSlide, line: Line) -> bool:
    """Return whether a line is so short that it was a click; ``line``: in pixels of the finest level."""
    (top, left), (bottom, right) = line
    y, x = (bottom - top) * slide.pixel_um[0], (right - left) * slide.pixel_um[1]
    return float(get_camera(viewer).zoom) * math.hypot(y, x) < CLICK_PX


def _is_same_line(first: Line, second: Line) -> bool:
    """Return whether the ends of two lines are equal within the tolerance."""
    return all(abs(a - b) < TOLERANCE_PX for p, q in zip(first, second, strict=True) for a, b in zip(p, q, strict=True))
