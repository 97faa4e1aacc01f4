"""The body chart: its sites, the positions of their marks, and their names."""

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
# Shares of a drawing's width, for a whole body and for a detail: half width of the midline, and offset of a side.
MIDLINE_SHARES, SIDE_SHARES = (0.02, 0.08), (0.045, 0.18)
# The drawing for the mark of a site that is in several drawings
DRAWING_PREFERENCE = (
    "face",
    "mouth",
    "hands",
    "front",
    "back",
    "soles",
    "toes",
)
INSIDE_SHARE = 0.75  # of the largest distance to the border in a region; points beyond it count as well inside
NEIGHBOR_OFFSETS = ((0, 1), (0, -1), (1, 0), (-1, 0))
NO_SITE: SiteKey = ("", "")
# Unpaired sites for which a click also sets the side
BROAD_SITES = ("scalp", "forehead", "face", "lip", "chin", "nape")
# The site where a whole region is marked; other regions are spread over too many sites.
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
    """A region in one of the drawings of the chart."""

    drawing: str
    region: BodyRegion
    anchor: QPointF

    @property
    def body_site(self) -> SiteKey:
        """Site and laterality."""
        return self.region.body_site

    def with_laterality(self, laterality: str) -> ChartSpot:
        """Return the same spot with another laterality."""
        return replace(self, region=replace(self.region, laterality=laterality))


@dataclass(frozen=True)
class ChartTransform:
    """The transform between chart and widget; the chart is centered and as large as possible."""

    scale: float
    corner: QPointF

    def to_sheet(self, point: QPointF) -> QPointF:
        """Convert a point in the widget, in pixels, to the chart."""
        return (point - self.corner) * (1 / self.scale)

    def to_widget(self, point: QPointF) -> QPointF:
        """Convert a point on the chart to the widget, in pixels."""
        return point * self.scale + self.corner


@dataclass(frozen=True)
class BodyChart:
    """The drawings of the chart; at full size, one unit is one pixel."""

    drawings: tuple[BodyDrawing, ...]
    size: QSizeF

    def fit(self, width: float, height: float) -> ChartTransform:
        """Fit the chart into a widget of a size in pixels."""
        scale = max(min(width / self.size.width(), height / self.size.height()), 1e-3)
        size = self.size * scale
        return ChartTransform(scale, QPointF((width - size.width()) / 2, (height - size.height()) / 2))

    def find_spot(self, point: QPointF) -> ChartSpot | None:
        """Return the site at a point; None outside of the body.

        An unpaired broad site gets the laterality of the point.
        """
        for drawing in self.drawings:
            region = drawing.find_region(point) if drawing.frame.contains(point) else None
            if region is not None:
                spot = self.spots[drawing.name, *region.body_site]
                return spot.with_laterality(_side(drawing, point)) if region.site in BROAD_SITES else spot
        return None

    def find_site(self, site: str, laterality: str) -> ChartSpot | None:
        """Return the spot for a mark of a site; None if the position is ambiguous, such as an arm of unknown side."""
        word = REGION_SITES.get(site, site)
        side = MIDLINE if laterality in ("", UNKNOWN) else laterality
        found = [self.spots.get((name, word, side)) for name in DRAWING_PREFERENCE]
        if word in MIDLINE_SITES and laterality in (LEFT, RIGHT):
            found += [self._spot_on_side((name, word, MIDLINE), laterality) for name in DRAWING_PREFERENCE]
        return next((spot for spot in found if spot is not None), None)

    def _spot_on_side(self, key: tuple[str, str, str], laterality: str) -> ChartSpot | None:
        """An unpaired site with its anchor on one side, if it extends that far."""
        spot = self.spots.get(key)
        if spot is None:
            return None
        drawing = next(each for each in self.drawings if each.name == spot.drawing)
        step = (
            SIDE_SHARES[drawing.is_detail] * drawing.frame.width() * (1 if drawing.sides[1:] == (laterality,) else -1)
        )
        points = (QPointF(spot.anchor.x() + share * step, spot.anchor.y()) for share in (1.0, 0.5))
        reached = (
            point for point in points if (region := drawing.find_region(point)) and region.body_site == spot.body_site
        )
        return replace(spot, anchor=next(reached, spot.anchor)).with_laterality(laterality)

    def find_neighbor(self, spot: ChartSpot, direction: Point) -> ChartSpot:
        """Return the nearest spot in a direction, counting lateral distance twice; the same one if there is none."""

        def distance(other: ChartSpot) -> float:
            away = other.anchor - spot.anchor
            ahead = away.x() * direction[0] + away.y() * direction[1]
            aside = abs(away.x() * direction[1]) + abs(away.y() * direction[0])
            return ahead + 2 * aside if ahead > 0.5 and aside < 3 * ahead else inf

        nearest = min(self.spots.values(), key=distance)
        return nearest if distance(nearest) < inf else spot

    @cached_property
    def spots(self) -> dict[tuple[str, str, str], ChartSpot]:
        """All regions by drawing, site and laterality."""
        return {(spot.drawing, *spot.body_site): spot for drawing in self.drawings for spot in _spots(drawing)}


@lru_cache(maxsize=1)
def get_chart() -> BodyChart:
    """Return the chart, with its drawings arranged."""
    rooms = (
        (draw_front(), QRectF(4, 20, 160, 350)),
        (draw_back(), QRectF(176, 20, 160, 350)),
        (draw_face(), QRectF(4, 396, 88, 116)),
        (draw_toes(), QRectF(95, 396, 42, 44)),
        (draw_mouth(), QRectF(94, 472, 40, 28)),
        (draw_hands(), QRectF(142, 396, 108, 98)),
        (draw_soles(), QRectF(262, 396, 74, 98)),
    )
    return BodyChart(tuple(_fit_drawing(drawing, room) for drawing, room in rooms), QSizeF(WIDTH, HEIGHT))


def _side(drawing: BodyDrawing, point: QPointF) -> str:
    """The side of the patient at a point."""
    away = (point.x() - drawing.frame.center().x()) / drawing.frame.width()
    if abs(away) < MIDLINE_SHARES[drawing.is_detail] or not drawing.sides:
        return MIDLINE
    return drawing.sides[int(away > 0)]


def _fit_drawing(drawing: BodyDrawing, room: QRectF) -> BodyDrawing:
    """Scale a drawing into a rectangle, aligned at the top center."""
    frame = drawing.frame
    scale = min(room.width() / frame.width(), room.height() / frame.height())
    by = QTransform.fromTranslate(room.center().x(), room.y()).scale(scale, scale)
    by.translate(-frame.center().x(), -frame.y())
    return drawing.transformed(by)


def _spots(drawing: BodyDrawing) -> Iterator[ChartSpot]:
    """Yield the sites of a drawing, each once."""
    first = {region.body_site: region for region in reversed(list(drawing.regions))}
    for site_key, anchor in find_anchors(drawing).items():
        yield ChartSpot(drawing.name, first[site_key], anchor)


def find_anchors(drawing: BodyDrawing) -> dict[SiteKey, QPointF]:
    """Find a point well inside each site of a drawing, in coordinates of the drawing and in drawing order."""
    scale = 2.0 if drawing.is_detail else 1.0  # pixels per unit; details have small sites
    frame = drawing.frame
    site_keys = list(dict.fromkeys(region.body_site for region in drawing.regions))
    found = _find_inner_pixels(_paint_labels(drawing, site_keys, scale))
    return {
        site_key: QPointF((column + 0.5) / scale + frame.x() - 1, (row + 0.5) / scale + frame.y() - 1)
        for number, site_key in enumerate(site_keys, start=1)
        if number in found
        for row, column in [found[number]]
    }


def _paint_labels(drawing: BodyDrawing, site_keys: list[SiteKey], scale: float) -> NDArray[np.int32]:
    """Paint the number of its site, from 1, into each pixel; a margin of one unit is 0: (row, column)."""
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
    return _pixels(picture)


def _pixels(picture: QImage) -> NDArray[np.int32]:
    """The painted numbers: (row, column)."""
    bits = picture.constBits()
    if hasattr(bits, "setsize"):
        bits.setsize(picture.sizeInBytes())
    words = np.frombuffer(bits, np.uint32).reshape(picture.height(), picture.bytesPerLine() // 4)
    return (words[:, : picture.width()] & 0xFFFFFF).astype(np.int32)


def _find_inner_pixels(labels: NDArray[np.int32]) -> dict[int, tuple[int, int]]:
    """Find a central pixel well inside each label: (row, column)."""
    depth, kept = np.zeros(labels.shape, np.int32), labels > 0
    same = [labels[1:-1, 1:-1] == labels[1 + a : a - 1 or None, 1 + b : b - 1 or None] for a, b in NEIGHBOR_OFFSETS]
    while kept.any():
        depth[kept] += 1
        inner = kept[1:-1, 1:-1].copy()
        for alike, (a, b) in zip(same, NEIGHBOR_OFFSETS, strict=True):
            inner &= alike & kept[1 + a : a - 1 or None, 1 + b : b - 1 or None]
        kept = np.zeros_like(kept)
        kept[1:-1, 1:-1] = inner
    rows, columns = np.nonzero(labels)
    order = np.argsort(labels[rows, columns], kind="stable")
    numbers, starts = np.unique(labels[rows, columns][order], return_index=True)
    found = {}
    for number, mine in zip(numbers, np.split(order, starts[1:]), strict=True):
        depths = depth[rows[mine], columns[mine]]
        inside = mine[depths >= INSIDE_SHARE * depths.max()]
        away = (rows[inside] - rows[inside].mean()) ** 2 + (columns[inside] - columns[inside].mean()) ** 2
        nearest = inside[np.argmin(away)]
        found[int(number)] = int(rows[nearest]), int(columns[nearest])
    return found
