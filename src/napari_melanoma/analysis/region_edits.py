"""What a layer of shapes shows of regions, and what a user did to the shapes turned into a change of the regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.regions import RegionClass, Regions, drawn_region, removed, reshaped
from napari_melanoma.core.polygons import as_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.io.geojson import Annotation

MOST_DRAWN = 400  # outlines; napari takes 1 to 2 ms for each, and slows down with all of them
MOST_VERTICES = 600  # of one outline
DETAIL = 16_000  # parts of a slide's longer side: how far an outline with more vertices may be off
ROUND = 48  # vertices of an ellipse
OUTER = 0

At = tuple[str, int, int]  # id of a region, number of its polygon, number of the ring in that


@dataclass(frozen=True)
class Shown:
    """An outline as it is shown: which ring it is, and its vertices (vertex, 2) in pixels of the finest level."""

    at: At
    vertices: NDArray[np.float64]


@dataclass(frozen=True)
class ShapesNow:
    """The shapes of a layer: vertices of each in pixels of the finest level, its kind, and which ``Shown`` it was."""

    vertices: Sequence[NDArray[np.float64]]
    kinds: Sequence[str]
    keys: Sequence[int]


def shown(regions: Sequence[Annotation], size: tuple[int, int]) -> tuple[Shown, ...]:
    """Choose what is shown of regions, in as few vertices as can be seen.

    ``size``: height and width of the slide in pixels of its finest level. Every ring of the first regions, at most
    ``MOST_DRAWN``.
    """
    tolerance = max(size) / DETAIL
    rings = [
        ((region.id, part, number), ring)
        for region in regions
        for part, polygon in enumerate(region.polygons)
        for number, ring in enumerate(polygon.rings)
    ]
    return tuple(Shown(at, _simplified(as_array(ring), tolerance)) for at, ring in rings[:MOST_DRAWN])


def followed(
    regions: Regions, before: Sequence[Shown], now: ShapesNow, of: RegionClass, reader: str = ""
) -> tuple[Regions, Regions]:
    """Change regions as the shapes were changed that show them.

    Returns all of the slide, the new ones last; and the new ones alone.
    """
    seen: set[int] = set()
    fresh = []
    for vertices, kind, key in zip(now.vertices, now.kinds, now.keys, strict=True):
        if not 0 <= key < len(before) or key in seen:
            fresh.append(outline(vertices, kind))
            continue
        seen.add(key)
        if not np.array_equal(vertices, before[key].vertices):
            regions = reshaped(regions, before[key].at, vertices)
    gone = [one.at for key, one in enumerate(before) if key not in seen]
    ids = {at[0] for at in gone if at[2] == OUTER}
    for at in sorted(gone, reverse=True):
        if at[0] not in ids:
            regions = reshaped(regions, at, np.zeros((0, 2)))
    drawn = tuple(drawn_region(vertices, of, reader) for vertices in fresh)
    return (*removed(regions, ids), *drawn), drawn


def outline(vertices: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Give the outline of a shape of napari.

    ``vertices``: float64 (vertex, 2); of an ellipse the corners of the box around it. Returns float64 (vertex, 2).
    """
    if kind != "ellipse" or len(vertices) != 4:
        return vertices
    angle = np.linspace(0, 2 * np.pi, ROUND, endpoint=False)[:, None]
    middle = vertices.mean(axis=0)
    across, down = (vertices[1] - vertices[0]) / 2, (vertices[3] - vertices[0]) / 2
    found: NDArray[np.float64] = middle + np.cos(angle) * across + np.sin(angle) * down
    return found


def _simplified(vertices: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """An outline with fewer vertices, where it has many."""
    if len(vertices) <= MOST_VERTICES:
        return vertices
    from skimage.measure import approximate_polygon

    closed = np.vstack([vertices, vertices[:1]])
    found = np.asarray(approximate_polygon(closed, tolerance), np.float64)[:-1]
    return found if len(found) > 2 else vertices
