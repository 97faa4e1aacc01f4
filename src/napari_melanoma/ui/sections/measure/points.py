"""The counted points of a slide: their classes, and the areas within which they are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_melanoma.slides.regions import RegionClass
from napari_melanoma.ui.session.counts import COUNT_DOCUMENT
from napari_melanoma.ui.viewer.camera import get_camera, get_extent, get_visible_region
from napari_melanoma.ui.widgets.class_list import ClassKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.viewer import Viewer

    from napari_melanoma.core.polygons import Polygon
    from napari_melanoma.io.geojson import Annotation
    from napari_melanoma.slides.counts import CountArea, CountResult
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

# Areas to count within; ``OF_CLASS`` precedes the name of a class of regions.
FIELD_CLASS = RegionClass("Mitosis area", (255, 149, 0))  # of the circle of 1 mm²
CORNERS = 90  # of the polygon for this circle
VIEW, SLIDE, SELECTED, OF_CLASS = "view", "slide", "selected", "class "
AREAS = {VIEW: "the view", SLIDE: "the whole slide", SELECTED: "the selected regions"}
COUNT_CLASSES = ClassKind(
    "slide/count_classes",
    (RegionClass("Mitosis", (255, 149, 0)), RegionClass("TIL", (0, 114, 178)), RegionClass("Other", (0, 158, 115))),
    "count",
    "Classes of counted points",
    "Class of the points that you count",
    "points",
)


def list_areas(session: SlideSession) -> dict[str, str]:
    """Return the areas with their texts; each class of regions is one."""
    from napari_melanoma.slides.counts import IN_REGIONS

    classes = dict.fromkeys(region.class_name for region in session.regions.value if region.class_name)
    return {**AREAS, **{f"{OF_CLASS}{name}": IN_REGIONS.format(name) for name in classes}}


def find_area(session: SlideSession, area: str) -> tuple[Polygon, ...]:
    """Return the polygons of an area."""
    from napari_melanoma.core.polygons import Polygon

    if area == VIEW:
        return get_view_outline(session.services.viewer, session.slide)
    if area == SLIDE:
        height, width = map(float, session.slide.size)
        return (Polygon(((0.0, 0.0), (0.0, width), (height, width), (height, 0.0))),)
    selected = set(session.selected_regions.value)
    regions = session.regions.value
    if area == SELECTED:
        chosen = [region for region in regions if region.id in selected]
    else:
        chosen = [region for region in regions if f"{OF_CLASS}{region.class_name}" == area]
    return tuple(polygon for region in chosen for polygon in region.polygons)


def create_field(session: SlideSession) -> Annotation:
    """Return a region of 1 mm², a circle at the center of the view; the slide has a scale."""
    import numpy as np

    from napari_melanoma.slides.regions import region_from_vertices

    view = get_visible_region(session.services.viewer, session.slide)
    turns = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    circle = np.stack([np.sin(turns), np.cos(turns)], axis=1)
    area = CORNERS / 2 * np.sin(2 * np.pi / CORNERS)  # of the polygon for a circle of radius 1
    ring = np.array(view.center) + 1000 * circle / np.sqrt(area) / np.array(session.slide.pixel_um)
    return region_from_vertices(ring, FIELD_CLASS, session.services.reader)


@dataclass
class PointCounter:
    """Count the points of a session within an area.

    The union of its polygons is kept for the next count, because the union of 1,500 regions takes 0.4 s.
    """

    session: SlideSession
    latest: tuple[tuple[Polygon, ...], CountArea] | None = None

    def count(self, area: str, classes: Sequence[str]) -> tuple[CountResult, ...]:
        """Return the number and density of the points of each class."""
        from napari_melanoma.slides.counts import CountArea, count_within

        polygons = find_area(self.session, area)
        if self.latest is None or self.latest[0] != polygons:
            self.latest = polygons, CountArea(polygons)
        points, size = self.session.document(COUNT_DOCUMENT).value, self.session.slide.info.pixel_size
        return count_within(points, classes, self.latest[1], size)


def get_view_outline(viewer: Viewer, slide: ViewerSlide) -> tuple[Polygon, ...]:
    """Return the outline of the visible part of a slide, which may be rotated, in pixels of the finest level."""
    from napari_melanoma.core.polygons import Polygon, clip_polygon

    height, width = get_extent(viewer)
    y, x = (float(value) for value in get_camera(viewer).center[-2:])
    top, left, bottom, right = y - height / 2, x - width / 2, y + height / 2, x + width / 2
    corners = (top, left), (top, right), (bottom, right), (bottom, left)
    return clip_polygon(Polygon(tuple(map(slide.to_slide, corners))), slide.size)
