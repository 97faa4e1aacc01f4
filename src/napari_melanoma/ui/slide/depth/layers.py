"""Layers of the Depth section: the line, other lines to compare, mitoses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui.slide.drawn_layers import HALF, Keys, bind, is_open, line_width
from napari_melanoma.ui.slide.measuring import clear_of
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import camera, seen
from napari_melanoma.ui.widgets.look import Connections

if TYPE_CHECKING:
    from napari.layers import Points, Shapes
    from napari.viewer import Viewer

    from napari_melanoma.depth.readings import Line, Mitoses, Proposed, SlideDepth
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

MODEL, READER, COMPARED_TEXT_SIZE = "#5a5a5a", "#006b1b", 11
BELOW = "\n\n\n"  # clear of what stands beside the line that counts, which lies close by


@dataclass(frozen=True)
class Compared:
    """A line with the words beside it, and its colour."""

    line: Line
    said: str
    colour: str


def compared_lines(depth: SlideDepth, reader: str, found: Proposed, hidden: Line | None) -> tuple[Compared, ...]:
    """Choose the lines to compare with: other readers' own only once the reader has measured.

    Returns the analysis's, numbered, then the readers'.
    """
    own = depth.of(reader)
    model = [(one.line, str(number), MODEL) for number, one in enumerate(found.proposals, start=1)]
    others = []
    if own is not None and own.when and own.line is not None:
        others = [
            (one.line, one.reader or "(no name)", READER) for one in depth.readings if one is not own and one.when
        ]
    return tuple(Compared(line, *how) for line, *how in (*model, *others) if line is not None and line != hidden)


def show_compared(viewer: Viewer, slide: OpenSlide, lines: Sequence[Compared]) -> None:
    """Show lines in place of those that are shown."""
    import numpy as np

    layer = slide_layers.part(viewer, slide, "readings")
    if layer is None and not lines:
        return
    layer = slide_layers.put(viewer, slide, "readings", _shapes)
    layer.editable = True
    layer.data = []
    if lines:
        width = line_width(viewer, slide, "readings")
        ends = [np.array(one.line, np.float64) - HALF for one in lines]
        layer.add_lines(ends, edge_width=width, edge_color=[one.colour for one in lines])
        shown = [f"{BELOW}{clear_of(data, 'line', one.said)}" for data, one in zip(layer.data, lines, strict=True)]
        layer.features = {"shown": np.array(shown, object)}
        layer.refresh_text()
    layer.editable = False


def _shapes() -> Shapes:
    import numpy as np
    from napari.layers import Shapes

    return Shapes(
        ndim=2,
        face_color="transparent",
        opacity=0.9,
        features={"shown": np.array([], object)},
        feature_defaults={"shown": ""},
        text={"string": "{shown}", "color": MODEL, "size": COMPARED_TEXT_SIZE, "anchor": "center"},
    )


MODES = {"draw": "add_line", "move": "direct"}


class DepthLine(QObject):
    """Shows one line, and tells when the user draws or moves it.

    ``moving``: both ends as they are while the user drags one, in pixels of the finest level.
    """

    moving = Signal(object)
    drawn = Signal(object)
    clicked = Signal()
    tool_changed = Signal()

    def __init__(self, viewer: Viewer, parent: QObject, keys: Keys) -> None:
        super().__init__(parent)
        self._viewer, self._keys = viewer, keys
        self._slide: OpenSlide | None = None
        self.tool = self._wired = ""
        self._showing = self._in_hand = False
        self._told: Line | None = None
        self._dragged: Line | None = None  # from where to where the mouse was, while a line is drawn
        self._layer_events, self._viewer_events = Connections(), Connections()
        self._viewer_events.connect(viewer.layers.selection.events.active, self._on_active)
        self.destroyed.connect(self._viewer_events.close)
        self.destroyed.connect(self._layer_events.close)

    @property
    def layer(self) -> Shapes | None:
        """The layer; None where there is none."""
        found: Shapes | None = None
        if self._slide is not None:
            found = slide_layers.part(self._viewer, self._slide, "depth")
        return found

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide; what is half drawn stays with the one before, and counts for nothing."""
        same = slide is not None and self._slide is not None and slide.identity == self._slide.identity
        if not same:
            self.take("")
            self._layer_events.close()
            self._in_hand, self._told, self._wired = False, None, ""
        self._slide = slide

    def show(self, line: Line | None, said: str) -> None:
        """Show a line in place of what is shown.

        ``line``: both ends in pixels of the finest level.
        """
        slide = self._slide
        if slide is None or self._in_hand or not is_open(self._viewer, slide):
            return
        if line is None and self.layer is None:
            return
        layer = self._made()
        self._showing = True
        try:
            if line != ends_of(layer, self._told) or len(layer.data) > 1:
                layer.data = []
                if line is not None:
                    add_line(layer, line, line_width(self._viewer, slide, "depth"))
                    layer.selected_data = {0} if self.tool == "move" else set()
            self._told = line
            write_beside(layer, said)
        finally:
            self._showing = False

    def say(self, said: str) -> None:
        """Write other words beside the line, while it moves."""
        layer = self.layer
        if layer is not None and not self._in_hand:
            self._showing = True
            write_beside(layer, said)
            self._showing = False

    def take(self, tool: str) -> None:
        """Put a tool into the user's hand, or away."""
        slide, before, self.tool = self._slide, self.tool, ""  # what is told in between is no change of tool
        if tool and slide is not None:
            layer = self._made()
            layer.visible = True
            self._viewer.layers.selection.active = layer
            layer.mode = MODES[tool]
            if tool == "move" and len(layer.data):
                layer.selected_data = {0}
            layer.current_edge_color, layer.current_edge_width = COLOUR, line_width(self._viewer, slide, "depth")
            self.tool = tool
        elif before and (mine := self.layer) is not None:
            mine.mode = "pan_zoom"
            if slide is not None and self._viewer.layers.selection.active == mine and is_open(self._viewer, slide):
                self._viewer.layers.selection.active = slide.layers[-1]
        if self.tool != before:
            self.tool_changed.emit()

    def _made(self) -> Shapes:
        """The layer, made where there is none."""
        slide, before = self._slide, self.layer
        assert slide is not None, "only slides have a depth"
        width = line_width(self._viewer, slide, "depth")
        layer: Shapes = slide_layers.put(self._viewer, slide, "depth", partial(made, width))
        if before is None or self._wired != slide.identity:
            self._wired = slide.identity
            self._layer_events.close()
            self._layer_events.connect(layer.events.data, self._on_data)
            self._layer_events.connect(layer.events.set_data, self._on_moving)
            self._layer_events.connect(layer.events.mode, self._on_mode)
            bind(layer, self._keys)
            if self._follow not in layer.mouse_drag_callbacks:
                layer.mouse_drag_callbacks.append(self._follow)
        return layer

    def _follow(self, layer: Shapes, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Know where the mouse was pressed and let go: napari cannot draw a line that is exactly upright or level."""
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
        action = str(getattr(event.action, "value", event.action))
        self._in_hand = action == "adding" or (self._in_hand and action != "added")
        if action in ("added", "changed", "removed"):
            self._in_hand = False
            QTimer.singleShot(0, self._tell)  # when napari is done with the shape

    def _on_moving(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Tell the ends while the mouse moves them."""
        layer = self.layer
        if self._showing or layer is None or event.source != layer or not (self._in_hand or self.tool == "move"):
            return
        ends = ends_of(layer, self._told)
        if ends is not None and ends != self._told:
            self.moving.emit(ends)

    def _tell(self) -> None:
        """Tell what there is now that the user has let go."""
        layer, slide = self.layer, self._slide
        if layer is None or slide is None or self._in_hand:
            return
        ends = ends_of(layer, self._told)
        if ends is not None and self.tool == "draw" and is_click(self._viewer, slide, ends):
            self.clicked.emit()
        elif ends != self._told or len(layer.data) > 1:
            self.drawn.emit(ends if self._dragged is None or self.tool != "draw" else self._dragged)
        self._dragged = None

    def _on_mode(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Show that another tool was taken in napari's own controls."""
        if event.source == self.layer and self.tool and str(event.source.mode) != MODES[self.tool]:
            self.tool = next((name for name, mode in MODES.items() if mode == str(event.source.mode)), "")
            self.tool_changed.emit()

    def _on_active(self, event: object) -> None:
        """Put the tool away when the user turns to another layer."""
        if self.tool and self._viewer.layers.selection.active != self.layer:
            self.take("")


POINTS, AREA = "mitoses", "mitosis area"
TOOLS = {"count": (POINTS, "add"), "area": (AREA, "add_polygon")}
MITOSIS_COLOUR, MARK_UM, MARK_PX = (
    "#ff9500",
    14.0,
    (9, 60),
)  # width of a mark on the slide, and least and most on the screen
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
                layer.add_polygons(outlines, edge_width=width, edge_color=MITOSIS_COLOUR, face_color="transparent")

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
        border_color=MITOSIS_COLOUR,
        border_width=0.15,
        canvas_size_limits=MARK_PX,
    )


def _outlines(width: float) -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2, edge_color=MITOSIS_COLOUR, edge_width=width, face_color="transparent")


COLOUR, TEXT_COLOUR, TEXT_SIZE = "#0b3cff", "#00083d", 16
ROUNDED = 1e-2  # pixels: napari keeps less digits than a file
CLICK_PX = 8.0  # of the screen


def made(width: float) -> Shapes:
    """Make an empty layer.

    ``width``: of its line in pixels of the finest level. In pixels of the finest level.
    """
    import numpy as np
    from napari.layers import Shapes

    return Shapes(
        ndim=2,
        edge_color=COLOUR,
        edge_width=width,
        face_color="transparent",
        opacity=1,
        features={"shown": np.array([], object)},
        feature_defaults={"shown": ""},
        text={"string": "{shown}", "color": TEXT_COLOUR, "size": TEXT_SIZE, "anchor": "center"},
    )


def add_line(layer: Shapes, line: Line, width: float) -> None:
    """Draw a line.

    ``line``: both ends in pixels of the finest level. ``width``: in these pixels.
    """
    import numpy as np

    layer.add_lines([np.array(line, np.float64) - HALF], edge_width=width, edge_color=COLOUR)


def ends_of(layer: Shapes, known: Line | None) -> Line | None:
    """Read both ends of the line that was drawn last.

    In pixels of the finest level; None where there is no line.
    """
    if not len(layer.data):
        return None
    data = layer.data[-1]
    (top, left), (bottom, right) = data[0][-2:] + HALF, data[-1][-2:] + HALF
    ends = (float(top), float(left)), (float(bottom), float(right))
    return known if known is not None and _same(ends, known) else ends


def write_beside(layer: Shapes, said: str) -> None:
    """Write beside the line what it measures."""
    import numpy as np

    shown = [clear_of(data, "line", said) for data in layer.data]
    if list(layer.features["shown"]) != shown:
        layer.features = {"shown": np.array(shown, object)}
        layer.refresh_text()
    layer.feature_defaults = {"shown": ""}


def is_click(viewer: Viewer, slide: OpenSlide, line: Line) -> bool:
    """Say whether the mouse was let go where it was pressed: napari makes a short line of that.

    ``line``: both ends in pixels of the finest level.
    """
    (top, left), (bottom, right) = line
    y, x = (bottom - top) * slide.um[0], (right - left) * slide.um[1]
    return float(camera(viewer).zoom) * math.hypot(y, x) < CLICK_PX


def _same(one: Line, other: Line) -> bool:
    """Whether the ends of two lines are the same, but for rounding."""
    return all(abs(a - b) < ROUNDED for p, q in zip(one, other, strict=True) for a, b in zip(p, q, strict=True))
