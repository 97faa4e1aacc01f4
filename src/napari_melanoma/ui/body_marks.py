"""Numbered marks on the chart: where each stands, so that several at one site can all be read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from napari_melanoma.ui.body_curves import Point

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

    Parameters
    ----------
    places : sequence of (x, y)
        Where they should be; several may be the same.
    distance : float
        The least between two.

    Returns
    -------
    list of (x, y)
        In the same order; always the same for the same places.
    """
    points = [_beside(place, places[:number].count(place), distance) for number, place in enumerate(places)]
    for turn in range(ROUNDS):
        moved = False
        if turn < ROUNDS // 2:
            points = [_toward(point, place) for point, place in zip(points, places, strict=True)]
        for one in range(len(points)):
            for other in range(one):
                gap = math.dist(points[one], points[other])
                if gap < distance - 1e-6:
                    points[one], points[other] = _apart(points[one], points[other], distance, gap)
                    moved = True
        if not moved:
            break
    return points


def _beside(place: Point, number: int, distance: float) -> Point:
    """Start the second, third ... mark of one place on a spiral of seeds round it."""
    reach = 0.5 * distance * math.sqrt(number)
    return place[0] + reach * math.cos(number * GOLDEN_ANGLE), place[1] + reach * math.sin(number * GOLDEN_ANGLE)


def _toward(point: Point, place: Point) -> Point:
    return point[0] + PULL * (place[0] - point[0]), point[1] + PULL * (place[1] - point[1])


def _apart(one: Point, other: Point, distance: float, gap: float) -> tuple[Point, Point]:
    """Push two points away from each other."""
    push = (distance - gap) / 2
    across = ((one[0] - other[0]) / gap, (one[1] - other[1]) / gap) if gap else (1.0, 0.0)
    return (
        (one[0] + push * across[0], one[1] + push * across[1]),
        (other[0] - push * across[0], other[1] - push * across[1]),
    )
