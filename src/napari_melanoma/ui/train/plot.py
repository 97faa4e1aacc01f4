"""A plot of curves over the epochs; a module of its own, so that pyqtgraph is imported only when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QEvent, QSize, Qt, Signal
from qtpy.QtGui import QFont, QWheelEvent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.ui.train.run_reader import CurveStyle
    from napari_melanoma.ui.widgets.style import Palette

HEIGHT_PX, LEFT_PX, BOTTOM_PX = 128, 46, 32  # of the plot; of its axes
TOP_PX = 8  # margin: half the height of a tick label at the top
MARKERS_UP_TO = 2  # curves with at most this number of points are drawn with markers
MAX_TICKS = 8
TICK_STEPS = tuple(step * 10**power for power in range(6) for step in (1, 2, 5))  # epochs between two ticks
LABEL_OVERHANG_PX = 5  # by which pyqtgraph's axis labels extend beyond the plot


class CurvePlot(pg.PlotWidget):
    """Curves over the epochs of a run, a mark at the best epoch, and a cursor line.

    The plot cannot be dragged or zoomed, so that the mouse wheel scrolls the dock.
    """

    pointed = Signal(float)  # epoch under the mouse; NaN when the mouse leaves the plot

    def __init__(self, label: str, curves: Sequence[CurveStyle]) -> None:
        super().__init__()
        self._label = label
        self._curves = {curve.name: curve for curve in curves}
        plot = self.getPlotItem()
        plot.setMenuEnabled(False)
        plot.setMouseEnabled(False, False)
        plot.hideButtons()
        plot.layout.setContentsMargins(LABEL_OVERHANG_PX, TOP_PX, 6, LABEL_OVERHANG_PX)
        plot.getAxis("left").setWidth(LEFT_PX)
        for side in ("left", "bottom"):  # before setting the labels, which would scale them again
            plot.getAxis(side).enableAutoSIPrefix(False)
        self._items = {name: plot.plot(connect="finite", antialias=True) for name in self._curves}
        self._best = pg.InfiniteLine(angle=90)
        self._cursor = pg.InfiniteLine(angle=90)
        for line in (self._best, self._cursor):
            line.setZValue(-10)
            line.hide()
            plot.addItem(line, ignoreBounds=True)
        self.setFixedHeight(HEIGHT_PX)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setMouseTracking(True)
        self.scene().sigMouseMoved.connect(self._on_moved)

    def set_values(self, name: str, epochs: Sequence[float], values: Sequence[float]) -> None:
        self._items[name].setData(_to_float_array(epochs), _to_float_array(values))
        if self._curves[name].symbol is None:
            self._items[name].setSymbol("o" if len(values) <= MARKERS_UP_TO else None)
        if any(len(self.points(curve)[0]) for curve in self._items):
            self.getPlotItem().enableAutoRange(y=True)
        else:  # otherwise the range of the previous run would remain
            self.getPlotItem().setYRange(0, 1)

    def points(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the epochs and values of a curve, float64 (point,)."""
        epochs, values = self._items[name].getData()
        return _to_float_array(() if epochs is None else epochs), _to_float_array(() if values is None else values)

    def set_epochs(self, epochs: float) -> None:
        """Set the range of the horizontal axis to the epochs of a run."""
        self.getPlotItem().setXRange(0, max(1.0, epochs), padding=0.02)
        major = next(step for step in TICK_STEPS if step * MAX_TICKS >= epochs or step == TICK_STEPS[-1])
        self.getPlotItem().getAxis("bottom").setTickSpacing(levels=[(major, 0)])

    def set_best(self, epoch: float | None) -> None:
        """Mark the best epoch; None removes the mark."""
        self._best.setVisible(epoch is not None)
        self._best.setValue(epoch or 0.0)

    @property
    def best(self) -> float | None:
        """The marked epoch; None if there is no mark."""
        return float(self._best.value()) if self._best.isVisible() else None

    def show_cursor(self, epoch: float | None) -> None:
        """Draw the cursor line at an epoch; None hides it."""
        self._cursor.setVisible(epoch is not None)
        self._cursor.setValue(epoch or 0.0)

    def set_palette(self, palette: Palette) -> None:
        """Apply the colors of a theme."""
        self.setBackground(palette.background)
        tick_font = QFont(self.font())
        tick_font.setPointSizeF(8.0)
        for side, label in (("left", self._label), ("bottom", "epoch")):
            axis = self.getPlotItem().getAxis(side)
            axis.setPen(palette.highlight)
            axis.setTextPen(palette.text)
            axis.setStyle(tickFont=tick_font, tickLength=-4, autoExpandTextSpace=False)
            axis.setLabel(label, color=palette.faint, **{"font-size": "8pt"})
        self.getPlotItem().getAxis("bottom").setHeight(BOTTOM_PX)
        self._best.setPen(pg.mkPen(palette.text, width=1, style=Qt.PenStyle.DashLine))
        self._cursor.setPen(pg.mkPen(palette.highlight, width=1))
        for name, curve in self._curves.items():
            color = curve.color(palette)
            style = Qt.PenStyle.DashLine if curve.dashed else Qt.PenStyle.SolidLine
            self._items[name].setPen(pg.mkPen(color, width=curve.width, style=style))
            if curve.symbol is not None:
                self._items[name].setSymbol(curve.symbol)
            self._items[name].setSymbolSize(5)
            self._items[name].setSymbolPen(color)
            self._items[name].setSymbolBrush(color)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 - Qt's name
        """Pass the wheel event on to the parent."""
        event.ignore()

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Emit NaN when the mouse leaves."""
        super().leaveEvent(event)
        self.pointed.emit(float("nan"))

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return a small minimum width."""
        return QSize(120, HEIGHT_PX)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return a width that suits the dock."""
        return QSize(300, HEIGHT_PX)

    def _on_moved(self, position: object) -> None:
        self.pointed.emit(float(self.getPlotItem().vb.mapSceneToView(position).x()))


def _to_float_array(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
