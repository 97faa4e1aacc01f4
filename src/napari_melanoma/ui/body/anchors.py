"""Where a mark for a site stands: a point well inside what is seen of it, found by painting the sites as numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF
from qtpy.QtGui import QColor, QImage, QPainter

from napari_melanoma.ui.body.parts import Drawing, Place

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
