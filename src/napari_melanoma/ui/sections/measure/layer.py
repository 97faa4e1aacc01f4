"""The layer of the measurements of a slide: the tools that draw in it, and its shapes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.ui.viewer import camera, slide_layers
from napari_melanoma.ui.viewer.shape_layers import (
    HALF,
    end_shape,
    get_data_action,
    line_width,
    offset_label,
    repair_features,
)
from napari_melanoma.ui.widgets.settings import DebounceTimer

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Shapes
    from numpy.typing import NDArray

    from napari_melanoma.slides.notes import SlideMeasurement
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

MODES = {"line": "add_line", "area": "add_polygon", "angle": "add_polyline"}  # of napari, by tool
SETTLED_MS = 150  # without a further change of the layer, before it is read
COLOR, TEXT_SIZE = "#006b1b", 14  # dark green, which differs from glass and common stains
COLOR_ON_BLACK = "#ffe14d"  # for fluorescence, which is black where there is no signal
EMPTY_FEATURES = {"label": "", "shown": "", "kind": ""}  # of a shape; ``shown``: its label, moved off the line
ANGLE_POINTS = 3  # the ends of the legs, and the vertex between them
LINE_SHAPES = ("line", "path")
ELLIPSE_CORNERS = 72  # corners of the polygon for an ellipse, whose area is 0.1 % too small


class MeasureLayer(QObject):
    """Show the measurements of a session, and apply what the user draws, moves or removes in napari.

    ``tool``: ``line``, ``area`` or ``angle``; empty if none is active.
    """

    tool_changed = Signal(str)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session.owner)
        self._session, self._slide, self._viewer = session, session.slide, session.services.viewer
        self.tool = ""
        self._drawing_mode = ""  # of an unfinished shape
        self._is_writing = False
        self._settle_timer = DebounceTimer(self, SETTLED_MS)
        self._settle_timer.timeout.connect(self._read)
        session.follow(session.measures.changed, self._show)
        session.follow(session.commit_requested, self.flush)
        session.follow(session.rotated, self._update_labels)
        session.follow(session.displayed.changed, self._on_displayed)
        session.follow(self._viewer.layers.selection.events.active, self._on_active)
        if (layer := self._find_layer()) is not None:
            self._connect_layer(layer)
        self._show(session.measures.value)

    def describe_measures(self) -> list[str]:
        """Return the measurements with their units."""
        from napari_melanoma.slides.notes import format_measurement

        size = self._slide.info.pixel_size
        return [format_measurement(measure, size) for measure in self._session.measures.value]

    def toggle_tool(self, kind: str) -> None:
        """Start a tool, or stop it if it is active."""
        self.set_tool("" if kind == self.tool else kind)

    def set_tool(self, kind: str) -> None:
        """Start a tool, or stop it (empty)."""
        self.tool = ""  # events until the end are not changes by the user
        self._end_shape()  # with the tool it was drawn with
        layer = self._find_layer()
        if kind:
            layer = layer or self._create_layer()
            layer.visible = True
            self._viewer.layers.selection.active = layer
            layer.mode = MODES[kind]
            self.tool = kind
        elif layer is not None:
            layer.mode = "pan_zoom"
            if self._viewer.layers.selection.active == layer:
                self._viewer.layers.selection.active = self._slide.layers[-1]
        self.tool_changed.emit(self.tool)

    def flush(self) -> None:
        """Apply what was just drawn; an unfinished shape ends."""
        self._end_shape()
        self._settle_timer.flush()

    def _update_labels(self) -> None:
        """Place the labels beside the lines of a rotated slide."""
        if (layer := self._find_layer()) is not None:
            label_measures(layer, self.describe_measures())

    def _on_displayed(self) -> None:
        """Stop the tool before another slide is displayed."""
        if self.tool:
            self.set_tool("")

    def _find_layer(self) -> Shapes | None:
        layer: Shapes | None = slide_layers.find_layer(self._viewer, self._slide, "measures")
        return layer

    def _create_layer(self) -> Shapes:
        create = partial(create_measure_layer, self._line_width, choose_color(self._slide))
        layer: Shapes = slide_layers.get_or_add_layer(self._viewer, self._slide, "measures", create)
        self._connect_layer(layer)
        return layer

    def _connect_layer(self, layer: Shapes) -> None:
        self._session.follow(layer.events.data, self._on_data)
        self._session.follow(layer.events.mode, self._on_mode)
        layer.mouse_drag_callbacks.append(self._on_press)
        self._session.at_end(partial(layer.mouse_drag_callbacks.remove, self._on_press))

    @property
    def _line_width(self) -> float:
        return line_width(self._viewer, self._slide, "measures")

    def _show(self, measures: tuple[SlideMeasurement, ...]) -> None:
        """Draw the measurements if they are not those of the layer, which ends an unfinished shape; label them."""
        layer = self._find_layer()
        if layer is None and measures:
            layer = self._create_layer()
        if layer is None:
            return
        labels = self.describe_measures()
        if not self._drawing_mode and len(layer.data) == len(measures) and read_measures(layer) == measures:
            label_measures(layer, labels)
            return
        self._end_shape()
        self._is_writing = True
        draw_measures(layer, measures, labels, self._line_width, choose_color(self._slide))
        self._is_writing = False

    def _read(self) -> None:
        """Apply the drawn measurements; shapes without length, area or angle are removed."""
        layer = self._find_layer()
        if layer is None or self._drawing_mode:
            return
        measures, known = read_measures(layer), self._session.measures.value
        self._session.measures.apply(lambda _: measures)
        if measures == known:
            self._show(measures)

    def _end_shape(self) -> None:
        layer = self._find_layer()
        if layer is not None and self._drawing_mode:
            end_shape(layer, self._drawing_mode)

    def _on_active(self, event: object) -> None:
        """Stop the tool when another layer is selected."""
        if self.tool and self._viewer.layers.selection.active != self._find_layer():
            self.set_tool("")

    def _on_mode(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Update the tool when it is changed in napari's layer controls; the space bar pans with any tool."""
        self._end_shape()
        if self.tool and str(event.source.mode) not in (MODES[self.tool], "pan_zoom"):
            self.tool = ""
            self.tool_changed.emit("")

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Read the layer after shapes were drawn, moved or removed, but not while one is unfinished."""
        action = get_data_action(event)
        if self._is_writing:
            return
        if action == "adding":
            set_next_kind(event.source, "angle" if self.tool == "angle" else "")
            self._drawing_mode = event.source.mode
        elif action == "added":
            self._drawing_mode = ""
        if action in ("added", "changed", "removed"):
            repair_features(event.source)
            self._settle_timer.start()

    def _on_press(self, layer: Shapes, event: Any) -> None:  # noqa: ANN401 - napari's event
        if self.tool == "angle":
            QTimer.singleShot(0, self._finish_angle)  # after napari has added the point

    def _finish_angle(self) -> None:
        """End the angle at the third click; napari would wait for a double click."""
        layer = self._find_layer()
        # While a path is drawn, its last vertex follows the mouse.
        if layer is not None and self._drawing_mode and len(layer.data) and len(layer.data[-1]) > ANGLE_POINTS:
            self._end_shape()


def choose_color(slide: ViewerSlide) -> str:
    """Return a color that is visible on a slide."""
    return COLOR_ON_BLACK if slide.info.kind == "fluorescence" else COLOR


def create_measure_layer(width: float, color: str) -> Shapes:
    """Create an empty layer; ``width``: of lines, in pixels of the finest level."""
    import numpy as np
    from napari.layers import Shapes

    return Shapes(
        ndim=2,
        edge_color=color,
        edge_width=width,
        face_color="transparent",
        opacity=1,
        features={name: np.array([], object) for name in EMPTY_FEATURES},
        feature_defaults=EMPTY_FEATURES,
        text={"string": "{shown}", "color": color, "size": TEXT_SIZE, "anchor": "center"},
    )


def draw_measures(
    layer: Shapes,
    measures: Sequence[SlideMeasurement],
    labels: Sequence[str],
    width: float,
    color: str,
) -> None:
    """Replace the drawn measurements; ``labels``: one for each; ``width``: of lines, in pixels of the finest level."""
    import numpy as np

    layer.data = []
    if measures:
        shapes = {"area": "polygon", "line": "path", "angle": "path"}
        layer.add(
            [np.array(measure.points, np.float64) - HALF for measure in measures],
            shape_type=["line" if len(measure.points) == 2 else shapes[measure.kind] for measure in measures],
            edge_width=width,
            edge_color=color,
            face_color="transparent",
        )
        layer.features = {**layer.features, "kind": np.array([measure.kind for measure in measures], object)}
    layer.selected_data = set()
    label_measures(layer, labels)


def label_measures(layer: Shapes, labels: Sequence[str]) -> None:
    """Set the labels of the shapes, unless one of them is not measured yet."""
    import numpy as np

    if len(labels) != len(layer.data):
        return
    shown = [
        offset_label(layer, data, shape, label)
        for data, shape, label in zip(layer.data, layer.shape_type, labels, strict=True)
    ]
    if list(layer.features["shown"]) != shown:
        layer.features = {
            "label": np.array(labels, object),
            "shown": np.array(shown, object),
            "kind": layer.features["kind"],
        }
        layer.refresh_text()
        set_next_kind(layer)


def set_next_kind(layer: Shapes, kind: str = "") -> None:
    """Set what the next shape measures, and clear its label, because napari would repeat the previous one."""
    layer.feature_defaults = {**EMPTY_FEATURES, "kind": kind}


def read_measures(layer: Shapes) -> tuple[SlideMeasurement, ...]:
    """Read the drawn shapes as measurements; shapes without length, area or angle are left out."""
    from napari_melanoma.slides.notes import SlideMeasurement, measure_shape

    measures = []
    for data, shape, kind in zip(layer.data, layer.shape_type, layer.features["kind"], strict=True):
        corners = _ellipse_to_polygon(data) if shape == "ellipse" else data
        points = tuple((float(row) + HALF, float(column) + HALF) for row, column in corners[:, -2:])
        is_angle = kind == "angle" and len(points) == ANGLE_POINTS
        measure = SlideMeasurement("angle" if is_angle else "line" if shape in LINE_SHAPES else "area", points)
        if measure_shape(measure, None) > 0:
            measures.append(measure)
    return tuple(measures)


def bounding_box(measure: SlideMeasurement) -> camera.ViewRectangle:
    """Return the bounding box of a measurement."""
    rows, columns = zip(*measure.points, strict=True)
    return camera.ViewRectangle(min(rows), min(columns), max(rows) - min(rows), max(columns) - min(columns))


def _ellipse_to_polygon(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a polygon for an ellipse, float64 (point, 2); ``corners``: those of its box, float64 (4, axes)."""
    import numpy as np

    box = corners[:, -2:]
    middle, across, down = box.mean(axis=0), (box[1] - box[0]) / 2, (box[3] - box[0]) / 2
    angles = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)[:, None]
    return middle + np.cos(angles) * across + np.sin(angles) * down
