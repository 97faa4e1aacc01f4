"""The chart of the body as a widget: pointing, clicking, moving between sites with the arrow keys, marks of lesions."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QEvent, QPointF, QSize, Qt, Signal
from qtpy.QtGui import QFocusEvent, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QResizeEvent
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_melanoma.ui.body.chart import Chart, Fit, Spot, chart
from napari_melanoma.ui.body.marks import BodyMark, spread
from napari_melanoma.ui.body.painting import ink, paint_cursor, paint_drawing, paint_mark, paint_words
from napari_melanoma.ui.body.parts import Place
from napari_melanoma.ui.body.words import NOWHERE, is_within, title
from napari_melanoma.ui.look import ThemedIcons, named

MARK_PX, MOST_MARK_PX = 15.0, 24.0  # across; grows less than the chart, for its number must be read on a small one
ARROWS: dict[Qt.Key, tuple[float, float]] = {
    Qt.Key.Key_Left: (-1, 0),
    Qt.Key.Key_Right: (1, 0),
    Qt.Key.Key_Up: (0, -1),
    Qt.Key.Key_Down: (0, 1),
}
CHOOSING = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space)


class BodyCanvas(QWidget):
    """Front, back and details of the body."""

    site_chosen = Signal(str, str)
    pointed = Signal(str, str)
    lesion_chosen = Signal(str)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "body_canvas", "Chart of the body: arrow keys move, Enter chooses").setToolTip("")
        self._icons = icons
        self._place: Place = NOWHERE
        self._pointed: Spot | None = None
        self._marks: dict[str, BodyMark] = {}
        self._current = ""
        self._placed: dict[str, QPointF] | None = None  # None: to be found anew
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        icons.changed.connect(self.update)

    @property
    def sheet(self) -> Chart:
        """What is drawn."""
        return chart()

    @property
    def mark_px(self) -> float:
        """How large a mark is drawn, in pixels across."""
        return min(MOST_MARK_PX, max(MARK_PX, MARK_PX * self._fit.scale**0.5))

    def set_place(self, place: Place) -> None:
        """Show which site is chosen; nothing is signalled."""
        self._place = place
        self.update()

    def set_marks(self, marks: Sequence[BodyMark], current: str) -> None:
        """Show marks."""
        self._marks = {mark.identity: mark for mark in marks}
        self._current = current
        self._placed = None
        self.update()

    def mark_places(self) -> dict[str, QPointF]:
        """Say where the marks stand.

        Identity to point in pixels of the widget; without those whose site is not on the chart.
        """
        if self._placed is None:
            self._placed = self._place_marks()
        return self._placed

    def _place_marks(self) -> dict[str, QPointF]:
        spots = {mark.identity: self.sheet.spot_of(mark.site, mark.laterality) for mark in self._marks.values()}
        found = {identity: self._fit.to_widget(spot.anchor) for identity, spot in spots.items() if spot is not None}
        points = spread([(point.x(), point.y()) for point in found.values()], self.mark_px)
        return {identity: QPointF(*point) for identity, point in zip(found, points, strict=True)}

    def place_of(self, spot: Spot) -> QPointF:
        """Say where a site is.

        A point well inside it, in pixels of the widget.
        """
        return self._fit.to_widget(spot.anchor)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Place the marks anew."""
        super().resizeEvent(event)
        self._placed = None

    def hasHeightForWidth(self) -> bool:  # noqa: N802 - Qt's name
        """Keep the chart's proportions."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802 - Qt's name
        """Keep the chart's proportions."""
        return round(width * self.sheet.size.height() / self.sheet.size.width())

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Want the width of a dock."""
        return self.sheet.size.toSize()

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Be readable."""
        return QSize(240, self.heightForWidth(240))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw the chart and the marks."""
        colours = ink(self._icons.palette)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.save()
        painter.translate(self._fit.corner)
        painter.scale(self._fit.scale, self._fit.scale)
        chosen = self._within(self._place)
        pointed = self._within(self._pointed.place if self._pointed else NOWHERE)
        for drawing in self.sheet.drawings:
            paint_drawing(painter, drawing, colours, chosen, pointed)
            paint_words(painter, drawing, colours)
        painter.restore()
        for identity, point in self.mark_places().items():
            paint_mark(painter, point, self.mark_px, self._marks[identity].label, colours, identity == self._current)
        if self.hasFocus() and self._pointed is not None:
            paint_cursor(painter, self.place_of(self._pointed), colours)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Show what is under the mouse."""
        self._point_at(self.sheet.at(self._fit.to_sheet(event.position())))
        clickable = self._pointed is not None or self._mark_at(event.position()) is not None
        self.setCursor(Qt.CursorShape.PointingHandCursor if clickable else Qt.CursorShape.ArrowCursor)

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Point at nothing."""
        super().leaveEvent(event)
        self._point_at(None)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Choose another lesion's mark, else the site that was clicked."""
        if event.button() != Qt.MouseButton.LeftButton:
            return
        mark = self._mark_at(event.position())
        spot = self.sheet.at(self._fit.to_sheet(event.position()))
        if mark is not None and mark.identity != self._current:  # the one at hand hides no site
            self.lesion_chosen.emit(mark.identity)
        elif spot is not None:
            self._choose(spot)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Move to the next site in a direction, or choose the one that is reached."""
        key = Qt.Key(event.key())
        if key in ARROWS:
            self._point_at(self.sheet.beside(self._start(), ARROWS[key]))
        elif key in CHOOSING and self._pointed is not None:
            self._choose(self._pointed)
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:  # noqa: N802 - Qt's name
        """Begin at the chosen site."""
        super().focusInEvent(event)
        if self._pointed is None and event.reason() != Qt.FocusReason.MouseFocusReason:
            self._point_at(self._start())

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802 - Qt's name
        """Point at nothing."""
        super().focusOutEvent(event)
        self._point_at(None)

    def event(self, event: QEvent) -> bool:
        """Say what is under the mouse in a tooltip."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            self._show_tip(event)
            return True
        return super().event(event)

    def _within(self, whole: Place) -> set[Place]:
        """What is drawn of a place."""
        return {spot.place for spot in self.sheet.spots.values() if is_within(spot.place, whole)}

    def _show_tip(self, event: QHelpEvent) -> None:
        mark = self._mark_at(QPointF(event.pos()))
        spot = self.sheet.at(self._fit.to_sheet(QPointF(event.pos())))
        said = (mark.title or title(mark.site, mark.laterality)) if mark else title(*spot.place) if spot else ""
        QToolTip.showText(event.globalPos(), said, self)

    def _choose(self, spot: Spot) -> None:
        self._place = spot.place
        self.update()
        self.site_chosen.emit(*spot.place)

    def _start(self) -> Spot:
        """Where the keyboard stands: the site pointed at, else the chosen one, else the first."""
        chosen = self.sheet.spot_of(*self._place)
        return self._pointed or chosen or next(iter(self.sheet.spots.values()))

    def _point_at(self, spot: Spot | None) -> None:
        if spot == self._pointed:
            return
        self._pointed = spot
        place = spot.place if spot else NOWHERE
        self.setAccessibleDescription(title(*place) if spot else "")
        self.pointed.emit(*place)
        self.update()

    def _mark_at(self, point: QPointF) -> BodyMark | None:
        """Find the mark under a point; the last drawn first."""
        for identity, place in reversed(self.mark_places().items()):
            away = place - point
            if away.x() ** 2 + away.y() ** 2 <= (self.mark_px / 2) ** 2:
                return self._marks[identity]
        return None

    @property
    def _fit(self) -> Fit:
        return self.sheet.fit(self.width(), self.height())
