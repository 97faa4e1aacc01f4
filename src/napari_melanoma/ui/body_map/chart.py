"""The body chart: the arrangement of its drawings, and the sites on them with positions for marks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import inf

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSizeF
from qtpy.QtGui import QColor, QImage, QPainter, QTransform

from napari_melanoma.data.body_sites import LEFT, MIDLINE, MIDLINE_SITES, RIGHT, SiteKey
from napari_melanoma.data.taxonomy import UNKNOWN
from napari_melanoma.ui.body_map.drawings import (
    draw_back,
    draw_face,
    draw_front,
    draw_hands,
    draw_mouth,
    draw_soles,
    draw_toes,
)
from napari_melanoma.ui.body_map.outlines import BodyDrawing, BodyRegion, Point

WIDTH, HEIGHT = 340.0, 516.0
# Half the width of the midline, and offset of a mark to a side, as shares of the drawing's width: for a drawing of the
# whole body, and for a detail
MIDLINE_SHARES, SIDE_SHARES = (0.02, 0.08), (0.045, 0.18)
# A mark is shown in the first of these drawings that contains the site
DRAWING_PREFERENCE = (
    "face",
    "mouth",
    "hands",
    "front",
    "back",
    "soles",
    "toes",
)
INSIDE_SHARE = 0.75  # a point is well inside a site from this share of the largest distance to the site's border
NEIGHBOR_OFFSETS = ((0, 1), (0, -1), (1, 0), (-1, 0))  # (row, column)
NO_SITE: SiteKey = ("", "")
# Unpaired sites that are so broad that a click also sets the side
BROAD_SITES = ("scalp", "forehead", "face", "lip", "chin", "nape")
# The site at which a lesion is marked if only the region is known; other regions contain too many sites
REGION_SITES = {
    "head/neck": "face",
    "upper extremity": "upper arm",
    "lower extremity": "thigh",
    "anterior torso": "chest",
    "posterior torso": "upper back",
    "lateral torso": "flank",
}


@dataclass(frozen=True)
class ChartSpot:
    """A site in one of the drawings of the chart; ``anchor``: a point well inside, for marks."""

    drawing: str
    region: BodyRegion
    anchor: QPointF

    @property
    def body_site(self) -> SiteKey:
        """Site and laterality."""
        return self.region.body_site

    def with_laterality(self, laterality: str) -> ChartSpot:
        """Return this spot with another laterality."""
        return replace(self, region=replace(self.region, laterality=laterality))


@dataclass(frozen=True)
class ChartTransform:
    """The transform between chart and widget; the chart is centered and as large as possible."""

    scale: float
    corner: QPointF

    def to_chart(self, point: QPointF) -> QPointF:
        """Convert a point in the widget, in pixels, to the chart."""
        return (point - self.corner) * (1 / self.scale)

    def to_widget(self, point: QPointF) -> QPointF:
        """Convert a point on the chart to the widget, in pixels."""
        return point * self.scale + self.corner


@dataclass(frozen=True)
class BodyChart:
    """The drawings, arranged on a chart; at full size, one unit is one pixel."""

    drawings: tuple[BodyDrawing, ...]
    size: QSizeF

    def fit(self, width: float, height: float) -> ChartTransform:
        """Return the transform that fits the chart into a widget; ``width``, ``height``: in pixels."""
        scale = max(min(width / self.size.width(), height / self.size.height()), 1e-3)
        size = self.size * scale
        return ChartTransform(scale, QPointF((width - size.width()) / 2, (height - size.height()) / 2))

    def find_spot(self, point: QPointF) -> ChartSpot | None:
        """Return the spot at a point of the chart; None outside the body.

        In a broad unpaired site, the spot has the laterality of the point.
        """
        for drawing in self.drawings:
            region = drawing.find_region(point) if drawing.frame.contains(point) else None
            if region is not None:
                spot = self.spots[drawing.name, *region.body_site]
                return spot.with_laterality(_find_side(drawing, point)) if region.site in BROAD_SITES else spot
        return None

    def find_site(self, site: str, laterality: str) -> ChartSpot | None:
        """Return the spot at which a site is marked; None if it is ambiguous, such as for an arm of unknown side."""
        site = REGION_SITES.get(site, site)
        side = MIDLINE if laterality in ("", UNKNOWN) else laterality
        spots = [self.spots.get((name, site, side)) for name in DRAWING_PREFERENCE]
        if site in MIDLINE_SITES and laterality in (LEFT, RIGHT):
            spots += [self._spot_on_side((name, site, MIDLINE), laterality) for name in DRAWING_PREFERENCE]
        return next((spot for spot in spots if spot is not None), None)

    def _spot_on_side(self, key: tuple[str, str, str], laterality: str) -> ChartSpot | None:
        """Return the spot of an unpaired site with its anchor moved to one side, as far as the site extends."""
        spot = self.spots.get(key)
        if spot is None:
            return None
        drawing = next(drawing for drawing in self.drawings if drawing.name == spot.drawing)
        direction = 1 if drawing.sides[1:] == (laterality,) else -1
        offset = direction * SIDE_SHARES[drawing.is_detail] * drawing.frame.width()
        points = (QPointF(spot.anchor.x() + share * offset, spot.anchor.y()) for share in (1.0, 0.5))
        points_in_site = (
            point for point in points if (region := drawing.find_region(point)) and region.body_site == spot.body_site
        )
        return replace(spot, anchor=next(points_in_site, spot.anchor)).with_laterality(laterality)

    def find_neighbor(self, spot: ChartSpot, direction: Point) -> ChartSpot:
        """Return the nearest spot in a direction, or the same spot if there is none; lateral distance counts twice.

        ``direction``: a unit vector (x, y).
        """

        def distance(other: ChartSpot) -> float:
            offset = other.anchor - spot.anchor
            forward = offset.x() * direction[0] + offset.y() * direction[1]
            lateral = abs(offset.x() * direction[1]) + abs(offset.y() * direction[0])
            return forward + 2 * lateral if forward > 0.5 and lateral < 3 * forward else inf

        nearest = min(self.spots.values(), key=distance)
        return nearest if distance(nearest) < inf else spot

    @cached_property
    def spots(self) -> dict[tuple[str, str, str], ChartSpot]:
        """All spots by drawing, site and laterality."""
        return {(spot.drawing, *spot.body_site): spot for drawing in self.drawings for spot in _list_spots(drawing)}


@lru_cache(maxsize=1)
def get_chart() -> BodyChart:
    """Return the chart, which is created once."""
    placements = (
        (draw_front(), QRectF(4, 20, 160, 350)),
        (draw_back(), QRectF(176, 20, 160, 350)),
        (draw_face(), QRectF(4, 396, 88, 116)),
        (draw_toes(), QRectF(95, 396, 42, 44)),
        (draw_mouth(), QRectF(94, 472, 40, 28)),
        (draw_hands(), QRectF(142, 396, 108, 98)),
        (draw_soles(), QRectF(262, 396, 74, 98)),
    )
    return BodyChart(tuple(_fit_drawing(drawing, area) for drawing, area in placements), QSizeF(WIDTH, HEIGHT))


def _find_side(drawing: BodyDrawing, point: QPointF) -> str:
    """Return the laterality of a point in a drawing."""
    offset = (point.x() - drawing.frame.center().x()) / drawing.frame.width()
    if abs(offset) < MIDLINE_SHARES[drawing.is_detail] or not drawing.sides:
        return MIDLINE
    return drawing.sides[int(offset > 0)]


def _fit_drawing(drawing: BodyDrawing, area: QRectF) -> BodyDrawing:
    """Scale a drawing into a rectangle, aligned at the top center."""
    frame = drawing.frame
    scale = min(area.width() / frame.width(), area.height() / frame.height())
    transform = QTransform.fromTranslate(area.center().x(), area.y()).scale(scale, scale)
    transform.translate(-frame.center().x(), -frame.y())
    return drawing.transformed(transform)


def _list_spots(drawing: BodyDrawing) -> Iterator[ChartSpot]:
    """Yield the spot of each site in a drawing."""
    first_regions = {region.body_site: region for region in reversed(list(drawing.regions))}
    for site_key, anchor in find_anchors(drawing).items():
        yield ChartSpot(drawing.name, first_regions[site_key], anchor)


def find_anchors(drawing: BodyDrawing) -> dict[SiteKey, QPointF]:
    """Find a point well inside each visible site of a drawing, in the coordinates of the drawing."""
    scale = 2.0 if drawing.is_detail else 1.0  # pixels per unit; details have small sites
    frame = drawing.frame
    site_keys = list(dict.fromkeys(region.body_site for region in drawing.regions))
    pixels = _find_inner_pixels(_paint_labels(drawing, site_keys, scale))
    return {
        site_key: QPointF((column + 0.5) / scale + frame.x() - 1, (row + 0.5) / scale + frame.y() - 1)
        for number, site_key in enumerate(site_keys, start=1)
        if number in pixels
        for row, column in [pixels[number]]
    }


def _paint_labels(drawing: BodyDrawing, site_keys: list[SiteKey], scale: float) -> NDArray[np.int32]:
    """Return the number of the site at each pixel, int32 (row, column); 0 outside the body and in a margin of one unit.

    ``scale``: pixels per unit of the drawing.
    """
    frame = drawing.frame
    picture = QImage(int(frame.width() * scale) + 4, int(frame.height() * scale) + 4, QImage.Format.Format_RGB32)
    picture.fill(0)
    painter = QPainter(picture)
    painter.scale(scale, scale)
    painter.translate(1 - frame.x(), 1 - frame.y())
    for part in drawing.parts:
        painter.setClipPath(part.path)
        for region in reversed(part.regions):
            painter.fillPath(region.shape, QColor(site_keys.index(region.body_site) + 1))
    painter.end()
    return _read_pixels(picture)


def _read_pixels(picture: QImage) -> NDArray[np.int32]:
    """Return the painted numbers, int32 (row, column)."""
    bits = picture.constBits()
    if hasattr(bits, "setsize"):  # in PyQt
        bits.setsize(picture.sizeInBytes())
    colors = np.frombuffer(bits, np.uint32).reshape(picture.height(), picture.bytesPerLine() // 4)
    return (colors[:, : picture.width()] & 0xFFFFFF).astype(np.int32)


def _find_inner_pixels(labels: NDArray[np.int32]) -> dict[int, tuple[int, int]]:
    """Find a central pixel (row, column) that is well inside the area of each label.

    The areas are eroded step by step to get the distance of each pixel to the border.
    """
    distance, remaining = np.zeros(labels.shape, np.int32), labels > 0
    has_same_label = [
        labels[1:-1, 1:-1] == labels[1 + dy : dy - 1 or None, 1 + dx : dx - 1 or None] for dy, dx in NEIGHBOR_OFFSETS
    ]
    while remaining.any():
        distance[remaining] += 1
        inner = remaining[1:-1, 1:-1].copy()
        for is_same, (dy, dx) in zip(has_same_label, NEIGHBOR_OFFSETS, strict=True):
            inner &= is_same & remaining[1 + dy : dy - 1 or None, 1 + dx : dx - 1 or None]
        remaining = np.zeros_like(remaining)
        remaining[1:-1, 1:-1] = inner
    rows, columns = np.nonzero(labels)
    order = np.argsort(labels[rows, columns], kind="stable")
    numbers, starts = np.unique(labels[rows, columns][order], return_index=True)
    pixels = {}
    for number, indices in zip(numbers, np.split(order, starts[1:]), strict=True):
        distances = distance[rows[indices], columns[indices]]
        inside = indices[distances >= INSIDE_SHARE * distances.max()]
        from_center = (rows[inside] - rows[inside].mean()) ** 2 + (columns[inside] - columns[inside].mean()) ** 2
        central = inside[np.argmin(from_center)]
        pixels[int(number)] = int(rows[central]), int(columns[central])
    return pixels
