"""Differences with their 95 % intervals, one below the other on one axis, as such figures are read everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFont, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QWidget

from napari_melanoma.ui.look import ThemedIcons, named

if TYPE_CHECKING:
    from napari_melanoma.analysis.statistics import Estimate

ROW_PX, MARGIN_PX = 36, 4  # the margin that napari's labels have
LEAST_SPAN = 0.02  # an axis that shows less would make much of nothing
BETTER, WORSE = ("#56b4e9", "#0066a8"), ("#e69f00", "#b35c00")  # on dark, on light; of Okabe and Ito


@dataclass(frozen=True)
class Change:
    """One row: what it is about, the two means, and the difference."""

    name: str
    old: float
    new: float
    difference: Estimate

    @property
    def said(self) -> str:
        """Old and new, in words."""
        return f"{self.old:.3f} → {self.new:.3f}"

    @property
    def said_difference(self) -> str:
        """The difference with its interval, in words."""
        return said_interval(self.difference)


def said_interval(difference: Estimate) -> str:
    """Say a difference with its interval.

    Such as ``+0.021 (+0.008 to +0.034)``; without the interval where there is none, as of one image.
    """
    if not math.isfinite(difference.mean):
        return "–"
    if difference.count == 1 or not (math.isfinite(difference.low) and math.isfinite(difference.high)):
        return f"{difference.mean:+.3f}"
    return f"{difference.mean:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


class Forest(QWidget):
    """A row a data set: its name and means above, its interval and the difference in words below."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "gate_forest", "Differences by data set", "Point: difference; line: its 95 % interval")
        self._icons = icons
        self.changes: tuple[Change, ...] = ()
        icons.changed.connect(self.update)

    def show_changes(self, changes: Sequence[Change]) -> None:
        """Show differences."""
        self.changes = tuple(changes)
        self.setFixedHeight(ROW_PX * len(self.changes))
        self.setAccessibleDescription("; ".join(f"{c.name}: {c.said}, {c.said_difference}" for c in self.changes))
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Want the width of a dock."""
        return QSize(300, ROW_PX * len(self.changes))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw the rows."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        low, high = _axis(self.changes)
        font = QFont(self.font())
        font.setBold(True)
        painter.setFont(font)
        widest = max((painter.fontMetrics().horizontalAdvance(c.said_difference) for c in self.changes), default=0)
        for row, change in enumerate(self.changes):
            font.setBold(row == 0)
            painter.setFont(font)
            place = QRectF(MARGIN_PX, row * ROW_PX, self.width() - 2 * MARGIN_PX, ROW_PX)
            self._draw_words(painter, place, change)
            axis = QRectF(MARGIN_PX, place.center().y(), max(40.0, place.width() - widest - 12), ROW_PX / 2)
            self._draw_interval(painter, axis, change.difference, (low, high))

    def _draw_words(self, painter: QPainter, place: QRectF, change: Change) -> None:
        right, left = Qt.AlignmentFlag.AlignRight, Qt.AlignmentFlag.AlignLeft
        middle = Qt.AlignmentFlag.AlignVCenter
        upper, lower = QRectF(place), QRectF(place)
        upper.setHeight(ROW_PX / 2)
        lower.setTop(place.center().y())
        painter.setPen(QColor(self._icons.palette.text))
        painter.drawText(upper, right | middle, change.said)
        room = int(place.width() - painter.fontMetrics().horizontalAdvance(change.said) - 10)
        name = painter.fontMetrics().elidedText(change.name, Qt.TextElideMode.ElideRight, room)
        painter.drawText(upper, left | middle, name)
        painter.drawText(lower, right | middle, change.said_difference)

    def _draw_interval(self, painter: QPainter, axis: QRectF, change: Estimate, ends: tuple[float, float]) -> None:
        """Draw the axis with its zero, the interval, and the point; grey where zero lies within."""
        colours = self._icons.palette

        def at(value: float) -> QPointF:
            share = (value - ends[0]) / (ends[1] - ends[0])
            return QPointF(axis.left() + share * axis.width(), axis.center().y())

        zero = at(0.0).x()
        painter.setPen(QPen(QColor(colours.highlight), 1))
        painter.drawLine(QPointF(axis.left(), axis.center().y()), QPointF(axis.right(), axis.center().y()))
        painter.setPen(QPen(QColor(colours.text), 1, Qt.PenStyle.DotLine))
        painter.drawLine(QPointF(zero, axis.top() + 1), QPointF(zero, axis.bottom() - 1))
        if not math.isfinite(change.mean):
            return
        colour = QColor(interval_colour(change, colours.dark) or colours.faint)
        painter.setPen(QPen(colour, 3))
        if math.isfinite(change.low) and math.isfinite(change.high):
            painter.drawLine(at(change.low), at(change.high))
        painter.setBrush(colour)
        painter.drawEllipse(at(change.mean), 3, 3)


def interval_colour(change: Estimate, dark: bool) -> str:
    """Give the colour of a difference that is not nothing.

    Returns as ``#rrggbb``; empty where the interval holds zero, or there is none because it is of one image.
    """
    if change.count == 1:
        return ""
    if change.low > 0:
        return BETTER[0] if dark else BETTER[1]
    if change.high < 0:
        return WORSE[0] if dark else WORSE[1]
    return ""


def _axis(changes: Sequence[Change]) -> tuple[float, float]:
    """Give the ends of an axis that holds all intervals and zero, with a margin."""
    values = [0.0] + [v for c in changes for v in (c.difference.low, c.difference.high, c.difference.mean)]
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known), max(known)
    missing = max(0.0, LEAST_SPAN - (high - low)) / 2
    margin = 0.06 * (high - low + 2 * missing)
    return low - missing - margin, high + missing + margin
