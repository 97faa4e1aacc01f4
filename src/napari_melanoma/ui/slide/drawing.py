"""New lesions drawn by hand: a panel that says how and of which class, and a layer that takes outlines one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QFrame, QLabel, QMessageBox, QVBoxLayout

from napari_melanoma.ui.slide.drawn_layers import complete_strokes, line_width
from napari_melanoma.ui.slide.lesions import class_of_probability, drawn
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.widgets.dialogs import answer, ask
from napari_melanoma.ui.widgets.editors import StillCombo
from napari_melanoma.ui.widgets.look import named, quiet, row

if TYPE_CHECKING:
    from napari.layers import Shapes
    from napari.viewer import Viewer

    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.lesions import Findings
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

CLASSES = {"": "as the model says", "malignant": "malignant", "benign": "benign"}
TOOLS = {
    "add_polygon_lasso": ("freehand", "Hold the mouse button and go around; let go where you began."),
    "add_polygon": ("corner by corner", "Click each corner; a double click or Escape ends it."),
}
WAITS = "The outline is no lesion yet: {} Press draw again to drop it."
COLOUR = "yellow"


class DrawingPanel(QFrame):
    """Class and tool of what is drawn next."""

    classed = Signal()
    tool_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        named(self, "notice", "Draw a lesion").setToolTip("")
        tip = "Class of what you draw; by the model: from the probability of the tiles under it"
        self._classes = named(StillCombo(), "draw_class", "Class of what is drawn", tip)
        for value, text in CLASSES.items():
            self._classes.addItem(text, value)
        self._tools = named(StillCombo(), "draw_tool", "How to draw", "How to draw")
        for mode, (text, _) in TOOLS.items():
            self._tools.addItem(text, mode)
        self._words = named(quiet(), "draw_words", "How to draw")
        self._words.setToolTip("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.setSpacing(4)
        layout.addWidget(row(QLabel("class"), self._classes, stretch=1))
        layout.addWidget(row(QLabel("draw"), self._tools, stretch=1))
        layout.addWidget(self._words)
        self._classes.activated.connect(self.classed)
        self._tools.activated.connect(self._on_tool)
        self._tell()
        self.hide()

    @property
    def label(self) -> str:
        """Malignant or benign; empty for what the model says."""
        return str(self._classes.currentData())

    @property
    def mode(self) -> str:
        """Mode of napari's layer of shapes."""
        return str(self._tools.currentData())

    def _on_tool(self, _: int) -> None:
        self._tell()
        self.tool_changed.emit()

    def say_waiting(self, why: str) -> None:
        """Say what to do with an outline that is no lesion yet, or how to draw."""
        if why:
            self._words.setText(WAITS.format(why))
        else:
            self._tell()

    def _tell(self) -> None:
        self._words.setText(f"{TOOLS[self.mode][1]} Hold the space bar to move the slide. Press draw again to end.")


class LesionDrawing(QObject):
    """Makes lesions of the outlines that are drawn while the button is pressed; each can be undone."""

    def __init__(self, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(dock)
        self._dock, self._viewer = dock, viewer
        self._button = dock.edits["draw"]
        self._panel: DrawingPanel | None = None
        self._slide: OpenSlide | None = None
        self._known: frozenset[int] | None = None  # numbers before the outline that is being measured
        self._refused = ""  # why an outline that waits is no lesion
        self._in_hand, self._done = False, 0  # whether an outline is half drawn; how many have become lesions
        self._button.toggled.connect(self._on_toggled)
        dock.lesions.changed.connect(self._on_lesions)
        dock.lesions.failed.connect(self._on_failed)
        dock.connections.connect(viewer.layers.events.removed, self._on_removed)
        add_shortcut(dock, "slide.draw", self._button.click)

    @property
    def layer(self) -> Shapes | None:
        """Takes the outlines; None while nothing is drawn."""
        made: Shapes | None = None
        if self._slide is not None:
            made = slide_layers.part(self._viewer, self._slide, "drawing")
        return made

    def _on_toggled(self, on: bool) -> None:
        if on:
            self._start()
        elif self._may_stop():
            self._stop()
        else:
            self._button.setChecked(True)

    def _may_stop(self) -> bool:
        """Ask where an outline that is no lesion yet would go."""
        layer = self.layer
        gone = layer is None or self._dock.lesions.findings is None
        if not self._refused or gone or len(layer.data) <= self._done:
            return True
        details = f"It is no lesion yet: {self._refused}"
        box = ask(self._dock, "drop_outline", "Drop the outline that you drew?", details, "Slide")
        box.addButton("Drop it", QMessageBox.ButtonRole.DestructiveRole).setObjectName("drop")
        box.setDefaultButton(box.addButton("Keep it", QMessageBox.ButtonRole.RejectRole))
        pressed = answer(box)
        return pressed is not None and pressed.objectName() == "drop"

    def _start(self) -> None:
        if self._slide is not None:  # it went on all the time
            return
        slide = self._dock.slide
        if slide is None or self._dock.lesions.findings is None:
            self._button.setChecked(False)
            return
        self._slide, self._known, self._in_hand, self._done = slide, None, False, 0
        if self._panel is None:
            self._panel = self._made_panel()
        layer = slide_layers.put(self._viewer, slide, "drawing", self._made_layer)
        self._dock.connections.connect(layer.events.data, self._on_data)
        self._viewer.layers.selection.active = layer
        layer.mode = self._panel.mode
        self._panel.show()

    def _stop(self) -> None:
        """Put the tool away, with what did not become a lesion."""
        self._refuse("")
        layer, slide, self._slide = self.layer, self._slide, None
        if self._panel is not None:
            self._panel.hide()
        if layer is not None and slide is not None:
            self._viewer.layers.remove(layer)
            if any(own in self._viewer.layers for own in slide.layers):
                self._viewer.layers.selection.active = slide.layers[-1]

    def _made_panel(self) -> DrawingPanel:
        panel = DrawingPanel()
        panel.classed.connect(self._take)
        panel.tool_changed.connect(self._on_tool)
        edits = self._button.parentWidget()
        column: Any = edits.parentWidget().layout()
        column.insertWidget(column.indexOf(edits) + 1, panel)
        return panel

    def _made_layer(self) -> Shapes:
        from napari.layers import Shapes

        assert self._slide is not None, "it is made while a slide is drawn on"
        width = line_width(self._viewer, self._slide, "drawing")
        layer = Shapes(ndim=2, edge_color=COLOUR, edge_width=width, face_color="transparent")
        complete_strokes(layer, self._dock.status.say)
        return layer

    def _on_tool(self) -> None:
        layer = self.layer
        if layer is not None and self._panel is not None:
            layer.mode = self._panel.mode

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Know whether an outline is in the making: napari says so when it begins and when it ends."""
        action = str(getattr(event.action, "value", event.action))
        if action == "adding":
            self._in_hand = True
        elif action == "added":
            self._in_hand = False
            QTimer.singleShot(0, self._take)  # when napari is done with the shape

    def _take(self) -> None:
        """Make a lesion of the first outline that waits."""
        layer, now = self.layer, self._dock.lesions.findings
        if self._known is not None or layer is None or now is None or self._slide is None:
            return
        if not self._in_hand and self._done:
            layer.data, self._done = layer.data[self._done :], 0
        if len(layer.data) - self._in_hand <= self._done:
            return
        from napari_melanoma.core.polygons import Polygon, as_ring

        assert self._panel is not None, "it was made with the layer"
        # What reaches beyond the slide ends with it: where the tissue does, nobody keeps to the edge.
        outline = Polygon(as_ring((layer.data[self._done][:, -2:] + 0.5).clip(0, self._slide.size)))
        self._known = frozenset(lesion.index for lesion in now.lesions)
        self._dock.lesions.edit(drawn(outline, self._panel.label))

    def _on_lesions(self, found: Findings | None) -> None:
        """Go on to the next outline when one became a lesion; without lesions there is nothing to draw among."""
        if found is None:
            self._button.setChecked(False)
            return
        known = self._known
        new = [] if known is None else [one for one in found.lesions if one.index not in known]
        if new:
            self._known = None
            self._refuse("")
            self._done += 1
            self._dock.table.pick(new[-1].index)
            self._dock.status.say(said_drawn(new[-1], found.target))
            QTimer.singleShot(0, self._take)

    def _on_failed(self, error: Exception) -> None:
        """Leave the outline where it is: another class may make a lesion of it."""
        if self._known is not None:
            self._known = None
            self._refuse(str(error))

    def _refuse(self, why: str) -> None:
        """Know why an outline is no lesion; empty: it is one, or gone, so nothing is said of it any more."""
        if self._refused and self._dock.status.text == self._refused:
            self._dock.status.say("")
        self._refused = why
        if self._panel is not None:
            self._panel.say_waiting(why)

    def _on_removed(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        if self._slide is not None and self.layer is None:
            self._slide = None
            self._refuse("")
            self._button.setChecked(False)


def said_drawn(lesion: Any, target: str) -> str:  # noqa: ANN401 - a SlideLesion
    """Say what was drawn."""
    area = f"{lesion.area_px:,.0f} px" if lesion.area_mm2 is None else f"{lesion.area_mm2:.3g} mm²"
    known = (
        ""
        if lesion.probability != lesion.probability
        else f", p {class_of_probability(lesion.label, target)} {lesion.probability:.2f}"
    )
    return f"Lesion {lesion.index} drawn: {lesion.label}, {area}{known}."
