"""Which class each place of a slide is of, by the regions of its readers: a map of class numbers at any resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.cell_polygons import cells_within
from napari_melanoma.analysis.regions import is_ignored, reader_of
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.polygons import joint_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.placement import MapPlace
    from napari_melanoma.io.geojson import Annotation

NOTHING, NOT_LEARNT = 0, 255  # in a map: no region; a region to ignore, or one that readers do not agree on
MOST_CLASSES = 254


@dataclass(frozen=True)
class Numbered:
    """A region ready to be drawn into a map: its number there, its box in pixels of the finest level, its area."""

    region: Annotation
    number: int
    box: Box
    area: float


class RegionMap:
    """Answers, for any window of a slide, which class each cell is of.

    Where regions of one reader overlap, the smaller one counts: a lesion within the tissue is a lesion. Where regions
    of several readers overlap and say different classes, the place is ``NOT_LEARNT``.
    """

    def __init__(self, regions: Sequence[Annotation], numbers: Mapping[str, int]) -> None:
        readers: dict[str, list[Numbered]] = {}
        for region in regions:
            number = NOT_LEARNT if is_ignored(region.class_name) else numbers.get(region.class_name, NOTHING)
            if number:
                area = sum(polygon.area for polygon in region.polygons)
                drawn = Numbered(region, number, joint_box(region.polygons), area)
                readers.setdefault(reader_of(region), []).append(drawn)
        self._readers = {name: sorted(own, key=lambda one: -one.area) for name, own in readers.items()}

    @property
    def readers(self) -> tuple[str, ...]:
        """Who drew; an empty name where nobody said so."""
        return tuple(self._readers)

    def labels(self, place: MapPlace, window: Box) -> NDArray[np.uint8]:
        """Draw a window of a map.

        Returns uint8 (row, column): numbers of classes, ``NOTHING`` or ``NOT_LEARNT``.
        """
        found = np.zeros((window.height, window.width), np.uint8)
        for own in self._readers.values():
            drawn = self._of_reader(own, place, window)
            differ = (drawn > 0) & (found > 0) & (drawn != found)
            found = np.where(differ, NOT_LEARNT, np.maximum(drawn, found)).astype(np.uint8)
        return found

    def disagreement(self, place: MapPlace, window: Box) -> dict[tuple[str, str], int]:
        """Count the cells that two readers say different classes of.

        Pair of readers to cells, none of them 0. What either ignores is no disagreement.
        """
        drawn = {name: self._of_reader(own, place, window) for name, own in self._readers.items()}
        names, found = list(drawn), {}
        for number, first in enumerate(names):
            for second in names[number + 1 :]:
                one, other = drawn[first], drawn[second]
                told = (one > 0) & (other > 0) & (one != NOT_LEARNT) & (other != NOT_LEARNT)
                cells = int((told & (one != other)).sum())
                if cells:
                    found[first, second] = cells
        return found

    def _of_reader(self, own: Sequence[Numbered], place: MapPlace, window: Box) -> NDArray[np.uint8]:
        """Draw the regions of one reader, the largest first."""
        labels = np.zeros((window.height, window.width), np.uint8)
        top, left = place.to_slide((window.top, window.left)).tolist()
        bottom, right = place.to_slide((window.top + window.height, window.left + window.width)).tolist()
        for one in own:
            box = one.box
            if box.top < bottom and box.left < right and box.top + box.height > top and box.left + box.width > left:
                cut = _common(box, place, window)
                inside = cells_within(one.region.polygons, place, cut)
                rows, columns = Box(cut.top - window.top, cut.left - window.left, cut.height, cut.width).slices
                labels[rows, columns][inside] = one.number
        return labels


def _common(box: Box, place: MapPlace, window: Box) -> Box:
    """Part of a window that the box of a region covers, in cells."""
    first = np.floor(place.to_map((box.top, box.left))).astype(int)
    last = np.ceil(place.to_map((box.top + box.height, box.left + box.width))).astype(int)
    top, left = max(int(first[0]), window.top), max(int(first[1]), window.left)
    bottom = min(int(last[0]), window.top + window.height)
    right = min(int(last[1]), window.left + window.width)
    return Box(top, left, max(0, bottom - top), max(0, right - left))
