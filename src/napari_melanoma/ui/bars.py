"""Rows of a name, a bar and a number, painted in the colours of the theme: probabilities, and what changes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QPointF, QRect, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFont, QHelpEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_melanoma.ui.look import named

if TYPE_CHECKING:
    from napari_melanoma.ui.look import Palette, ThemedIcons

ROW_PX, BAR_PX, GAP_PX = 22, 10, 8
INDENT_PX = 4  # as labels have it in both themes
NAME_SHARE, LEAST_BAR_PX = 0.42, 60
# Orange and blue of Okabe and Ito (2008), which colour-blind eyes tell apart; darker on light grey.
STRONG, USUAL = {True: "#e69f00", False: "#c46a00"}, {True: "#56b4e9", False: "#0072b2"}


@dataclass(frozen=True)
class Bar:
    """One row: a name, a bar from zero to ``value``, and a number in words.

    ``interval`` is drawn as a whisker, ``mark`` as a line across the row. ``strong`` is the row that the others are
    seen beside; a ``faint`` one counts less. A row without a value has no bar.
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
    def spoken(self) -> str:
        """The row for a screen reader."""
        return f"{self.name} {self.text}".strip()


class Bars(QWidget):
    """Paints rows on one scale."""

    def __init__(self, icons: ThemedIcons, name: str, spoken: str) -> None:
        super().__init__()
        named(self, name, spoken).setToolTip("")
        self._icons = icons
        self._low, self._high = 0.0, 1.0
        self.rows: tuple[Bar, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        icons.changed.connect(self.update)

    def show_rows(self, rows: Sequence[Bar], low: float = 0.0, high: float = 1.0) -> None:
        """Show other rows."""
        self.rows, self._low, self._high = tuple(rows), low, high
        self.setAccessibleDescription("; ".join(row.spoken for row in rows))
        self.setVisible(bool(rows))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Be as high as the rows."""
        return QSize(200, ROW_PX * len(self.rows))

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Be as high as the rows, and narrow where there is no room."""
        return QSize(120, ROW_PX * len(self.rows))

    def event(self, event: QEvent) -> bool:
        """Explain the row under the mouse."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            row = event.pos().y() // ROW_PX
            QToolTip.showText(event.globalPos(), self.rows[row].tip if 0 <= row < len(self.rows) else "", self)
            return True
        return super().event(event)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Paint the rows; names and numbers get what they need, bars what is left."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setOpacity(1.0 if self.isEnabled() else 0.55)
        metrics = painter.fontMetrics()
        numbers = max((metrics.horizontalAdvance(row.text) for row in self.rows), default=0)
        usual = painter.font()
        painter.setFont(_bold(usual))  # as which any name may be painted
        names = 1 + max((painter.fontMetrics().horizontalAdvance(row.name) for row in self.rows), default=0)  # rounded
        painter.setFont(usual)
        width = self.width() - INDENT_PX
        names = max(0, min(names, round(NAME_SHARE * width), width - numbers - LEAST_BAR_PX - 2 * GAP_PX))
        left = INDENT_PX + names + GAP_PX
        bar = QRectF(left, 0, self.width() - numbers - GAP_PX - left, ROW_PX)
        for place, row in enumerate(self.rows):
            bar.moveTop(place * ROW_PX)
            self._paint_row(painter, bar, row)

    def _paint_row(self, painter: QPainter, bar: QRectF, row: Bar) -> None:
        colours = self._icons.palette
        whole = QRect(INDENT_PX, round(bar.top()), self.width() - INDENT_PX, ROW_PX)
        middle, left, right = Qt.AlignmentFlag.AlignVCenter, Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        painter.setPen(QColor(colours.faint if row.faint else colours.text))
        usual = painter.font()
        painter.setFont(_bold(usual) if row.strong else usual)
        room = round(bar.left()) - GAP_PX - INDENT_PX
        name = painter.fontMetrics().elidedText(row.name, Qt.TextElideMode.ElideRight, room)
        painter.drawText(whole.adjusted(0, 0, room - whole.width() + 1, 0), int(left | middle), name)
        painter.setFont(usual)
        painter.drawText(whole, int(right | middle), row.text)
        if row.value is not None:
            self._paint_bar(painter, bar, row, colours)

    def _paint_bar(self, painter: QPainter, bar: QRectF, row: Bar, colours: Palette) -> None:
        """Paint the track, the bar, where the interval ends, and the mark."""

        def x(value: float) -> float:
            within = min(max(value, self._low), self._high)
            return bar.left() + bar.width() * (within - self._low) / (self._high - self._low)

        assert row.value is not None
        track = QRectF(bar.left(), bar.top() + (ROW_PX - BAR_PX) / 2, bar.width(), BAR_PX)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colours.raised))
        painter.drawRoundedRect(track, 2, 2)
        fill = QColor((STRONG if row.strong else USUAL)[colours.dark])
        fill.setAlphaF(0.45 if row.faint else 1.0)
        painter.setBrush(fill)
        painter.drawRoundedRect(QRectF(QPointF(x(0), track.top()), QPointF(x(row.value), track.bottom())), 2, 2)
        painter.setPen(QPen(QColor(colours.text), 1.4))
        if self._low < 0:
            painter.drawLine(QPointF(x(0), bar.top() + 3), QPointF(x(0), bar.bottom() - 3))
        if row.interval is not None:
            centre, (start, end) = bar.center().y(), (x(row.interval[0]), x(row.interval[1]))
            painter.drawLine(QPointF(start, centre), QPointF(end, centre))
            for edge in (start, end):
                painter.drawLine(QPointF(edge, centre - 4), QPointF(edge, centre + 4))
        if row.mark is not None:
            painter.setPen(QPen(QColor(colours.text), 1.4, Qt.PenStyle.DotLine))
            painter.drawLine(QPointF(x(row.mark), bar.top() + 1), QPointF(x(row.mark), bar.bottom() - 1))


def _bold(font: QFont) -> QFont:
    bold = QFont(font)
    bold.setBold(True)
    return bold
