"""The line of the depth reading on the slide, which users draw and move with the mouse, and lines for comparison."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.core.errors import MelanomaError, ScaleMissing
from napari_melanoma.depth.readings import NO_NAME, Line, format_line_label, is_predicted_line, values_for_line
from napari_melanoma.depth.t_category import format_thickness
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.viewer.shape_layers import (
    HALF,
    bind_keys,
    get_data_action,
    is_slide_open,
    line_width,
    offset_label,
    select_slide,
)
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from napari.layers import Shapes

    from napari_melanoma.depth.readings import DepthReading
    from napari_melanoma.ui.session.depth import DepthState
    from napari_melanoma.ui.session.slide import SlideSession

MODES = {"draw": "add_line", "move": "direct"}  # mode of napari's layer, by tool
# Of lines and their labels. napari cannot draw a halo: each differs from white glass, stained tissue and a black canvas
LINE_COLOR, MODEL_COLOR, READER_COLOR = "#0b3cff", "#5a5a5a", "#006b1b"
TEXT_SIZE, COMPARED_TEXT_SIZE = 16, 11
TOLERANCE_PX = 1e-2  # napari stores fewer digits than a file
CLICK_PX = 8.0  # a line shorter than this on the screen was a click
NO_SCALE = "{} has no scale, but a depth is in mm. Set the scale with the ruler next to the slide's name."
CLICK_HINT = "That was a click: press the mouse button at one end of the line, and release it at the other."
REPLACED = "The new line ({}) replaces the previous one ({}). Undo restores it (Ctrl+Z on the image)."
NO_LINE_VALUES: dict[str, Any] = {"line": None, "mm": None, "interval_mm": None, "at_least": False, "method": "hand"}


@dataclass(frozen=True)
class ComparedLine:
    """A line for comparison, of another reader or of the model; both ends in pixels of the finest level."""

    line: Line
    label: str
    is_reader: bool = False


def list_compared_lines(state: DepthState) -> tuple[ComparedLine, ...]:
    """Return the lines of the model, numbered, and those of other readers with lengths once the reader has measured.

    A line that readers have accepted stands once, with all of them. That of the reading is left out: it is drawn in its
    own layer.
    """
    own = state.readings.reading_by(state.reader)
    lines = {one.line: ComparedLine(one.line, str(number)) for number, one in enumerate(state.proposals.proposals, 1)}
    if own is not None and own.when and own.line is not None:
        for one in state.readings.readings:
            if one is not own and one.when and one.line is not None:
                others = [lines[one.line].label] if one.line in lines else []
                own_label = f"{one.reader or NO_NAME}: {format_line_label(one, state.size)}".removesuffix(": ")
                lines[one.line] = ComparedLine(one.line, ", ".join((*others, own_label)), is_reader=True)
    return tuple(compared for line, compared in lines.items() if line != state.reading.line)


class DepthLayer(QObject):
    """Shows the reading on the slide, and changes it with the mouse, also while the section is collapsed.

    ``tool``: ``draw`` or ``move``; empty if none is active. ``line_moving``: the reading while its line is drawn or
    moved. ``line_drawn``: the ends of the line after the mouse button was released; None if it was removed.
    """

    tool_changed = Signal()
    line_moving = Signal(object)  # DepthReading
    line_drawn = Signal(object)  # Line or None

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session.owner)
        self._session, self._slide, self._document = session, session.slide, session.findings
        self._viewer, self._status = session.services.viewer, session.services.status
        self.tool = ""
        self._connected: Shapes | None = None  # also after it was removed
        self._is_writing = self._is_drawing = False
        self._is_model = False
        self._known_line: Line | None = None  # the line that was shown last, with all digits
        self._dragged: Line | None = None  # start and current position of the mouse while a line is drawn
        self.line_drawn.connect(self._on_drawn)
        session.follow(self._document.changed, self._show)
        session.follow(session.rotated, self._show)  # with the labels beside the lines
        session.follow(session.displayed.changed, self._on_displayed)
        session.follow(self._viewer.layers.events.removed, self._on_removed)
        session.follow(self._viewer.layers.selection.events.active, self._on_active)
        session.findings.follow_reader()
        session.findings.follow_scale()
        self._show()

    @property
    def layer(self) -> Shapes | None:
        """The layer; None if the slide has none yet."""
        layer: Shapes | None = slide_layers.find_layer(self._viewer, self._slide, "depth")
        return layer

    def set_tool(self, tool: str) -> None:
        """Activate a tool, or deactivate it (empty); measuring requires a scale, and a reading that is not locked."""
        lock, info = self._document.find_reading_lock(), self._slide.info
        if tool and lock:
            self.tool_changed.emit()
            self._status.show_until(lock, self.tool_changed, self._document.changed)
        elif tool and info.pixel_size is None:
            self.tool_changed.emit()
            error = ScaleMissing(NO_SCALE.format(f"'{info.name}'"))
            show_failure(self._status, error, self._document.changed, self.tool_changed)
        else:
            self._activate(tool)

    def _activate(self, tool: str) -> None:
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
            if self._viewer.layers.selection.active == own_layer:
                select_slide(self._viewer, slide)
        self.tool_changed.emit()

    def _show(self) -> None:
        """Show the current reading, and the lines for comparison."""
        if self._document.find_reading_lock() and self.tool:
            self._activate("")
        if not is_slide_open(self._viewer, self._slide):
            return
        state = self._document.state
        if not self._is_drawing and (state.reading.line is not None or self.layer is not None):
            self._is_writing = True
            try:
                self._show_line(state)
            finally:
                self._is_writing = False
        self._show_compared(list_compared_lines(state))

    def _show_line(self, state: DepthState) -> None:
        layer, line, is_model = self._ensure_layer(), state.reading.line, is_predicted_line(state.reading)
        is_drawn = [len(data) for data in layer.data] == ([] if line is None else [2])  # and no path between its ends
        if not is_drawn or line != read_line_ends(layer, line) or is_model != self._is_model:
            self._is_model = is_model
            color = MODEL_COLOR if is_model else LINE_COLOR
            layer.data = []
            layer.text.color = color
            if line is not None:
                _add_lines(layer, [line], self._line_width, color)
                layer.selected_data = {0} if self.tool == "move" else set()
        self._known_line = line
        self._set_label(layer, state.reading)

    def _set_label(self, layer: Shapes, reading: DepthReading) -> None:
        """Set the label of the line of a reading, on the side away from most lines for comparison."""
        state = self._document.state
        others = [compared.line for compared in list_compared_lines(state)]
        right = sum(_find_middle(layer, one) > _find_middle(layer, reading.line or one) for one in others)
        labels = [format_line_label(reading, state.size)] * len(layer.data)
        _set_labels(layer, labels, [2 * right > len(others)] * len(labels))

    def _show_compared(self, lines: Sequence[ComparedLine]) -> None:
        layer = slide_layers.find_layer(self._viewer, self._slide, "readings")
        if layer is None and not lines:
            return
        create = partial(_create_layer, color=MODEL_COLOR, size=COMPARED_TEXT_SIZE, opacity=0.9)
        layer = slide_layers.get_or_add_layer(self._viewer, self._slide, "readings", create)
        layer.editable = True
        layer.data = []
        if lines:
            width = line_width(self._viewer, self._slide, "readings")
            colors = [READER_COLOR if compared.is_reader else MODEL_COLOR for compared in lines]
            _add_lines(layer, [compared.line for compared in lines], width, colors)
            layer.text.color = colors
            own = self._document.state.reading.line
            left = [
                _find_middle(layer, compared.line) < _find_middle(layer, own or compared.line) for compared in lines
            ]
            _set_labels(layer, [compared.label for compared in lines], left)
        layer.editable = False

    @property
    def _line_width(self) -> float:
        return line_width(self._viewer, self._slide, "depth")

    def _ensure_layer(self) -> Shapes:
        """Return the layer; create and connect it if necessary."""
        create = partial(_create_layer, color=LINE_COLOR, size=TEXT_SIZE, edge_width=self._line_width)
        layer: Shapes = slide_layers.get_or_add_layer(self._viewer, self._slide, "depth", create)
        if self._connected != layer:  # napari passes proxies to docks
            self._connected, session = layer, self._session
            session.follow(layer.events.data, self._on_data)
            session.follow(layer.events.set_data, self._on_moving)
            session.follow(layer.events.mode, self._on_mode)
            bind_keys(layer, {"Control-Z": self._document.undo, "Control-Shift-Z": self._document.redo})
            layer.mouse_drag_callbacks.append(self._track_drag)
            session.at_end(partial(layer.mouse_drag_callbacks.remove, self._track_drag))
        return layer

    def _on_displayed(self, displayed: bool) -> None:
        """Stop the tool before another slide is displayed; follow what has changed when this one is again."""
        if displayed:
            self._document.follow_reader()
            self._document.follow_scale()
            self._document.reload_predictions()  # an analysis may have finished meanwhile
        else:
            self._is_drawing = False  # an unfinished line is ignored
            if self.tool:
                self._activate("")

    def _on_removed(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Restore a layer of a locked reading that the user has removed from the list of layers."""
        if event.value == self._connected and self._document.find_reading_lock():
            QTimer.singleShot(0, self._restore_layers)  # after napari has removed it

    def _restore_layers(self) -> None:
        if is_slide_open(self._viewer, self._slide):  # otherwise, it was closed
            self._status.show_until(self._document.find_reading_lock(), self._document.changed)
            self._show()

    def _track_drag(self, layer: Shapes, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Track the mouse while a line is drawn: napari cannot draw exactly vertical or horizontal lines."""
        self._dragged = None
        if layer != self.layer or self.tool != "draw":
            return
        start = self._slide.to_slide(tuple(event.position[-2:]))
        yield
        while event.type == "mouse_move":
            self._dragged = start, self._slide.to_slide(tuple(event.position[-2:]))
            yield

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        if self._is_writing or event.source != self.layer:
            return
        action = get_data_action(event)
        self._is_drawing = action == "adding" or (self._is_drawing and action != "added")
        if action in ("added", "changed", "removed"):
            self._is_drawing = False
            QTimer.singleShot(0, self._read_line)  # after napari has finished the shape

    def _on_moving(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Show the length of the line while it is drawn or an end is dragged."""
        layer = self.layer
        if self._is_writing or layer is None or event.source != layer or not (self._is_drawing or self.tool == "move"):
            return
        ends, state = read_line_ends(layer, self._known_line), self._document.state
        if ends is None or ends == self._known_line:
            return
        with suppress(MelanomaError):  # no scale
            moved = state.reading.model_copy(update=values_for_line(state.reading, ends, state.size))
            if not self._is_drawing:
                self._is_writing = True
                self._set_label(layer, moved)
                self._is_writing = False
            self.line_moving.emit(moved)

    def _read_line(self) -> None:
        """Emit the line, or state that it was a click, after the mouse button was released."""
        layer = self.layer
        if layer is None or layer != self._connected or self._is_drawing or not self._session.displayed.value:
            return
        ends = read_line_ends(layer, self._known_line)
        if ends is not None and self.tool == "draw" and self._is_click(ends):
            self._document.refresh()
            self._status.show_until(CLICK_HINT, self.tool_changed, self.line_moving)
        elif ends != self._known_line or len(layer.data) > 1:
            self.line_drawn.emit(ends if self._dragged is None or self.tool != "draw" else self._dragged)
        self._dragged = None

    def _is_click(self, line: Line) -> bool:
        """Whether a line is so short that it was a click."""
        (top, left), (bottom, right) = line
        y, x = (bottom - top) * self._slide.pixel_um[0], (right - left) * self._slide.pixel_um[1]
        return float(get_camera(self._viewer).zoom) * math.hypot(y, x) < CLICK_PX

    def _on_drawn(self, line: Line | None) -> None:
        if line is None:
            self._document.set_values(**NO_LINE_VALUES)
            return
        is_drawn, previous = self.tool == "draw", self._document.state.reading
        self._document.set_line(line, drawn=is_drawn)
        if is_drawn:  # so that its ends can be dragged immediately
            self._activate("move")
        mm = self._document.state.reading.mm
        if is_drawn and previous.mm and mm and not is_predicted_line(previous):
            self._status.show_briefly(REPLACED.format(format_thickness(mm), format_thickness(previous.mm)))

    def _on_mode(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Update the tool when it is changed in napari's layer controls; the space bar pans with any tool."""
        mode = str(event.source.mode)
        if event.source == self.layer and self.tool and mode not in (MODES[self.tool], "pan_zoom"):
            self.tool = next((tool for tool, tool_mode in MODES.items() if tool_mode == mode), "")
            self.tool_changed.emit()

    def _on_active(self, event: object) -> None:
        """Deactivate the tool when another layer is selected."""
        if self.tool and self._viewer.layers.selection.active != self.layer:
            self._activate("")


def read_line_ends(layer: Shapes, known: Line | None) -> Line | None:
    """Return the last line of a layer, in pixels of the finest level; None if there is no line.

    ``known``: returned instead of a line that differs only by rounding.
    """
    if not len(layer.data):
        return None
    data = layer.data[-1]
    (top, left), (bottom, right) = data[0][-2:] + HALF, data[-1][-2:] + HALF
    ends = (float(top), float(left)), (float(bottom), float(right))
    if known is None:
        return ends
    pairs = (pair for end, other in zip(ends, known, strict=True) for pair in zip(end, other, strict=True))
    return known if all(abs(value - other) < TOLERANCE_PX for value, other in pairs) else ends


def _create_layer(color: str, size: int, edge_width: float = 1.0, opacity: float = 1.0) -> Shapes:
    """Create an empty layer for lines with labels; ``edge_width``: in pixels of the finest level."""
    from napari.layers import Shapes

    return Shapes(
        ndim=2,
        edge_color=color,
        edge_width=edge_width,
        face_color="transparent",
        opacity=opacity,
        features={"shown": np.array([], object)},
        feature_defaults={"shown": ""},
        text={"string": "{shown}", "color": color, "size": size, "anchor": "center"},
    )


def _add_lines(layer: Shapes, lines: Sequence[Line], width: float, color: str | Sequence[str]) -> None:
    layer.add_lines([np.array(line, np.float64) - HALF for line in lines], edge_width=width, edge_color=color)


def _find_middle(layer: Shapes, line: Line) -> float:
    """Return the horizontal position of the middle of a line in the rotated view."""
    return float(layer.data_to_world(np.mean(line, axis=0))[-1])


def _set_labels(layer: Shapes, labels: Sequence[str], left: Sequence[bool]) -> None:
    """Set the labels of the lines; ``left``: whether each is at the left of its line, which is steep.

    The lines may be close to each other: each label is a line of text below the previous one.
    """
    shown = []
    for number, (data, label, is_left) in enumerate(zip(layer.data, labels, left, strict=True)):
        below = 2 * number * "\n"  # labels are centered: two line breaks move one by a line
        shown.append(f"{below}{offset_label(layer, data, 'line', label, is_left=is_left)}")
    if list(layer.features["shown"]) != shown:
        layer.features = {"shown": np.array(shown, object)}
        layer.refresh_text()
    layer.feature_defaults = {"shown": ""}
