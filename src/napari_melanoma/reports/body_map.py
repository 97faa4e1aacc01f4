"""The body map of a report: the drawings of the Case dock as SVG, with lesions as numbered marks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from napari_melanoma.core.parsing import read_json
from napari_melanoma.data.body_sites import SiteKey, site_title
from napari_melanoma.data.taxonomy import UNKNOWN

CHART_FILE = Path(__file__).with_name("body_map.json")  # written by scripts/body_map_svg.py
MARK_SIZE = 15.0  # diameter, in units of the chart
BODY_HEIGHT = 372.0  # height of the chart without the enlarged details below the body
MAX_ROUNDS = 60  # of moving marks apart
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
PULL_SHARE = 0.06  # pull towards the original position in each round, to limit the displacement
Point = tuple[float, float]


@dataclass(frozen=True)
class SiteMark:
    """A lesion on the body map: its number, the word of its site, and its side."""

    label: str
    word: str
    laterality: str

    @property
    def title(self) -> str:
        """The site in words."""
        return site_title(self.word, self.laterality)


class MarkSpot(NamedTuple):
    """Where the mark of a site is: name of the drawing, region (site and side), and position in units of the chart."""

    drawing: str
    site: str
    side: str
    x: float
    y: float


@dataclass(frozen=True)
class PlacedMark:
    """A mark with the name of its drawing, its region there, and its position."""

    mark: SiteMark
    drawing: str
    region: SiteKey
    position: Point


@dataclass(frozen=True)
class BodyMap:
    """The body with marks. Lesions without a known site are only in the caption."""

    kind: ClassVar[str] = "body_map"
    marks: tuple[SiteMark, ...]

    @cached_property
    def placed(self) -> tuple[PlacedMark, ...]:
        """The marks with a known site, moved apart if they would cover each other."""
        spots = [(mark, spot) for mark in self.marks if (spot := find_spot(mark.word, mark.laterality))]
        points = spread_points([(spot.x, spot.y) for _, spot in spots], MARK_SIZE)
        return tuple(
            PlacedMark(mark, spot.drawing, (spot.site, spot.side), point)
            for (mark, spot), point in zip(spots, points, strict=True)
        )

    @property
    def caption(self) -> str:
        """The lesions with their sites in words."""
        listed = "; ".join(f"{mark.label} {mark.title}" for mark in self.marks)
        shown = {one.mark for one in self.placed}
        missing = ", ".join(mark.label for mark in self.marks if mark not in shown)
        return f"Lesions: {listed}." + (f" Not on the map: {missing}." if missing else "")

    @property
    def drawings(self) -> list[dict[str, Any]]:
        """The drawings to show: the whole body, and the details if a lesion is marked in one of them."""
        every: list[dict[str, Any]] = read_chart()["drawings"]
        marked = {one.drawing for one in self.placed}
        if any(one["is_detail"] and one["name"] in marked for one in every):
            return every
        return [one for one in every if not one["is_detail"]]

    @property
    def width(self) -> float:
        """The width of the chart."""
        return float(read_chart()["size"][0])

    @property
    def height(self) -> float:
        """The height of the part of the chart that is shown."""
        return float(read_chart()["size"][1]) if len(self.drawings) > 2 else BODY_HEIGHT

    def marked_regions(self, drawing: str) -> set[SiteKey]:
        """Return the regions of a drawing with a lesion."""
        return {one.region for one in self.placed if one.drawing == drawing}

    @staticmethod
    def is_marked(part: dict[str, Any], marked: set[SiteKey]) -> bool:
        """Return whether a part of a drawing contains a marked region."""
        return any((site, side) in marked for site, side, _ in part["regions"])


@cache
def read_chart() -> dict[str, Any]:
    """Read the drawings, and the spots of the marks: lists of word, side, and the fields of ``MarkSpot``."""
    chart: dict[str, Any] = read_json(CHART_FILE)
    return chart


def find_spot(word: str, laterality: str) -> MarkSpot | None:
    """Find where the mark of a site is; None if the chart has no single spot for it."""
    side = "" if laterality == UNKNOWN else laterality
    return next((MarkSpot(*spot[2:]) for spot in read_chart()["marks"] if spot[:2] == [word, side]), None)


def spread_points(positions: Sequence[Point], distance: float) -> list[Point]:
    """Move points apart until all have a minimum distance, if possible; deterministic, and in the same order."""
    points = [
        _start_on_spiral(position, positions[:number].count(position), distance)
        for number, position in enumerate(positions)
    ]
    for round_number in range(MAX_ROUNDS):
        if round_number < MAX_ROUNDS // 2:
            points = [_pull_toward(point, position) for point, position in zip(points, positions, strict=True)]
        close = [
            (first, second)
            for first, second in _close_pairs(points, distance)
            if _are_too_close(points, first, second, distance)
        ]
        for first, second in close:
            points[first], points[second] = _push_apart(points[first], points[second], distance)
        if not close:
            break
    return points


def _close_pairs(points: Sequence[Point], distance: float) -> Iterator[tuple[int, int]]:
    """Yield pairs that may be too close: those in the same or adjacent cells of a grid."""
    squares: dict[tuple[int, int], list[int]] = {}
    for number, (x, y) in enumerate(points):
        column, row = int(x // distance), int(y // distance)
        for column_offset in (-1, 0, 1):
            for row_offset in (-1, 0, 1):
                neighbors = squares.get((column + column_offset, row + row_offset), ())
                yield from ((number, other) for other in neighbors)
        squares.setdefault((column, row), []).append(number)


def _are_too_close(points: Sequence[Point], first: int, second: int, distance: float) -> bool:
    return math.dist(points[first], points[second]) < distance - 1e-6


def _start_on_spiral(position: Point, number: int, distance: float) -> Point:
    """Return where a mark starts: marks of the same position are put on a spiral around it, in their order."""
    reach = 0.5 * distance * math.sqrt(number)
    return position[0] + reach * math.cos(number * GOLDEN_ANGLE), position[1] + reach * math.sin(number * GOLDEN_ANGLE)


def _pull_toward(point: Point, position: Point) -> Point:
    return point[0] + PULL_SHARE * (position[0] - point[0]), point[1] + PULL_SHARE * (position[1] - point[1])


def _push_apart(first: Point, second: Point, distance: float) -> tuple[Point, Point]:
    """Move two points apart if they are too close."""
    gap = math.dist(first, second)
    push = max(0.0, distance - gap) / 2
    across = ((first[0] - second[0]) / gap, (first[1] - second[1]) / gap) if gap else (1.0, 0.0)
    return (
        (first[0] + push * across[0], first[1] + push * across[1]),
        (second[0] - push * across[0], second[1] - push * across[1]),
    )


SVG = """{% macro show_body(one) %}<svg viewBox="0 0 {{ one.width }} {{ one.height }}" role="img" aria-label="{{
one.caption }}" font-family="sans-serif" text-anchor="middle">
{% for drawing in one.drawings %}{% set marked = one.marked_regions(drawing.name) %}{% set f = drawing.frame %}
{% set high = f[1] - (7 if drawing.is_detail else 6) %}<g class="name" fill="#5c6269" font-size="{{
8 if drawing.is_detail else 10 }}"><text x="{{ f[0] + f[2] / 2 }}" y="{{ high }}">{{ drawing.title }}</text>
{% if drawing.sides %}{% for side in drawing.sides %}<text x="{{ f[0] + (0.08 + 0.84 * loop.index0) * f[2] }}" y="{{
high if drawing.is_detail else f[1] + 8 }}">{{ side[0]|upper if drawing.is_detail else side }}</text>
{% endfor %}{% endif %}</g>
{% for part in drawing.parts %}
<path class="edge skin" d="{{ part.outline }}" fill="#f6f3f0" stroke="#565d67" stroke-width="1.2"/>
{% if one.is_marked(part, marked) %}
{% for region in part.regions|reverse %}<path class="{{ "site" if (region[0], region[1]) in marked else "skin" }}" d="{{
region[2] }}" fill="{{ "#9dc3e8" if (region[0], region[1]) in marked else "#f6f3f0" }}"/>
{% endfor %}<path class="edge" d="{{ part.outline }}" fill="none" stroke="#565d67" stroke-width="1.2"/>
{% endif %}{% endfor %}
{% if drawing.creases %}
<path class="crease" d="{{ drawing.creases }}" fill="none" stroke="#c9bfb8" stroke-width="0.9"/>
{% endif %}{% if drawing.lines %}
<path class="line" d="{{ drawing.lines }}" fill="none" stroke="#454b54" stroke-width="0.65"/>
{% endif %}
{% endfor %}
{% for placed in one.placed %}<circle cx="{{ placed.position[0]|round(1) }}" cy="{{ placed.position[1]|round(1) }}"
r="6.8" fill="#e69f00" stroke="#1c1300" stroke-width="1"/><text x="{{ placed.position[0]|round(1) }}" y="{{
placed.position[1]|round(1) + 3 }}" font-size="{{ 8.5 if placed.mark.label|length < 3 else 6.5 }}" font-weight="bold"
fill="#1c1300">{{ placed.mark.label }}</text>
{% endfor %}</svg>{% endmacro %}
"""
