"""The layer with the class of each cell of a slide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.shape_layers import to_rgba

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.io.geojson import Color
    from napari_melanoma.slides.tissue_classifier.cells import CellGrid
    from napari_melanoma.ui.sections.paint.mapping import MapPart
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide


class ClassMap:
    """The predicted class of each cell of a slide.

    ``labels``: uint8 (row, column), 0 where nothing was predicted. A class keeps its label while others are added,
    so that the map of the previous classifier stays right until it is replaced. ``certainty``: float16 (row, column),
    the probability of the predicted class.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.labels = np.zeros(shape, np.uint8)
        self.certainty = np.zeros(shape, np.float16)
        self._names: list[str] = []  # by label - 1

    def add(self, parts: Iterable[MapPart], classes: Sequence[str]) -> None:
        """Set the cells of predicted parts; ``classes``: in the order of the probabilities."""
        self._names += [name for name in classes if name not in self._names]
        values = np.array([self._names.index(name) + 1 for name in classes], np.uint8)
        for part in parts:
            self.labels[part.cells.slices] = values[part.probability.argmax(axis=-1)]
            self.certainty[part.cells.slices] = part.probability.max(axis=-1)

    def find_uncertain(self, count: int) -> NDArray[np.int32]:
        """Return the cells with the least certain classes, int32 (cell, 2), at most ``count``."""
        predicted = np.flatnonzero(self.labels)
        certainty = self.certainty.ravel()[predicted]
        if len(predicted) > count:
            predicted = predicted[np.argpartition(certainty, count)[:count]]
        return np.stack(np.unravel_index(predicted, self.labels.shape), axis=1).astype(np.int32)

    def clear(self) -> None:
        """Remove all classes."""
        self.labels[:] = 0
        self.certainty[:] = 0

    def rename_class(self, name: str, new_name: str) -> None:
        """Rename a class."""
        if new_name not in self._names:
            self._names = [new_name if one == name else one for one in self._names]

    def make_colors(self, colors: Mapping[str, Color]) -> dict[int | None, Any]:
        """Return the color of each label; labels of removed classes are transparent."""
        shown = {label: colors.get(name) for label, name in enumerate(self._names, start=1)}
        known: dict[int | None, Any] = {label: to_rgba(color) for label, color in shown.items() if color is not None}
        return {None: "transparent", 0: "transparent", **known}

    def count(self, blocks: NDArray[np.int32]) -> dict[str, int]:
        """Return the number of cells of each class in blocks of cells, int32 (block, 2)."""
        rows, columns = self.labels.shape
        inside = np.zeros((-(-rows // BLOCK_CELLS), -(-columns // BLOCK_CELLS)), np.bool_)
        inside[tuple(blocks.T)] = True
        cells = inside.repeat(BLOCK_CELLS, axis=0).repeat(BLOCK_CELLS, axis=1)[:rows, :columns]
        counts = np.bincount(self.labels[cells], minlength=len(self._names) + 1)
        return {name: int(counts[label]) for label, name in enumerate(self._names, start=1) if counts[label]}


class ClassMapLayer:
    """Show a map of classes as a layer on its slide."""

    def __init__(self, viewer: Viewer, slide: ViewerSlide) -> None:
        self._viewer, self._slide = viewer, slide
        self._colors: dict[int | None, Any] = {}

    @property
    def layer(self) -> Labels | None:
        """The layer; None until a map is shown."""
        layer: Labels | None = slide_layers.find_layer(self._viewer, self._slide, "class map")
        return layer

    def show(self, class_map: ClassMap, grid: CellGrid, colors: Mapping[str, Color]) -> None:
        """Show a map, or its changes."""

        def create() -> Labels:
            from napari.layers import Labels

            return Labels(class_map.labels)

        previous = self.layer
        layer = slide_layers.get_or_add_layer(self._viewer, self._slide, "class map", create, grid.placement)
        if previous is None:
            self._colors = {}
            layer.editable = False
            layer.visible = self._slide.is_shown and self._slide.shows_overlays
        elif layer.data is not class_map.labels:
            layer.data = class_map.labels
        else:
            layer.refresh(thumbnail=False)
        self.set_colors(class_map, colors)

    def set_colors(self, class_map: ClassMap, colors: Mapping[str, Color]) -> None:
        """Show the classes in other colors."""
        from napari.utils.colormaps import DirectLabelColormap

        layer, shown = self.layer, class_map.make_colors(colors)
        if layer is not None and shown != self._colors:
            layer.colormap = DirectLabelColormap(color_dict=shown)
            self._colors = shown

    def style(self, *, visible: bool, opacity: float) -> None:
        """Set visibility and opacity."""
        layer = self.layer
        if layer is not None:
            layer.visible = visible and self._slide.is_shown and self._slide.shows_overlays
            layer.opacity = opacity

    def remove(self) -> None:
        """Remove the layer."""
        layer = self.layer
        if layer is not None:
            self._viewer.layers.remove(layer)
