"""Refine an outline on a slide by a click: move it to the border in the displayed pixels around the click."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.core.polygons import Polygon, clip_polygon, joint_box, to_polygons, to_shape, untangle_polygon
from napari_melanoma.imaging.scribbles import redraw_at_click
from napari_melanoma.slides.map_polygons import rasterize_polygons, simplified_cell_polygons

if TYPE_CHECKING:
    from shapely import Geometry


# New holes and fragments are removed if they have fewer cells than this, and a smaller share of the part they were in.
SPECK_CELLS, SPECK_SHARE = 64, 0.25
SEAM_CELLS = 2  # overlap of changed cells with the unchanged part, so that no gap is left between cells and outline
NO_OUTLINE = (
    "there is no outline here. Click next to one to include more; right-click or Shift+click inside one to exclude."
)
ALREADY_INSIDE = (
    "the click is already inside the outline. Click next to it to include more; right-click or Shift+click to exclude."
)
ALREADY_OUTSIDE = "the click to exclude is not inside an outline. Right-click or Shift+click inside one."
TOO_FAR = "the outline is too far from the click at this magnification. Zoom out, or click closer to it."
Key = TypeVar("Key")


@dataclass(frozen=True)
class OutlineClick:
    """A click on a slide, with the displayed pixels around it.

    ``point``: (row, column) in pixels of the finest level. ``include``: the click extends the outline to the point;
    else it excludes the point. ``reach``: largest distance from an outline that the click changes, in the unit of
    ``pixel_um``, the height and width of a pixel of the finest level. ``size``: height and width of the slide in these
    pixels. ``read``: returns the displayed colors, uint8 (row, column, channel=3); ``placement``: their position.
    """

    point: tuple[float, float]
    include: bool
    reach: float
    pixel_um: tuple[float, float]
    size: tuple[int, int]
    placement: MapPlacement
    read: Callable[[], NDArray[np.uint8]]


def find_clicked_outline(
    outlines: Iterable[tuple[Key, tuple[Polygon, ...]]], click: OutlineClick, preferred: Collection[Key] = ()
) -> Key:
    """Find the outline that a click changes, and return its key.

    It is the nearest outline within reach, of several under the click the smallest. Outlines with ``preferred`` keys
    take precedence if the click changes them.
    """
    near = [  # key, distance, area
        (key, distance, sum(polygon.area for polygon in polygons))
        for key, polygons in outlines
        if (distance := _distance(polygons, click)) <= click.reach
    ]
    if not near:
        raise InputError(NO_OUTLINE)
    chosen = [
        (key, distance, area) for key, distance, area in near if key in preferred and (distance > 0) == click.include
    ]
    key, distance, _ = min(chosen or near, key=lambda candidate: candidate[1:])
    if (distance > 0) != click.include:
        raise InputError(ALREADY_INSIDE if click.include else ALREADY_OUTSIDE)
    return key


def refine_polygons(polygons: Sequence[Polygon], click: OutlineClick) -> tuple[Polygon, ...]:
    """Move the border of polygons around a click to the edge in the image.

    Polygons and parts of the border that the click does not change keep their vertices. Returns valid polygons within
    the slide; empty if nothing is left.
    """
    rgb = click.read()
    shape = (rgb.shape[0], rgb.shape[1])
    row, column = np.clip(np.floor(click.placement.to_map(click.point)).astype(int), 0, np.array(shape) - 1).tolist()
    mask = rasterize_polygons(polygons, click.placement, Box(0, 0, *shape))
    if mask[row, column] == click.include:  # by less than a cell
        raise InputError(ALREADY_INSIDE if click.include else ALREADY_OUTSIDE)
    if not mask.any():
        raise InputError(TOO_FAR)
    redrawn = _without_specks(redraw_at_click(rgb, mask, (row, column), include=click.include), mask)
    changed = _with_seam(redrawn != mask, redrawn == click.include)
    return _apply_change(polygons, changed, click)


def _distance(polygons: tuple[Polygon, ...], click: OutlineClick) -> float:
    """Return the distance of a click from polygons, 0 inside; infinite if it is certainly out of reach."""
    import shapely

    box, pixel_um = joint_box(polygons), click.pixel_um
    low, high = np.array((box.top, box.left)), np.array((box.top + box.height, box.left + box.width))
    outside = np.maximum(np.maximum(low - click.point, click.point - high), 0)
    if np.hypot(*(outside * pixel_um)) > click.reach:
        return np.inf
    point = shapely.points(np.array(click.point) * pixel_um)
    scaled = [shapely.transform(to_shape(polygon), lambda vertices: vertices * pixel_um) for polygon in polygons]
    return float(shapely.distance(scaled, point).min())


def _without_specks(redrawn: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Undo the small fragments and holes that a redrawn mask has and the original ``mask`` does not have."""
    from scipy import ndimage

    cleaned = redrawn.copy()
    for value in (True, False):
        now, _ = ndimage.label(redrawn == value)
        before, _ = ndimage.label(mask == value)
        size_now, size_before = np.bincount(now.ravel())[now], np.bincount(before.ravel())[before]
        is_part = (now > 0) & (before > 0)
        cleaned[is_part & (size_now < np.minimum(SPECK_CELLS, SPECK_SHARE * size_before))] = not value
    return cleaned


def _with_seam(changed: NDArray[np.bool_], joined: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Extend changed cells by ``SEAM_CELLS`` into the cells that they are joined to."""
    from scipy import ndimage

    grown: NDArray[np.bool_] = ndimage.binary_dilation(changed, iterations=SEAM_CELLS, mask=changed | joined)
    return grown


def _apply_change(polygons: Sequence[Polygon], changed: NDArray[np.bool_], click: OutlineClick) -> tuple[Polygon, ...]:
    """Add changed cells to polygons, or remove them, depending on the click."""
    import shapely

    cells = shapely.union_all([to_shape(part) for part in simplified_cell_polygons(changed, click.placement)])
    kept: list[Polygon] = []
    touched: list[Geometry] = []
    for polygon in polygons:
        parts = [to_shape(part) for part in untangle_polygon(polygon)]
        if any(shapely.intersects(part, cells) for part in parts):
            touched += parts
        else:
            kept.append(polygon)
    before = shapely.union_all(touched)
    after = shapely.union(before, cells) if click.include else shapely.difference(before, cells)
    speck = SPECK_CELLS * click.placement.cell_area_px
    smallest = min([speck, *(SPECK_SHARE * float(part.area) for part in touched)])
    refined = (part for part in to_polygons(after) if part.area >= smallest)
    return (*kept, *(part for polygon in refined for part in clip_polygon(polygon, click.size)))
