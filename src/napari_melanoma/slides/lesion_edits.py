"""Edits of the lesions of a slide by hand, which are also applied to lesions found with another threshold."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.core.polygons import Polygon, joint_box
from napari_melanoma.imaging.masks import bounding_box, label_components
from napari_melanoma.imaging.measurements import crofton_perimeter
from napari_melanoma.slides.lesions import (
    CellRegion,
    LesionClass,
    LesionConfig,
    LesionMaps,
    LesionOrigin,
    SlideLesion,
    is_lesion_area,
    measure_region,
    region_from_polygons,
)
from napari_melanoma.slides.outlines import (
    OutlineClick,
    cell_polygons,
    find_clicked_outline,
    rasterize_polygons,
    refine_polygons,
)

Lesions = tuple["SlideLesion", ...]
SAME_LESION_SHARE = 0.5  # share of its cells from which on a lesion counts as present in others
RASTER_SIDE = 1024  # cells along the longer side of a drawing: its area is accurate to 0.2 %
# An outline crosses itself if its area by the shoelace formula and the rasterized one differ by more than this share.
SELF_CROSSING_SHARE = 0.02


def merge_lesions(
    lesions: Sequence[SlideLesion], indices: Collection[int], maps: LesionMaps, config: LesionConfig
) -> Lesions:
    """Merge lesions into one, which keeps the lowest number and may have several parts.

    A class that a reader has set stays; raises ``InputError`` if readers have set several.

    Returns all lesions of the slide, with the merged one at the position of its first part.
    """
    chosen = [_lesion_with_index(lesions, index) for index in sorted(set(indices))]
    if len(chosen) < 2:
        raise InputError("merging requires at least two lesions. Select their rows in the table, or draw around them.")
    label = _merged_label(chosen)
    joined = region_from_polygons([polygon for lesion in chosen for polygon in lesion.polygons], maps)
    merged = _measure_manual(joined, chosen[0].index, "merged", maps, config, label)
    others = {lesion.index for lesion in chosen[1:]}
    return tuple(merged if one.index == merged.index else one for one in lesions if one.index not in others)


def _merged_label(lesions: Sequence[SlideLesion]) -> str | None:
    """Return the class that a reader has set for any of the lesions; None if there is none."""
    labels = {lesion.label: lesion.index for lesion in reversed(lesions) if lesion.label_origin == "reader"}
    if len(labels) > 1:
        stated = " and ".join(f"lesion {index} {label}" for label, index in reversed(labels.items()))
        raise InputError(f"the classes of these lesions were set by hand: {stated}. Give them the same class first.")
    return next(iter(labels), None)


def split_lesion(
    lesions: Sequence[SlideLesion], index: int, line: ArrayLike, maps: LesionMaps, config: LesionConfig
) -> Lesions:
    """Split a lesion along a line; the largest part keeps the number, the others are given new numbers.

    A class that a reader has set is that of all parts. Cells under the line are assigned to the nearest part. Separate
    parts of a merged lesion become separate lesions, regardless of the line.

    ``line``: (vertex, 2), (row, column) in pixels of the finest level, at least two vertices. Returns all lesions of
    the slide, the new ones last.
    """
    lesion = _lesion_with_index(lesions, index)
    region = region_from_polygons(lesion.polygons, maps)
    parts, count = label_components(region.mask & ~_cells_on_line(maps.placement.to_map(line), region))
    if count < 2:
        raise InputError(
            f"the line does not split lesion {index}. Draw it across the lesion, from outside on one side to outside "
            "on the other."
        )
    parts = _nearest_part(parts, region.mask)
    order = (np.argsort(-np.bincount(parts.ravel())[1:], kind="stable") + 1).tolist()
    next_index = max(lesion.index for lesion in lesions) + 1
    numbers = [index, *range(next_index, next_index + len(order) - 1)]
    label = lesion.label if lesion.label_origin == "reader" else None
    created = [
        _measure_manual(CellRegion(region.top, region.left, parts == part), number, "split", maps, config, label)
        for part, number in zip(order, numbers, strict=True)
    ]
    return (*(created[0] if one.index == index else one for one in lesions), *created[1:])


def set_lesion_class(lesions: Sequence[SlideLesion], index: int, label: LesionClass) -> Lesions:
    """Set the class of a lesion by hand; the predicted probability is kept."""
    changed = replace(_lesion_with_index(lesions, index), label=label, origin="classed", label_origin="reader")
    return tuple(changed if one.index == index else one for one in lesions)


def remove_lesion(lesions: Sequence[SlideLesion], index: int) -> Lesions:
    """Remove a lesion; the others keep their numbers."""
    removed = _lesion_with_index(lesions, index)
    return tuple(one for one in lesions if one is not removed)


def add_lesion(
    lesions: Sequence[SlideLesion],
    polygons: Sequence[Polygon],
    maps: LesionMaps,
    config: LesionConfig,
    label: LesionClass | None = None,
) -> Lesions:
    """Add a drawn lesion with the next free number; return all lesions of the slide, the new one last.

    ``polygons``: the drawing, in pixels of the finest level. ``label``: its class; predicted if None.
    """
    number = max((one.index for one in lesions), default=0) + 1
    return (*lesions, measure_drawn_lesion(polygons, maps, config, index=number, label=label))


def refine_lesion(
    lesions: Sequence[SlideLesion],
    indices: Collection[int],
    click: OutlineClick,
    maps: LesionMaps,
    config: LesionConfig,
) -> Lesions:
    """Refine the outline of the lesion that a click is in or next to.

    Number and class stay, and the lesion is measured as a drawn one. It is removed if the click erases all of it.

    ``indices``: numbers of the lesions that take precedence, such as the selected ones.
    """
    index = find_clicked_outline(((one.index, one.polygons) for one in lesions), click, indices)
    lesion = _lesion_with_index(lesions, index)
    polygons = refine_polygons(lesion.polygons, click)
    if not polygons:
        return remove_lesion(lesions, index)
    measured = measure_drawn_lesion(polygons, maps, config, index=index, label=lesion.label)
    refined = replace(measured, origin="refined", label_origin=lesion.label_origin)
    return tuple(refined if one is lesion else one for one in lesions)


def _lesion_with_index(lesions: Sequence[SlideLesion], index: int) -> SlideLesion:
    for lesion in lesions:
        if lesion.index == index:
            return lesion
    known = ", ".join(str(one.index) for one in lesions) or "none"
    raise InputError(f"there is no lesion {index} on this slide (lesions: {known}).")


def _measure_manual(
    region: CellRegion, index: int, origin: LesionOrigin, maps: LesionMaps, config: LesionConfig, label: str | None
) -> SlideLesion:
    """Measure a lesion that was changed by hand; ``label``: its class, set by a reader; predicted if None."""
    box = bounding_box(region.mask)
    assert box is not None, "callers pass at least one cell"
    cropped = CellRegion(region.top + box.top, region.left + box.left, region.mask[box.slices])
    measured = measure_region(cropped, maps, config, index=index, tissue=maps.tissue_cells)
    return replace(_with_label(measured, label), origin=origin)


def _with_label(lesion: SlideLesion, label: str | None) -> SlideLesion:
    """Return a lesion with a class that a reader has set; unchanged if it is None."""
    return lesion if label is None else replace(lesion, label=label, label_origin="reader")


def _cells_on_line(line: NDArray[np.float64], region: CellRegion) -> NDArray[np.bool_]:
    """Mark the cells that a line crosses, 4-connected, so that the parts beside it do not touch at a corner.

    ``line``: (vertex, 2), (row, column) in cells of the map.
    """
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
    """Assign the cells of a mask that have no part to the nearest part."""
    from scipy import ndimage

    rows, columns = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    return np.where(mask, parts[rows, columns], 0)


def manual_lesions(lesions: Sequence[SlideLesion]) -> Lesions:
    """Return the lesions that were drawn, refined, merged, split or classified by hand."""
    return tuple(one for one in lesions if one.origin != "found")


def removed_lesions(previous: Sequence[SlideLesion], now: Sequence[SlideLesion], maps: LesionMaps) -> Lesions:
    """Return the lesions of ``previous`` that were removed: most of their cells are in none of the lesions ``now``."""
    occupied, present = _lesion_cells(now, maps), {id(lesion) for lesion in now}
    missing = (lesion for lesion in previous if id(lesion) not in present)
    return tuple(
        lesion
        for lesion in missing
        if _share(region_from_polygons(lesion.polygons, maps), occupied) < SAME_LESION_SHARE
    )


def apply_edits(
    found: Sequence[SlideLesion],
    corrected: Sequence[SlideLesion],
    removed: Sequence[SlideLesion],
    maps: LesionMaps,
    config: LesionConfig,
) -> Lesions:
    """Apply manual edits to lesions that were detected at another threshold.

    Manual lesions come first, unchanged. Detected lesions follow, without their overlap with manual lesions; they are
    left out if at least half of their cells lie in manual or removed lesions.

    ``found``: the detected lesions. ``corrected``: the lesions of the slide after the edits. ``removed``: those that
    were removed.
    """
    manual = manual_lesions(corrected)
    occupied, excluded = _lesion_cells(manual, maps), _lesion_cells((*manual, *removed), maps)
    number = max((one.index for one in manual), default=0)
    lesions = list(manual)
    for lesion in found:
        region = region_from_polygons(lesion.polygons, maps)
        if _share(region, excluded) >= SAME_LESION_SHARE:
            continue
        number += 1
        if _share(region, occupied):
            region = replace(region, mask=region.mask & ~occupied[region.slices])
            lesion = measure_region(region, maps, config, index=number, tissue=maps.tissue_cells)
        lesions.append(replace(lesion, index=number))
    return tuple(lesions)


def carry_classes(found: Sequence[SlideLesion], previous: Sequence[SlideLesion], maps: LesionMaps) -> Lesions:
    """Give lesions of a new analysis the classes that a reader has set for the same lesions before.

    A lesion is given a class if the lesions that readers have set to it cover at least half of its cells; a class that
    was set for a small part is not that of the whole. If this applies to several classes, it keeps the predicted one.
    """
    hand_set: dict[str, list[SlideLesion]] = {}
    for one in previous:
        if one.label_origin == "reader" and is_lesion_area(one.label):
            hand_set.setdefault(one.label, []).append(one)
    if not hand_set:  # no region of thousands of lesions has to be drawn
        return tuple(found)
    covered = {label: _lesion_cells(lesions, maps) for label, lesions in hand_set.items()}

    def carry(lesion: SlideLesion) -> SlideLesion:
        region = region_from_polygons(lesion.polygons, maps)
        labels = [label for label, cells in covered.items() if _share(region, cells) >= SAME_LESION_SHARE]
        if len(labels) != 1 or not is_lesion_area(lesion.label):
            return lesion
        return replace(lesion, label=labels[0], origin="classed", label_origin="reader")

    return tuple(map(carry, found))


def _lesion_cells(lesions: Sequence[SlideLesion], maps: LesionMaps) -> NDArray[np.bool_]:
    """Return the mask of the cells in any of the lesions, bool (row, column) of the maps."""
    cells = np.zeros(maps.shape, bool)
    for lesion in lesions:
        region = region_from_polygons(lesion.polygons, maps)
        cells[region.slices] |= region.mask
    return cells


def _share(region: CellRegion, cells: NDArray[np.bool_]) -> float:
    """Return the share of a region that lies in a mask; 0 for a region without cells, such as a small drawing."""
    size = int(region.mask.sum())
    return float((region.mask & cells[region.slices]).sum()) / size if size else 0.0


def measure_drawn_lesion(
    polygons: Sequence[Polygon], maps: LesionMaps, config: LesionConfig, *, index: int, label: str | None = None
) -> SlideLesion:
    """Measure and classify a drawn lesion.

    Its shape is measured on the drawing itself, not on cells. Probability and tissue are those of the cells whose
    centers lie within the drawing, or of the cell at its center if it is smaller than that; the probability is NaN if
    no tile was analyzed there. If an outline crosses itself, the outer edge of the enclosed area becomes the outline.

    ``polygons``: the drawing, in pixels of the finest level, at least one. ``label``: its class; predicted if None.
    """
    cells, tissue = _cells_within(polygons, maps), maps.tissue_cells
    lesion = measure_region(cells, maps, config, index=index, tissue=tissue)
    if maps.malignancy is not None and lesion.presence < config.low:
        # Where hardly any lesion is predicted, the malignant share of its probability is noise.
        problem = f"the model predicts no lesion in the drawn area (probability of a lesion: {lesion.presence:.2f})"
        lesion = replace(lesion, malignancy=lesion.probability)
    else:
        problem = "no tile was analyzed in the drawn area" if math.isnan(lesion.probability) else ""
    if label is None and problem:
        raise InputError(f"{problem}, so the class cannot be predicted. Choose malignant or benign.")
    drawn = _with_drawn_shape(lesion, polygons, maps.placement)
    share = lesion.tissue_share * drawn.area_px / lesion.area_px
    return replace(_with_label(drawn, label), tissue_share=share, origin="drawn")


def _cells_within(polygons: Sequence[Polygon], maps: LesionMaps) -> CellRegion:
    """Return the cells whose centers lie within a drawing; without such cells, the cell at its center."""
    region = region_from_polygons(polygons, maps)
    box = bounding_box(region.mask)
    if box is not None:
        return CellRegion(region.top + box.top, region.left + box.left, region.mask[box.slices])
    drawing_box = joint_box(tuple(polygons))
    middle = (drawing_box.top + drawing_box.height / 2, drawing_box.left + drawing_box.width / 2)
    row, column = np.floor(maps.placement.to_map(middle)).astype(int).tolist()
    if not (0 <= row < maps.presence.shape[0] and 0 <= column < maps.presence.shape[1]):
        raise InputError("the drawing lies outside the analyzed part of the slide. Draw within it.")
    return CellRegion(row, column, np.ones((1, 1), bool))


def _with_drawn_shape(lesion: SlideLesion, polygons: Sequence[Polygon], place: MapPlacement) -> SlideLesion:
    """Return the lesion with the outline of the drawing and the measurements of its shape."""
    drawing_box = joint_box(tuple(polygons))
    step = max(drawing_box.height, drawing_box.width, 1) / RASTER_SIDE
    fine = MapPlacement(float(drawing_box.top), float(drawing_box.left), step, step, place.pixel_size)
    window = Box(0, 0, math.ceil(drawing_box.height / step), math.ceil(drawing_box.width / step))
    mask = rasterize_polygons(polygons, fine, window)
    box, um = bounding_box(mask), fine.cell_um
    if box is None:
        raise InputError("the drawing encloses no area. Draw around the lesion.")
    cells = float(np.count_nonzero(mask))
    area = cells * fine.cell_area_px
    crosses_itself = abs(sum(polygon.area for polygon in polygons) / area - 1) > SELF_CROSSING_SHARE
    return replace(
        lesion,
        area_px=area,
        perimeter_px=crofton_perimeter(mask, (step, step)),
        area_mm2=None if um is None else cells * um[0] * um[1] / 1e6,
        perimeter_mm=None if um is None else crofton_perimeter(mask, (um[0] / 1e3, um[1] / 1e3)),
        height_mm=None if um is None else box.height * um[0] / 1e3,
        width_mm=None if um is None else box.width * um[1] / 1e3,
        extent=cells / (box.height * box.width),
        polygons=cell_polygons(mask, fine) if crosses_itself else tuple(polygons),
    )
