"""Draw new lesions by hand, with a panel for class and tool, and refine lesions by clicks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QAbstractButton, QFrame, QLabel, QMessageBox, QVBoxLayout

from napari_melanoma.ui.slide.lesions import class_of_probability, format_area, make_draw_edit, make_refine_edit
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.pixel_tools import CLICK_HINT, OutlineClickTool
from napari_melanoma.ui.viewer.shape_layers import complete_lasso_strokes, get_data_action, is_slide_open, line_width
from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.widgets.dialogs import create_question, exec_question
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import WrappedLabel, named, row

if TYPE_CHECKING:
    from napari.layers import Shapes

    from napari_melanoma.slides.lesions import SlideLesion
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.lesions import LesionFindings, LesionTable, SlideLesions
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

CLASSES = {"": "from the model", "malignant": "malignant", "benign": "benign"}
TOOLS = {  # name and hint of a tool, by mode of napari's Shapes layer
    "add_polygon_lasso": (
        "freehand",
        "Hold down the mouse button, draw around the lesion, and release the button where you started.",
    ),
    "add_polygon": ("corner by corner", "Click each corner; finish with a double click or Escape."),
}
REJECTED_OUTLINE = "The outline is not a lesion yet: {} Press draw again to discard it."
NO_AREA = "The outline encloses no area of the slide and was removed. Draw around the lesion."
OUTLINE_COLOR = "yellow"


class DrawingPanel(QFrame):
    """Select the class and the drawing tool of the next lesion."""

    class_changed = Signal()
    tool_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        named(self, "notice", "Draw a lesion").setToolTip("")
        tip = "Class of the drawn lesion. 'from the model' uses the predicted probability of the tiles that it covers."
        self._classes = named(NoWheelComboBox(), "draw_class", "Class of the drawn lesion", tip)
        for value, text in CLASSES.items():
            self._classes.addItem(text, value)
        self._tools = named(NoWheelComboBox(), "draw_tool", "How to draw", "How to draw")
        for mode, (text, _) in TOOLS.items():
            self._tools.addItem(text, mode)
        self._hint_label = named(WrappedLabel(), "draw_hint", "How to draw")  # a plain one is squeezed
        self._hint_label.setProperty("quiet", True)
        self._hint_label.setToolTip("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.setSpacing(4)
        layout.addWidget(row(QLabel("class"), self._classes, stretch=1))
        layout.addWidget(row(QLabel("draw"), self._tools, stretch=1))
        layout.addWidget(self._hint_label)
        self._classes.activated.connect(self.class_changed)
        self._tools.activated.connect(self._on_tool)
        self._show_hint()
        self.hide()

    @property
    def label(self) -> str:
        """Malignant or benign; empty for the class that the model predicts."""
        return str(self._classes.currentData())

    @property
    def mode(self) -> str:
        """Mode of napari's Shapes layer."""
        return str(self._tools.currentData())

    def _on_tool(self, _: int) -> None:
        self._show_hint()
        self.tool_changed.emit()

    def show_rejection(self, reason: str) -> None:
        """Show why an outline is not a lesion yet; if ``reason`` is empty, show how to draw."""
        if reason:
            self._hint_label.setText(REJECTED_OUTLINE.format(reason))
        else:
            self._show_hint()

    def _show_hint(self) -> None:
        self._hint_label.setText(f"{TOOLS[self.mode][1]} Hold the space bar to pan. Press draw again to stop.")


class LesionDrawing(QObject):
    """Turn outlines that are drawn while the button is checked into lesions; each is one undo step.

    ``lesion_drawn``: number of the new lesion.
    """

    lesion_drawn = Signal(int)

    def __init__(self, context: SlideContext, lesions: SlideLesions, button: QAbstractButton) -> None:
        super().__init__(context)
        self._context, self._viewer, self._lesions, self._button = context, context.viewer, lesions, button
        self._panel: DrawingPanel | None = None
        self._slide: ViewerSlide | None = None
        self._previous_indices: frozenset[int] | None = None  # lesions before the outline that is being measured
        self._rejection = ""  # why the pending outline is not a lesion
        self._is_drawing = False  # whether an outline is unfinished
        self._finished_count = 0  # outlines in the layer that became lesions, or can never become one
        context.tool_buttons.append(button)
        self._button.toggled.connect(self._on_toggled)
        lesions.changed.connect(self._on_lesions)
        lesions.failed.connect(self._on_failed)
        context.connections.connect(self._viewer.layers.events.removed, self._on_removed)
        add_shortcut(context.dock, "slide.draw", self._button.click)

    @property
    def layer(self) -> Shapes | None:
        """The layer for the outlines; None while not drawing."""
        layer: Shapes | None = None
        if self._slide is not None:
            layer = slide_layers.find_layer(self._viewer, self._slide, "drawing")
        return layer

    def _on_toggled(self, on: bool) -> None:
        if on:
            self._start()
        elif self._confirm_stop():
            self._stop()
        else:
            self._button.setChecked(True)

    def _confirm_stop(self) -> bool:
        """Ask before an outline that is not a lesion yet is discarded."""
        layer = self.layer
        has_results = self._lesions.findings is not None
        if not self._rejection or not has_results or layer is None or len(layer.data) <= self._finished_count:
            return True
        details = f"It is not a lesion yet: {self._rejection}"
        box = create_question(
            self._context.dock, "drop_outline", "Discard the outline that you drew?", details, "Slide"
        )
        box.addButton("Discard", QMessageBox.ButtonRole.DestructiveRole).setObjectName("drop")
        box.setDefaultButton(box.addButton("Keep", QMessageBox.ButtonRole.RejectRole))
        pressed = exec_question(box)
        return pressed is not None and pressed.objectName() == "drop"

    def _start(self) -> None:
        if self._slide is not None:  # already started
            return
        slide = self._context.slide
        if slide is None or self._lesions.findings is None:
            self._button.setChecked(False)
            return
        self._slide, self._previous_indices = slide, None
        self._is_drawing, self._finished_count = False, 0
        if self._panel is None:
            self._panel = self._create_panel()
        layer = slide_layers.get_or_add_layer(self._viewer, slide, "drawing", self._create_layer)
        self._context.connections.connect(layer.events.data, self._on_data)
        self._viewer.layers.selection.active = layer
        layer.mode = self._panel.mode
        self._panel.show()

    def _stop(self) -> None:
        """Remove the layer, with outlines that did not become lesions."""
        self._set_rejection("")
        layer, slide, self._slide = self.layer, self._slide, None
        if self._panel is not None:
            self._panel.hide()
        if layer is not None and slide is not None:
            self._viewer.layers.remove(layer)
            if is_slide_open(self._viewer, slide):
                self._viewer.layers.selection.active = slide.layers[-1]

    def _create_panel(self) -> DrawingPanel:
        panel = DrawingPanel()
        panel.class_changed.connect(self._add_next_lesion)
        panel.tool_changed.connect(self._on_tool)
        edits = self._button.parentWidget()
        column: Any = edits.parentWidget().layout()
        column.insertWidget(column.indexOf(edits) + 1, panel)
        return panel

    def _create_layer(self) -> Shapes:
        from napari.layers import Shapes

        assert self._slide is not None, "the layer is created only while drawing on a slide"
        width = line_width(self._viewer, self._slide, "drawing")
        layer = Shapes(ndim=2, edge_color=OUTLINE_COLOR, edge_width=width, face_color="transparent")
        complete_lasso_strokes(layer, self._context.status.show_message)
        return layer

    def _on_tool(self) -> None:
        layer = self.layer
        if layer is not None and self._panel is not None:
            layer.mode = self._panel.mode

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Track whether an outline is unfinished: napari emits an event at its start and its end."""
        action = get_data_action(event)
        if action == "adding":
            self._is_drawing = True
        elif action == "added":
            self._is_drawing = False
            QTimer.singleShot(0, self._add_next_lesion)  # after napari has finished the shape

    def _add_next_lesion(self) -> None:
        """Turn the first outline that is not a lesion yet into one, unless this is in progress."""
        layer, findings = self.layer, self._lesions.findings
        if self._previous_indices is not None or layer is None or findings is None or self._slide is None:
            return
        if not self._is_drawing and self._finished_count:
            layer.data, self._finished_count = layer.data[self._finished_count :], 0
        if len(layer.data) - self._is_drawing <= self._finished_count:
            return
        from napari_melanoma.core.polygons import Polygon, as_ring

        assert self._panel is not None, "the panel is created with the layer"
        # Clip to the slide: where tissue reaches the edge of the slide, users draw beyond it
        outline = Polygon(as_ring((layer.data[self._finished_count][:, -2:] + 0.5).clip(0, self._slide.size)))
        if not outline.area:  # it cannot become a lesion of any class
            self._finished_count += 1
            self._context.status.show_message(NO_AREA)
            QTimer.singleShot(0, self._add_next_lesion)
            return
        self._previous_indices = frozenset(lesion.index for lesion in findings.lesions)
        self._lesions.edit(make_draw_edit(outline, self._panel.label))

    def _on_lesions(self, findings: LesionFindings | None) -> None:
        """Continue with the next outline when one has become a lesion; stop drawing if there are no results."""
        if findings is None:
            self._button.setChecked(False)
            return
        previous = self._previous_indices
        new = [] if previous is None else [lesion for lesion in findings.lesions if lesion.index not in previous]
        if new:
            self._previous_indices = None
            self._set_rejection("")
            self._finished_count += 1
            self.lesion_drawn.emit(new[-1].index)
            self._context.status.show_message(describe_drawn_lesion(new[-1], findings.target))
            QTimer.singleShot(0, self._add_next_lesion)

    def _on_failed(self, error: Exception) -> None:
        """Keep the outline: it may become a lesion of another class."""
        if self._previous_indices is not None:
            self._previous_indices = None
            self._set_rejection(str(error))

    def _set_rejection(self, reason: str) -> None:
        """Show why an outline is not a lesion; if ``reason`` is empty, clear the message."""
        if self._rejection and self._context.status.text == self._rejection:
            self._context.status.show_message("")
        self._rejection = reason
        if self._panel is not None:
            self._panel.show_rejection(reason)

    def _on_removed(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        if self._slide is not None and self.layer is None:
            self._slide = None
            self._set_rejection("")
            self._button.setChecked(False)


def describe_drawn_lesion(lesion: SlideLesion, target: str) -> str:
    """Describe a drawn lesion in one sentence; ``target``: the class of the probabilities."""
    facts = [lesion.label, format_area(lesion)]
    if not math.isnan(lesion.class_probability):
        facts.append(f"p {class_of_probability(lesion, target)} {lesion.class_probability:.2f}")
    return f"Lesion {lesion.index} drawn: {', '.join(facts)}."


class LesionRefinement(QObject):
    """Refine the outlines of lesions by clicks while the button is checked; each click is one undo step."""

    def __init__(
        self, context: SlideContext, lesions: SlideLesions, table: LesionTable, button: QAbstractButton
    ) -> None:
        super().__init__(context)
        self._context, self._lesions, self._table, self._button = context, lesions, table, button
        self._tool = OutlineClickTool(context.viewer, self, "clicks")
        self._tool.clicked.connect(lambda click: lesions.edit(make_refine_edit(table.selected, click)))
        self._tool.left.connect(lambda: button.setChecked(False))
        context.tool_buttons.append(button)
        button.toggled.connect(self._on_toggled)
        lesions.changed.connect(self._on_lesions)
        add_shortcut(context.dock, "slide.click", button.click)

    def _on_toggled(self, on: bool) -> None:
        slide = self._context.slide
        if not on:
            self._tool.stop()
        elif slide is None or self._lesions.findings is None:
            self._button.setChecked(False)
        else:
            self._tool.start(slide, {"Control-Z": self._lesions.undo, "Control-Shift-Z": self._lesions.redo})
            self._context.status.show_message(CLICK_HINT)

    def _on_lesions(self, findings: LesionFindings | None) -> None:
        if findings is None:
            self._button.setChecked(False)
