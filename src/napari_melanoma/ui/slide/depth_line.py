"""The line of a depth on a slide: drawn with two ends, dragged by them, its mm told while it moves."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui.connections import Connections
from napari_melanoma.ui.slide import layers as slide_layers
from napari_melanoma.ui.slide.depth_shape import COLOUR, add_line, ends_of, is_click, made, write_beside
from napari_melanoma.ui.slide.drawn_layers import Keys, bind, is_open
from napari_melanoma.ui.slide.line_width import line_width

if TYPE_CHECKING:
    from napari.layers import Shapes
    from napari.viewer import Viewer

    from napari_melanoma.io.slide_depth import Line
    from napari_melanoma.ui.slide.layers import OpenSlide

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
