"""The body map widget, on which users select the site of a lesion and see the marks of all lesions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QFocusEvent,
    QFont,
    QFontMetricsF,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
)
from qtpy.QtWidgets import QLabel, QSizePolicy, QToolTip, QVBoxLayout, QWidget

from napari_melanoma.data.body_sites import MIDLINE, SiteKey, is_site_within, list_sites, site_title
from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy
from napari_melanoma.reports.body_map import SiteSpot, find_spot, read_spots, spread_points
from napari_melanoma.ui.body_map.chart import NO_SITE, BodyChart, BodyDrawing, BodyPart, ChartTransform, get_chart
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import PRIMARY, Palette, ThemedIcons, named, quiet_label, row, tool_button

MARK_PX, MAX_MARK_PX = 15.0, 24.0  # diameters of a mark on a chart at full size or smaller, and at most
ARROWS: dict[int, tuple[float, float]] = {
    Qt.Key.Key_Left: (-1, 0),
    Qt.Key.Key_Right: (1, 0),
    Qt.Key.Key_Up: (0, -1),
    Qt.Key.Key_Down: (0, 1),
}
SELECT_KEYS = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space)
SHADES = ((15, 12), (10.5, 14), (7, 16), (4, 18), (1.8, 22))  # width and opacity of the strokes along the edge
SITE_HINT = "Click the site of the lesion."


class BodyCanvas(QWidget):
    """The canvas with the chart and the marks of lesions.

    ``site_chosen``, ``site_hovered``: site and laterality; empty if no site is highlighted. ``lesion_chosen``: identity
    of the mark.
    """

    site_chosen = Signal(str, str)
    site_hovered = Signal(str, str)
    lesion_chosen = Signal(str)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "body_canvas", "Body chart: use the arrow keys to move and Enter to select").setToolTip("")
        self._icons = icons
        self._site: SiteKey = NO_SITE
        self._hovered: SiteSpot | None = None
        self._marks: dict[str, BodyMark] = {}
        self._current = ""
        self._mark_positions: dict[str, QPointF] | None = None  # None: to be recomputed
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        icons.changed.connect(self.update)

    @property
    def chart(self) -> BodyChart:
        return get_chart()

    @property
    def mark_px(self) -> float:
        """Diameter of a mark in pixels; it grows less than the chart."""
        return min(MAX_MARK_PX, max(MARK_PX, MARK_PX * self._fit.scale**0.5))

    def set_site(self, body_site: SiteKey) -> None:
        """Show a site as selected, without emitting a signal."""
        self._site = body_site
        self.update()

    def set_marks(self, marks: Sequence[BodyMark], current: str) -> None:
        """Show other marks; ``current``: identity of the mark of the current lesion."""
        self._marks = {mark.identity: mark for mark in marks}
        self._current = current
        self._mark_positions = None
        self.update()

    def mark_positions(self) -> dict[str, QPointF]:
        """Return the positions of the marks in pixels, by identity; marks that are not on the chart are left out."""
        if self._mark_positions is None:
            self._mark_positions = self._place_marks()
        return self._mark_positions

    def _place_marks(self) -> dict[str, QPointF]:
        spots = {mark.identity: find_spot(mark.site, mark.laterality) for mark in self._marks.values()}
        anchors = {identity: self.spot_position(spot) for identity, spot in spots.items() if spot is not None}
        points = spread_points([(anchor.x(), anchor.y()) for anchor in anchors.values()], self.mark_px)
        return {identity: QPointF(*point) for identity, point in zip(anchors, points, strict=True)}

    def spot_position(self, spot: SiteSpot) -> QPointF:
        """Return the position of a spot, in pixels of the widget."""
        return self._fit.to_widget(QPointF(spot.x, spot.y))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Reset the positions of the marks."""
        super().resizeEvent(event)
        self._mark_positions = None

    def hasHeightForWidth(self) -> bool:  # noqa: N802 - Qt's name
        """Keep the chart's proportions."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802 - Qt's name
        """Keep the chart's proportions."""
        return round(width * self.chart.size.height() / self.chart.size.width())

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Size of the chart at the width of a dock."""
        return self.chart.size.toSize()

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Smallest readable size."""
        return QSize(240, self.heightForWidth(240))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Paint the chart and the marks."""
        colors = get_chart_colors(self._icons.palette)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.save()
        painter.translate(self._fit.corner)
        painter.scale(self._fit.scale, self._fit.scale)
        selected = self._sites_within(self._site)
        hovered = self._sites_within(self._hovered.body_site if self._hovered else NO_SITE)
        for drawing in self.chart.drawings:
            paint_drawing(painter, drawing, colors, selected, hovered)
            paint_texts(painter, drawing, colors)
        painter.restore()
        for identity, point in self.mark_positions().items():
            paint_mark(painter, point, self.mark_px, self._marks[identity].label, colors, identity == self._current)
        if self.hasFocus() and self._hovered is not None:
            paint_cursor(painter, self.spot_position(self._hovered), colors)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Highlight the site under the mouse."""
        self._set_hovered(self.chart.find_spot(self._fit.to_chart(event.position())))
        clickable = self._hovered is not None or self._mark_at(event.position()) is not None
        self.setCursor(Qt.CursorShape.PointingHandCursor if clickable else Qt.CursorShape.ArrowCursor)

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Remove the highlighting."""
        super().leaveEvent(event)
        self._set_hovered(None)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Select the lesion whose mark was clicked, otherwise the site."""
        if event.button() != Qt.MouseButton.LeftButton:
            return
        mark = self._mark_at(event.position())
        spot = self.chart.find_spot(self._fit.to_chart(event.position()))
        if mark is not None and mark.identity != self._current:  # a click on the current mark selects the site below it
            self.lesion_chosen.emit(mark.identity)
        elif spot is not None:
            self._choose(spot)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Move to the next site in a direction, or select the current one."""
        key = event.key()  # may be any code point, such as that of a Cyrillic letter, which is not a Qt.Key
        if key in ARROWS:
            self._set_hovered(self.chart.find_neighbor(self._start_spot(), ARROWS[key]))
        elif key in SELECT_KEYS and self._hovered is not None:
            self._choose(self._hovered)
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:  # noqa: N802 - Qt's name
        """Start at the selected site."""
        super().focusInEvent(event)
        if self._hovered is None and event.reason() != Qt.FocusReason.MouseFocusReason:
            self._set_hovered(self._start_spot())

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802 - Qt's name
        """Remove the highlighting."""
        super().focusOutEvent(event)
        self._set_hovered(None)

    def event(self, event: QEvent) -> bool:
        """Show the tooltip of the site or mark under the mouse."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            self._show_tip(event)
            return True
        return super().event(event)

    def _sites_within(self, whole: SiteKey) -> set[SiteKey]:
        return {spot.body_site for spot in read_spots().values() if is_site_within(spot.body_site, whole)}

    def _show_tip(self, event: QHelpEvent) -> None:
        mark = self._mark_at(QPointF(event.pos()))
        spot = self.chart.find_spot(self._fit.to_chart(QPointF(event.pos())))
        if mark is not None:
            text = mark.title or site_title(mark.site, mark.laterality)
        else:
            text = "" if spot is None else site_title(*spot.body_site)
        QToolTip.showText(event.globalPos(), text, self)

    def _choose(self, spot: SiteSpot) -> None:
        self._site = spot.body_site
        self.update()
        self.site_chosen.emit(*spot.body_site)

    def _start_spot(self) -> SiteSpot:
        """Return where keyboard navigation starts: at the highlighted site, the selected one, or the chest."""
        return self._hovered or find_spot(*self._site) or read_spots()["front", "chest", MIDLINE]

    def _set_hovered(self, spot: SiteSpot | None) -> None:
        if spot == self._hovered:
            return
        self._hovered = spot
        body_site = spot.body_site if spot else NO_SITE
        self.setAccessibleDescription(site_title(*body_site) if spot else "")
        self.site_hovered.emit(*body_site)
        self.update()

    def _mark_at(self, point: QPointF) -> BodyMark | None:
        for identity, position in reversed(self.mark_positions().items()):
            offset = position - point
            if offset.x() ** 2 + offset.y() ** 2 <= (self.mark_px / 2) ** 2:
                return self._marks[identity]
        return None

    @property
    def _fit(self) -> ChartTransform:
        return self.chart.fit(self.width(), self.height())


@dataclass(frozen=True)
class ChartColors:
    """Colors of chart and marks for one theme."""

    skin: str
    edge: str
    shade: str
    border: str
    line: str
    crease: str
    hover: str
    text: str
    selected: str
    mark: str = "#e69f00"  # from the palette of Okabe and Ito, distinguishable from blue with color vision deficiency
    current: str = "#f0e442"
    mark_edge: str = "#1c1300"


DARK_COLORS = ChartColors(
    "#5b636f", "#b4bcc7", "#10141a", "#828c99", "#d0d6de", "#434a55", "#76879c", "#a9b0ba", PRIMARY
)
LIGHT_COLORS = ChartColors(
    "#f6f3f0", "#565d67", "#7d7068", "#b9b2ac", "#454b54", "#d3cac3", "#d5e3f1", "#63666b", "#5b97d3"
)


def get_chart_colors(palette: Palette) -> ChartColors:
    return DARK_COLORS if palette.dark else LIGHT_COLORS


def paint_drawing(
    painter: QPainter,
    drawing: BodyDrawing,
    colors: ChartColors,
    selected: Collection[SiteKey],
    hovered: Collection[SiteKey],
) -> None:
    """Paint a drawing, with selected and highlighted sites."""
    for part in drawing.parts:
        painter.strokePath(part.path, QPen(QColor(colors.edge), 1.7))
        painter.save()
        painter.setClipPath(part.path)
        _paint_sites(painter, part, colors, selected, hovered)
        for width, opacity in SHADES:
            color = QColor(colors.shade)
            color.setAlpha(opacity)
            painter.strokePath(part.shade, _round_pen(color, width))
        painter.restore()
    painter.strokePath(drawing.creases, _round_pen(QColor(colors.crease), 0.9))
    painter.strokePath(drawing.lines, _round_pen(QColor(colors.line), 0.8 if drawing.is_detail else 0.65))


def paint_texts(painter: QPainter, drawing: BodyDrawing, colors: ChartColors) -> None:
    """Write the title above a drawing, with the sides of the patient."""
    font = QFont(painter.font())
    font.setBold(False)
    painter.save()
    painter.setPen(QColor(colors.text))
    for text in drawing.texts:
        font.setPixelSize(round(text.size))
        painter.setFont(font)
        width = QFontMetricsF(font).horizontalAdvance(text.text)
        painter.drawText(QPointF(text.x - width / 2, text.y), text.text)
    painter.restore()


def _round_pen(color: QColor, width: float) -> QPen:
    return QPen(color, width, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin)


def _paint_sites(
    painter: QPainter, part: BodyPart, colors: ChartColors, selected: Collection[SiteKey], hovered: Collection[SiteKey]
) -> None:
    painter.fillPath(part.path, QColor(colors.skin))
    border = QPen(QColor(colors.border), 0.55)
    for region in part.regions:
        if (region.site, region.side) in selected:
            fill = colors.selected
        else:
            fill = colors.hover if (region.site, region.side) in hovered else colors.skin
        painter.fillPath(region.shape, QColor(fill))
        painter.strokePath(region.shape, border)


def paint_mark(
    painter: QPainter, center: QPointF, diameter: float, label: str, colors: ChartColors, is_current: bool
) -> None:
    """Paint the labeled mark of a lesion; ``center`` and ``diameter`` in pixels."""
    radius = diameter / 2 - 1
    painter.setPen(QPen(QColor(colors.mark_edge), 2.4 if is_current else 1.2))
    painter.setBrush(QColor(colors.current if is_current else colors.mark))
    painter.drawEllipse(center, radius, radius)
    font = QFont(painter.font())
    font.setPixelSize(round(diameter * (0.62 if len(label) < 2 else 0.54 if len(label) == 2 else 0.42)))
    font.setBold(True)
    painter.setFont(font)
    painter.setPen(QColor(colors.mark_edge))
    area = QRectF(center.x() - diameter, center.y() - radius, 2 * diameter, 2 * radius)
    painter.drawText(area, Qt.AlignmentFlag.AlignCenter, label)


def paint_cursor(painter: QPainter, center: QPointF, colors: ChartColors) -> None:
    """Paint the keyboard cursor; ``center`` in pixels."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor(colors.line), 1.6))
    painter.drawEllipse(center, 3.2, 3.2)


@dataclass(frozen=True)
class BodyMark:
    """The mark of a lesion: identity of the lesion, label, site, laterality and tooltip (``title``)."""

    identity: str
    label: str
    site: str
    laterality: str = ""
    title: str = ""


class BodyMap(QWidget):
    """Shows the sites of lesions, and lets the user select the site of the current lesion.

    ``site_chosen``: site and laterality. ``lesion_chosen``: identity of the mark.
    """

    site_chosen = Signal(str, str)
    lesion_chosen = Signal(str)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "body_map", "Body map").setToolTip("")
        self._site: SiteKey = NO_SITE
        self._marks: tuple[BodyMark, ...] = ()
        self.canvas = BodyCanvas(icons)
        self._site_label = QLabel()
        self._site_label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        named(self._site_label, "body_said", "Highlighted or selected site").setToolTip("")
        self._site_combo = named(NoWheelComboBox(), "body_site", "Body site", "Select the site from a list")
        self._side_combo = named(NoWheelComboBox(), "body_side", "Side", "Side of the patient's body")
        self._unknown_button = tool_button("body_unknown", "Site unknown", "Set the site to unknown", "Unknown")
        self._missing_label = quiet_label()
        self._lay_out()
        self.canvas.site_chosen.connect(self._on_clicked)
        self.canvas.lesion_chosen.connect(self.lesion_chosen)
        self.canvas.site_hovered.connect(self._on_hovered)
        self._site_combo.activated.connect(self._on_listed)
        self._side_combo.activated.connect(self._on_listed)
        self._unknown_button.clicked.connect(self._on_unknown)
        self._show()

    @property
    def body_site(self) -> SiteKey:
        return self._site

    def set_site(self, site: str, laterality: str = "") -> None:
        """Show a site as selected, without emitting a signal."""
        self._site = (site, laterality)
        self._show()

    def set_lesions(self, marks: Sequence[BodyMark], current: str = "") -> None:
        """Show lesions as marks; ``current``: identity of the current lesion."""
        self._marks = tuple(marks)
        self.canvas.set_marks(self._marks, current)
        self._show_missing_marks()

    def _lay_out(self) -> None:
        bold = QFont(self.font())
        bold.setBold(True)
        for word in ("", *list_sites()):
            self._site_combo.addItem(site_title(word), word)
            if word in load_taxonomy("site").words:
                self._site_combo.setItemData(self._site_combo.count() - 1, bold, Qt.ItemDataRole.FontRole)
        for side, text in (("", "unknown"), *((word, word) for word in load_taxonomy("laterality").words[:-1])):
            self._side_combo.addItem(text, side)
        self._site_combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        column.addWidget(self._site_label)
        column.addWidget(self.canvas, 1)
        column.addWidget(row(self._site_combo, self._side_combo, self._unknown_button, stretch=0))
        column.addWidget(self._missing_label)

    def _show(self) -> None:
        """Show the site on the chart, in the combo boxes and as text."""
        self.canvas.set_site(self._site)
        for box, value in ((self._site_combo, self._site[0]), (self._side_combo, self._site[1])):
            box.setCurrentIndex(max(0, box.findData("" if value == UNKNOWN else value)))
        self._on_hovered(*NO_SITE)

    def _show_missing_marks(self) -> None:
        """List the lesions that are not on the chart."""
        positions = self.canvas.mark_positions()
        missing = [
            f"{mark.label} ({site_title(mark.site, mark.laterality)})"
            for mark in self._marks
            if mark.identity not in positions
        ]
        self._missing_label.setText(f"Not on the chart: {', '.join(missing)}" if missing else "")
        self._missing_label.setVisible(bool(missing))

    def _choose(self, body_site: SiteKey) -> None:
        self._site = body_site
        self._show()
        self.site_chosen.emit(*body_site)

    def _on_hovered(self, site: str, laterality: str) -> None:
        selected = site_title(*self._site) if self._site[0] else SITE_HINT
        self._site_label.setText(site_title(site, laterality) if site else selected)

    def _on_clicked(self, site: str, laterality: str) -> None:
        self._choose((site, laterality))

    def _on_listed(self, index: int) -> None:
        word = self._site_combo.currentData()
        self._choose((word or UNKNOWN, self._side_combo.currentData() if word else ""))

    def _on_unknown(self, checked: bool = False) -> None:
        self._choose((UNKNOWN, ""))
