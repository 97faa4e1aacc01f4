"""The lesions on the canvas: their outlines, the clicks that select or split them, and the tool that draws new ones."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QColor

from napari_melanoma.core.polygons import Polygon, as_ring
from napari_melanoma.slides.lesion_edits import Lesions, add_lesion
from napari_melanoma.slides.lesions import LesionClass, is_lesion_area
from napari_melanoma.ui.sections.lesions.resolve import describe_drawn_lesion
from napari_melanoma.ui.session.lesions import find_lesion_at
from napari_melanoma.ui.session.slide import SlideSession
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.annotation_layer import AnnotationLayer
from napari_melanoma.ui.viewer.shape_layers import (
    HALF,
    complete_lasso_strokes,
    is_slide_open,
    line_width,
    remove_tool_layer,
    select_slide,
)
from napari_melanoma.ui.widgets.status_line import describe_failure

if TYPE_CHECKING:
    from napari.layers import Shapes
    from napari.viewer import Viewer


MALIGNANT, BENIGN = QColor("#e0673a"), QColor("#3f9bd8")  # distinguishable with color vision deficiency
STRUCTURE = QColor("#2ca58d")  # of areas that are no lesions
OUTLINE_COLOR = "yellow"  # of a drawn outline that is not a lesion yet
MAX_OUTLINES = 400  # drawn rings; napari becomes slow with more
SPLIT_HINT = "Press the mouse button on one side of the lesion, release it on the other."
NO_AREA = "The outline encloses no area of the slide and was removed. Draw around the lesion."


class LesionOutlines(QObject):
    """Draw the lesions of a session, and select them by clicks, also while the section is collapsed.

    ``split_line_drawn``: the next line that the user drags after ``start_split``, float64 (point, 2), (row, column) in
    pixels of the finest level.
    """

    split_line_drawn = Signal(object)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session.owner)
        self._session, self._slide, self._viewer = session, session.slide, session.services.viewer
        self._drawn: Lesions | None = None  # None before the first time
        self._is_splitting = False
        session.follow(session.lesions.changed, self._show)
        session.follow(session.results.changed, self._show)
        session.follow(self._viewer.layers.selection.events.active, self._end_split)
        callbacks = self._viewer.mouse_drag_callbacks
        callbacks.append(self._on_press)
        session.at_end(partial(callbacks.remove, self._on_press))
        self._show()

    def start_split(self) -> None:
        """Split a lesion by the next line that is dragged; this ends another tool, which would draw along it."""
        select_slide(self._viewer, self._slide)
        self._is_splitting = True
        self._session.services.status.show_message(SPLIT_HINT)

    def _end_split(self, _: object = None) -> None:
        """Do not split any more, because it is done or another tool, layer or slide was selected."""
        if self._is_splitting:
            self._is_splitting = False
            self._session.services.status.end_message(SPLIT_HINT)

    def _find_layer(self) -> Shapes | None:
        layer: Shapes | None = slide_layers.find_layer(self._viewer, self._slide, "lesions")
        return layer

    def _show(self, _: object = None) -> None:
        """Replace the drawn outlines if the lesions have changed; remove the layer if there are no results."""
        if not is_slide_open(self._viewer, self._slide):
            return
        layer, lesions = self._find_layer(), self._session.lesions.shown_lesions[:MAX_OUTLINES]
        if self._session.lesions.value is None:
            self._drawn = None
            if layer is not None:
                self._viewer.layers.remove(layer)
            return
        if lesions == self._drawn:
            return
        self._drawn = lesions
        if layer is not None:
            layer.data = []
        rings = (
            (np.asarray(ring, np.float64) - HALF, label_color(lesion.label).name())
            for lesion in lesions
            for polygon in lesion.polygons
            for ring in polygon.rings
        )
        if shown := list(islice(rings, MAX_OUTLINES)):
            layer = slide_layers.get_or_add_layer(self._viewer, self._slide, "lesions", _create_layer)
            layer.add_polygons(
                [ring for ring, _ in shown],
                edge_width=line_width(self._viewer, self._slide, "lesions"),
                edge_color=[color for _, color in shown],
                face_color="transparent",
            )

    def _on_press(self, viewer: Viewer, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Select the lesion that is clicked, or emit the line that is dragged to split one."""
        if event.button != 1 or not self._session.displayed.value:
            return
        is_splitting, moved = self._is_splitting, False
        line = [self._slide.to_slide(tuple(event.position[-2:]))]
        if is_splitting:
            event.handled = True
        yield
        while event.type == "mouse_move":
            moved = True
            line.append(self._slide.to_slide(tuple(event.position[-2:])))
            if is_splitting:
                event.handled = True
            yield
        layer = self._find_layer()
        if is_splitting and moved:
            self._end_split()
            self.split_line_drawn.emit(np.array(line))
        elif not moved and layer is not None and layer.visible:
            index = find_lesion_at(self._session.lesions.shown_lesions, line[0])
            if index is not None:
                self._session.selected_lesions.set((index,))


def label_color(label: str) -> QColor:
    """Return the color of a class: benign, another lesion, or no lesion."""
    if label == "benign":
        return BENIGN
    return MALIGNANT if is_lesion_area(label) else STRUCTURE


def _create_layer() -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2)


class LesionDrawing(AnnotationLayer):
    """Turn outlines that are drawn into lesions, one after the other; each is one step.

    ``mode``: of napari's layer. ``label``: class of new lesions; None for the one that the model predicts.
    ``rejected``: emits why an outline cannot become a lesion of this class, or an empty text if it has. It stays until
    another class is selected, or drawing ends. Drawing goes on while other layers are selected.
    """

    role, modes = "drawing", {}
    rejected = Signal(str)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session, session.lesions)
        self.mode, self.rejection = "", ""
        self.label: LesionClass | None = None
        self._previous_indices: frozenset[int] | None = None  # lesions before the outline that is being measured
        self._finished_count = 0  # outlines in the layer that became lesions, or can never become one
        session.follow(session.lesions.failed, self._on_failed)
        session.follow(self.viewer.layers.events.removed, self._on_removed)

    @property
    def has_rejected_outline(self) -> bool:
        """Whether an outline is not a lesion yet, and would be lost."""
        layer = self.layer
        has_outline = layer is not None and len(layer.data) > self._finished_count
        return bool(self.rejection) and has_outline and self.document.value is not None

    def create(self) -> Shapes:
        """Return an empty layer."""
        from napari.layers import Shapes

        layer = Shapes(ndim=2, edge_color=OUTLINE_COLOR, edge_width=self.line_width, face_color="transparent")
        complete_lasso_strokes(layer, self.session.services.status.show_message)
        return layer

    def set_tool(self, name: str) -> None:
        """Start drawing, or stop it (empty name): this removes the layer, with outlines that are not lesions."""
        layer = self.layer
        if not name:
            self.tool = ""
            self._set_rejection("")
            if layer is not None:
                remove_tool_layer(self.viewer, self.slide, layer)
        elif layer is None and self.document.value is not None:
            self._previous_indices, self._finished_count, self._unfinished = None, 0, ""
            layer = self.ensure_layer()
            self.viewer.layers.selection.active = layer
            layer.mode = self.mode
            self.tool = name
        self.tool_changed.emit(self.tool)

    def set_mode(self, mode: str) -> None:
        """Draw in another mode of napari's layer."""
        self.mode = mode
        if (layer := self.layer) is not None:
            layer.mode = mode

    def set_label(self, label: LesionClass | None) -> None:
        """Draw lesions of another class, also those whose outlines are drawn already."""
        self.label = label
        self._read()

    def read(self, layer: Shapes) -> None:
        """Turn the first outline that is not a lesion yet into one, unless this is in progress."""
        state = self.document.value
        if self._previous_indices is not None or state is None:
            return
        if self._finished_count:
            with self.writing():
                layer.data, self._finished_count = layer.data[self._finished_count :], 0
        if not len(layer.data):
            return
        # Clip to the slide: where tissue reaches the edge of the slide, users draw beyond it
        outline = Polygon(as_ring((layer.data[0][:, -2:] + HALF).clip(0, self.slide.size)))
        if not outline.area:  # it cannot become a lesion of any class
            self._finished_count = 1
            self.session.services.status.show_briefly(NO_AREA)
            self._read_timer.start()
            return
        self._previous_indices, label = frozenset(lesion.index for lesion in state.lesions), self.label
        self.session.lesions.edit(lambda lesions, maps, config: add_lesion(lesions, [outline], maps, config, label))

    def show(self, _: object = None) -> None:
        """Continue with the next outline when one has become a lesion; stop drawing if there are no results."""
        state, previous = self.document.value, self._previous_indices
        if state is None:
            self.stop()
            return
        new = [] if previous is None else [lesion for lesion in state.lesions if lesion.index not in previous]
        if new:
            self._previous_indices = None
            self._finished_count += 1
            self._set_rejection("")
            self.session.selected_lesions.set((new[-1].index,))
            self.session.services.status.show_message(describe_drawn_lesion(new[-1], state.source.target))
            self._read_timer.start()

    def _on_failed(self, error: Exception) -> None:
        """Keep the outline: it may become a lesion of another class."""
        if self._previous_indices is not None:
            self._previous_indices = None
            self._set_rejection(describe_failure(error))

    def _set_rejection(self, reason: str) -> None:
        self.session.services.status.end_message(self.rejection)
        self.rejection = reason
        self.rejected.emit(reason)

    def _on_removed(self, _: object) -> None:
        if self.tool and self.layer is None:
            self.set_tool("")
