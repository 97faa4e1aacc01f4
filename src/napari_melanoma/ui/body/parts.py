"""What a drawing of the body is: parts that lie over one another, each divided into sites, and fine lines on top.

Nothing is cut with geometry, which Qt does slowly: a site is a shape that may reach beyond its part and under the sites
before it, and painting and pointing both go by that order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from qtpy.QtCore import QPointF, QRectF
from qtpy.QtGui import QPainterPath, QTransform

from napari_melanoma.ui.body.curves import mirrored

LEFT, RIGHT, MIDLINE = "left", "right", "midline"
Place = tuple[str, str]  # a site and a laterality
Shape = tuple[str, QPainterPath]  # a site and what it is cut out with


@dataclass(frozen=True)
class Region:
    """A site of one side: what of its shape lies within the part and under no region before it."""

    site: str
    laterality: str
    shape: QPainterPath

    @property
    def place(self) -> Place:
        """Site and laterality."""
        return self.site, self.laterality


@dataclass(frozen=True)
class Part:
    """A piece of a drawing; the first region that holds a point counts, ``shade`` is the edge that is shaded."""

    path: QPainterPath
    regions: tuple[Region, ...]
    shade: QPainterPath

    def at(self, point: QPointF) -> Region | None:
        """Say which region is at a point.

        None where the point is outside.
        """
        if not self.path.contains(point):
            return None
        return next((region for region in self.regions if region.shape.contains(point)), None)

    def moved(self, by: QTransform) -> Part:
        """Give the same part elsewhere."""
        regions = tuple(replace(region, shape=by.map(region.shape)) for region in self.regions)
        return Part(by.map(self.path), regions, by.map(self.shade))


@dataclass(frozen=True)
class Drawing:
    """One view: parts from the back to the front, strong lines such as lids, and faint ones such as creases.

    ``sides`` says which side of the patient is on the left and on the right of the drawing.
    """

    name: str
    title: str
    parts: tuple[Part, ...]
    lines: QPainterPath
    creases: QPainterPath
    sides: tuple[str, str] | tuple[()] = ("right", "left")
    is_detail: bool = True

    def moved(self, by: QTransform) -> Drawing:
        """Give the same drawing elsewhere."""
        parts = tuple(part.moved(by) for part in self.parts)
        return replace(self, parts=parts, lines=by.map(self.lines), creases=by.map(self.creases))

    @cached_property
    def frame(self) -> QRectF:
        """The rectangle round it."""
        frame = QRectF()
        for part in self.parts:
            frame = frame.united(part.path.boundingRect())
        return frame

    @property
    def regions(self) -> Iterator[Region]:
        """Every region of every part."""
        return (region for part in self.parts for region in part.regions)

    def at(self, point: QPointF) -> Region | None:
        """Say which region is at a point.

        None where the point is outside.
        """
        found = (part.at(point) for part in reversed(self.parts))
        return next((region for region in found if region is not None), None)


def middle(*shapes: Shape) -> list[Region]:
    """Give regions of the midline.

    In their order.
    """
    return [Region(site, MIDLINE, shape) for site, shape in shapes]


def both_sides(shapes: Sequence[Shape], positive: str) -> list[Region]:
    """Give regions of one half, and their mirror images.

    First those of the half that was given.
    """
    negative = RIGHT if positive == LEFT else LEFT
    return [Region(site, positive, shape) for site, shape in shapes] + [
        Region(site, negative, mirrored(shape)) for site, shape in shapes
    ]
