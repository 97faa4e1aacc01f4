"""The body chart: the drawings of the SVG file as paths of Qt, which are painted, clicked and reached by keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import inf
from xml.etree.ElementTree import Element

from qtpy.QtCore import QPointF, QRectF, QSizeF, Qt
from qtpy.QtGui import QPainterPath

from napari_melanoma.data.body_sites import MIDLINE, SiteKey
from napari_melanoma.reports.body_map import HEIGHT, WHOLE_BODY, WIDTH, Point, SiteSpot, read_drawings, read_spots

# Half the width of the midline, as a share of the drawing's width: for a drawing of the whole body, and for a detail
MIDLINE_SHARES = (0.02, 0.08)
COMMANDS = {"M": "moveTo", "L": "lineTo", "C": "cubicTo"}  # of a path in SVG
NO_SITE: SiteKey = ("", "")
# Unpaired sites that are so broad that a click also sets the side
BROAD_SITES = ("scalp", "forehead", "face", "lip", "chin", "nape")


@dataclass(frozen=True)
class BodyRegion:
    """A site on one side of the body: the part of ``shape`` that later regions, and other parts, do not cover."""

    site: str
    side: str
    shape: QPainterPath


@dataclass(frozen=True)
class BodyPart:
    """A part of a drawing, such as the head: its outline, its sites, and the edge that is shaded."""

    path: QPainterPath
    regions: tuple[BodyRegion, ...]
    shade: QPainterPath

    def find_region(self, point: QPointF) -> BodyRegion | None:
        """Return the region at a point; None if the point is outside."""
        if not self.path.contains(point):
            return None
        return next((region for region in reversed(self.regions) if region.shape.contains(point)), None)


@dataclass(frozen=True)
class DrawnText:
    """A text: the center of its baseline, and the size of its letters."""

    text: str
    x: float
    y: float
    size: float


@dataclass(frozen=True)
class BodyDrawing:
    """One view of the body, or a detail of it.

    ``parts``: from back to front. ``lines``: strong lines, such as eyelids. ``creases``: faint lines, such as those of
    the palm. ``sides``: the sides of the patient on the left and on the right of the drawing; empty if none is marked.
    """

    name: str
    sides: tuple[str, ...]
    texts: tuple[DrawnText, ...]
    parts: tuple[BodyPart, ...]
    lines: QPainterPath
    creases: QPainterPath

    @property
    def is_detail(self) -> bool:
        return self.name not in WHOLE_BODY

    @cached_property
    def frame(self) -> QRectF:
        frame = QRectF()
        for part in self.parts:
            frame = frame.united(part.path.boundingRect())
        return frame

    def find_region(self, point: QPointF) -> BodyRegion | None:
        """Return the region at a point; None if the point is outside."""
        regions = (part.find_region(point) for part in reversed(self.parts))
        return next((region for region in regions if region is not None), None)

    def find_side(self, point: QPointF) -> str:
        """Return the laterality of a point."""
        offset = (point.x() - self.frame.center().x()) / self.frame.width()
        if abs(offset) < MIDLINE_SHARES[self.is_detail] or not self.sides:
            return MIDLINE
        return self.sides[int(offset > 0)]


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
    """The drawings; at full size, one unit is one pixel."""

    drawings: tuple[BodyDrawing, ...]
    size: QSizeF

    def fit(self, width: float, height: float) -> ChartTransform:
        """Return the transform that fits the chart into a widget; ``width``, ``height``: in pixels."""
        scale = max(min(width / self.size.width(), height / self.size.height()), 1e-3)
        size = self.size * scale
        return ChartTransform(scale, QPointF((width - size.width()) / 2, (height - size.height()) / 2))

    def find_spot(self, point: QPointF) -> SiteSpot | None:
        """Return the spot at a point of the chart; None outside the body.

        In a broad unpaired site, the spot has the laterality of the point.
        """
        for drawing in self.drawings:
            region = drawing.find_region(point) if drawing.frame.contains(point) else None
            if region is not None:
                spot = read_spots()[drawing.name, region.site, region.side]
                return spot._replace(side=drawing.find_side(point)) if region.site in BROAD_SITES else spot
        return None

    def find_neighbor(self, spot: SiteSpot, direction: Point) -> SiteSpot:
        """Return the nearest spot in a direction, or the same spot if there is none; lateral distance counts twice.

        ``direction``: a unit vector (x, y).
        """

        def distance(other: SiteSpot) -> float:
            x, y = other.x - spot.x, other.y - spot.y
            forward = x * direction[0] + y * direction[1]
            lateral = abs(x * direction[1]) + abs(y * direction[0])
            return forward + 2 * lateral if forward > 0.5 and lateral < 3 * forward else inf

        nearest = min(read_spots().values(), key=distance)
        return nearest if distance(nearest) < inf else spot


@lru_cache(maxsize=1)
def get_chart() -> BodyChart:
    """Return the chart, which is read once.

    QSvgRenderer would paint the file, but not clip sites at the edge of the body, and it has no shapes for clicks.
    """
    return BodyChart(tuple(_read_drawing(drawing) for drawing in read_drawings()), QSizeF(WIDTH, HEIGHT))


def _read_drawing(drawing: Element) -> BodyDrawing:
    return BodyDrawing(
        name=drawing.attrib["id"],
        sides=tuple(drawing.get("data-sides", "").split()),
        texts=tuple(
            DrawnText(text.text or "", *(float(text.attrib[name]) for name in ("x", "y", "font-size")))
            for group in drawing.iterfind("g[@class='name']")
            for text in group
        ),
        parts=tuple(
            BodyPart(
                read_path(clip.find("path")),
                tuple(
                    BodyRegion(shape.attrib["data-site"], shape.attrib["data-side"], read_path(shape))
                    for shape in part.iterfind("path[@data-site]")
                ),
                read_path(part.find("path[@class='shade']")),
            )
            for clip, part in zip(drawing.iterfind("clipPath"), drawing.iterfind("g[@clip-path]"), strict=True)
        ),
        lines=read_path(drawing.find("path[@class='line']")),
        creases=read_path(drawing.find("path[@class='crease']")),
    )


def read_path(element: Element | None) -> QPainterPath:
    """Return the path of an element with the absolute commands M, L and C; empty without an element."""
    path = QPainterPath()
    path.setFillRule(Qt.FillRule.WindingFill)
    if element is not None:
        for command, text in re.findall(r"([MLC])([^MLC]+)", element.attrib["d"]):
            numbers = [float(number) for number in text.split()]
            points = [QPointF(x, y) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
            getattr(path, COMMANDS[command])(*points)
    return path
