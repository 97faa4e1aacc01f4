"""The tools of the Lesions section on the canvas: draw new lesions, and refine lesions by clicks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QMessageBox

from napari_melanoma.core.polygons import Polygon, as_ring
from napari_melanoma.slides.lesion_edits import add_lesion, refine_lesion
from napari_melanoma.ui.sections.lesions.resolve import describe_drawn_lesion
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.pixel_tools import CLICK_HINT, OutlineClickTool
from napari_melanoma.ui.viewer.shape_layers import (
    HALF,
    complete_lasso_strokes,
    end_shape,
    get_data_action,
    line_width,
    remove_tool_layer,
)
from napari_melanoma.ui.widgets.dialogs import create_question, exec_question
from napari_melanoma.ui.widgets.status_line import describe_failure
from napari_melanoma.ui.widgets.style import Connections, follow

if TYPE_CHECKING:
    from napari.layers import Shapes
    from qtpy.QtWidgets import QAbstractButton

    from napari_melanoma.slides.outline_clicks import OutlineClick
    from napari_melanoma.ui.sections.lesions.view import DrawingPanel
    from napari_melanoma.ui.session.lesions import LesionState
    from napari_melanoma.ui.session.slide import SlideSession

NO_AREA = "The outline encloses no area of the slide and was removed. Draw around the lesion."
OUTLINE_COLOR = "yellow"


class LesionDrawing(QObject):
    """Turn outlines that are drawn while the button is checked into lesions; each is one undo step."""

    def __init__(self, session: SlideSession, button: QAbstractButton, panel: DrawingPanel) -> None:
        super().__init__(panel)
        self._session, self._services = session, session.services
        self._slide, self._viewer, self._document = session.slide, session.services.viewer, session.lesions
        self._button, self._panel = button, panel
        self._previous_indices: frozenset[int] | None = None  # lesions before the outline that is being measured
        self._rejection = ""  # why the pending outline is not a lesion
        self._drawing_mode = ""  # of an unfinished outline
        self._finished_count = 0  # outlines in the layer that became lesions, or can never become one
        self._layer_connections = Connections()
        button.toggled.connect(self._on_toggled)
        panel.class_changed.connect(self._add_next_lesion)
        panel.tool_changed.connect(self._on_tool)
        follow(self, self._document.changed, self._on_lesions)
        follow(self, self._document.failed, self._on_failed)
        follow(self, session.commit_requested, self._end_outline)
        follow(self, session.displayed.changed, self._on_displayed)
        follow(self, self._viewer.layers.events.removed, self._on_removed)
        self.destroyed.connect(self._layer_connections.close)

    def _on_displayed(self, is_displayed: bool) -> None:
        """Stop drawing before another slide is displayed, also if an outline is not a lesion yet."""
        if not is_displayed:
            self._stop()
            self._button.setChecked(False)

    def _find_layer(self) -> Shapes | None:
        """Return the layer of the outlines; None while not drawing."""
        layer: Shapes | None = slide_layers.find_layer(self._viewer, self._slide, "drawing")
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
        layer, has_results = self._find_layer(), self._document.value is not None
        if not self._rejection or not has_results or layer is None or len(layer.data) <= self._finished_count:
            return True
        question, details = "Discard the outline that you drew?", f"It is not a lesion yet: {self._rejection}"
        box = create_question(self._services.window, "drop_outline", question, details, "Slide")
        box.addButton("Discard", QMessageBox.ButtonRole.DestructiveRole).setObjectName("drop")
        box.setDefaultButton(box.addButton("Keep", QMessageBox.ButtonRole.RejectRole))
        pressed = exec_question(box)
        return pressed is not None and pressed.objectName() == "drop"

    def _start(self) -> None:
        if self._find_layer() is not None:  # already started
            return
        if self._document.value is None:
            self._button.setChecked(False)
            return
        self._previous_indices, self._drawing_mode, self._finished_count = None, "", 0
        layer = slide_layers.get_or_add_layer(self._viewer, self._slide, "drawing", self._create_layer)
        self._layer_connections.connect(layer.events.data, self._on_data)
        self._layer_connections.connect(layer.events.mode, self._end_outline)
        self._viewer.layers.selection.active = layer
        layer.mode = self._panel.mode
        self._panel.show()

    def _stop(self) -> None:
        """Remove the layer, with outlines that did not become lesions."""
        self._set_rejection("")
        self._layer_connections.close()
        self._panel.hide()
        if (layer := self._find_layer()) is not None:
            remove_tool_layer(self._viewer, self._slide, layer)

    def _create_layer(self) -> Shapes:
        from napari.layers import Shapes

        width = line_width(self._viewer, self._slide, "drawing")
        layer = Shapes(ndim=2, edge_color=OUTLINE_COLOR, edge_width=width, face_color="transparent")
        complete_lasso_strokes(layer, self._services.status.show_message)
        return layer

    def _on_tool(self) -> None:
        if (layer := self._find_layer()) is not None:
            layer.mode = self._panel.mode

    def _end_outline(self, _: object = None) -> None:
        """End an unfinished outline, and turn it into a lesion: the tool or the slide is changed."""
        layer = self._find_layer()
        if layer is not None and self._drawing_mode:
            end_shape(layer, self._drawing_mode)
            self._add_next_lesion()

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Track whether an outline is unfinished: napari emits an event at its start and its end."""
        action = get_data_action(event)
        if action == "adding":
            self._drawing_mode = event.source.mode
        elif action == "added":
            self._drawing_mode = ""
            QTimer.singleShot(0, self._add_next_lesion)  # after napari has finished the shape

    def _add_next_lesion(self) -> None:
        """Turn the first outline that is not a lesion yet into one, unless this is in progress."""
        layer, state, is_unfinished = self._find_layer(), self._document.value, bool(self._drawing_mode)
        if self._previous_indices is not None or layer is None or state is None:
            return
        if not is_unfinished and self._finished_count:
            layer.data, self._finished_count = layer.data[self._finished_count :], 0
        if len(layer.data) - is_unfinished <= self._finished_count:
            return
        # Clip to the slide: where tissue reaches the edge of the slide, users draw beyond it
        outline = Polygon(as_ring((layer.data[self._finished_count][:, -2:] + HALF).clip(0, self._slide.size)))
        if not outline.area:  # it cannot become a lesion of any class
            self._finished_count += 1
            self._services.status.show_briefly(NO_AREA)
            QTimer.singleShot(0, self._add_next_lesion)
            return
        self._previous_indices = frozenset(lesion.index for lesion in state.lesions)
        label = self._panel.label
        self._document.edit(lambda lesions, maps, config: add_lesion(lesions, [outline], maps, config, label))

    def _on_lesions(self, state: LesionState | None) -> None:
        """Continue with the next outline when one has become a lesion; stop drawing if there are no results."""
        if state is None:
            self._button.setChecked(False)
            return
        previous = self._previous_indices
        new = [] if previous is None else [lesion for lesion in state.lesions if lesion.index not in previous]
        if new:
            self._previous_indices = None
            self._set_rejection("")
            self._finished_count += 1
            self._session.selected_lesions.set((new[-1].index,))
            self._services.status.show_message(describe_drawn_lesion(new[-1], state.source.target))
            QTimer.singleShot(0, self._add_next_lesion)

    def _on_failed(self, error: Exception) -> None:
        """Keep the outline: it may become a lesion of another class."""
        if self._previous_indices is not None:
            self._previous_indices = None
            self._set_rejection(describe_failure(error))

    def _set_rejection(self, reason: str) -> None:
        """Show why an outline is not a lesion; if ``reason`` is empty, clear the message."""
        self._services.status.end_message(self._rejection)
        self._rejection = reason
        self._panel.show_rejection(reason)

    def _on_removed(self, event: object) -> None:
        if self._button.isChecked() and self._find_layer() is None:
            self._set_rejection("")
            self._button.setChecked(False)


class LesionRefinement(QObject):
    """Refine the outlines of lesions by clicks while the button is checked; each click is one undo step."""

    def __init__(self, session: SlideSession, button: QAbstractButton) -> None:
        super().__init__(button)
        self._session, self._button = session, button
        self._tool = OutlineClickTool(session.services.viewer, self, "clicks")
        self._tool.clicked.connect(self._on_click)
        self._tool.left.connect(partial(button.setChecked, False))
        follow(self, session.lesions.changed, self._on_lesions)
        follow(self, session.displayed.changed, self._on_displayed)
        button.toggled.connect(self._on_toggled)

    def _on_displayed(self, is_displayed: bool) -> None:
        if not is_displayed:
            self._button.setChecked(False)

    def _on_click(self, click: OutlineClick) -> None:
        selected = self._session.selected_lesions.value
        self._session.lesions.edit(lambda lesions, maps, config: refine_lesion(lesions, selected, click, maps, config))

    def _on_toggled(self, on: bool) -> None:
        document = self._session.lesions
        if not on:
            self._tool.stop()
            self._session.services.status.end_message(CLICK_HINT)
        elif document.value is None:
            self._button.setChecked(False)
        else:
            self._tool.start(self._session.slide, {"Control-Z": document.undo, "Control-Shift-Z": document.redo})
            self._session.services.status.show_message(CLICK_HINT)

    def _on_lesions(self, state: LesionState | None) -> None:
        if state is None:
            self._button.setChecked(False)
