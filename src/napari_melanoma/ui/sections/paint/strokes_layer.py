"""The layer that shows the strokes of a slide on the canvas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.shape_layers import HALF, to_rgba

if TYPE_CHECKING:
    from napari.layers import Shapes
    from napari.viewer import Viewer

    from napari_melanoma.io.geojson import Color
    from napari_melanoma.slides.tissue_classifier.strokes import Stroke
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

STROKE_OPACITY, FILL_OPACITY = 0.75, 0.35


class StrokesLayer:
    """The layer with the strokes of a slide; it is updated by differences, since napari takes 1 to 2 ms for each."""

    def __init__(self, viewer: Viewer, slide: ViewerSlide) -> None:
        self._viewer, self._slide = viewer, slide
        self._shown: list[tuple[Stroke, Color]] = []  # by shape

    @property
    def layer(self) -> Shapes | None:
        """The layer; None if there are no strokes yet."""
        layer: Shapes | None = slide_layers.find_layer(self._viewer, self._slide, "strokes")
        return layer

    def prepare(self) -> None:
        """Add the layer ahead of the first stroke, while nothing is computed: napari takes 0.2 to 0.5 s for it."""
        if self._is_open:
            slide_layers.get_or_add_layer(self._viewer, self._slide, "strokes", _create_layer)

    def show(self, strokes: Sequence[Stroke], colors: Mapping[str, Color], cell_px: float) -> None:
        """Show strokes in the colors of their classes.

        ``cell_px``: side of a cell in pixels of the finest level.
        """
        wanted = [(stroke, colors.get(stroke.class_name, (255, 255, 0))) for stroke in strokes]
        if (not wanted and self.layer is None) or not self._is_open:
            return
        layer = slide_layers.get_or_add_layer(self._viewer, self._slide, "strokes", _create_layer)
        outdated = {index for index, shown in enumerate(self._shown) if shown not in wanted}
        if outdated:
            layer.selected_data = outdated
            layer.remove_selected()
            self._shown = [shown for index, shown in enumerate(self._shown) if index not in outdated]
        for item in wanted:
            if item not in self._shown:
                count = len(layer.data)
                _add_shapes(layer, *item, cell_px)
                self._shown += [item] * (len(layer.data) - count)

    def remove(self) -> None:
        """Remove the layer."""
        layer, self._shown = self.layer, []
        if layer is not None:
            self._viewer.layers.remove(layer)

    @property
    def _is_open(self) -> bool:
        return any(layer in self._viewer.layers for layer in self._slide.layers)


def _create_layer() -> Shapes:
    from napari.layers import Shapes

    return Shapes(ndim=2, opacity=STROKE_OPACITY)


def _add_shapes(layer: Shapes, stroke: Stroke, color: Color, cell_px: float) -> None:
    """Add the shapes of a stroke: a line as wide as the brush, a disk, a filled polygon, or squares."""
    import numpy as np

    rgba = to_rgba(color)
    points = np.array(stroke.points, np.float64) - HALF
    if stroke.kind == "polygon" and len(points) > 2:
        layer.add_polygons([points], edge_width=cell_px / 8, edge_color=rgba, face_color=(*rgba[:3], FILL_OPACITY))
    elif stroke.kind == "cells":
        half = cell_px / 2
        squares = [np.array([point - half, point + half]) for point in points]
        layer.add_rectangles(squares, edge_width=0, edge_color="transparent", face_color=(*rgba[:3], 1.0))
    elif (extent := np.ptp(points, axis=0).max()) > stroke.radius_px or (stroke.kind != "brush" and extent > 0):
        layer.add_paths([points], edge_width=max(2 * stroke.radius_px, cell_px / 8), edge_color=rgba)
    else:  # a click, also with a slightly moved pointer: the ends of a path are not round, so it would be invisible
        half = max(stroke.radius_px, cell_px / 2)
        disk = np.array([(points.min(axis=0) + points.max(axis=0)) / 2, (half, half)])  # center and radii
        layer.add_ellipses([disk], edge_width=0, edge_color="transparent", face_color=(*rgba[:3], 1.0))
