"""The curves of a training; a module of its own, so that pyqtgraph is imported only when it is needed."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QFont, QWheelEvent

from napari_melanoma.training.monitor import Monitor, monitor_from_values
from napari_melanoma.ui.train.run_reader import LossTrace
from napari_melanoma.ui.train.run_text import find_kept_row, parse_number
from napari_melanoma.ui.widgets.style import ThemedIcons, named

HEIGHT_PX, LEFT_PX, BOTTOM_PX = 298, 46, 32  # of both plots; of the axes
MARKERS_UP_TO = 2  # curves with at most this number of points are drawn with markers
MAX_TICKS = 8
MAX_POINTS = 1200  # of a loss curve; more than a plot of 340 pixels can show
TICK_STEPS = tuple(step * 10**power for power in range(6) for step in (1, 2, 5))  # epochs between two ticks
SYMBOLS = {"o": "●", "s": "■", None: "━"}


class Curve(NamedTuple):
    """Style of a curve: colors on a dark and a light background, a symbol, and dashes."""

    dark: str
    light: str
    symbol: str | None = None
    is_dashed: bool = False


# Colors of Okabe and Ito (2008), darker on a light background: safe with color vision deficiency; symbols differ, too.
PLOTS = {  # title of the vertical axis, and curves
    "loss": (Curve("#e69f00", "#b35c00"), Curve("#56b4e9", "#0066a8", "o")),
    "0 to 1": (Curve("#56b4e9", "#0066a8", "o"), Curve("#d98cb8", "#9c3f77", "s", is_dashed=True)),
}
TIP = (
    "Loss on the training and validation set (lower is better), and metrics on the validation set at the network's "
    "input size. The dashed line marks the epoch that is kept"
)


class TrainingCurves(pg.GraphicsLayoutWidget):
    """Two plots over the epochs, of losses and of metrics; their titles are legends with the last values.

    The plots cannot be dragged or zoomed, so that the mouse wheel scrolls the dock.
    """

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "curves", "Curves of the training", TIP)
        self._icons = icons
        self._names = dict.fromkeys(PLOTS, ("", ""))
        self.plots: dict[str, pg.PlotItem] = {}
        self.curves: dict[str, list[pg.PlotDataItem]] = {}
        self.kept: dict[str, pg.InfiniteLine] = {}
        for row, (label, styles) in enumerate(PLOTS.items()):
            plot = self.plots[label] = self.addPlot(row=row, col=0)
            plot.setMenuEnabled(False)
            plot.setMouseEnabled(False, False)
            plot.hideButtons()
            plot.getAxis("left").setWidth(LEFT_PX)
            plot.getAxis("bottom").setHeight(BOTTOM_PX)
            for side in ("left", "bottom"):
                plot.getAxis(side).enableAutoSIPrefix(False)
            self.kept[label] = pg.InfiniteLine(angle=90)
            plot.addItem(self.kept[label], ignoreBounds=True)
            self.curves[label] = [plot.plot(antialias=True) for _ in styles]
        self.setFixedHeight(HEIGHT_PX)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        icons.changed.connect(self._update_colors)
        self._update_colors()

    def show_run(
        self,
        losses: LossTrace,
        metrics: Sequence[dict[str, float]],
        epochs: int,
        monitor: Monitor | None = None,
        *,
        keeps_last: bool = False,
    ) -> None:
        """Show the curves of a run.

        ``metrics``: a row for each epoch. ``epochs``: planned number, 0 if unknown. ``monitor``: selects the best
        epoch; by default, the metric of the task. ``keeps_last``: the last epoch is kept, not the best one.
        """
        metric = monitor_from_values(metrics[-1] if metrics else {})
        if len(losses.values) < len(metrics):
            training = _metric_column(metrics, "loss")
        else:
            training = _thin(losses.epochs), _thin(losses.values)
        (first, first_title), (second, second_title) = metric.measures
        self._show("loss", "training", training, "validation", _metric_column(metrics, "validation_loss"))
        titles = _metric_column(metrics, first), second_title, _metric_column(metrics, second)
        self._show("0 to 1", first_title, *titles)
        kept = find_kept_row(metrics, monitor or metric, keeps_last)
        end = max(epochs, len(metrics), 1)
        step = next(step for step in TICK_STEPS if step * MAX_TICKS >= end or step == TICK_STEPS[-1])
        for label, plot in self.plots.items():
            plot.setXRange(0, end, padding=0.02)
            plot.getAxis("bottom").setTickSpacing(levels=[(step, 0)])
            self.kept[label].setVisible(kept is not None)
            self.kept[label].setValue(0.0 if kept is None else float(kept["epoch"]) + 1)

    def _show(
        self,
        label: str,
        first: str,
        first_points: tuple[Sequence[float], Sequence[float]],
        second: str,
        second_points: tuple[Sequence[float], Sequence[float]],
    ) -> None:
        """Show the names and points (epochs and values) of the two curves of a plot."""
        self._names[label] = (first, second)
        for curve, style, (epochs, values) in zip(
            self.curves[label], PLOTS[label], (first_points, second_points), strict=True
        ):
            curve.setData(np.asarray(epochs, dtype=np.float64), np.asarray(values, dtype=np.float64))
            curve.setSymbol(style.symbol or ("o" if len(values) <= MARKERS_UP_TO else None))
        if first_points[1] or second_points[1]:
            self.plots[label].enableAutoRange(y=True)
        else:  # otherwise the range of the previous run would remain
            self.plots[label].setYRange(0, 1)
        self._update_legend(label)

    def _update_legend(self, label: str) -> None:
        """Write symbol, color, name and last value of each curve of a plot."""
        parts = []
        for curve, style, name in zip(self.curves[label], PLOTS[label], self._names[label], strict=True):
            values = curve.getOriginalDataset()[1]
            last = "–" if values is None or not len(values) else f"{values[-1]:.3f}"
            mark = f"<span style='color: {self._color(style)}'>{SYMBOLS[style.symbol]}</span>"
            parts.append(f"{mark} {html.escape(name)} {last}")
        self.plots[label].setTitle("&nbsp; ".join(parts), size="9pt", color=self._icons.palette.text)

    def _color(self, style: Curve) -> str:
        return style.dark if self._icons.palette.dark else style.light

    def _update_colors(self) -> None:
        palette, font = self._icons.palette, QFont(self.font())
        font.setPointSizeF(8.0)
        self.setBackground(palette.background)
        for label, plot in self.plots.items():
            for side, text in (("left", label), ("bottom", "epoch")):
                axis = plot.getAxis(side)
                axis.setPen(palette.highlight)
                axis.setTextPen(palette.text)
                axis.setStyle(tickFont=font, tickLength=-4, autoExpandTextSpace=False)
                axis.setLabel(text, color=palette.faint, **{"font-size": "8pt"})
            self.kept[label].setPen(pg.mkPen(palette.text, width=1, style=Qt.PenStyle.DashLine))
            for curve, style in zip(self.curves[label], PLOTS[label], strict=True):
                line = Qt.PenStyle.DashLine if style.is_dashed else Qt.PenStyle.SolidLine
                curve.setPen(pg.mkPen(self._color(style), width=1.5, style=line))
                curve.setSymbolSize(5)
                curve.setSymbolPen(self._color(style))
                curve.setSymbolBrush(self._color(style))
            self._update_legend(label)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 - Qt's name
        """Pass the wheel event on to the parent."""
        event.ignore()

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return a small minimum width."""
        return QSize(120, HEIGHT_PX)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return a width that suits the dock."""
        return QSize(300, HEIGHT_PX)


def _thin(values: list[float]) -> list[float]:
    """Return at most ``MAX_POINTS`` means of neighboring values; the painting of more is slow (3 s for 100,000)."""
    step = -(-len(values) // MAX_POINTS)
    if step <= 1:
        return values
    means: list[float] = np.asarray(values[: len(values) // step * step]).reshape(-1, step).mean(axis=1).tolist()
    return means


def _metric_column(rows: Sequence[dict[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Return the epochs, counted from 1, and the values of a metric; rows without a value are left out."""
    pairs = [(parse_number(row, "epoch"), parse_number(row, name)) for row in rows]
    points = [(epoch + 1, value) for epoch, value in pairs if epoch is not None and value is not None]
    return [epoch for epoch, _ in points], [value for _, value in points]
