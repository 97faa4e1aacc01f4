"""A brush for regions: a picture of labels over what is in view, of one scale, for pyramids cannot be painted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.placement import MapPlace
from napari_melanoma.ui.slide import layers as slide_layers
from napari_melanoma.ui.slide.camera import seen
from napari_melanoma.ui.slide.drawn_layers import bind, is_open

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels
    from napari.viewer import Viewer

    from napari_melanoma.analysis.regions import RegionClass
    from napari_melanoma.ui.slide.layers import OpenSlide

CELLS = 1024  # along the longer side of the view: about a pixel of the screen
BRUSH_CELLS = 30


class RegionBrush(QObject):
    """Lets the user paint classes over the view, and hands what was painted over.

    ``painted``: labels uint8 (row, column), 1 for the first class, and their ``MapPlace``.
    """

    painted = Signal(object, object)

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._slide: OpenSlide | None = None
        self._place: MapPlace | None = None

    @property
    def layer(self) -> Labels | None:
        """What is painted on; None while nobody paints."""
        found: Labels | None = None
        if self._slide is not None:
            found = slide_layers.part(self._viewer, self._slide, "painting")
        return found

    def start(self, slide: OpenSlide, classes: Sequence[RegionClass], keys: dict[str, Callable[[], None]]) -> None:
        """Lay an empty picture over what is in view."""
        self._slide = slide
        place, shape = _place(self._viewer, slide)
        if min(shape) < 1:
            self._slide = None
            return

        def make() -> Labels:
            import numpy as np
            from napari.layers import Labels
            from napari.utils.colormaps import DirectLabelColormap

            colours: dict[int | None, Any] = {
                number: tuple(c / 255 for c in one.color) for number, one in enumerate(classes, start=1)
            }
            table = {None: "transparent", 0: "transparent", **colours}
            return Labels(np.zeros(shape, np.uint8), opacity=0.45, colormap=DirectLabelColormap(color_dict=table))

        layer: Labels = slide_layers.put(self._viewer, slide, "painting", make, place)
        self._place = place
        layer.brush_size = BRUSH_CELLS
        bind(layer, keys)
        self._viewer.layers.selection.active = layer
        layer.mode = "paint"

    def choose(self, number: int) -> None:
        """Paint a class from now on."""
        layer = self.layer
        if layer is not None:
            layer.selected_label = number

    def finish(self) -> None:
        """Hand over what was painted, and take the picture away."""
        import numpy as np

        layer, place, slide = self.layer, self._place, self._slide
        self._slide = self._place = None
        if layer is None or place is None or slide is None:
            return
        labels = np.asarray(layer.data).astype(np.uint8)
        self._viewer.layers.remove(layer)
        if is_open(self._viewer, slide):
            self._viewer.layers.selection.active = slide.layers[-1]
        if labels.any():
            self.painted.emit(labels, place)


def _place(viewer: Viewer, slide: OpenSlide) -> tuple[MapPlace, tuple[int, int]]:
    """What is in view of a slide, in whole cells of at least a pixel: place, and rows and columns."""
    view = seen(viewer, slide)
    top, left = max(0.0, view.top), max(0.0, view.left)
    bottom, right = min(float(slide.size[0]), view.top + view.height), min(float(slide.size[1]), view.left + view.width)
    step = max(1, round(max(bottom - top, right - left) / CELLS))
    first = int(top // step * step), int(left // step * step)
    shape = int(-((first[0] - bottom) // step)), int(-((first[1] - right) // step))
    return MapPlace(float(first[0]), float(first[1]), float(step), float(step), slide.info.pixel_size), shape
