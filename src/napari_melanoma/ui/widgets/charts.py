"""Bar charts and small curves in the colors of the theme."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from qtpy.QtCore import QEvent, QPointF, QRect, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFont, QHelpEvent, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_melanoma.ui.widgets.style import Palette, ThemedIcons, elide, named

ROW_PX, BAR_PX, GAP_PX = 22, 10, 8
CURVE_PX = 84  # height of a small curve
INDENT_PX = 4  # indent of labels in both themes
NAME_SHARE, MIN_BAR_PX = 0.62, 60  # maximum width of the names, as a share; minimum width of the bars
# Orange and blue of Okabe and Ito (2008), distinguishable with color blindness; by whether the theme is dark.
STRONG_COLORS, DEFAULT_COLORS = {True: "#e69f00", False: "#c46a00"}, {True: "#56b4e9", False: "#0072b2"}
MIN_CHANGE_SCALE = 0.02  # smallest scale of changes, so that a change of 0.01 does not look large


class Bar(NamedTuple):
    """One row of a bar chart: a name, a bar from zero to ``value``, and the value as text.

    ``interval`` is drawn as a whisker, ``mark`` as a line across the row. A ``strong`` row is emphasized, a ``faint``
    one is less important. A row without a value has no bar.
    """

    name: str
    text: str
    value: float | None = None
    interval: tuple[float, float] | None = None
    mark: float | None = None
    strong: bool = False
    faint: bool = False
    tip: str = ""

    @property
    def accessible_text(self) -> str:
        return f"{self.name} {self.text}".strip()


class BarChart(QWidget):
    """A horizontal bar chart with one scale."""

    def __init__(self, icons: ThemedIcons, name: str, accessible_name: str) -> None:
        super().__init__()
        named(self, name, accessible_name).setToolTip("")
        self._icons = icons
        self._low, self._high = 0.0, 1.0
        self.rows: tuple[Bar, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        icons.changed.connect(self.update)

    def show_rows(self, rows: Sequence[Bar], low: float = 0.0, high: float = 1.0) -> None:
        self.rows, self._low, self._high = tuple(rows), low, high
        self.setAccessibleDescription("; ".join(row.accessible_text for row in rows))
        self.setVisible(bool(rows))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Height of the rows."""
        return QSize(200, ROW_PX * len(self.rows))

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Height of the rows, at a small width."""
        return QSize(120, ROW_PX * len(self.rows))

    def event(self, event: QEvent) -> bool:
        """Show the tooltip of the row under the mouse."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            row = event.pos().y() // ROW_PX
            QToolTip.showText(event.globalPos(), self.rows[row].tip if 0 <= row < len(self.rows) else "", self)
            return True
        return super().event(event)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Paint the rows; the bars fill the width between names and numbers."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setOpacity(1.0 if self.isEnabled() else 0.55)
        metrics = painter.fontMetrics()
        text_px = max((metrics.horizontalAdvance(row.text) for row in self.rows), default=0)
        font = painter.font()
        painter.setFont(_bold(font))  # measured in bold, as any name may be bold
        name_px = 1 + max(
            (painter.fontMetrics().horizontalAdvance(row.name) for row in self.rows), default=0
        )  # rounding
        painter.setFont(font)
        width = self.width() - INDENT_PX
        name_px = max(0, min(name_px, round(NAME_SHARE * width), width - text_px - MIN_BAR_PX - 2 * GAP_PX))
        left = INDENT_PX + name_px + GAP_PX
        bar = QRectF(left, 0, self.width() - text_px - GAP_PX - left, ROW_PX)
        for index, row in enumerate(self.rows):
            bar.moveTop(index * ROW_PX)
            self._paint_row(painter, bar, row)

    def _paint_row(self, painter: QPainter, bar: QRectF, row: Bar) -> None:
        colors = self._icons.palette
        whole = QRect(INDENT_PX, round(bar.top()), self.width() - INDENT_PX, ROW_PX)
        middle, left, right = Qt.AlignmentFlag.AlignVCenter, Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        painter.setPen(QColor(colors.faint if row.faint else colors.text))
        font = painter.font()
        painter.setFont(_bold(font) if row.strong else font)
        name_px = round(bar.left()) - GAP_PX - INDENT_PX
        name = elide(painter.fontMetrics(), row.name, name_px)
        painter.drawText(whole.adjusted(0, 0, name_px - whole.width() + 1, 0), int(left | middle), name)
        painter.setFont(font)
        painter.drawText(whole, int(right | middle), row.text)
        if row.value is not None:
            self._paint_bar(painter, bar, row, colors)

    def _paint_bar(self, painter: QPainter, bar: QRectF, row: Bar, colors: Palette) -> None:
        """Paint the track, the bar, the interval and the mark."""

        def x(value: float) -> float:
            within = min(max(value, self._low), self._high)
            return bar.left() + bar.width() * (within - self._low) / (self._high - self._low)

        assert row.value is not None
        track = QRectF(bar.left(), bar.top() + (ROW_PX - BAR_PX) / 2, bar.width(), BAR_PX)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colors.raised))
        painter.drawRoundedRect(track, 2, 2)
        fill = QColor((STRONG_COLORS if row.strong else DEFAULT_COLORS)[colors.dark])
        fill.setAlphaF(0.45 if row.faint else 1.0)
        painter.setBrush(fill)
        ends = QRectF(QPointF(x(0), track.top()), QPointF(x(row.value), track.bottom()))
        painter.drawRoundedRect(ends.normalized(), 2, 2)  # Qt distorts the corners of a negative width
        painter.setPen(QPen(QColor(colors.text), 1.4))
        if self._low < 0:
            painter.drawLine(QPointF(x(0), bar.top() + 3), QPointF(x(0), bar.bottom() - 3))
        if row.interval is not None:
            center, (start, end) = bar.center().y(), (x(row.interval[0]), x(row.interval[1]))
            painter.drawLine(QPointF(start, center), QPointF(end, center))
            for edge in (start, end):
                painter.drawLine(QPointF(edge, center - 4), QPointF(edge, center + 4))
        if row.mark is not None:
            painter.setPen(QPen(QColor(colors.text), 1.4, Qt.PenStyle.DotLine))
            painter.drawLine(QPointF(x(row.mark), bar.top() + 1), QPointF(x(row.mark), bar.bottom() - 1))


def _bold(font: QFont) -> QFont:
    bold = QFont(font)
    bold.setBold(True)
    return bold


class CurvePoint(NamedTuple):
    """A point of a small curve: its position on the horizontal axis, its value, and the range of the value."""

    x: float
    value: float
    low: float
    high: float


class SmallCurve(QWidget):
    """A curve with a band, from 0 to 1, with its last value; for trends that fit in a dock."""

    def __init__(self, icons: ThemedIcons, name: str, accessible_name: str, axis: str) -> None:
        super().__init__()
        named(self, name, accessible_name)
        self._icons, self._axis = icons, axis
        self.points: tuple[CurvePoint, ...] = ()
        self.setFixedHeight(CURVE_PX)
        self.hide()
        icons.changed.connect(self.update)

    def show_points(self, points: Sequence[CurvePoint]) -> None:
        """Set the points, from left to right; fewer than two are not shown."""
        self.points = tuple(points)
        self.setVisible(len(points) > 1)
        self.setAccessibleDescription("; ".join(f"{point.x:g}: {point.value:.2f}" for point in points))
        self.setToolTip(f"{self.accessibleName()} ({self._axis}): {self.accessibleDescription()}")
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Paint the band, the curve, and the ends of the axes."""
        if len(self.points) < 2:
            return
        painter, colors = QPainter(self), self._icons.palette
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        line_px = painter.fontMetrics().height()
        area = QRectF(self.rect()).adjusted(INDENT_PX + 3 * BAR_PX, 4, -4 * BAR_PX, -line_px - 2)
        first, last = self.points[0].x, self.points[-1].x

        def at(x: float, value: float) -> QPointF:
            share = (x - first) / (last - first)
            return QPointF(area.left() + share * area.width(), area.bottom() - value * area.height())

        color = QColor(DEFAULT_COLORS[colors.dark])
        band = [at(point.x, point.low) for point in self.points] + [at(p.x, p.high) for p in reversed(self.points)]
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(color.red(), color.green(), color.blue(), 70))
        painter.drawPolygon(QPolygonF(band))
        painter.setPen(QPen(QColor(colors.raised), 1))
        for value in (0.0, 0.5, 1.0):
            painter.drawLine(at(first, value), at(last, value))
        painter.setPen(QPen(color, 2))
        painter.drawPolyline(QPolygonF([at(point.x, point.value) for point in self.points]))
        painter.setPen(QColor(colors.faint))
        for value in (0.0, 1.0):
            place = QRectF(INDENT_PX, at(first, value).y() - line_px / 2, 3 * BAR_PX - 6, line_px)
            painter.drawText(place, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), f"{value:g}")
        below = QRectF(area.left(), area.bottom() + 2, area.width(), line_px)
        for text, side in ((f"{first:g}", Qt.AlignmentFlag.AlignLeft), (f"{last:g}", Qt.AlignmentFlag.AlignRight)):
            painter.drawText(below, int(side), text)
        painter.drawText(below, int(Qt.AlignmentFlag.AlignHCenter), self._axis)
        painter.setPen(QColor(colors.text))
        end = at(last, self.points[-1].value)
        painter.drawText(QPointF(end.x() + 4, end.y() + line_px / 3), f"{self.points[-1].value:.2f}")
