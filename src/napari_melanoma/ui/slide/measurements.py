"""The Measure section of the Slide dock: lengths, areas and angles on the slide, and the panel that sets its scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QFrame, QListWidget, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.core.errors import MelanomaError, ScaleMissing
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.ui.session.history import History
from napari_melanoma.ui.viewer import camera, slide_layers
from napari_melanoma.ui.viewer.shape_layers import HALF, get_data_action, line_width, offset_label, repair_features
from napari_melanoma.ui.viewer.shortcuts import add_shortcut, format_key, is_delete_key
from napari_melanoma.ui.viewer.view_memory import zoom_to_box
from napari_melanoma.ui.widgets.edited_document import DocumentState, EditedDocument, HistoryStep
from napari_melanoma.ui.widgets.style import add_to_section, fill_column, named, quiet_label, row, tool_button

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from napari.layers import Shapes
    from napari.viewer import Viewer
    from numpy.typing import NDArray
    from superqt import QCollapsible

    from napari_melanoma.slides.notes import SlideMeasurement
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
    from napari_melanoma.ui.widgets.settings import DockSettings

    Measures = tuple[SlideMeasurement, ...]

COLOR, TEXT_SIZE = "#006b1b", 14  # dark green, which differs from glass and common stains
COLOR_ON_BLACK = "#ffe14d"  # for fluorescence, which is black where there is no signal
EMPTY_FEATURES = {"label": "", "shown": "", "kind": ""}  # of a shape; ``shown``: its label, moved off the line
ANGLE_POINTS = 3  # the ends of the legs, and the vertex between them
LINE_SHAPES = ("line", "path")
ELLIPSE_CORNERS = 72  # corners of the polygon for an ellipse, whose area is 0.1 % too small


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

    if len(labels) == len(layer.data) and list(layer.features["label"]) != list(labels):
        shown = [
            offset_label(data, shape, label)
            for data, shape, label in zip(layer.data, layer.shape_type, labels, strict=True)
        ]
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


MODES = {"line": "add_line", "area": "add_polygon", "angle": "add_polyline"}
HINTS = {
    "angle": "Click the end of one leg, the vertex, and the end of the other leg.",
    "line": "Press the mouse button at one end, release it at the other.",
    "area": "Click each corner; finish with a double click or Escape.",
}
DEFAULT_HINT = "Saved with the results of the slide. You can move or delete shapes in the layer."
SETTLED_MS = 150  # without a further change of the layer, before it is read
LIST_PX = 90


class MeasureView(QWidget):
    """Tools, and the list of measurements: click to go there, Delete to remove.

    ``tool_requested``: ``line``, ``area`` or ``angle``; empty to deactivate. ``measure_activated`` and
    ``remove_requested``: index of the measurement. ``history_requested``: ``undo`` or ``redo``.
    """

    tool_requested = Signal(str)
    measure_activated = Signal(int)
    remove_requested = Signal(int)
    history_requested = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        texts = {"line": "Measure a length", "area": "Measure an area", "angle": "Measure an angle by three clicks"}
        tips = {kind: f"{text} ({format_key(f'slide.{kind}')})" for kind, text in texts.items()}
        self.tools = {
            kind: tool_button(f"measure_{kind}", tip, tip, kind, checkable=True) for kind, tip in tips.items()
        }
        steps = {"undo": ("↶", "Undo the last change of the measurements"), "redo": ("↷", "Redo")}
        self.history_buttons = {
            step: tool_button(f"measure_{step}", tip, tip, text) for step, (text, tip) in steps.items()
        }
        self.hint_label = named(quiet_label(DEFAULT_HINT), "measure_hint", "How to measure")
        tip = "Click to go there, Delete to remove"
        self.list = named(QListWidget(), "measures", "Measurements", tip)
        self.list.setFixedHeight(LIST_PX)
        fill_column(self, row(*self.tools.values(), *self.history_buttons.values()), self.hint_label, self.list)
        for kind, button in self.tools.items():
            button.clicked.connect(lambda on, kind=kind: self.tool_requested.emit(kind if on else ""))
        for step, button in self.history_buttons.items():
            button.clicked.connect(lambda _=False, step=step: self.history_requested.emit(step))
        self.list.itemClicked.connect(lambda item: self.measure_activated.emit(self.list.row(item)))
        self.list.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Handle the Delete key in the list."""
        if is_delete_key(event):
            self.remove_requested.emit(self.list.currentRow())
            return True
        return False

    def show_tool(self, kind: str) -> None:
        """Show the active tool."""
        for name, button in self.tools.items():
            button.setChecked(name == kind)
        self.hint_label.setText(HINTS.get(kind, DEFAULT_HINT))

    def show_measures(self, labels: list[str], history: History[Measures]) -> None:
        """List the measurements."""
        row_index = self.list.currentRow()
        self.list.clear()
        self.list.addItems(labels)
        self.list.setCurrentRow(min(row_index, len(labels) - 1))
        self.history_buttons["undo"].setEnabled(bool(history.past))
        self.history_buttons["redo"].setEnabled(bool(history.undone))


class MeasurementSection(QObject):
    """Synchronize the layer and the list of the measurements, with undo; ``edited``: by the user."""

    edited = Signal()

    def __init__(self, context: SlideContext, section: QCollapsible) -> None:
        super().__init__(context)
        self._context, self._viewer, self._section = context, context.viewer, section
        self._slide: ViewerSlide | None = None
        self._document: EditedDocument[DocumentState[Measures]] = EditedDocument(self)
        self._document.changed.connect(self._update_view)
        self._document.edited.connect(self.edited)
        self._unsaved: dict[str, Measures] = {}  # measurements before unsaved edits, by identity of the slide
        self._view: MeasureView | None = None
        self._tool, self._is_drawing, self._writing = "", False, False
        self._settle_timer = QTimer(self)
        self._settle_timer.setSingleShot(True)
        self._settle_timer.setInterval(SETTLED_MS)
        self._settle_timer.timeout.connect(self._read_layer)
        for kind in MODES:
            add_shortcut(context.dock, f"slide.{kind}", partial(self.toggle_tool, kind))
        context.connections.connect(self._viewer.layers.selection.events.active, self._on_active)
        context.flush_requested.connect(self.flush)
        self._section.toggled.connect(self._on_section_toggled)
        self._on_section_toggled(self._section.isExpanded())

    @property
    def measures(self) -> Measures:
        """Measurements of the displayed slide."""
        return self._history.current

    @property
    def _history(self) -> History[Measures]:
        return History(()) if self._document.state is None else self._document.state.history

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide, or the same one with another scale."""
        self.flush()
        if self._tool:
            self._set_tool("")
        self._slide = slide
        self._is_drawing = False
        self._document.show(None if slide is None else slide.identity)
        layer = self._find_layer()
        if layer is not None:
            label_measures(layer, self._describe_measures())

    def find_ruler_line(self) -> SlideMeasurement | None:
        """Return the line that is selected in the list, otherwise the last line; None if no line was drawn."""
        lines = [measure for measure in self.measures if measure.kind == "line"]
        row = -1 if self._view is None else self._view.list.currentRow()
        if 0 <= row < len(self.measures) and self.measures[row].kind == "line":
            return self.measures[row]
        return lines[-1] if lines else None

    def restore_measures(self, measures: Measures, folder: Path) -> None:
        """Show the measurements that are saved in a folder, with the edits that were made before they were found."""
        from napari_melanoma.slides.notes import merge_entries

        if self._slide is None:
            return
        identity, state = self._slide.identity, self._document.state
        self._end_shape()
        merged = merge_entries(self._unsaved.pop(identity, self.measures), self._get_drawn(), measures)
        if state is None or state.folder != folder:
            state = DocumentState(identity, History(measures), folder)
        if merged != state.history.current:
            state = replace(state, history=state.history.push(merged))
        self._document.add(state)
        self._draw()

    def _record_unsaved(self) -> None:
        """Record the measurements before the first edit that cannot be saved yet."""
        if self._slide is not None and self._context.location is None:
            self._unsaved.setdefault(self._slide.identity, self.measures)

    def _on_section_toggled(self, is_open: bool) -> None:
        """Create the widgets when the section is first opened."""
        if is_open and self._view is None:
            self._view = view = MeasureView()
            self._context.tool_buttons += view.tools.values()
            view.tool_requested.connect(self._set_tool)
            view.measure_activated.connect(self._show_measure)
            view.remove_requested.connect(self._remove_measure)
            view.history_requested.connect(self._step_history)
            add_to_section(self._section, view)
            self._update_view()

    def toggle_tool(self, kind: str) -> None:
        """Activate a tool, or deactivate it."""
        if self._view is None:
            self._section.expand()
        self._set_tool("" if self._tool == kind else kind)

    def _find_layer(self) -> Shapes | None:
        layer: Shapes | None = None
        if self._slide is not None:
            layer = slide_layers.find_layer(self._viewer, self._slide, "measures")
        return layer

    def _set_tool(self, kind: str) -> None:
        """Activate a tool, or deactivate it (empty)."""
        slide, self._tool = self._slide, ""  # events until the end are not changes by the user
        if kind and slide is not None:
            layer = self._find_layer() or self._create_layer(slide)
            layer.visible = True
            self._viewer.layers.selection.active = layer
            layer.mode = MODES[kind]
            self._tool = kind
        elif (layer := self._find_layer()) is not None:
            layer.mode = "pan_zoom"
            if slide is not None and self._viewer.layers.selection.active == layer:
                self._viewer.layers.selection.active = slide.layers[-1]
        if self._view is not None:
            self._view.show_tool(self._tool)

    def _on_active(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Deactivate the tool when another layer is selected."""
        if self._tool and self._viewer.layers.selection.active != self._find_layer():
            self._set_tool("")

    def _on_mode(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Update the tool when it is changed in napari's layer controls; the space bar pans with any tool."""
        modes = (MODES.get(self._tool, ""), "pan_zoom")
        if self._tool and event.source == self._find_layer() and str(event.source.mode) not in modes:
            self._tool = ""
            if self._view is not None:
                self._view.show_tool("")

    def _create_layer(self, slide: ViewerSlide) -> Shapes:
        """Create the layer, and draw all measurements."""
        width = line_width(self._viewer, slide, "measures")
        layer: Shapes = slide_layers.get_or_add_layer(
            self._viewer, slide, "measures", partial(create_measure_layer, width, choose_color(slide))
        )
        self._context.connections.connect(layer.events.data, self._on_data)
        self._context.connections.connect(layer.events.mode, self._on_mode)
        layer.mouse_drag_callbacks.append(self._on_press)
        self._writing = True
        draw_measures(layer, self.measures, self._describe_measures(), width, choose_color(slide))
        self._writing = False
        return layer

    def _end_shape(self) -> None:
        """End an unfinished shape; napari removes it if it has too few corners."""
        layer = self._find_layer()
        if layer is not None and self._is_drawing:
            with layer.events.mode.blocker():
                mode, layer.mode = layer.mode, "pan_zoom"
                layer.mode = mode

    def _draw(self) -> None:
        """Redraw all measurements; an unfinished shape ends."""
        layer, slide = self._find_layer(), self._slide
        if slide is None:
            return
        if layer is not None:
            self._end_shape()
            self._writing = True
            width = line_width(self._viewer, slide, "measures")
            draw_measures(layer, self.measures, self._describe_measures(), width, choose_color(slide))
            self._writing = False
        elif self.measures:
            self._create_layer(slide)

    def _describe_measures(self) -> list[str]:
        from napari_melanoma.slides.notes import format_measurement

        size = None if self._slide is None else self._slide.info.pixel_size
        return [format_measurement(measure, size) for measure in self.measures]

    def _update_view(self) -> None:
        if self._view is not None:
            self._view.show_measures(self._describe_measures(), self._history)

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Read the layer after shapes were drawn, moved or removed, but not while one is unfinished."""
        action = get_data_action(event)
        if self._writing or event.source != self._find_layer():
            return
        if action == "adding":
            set_next_kind(event.source, "angle" if self._tool == "angle" else "")
        self._is_drawing = action == "adding" or (self._is_drawing and action != "added")
        if action in ("added", "changed", "removed"):
            repair_features(event.source)
            self._settle_timer.start()

    def _on_press(self, layer: Shapes, event: Any) -> None:  # noqa: ANN401 - napari's event
        if self._tool == "angle":
            QTimer.singleShot(0, self._finish_angle)  # after napari has added the point

    def _finish_angle(self) -> None:
        """End the angle at the third click; napari would wait for a double click."""
        layer = self._find_layer()
        # While a path is drawn, its last vertex follows the mouse.
        if layer is not None and self._is_drawing and len(layer.data) and len(layer.data[-1]) > ANGLE_POINTS:
            with layer.events.mode.blocker():
                layer.mode = "add_path"  # in other modes, napari keeps the vertex that follows the mouse
                layer.mode = MODES["angle"]

    def _read_layer(self) -> None:
        """Store the drawn measurements."""
        layer = self._find_layer()
        if layer is None or self._is_drawing or self._slide is None:
            return
        measures = read_measures(layer)
        if measures != self.measures:
            self._edit(measures)
        if len(measures) == len(layer.data):
            label_measures(layer, self._describe_measures())
        else:  # remove shapes without length, area or angle
            self._draw()

    def _get_drawn(self) -> Measures:
        """Return the measurements, with those that were just drawn and are not stored yet."""
        layer = self._find_layer() if self._settle_timer.isActive() and not self._is_drawing else None
        return self.measures if layer is None else read_measures(layer)

    def flush(self) -> None:
        """Store what was just drawn; an unfinished shape ends. Call this before another slide is displayed."""
        self._end_shape()
        if self._settle_timer.isActive():
            self._settle_timer.stop()
            self._read_layer()

    def _edit(self, measures: Measures) -> None:
        self._record_unsaved()
        if self._slide is not None and self._document.state is None:
            self._document.add(DocumentState(self._slide.identity, History(())))
        self._document.apply_edit(lambda _: measures)

    def _step_history(self, step: HistoryStep) -> None:
        self._record_unsaved()
        self._document.step_history(step)
        self._draw()

    def _remove_measure(self, index: int) -> None:
        if 0 <= index < len(self.measures):
            self._edit((*self.measures[:index], *self.measures[index + 1 :]))
            self._draw()

    def _show_measure(self, index: int) -> None:
        if self._slide is not None:
            zoom_to_box(self._viewer, self._slide, bounding_box(self.measures[index]))


DEFAULT_UM_PER_PX = 0.5  # usual for a scan at 20x


class SlideScalePanel(QFrame):
    """Set the scale by a number of micrometers per pixel, or by a line of known length.

    ``pixel_size_changed``: the ``PixelSize`` that the user set; None for that of the file.
    """

    pixel_size_changed = Signal(object)
    failed = Signal(object)

    def __init__(self, viewer: Viewer, settings: DockSettings) -> None:
        super().__init__()
        named(self, "notice", "Scale").setToolTip("")
        self._viewer, self._settings = viewer, settings
        self._slide: ViewerSlide | None = None
        self._number = _create_number_box("scale_number", "Micrometers per pixel", (0.01, 100.0), " µm/px", 4)
        self._set_number = named(QPushButton("Set"), "scale_set", "Set the scale", "Use this pixel size")
        self._length = _create_number_box("scale_length", "Length of the line", (0.1, 1e6), " µm", 1)
        self._length.setValue(float(settings.get("slide/ruler_um", 1000.0)))
        self._set_line = named(
            QPushButton("Set by line"), "scale_ruler", "Set the scale by the line", "Use the last line"
        )
        self._clear = named(QPushButton("Clear"), "scale_clear", "Clear the scale", "Restore the scale of the file")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(quiet_label("The scale that you set is saved with the results."))
        layout.addWidget(row(self._number, self._set_number, self._clear, stretch=0))
        layout.addWidget(quiet_label("Or draw a line over a known length on the slide:"))
        layout.addWidget(row(self._length, self._set_line, stretch=0))
        self._set_number.clicked.connect(self._on_number)
        self._set_line.clicked.connect(self._on_line)
        self._clear.clicked.connect(lambda: self.pixel_size_changed.emit(None))
        self.hide()

    def start(self, slide: ViewerSlide) -> None:
        """Show the panel, and activate the line tool."""
        from napari.layers import Shapes

        self._slide = slide
        size = slide.info.pixel_size
        self._number.setValue(DEFAULT_UM_PER_PX if size is None else size.x_um)
        width = line_width(self._viewer, slide, "ruler")

        def create_layer() -> Shapes:
            return Shapes(ndim=2, edge_color="yellow", edge_width=width)

        layer = slide_layers.get_or_add_layer(self._viewer, slide, "ruler", create_layer)
        layer.visible = True
        layer.current_edge_width, layer.current_edge_color = width, "yellow"
        self._viewer.layers.selection.active = layer
        layer.mode = "add_line"
        self.show()

    def stop(self) -> None:
        """Deactivate the line tool; a drawn line stays."""
        layer = None if self._slide is None else slide_layers.find_layer(self._viewer, self._slide, "ruler")
        if layer is not None:
            layer.mode = "pan_zoom"
            if not len(layer.data):
                self._viewer.layers.remove(layer)
        self._slide = None
        self.hide()

    def _on_number(self) -> None:
        self.pixel_size_changed.emit(PixelSize(self._number.value(), self._number.value(), "given"))

    def _on_line(self) -> None:
        slide = self._slide
        layer = None if slide is None else slide_layers.find_layer(self._viewer, slide, "ruler")
        try:
            if slide is None or layer is None or not len(layer.data):
                raise ScaleMissing("there is no line yet: draw one over a known length, then set the scale.")
            start, *_, end = layer.data[-1]
            size = PixelSize.from_ruler(tuple(start[-2:]), tuple(end[-2:]), self._length.value() / 1000)
        except MelanomaError as error:
            self.failed.emit(error)
            return
        self._settings.set("slide/ruler_um", self._length.value())
        self.pixel_size_changed.emit(size)


def _create_number_box(
    name: str, accessible_name: str, limits: tuple[float, float], suffix: str, decimals: int
) -> QDoubleSpinBox:
    box = named(QDoubleSpinBox(), name, accessible_name)
    box.setDecimals(decimals)
    box.setRange(*limits)
    box.setSuffix(suffix)
    return box
