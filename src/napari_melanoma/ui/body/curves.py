"""Smooth outlines through a few points, and capsules: what a drawing is made of, without knowing what it shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QPainterPath, QTransform

Point = tuple[float, float]
Run = str | Sequence[Point]  # points as SVG writes them: "0,0 10,2.5 20,0"
ROUNDNESS = 0.35  # a third would be the least bent curve
MIRROR = QTransform.fromScale(-1, 1)


def curve(*runs: Run, closed: bool = True) -> QPainterPath:
    """Draw a curve through points: smooth within a run, with a corner where one run ends and the next begins.

    Cubic curves that run at each point as the line between its neighbours does, after Catmull and Rom (1974); how far
    depends on the distance to the next point alone, so that nothing overshoots where points lie close.
    """
    pieces = [points_of(run) for run in runs]
    first = pieces[0]
    path = QPainterPath(QPointF(*first[0]))
    if len(pieces) == 1 and closed:
        _follow(path, [first[-1], *first, first[0], first[1]])
    else:
        for number, points in enumerate(pieces):
            if number:
                path.lineTo(QPointF(*points[0]))
            _follow(path, [points[0], *points, points[-1]])
    if closed:
        path.closeSubpath()
    return path


def points_of(run: Run) -> list[Point]:
    """Give the points of a run.

    In their order.
    """
    if isinstance(run, str):
        return [(float(x), float(y)) for x, y in (point.split(",") for point in run.split())]
    return list(run)


def _follow(path: QPainterPath, points: Sequence[Point]) -> None:
    """Go on from the second of some points to the last but one."""
    for before, start, end, after in zip(points, points[1:], points[2:], points[3:], strict=False):
        length = math.dist(start, end)
        leaving = _tangent(before, start, end, length)
        arriving = _tangent(start, end, after, length)
        path.cubicTo(
            QPointF(start[0] + leaving[0], start[1] + leaving[1]),
            QPointF(end[0] - arriving[0], end[1] - arriving[1]),
            QPointF(*end),
        )


def _tangent(before: Point, at: Point, after: Point, length: float) -> Point:
    """Give the handle of a curve at a point, for a segment of some length; at an end it points along the segment."""
    across = math.dist(before, after)
    share = ROUNDNESS * length / across if across else 0.0
    return share * (after[0] - before[0]), share * (after[1] - before[1])


def capsule(start: Point, end: Point, widths: Point) -> QPainterPath:
    """Draw a tapered shape with round ends, such as a finger."""
    length = math.dist(start, end)
    along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
    across = (-along[1], along[0])

    def at(origin: Point, forward: float, aside: float) -> Point:
        return (
            origin[0] + forward * along[0] + aside * across[0],
            origin[1] + forward * along[1] + aside * across[1],
        )

    first, last = widths[0] / 2, widths[1] / 2
    near = [at(start, 0, first), at(start, -first * 0.7, first * 0.7), at(start, -first, 0)]
    near += [at(start, -first * 0.7, -first * 0.7), at(start, 0, -first)]
    far = [at(end, 0, -last), at(end, last * 0.7, -last * 0.7), at(end, last, 0)]
    far += [at(end, last * 0.7, last * 0.7), at(end, 0, last)]
    return curve([*near, *far])


def oval(centre: Point, width: float, height: float) -> QPainterPath:
    """Draw an ellipse."""
    path = QPainterPath()
    path.addEllipse(QPointF(*centre), width / 2, height / 2)
    return path


def mirrored(path: QPainterPath) -> QPainterPath:
    """Give the mirror image on the other side of the midline.

    With each x negated; runs the other way round, so that what was drawn clockwise is so again.
    """
    return MIRROR.map(path).toReversed()


def both_halves(half: Run) -> QPainterPath:
    """Close half an outline that begins and ends on the midline."""
    points = points_of(half)
    return curve(points[:-1] + [(-x, y) for x, y in reversed(points)][:-1])


def symmetrical(path: QPainterPath) -> QPainterPath:
    """Put a shape and its mirror image together."""
    return together(path, mirrored(path))


def together(*paths: QPainterPath) -> QPainterPath:
    """Put closed shapes into one that covers what any of them covers.

    Holds the outlines as they are, all drawn in one direction.
    """
    whole = QPainterPath()
    whole.setFillRule(Qt.FillRule.WindingFill)
    for path in paths:
        whole.addPath(path if _is_clockwise(path) else path.toReversed())
    return whole


def lines(*runs: Run) -> QPainterPath:
    """Draw several open curves."""
    whole = QPainterPath()
    for run in runs:
        whole.addPath(curve(run, closed=False))
    return whole


def _is_clockwise(path: QPainterPath) -> bool:
    elements = (path.elementAt(number) for number in range(path.elementCount()))
    points = [(element.x, element.y) for element in elements]  # of the curves too: near enough to tell
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise(points)) > 0


def sleeve(start: Point, end: Point, half: float, bow: float = 0.0) -> QPainterPath:
    """Draw a piece of a limb: what lies between two cuts across its axis."""
    length = math.dist(start, end)
    along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)

    def at(origin: Point, forward: float, aside: float) -> Point:
        return origin[0] + forward * along[0] - aside * along[1], origin[1] + forward * along[1] + aside * along[0]

    first = [at(start, 0, -half), at(start, bow, 0), at(start, 0, half)]
    last = [at(end, 0, half), at(end, bow, 0), at(end, 0, -half)]
    return curve(first, last)
