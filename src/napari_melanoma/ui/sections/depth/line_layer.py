"""The layers of the measured line, and of other lines for comparison."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.viewer.shape_layers import (
    HALF,
    Keys,
    bind_keys,
    get_data_action,
    is_slide_open,
    line_width,
    offset_label,
)

if TYPE_CHECKING:
    from napari.layers import Shapes
    from napari.viewer import Viewer

    from napari_melanoma.depth.readings import Line
    from napari_melanoma.ui.sections.depth.resolve import ComparedDepthLine
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

MODEL_COLOR, READER_COLOR, COMPARED_TEXT_SIZE = "#5a5a5a", "#006b1b", 11
LABEL_OFFSET = 6 * "\n"  # moves a label below that of the measured line, which is close


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
        colors = [READER_COLOR if compared.is_reader else MODEL_COLOR for compared in lines]
        layer.add_lines(ends, edge_width=width, edge_color=colors)
        shown = [
            f"{LABEL_OFFSET}{offset_label(layer, data, 'line', compared.label)}"
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
    ``tool_changed``: see ``tool``, which is empty if none is active. ``connected``: the layer, also after it was
    removed.
    """

    line_moving = Signal(object)
    line_drawn = Signal(object)
    clicked = Signal()
    tool_changed = Signal()

    def __init__(self, viewer: Viewer, slide: ViewerSlide, parent: QObject, keys: Keys) -> None:
        super().__init__(parent)
        self._viewer, self._slide, self._keys = viewer, slide, keys
        self.tool = ""
        self.connected: Shapes | None = None
        self._showing = self._is_drawing = False
        self._is_model = False
        self._known_line: Line | None = None  # the line that was shown last, with all digits
        self._dragged: Line | None = None  # start and current position of the mouse while a line is drawn
        self._events = SectionConnections(self)
        self._events.connect(viewer.layers.selection.events.active, self._on_active)

    @property
    def layer(self) -> Shapes | None:
        """The layer; None if the slide has none yet."""
        layer: Shapes | None = slide_layers.find_layer(self._viewer, self._slide, "depth")
        return layer

    def close(self) -> None:
        """End the tool, and disconnect the layer, which stays with its slide; an unfinished line is ignored."""
        self._events.close()
        self.set_tool("")
        if self.connected is not None:
            self.connected.mouse_drag_callbacks.remove(self._track_drag)
            self.connected = None

    def show(self, line: Line | None, label: str, *, is_model: bool = False) -> None:
        """Replace the line.

        ``line``: both ends in pixels of the finest level. ``is_model``: the line is that of the model.
        """
        if self._is_drawing or not is_slide_open(self._viewer, self._slide):
            return
        if line is None and self.layer is None:
            return
        layer = self._ensure_layer()
        self._showing = True
        try:
            if line != read_line_ends(layer, line) or len(layer.data) > 1 or is_model != self._is_model:
                self._is_model = is_model
                layer.data = []
                layer.text.color = MODEL_COLOR if is_model else TEXT_COLOR
                if line is not None:
                    color = MODEL_COLOR if is_model else LINE_COLOR
                    add_line(layer, line, line_width(self._viewer, self._slide, "depth"), color)
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
        if tool:
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
            if self._viewer.layers.selection.active == own_layer and is_slide_open(self._viewer, slide):
                self._viewer.layers.selection.active = slide.layers[-1]
        if self.tool != previous:
            self.tool_changed.emit()

    def _ensure_layer(self) -> Shapes:
        """Return the layer; create and connect it if necessary."""
        slide, width = self._slide, line_width(self._viewer, self._slide, "depth")
        layer: Shapes = slide_layers.get_or_add_layer(self._viewer, slide, "depth", partial(create_line_layer, width))
        if self.connected != layer:  # napari passes proxies to docks
            self.connected = layer
            self._events.connect(layer.events.data, self._on_data)
            self._events.connect(layer.events.set_data, self._on_moving)
            self._events.connect(layer.events.mode, self._on_mode)
            bind_keys(layer, self._keys)
            layer.mouse_drag_callbacks.append(self._track_drag)
        return layer

    def _track_drag(self, layer: Shapes, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Track the mouse while a line is drawn: napari cannot draw exactly vertical or horizontal lines."""
        slide = self._slide
        self._dragged = None
        if layer != self.layer or self.tool != "draw":
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
        if layer is None or layer != self.connected or self._is_drawing:
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


def add_line(layer: Shapes, line: Line, width: float, color: str) -> None:
    """Add a line to a layer; ends and width are in pixels of the finest level."""
    import numpy as np

    layer.add_lines([np.array(line, np.float64) - HALF], edge_width=width, edge_color=color)


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

    shown = [offset_label(layer, data, "line", label) for data in layer.data]
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
