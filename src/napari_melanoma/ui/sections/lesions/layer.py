"""The lesions on the canvas: their outlines in a layer, and the clicks that select or split them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.sections.lesions.view import BENIGN, MALIGNANT
from napari_melanoma.ui.session.lesions import find_lesion_at
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.shape_layers import HALF, is_slide_open, line_width

if TYPE_CHECKING:
    from napari.layers import Shapes
    from napari.viewer import Viewer

    from napari_melanoma.slides.lesion_edits import Lesions
    from napari_melanoma.ui.session.slide import SlideSession

MAX_OUTLINES = 400  # drawn rings; napari becomes slow with more


class LesionCanvas(QObject):
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
        callbacks = self._viewer.mouse_drag_callbacks
        callbacks.append(self._on_press)
        session.at_end(partial(callbacks.remove, self._on_press))
        self._show()

    def start_split(self) -> None:
        """Split a lesion by the next line that is dragged."""
        self._is_splitting = True

    def _find_layer(self) -> Shapes | None:
        layer: Shapes | None = slide_layers.find_layer(self._viewer, self._slide, "lesions")
        return layer

    def _show(self, _: object = None) -> None:
        """Replace the drawn outlines if the lesions have changed; remove the layer if there are no results."""
        if not is_slide_open(self._viewer, self._slide):
            return
        layer, lesions = self._find_layer(), self._session.lesions.shown_lesions
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
        rings = list(
            islice(
                (
                    (np.asarray(ring, np.float64) - HALF, BENIGN if lesion.label == "benign" else MALIGNANT)
                    for lesion in lesions
                    for polygon in lesion.polygons
                    for ring in polygon.rings
                ),
                MAX_OUTLINES,
            )
        )
        if rings:
            layer = slide_layers.get_or_add_layer(self._viewer, self._slide, "lesions", _create_layer)
            layer.add_polygons(
                [ring for ring, _ in rings],
                edge_width=line_width(self._viewer, self._slide, "lesions"),
                edge_color=[color.name() for _, color in rings],
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
        if is_splitting and moved:
            self._is_splitting = False
            self.split_line_drawn.emit(np.array(line))
        elif not moved:
            self._select_lesion_at(line[0])

    def _select_lesion_at(self, point: tuple[float, float]) -> None:
        layer = self._find_layer()
        if layer is not None and layer.visible:
            index = find_lesion_at(self._session.lesions.shown_lesions, point)
            if index is not None:
                self._session.selected_lesions.set((index,))


def _create_layer() -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2)
