"""Edits of the lesions of a slide by hand, which are also applied to lesions found with another threshold."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.polygons import (
    Polygon,
    merge_overlapping,
    to_polygons,
    to_shape,
    untangle_polygon,
)
from napari_melanoma.imaging.masks import bounding_box, label_components
from napari_melanoma.slides.lesions import (
    CellRegion,
    ClippedCells,
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
    find_clicked_outline,
    refine_polygons,
    split_shape,
)

Lesions = tuple["SlideLesion", ...]
SAME_LESION_SHARE = 0.5  # share of its cells from which on a lesion counts as present in others
SAME_AREA_SHARE = 1e-3  # of areas that count as equal: other programs round positions


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
    polygons = [polygon for lesion in chosen for polygon in lesion.polygons]
    if all(_follows_cells(lesion, maps) for lesion in chosen):
        merged = _measure_cells(region_from_polygons(polygons, maps), chosen[0], maps, config)
    else:
        merged = _measure_shape(_repair(polygons), maps, config, index=chosen[0].index)
    merged = _as_part(merged, chosen[0], "merged", label)
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

    A class that a reader has set is that of all parts. An outline that follows cells is split along cells: those under
    the line are assigned to the nearest part. Separate parts of a merged lesion become separate lesions, regardless of
    the line.

    ``line``: (vertex, 2), (row, column) in pixels of the finest level, at least two vertices. Returns all lesions of
    the slide, the new ones last.
    """
    lesion = _lesion_with_index(lesions, index)
    split = _split_cells if _follows_cells(lesion, maps) else _split_shape
    parts = split(lesion, np.asarray(line, np.float64), maps, config)
    if len(parts) < 2:
        raise InputError(
            f"the line does not split lesion {index}. Draw it across the lesion, from outside on one side to outside "
            "on the other."
        )
    label = lesion.label if lesion.label_origin == "reader" else None
    next_index = max(lesion.index for lesion in lesions) + 1
    largest = _as_part(parts[0], lesion, "split", label)
    others = (
        replace(_as_part(part, lesion, "split", label), index=number, id="", others={})
        for number, part in enumerate(parts[1:], start=next_index)
    )
    return (*(largest if one.index == index else one for one in lesions), *others)


def _split_cells(
    lesion: SlideLesion, line: NDArray[np.float64], maps: LesionMaps, config: LesionConfig
) -> list[SlideLesion]:
    """Measure the parts of a lesion whose outline follows cells, the largest first."""
    region = region_from_polygons(lesion.polygons, maps)
    parts, count = label_components(region.mask & ~_cells_on_line(maps.placement.to_map(line), region))
    if count < 2:
        return [lesion]
    parts = _nearest_part(parts, region.mask)
    order = (np.argsort(-np.bincount(parts.ravel())[1:], kind="stable") + 1).tolist()
    return [_measure_cells(CellRegion(region.top, region.left, parts == part), lesion, maps, config) for part in order]


def _split_shape(
    lesion: SlideLesion, line: NDArray[np.float64], maps: LesionMaps, config: LesionConfig
) -> list[SlideLesion]:
    """Measure the parts of a lesion that was drawn or refined, the largest first."""
    import shapely

    cut = shapely.linestrings(line)
    pieces = [piece for polygon in _repair(lesion.polygons) for piece in split_shape(to_shape(polygon), cut)]
    parts = sorted(filter(None, map(to_polygons, pieces)), key=lambda part: -part[0].area)
    return [_measure_shape(part, maps, config, index=lesion.index) for part in parts]


def set_lesion_class(lesions: Sequence[SlideLesion], index: int, label: LesionClass) -> Lesions:
    """Set the class of a lesion by hand; the predicted probability is kept, and how an edited outline was made."""
    lesion = _lesion_with_index(lesions, index)
    origin: LesionOrigin = "classed" if lesion.origin == "found" else lesion.origin
    changed = replace(lesion, label=label, origin=origin, label_origin="reader")
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
    refined = replace(measured, origin="refined", label_origin=lesion.label_origin, id=lesion.id, others=lesion.others)
    return tuple(refined if one is lesion else one for one in lesions)


def _lesion_with_index(lesions: Sequence[SlideLesion], index: int) -> SlideLesion:
    for lesion in lesions:
        if lesion.index == index:
            return lesion
    known = ", ".join(str(one.index) for one in lesions) or "none"
    raise InputError(f"there is no lesion {index} on this slide (lesions: {known}).")


def _follows_cells(lesion: SlideLesion, maps: LesionMaps) -> bool:
    """Whether the outline of a lesion is that of cells of the map, not one that was drawn or refined."""
    region = region_from_polygons(lesion.polygons, maps)
    cells = ClippedCells.clip(region.mask, region.place(maps.placement), maps.slide_end).area
    area = sum(polygon.area for polygon in lesion.polygons)
    return math.isclose(cells * maps.placement.cell_area_px, area, rel_tol=SAME_AREA_SHARE)


def _measure_cells(region: CellRegion, lesion: SlideLesion, maps: LesionMaps, config: LesionConfig) -> SlideLesion:
    """Measure cells of a lesion, at least one, with its number."""
    box = bounding_box(region.mask)
    assert box is not None, "callers pass at least one cell"
    cropped = CellRegion(region.top + box.top, region.left + box.left, region.mask[box.slices])
    return measure_region(cropped, maps, config, index=lesion.index, tissue=maps.tissue_cells)


def _as_part(measured: SlideLesion, lesion: SlideLesion, origin: LesionOrigin, label: str | None) -> SlideLesion:
    """Return what was measured of a lesion as the lesion itself, with what another program has added to it.

    ``label``: its class, set by a reader; predicted if None.
    """
    if label is None and math.isnan(measured.probability):  # no tile was analyzed there
        measured = replace(measured, label=lesion.label)
    return replace(_with_label(measured, label), origin=origin, id=lesion.id, others=lesion.others)


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


def without_probabilities(lesions: Sequence[SlideLesion]) -> Lesions:
    """Return lesions without the numbers of a prediction, such as one that is not valid."""
    return tuple(replace(one, probability=math.nan, presence=math.nan, malignancy=math.nan) for one in lesions)


def removed_lesions(previous: Sequence[SlideLesion], now: Sequence[SlideLesion], maps: LesionMaps) -> Lesions:
    """Return the lesions of ``previous`` that were removed: most of their cells are in none of the lesions ``now``."""
    return _find_missing(previous, {id(lesion) for lesion in now}, _count_lesions(now, maps), maps)


def removed_by_edits(removed: Lesions, steps: Sequence[Sequence[SlideLesion]], maps: LesionMaps) -> Lesions:
    """Return the lesions that were removed by several edits, as ``removed_lesions`` of each edit after the other.

    ``removed``: those that were removed before. ``steps``: the lesions before the first edit, and after each.
    """
    counts = _count_lesions(steps[0], maps) if len(steps) > 1 else np.zeros(maps.shape, np.int32)
    for before, now in pairwise(steps):
        known, present = ({id(lesion) for lesion in lesions} for lesions in (before, now))
        gone = tuple(lesion for lesion in before if id(lesion) not in present)
        counts += _count_lesions([lesion for lesion in now if id(lesion) not in known], maps)
        counts -= _count_lesions(gone, maps)
        removed = _find_missing((*removed, *gone), present, counts, maps)
    return removed


def _find_missing(
    lesions: Sequence[SlideLesion], present: Collection[int], counts: NDArray[np.int32], maps: LesionMaps
) -> Lesions:
    """Return the lesions most of whose cells are in none of others.

    ``present``: identities of lesions that are not missing. ``counts``: of ``_count_lesions``, of the others.
    """
    occupied = counts > 0
    missing = (lesion for lesion in lesions if id(lesion) not in present)
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
    return _count_lesions(lesions, maps) > 0


def _count_lesions(lesions: Sequence[SlideLesion], maps: LesionMaps) -> NDArray[np.int32]:
    """Return in how many of the lesions each cell is, int32 (row, column) of the maps."""
    counts = np.zeros(maps.shape, np.int32)
    for lesion in lesions:
        region = region_from_polygons(lesion.polygons, maps)
        counts[region.slices] += region.mask
    return counts


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
    no tile was analyzed there. If an outline crosses itself, the enclosed area counts, as that of a region.

    ``polygons``: the drawing, in pixels of the finest level, at least one. ``label``: its class; predicted if None.
    """
    lesion = _measure_shape(_repair(polygons), maps, config, index=index)
    # Where hardly any lesion is predicted, the malignant share of its probability is noise.
    if maps.malignancy is not None and lesion.presence < config.low:
        problem = f"the model predicts no lesion in the drawn area (probability of a lesion: {lesion.presence:.2f})"
    else:
        problem = "no tile was analyzed in the drawn area" if math.isnan(lesion.probability) else ""
    if label is None and problem:
        raise InputError(f"{problem}, so the class cannot be predicted. Choose malignant or benign.")
    return replace(_with_label(lesion, label), origin="drawn")


def _repair(polygons: Iterable[Polygon]) -> tuple[Polygon, ...]:
    """Return the area that outlines enclose, as ``fit_to_slide`` does; valid and disjoint ones are unchanged."""
    repaired = merge_overlapping(part for polygon in polygons for part in untangle_polygon(polygon))
    if not repaired:
        raise InputError("the drawing encloses no area. Draw around the lesion.")
    return repaired


def _measure_shape(polygons: tuple[Polygon, ...], maps: LesionMaps, config: LesionConfig, *, index: int) -> SlideLesion:
    """Measure valid and disjoint polygons as a lesion; see ``measure_drawn_lesion``."""
    import shapely

    lesion = measure_region(_cells_within(polygons, maps), maps, config, index=index, tissue=maps.tissue_cells)
    if maps.malignancy is not None and lesion.presence < config.low:
        lesion = replace(lesion, malignancy=lesion.probability)
    shape = shapely.union_all([to_shape(polygon) for polygon in polygons])
    size, area = maps.placement.pixel_size, sum(polygon.area for polygon in polygons)
    top, left, bottom, right = shape.bounds
    height, width = bottom - top, right - left
    mm = None if size is None else size.mm
    return replace(
        lesion,
        area_px=area,
        perimeter_px=float(shape.length),
        area_mm2=None if mm is None else area * mm[0] * mm[1],
        perimeter_mm=None if mm is None else float(shapely.transform(shape, lambda points: points * mm).length),
        height_mm=None if mm is None else height * mm[0],
        width_mm=None if mm is None else width * mm[1],
        extent=area / (height * width),
        polygons=polygons,
        tissue_share=lesion.tissue_share * area / lesion.area_px,
    )


def _cells_within(polygons: Sequence[Polygon], maps: LesionMaps) -> CellRegion:
    """Return the cells whose centers lie within a drawing; without such cells, those at the centers of its parts."""
    region = region_from_polygons(polygons, maps)
    box = bounding_box(region.mask)
    if box is not None:
        return CellRegion(region.top + box.top, region.left + box.left, region.mask[box.slices])
    boxes = [polygon.box for polygon in polygons]
    middles = [(box.top + box.height / 2, box.left + box.width / 2) for box in boxes]
    cells = np.floor(maps.placement.to_map(middles)).astype(int)
    cells = cells[((cells >= 0) & (cells < maps.shape)).all(axis=1)]
    if not len(cells):
        raise InputError("the drawing lies outside the analyzed part of the slide. Draw within it.")
    first = cells.min(axis=0)
    mask = np.zeros(np.ptp(cells, axis=0) + 1, bool)
    mask[tuple((cells - first).T)] = True
    return CellRegion(int(first[0]), int(first[1]), mask)
