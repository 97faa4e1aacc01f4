"""Lesions changed by hand: merged, split, classified, drawn, removed."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.placement import MapPlacement
from napari_melanoma.core.polygons import joint_box
from napari_melanoma.imaging.masks import bounding_box, label_components
from napari_melanoma.imaging.measurements import crofton_perimeter
from napari_melanoma.slides.cell_polygons import cell_polygons, rasterize_polygons
from napari_melanoma.slides.lesions import CellRegion, LesionConfig, LesionMaps, measure_region, region_from_polygons

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.core.polygons import Polygon
    from napari_melanoma.slides.lesions import LesionClass, LesionOrigin, SlideLesion

Value = TypeVar("Value")
Lesions = tuple["SlideLesion", ...]


def merge_lesions(
    lesions: Sequence[SlideLesion], indices: Collection[int], maps: LesionMaps, config: LesionConfig
) -> Lesions:
    """Make one lesion of several; it keeps the lowest of their numbers, and may have parts.

    Returns all of the slide, the merged one in the place of its first part.
    """
    chosen = [_lesion_with_index(lesions, index) for index in sorted(set(indices))]
    if len(chosen) < 2:
        raise InputError("merging takes at least two lesions. Select their rows in the table, or draw around them.")
    joined = region_from_polygons([polygon for lesion in chosen for polygon in lesion.polygons], maps)
    merged = _measure_manual(joined, chosen[0].index, "merged", maps, config)
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
    lesion = _lesion_with_index(lesions, index)
    region = region_from_polygons(lesion.polygons, maps)
    parts, count = label_components(region.mask & ~_cells_on_line(maps.placement.to_map(line), region))
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
        _measure_manual(CellRegion(region.top, region.left, parts == part), number, "split", maps, config)
        for part, number in zip(order, numbers, strict=True)
    ]
    return (*(made[0] if one.index == index else one for one in lesions), *made[1:])


def set_lesion_class(lesions: Sequence[SlideLesion], index: int, label: LesionClass) -> Lesions:
    """Say by hand whether a lesion is malignant or benign; its probability stays what the model said."""
    meant = replace(_lesion_with_index(lesions, index), label=label, origin="classed")
    return tuple(meant if one.index == index else one for one in lesions)


def remove_lesion(lesions: Sequence[SlideLesion], index: int) -> Lesions:
    """Drop a lesion; the others keep their numbers."""
    gone = _lesion_with_index(lesions, index)
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
    return (*lesions, measure_drawn_lesion(polygons, maps, config, index=number, label=label))


@dataclass(frozen=True)
class EditHistory(Generic[Value]):
    """A value with what it was before and what was undone; each step gives a new history."""

    current: Value
    past: tuple[Value, ...] = ()
    undone: tuple[Value, ...] = ()

    def push(self, value: Value) -> EditHistory[Value]:
        """Go on to a new value.

        In which nothing can be redone.
        """
        return EditHistory(value, (*self.past, self.current))

    def undo(self) -> EditHistory[Value]:
        """Go one step back.

        Returns the same where there is no step.
        """
        return EditHistory(self.past[-1], self.past[:-1], (*self.undone, self.current)) if self.past else self

    def redo(self) -> EditHistory[Value]:
        """Take back the last ``undo``.

        Returns the same where nothing was undone.
        """
        return EditHistory(self.undone[-1], (*self.past, self.current), self.undone[:-1]) if self.undone else self

    def map_values(self, change: Callable[[Value], Value]) -> EditHistory[Value]:
        """Change every value alike, so that no step is lost."""
        return EditHistory(change(self.current), tuple(map(change, self.past)), tuple(map(change, self.undone)))


def _lesion_with_index(lesions: Sequence[SlideLesion], index: int) -> SlideLesion:
    """Return the lesion of that number."""
    for lesion in lesions:
        if lesion.index == index:
            return lesion
    known = ", ".join(str(one.index) for one in lesions) or "none"
    raise InputError(f"there is no lesion {index} on this slide (there are: {known}).")


def _measure_manual(
    region: CellRegion, index: int, origin: LesionOrigin, maps: LesionMaps, config: LesionConfig
) -> SlideLesion:
    """Measure a lesion that was made by hand."""
    box = bounding_box(region.mask)
    assert box is not None, "callers make lesions of at least one cell"
    cut = CellRegion(region.top + box.top, region.left + box.left, region.mask[box.slices])
    return replace(measure_region(cut, maps, config, index=index, tissue=maps.tissue_cells), origin=origin)


def _cells_on_line(line: NDArray[np.float64], region: CellRegion) -> NDArray[np.bool_]:
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
    """Return every cell of the mask to a part: its own, or else the nearest."""
    from scipy import ndimage

    rows, columns = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    return np.where(mask, parts[rows, columns], 0)


SAME_LESION_SHARE = 0.5  # of a lesion: with so much in common it is the same one


def manual_lesions(lesions: Sequence[SlideLesion]) -> Lesions:
    """Return the lesions that somebody drew, merged, split or classed.

    In their order.
    """
    return tuple(one for one in lesions if one.origin != "found")


def removed_lesions(previous: Sequence[SlideLesion], now: Sequence[SlideLesion], maps: LesionMaps) -> Lesions:
    """Return the lesions that are no longer there: of most of their cells no lesion knows any more.

    Of those before, in their order.
    """
    known, kept = _lesion_cells(now, maps), {id(one) for one in now}
    away = (one for one in previous if id(one) not in kept)
    return tuple(one for one in away if _share(region_from_polygons(one.polygons, maps), known) < SAME_LESION_SHARE)


def apply_edits(
    found: Sequence[SlideLesion],
    corrected: Sequence[SlideLesion],
    removed: Sequence[SlideLesion],
    maps: LesionMaps,
    config: LesionConfig,
) -> Lesions:
    """Lay corrections over lesions that were found at another threshold.

    First those made by hand, as they were, with their numbers. Then those found of which less than half lies in these
    and in what was removed, without what lies in the former.
    """
    hand = manual_lesions(corrected)
    theirs, away = _lesion_cells(hand, maps), _lesion_cells((*hand, *removed), maps)
    number = max((one.index for one in hand), default=0)
    lesions = list(hand)
    for lesion in found:
        region = region_from_polygons(lesion.polygons, maps)
        if _share(region, away) >= SAME_LESION_SHARE:
            continue
        number += 1
        if _share(region, theirs):
            region = replace(region, mask=region.mask & ~theirs[region.slices])
            lesion = measure_region(region, maps, config, index=number, tissue=maps.tissue_cells)
        lesions.append(replace(lesion, index=number))
    return tuple(lesions)


def _lesion_cells(lesions: Sequence[SlideLesion], maps: LesionMaps) -> NDArray[np.bool_]:
    """All cells that lie in lesions, bool (row, column) of the maps."""
    cells = np.zeros(maps.shape, bool)
    for lesion in lesions:
        region = region_from_polygons(lesion.polygons, maps)
        cells[region.slices] |= region.mask
    return cells


def _share(region: CellRegion, cells: NDArray[np.bool_]) -> float:
    """Share of a region that lies in some cells; of one without any cell, as of a small drawing, nothing."""
    size = int(region.mask.sum())
    return float((region.mask & cells[region.slices]).sum()) / size if size else 0.0


RASTER_SIDE = 1024  # cells along the longer side of what was drawn: its area is off by less than 0.2 %
SELF_CROSSING_SHARE = (
    0.02  # of the area: rings enclose so much more or less than their inside only where they cross themselves
)


def measure_drawn_lesion(
    polygons: Sequence[Polygon], maps: LesionMaps, config: LesionConfig, *, index: int, label: LesionClass | None = None
) -> SlideLesion:
    """Measure and class a lesion that was drawn.

    Area, perimeter and extent are those of the drawing itself, not of cells; probability and tissue are those of the
    cells whose centers lie within, or of the one cell that it lies in where it is smaller than that.

    ``polygons``: what was drawn, in pixels of the slide's finest level, at least one. Where an outline crosses itself,
    what lies within counts, and its outer edge becomes the outline. With origin ``drawn``; its probability is not-a-
    number where nothing is known under it.
    """
    cells, tissue = _cells_within(polygons, maps), maps.tissue_cells
    lesion = measure_region(cells, maps, config, index=index, tissue=tissue)
    if maps.malignancy is not None and lesion.presence < config.low:
        # Of what is hardly there the share that is malignant is noise.
        unsaid = f"the model sees no lesion where you drew (probability that there is one: {lesion.presence:.2f})"
    else:
        unsaid = "no tile was analyzed where you drew" if math.isnan(lesion.probability) else ""
    if label is None and unsaid:
        raise InputError(f"{unsaid}, so there is no class from it. Choose malignant or benign.")
    drawn = _with_drawn_shape(lesion, polygons, maps.placement)
    share = lesion.tissue_share * drawn.area_px / lesion.area_px
    return replace(drawn, label=label or lesion.label, tissue_share=share, origin="drawn")


def _cells_within(polygons: Sequence[Polygon], maps: LesionMaps) -> CellRegion:
    """Cells whose centers lie within; the one that holds the middle where there is none."""
    region = region_from_polygons(polygons, maps)
    box = bounding_box(region.mask)
    if box is not None:
        return CellRegion(region.top + box.top, region.left + box.left, region.mask[box.slices])
    around = joint_box(tuple(polygons))
    middle = (around.top + around.height / 2, around.left + around.width / 2)
    row, column = np.floor(maps.placement.to_map(middle)).astype(int).tolist()
    if not (0 <= row < maps.presence.shape[0] and 0 <= column < maps.presence.shape[1]):
        raise InputError("what was drawn lies beside the part of the slide that was analyzed. Draw within it.")
    return CellRegion(row, column, np.ones((1, 1), bool))


def _with_drawn_shape(lesion: SlideLesion, polygons: Sequence[Polygon], place: MapPlacement) -> SlideLesion:
    """The lesion with the measurements and the outline of the drawing."""
    around = joint_box(tuple(polygons))
    step = max(around.height, around.width, 1) / RASTER_SIDE
    fine = MapPlacement(float(around.top), float(around.left), step, step, place.pixel_size)
    window = Box(0, 0, math.ceil(around.height / step), math.ceil(around.width / step))
    mask = rasterize_polygons(polygons, fine, window)
    box, um = bounding_box(mask), fine.cell_um
    if box is None:
        raise InputError("what was drawn encloses nothing. Draw around the lesion.")
    cells = float(np.count_nonzero(mask))
    area = cells * fine.cell_area_px
    crosses = abs(sum(polygon.area for polygon in polygons) / area - 1) > SELF_CROSSING_SHARE
    return replace(
        lesion,
        area_px=area,
        perimeter_px=crofton_perimeter(mask, (step, step)),
        area_mm2=None if um is None else cells * um[0] * um[1] / 1e6,
        perimeter_mm=None if um is None else crofton_perimeter(mask, (um[0] / 1e3, um[1] / 1e3)),
        height_mm=None if um is None else box.height * um[0] / 1e3,
        width_mm=None if um is None else box.width * um[1] / 1e3,
        extent=cells / (box.height * box.width),
        polygons=cell_polygons(mask, fine) if crosses else tuple(polygons),
    )
