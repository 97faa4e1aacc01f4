"""The line of the depth reading on the slide, which the user draws and moves with the mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.core.errors import MelanomaError, ScaleMissing
from napari_melanoma.depth.reading_texts import format_line_label, is_predicted_line
from napari_melanoma.depth.readings import values_for_line
from napari_melanoma.ui.sections.depth.line_layer import DepthLineLayer, show_compared_lines
from napari_melanoma.ui.sections.depth.resolve import resolve_compared_lines, resolve_line_label
from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.viewer.shape_layers import is_slide_open
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from napari_melanoma.depth.readings import Line
    from napari_melanoma.ui.session.slide import SlideSession

NO_SCALE = "{} has no scale, but a depth is in mm. Set the scale with the ruler next to the slide's name."
CLICK_HINT = "That was a click: press the mouse button at one end of the line, and release it at the other."
NO_LINE_VALUES: dict[str, Any] = {"line": None, "mm": None, "interval_mm": None, "at_least": False, "method": "hand"}


class DepthCanvas(QObject):
    """Show the reading on the slide, and change it with the mouse, also while the section is collapsed.

    ``line_moving``: the reading while its line is drawn or moved.
    """

    tool_changed = Signal()
    line_moving = Signal(object)  # DepthReading

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session.services.status)  # which is in the dock that its tasks belong to
        self._session, self._document, self._status = session, session.depth, session.services.status
        keys = {"Control-Z": self._document.undo, "Control-Shift-Z": self._document.redo}
        viewer, slide = session.services.viewer, session.slide
        self.line_layer = DepthLineLayer(viewer, slide, self, keys)
        self.line_layer.line_drawn.connect(self._on_drawn)
        self.line_layer.clicked.connect(self._on_clicked)
        self.line_layer.line_moving.connect(self._on_moving)
        self.line_layer.tool_changed.connect(self.tool_changed)
        self._connections = SectionConnections(self)
        self._connections.connect(self._document.changed, self._show)
        self._connections.connect(viewer.layers.events.removed, self._on_removed)
        self._connections.connect(session.rotated, self._show)  # with the labels beside the lines
        self._show()

    def close(self) -> None:
        """End the tools, and disconnect all signals; the layers stay with their slide."""
        self._connections.close()
        self.line_layer.close()
        self.deleteLater()

    def set_tool(self, tool: str) -> None:
        """Activate a tool of the line, or deactivate it (empty); measuring requires a scale."""
        info, lock = self._session.slide.info, self._document.find_lock()
        lacks_scale = info.pixel_size is None
        if not tool or not (lock or lacks_scale):
            self.line_layer.set_tool(tool)
        self.tool_changed.emit()
        if tool and lock:
            self._status.show_until(lock, self.tool_changed, self._document.changed)
        elif tool and lacks_scale:
            error = ScaleMissing(NO_SCALE.format(f"'{info.name}'"))
            show_failure(self._status, error, self._document.changed, self.tool_changed)

    def _show(self) -> None:
        """Show the current reading."""
        session, state = self._session, self._document.state
        if self._document.find_lock():
            self.line_layer.set_tool("")
        if is_slide_open(session.services.viewer, session.slide):
            is_model = is_predicted_line(state.reading)
            self.line_layer.show(state.reading.line, resolve_line_label(state), is_model=is_model)
            show_compared_lines(session.services.viewer, session.slide, resolve_compared_lines(state))

    def _on_removed(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Restore a layer of a locked reading that the user has removed from the list of layers."""
        if event.value == self.line_layer.connected and self._document.find_lock():
            QTimer.singleShot(0, self._restore_layers)  # after napari has removed it

    def _restore_layers(self) -> None:
        if is_slide_open(self._session.services.viewer, self._session.slide):  # otherwise, it was closed
            self._status.show_until(self._document.find_lock(), self._document.changed)
            self._show()

    def _on_drawn(self, line: Line | None) -> None:
        """Set or clear the line of the reading, after the mouse button was released."""
        if line is None:
            self._document.set_values(**NO_LINE_VALUES)
            return
        is_drawn = self.line_layer.tool == "draw"
        self._document.set_line(line, drawn=is_drawn)
        if is_drawn:  # so that its ends can be dragged immediately
            self.line_layer.set_tool("move")

    def _on_clicked(self) -> None:
        self._document.refresh()
        self._status.show_until(CLICK_HINT, self.tool_changed, self.line_moving)

    def _on_moving(self, line: Line) -> None:
        """Show the length of the line while it is moved."""
        state = self._document.state
        try:
            moved = state.reading.model_copy(update=values_for_line(state.reading, line, state.size))
        except MelanomaError:
            return
        self.line_layer.set_label(format_line_label(moved))
        self.line_moving.emit(moved)
