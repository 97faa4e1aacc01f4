"""Ruler and areas on a slide: drawn in a layer of their own, listed with what they measure, kept with its notes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QListWidget, QVBoxLayout, QWidget

from napari_melanoma.ui.look import named, quiet, row, tool
from napari_melanoma.ui.shortcuts import add_shortcut, shown_key
from napari_melanoma.ui.slide import camera as slide_camera
from napari_melanoma.ui.slide import layers as slide_layers
from napari_melanoma.ui.slide import measure_layer

if TYPE_CHECKING:
    from napari.layers import Shapes
    from napari.viewer import Viewer

    from napari_melanoma.analysis.lesion_edits import History
    from napari_melanoma.io.slide_notes import Measure
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.layers import OpenSlide

    Measures = tuple[Measure, ...]

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
        from napari_melanoma.analysis.lesion_edits import History

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
            measure_layer.say(layer, self._said())

    def show_measures(self, measures: Measures) -> None:
        """Show what was kept with the slide; what was drawn since it was opened stays."""
        from napari_melanoma.analysis.lesion_edits import History

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
        layer: Shapes = slide_layers.put(self._viewer, slide, "measures", partial(measure_layer.made, slide.size))
        self._dock.connections.connect(layer.events.data, self._on_data)
        self._dock.connections.connect(layer.events.mode, self._on_mode)
        self._writing = True
        measure_layer.write(layer, self.measures, self._said(), slide.size)
        self._writing = False
        return layer

    def _draw(self) -> None:
        """Draw all that is measured anew."""
        layer, slide = self._layer(), self._slide
        if slide is None:
            return
        if layer is not None:
            self._writing = True
            measure_layer.write(layer, self.measures, self._said(), slide.size)
            self._writing = False
        elif self.measures:
            self._made(slide)

    def _said(self) -> list[str]:
        from napari_melanoma.analysis.slide_measures import said_measure

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
            measure_layer.say_nothing_yet(event.source)
        self._in_hand = action == "adding" or (self._in_hand and action != "added")
        if action in ("added", "changed", "removed"):
            self._settle.start()

    def _take(self) -> None:
        """Keep what is drawn now."""
        layer = self._layer()
        if layer is None or self._in_hand or self._slide is None:
            return
        now = measure_layer.read(layer)
        if now != self.measures:
            self._go(self._history.then(now))
        if len(now) == len(layer.data):
            measure_layer.say(layer, self._said())
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
            box = slide_camera.View(*measure_layer.box_of(self.measures[index]))
            slide_camera.fly_to_box(self._viewer, self._slide, box)
