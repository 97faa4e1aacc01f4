"""A color image layer of any origin, read as a slide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.reading.slide import LevelInfo, Slide, SlideInfo
from napari_melanoma.ui.viewer.photographs import find_rgb_range, get_pixel_size, read_rgb

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_melanoma.io.color_conversion import ValueRange


class LayerSlide(Slide):
    """The levels of an RGB or RGBA image layer (row, column); create it on the GUI thread, read it in any."""

    def __init__(self, layer: Image) -> None:
        self._levels = list(layer.data) if layer.multiscale else [layer.data]
        finest = self._levels[0].shape
        levels = tuple(
            LevelInfo(level.shape[0], level.shape[1], (finest[0] / level.shape[0] + finest[1] / level.shape[1]) / 2)
            for level in self._levels
        )
        self._values: ValueRange | None = None  # found when it is first read
        self.info = SlideInfo(Path(layer.name), layer.name, "layer", levels, get_pixel_size(layer))

    def read_region(self, level: int, box: Box) -> NDArray[np.uint8]:
        """See ``Slide``."""
        data, size = self._levels[level], self.info.levels[level]
        rgb = np.full((box.height, box.width, 3), 255, np.uint8)
        top, left = max(0, box.top), max(0, box.left)
        bottom, right = min(size.height, box.top + box.height), min(size.width, box.left + box.width)
        if top < bottom and left < right:
            inside = slice(top - box.top, bottom - box.top), slice(left - box.left, right - box.left)
            self._values = self._values or find_rgb_range(self._levels[-1], self.info.name)
            rgb[inside] = read_rgb(data[top:bottom, left:right], self._values)
        return rgb

    def close(self) -> None:
        """Close nothing: the layer keeps its data."""
