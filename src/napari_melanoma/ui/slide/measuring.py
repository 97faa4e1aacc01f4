"""Ruler and areas on a slide."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QDoubleSpinBox, QFrame, QListWidget, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.core.errors import MelanomaError, ScaleMissing
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.ui.slide.drawn_layers import HALF
from napari_melanoma.ui.viewer import camera as slide_camera
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.shortcuts import add_shortcut, shown_key
from napari_melanoma.ui.widgets.look import named, quiet, row, tool

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Shapes
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.slides.lesion_edits import History
    from napari_melanoma.slides.notes import Measure
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide
    from napari_melanoma.ui.widgets.settings import Settings

    Measures = tuple[Measure, ...]

COLOUR, TEXT_SIZE = "#006b1b", 14  # dark green: neither glass nor a usual stain has that colour
FLAT = 0.15  # a line that rises less has its words above it, a steeper one beside it
BESIDE = " " * 24  # moves words that stand in the middle of a line to its right
WIDTHS = 600  # of the line; this many of its widths are as long as the slide
NOTHING = {"said": "", "shown": ""}
LINES = ("line", "path")
ROUND = 72  # corners of an ellipse, whose area is off by 0.1 % then


def made(size: tuple[int, int]) -> Shapes:
    """Make an empty layer.

    ``size``: height and width of the slide in pixels. In pixels of the finest level.
    """
    import numpy as np
    from napari.layers import Shapes

    return Shapes(
        ndim=2,
        edge_color=COLOUR,
        edge_width=max(size) / WIDTHS,
        face_color="transparent",
        opacity=1,
        features={"said": np.array([], object), "shown": np.array([], object)},
        feature_defaults=NOTHING,
        text={"string": "{shown}", "color": COLOUR, "size": TEXT_SIZE, "anchor": "center"},
    )


def write(layer: Shapes, measures: Sequence[Measure], said: Sequence[str], size: tuple[int, int]) -> None:
    """Draw measures in place of what is there.

    ``size``: height and width of the slide in pixels.
    """
    import numpy as np

    layer.data = []
    if measures:
        kinds = {"area": "polygon", "line": "path"}
        layer.add(
            [np.array(one.points, np.float64) - HALF for one in measures],
            shape_type=["line" if len(one.points) == 2 else kinds[one.kind] for one in measures],
            edge_width=max(size) / WIDTHS,
            edge_color=COLOUR,
            face_color="transparent",
        )
    layer.selected_data = set()
    say(layer, said)


def say(layer: Shapes, said: Sequence[str]) -> None:
    """Write what was measured beside it."""
    import numpy as np

    if len(said) == len(layer.data) and list(layer.features["said"]) != list(said):
        shown = [clear_of(*one) for one in zip(layer.data, layer.shape_type, said, strict=True)]
        layer.features = {"said": np.array(said, object), "shown": np.array(shown, object)}
        layer.refresh_text()
        say_nothing_yet(layer)


def say_nothing_yet(layer: Shapes) -> None:
    """Write nothing at what is drawn next: napari would repeat the words of what was drawn before."""
    layer.feature_defaults = NOTHING


def clear_of(data: NDArray[np.float64], kind: str, said: str) -> str:
    """Give words that a line does not run through, for they stand in its middle: blanks put them above or beside it.

    With blanks or a line break.
    """
    if kind != "line":
        return said
    height, width = abs(data[-1] - data[0])[-2:]
    return f"{said}\n " if height < FLAT * width else BESIDE + said


def read(layer: Shapes) -> tuple[Measure, ...]:
    """Read what is drawn.

    In their order; what has no length or no area is left out.
    """
    from napari_melanoma.slides.notes import Measure, measured

    found = []
    for data, kind in zip(layer.data, layer.shape_type, strict=True):
        corners = _round(data) if kind == "ellipse" else data
        points = tuple((float(row) + HALF, float(column) + HALF) for row, column in corners[:, -2:])
        one = Measure("line" if kind in LINES else "area", points)
        if measured(one, None) > 0:
            found.append(one)
    return tuple(found)


def box_of(measure: Measure) -> tuple[float, float, float, float]:
    """Box around a measure.

    Top, left, height and width in pixels of the finest level.
    """
    rows, columns = zip(*measure.points, strict=True)
    return min(rows), min(columns), max(rows) - min(rows), max(columns) - min(columns)


def _round(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners on an ellipse that is given by those of its box."""
    import numpy as np

    box = corners[:, -2:]
    middle, across, down = box.mean(axis=0), (box[1] - box[0]) / 2, (box[3] - box[0]) / 2
    angles = np.linspace(0, 2 * np.pi, ROUND, endpoint=False)[:, None]
    return middle + np.cos(angles) * across + np.sin(angles) * down


LINE_KEY, AREA_KEY = shown_key("slide.line"), shown_key("slide.area")
MODES = {"line": "add_line", "area": "add_polygon"}
HINTS = {
    "line": "Press the mouse at one end, let go at the other.",
    "area": "Click each corner; a double click or Escape ends it.",
}
USUAL = "Kept with the results of the slide. Move or delete in the layer as you like."
SETTLED_MS = 150
LIST_PX = 90


class MeasureView(QWidget):
    """Tools, and the list of what was measured: click to fly, Delete to remove."""

    tool_wanted = Signal(str)
    chosen = Signal(int)
    removing = Signal(int)
    stepped = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        tips = {"line": f"Measure a length ({LINE_KEY})", "area": f"Measure an area ({AREA_KEY})"}
        self.tools = {kind: tool(f"measure_{kind}", tip, tip, kind, checkable=True) for kind, tip in tips.items()}
        steps = {"undo": ("↶", "Take back the last change of what was measured"), "redo": ("↷", "Do it again")}
        self.steps = {way: tool(f"measure_{way}", tip, tip, text) for way, (text, tip) in steps.items()}
        self.words = named(quiet(USUAL), "measure_words", "How to measure")
        tip = "Click to go there, Delete to remove"
        self.list = named(QListWidget(), "measures", "What was measured", tip)
        self.list.setFixedHeight(LIST_PX)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (row(*self.tools.values(), *self.steps.values()), self.words, self.list):
            layout.addWidget(widget)
        for kind, button in self.tools.items():
            button.clicked.connect(lambda on, kind=kind: self.tool_wanted.emit(kind if on else ""))
        for way, button in self.steps.items():
            button.clicked.connect(lambda _=False, way=way: self.stepped.emit(way))
        self.list.itemClicked.connect(lambda item: self.chosen.emit(self.list.row(item)))
        self.list.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Hear Delete in the list."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress and event.key() == Qt.Key.Key_Delete:
            self.removing.emit(self.list.currentRow())
            return True
        return False

    def show_tool(self, kind: str) -> None:
        """Show which tool is in the user's hand."""
        for name, button in self.tools.items():
            button.setChecked(name == kind)
        self.words.setText(HINTS.get(kind, USUAL))

    def show_measures(self, said: list[str], history: History[Measures]) -> None:
        """List what was measured."""
        kept = self.list.currentRow()
        self.list.clear()
        self.list.addItems(said)
        self.list.setCurrentRow(min(kept, len(said) - 1))
        self.steps["undo"].setEnabled(bool(history.past))
        self.steps["redo"].setEnabled(bool(history.undone))


class SlideMeasures(QObject):
    """Keeps layer, list and notes in step."""

    edited = Signal()

    def __init__(self, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(dock)
        self._dock, self._viewer, self._fold = dock, viewer, dock.measure_fold
        self._slide: OpenSlide | None = None
        self._known: dict[str, History[Measures]] = {}
        self._view: MeasureView | None = None
        self._kind, self._in_hand, self._writing = "", False, False
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLED_MS)
        self._settle.timeout.connect(self._take)
        for kind in MODES:
            add_shortcut(dock, f"slide.{kind}", partial(self._on_key, kind))
        dock.connections.connect(viewer.layers.selection.events.active, self._on_active)
        self._fold.toggled.connect(self._on_fold)
        self._on_fold(self._fold.isExpanded())

    @property
    def measures(self) -> Measures:
        """Of the slide that the dock is about, as they are now."""
        return self._history.now

    @property
    def _history(self) -> History[Measures]:
        from napari_melanoma.slides.lesion_edits import History

        empty: History[Measures] = History(())
        return empty if self._slide is None else self._known.get(self._slide.identity, empty)

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide, or the same with another scale."""
        if self._kind:
            self._on_tool("")
        self._slide = slide
        self._in_hand = False
        self._show()
        layer = self._layer()
        if layer is not None:
            say(layer, self._said())

    def show_measures(self, measures: Measures) -> None:
        """Show what was kept with the slide; what was drawn since it was opened stays."""
        from napari_melanoma.slides.lesion_edits import History

        if self._slide is not None and self._slide.identity not in self._known:
            self._known[self._slide.identity] = History(measures)
        self._draw()
        self._show()

    def _on_fold(self, is_open: bool) -> None:
        """Make what is inside when somebody looks for the first time."""
        if is_open and self._view is None:
            self._view = view = MeasureView()
            view.tool_wanted.connect(self._on_tool)
            view.chosen.connect(self._on_chosen)
            view.removing.connect(self._on_removing)
            view.stepped.connect(self._on_stepped)
            self._fold.content().layout().itemAt(0).widget().layout().addWidget(view)
            self._show()

    def _on_key(self, kind: str) -> None:
        if self._view is None:
            self._fold.expand()
        self._on_tool("" if self._kind == kind else kind)

    def _layer(self) -> Shapes | None:
        found: Shapes | None = None
        if self._slide is not None:
            found = slide_layers.part(self._viewer, self._slide, "measures")
        return found

    def _on_tool(self, kind: str) -> None:
        """Put a tool into the user's hand, or away."""
        slide, self._kind = self._slide, ""  # until it is taken: what is told in between is no change of tool
        if kind and slide is not None:
            layer = self._layer() or self._made(slide)
            layer.visible = True
            self._viewer.layers.selection.active = layer
            layer.mode = MODES[kind]
            self._kind = kind
        elif (layer := self._layer()) is not None:
            layer.mode = "pan_zoom"
            if slide is not None and self._viewer.layers.selection.active == layer:
                self._viewer.layers.selection.active = slide.layers[-1]
        if self._view is not None:
            self._view.show_tool(self._kind)

    def _on_active(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Put the tool away when the user turns to another layer; what is half drawn goes with it."""
        if self._kind and self._viewer.layers.selection.active != self._layer():
            self._on_tool("")

    def _on_mode(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Show that another tool was taken in napari's own controls."""
        if self._kind and event.source == self._layer() and str(event.source.mode) != MODES[self._kind]:
            self._kind = ""
            if self._view is not None:
                self._view.show_tool("")

    def _made(self, slide: OpenSlide) -> Shapes:
        """Make the layer, with all that is measured."""
        layer: Shapes = slide_layers.put(self._viewer, slide, "measures", partial(made, slide.size))
        self._dock.connections.connect(layer.events.data, self._on_data)
        self._dock.connections.connect(layer.events.mode, self._on_mode)
        self._writing = True
        write(layer, self.measures, self._said(), slide.size)
        self._writing = False
        return layer

    def _draw(self) -> None:
        """Draw all that is measured anew."""
        layer, slide = self._layer(), self._slide
        if slide is None:
            return
        if layer is not None:
            self._writing = True
            write(layer, self.measures, self._said(), slide.size)
            self._writing = False
        elif self.measures:
            self._made(slide)

    def _said(self) -> list[str]:
        from napari_melanoma.slides.notes import said_measure

        size = None if self._slide is None else self._slide.info.pixel_size
        return [said_measure(one, size) for one in self.measures]

    def _show(self) -> None:
        if self._view is not None:
            self._view.show_measures(self._said(), self._history)

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Hear when something was drawn, moved or removed; not while a shape is in the making."""
        action = str(getattr(event.action, "value", event.action))
        if self._writing or event.source != self._layer():
            return
        if action == "adding":
            say_nothing_yet(event.source)
        self._in_hand = action == "adding" or (self._in_hand and action != "added")
        if action in ("added", "changed", "removed"):
            self._settle.start()

    def _take(self) -> None:
        """Keep what is drawn now."""
        layer = self._layer()
        if layer is None or self._in_hand or self._slide is None:
            return
        now = read(layer)
        if now != self.measures:
            self._go(self._history.then(now))
        if len(now) == len(layer.data):
            say(layer, self._said())
        else:  # what has no length or area goes
            self._draw()

    def _go(self, history: History[Measures]) -> None:
        if self._slide is not None:
            self._known[self._slide.identity] = history
            self._show()
            self.edited.emit()

    def _on_stepped(self, way: str) -> None:
        history = getattr(self._history, way)()
        if history is not self._history:
            self._go(history)
            self._draw()

    def _on_removing(self, index: int) -> None:
        if 0 <= index < len(self.measures):
            self._go(self._history.then((*self.measures[:index], *self.measures[index + 1 :])))
            self._draw()

    def _on_chosen(self, index: int) -> None:
        if self._slide is not None:
            box = slide_camera.View(*box_of(self.measures[index]))
            slide_camera.fly_to_box(self._viewer, self._slide, box)


USUAL_UM = 0.5  # of a scan at 20x


class SlideScale(QFrame):
    """Asks for micrometres per pixel, or for a line and its length.

    ``wanted``: the user says that pixels have this ``PixelSize``; None for what the file says.
    """

    wanted = Signal(object)
    failed = Signal(object)

    def __init__(self, viewer: Viewer, settings: Settings) -> None:
        super().__init__()
        named(self, "notice", "Scale").setToolTip("")
        self._viewer, self._settings = viewer, settings
        self._slide: OpenSlide | None = None
        self._number = _box("scale_number", "Micrometres per pixel", (0.01, 100.0), " µm/px", 4)
        self._set_number = named(QPushButton("Set"), "scale_set", "Set the scale", "Every pixel has this size")
        self._length = _box("scale_length", "Length of the line", (0.1, 1e6), " µm", 1)
        self._length.setValue(float(settings.kept("slide/ruler_um", 1000.0)))
        self._set_line = named(
            QPushButton("Set by line"), "scale_ruler", "Set the scale by the line", "Take the last line"
        )
        self._clear = named(QPushButton("Clear"), "scale_clear", "Clear the scale", "Back to the scale of the file")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(quiet("What you set here is kept with the results, as set by you."))
        layout.addWidget(row(self._number, self._set_number, self._clear, stretch=0))
        layout.addWidget(quiet("Or draw a line over a known length on the slide:"))
        layout.addWidget(row(self._length, self._set_line, stretch=0))
        self._set_number.clicked.connect(self._on_number)
        self._set_line.clicked.connect(self._on_line)
        self._clear.clicked.connect(lambda: self.wanted.emit(None))
        self.hide()

    def start(self, slide: OpenSlide) -> None:
        """Show the panel, and put the line tool into the user's hand."""
        from napari.layers import Shapes

        self._slide = slide
        size = slide.info.pixel_size
        self._number.setValue(USUAL_UM if size is None else size.x_um)
        width = max(slide.size) / 400

        def make() -> Shapes:
            return Shapes(ndim=2, edge_color="yellow", edge_width=width)

        line = slide_layers.put(self._viewer, slide, "ruler", make)
        line.visible = True
        line.current_edge_width, line.current_edge_color = width, "yellow"
        self._viewer.layers.selection.active = line
        line.mode = "add_line"
        self.show()

    def stop(self) -> None:
        """Put the tool away; a line that was drawn stays."""
        line = None if self._slide is None else slide_layers.part(self._viewer, self._slide, "ruler")
        if line is not None:
            line.mode = "pan_zoom"
            if not len(line.data):
                self._viewer.layers.remove(line)
        self._slide = None
        self.hide()

    def _on_number(self) -> None:
        self.wanted.emit(PixelSize(self._number.value(), self._number.value(), "given"))

    def _on_line(self) -> None:
        slide = self._slide
        line = None if slide is None else slide_layers.part(self._viewer, slide, "ruler")
        try:
            if slide is None or line is None or not len(line.data):
                raise ScaleMissing("there is no line yet: draw one over a known length, then set the scale.")
            start, *_, end = line.data[-1]
            size = PixelSize.from_ruler(tuple(start[-2:]), tuple(end[-2:]), self._length.value() / 1000)
        except MelanomaError as error:
            self.failed.emit(error)
            return
        self._settings.keep("slide/ruler_um", self._length.value())
        self.wanted.emit(size)


def _box(name: str, spoken: str, limits: tuple[float, float], suffix: str, decimals: int) -> QDoubleSpinBox:
    box = named(QDoubleSpinBox(), name, spoken)
    box.setDecimals(decimals)
    box.setRange(*limits)
    box.setSuffix(suffix)
    return box
