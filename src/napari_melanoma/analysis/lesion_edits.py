"""Lesions changed by hand: merged, split, classed, drawn, removed: functions from lesions to lesions, with undo."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from napari_melanoma.analysis.drawn_lesions import measure_drawn
from napari_melanoma.analysis.masks import bounding_box, components
from napari_melanoma.analysis.slide_lesions import LesionConfig, LesionMaps, Region, measure_region, region_of
from napari_melanoma.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.analysis.slide_lesions import LesionClass, Origin, SlideLesion
    from napari_melanoma.core.polygons import Polygon

Value = TypeVar("Value")
Lesions = tuple["SlideLesion", ...]


def merge_lesions(
    lesions: Sequence[SlideLesion], indices: Collection[int], maps: LesionMaps, config: LesionConfig
) -> Lesions:
    """Make one lesion of several; it keeps the lowest of their numbers, and may have parts.

    Returns all of the slide, the merged one in the place of its first part.
    """
    chosen = [_numbered(lesions, index) for index in sorted(set(indices))]
    if len(chosen) < 2:
        raise InputError("merging takes at least two lesions. Select their rows in the table, or draw around them.")
    joined = region_of([polygon for lesion in chosen for polygon in lesion.polygons], maps)
    merged = _measured(joined, chosen[0].index, "merged", maps, config)
    others = {lesion.index for lesion in chosen[1:]}
    return tuple(merged if one.index == merged.index else one for one in lesions if one.index not in others)


def split_lesion(
    lesions: Sequence[SlideLesion], index: int, line: ArrayLike, maps: LesionMaps, config: LesionConfig
) -> Lesions:
    """Cut a lesion along a line; the largest part keeps its number, the others get the next free ones.

    Cells under the line go to the nearest part. A lesion that was merged of parts which do not touch falls into these,
    wherever the line runs.

    ``line``: vertices (vertex, 2) as (row, column) in pixels of the slide's finest level, at least two. Returns all of
    the slide, the new ones at the end.
    """
    lesion = _numbered(lesions, index)
    region = region_of(lesion.polygons, maps)
    parts, count = components(region.mask & ~_under(maps.place.to_map(line), region))
    if count < 2:
        raise InputError(
            f"the line does not part lesion {index}. Draw it across the lesion, from outside on one side to outside on "
            "the other."
        )
    parts = _nearest_part(parts, region.mask)
    order = (np.argsort(-np.bincount(parts.ravel())[1:], kind="stable") + 1).tolist()
    free = max(one.index for one in lesions) + 1
    numbers = [index, *range(free, free + len(order) - 1)]
    made = [
        _measured(Region(region.top, region.left, parts == part), number, "split", maps, config)
        for part, number in zip(order, numbers, strict=True)
    ]
    return (*(made[0] if one.index == index else one for one in lesions), *made[1:])


def class_lesion(lesions: Sequence[SlideLesion], index: int, label: LesionClass) -> Lesions:
    """Say by hand whether a lesion is malignant or benign; its probability stays what the model said."""
    meant = replace(_numbered(lesions, index), label=label, origin="classed")
    return tuple(meant if one.index == index else one for one in lesions)


def remove_lesion(lesions: Sequence[SlideLesion], index: int) -> Lesions:
    """Drop a lesion; the others keep their numbers."""
    gone = _numbered(lesions, index)
    return tuple(one for one in lesions if one is not gone)


def add_lesion(
    lesions: Sequence[SlideLesion],
    polygons: Sequence[Polygon],
    maps: LesionMaps,
    config: LesionConfig,
    label: LesionClass | None = None,
) -> Lesions:
    """Add a lesion that was drawn, with the outline that it was drawn with.

    ``polygons``: what was drawn, in pixels of the slide's finest level. Returns all of the slide, the new one last.
    """
    number = max((one.index for one in lesions), default=0) + 1
    return (*lesions, measure_drawn(polygons, maps, config, index=number, label=label))


@dataclass(frozen=True)
class History(Generic[Value]):
    """A value with what it was before and what was undone; each step gives a new history."""

    now: Value
    past: tuple[Value, ...] = ()
    undone: tuple[Value, ...] = ()

    def then(self, value: Value) -> History[Value]:
        """Go on to a new value.

        In which nothing can be redone.
        """
        return History(value, (*self.past, self.now))

    def undo(self) -> History[Value]:
        """Go one step back.

        Returns the same where there is no step.
        """
        return History(self.past[-1], self.past[:-1], (*self.undone, self.now)) if self.past else self

    def redo(self) -> History[Value]:
        """Take back the last ``undo``.

        Returns the same where nothing was undone.
        """
        return History(self.undone[-1], (*self.past, self.now), self.undone[:-1]) if self.undone else self

    def mapped(self, change: Callable[[Value], Value]) -> History[Value]:
        """Change every value alike, so that no step is lost."""
        return History(change(self.now), tuple(map(change, self.past)), tuple(map(change, self.undone)))


def _numbered(lesions: Sequence[SlideLesion], index: int) -> SlideLesion:
    """Give the lesion of that number."""
    for lesion in lesions:
        if lesion.index == index:
            return lesion
    known = ", ".join(str(one.index) for one in lesions) or "none"
    raise InputError(f"there is no lesion {index} on this slide (there are: {known}).")


def _measured(region: Region, index: int, origin: Origin, maps: LesionMaps, config: LesionConfig) -> SlideLesion:
    """Measure a lesion that was made by hand."""
    box = bounding_box(region.mask)
    assert box is not None, "callers make lesions of at least one cell"
    cut = Region(region.top + box.top, region.left + box.left, region.mask[box.slices])
    return replace(measure_region(cut, maps, config, index=index, tissue=maps.tissue_cells), origin=origin)


def _under(line: NDArray[np.float64], region: Region) -> NDArray[np.bool_]:
    """Cells that a line passes, with one more at each diagonal step, so that nothing slips through at a corner."""
    points = [line[:1]]
    for start, end in pairwise(line):
        steps = max(2, int(4 * np.abs(end - start).max()) + 1)
        points.append(start + np.linspace(0, 1, steps)[1:, None] * (end - start))
    cells = np.floor(np.concatenate(points)).astype(int) - (region.top, region.left)
    corners = np.stack([cells[1:, 0], cells[:-1, 1]], axis=1)
    cells = np.concatenate([cells, corners])
    inside = ((cells >= 0) & (cells < region.mask.shape)).all(axis=1)
    under = np.zeros_like(region.mask)
    under[cells[inside, 0], cells[inside, 1]] = True
    return under


def _nearest_part(parts: NDArray[np.int32], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Give every cell of the mask to a part: its own, or else the nearest."""
    from scipy import ndimage

    rows, columns = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    return np.where(mask, parts[rows, columns], 0)
