"""The section Area and probability: a scatter plot of the lesions of a slide, and their correlation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QCheckBox, QToolTip, QWidget

from napari_melanoma.core.formatting import format_class, format_count
from napari_melanoma.slides.scores import (
    correlate_area_and_probability,
    describe_correlation,
    select_comparable_lesions,
    uses_log_axis,
)
from napari_melanoma.ui.sections import Section
from napari_melanoma.ui.sections.lesions.resolve import NO_LESIONS
from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.viewer.view_memory import zoom_to_polygons
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, fill_column, named, quiet_label
from napari_melanoma.ui.widgets.validity import SHOW_NUMBER

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.scores import ComparableLesions
    from napari_melanoma.ui.session.lesions import LesionState
    from napari_melanoma.ui.session.slide import SlideSession

HEIGHT_PX, LEFT_PX, BOTTOM_PX, MARGIN_PX = 190, 46, 32, 8
MAX_TICKS = 5  # per axis
CLICK_RADIUS_PX = 9  # a click this close to a mark selects it
# Dark theme, light theme; from the palette of Okabe and Ito
MALIGNANT, BENIGN = ("#e69f00", "#b35c00"), ("#56b4e9", "#0066a8")
TIP = "Each mark is a lesion. Select one with a click or the arrow keys; gray marks are of other slides."


@dataclass(frozen=True)
class LesionMark:
    """A lesion in the plot.

    ``area``: in the unit of the plot. ``index``: number of the lesion on the displayed slide; None for lesions of other
    slides.
    """

    area: float
    probability: float
    malignant: bool
    description: str
    index: int | None = None


class LesionScatterPlot(QWidget):
    """Scatter plot of lesion area and probability.

    ``mark_clicked``: number of the lesion that the user selected by mouse or key.
    """

    mark_clicked = Signal(int)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "relation_plot", "Area and probability of the lesions", TIP)
        self._icons = icons
        self.marks: tuple[LesionMark, ...] = ()
        self._unit, self._selected = "mm²", frozenset[int]()
        self._logarithmic, self._area_limits = False, find_area_limits((), logarithmic=False)
        self.setFixedHeight(HEIGHT_PX)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        icons.changed.connect(self.update)

    def show_marks(self, marks: Sequence[LesionMark], unit: str) -> None:
        """Plot lesions; ``unit``: that of their areas."""
        # Marks of the displayed slide come last, so that they are drawn on top
        self.marks, self._unit = tuple(sorted(marks, key=lambda mark: mark.index is not None)), unit
        areas = [mark.area for mark in marks]
        self._logarithmic = uses_log_axis(areas)
        self._area_limits = find_area_limits(areas, logarithmic=self._logarithmic)
        self.setAccessibleDescription("; ".join(mark.description for mark in self.marks if mark.index is not None))
        self.update()

    def show_selected(self, indices: Sequence[int]) -> None:
        """Highlight the selected lesions."""
        self._selected = frozenset(indices)
        self.update()

    def mark_position(self, mark: LesionMark) -> QPointF:
        """Return the position of a mark in the widget."""
        plot = self._plot_rect
        return QPointF(self._area_to_x(mark.area), plot.bottom() - mark.probability * plot.height())

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Prefer the width of a dock."""
        return QSize(300, HEIGHT_PX)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Select the lesion that is clicked."""
        mark = self._find_mark(QPointF(event.position()))
        if mark is not None and mark.index is not None:
            self.mark_clicked.emit(mark.index)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Select the next larger or smaller lesion."""
        steps = {Qt.Key.Key_Right: 1, Qt.Key.Key_Left: -1}
        own = sorted((m for m in self.marks if m.index is not None), key=lambda m: (m.area, m.index))
        if event.key() not in steps or not own:
            super().keyPressEvent(event)
            return
        step = steps[Qt.Key(event.key())]
        # If none is selected, the right key selects the smallest lesion and the left key the largest.
        index = next((i for i, mark in enumerate(own) if mark.index in self._selected), -1 if step > 0 else 0)
        self.mark_clicked.emit(own[(index + step) % len(own)].index)

    def event(self, event: QEvent) -> bool:
        """Show the description of the lesion under the mouse as a tooltip."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            mark = self._find_mark(QPointF(event.pos()))
            QToolTip.showText(event.globalPos(), TIP if mark is None else mark.description, self)
            return True
        return bool(super().event(event))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw axes and marks."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        small = QFont(self.font())
        small.setPointSizeF(8.0)
        painter.setFont(small)
        self._draw_axes(painter)
        for mark in self.marks:
            self._draw_mark(painter, mark)

    def _draw_axes(self, painter: QPainter) -> None:
        palette, plot = self._icons.palette, self._plot_rect
        painter.setPen(QPen(QColor(palette.highlight), 1))
        painter.drawLine(plot.bottomLeft(), plot.bottomRight())
        painter.drawLine(plot.bottomLeft(), plot.topLeft())
        middle, right = Qt.AlignmentFlag.AlignVCenter, Qt.AlignmentFlag.AlignRight
        painter.setPen(QColor(palette.text))
        for value in (0.0, 0.5, 1.0):
            y = plot.bottom() - value * plot.height()
            painter.drawText(QRectF(0, y - 8, LEFT_PX - 6, 16), right | middle, f"{value:g}")
        for value, x in self._ticks():
            left = min(max(0.0, x - 30), self.width() - 60.0)
            painter.drawText(QRectF(left, plot.bottom() + 2, 60, 14), Qt.AlignmentFlag.AlignCenter, f"{value:.3g}")
        painter.setPen(QColor(palette.faint))
        below = QRectF(LEFT_PX, self.height() - 15, plot.width(), 14)
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, f"area, {self._unit}")
        painter.save()
        painter.translate(9, plot.center().y())
        painter.rotate(-90)
        painter.drawText(QRectF(-80, -8, 160, 14), Qt.AlignmentFlag.AlignCenter, "probability")
        painter.restore()

    def _draw_mark(self, painter: QPainter, mark: LesionMark) -> None:
        """Draw a mark: a disk for malignant, a square for benign; gray for other slides; with a ring if selected."""
        palette, center = self._icons.palette, self.mark_position(mark)
        colors = MALIGNANT if mark.malignant else BENIGN
        color = QColor(palette.highlight if mark.index is None else colors[0] if palette.dark else colors[1])
        size = 2.5 if mark.index is None else 4.0
        painter.setPen(QPen(QColor(palette.background), 1))
        painter.setBrush(color)
        if mark.malignant:
            painter.drawEllipse(center, size, size)
        else:
            painter.drawRect(QRectF(center.x() - size, center.y() - size, 2 * size, 2 * size))
        if mark.index is not None and mark.index in self._selected:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(QColor(palette.text), 1.5))
            painter.drawEllipse(center, 8, 8)

    def _ticks(self) -> list[tuple[float, float]]:
        """Return the tick values of the area axis with their positions."""
        areas = choose_ticks(*self._area_limits, logarithmic=self._logarithmic)
        return [(area, self._area_to_x(area)) for area in areas]

    def _find_mark(self, point: QPointF) -> LesionMark | None:
        """Return the mark at a point: the nearest of the displayed slide, otherwise the nearest of other slides."""
        distances = {mark: _distance(self.mark_position(mark), point) for mark in self.marks}
        near = [mark for mark, distance in distances.items() if distance <= CLICK_RADIUS_PX]
        return min(near, key=lambda mark: (mark.index is None, distances[mark]), default=None)

    @property
    def _plot_rect(self) -> QRectF:
        """The rectangle that the axes enclose."""
        wide, high = self.width() - LEFT_PX - MARGIN_PX, self.height() - BOTTOM_PX - MARGIN_PX
        return QRectF(LEFT_PX, MARGIN_PX, max(10, wide), high)

    def _area_to_x(self, area: float) -> float:
        """Return the position of an area along the horizontal axis."""
        plot, (low, high) = self._plot_rect, self._area_limits
        value = math.log10(area) if self._logarithmic else area
        return plot.left() + (value - low) / (high - low) * plot.width()


def find_area_limits(areas: Sequence[float], *, logarithmic: bool) -> tuple[float, float]:
    """Return the limits of the area axis; on a logarithmic axis as log10 of the area."""
    if not logarithmic:
        return 0.0, 1.08 * max(areas, default=1.0)
    low, high = math.log10(min(areas)), math.log10(max(areas))
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def choose_ticks(low: float, high: float, *, logarithmic: bool) -> list[float]:
    """Choose tick values between the limits of an axis.

    On a linear axis, which starts at 0, the ticks are two to five multiples of 1, 2 or 5 times a power of ten. On a
    logarithmic axis, whose limits are log10 values, they are at most five powers of ten, possibly only one or none.
    """
    if logarithmic:
        tens = [10.0**power for power in range(math.ceil(low), math.floor(high) + 1)]
        return tens[:: -(-len(tens) // MAX_TICKS) or 1]  # every n-th, n rounded up so that at most MAX_TICKS remain
    rough = (high - low) / (MAX_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    # Tolerances: rounding errors must not lead to a larger step, or drop the tick at the upper limit.
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def _distance(first: QPointF, second: QPointF) -> float:
    return math.hypot(first.x() - second.x(), first.y() - second.y())


HIDDEN_TEXT = f"Not valid: see the reason above. Press '{SHOW_NUMBER}' there to show the correlation."
ALL_SLIDES = "all slides in the results folder"
ALL_SLIDES_TIP = (
    "Include the lesions of all slides in this folder; "
    "the interval is then based on differences between slides, not lesions"
)


@dataclass(frozen=True)
class AreaCorrelation:
    """Content of the section: summary text, marks, and the unit of their areas (``mm²`` or ``px``)."""

    summary: str
    marks: tuple[LesionMark, ...]
    unit: str


class CorrelationView(QWidget):
    """Summary and plot of the correlation."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self.all_slides_check = named(QCheckBox(ALL_SLIDES), "relation_all", ALL_SLIDES.capitalize(), ALL_SLIDES_TIP)
        self.summary_label = named(WrappedLabel(NO_LESIONS), "correlation_text", "Correlation of area and probability")
        self.summary_label.setToolTip(
            "Spearman's rank correlation: 1 if larger lesions always have the higher probability"
        )
        self.plot = LesionScatterPlot(icons)
        self.legend = quiet_label("● malignant   ■ benign   gray: other slides")
        self.legend.setObjectName("relation_key")
        fill_column(self, self.summary_label, self.plot, self.legend, self.all_slides_check)
        self.plot.hide()
        self.legend.hide()

    def show_correlation(self, correlation: AreaCorrelation) -> None:
        """Show a correlation."""
        self.summary_label.setText(correlation.summary)
        self.plot.show_marks(correlation.marks, correlation.unit)
        self.plot.setVisible(bool(correlation.marks))
        self.legend.setVisible(bool(correlation.marks))


class CorrelationSection(Section):
    """Show how area and probability of the lesions of a slide are related."""

    def __init__(self) -> None:
        self._controller: CorrelationController | None = None
        self._shows_all_slides = False  # kept for the next slide

    def has_content(self, session: SlideSession) -> bool:
        """Whether the slide has lesions."""
        return session.lesions.value is not None and bool(session.lesions.value.lesions)

    def open(self, session: SlideSession) -> QWidget:
        """Return the plot for a slide."""
        self._controller = CorrelationController(session, shows_all_slides=self._shows_all_slides)
        return self._controller.view

    def close(self) -> None:
        """Disconnect all signals, and stop all tasks."""
        controller, self._controller = self._controller, None
        if controller is not None:
            self._shows_all_slides = controller.view.all_slides_check.isChecked()
            controller.close()


class CorrelationController:
    """Compute the correlation in the background whenever the lesions change."""

    def __init__(self, session: SlideSession, *, shows_all_slides: bool) -> None:
        self._session = session
        view = self.view = CorrelationView(session.services.icons)
        view.all_slides_check.setChecked(shows_all_slides)
        self._connections = SectionConnections(view)
        self._jobs = LatestJobQueue(session.sessions.parent)
        self._jobs.succeeded.connect(self._on_correlation)
        self._jobs.failed.connect(partial(show_failure, session.services.status))
        for signal, slot in (
            (session.lesions.changed, self._update),
            (session.lesions.saved, self._update),
            (session.results.changed, self._update),
            (session.selected_lesions.changed, view.plot.show_selected),
        ):
            self._connections.connect(signal, slot)
        view.all_slides_check.toggled.connect(self._update)
        view.plot.mark_clicked.connect(self._on_mark)
        self._update()

    def close(self) -> None:
        """Disconnect all signals, and stop all tasks."""
        self._connections.close()
        self._jobs.cancel()
        self._jobs.deleteLater()

    def _update(self, _: object = None) -> None:
        state = self._session.lesions.value
        if state is None or not self._session.results.value.shows_numbers:
            self._jobs.cancel()
            self.view.show_correlation(AreaCorrelation(NO_LESIONS if state is None else HIDDEN_TEXT, (), ""))
            return
        root = self._session.location.out if self.view.all_slides_check.isChecked() else None
        self._jobs.submit("relation", lambda: partial(_correlate, state, root))

    def _on_correlation(self, correlation: AreaCorrelation) -> None:
        self.view.show_correlation(correlation)
        self.view.plot.show_selected(self._session.selected_lesions.value)

    def _on_mark(self, index: int) -> None:
        """Select the lesion and zoom to it, as a click on its row does."""
        session = self._session
        session.selected_lesions.set((index,))
        state = session.lesions.value
        for lesion in () if state is None else state.lesions:
            if lesion.index == index:
                zoom_to_polygons(session.services.viewer, session.slide, lesion.polygons)


def _correlate(state: LesionState, root: Path | None, run: RunContext) -> AreaCorrelation:
    """Correlate area and probability of lesions; ``root``: to include those of all slides in this folder of results."""
    from napari_melanoma.slides.slide_table import lesions_to_rows, read_lesion_rows

    folder, target = state.source.folder, state.source.target
    own = state.lesions if root is None else lesions_to_rows(folder, state.lesions)
    rows = ((), ()) if root is None else read_lesion_rows(root)
    # ``folder`` may be that of a view, which lies in the folder of its slide: both belong to the displayed slide.
    others, invalid = ([row for row in part if row.slide not in (folder, *folder.parents)] for part in rows)
    run.check()
    slides = [str(folder)] * len(own) + [str(row.slide) for row in others]
    comparable = select_comparable_lesions([*own, *others], slides)
    correlation = correlate_area_and_probability(comparable)
    marks = [
        _make_mark(lesion, comparable, target, "", lesion.index)
        if slide == str(folder)
        else _make_mark(lesion, comparable, lesion.target, f" of {lesion.slide.name}", None)
        for lesion, slide in zip(comparable.lesions, comparable.slides, strict=True)
    ]
    models: set[str] = set() if root is None else {lesion.model for lesion in comparable.lesions if lesion.model}
    slide_count = len(set(comparable.slides)) if root is not None else None
    summary = describe_correlation(correlation, len(marks), slide_count)
    if comparable.note:
        summary = f"{summary} {comparable.note}" if marks else comparable.note
    if len(models) > 1:
        summary += f" {len(models)} different models were used: their probabilities may not be comparable."
    if invalid:
        slides_text = format_count(len({row.slide for row in invalid}), "other slide")
        summary += f" Left out: {format_count(len(invalid), 'lesion')} of {slides_text} whose results are not valid."
    return AreaCorrelation(summary, tuple(marks), comparable.unit)


def _make_mark(
    lesion: Any,  # noqa: ANN401 - a lesion, or a row
    comparable: ComparableLesions[Any],
    target: str,
    where: str,
    index: int | None,
) -> LesionMark:
    """Make the mark of a lesion, whose class may have been set by hand; ``target``: class of its probability."""
    area = comparable.area(lesion)
    unit = "mm²" if comparable.in_mm2 else "px"
    probability = f"probability of {format_class(target or lesion.label)} {lesion.probability:.2f}"
    description = f"lesion {lesion.index}{where}: {area:.3g} {unit}, {probability}"
    return LesionMark(area, float(lesion.probability), lesion.label != "benign", description, index)
