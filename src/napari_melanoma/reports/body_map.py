"""The body map: its drawings, which are an SVG file, where lesions are marked on them, and the map of a report."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple
from xml.etree import ElementTree

from napari_melanoma.data.body_sites import LEFT, MIDLINE, MIDLINE_SITES, RIGHT, SiteKey, site_title
from napari_melanoma.data.taxonomy import UNKNOWN
from napari_melanoma.figures.page import render_html

if TYPE_CHECKING:
    from markupsafe import Markup

SVG_FILE = Path(__file__).with_name("body_map.svg")
WIDTH, HEIGHT = 340.0, 516.0
WHOLE_BODY, BODY_HEIGHT = ("front", "back"), 372.0  # drawings, and height without the enlarged details below them
# A lesion is marked in the first of these drawings that contains its site
DRAWING_PREFERENCE = ("face", "mouth", "hands", "front", "back", "soles", "toes")
# The site at which a lesion is marked if only the region is known; other regions contain too many sites
REGION_SITES = {
    "head/neck": "face",
    "upper extremity": "upper arm",
    "lower extremity": "thigh",
    "anterior torso": "chest",
    "posterior torso": "upper back",
    "lateral torso": "flank",
}
SITE_COLOR = "#9dc3e8"  # of sites with a lesion
MARK_SIZE = 15.0  # diameter, in units of the chart
MAX_ROUNDS = 60  # of moving marks apart
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
PULL_SHARE = 0.06  # pull towards the original position in each round, to limit the displacement
Point = tuple[float, float]


def read_drawings() -> ElementTree.Element:
    """Return the SVG file as a new tree, whose children are the drawings; tags are without namespace."""
    root = ElementTree.parse(SVG_FILE).getroot()
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


class SiteSpot(NamedTuple):
    """A site on one side in a drawing, and where lesions of it are marked, in units of the chart."""

    drawing: str
    site: str
    side: str
    x: float
    y: float

    @property
    def body_site(self) -> SiteKey:
        return self.site, self.side


@cache
def read_spots(attribute: str = "data-mark") -> dict[tuple[str, str, str], SiteSpot]:
    """Return the sites of the drawings, by drawing, site and side.

    ``attribute``: the position of the mark; ``data-left`` and ``data-right`` are those on one side of an unpaired site.
    """
    spots = {}
    for drawing in read_drawings():
        for shape in drawing.iterfind(f".//path[@{attribute}]"):
            key = drawing.attrib["id"], shape.attrib["data-site"], shape.attrib["data-side"]
            x, y = map(float, shape.attrib[attribute].split())
            spots[key] = SiteSpot(*key, x, y)
    return spots


def find_spot(word: str, laterality: str) -> SiteSpot | None:
    """Find where lesions of a site are marked; None if it is ambiguous, such as for an arm of unknown side."""
    site = REGION_SITES.get(word, word)
    side = MIDLINE if laterality in ("", UNKNOWN) else laterality
    spots = [read_spots().get((name, site, side)) for name in DRAWING_PREFERENCE]
    if side in (LEFT, RIGHT):
        spots += [read_spots(f"data-{side}").get((name, site, MIDLINE)) for name in DRAWING_PREFERENCE]
    return next((spot._replace(side=side) for spot in spots if spot is not None), None)


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


@dataclass(frozen=True)
class BodyMap:
    """The body with marks. Lesions without a known site are only in the caption."""

    kind: ClassVar[str] = "drawing"
    marks: tuple[SiteMark, ...]

    @cached_property
    def spots(self) -> list[tuple[SiteMark, SiteSpot]]:
        """The marks with a known site, and where it is."""
        return [(mark, spot) for mark in self.marks if (spot := find_spot(mark.word, mark.laterality))]

    @property
    def placed(self) -> list[tuple[str, Point]]:
        """The labels and positions of the marks, moved apart if they would cover each other."""
        points = spread_points([(spot.x, spot.y) for _, spot in self.spots], MARK_SIZE)
        return [(mark.label, point) for (mark, _), point in zip(self.spots, points, strict=True)]

    @property
    def caption(self) -> str:
        listed = "; ".join(f"{mark.label} {mark.title}" for mark in self.marks)
        shown = {mark for mark, _ in self.spots}
        missing = ", ".join(mark.label for mark in self.marks if mark not in shown)
        return f"Lesions: {listed}." + (f" Not on the map: {missing}." if missing else "")

    @property
    def has_details(self) -> bool:
        """Whether the details below the body are shown, which is so if a lesion is marked in one of them."""
        return any(spot.drawing not in WHOLE_BODY for _, spot in self.spots)

    def to_svg(self, number: int) -> Markup:
        """Return the map with its marks; ``number``: of the map on the page, for unique ids."""
        from markupsafe import Markup

        drawings = Markup(re.sub(r'( id="|href="#|url\(#)', rf"\g<1>map{number}-", self.drawings))
        height = HEIGHT if self.has_details else BODY_HEIGHT
        return Markup(render_html(SVG, one=self, drawings=drawings, width=WIDTH, height=height))

    @property
    def drawings(self) -> str:
        """The drawings as SVG, with colored sites of lesions; other sites are left out where none is marked."""
        root = read_drawings()
        # A mark on one side of an unpaired site belongs to the only shape of that site.
        marked = {
            (spot.drawing, spot.site, MIDLINE if spot.site in MIDLINE_SITES else spot.side) for _, spot in self.spots
        }
        for drawing in list(root):
            name = drawing.attrib["id"]
            if name not in WHOLE_BODY and not self.has_details:
                root.remove(drawing)
            for part in drawing.iterfind("g[@clip-path]"):
                sites = part.findall("path[@data-site]")
                found = [one for one in sites if (name, one.get("data-site"), one.get("data-side")) in marked]
                for shape in list(part):
                    if not found or shape not in sites:
                        part.remove(shape)
                for shape in found:
                    shape.attrib.update({"class": "site", "fill": SITE_COLOR})
        return "".join(ElementTree.tostring(drawing, encoding="unicode") for drawing in root)


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


SVG = """<svg viewBox="0 0 {{ width }} {{ height }}" role="img" aria-label="{{ one.caption }}" font-family="sans-serif"
text-anchor="middle">
{{ drawings }}
{% for label, (x, y) in one.placed %}<circle cx="{{ x|round(1) }}" cy="{{ y|round(1) }}" r="6.8" fill="#e69f00"
stroke="#1c1300" stroke-width="1"/><text x="{{ x|round(1) }}" y="{{ y|round(1) + 3 }}" font-size="{{
8.5 if label|length < 3 else 6.5 }}" font-weight="bold" fill="#1c1300">{{ label }}</text>
{% endfor %}</svg>"""
