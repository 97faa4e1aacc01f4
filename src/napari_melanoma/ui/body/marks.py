"""Numbered marks on the chart: where each stands, so that several at one site can all be read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from napari_melanoma.ui.body.curves import Point

ROUNDS = 60
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
PULL = 0.06  # back to its place, so that a mark goes no farther than it must


@dataclass(frozen=True)
class BodyMark:
    """A lesion on the chart: what names it to a program, what is written into its dot, where it is, and its tooltip."""

    identity: str
    label: str
    site: str
    laterality: str = ""
    title: str = ""


def spread(places: Sequence[Point], distance: float) -> list[Point]:
    """Move points apart until all are some distance from one another, each about where it was.

    In the same order; always the same for the same places.
    """
    points = [_beside(place, places[:number].count(place), distance) for number, place in enumerate(places)]
    for turn in range(ROUNDS):
        if turn < ROUNDS // 2:
            points = [_toward(point, place) for point, place in zip(points, places, strict=True)]
        close = [(one, other) for one, other in _neighbours(points, distance) if _near(points, one, other, distance)]
        for one, other in close:
            points[one], points[other] = _apart(points[one], points[other], distance)
        if not close:
            break
    return points


def _neighbours(points: Sequence[Point], distance: float) -> Iterator[tuple[int, int]]:
    """Give the pairs that may be too close: those in one square of a grid, or in squares side by side."""
    squares: dict[tuple[int, int], list[int]] = {}
    for number, (x, y) in enumerate(points):
        column, row = int(x // distance), int(y // distance)
        for aside in (-1, 0, 1):
            for below in (-1, 0, 1):
                yield from ((number, other) for other in squares.get((column + aside, row + below), ()))
        squares.setdefault((column, row), []).append(number)


def _near(points: Sequence[Point], one: int, other: int, distance: float) -> bool:
    return math.dist(points[one], points[other]) < distance - 1e-6


def _beside(place: Point, number: int, distance: float) -> Point:
    """Start the second, third ... mark of one place on a spiral of seeds round it."""
    reach = 0.5 * distance * math.sqrt(number)
    return place[0] + reach * math.cos(number * GOLDEN_ANGLE), place[1] + reach * math.sin(number * GOLDEN_ANGLE)


def _toward(point: Point, place: Point) -> Point:
    return point[0] + PULL * (place[0] - point[0]), point[1] + PULL * (place[1] - point[1])


def _apart(one: Point, other: Point, distance: float) -> tuple[Point, Point]:
    """Push two points away from each other, if they are still too close."""
    gap = math.dist(one, other)
    push = max(0.0, distance - gap) / 2
    across = ((one[0] - other[0]) / gap, (one[1] - other[1]) / gap) if gap else (1.0, 0.0)
    return (
        (one[0] + push * across[0], one[1] + push * across[1]),
        (other[0] - push * across[0], other[1] - push * across[1]),
    )
