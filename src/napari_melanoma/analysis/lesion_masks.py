"""The lesions of a slide as one picture of numbers: where each lies, for programs that take masks and no outlines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.cell_polygons import cells_within
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.analysis.slide_lesions import SlideLesion
    from napari_melanoma.core.placement import MapPlace


def label_image(lesions: Sequence[SlideLesion], place: MapPlace, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Draw lesions as numbers.

    Returns uint16 (row, column): the number of the lesion that holds the centre of the cell, 0 where there is none.
    """
    if max((lesion.index for lesion in lesions), default=0) > np.iinfo(np.uint16).max:
        raise InputError("lesions are numbered above 65535: too many for a mask. Raise the threshold or merge some.")
    labels = np.zeros(shape, np.uint16)
    for lesion in reversed(lesions):
        box = lesion.box
        corners = place.to_map([(box.top, box.left), (box.top + box.height, box.left + box.width)])
        first = np.clip(np.floor(corners[0]).astype(int), 0, shape)
        last = np.clip(np.ceil(corners[1]).astype(int), first, shape)
        window = Box(int(first[0]), int(first[1]), int(last[0] - first[0]), int(last[1] - first[1]))
        labels[window.slices][cells_within(lesion.polygons, place, window)] = lesion.index
    return labels
