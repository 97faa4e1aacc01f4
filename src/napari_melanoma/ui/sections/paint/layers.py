"""The layers of the Paint section: the strokes of a slide, and the class of each of its cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.polygons import Polygon, as_array, split_at_holes
from napari_melanoma.io.geojson import Color
from napari_melanoma.slides.lesions import ClippedCells
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, CellGrid
from napari_melanoma.slides.tissue_classifier.strokes import Stroke
from napari_melanoma.ui.session.strokes import DEFAULT_COLOR, PaintState
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.photographs import show_flat
from napari_melanoma.ui.viewer.shape_layers import HALF, Keys, bind_keys, is_slide_open, to_rgba
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

if TYPE_CHECKING:
    from napari.layers import Labels, Shapes
    from napari.viewer import Viewer

    from napari_melanoma.ui.sections.paint.mapping import MapPart

STROKE_OPACITY, FILL_OPACITY = 0.75, 0.35
COARSE, COARSE_OPACITY = 128, 0.6  # added to the label of a cell that was predicted from coarse features


class ClassMap:
    """The predicted class of each cell of a slide.

    ``labels``: uint8 (row, column), 0 where nothing was predicted. A class keeps its label while others are added,
    so that the map of the previous classifier stays right until it is replaced. ``COARSE`` is added to the labels of a
    coarse map, whose cells are shown, but neither measured nor suggested. ``certainty``: float16 (row, column), the
    probability of the predicted class.
    """

    def __init__(self, grid: CellGrid) -> None:
        self.grid = grid
        self.labels = np.zeros(grid.shape, np.uint8)
        self.certainty = np.zeros(grid.shape, np.float16)
        self._names: list[str] = []  # by label - 1

    def add(self, parts: Iterable[MapPart], classes: Sequence[str]) -> None:
        """Set the cells of predicted parts; ``classes``: in the order of the probabilities."""
        self._names += [name for name in classes if name not in self._names]
        values = np.array([self._names.index(name) + 1 for name in classes], np.uint8)
        for part in parts:
            self.labels[part.cells.slices] = values[part.probability.argmax(axis=-1)] + COARSE * part.is_coarse
            self.certainty[part.cells.slices] = part.probability.max(axis=-1)

    def find_uncertain(self, count: int) -> NDArray[np.int32]:
        """Return the cells with the least certain classes, int32 (cell, 2), at most ``count``."""
        predicted = np.flatnonzero((self.labels > 0) & (self.labels < COARSE))
        certainty = self.certainty.ravel()[predicted]
        if len(predicted) > count:
            predicted = predicted[np.argpartition(certainty, count)[:count]]
        return np.stack(np.unravel_index(predicted, self.labels.shape), axis=1).astype(np.int32)

    def remove_coarse(self) -> bool:
        """Remove the cells of a coarse map that were not refined; return whether there were any."""
        is_coarse = self.labels >= COARSE
        self.labels[is_coarse] = 0
        return bool(is_coarse.any())

    def clear(self) -> None:
        self.labels[:] = 0
        self.certainty[:] = 0

    def make_colors(self, colors: Mapping[str, Color]) -> dict[int | None, Any]:
        """Return the color of each label, paler in a coarse map; labels of removed classes are transparent."""
        shown: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
        for label, name in enumerate(self._names, start=1):
            if (color := colors.get(name)) is not None:
                shown[label] = to_rgba(color)
                shown[COARSE + label] = (*shown[label][:3], COARSE_OPACITY)
        return shown

    def measure_areas(self, blocks: NDArray[np.int32], size: tuple[int, int]) -> dict[str, float]:
        """Return the area of each class in blocks of cells, int32 (block, 2), in mm², as an analysis measures it.

        ``size``: of the slide, beyond which the last cells may extend.
        """
        rows, columns = self.labels.shape
        inside = np.zeros((-(-rows // BLOCK_CELLS), -(-columns // BLOCK_CELLS)), np.bool_)
        inside[tuple(blocks.T)] = True
        cells = inside.repeat(BLOCK_CELLS, axis=0).repeat(BLOCK_CELLS, axis=1)[:rows, :columns]
        clipped = ClippedCells.clip(cells, self.grid.placement, size)
        shares = cells * clipped.rows[:, None] * clipped.columns
        sums = np.bincount(self.labels.ravel(), shares.ravel(), minlength=len(self._names) + 1)
        cell_mm2 = self.grid.placement.cell_area_mm2 or 0.0
        return {name: float(sums[label]) * cell_mm2 for label, name in enumerate(self._names, start=1) if sums[label]}


class ClassMapLayer:
    """Shows a map of classes as a layer on its slide."""

    def __init__(self, viewer: Viewer, slide: ViewerSlide, class_map: ClassMap) -> None:
        self._viewer, self._slide, self._map = viewer, slide, class_map
        self._colors: dict[int | None, Any] = {}

    @property
    def layer(self) -> Labels | None:
        """The layer; None until a map is shown."""
        layer: Labels | None = slide_layers.find_layer(self._viewer, self._slide, "class map")
        return layer

    def show(self, colors: Mapping[str, Color]) -> None:
        """Show the map, or its changes."""

        def create() -> Labels:
            from napari.layers import Labels

            return Labels(self._map.labels)

        if not is_slide_open(self._viewer, self._slide):
            return
        previous, placement = self.layer, self._map.grid.placement
        layer = slide_layers.get_or_add_layer(self._viewer, self._slide, "class map", create, placement)
        if layer.data is not self._map.labels:
            layer.data = self._map.labels
        elif previous is not None:
            layer.refresh(thumbnail=False)
        if previous is None:
            self._colors = {}
            layer.editable = False
        self.set_colors(colors)

    def set_colors(self, colors: Mapping[str, Color]) -> None:
        from napari.utils.colormaps import DirectLabelColormap

        layer, shown = self.layer, self._map.make_colors(colors)
        if layer is not None and shown != self._colors:
            layer.colormap = DirectLabelColormap(color_dict=shown)
            self._colors = shown

    def style(self, *, visible: bool, opacity: float) -> None:
        layer = self.layer
        if layer is not None:
            layer.visible = visible and self._slide.is_shown and self._slide.shows_overlays
            layer.opacity = opacity


class StrokesLayer:
    """The layer with the strokes of a slide; it is updated by differences, since napari takes 1 to 2 ms for each.

    ``keys``: bound to the layer. ``cell_px``: side of a cell in pixels of the finest level.
    """

    def __init__(self, viewer: Viewer, slide: ViewerSlide, keys: Keys, cell_px: float) -> None:
        self._viewer, self._slide, self._keys, self._cell_px = viewer, slide, keys, cell_px
        self._shown: list[tuple[Stroke, Color]] = []  # by shape

    @property
    def layer(self) -> Shapes | None:
        """The layer; None if there are no strokes yet."""
        layer: Shapes | None = slide_layers.find_layer(self._viewer, self._slide, "strokes")
        return layer

    def prepare(self) -> None:
        """Add the layer ahead of the first stroke, while nothing is computed: napari takes 0.2 to 0.5 s for it."""
        if self.layer is None and is_slide_open(self._viewer, self._slide):
            layer = slide_layers.get_or_add_layer(self._viewer, self._slide, "strokes", create_strokes_layer)
            bind_keys(layer, self._keys)
            self._shown = []

    def show(self, state: PaintState) -> None:
        colors = state.colors
        wanted = {stroke.id: (stroke, colors.get(stroke.class_name, DEFAULT_COLOR)) for stroke in state.strokes}
        if wanted:
            self.prepare()
        if (layer := self.layer) is None:
            return
        outdated = {index for index, shown in enumerate(self._shown) if wanted.get(shown[0].id) != shown}
        if outdated or wanted.keys() - {shown[0].id for shown in self._shown}:
            show_flat(self._viewer)
        if outdated:
            layer.selected_data = outdated
            layer.remove_selected()
            self._shown = [shown for index, shown in enumerate(self._shown) if index not in outdated]
        known = {stroke.id for stroke, _ in self._shown}
        for name, item in wanted.items():
            if name not in known:
                count = len(layer.data)
                add_stroke_shapes(layer, *item, self._cell_px)
                self._shown += [item] * (len(layer.data) - count)


def create_strokes_layer() -> Shapes:
    """Create an empty layer of strokes."""
    from napari.layers import Shapes

    return Shapes(ndim=2, opacity=STROKE_OPACITY)


def add_stroke_shapes(layer: Shapes, stroke: Stroke, color: Color, cell_px: float) -> None:
    """Add the shapes of a stroke: a line as wide as the brush, a disk, a filled polygon, or squares."""
    rgba = to_rgba(color)
    points = np.array(stroke.points, np.float64) - HALF
    if stroke.kind == "polygon" and stroke.holes:
        _add_with_holes(layer, Polygon(stroke.points, stroke.holes), rgba, cell_px)
    elif stroke.kind == "polygon" and len(points) > 2:
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


def _add_with_holes(layer: Shapes, polygon: Polygon, rgba: tuple[float, ...], cell_px: float) -> None:
    """Add the outlines of a polygon, and its area in parts without holes, since napari fills each shape."""
    rings = [as_array(ring) - HALF for ring in polygon.rings]
    layer.add_polygons(rings, edge_width=cell_px / 8, edge_color=rgba, face_color="transparent")
    parts = [as_array(ring) - HALF for ring in split_at_holes(polygon)]
    if parts:
        layer.add_polygons(parts, edge_width=0, edge_color="transparent", face_color=(*rgba[:3], FILL_OPACITY))
