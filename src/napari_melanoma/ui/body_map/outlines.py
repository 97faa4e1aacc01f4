"""Building blocks of the body map's drawings: curves, outlines of the body, and the classes of a drawing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QPainterPath, QTransform

from napari_melanoma.data.body_sites import LEFT, MIDLINE, RIGHT, SiteKey

Point = tuple[float, float]
Run = str | Sequence[Point]  # points of a smooth curve, also as in SVG: "0,0 10,2.5 20,0"
ROUNDNESS = 0.35  # length of a handle as a share of its segment; 1/3 gives the least curvature
MIRROR = QTransform.fromScale(-1, 1)
SiteShape = tuple[str, QPainterPath]  # a site and its shape before clipping


def curve(*runs: Run, closed: bool = True) -> QPainterPath:
    """Draw a curve through points, which is smooth within a run and has corners between runs.

    At each point, the tangent of the cubic curve is parallel to the line between the neighboring points, as in Catmull
    and Rom (1974). The length of a handle depends only on the distance to the next point, which avoids overshooting
    between close points.
    """
    pieces = [parse_points(run) for run in runs]
    first = pieces[0]
    path = QPainterPath(QPointF(*first[0]))
    if len(pieces) == 1 and closed:
        _append_curves(path, [first[-1], *first, first[0], first[1]])
    else:
        for number, points in enumerate(pieces):
            if number:
                path.lineTo(QPointF(*points[0]))
            _append_curves(path, [points[0], *points, points[-1]])
    if closed:
        path.closeSubpath()
    return path


def parse_points(run: Run) -> list[Point]:
    """Return the points of a run."""
    if isinstance(run, str):
        return [(float(x), float(y)) for x, y in (point.split(",") for point in run.split())]
    return list(run)


def _append_curves(path: QPainterPath, points: Sequence[Point]) -> None:
    """Append smooth curves from the second point to the last but one; the outer points only set tangents."""
    for before, start, end, after in zip(points, points[1:], points[2:], points[3:], strict=False):
        length = math.dist(start, end)
        leaving = _find_handle(before, end, length)
        arriving = _find_handle(start, after, length)
        path.cubicTo(
            QPointF(start[0] + leaving[0], start[1] + leaving[1]),
            QPointF(end[0] - arriving[0], end[1] - arriving[1]),
            QPointF(*end),
        )


def _find_handle(before: Point, after: Point, length: float) -> Point:
    """Return the handle (x, y) at the point between two neighbors, for a segment of some length."""
    distance = math.dist(before, after)
    share = ROUNDNESS * length / distance if distance else 0.0
    return share * (after[0] - before[0]), share * (after[1] - before[1])


def capsule(start: Point, end: Point, widths: Point) -> QPainterPath:
    """Draw a tapered shape with round ends, such as a finger; ``widths``: at its start and end."""
    offset = _relative_to_axis(start, end)
    first, last = widths[0] / 2, widths[1] / 2  # radii
    start_points = [offset(start, 0, first), offset(start, -first * 0.7, first * 0.7), offset(start, -first, 0)]
    start_points += [offset(start, -first * 0.7, -first * 0.7), offset(start, 0, -first)]
    end_points = [offset(end, 0, -last), offset(end, last * 0.7, -last * 0.7), offset(end, last, 0)]
    end_points += [offset(end, last * 0.7, last * 0.7), offset(end, 0, last)]
    return curve([*start_points, *end_points])


def unit_vector(start: Point, end: Point) -> Point:
    """Return the direction (x, y) from one point to another, of length 1."""
    length = math.dist(start, end)
    return (end[0] - start[0]) / length, (end[1] - start[1]) / length


def _relative_to_axis(start: Point, end: Point) -> Callable[[Point, float, float], Point]:
    """Return the function that moves a point by distances along an axis and across it."""
    x, y = unit_vector(start, end)
    return lambda point, along, across: (point[0] + along * x - across * y, point[1] + along * y + across * x)


def ellipse(center: Point, width: float, height: float) -> QPainterPath:
    """Draw an ellipse."""
    path = QPainterPath()
    path.addEllipse(QPointF(*center), width / 2, height / 2)
    return path


def mirror_path(path: QPainterPath) -> QPainterPath:
    """Mirror a path at the midline (x negated), and reverse it, so that its orientation does not change."""
    return MIRROR.map(path).toReversed()


def close_half_outline(half: Run) -> QPainterPath:
    """Draw a symmetric outline; ``half``: one half of it, which begins and ends on the midline."""
    points = parse_points(half)
    return curve(points[:-1] + [(-x, y) for x, y in reversed(points)][:-1])


def add_mirror_image(path: QPainterPath) -> QPainterPath:
    """Unite a shape and its mirror image."""
    return unite_paths(path, mirror_path(path))


def unite_paths(*paths: QPainterPath) -> QPainterPath:
    """Unite closed shapes; their outlines are kept, all with the same orientation."""
    whole = QPainterPath()
    whole.setFillRule(Qt.FillRule.WindingFill)
    for path in paths:
        whole.addPath(path if _is_clockwise(path) else path.toReversed())
    return whole


def draw_lines(*runs: Run) -> QPainterPath:
    """Draw several open curves."""
    whole = QPainterPath()
    for run in runs:
        whole.addPath(curve(run, closed=False))
    return whole


def _is_clockwise(path: QPainterPath) -> bool:
    elements = (path.elementAt(number) for number in range(path.elementCount()))
    points = [(element.x, element.y) for element in elements]  # including control points of curves
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise(points)) > 0


def limb_segment(start: Point, end: Point, half: float, bow: float = 0.0) -> QPainterPath:
    """Draw a segment of a limb between two cuts across its axis.

    ``half``: half the length of the cuts. ``bow``: how far the middle of each cut is moved along the axis.
    """
    offset = _relative_to_axis(start, end)
    first = [offset(start, 0, -half), offset(start, bow, 0), offset(start, 0, half)]
    last = [offset(end, 0, half), offset(end, bow, 0), offset(end, 0, -half)]
    return curve(first, last)


_HEAD = "0,0 7,0.9 13.2,4.6 17.3,11 18.9,19.5 18.5,29 17.3,37 14.6,44.5 10.2,50.6 5,54.2 0,55"
_OCCIPUT = "0,0 7,0.9 13.2,4.6 17.3,11 18.9,19.5 18.5,29 17,37 14,42.6 10.6,45.6 5.6,46.9 0,47.2"
_EAR = "17.8,25.2 19.8,22.9 21.7,23.8 21.9,28 20.6,32.8 19,35.8 17.4,35"
_NECK = "0,46 11.2,46"
_ARM_OUTSIDE = (
    "11.2,46 10.7,54 12,60.6 17.6,65.4 26.4,68.8 36,71.8 43.8,76.8 49,85.6 51.4,96.6 53.4,108 57,120 60.2,132.5 "
    "61.6,143.5 63.4,152.4 67.6,162.6 70.9,175 73.8,189 76,201.6 78.2,208"
)
_PALM = "78.2,208 82.4,216 85.6,225.4 84,231.5 72.6,232.6"
_PALM_INSIDE = "71,231 68.2,224 66.4,215 66.4,206.4"
_ARM_INSIDE = "66.4,206.4 62.4,194.4 56.4,181 52,169 49.4,157 46.8,147 42,133.6 37.8,119.4 35.4,106.6"
_SIDE = (
    "35.4,106.6 34.9,112.6 33.5,123 31,136.6 28.8,149 28,158.4 29.2,169 32,181 34.9,194 36.7,207.4 36.9,221 "
    "35.6,241 33,263 30.6,279.4 29.2,290 29,300 30.6,311.6 31.6,325 30.2,343 27.4,360 25.7,372 26.7,379.4 "
    "26.6,384.6"
)
_LEG_INSIDE = (
    "16.3,386 15.6,380 16.7,372 15.2,358.6 12,341 10.7,325 11.6,311.4 12.2,299.6 11,289 9,275 6,256 3.5,236 "
    "1.8,220 0,210.5"
)
_FINGERS = (
    ((81.9, 225.6), (88.6, 243.4), (4.7, 3.5)),
    ((78.9, 227.6), (84.2, 248.6), (4.7, 3.5)),
    ((75.5, 228.4), (79.2, 248), (4.5, 3.4)),
    ((72.2, 226.6), (74.4, 242.4), (4.1, 3.1)),
)
_THUMB = ((79.4, 211), (92.4, 228.8), (6.2, 4))


def head_outline() -> QPainterPath:
    """Draw the head without ears from the front."""
    return close_half_outline(_HEAD)


def occiput_outline() -> QPainterPath:
    """Draw the head from behind, where the neck hides the chin."""
    return close_half_outline(_OCCIPUT)


def ear_outline() -> QPainterPath:
    """Draw an ear at positive x; the head covers a part of it."""
    return curve(_EAR)


def finger_outlines() -> list[QPainterPath]:
    """Draw thumb and fingers at positive x; their roots lie in the palm."""
    return [capsule(*finger) for finger in (*_FINGERS, _THUMB)]


def trunk_outline(foot: str) -> QPainterPath:
    """Draw the symmetric outline of the body without head, fingers and toes; ``foot``: the points of one foot."""
    leg = f"{_SIDE} {foot} {_LEG_INSIDE}"
    right = [parse_points(run) for run in (_NECK, _ARM_OUTSIDE, _PALM, _PALM_INSIDE, _ARM_INSIDE, leg)]
    left = [[(-x, y) for x, y in reversed(run)] for run in reversed(right)]
    return curve(*right, *left)


def body_edge(foot: str) -> QPainterPath:
    """Draw the edge of the body that is shaded, without the roots of the fingers and the neck under the head."""
    palm_edge = _PALM.rpartition(" ")[0]  # without the point at the fingers
    return add_mirror_image(
        draw_lines(_ARM_OUTSIDE, palm_edge, f"{_PALM_INSIDE} {_ARM_INSIDE}", f"{_SIDE} {foot} {_LEG_INSIDE}")
    )


@dataclass(frozen=True)
class BodyRegion:
    """A site on one side of the body.

    The region is the part of ``shape`` that lies within its body part and is not covered by previous regions.
    """

    site: str
    laterality: str
    shape: QPainterPath

    @property
    def body_site(self) -> SiteKey:
        """Site and laterality."""
        return self.site, self.laterality


@dataclass(frozen=True)
class BodyPart:
    """A part of a drawing, such as the head.

    ``path``: its outline. ``regions``: its sites; a point belongs to the first region that contains it. ``shade``: the
    edge that is shaded.
    """

    path: QPainterPath
    regions: tuple[BodyRegion, ...]
    shade: QPainterPath

    def find_region(self, point: QPointF) -> BodyRegion | None:
        """Return the region at a point; None if the point is outside."""
        if not self.path.contains(point):
            return None
        return next((region for region in self.regions if region.shape.contains(point)), None)

    def transformed(self, transform: QTransform) -> BodyPart:
        """Return the part after a transform."""
        regions = tuple(replace(region, shape=transform.map(region.shape)) for region in self.regions)
        return BodyPart(transform.map(self.path), regions, transform.map(self.shade))


@dataclass(frozen=True)
class BodyDrawing:
    """One view of the body, or a detail of it.

    ``parts``: from back to front. ``lines``: strong lines, such as eyelids. ``creases``: faint lines, such as those of
    the palm. ``sides``: the sides of the patient on the left and on the right of the drawing; empty if none is marked.
    """

    name: str
    title: str
    parts: tuple[BodyPart, ...]
    lines: QPainterPath
    creases: QPainterPath
    sides: tuple[str, str] | tuple[()] = ("right", "left")
    is_detail: bool = True

    def transformed(self, transform: QTransform) -> BodyDrawing:
        """Return the drawing after a transform."""
        parts = tuple(part.transformed(transform) for part in self.parts)
        return replace(self, parts=parts, lines=transform.map(self.lines), creases=transform.map(self.creases))

    @cached_property
    def frame(self) -> QRectF:
        """The bounding rectangle."""
        frame = QRectF()
        for part in self.parts:
            frame = frame.united(part.path.boundingRect())
        return frame

    @property
    def regions(self) -> Iterator[BodyRegion]:
        """The regions of all parts."""
        return (region for part in self.parts for region in part.regions)

    def find_region(self, point: QPointF) -> BodyRegion | None:
        """Return the region at a point; None if the point is outside."""
        regions = (part.find_region(point) for part in reversed(self.parts))
        return next((region for region in regions if region is not None), None)


def midline_regions(*shapes: SiteShape) -> list[BodyRegion]:
    """Create regions on the midline."""
    return [BodyRegion(site, MIDLINE, shape) for site, shape in shapes]


def paired_regions(shapes: Sequence[SiteShape], positive: str) -> list[BodyRegion]:
    """Create regions of one side, followed by their mirror images; ``positive``: the laterality at positive x."""
    negative = RIGHT if positive == LEFT else LEFT
    return [BodyRegion(site, positive, shape) for site, shape in shapes] + [
        BodyRegion(site, negative, mirror_path(shape)) for site, shape in shapes
    ]
