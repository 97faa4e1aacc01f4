"""The chart: all drawings on one sheet, which site is where on it, and where a mark for a site stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import inf

from qtpy.QtCore import QPointF, QRectF, QSizeF
from qtpy.QtGui import QTransform

from napari_melanoma.data.taxonomy import UNKNOWN
from napari_melanoma.ui.body.anchors import anchors
from napari_melanoma.ui.body.back import back
from napari_melanoma.ui.body.curves import Point
from napari_melanoma.ui.body.front import front
from napari_melanoma.ui.body.head import face, mouth
from napari_melanoma.ui.body.limbs import hands, soles, toes
from napari_melanoma.ui.body.parts import LEFT, MIDLINE, RIGHT, Drawing, Place, Region
from napari_melanoma.ui.body.words import ALWAYS_MIDDLE, BROAD, WHOLE_REGIONS

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
