"""Functions for the layers that users draw on a slide: keys, colors, labels, lasso strokes and line widths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer
from qtpy.QtGui import QFontMetricsF
from qtpy.QtWidgets import QApplication

from napari_melanoma.core.errors import ScaleMissing
from napari_melanoma.core.polygons import Point
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera, get_zoom
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
from napari_melanoma.ui.widgets.pending import commit_typed
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.signals import follow

if TYPE_CHECKING:
    from napari.layers import Layer, Shapes
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.io.geojson import Color

HALF = 0.5  # in napari, the center of the first pixel is (0, 0); on a slide, its outer corner is
UNFINISHED = "unfinished shape"  # in the metadata of a layer of a tool: Escape is for the shape, not for the tool
Keys = Mapping[str, Callable[[], None]]


def bind_keys(layer: Layer, keys: Keys) -> None:
    """Bind keys, which work while the layer is active, on what was typed until then."""

    def press(_: Layer, action: Callable[[], None]) -> None:
        commit_typed()
        action()

    for key, action in keys.items():
        layer.bind_key(key, lambda layer, action=action: press(layer, action), overwrite=True)


def get_data_action(event: Any) -> str:  # noqa: ANN401 - napari's event
    """Return the kind of change of a layer's data: ``adding``, ``added``, ``changed``, ``removed`` ..."""
    return str(getattr(event.action, "value", event.action))


def to_rgba(color: Color) -> tuple[float, float, float, float]:
    """Convert an 8-bit RGB color to napari's RGBA."""
    return color[0] / 255, color[1] / 255, color[2] / 255, 1.0


def get_ruler_ends(layer: Shapes) -> tuple[Point, Point]:
    """Return both ends, (row, column) in the coordinates of the layer, of the shape of a ruler that was drawn last."""
    ends = layer.data[-1][:, -2:].tolist()
    if len(ends) != 2:  # of another tool of napari, whose length would be that of a side, or of a shortcut
        raise ScaleMissing(
            "the shape that was drawn last is not a straight line. Delete it, draw a line over a known length, then "
            "set the scale."
        )
    (top, left), (bottom, right) = ends
    return (top, left), (bottom, right)


def end_lines_at_pointer(layer: Shapes) -> None:
    """Let lines end where the mouse is released: napari cannot draw exactly horizontal or vertical ones.

    With Shift, napari turns them to multiples of 45 degrees, and they stay as they are.
    """
    layer.mouse_drag_callbacks.append(_end_line_at_pointer)


def _end_line_at_pointer(layer: Shapes, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
    if layer.mode != "add_line":
        return
    start, end, count = layer.world_to_data(event.position), None, len(layer.data)
    yield
    while event.type == "mouse_move":
        end = layer.world_to_data(event.position)
        yield
    if end is not None and len(layer.data) == count + 1 and "Shift" not in event.modifiers:
        layer.data = [*layer.data[:-1], np.array([start, end])]


def is_slide_open(viewer: Viewer, slide: ViewerSlide) -> bool:
    return any(layer in viewer.layers for layer in slide.layers)


def remove_tool_layer(viewer: Viewer, slide: ViewerSlide, layer: Layer) -> None:
    """Remove the layer of a tool; if it was active and the slide is still displayed, select the slide's last layer."""
    was_active = viewer.layers.selection.active == layer
    viewer.layers.remove(layer)
    if was_active and slide.is_shown:
        select_slide(viewer, slide)


def hide_tool_layer(viewer: Viewer, slide: ViewerSlide, layer: Layer) -> None:
    """Hide the layer of a tool that will be used again: napari takes 0.3 s to remove it, and 0.3 s to add another."""
    was_active = viewer.layers.selection.active == layer
    layer.visible = layer.editable = False  # napari would paint on it without effect
    if was_active and slide.is_shown:
        select_slide(viewer, slide)


def select_slide(viewer: Viewer, slide: ViewerSlide) -> None:
    """Select the last layer of a slide; nothing if it is being closed, of which any of its layers may be left."""
    if slide.layers[-1] in viewer.layers:
        viewer.layers.selection.active = slide.layers[-1]


MAX_FLAT_SLOPE = 0.15  # flatter lines have their label above, steeper lines beside them
GAP_SPACES = 2  # between a steep line and its label, in spaces of its font, on both sides


def offset_label(layer: Layer, data: NDArray[np.float64], kind: str, label: str, *, is_left: bool = False) -> str:
    """Pad the label of a line with spaces or a line break, so that the line does not cross it in the rotated view.

    napari centers labels: one with as much space before it as it is wide begins at the line. ``is_left``: place it at
    the left of a steep line.
    """
    if kind != "line":
        return label
    start, end = layer.data_to_world(data[0])[-2:], layer.data_to_world(data[-1])[-2:]
    height, width = abs(end[0] - start[0]), abs(end[1] - start[1])
    if height < MAX_FLAT_SLOPE * width:
        return f"{label}\n "
    metrics = QFontMetricsF(QApplication.font())
    space = metrics.horizontalAdvance(" ")
    padded = []
    for line in label.split("\n"):
        padding = " " * (2 * GAP_SPACES + round(metrics.horizontalAdvance(line) / space))
        padded.append(f"{line}{padding}" if is_left else f"{padding}{line}")
    return "\n".join(padded)


LASSO = "add_polygon_lasso"
MIN_STROKE_AREA_PX2 = 30.0  # in screen pixels; strokes around a smaller area are ignored
HINT = "Nothing was drawn: hold the mouse button, draw around the area, and release it where you started."


def complete_lasso_strokes(layer: Shapes, show_message: Callable[[str], None]) -> None:
    """End each lasso stroke when the mouse button is released; show a hint if nothing was drawn."""
    layer.mouse_drag_callbacks.append(_LassoStrokes(show_message).track_stroke)


def repair_features(layer: Shapes) -> None:
    """Remove the features of shapes that napari has removed because they had too few corners."""
    if len(layer.features) > len(layer.data):
        layer.features = layer.features.iloc[: len(layer.data)]


# Modes that end an unfinished shape and read it in the same way; in others, napari keeps the vertex below the mouse.
_END_MODES = {
    "add_polygon": "add_polygon_lasso",
    "add_polygon_lasso": "add_polygon",
    "add_path": "add_polyline",
    "add_polyline": "add_path",
}


def end_shape(layer: Shapes, mode: str) -> None:
    """End an unfinished shape with the vertices that were set, which are removed if they are too few.

    ``mode``: in which it is drawn. Also call this in a slot of ``layer.events.mode``, before napari ends the shape, as
    when the user pans with the space bar, or when the layer is hidden.
    """
    if layer.visible:
        with layer.events.mode.blocker():
            current = layer.mode
            layer.mode = _END_MODES.get(mode, "pan_zoom")
            layer.mode = current
    elif mode in _END_MODES:  # napari does not change the mode of a hidden layer
        *others, (vertices, kind) = zip(layer.data, layer.shape_type, strict=True)
        is_shape = len(vertices) > (3 if kind == "polygon" else 2)
        layer.data = [*others, *([(vertices[:-1], kind)] if is_shape else [])]


class _LassoStrokes:
    """Track strokes of napari's lasso, and complete those that it leaves unfinished."""

    def __init__(self, show_message: Callable[[str], None]) -> None:
        self._show_message = show_message
        self._hinted = False
        self._pending_end: Callable[[], None] | None = None

    def track_stroke(self, layer: Shapes, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Record one stroke, from the press to the release."""
        if str(layer.mode) != LASSO:
            return
        self._end()  # the previous stroke, if the button is pressed before the event loop has ended it
        n_before = len(layer.data)
        data, screen = [layer.world_to_data(event.position)], [event.pos]
        yield
        while event.type == "mouse_move":
            data.append(layer.world_to_data(event.position))
            screen.append(event.pos)
            yield
        data.append(layer.world_to_data(event.position))
        screen.append(event.pos)
        self._pending_end = partial(self._finish, layer, n_before, data, screen)
        QTimer.singleShot(0, self._end)  # after napari has handled the release

    def _end(self) -> None:
        finish, self._pending_end = self._pending_end, None
        if finish is not None:
            finish()

    def _finish(self, layer: Shapes, n_before: int, data: list[Any], screen: list[Any]) -> None:
        """Complete or drop a shape that napari left unfinished.

        ``n_before``: number of shapes before the stroke. ``data``, ``screen``: positions of the mouse during the
        stroke, in data coordinates and in screen pixels.
        """
        import numpy as np

        from napari_melanoma.core.polygons import as_ring, signed_area

        if str(layer.mode) != LASSO:
            return
        if len(layer.data) > n_before and layer.shape_type[-1] == "path":
            with layer.events.mode.blocker():  # in the mode "add_path", napari drops a path of two points
                layer.mode = "add_path"
                layer.mode = LASSO
        repair_features(layer)
        if len(layer.data) == n_before and abs(signed_area(as_ring(np.asarray(screen, float)))) >= MIN_STROKE_AREA_PX2:
            layer.add_polygons([np.asarray(data, float)[:, -2:]])
        drawn = len(layer.data) > n_before
        if self._hinted or not drawn:
            self._show_message("" if drawn else HINT)
        self._hinted = not drawn


WIDTHS: dict[slide_layers.Role, float] = {  # of lines, in screen pixels
    "lesions": 2.0,
    "measures": 2.0,
    "drawing": 2.0,
    "ruler": 2.0,
    "view": 2.5,
    "regions": 2.5,
    "readings": 2.5,
    "depth": 2.5,
}
MAX_WIDTH_RATIO = 1.25  # line widths that are wrong by more than this factor are updated


def line_width(viewer: Viewer, slide: ViewerSlide, role: slide_layers.Role) -> float:
    """Return the line width, in pixels of the finest level, that matches ``WIDTHS`` at the current zoom."""
    return float(min(WIDTHS[role] / (get_zoom(viewer) * min(slide.pixel_um)), max(slide.size) / 100))


class LineWidthUpdater(QObject):
    """Adapt the line widths on all slides when the magnification changes."""

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._zoom_timer = DebounceTimer(self)
        self._zoom_timer.timeout.connect(self.update_widths)
        follow(self, get_camera(viewer).events.zoom, self._on_zoom)

    def update_widths(self) -> None:
        for slide in slide_layers.list_slides(self._viewer):
            for role in WIDTHS:
                layer = slide_layers.find_layer(self._viewer, slide, role)
                if layer is not None:
                    _set_line_width(layer, line_width(self._viewer, slide, role))

    def _on_zoom(self, event: object = None) -> None:
        self._zoom_timer.start()


def _set_line_width(layer: Shapes, width: float) -> None:
    """Set the line width of the shapes of a layer, drawn and to be drawn, if it differs much."""
    widths = [*layer.edge_width, *([] if layer.selected_data else [layer.current_edge_width])]
    if all(width / MAX_WIDTH_RATIO < current < width * MAX_WIDTH_RATIO for current in widths):
        return
    with layer.events.data.blocker():
        if len(layer.data):
            layer.edge_width = width
        if layer.selected_data:  # napari would change the selected shapes too, which counts as an edit
            layer.events.edge_width()  # draws the new width, which ``edge_width`` alone does not
        else:
            layer.current_edge_width = width
