"""The chart of the body: its sites, their marks and their names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import inf

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSizeF
from qtpy.QtGui import QColor, QImage, QPainter, QTransform

from napari_melanoma.data.taxonomy import UNKNOWN, taxonomy
from napari_melanoma.ui.body_map.back import back
from napari_melanoma.ui.body_map.front import front
from napari_melanoma.ui.body_map.head import face, mouth
from napari_melanoma.ui.body_map.limbs import hands, soles, toes
from napari_melanoma.ui.body_map.outlines import LEFT, MIDLINE, RIGHT, Drawing, Place, Point, Region

WIDTH, HEIGHT = 340.0, 516.0
# Of the width of a drawing, for a whole body and for a detail: how far the middle reaches, and where a side is meant.
MIDDLE, ASIDE = (0.02, 0.08), (0.045, 0.18)
PREFERRED = (
    "face",
    "mouth",
    "hands",
    "front",
    "back",
    "soles",
    "toes",
)  # where a mark goes whose site is in several drawings


@dataclass(frozen=True)
class Spot:
    """A region in one of the drawings of the sheet."""

    drawing: str
    region: Region
    anchor: QPointF

    @property
    def place(self) -> Place:
        """Site and laterality."""
        return self.region.place

    def on(self, laterality: str) -> Spot:
        """Give the same spot, said to be on a side."""
        return replace(self, region=replace(self.region, laterality=laterality))


@dataclass(frozen=True)
class Fit:
    """How the sheet lies in a widget: in its middle, as large as it can be."""

    scale: float
    corner: QPointF

    def to_sheet(self, point: QPointF) -> QPointF:
        """Say where on the sheet a point of the widget is.

        ``point``: in pixels.
        """
        return (point - self.corner) * (1 / self.scale)

    def to_widget(self, point: QPointF) -> QPointF:
        """Say where in the widget a point of the sheet is.

        In pixels.
        """
        return point * self.scale + self.corner


@dataclass(frozen=True)
class Chart:
    """Drawings on a sheet, in its own units: at full size one is a pixel."""

    drawings: tuple[Drawing, ...]
    size: QSizeF

    def fit(self, width: float, height: float) -> Fit:
        """Fit the sheet into a widget.

        ``width``, ``height``: in pixels.
        """
        scale = max(min(width / self.size.width(), height / self.size.height()), 1e-3)
        size = self.size * scale
        return Fit(scale, QPointF((width - size.width()) / 2, (height - size.height()) / 2))

    def at(self, point: QPointF) -> Spot | None:
        """Say what is at a point.

        None where there is no body. A broad site that a body has once is left or right where the point is.
        """
        for drawing in self.drawings:
            region = drawing.at(point) if drawing.frame.contains(point) else None
            if region is not None:
                spot = self.spots[drawing.name, *region.place]
                return spot.on(_side(drawing, point)) if region.site in BROAD else spot
        return None

    def spot_of(self, site: str, laterality: str) -> Spot | None:
        """Say where a mark for a place stands.

        None where the place is not known well enough, such as an arm of which nobody says which.
        """
        word = WHOLE_REGIONS.get(site, site)
        side = MIDLINE if laterality in ("", UNKNOWN) else laterality
        found = [self.spots.get((name, word, side)) for name in PREFERRED]
        if word in ALWAYS_MIDDLE and laterality in (LEFT, RIGHT):
            found += [self._aside((name, word, MIDLINE), laterality) for name in PREFERRED]
        return next((spot for spot in found if spot is not None), None)

    def _aside(self, key: tuple[str, str, str], laterality: str) -> Spot | None:
        """A site of the midline, with its anchor on one side where it reaches so far."""
        spot = self.spots.get(key)
        if spot is None:
            return None
        drawing = next(each for each in self.drawings if each.name == spot.drawing)
        step = ASIDE[drawing.is_detail] * drawing.frame.width() * (1 if drawing.sides[1:] == (laterality,) else -1)
        points = (QPointF(spot.anchor.x() + share * step, spot.anchor.y()) for share in (1.0, 0.5))
        reached = (point for point in points if (there := drawing.at(point)) and there.place == spot.place)
        return replace(spot, anchor=next(reached, spot.anchor)).on(laterality)

    def beside(self, spot: Spot, direction: Point) -> Spot:
        """Go from one region to the next.

        Returns the nearest that lies that way, counting twice what it lies aside; the same one where there is none.
        """

        def far(other: Spot) -> float:
            away = other.anchor - spot.anchor
            ahead = away.x() * direction[0] + away.y() * direction[1]
            aside = abs(away.x() * direction[1]) + abs(away.y() * direction[0])
            return ahead + 2 * aside if ahead > 0.5 and aside < 3 * ahead else inf

        nearest = min(self.spots.values(), key=far)
        return nearest if far(nearest) < inf else spot

    @cached_property
    def spots(self) -> dict[tuple[str, str, str], Spot]:
        """Each region: by drawing, site and laterality."""
        return {(spot.drawing, *spot.place): spot for drawing in self.drawings for spot in _spots(drawing)}


@lru_cache(maxsize=1)
def chart() -> Chart:
    """Lay the sheet out."""
    rooms = (
        (front(), QRectF(4, 20, 160, 350)),
        (back(), QRectF(176, 20, 160, 350)),
        (face(), QRectF(4, 396, 88, 116)),
        (toes(), QRectF(95, 396, 42, 44)),
        (mouth(), QRectF(94, 472, 40, 28)),
        (hands(), QRectF(142, 396, 108, 98)),
        (soles(), QRectF(262, 396, 74, 98)),
    )
    return Chart(tuple(_fitted(drawing, room) for drawing, room in rooms), QSizeF(WIDTH, HEIGHT))


def _side(drawing: Drawing, point: QPointF) -> str:
    """On which side of the patient a point is."""
    away = (point.x() - drawing.frame.center().x()) / drawing.frame.width()
    if abs(away) < MIDDLE[drawing.is_detail] or not drawing.sides:
        return MIDLINE
    return drawing.sides[int(away > 0)]


def _fitted(drawing: Drawing, room: QRectF) -> Drawing:
    """Scale a drawing into a rectangle, at the top and in the middle of it."""
    frame = drawing.frame
    scale = min(room.width() / frame.width(), room.height() / frame.height())
    by = QTransform.fromTranslate(room.center().x(), room.y()).scale(scale, scale)
    by.translate(-frame.center().x(), -frame.y())
    return drawing.moved(by)


def _spots(drawing: Drawing) -> Iterator[Spot]:
    """Give the regions of a drawing, each once."""
    first = {region.place: region for region in reversed(list(drawing.regions))}
    for place, anchor in anchors(drawing).items():
        yield Spot(drawing.name, first[place], anchor)


DEEP = 0.75  # of the most that a point of a region is away from its border: well inside
NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def anchors(drawing: Drawing) -> dict[Place, QPointF]:
    """Find a point in each site of a drawing.

    Site and laterality to a point in the coordinates of the drawing, in the middle of what is well inside; in the order
    in which the sites are drawn.
    """
    scale = 2.0 if drawing.is_detail else 1.0  # pixels for a unit of the sheet: details have small sites
    frame = drawing.frame
    places = list(dict.fromkeys(region.place for region in drawing.regions))
    found = _deepest(_painted(drawing, places, scale))
    return {
        place: QPointF((column + 0.5) / scale + frame.x() - 1, (row + 0.5) / scale + frame.y() - 1)
        for number, place in enumerate(places, start=1)
        if number in found
        for row, column in [found[number]]
    }


def _painted(drawing: Drawing, places: list[Place], scale: float) -> NDArray[np.int32]:
    """Paint the number of its place, counted from 1, into each pixel; a margin of one unit is 0: (row, column)."""
    frame = drawing.frame
    picture = QImage(int(frame.width() * scale) + 4, int(frame.height() * scale) + 4, QImage.Format.Format_RGB32)
    picture.fill(0)
    painter = QPainter(picture)
    painter.scale(scale, scale)
    painter.translate(1 - frame.x(), 1 - frame.y())
    for part in drawing.parts:
        painter.setClipPath(part.path)
        for region in reversed(part.regions):
            painter.fillPath(region.shape, QColor(places.index(region.place) + 1))
    painter.end()
    return _pixels(picture)


def _pixels(picture: QImage) -> NDArray[np.int32]:
    """The numbers that were painted: (row, column)."""
    bits = picture.constBits()
    if hasattr(bits, "setsize"):
        bits.setsize(picture.sizeInBytes())
    words = np.frombuffer(bits, np.uint32).reshape(picture.height(), picture.bytesPerLine() // 4)
    return (words[:, : picture.width()] & 0xFFFFFF).astype(np.int32)


def _deepest(labels: NDArray[np.int32]) -> dict[int, tuple[int, int]]:
    """Give for each label a pixel well inside, near the middle of such: (row, column)."""
    depth, kept = np.zeros(labels.shape, np.int32), labels > 0
    same = [labels[1:-1, 1:-1] == labels[1 + a : a - 1 or None, 1 + b : b - 1 or None] for a, b in NEIGHBOURS]
    while kept.any():
        depth[kept] += 1
        inner = kept[1:-1, 1:-1].copy()
        for alike, (a, b) in zip(same, NEIGHBOURS, strict=True):
            inner &= alike & kept[1 + a : a - 1 or None, 1 + b : b - 1 or None]
        kept = np.zeros_like(kept)
        kept[1:-1, 1:-1] = inner
    rows, columns = np.nonzero(labels)
    order = np.argsort(labels[rows, columns], kind="stable")
    numbers, starts = np.unique(labels[rows, columns][order], return_index=True)
    found = {}
    for number, mine in zip(numbers, np.split(order, starts[1:]), strict=True):
        depths = depth[rows[mine], columns[mine]]
        inside = mine[depths >= DEEP * depths.max()]
        away = (rows[inside] - rows[inside].mean()) ** 2 + (columns[inside] - columns[inside].mean()) ** 2
        nearest = inside[np.argmin(away)]
        found[int(number)] = int(rows[nearest]), int(columns[nearest])
    return found


NOWHERE: Place = ("", "")
# Sites of which a body has one; where they are broad, a click says on which side it was.
ALWAYS_MIDDLE = ("scalp", "forehead", "face", "nose", "lip", "chin", "nape", "mouth", "genital", "perianal")
BROAD = ("scalp", "forehead", "face", "lip", "chin", "nape")
# What a mark for a whole region is put beside; the others are in too many places for that.
WHOLE_REGIONS = {
    "head/neck": "face",
    "upper extremity": "upper arm",
    "lower extremity": "thigh",
    "anterior torso": "chest",
    "posterior torso": "upper back",
    "lateral torso": "flank",
}


def words() -> tuple[str, ...]:
    """Give every word for a place: each body site with the places within it after it."""
    sites, within = taxonomy("site"), taxonomy("sub_site")
    return tuple(
        word
        for site in sites.words
        if site != UNKNOWN
        for word in (site, *(place for place in within.words if within.parent(place) == site))
    )


def columns_of(word: str) -> tuple[str, str]:
    """Say what stands in the table for a place.

    Cells of ``site`` and ``sub_site``; "" where nothing is known.
    """
    within = taxonomy("sub_site")
    if word in within.words and word != UNKNOWN:
        return within.parent(word), word
    return ("", "") if word == UNKNOWN else (word, "")


def word_of(site: str, sub_site: str) -> str:
    """Say which place the cells of a table mean.

    Returns the narrower of the two; "" where neither is known.
    """
    return next((word for word in (sub_site, site) if word not in ("", UNKNOWN)), "")


def title(word: str, laterality: str = "") -> str:
    """Say a place as people do.

    Such as ``Left forearm`` or ``Chest, midline``.
    """
    if word in ("", UNKNOWN):
        return "Site unknown"
    words = next((known for name in ("sub_site", "site") if word in (known := taxonomy(name)).words), None)
    said = words.title(word) if words else word
    if laterality in (LEFT, RIGHT):
        return f"{laterality.capitalize()} {said[0].lower()}{said[1:]}"
    return f"{said}, midline" if laterality == MIDLINE and word not in ALWAYS_MIDDLE else said


def is_within(place: Place, whole: Place) -> bool:
    """Tell whether a place of the chart is one that was chosen, or belongs to it.

    False for what is not known.
    """
    (word, laterality), (wanted, side) = place, whole
    one_sided = side not in ("", UNKNOWN) and word not in ALWAYS_MIDDLE
    if wanted in ("", UNKNOWN) or (one_sided and side != laterality):
        return False
    site = taxonomy("sub_site").parent(word)
    return wanted == word or taxonomy("site").within(site, wanted)
