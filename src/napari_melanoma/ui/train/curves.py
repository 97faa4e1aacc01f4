"""Live curves of a run: losses above, validation metrics below, with the values at the mouse position."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QLabel, QSizePolicy, QStackedLayout, QVBoxLayout, QWidget

from napari_melanoma.training.monitor import monitor_from_values
from napari_melanoma.ui.train.run_text import find_best_row, parse_number
from napari_melanoma.ui.train.run_watch import CurveStyle, LossCurve
from napari_melanoma.ui.widgets.job import BackgroundJob, GuiTaskQueue
from napari_melanoma.ui.widgets.style import ThemedIcons, named, quiet_label

if TYPE_CHECKING:
    from types import ModuleType

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.ui.train.plot import CurvePlot

MONITOR_CURVE, SECOND_CURVE = "picks", "beside"  # the metric that selects the epoch, and a second one
# Colors of Okabe and Ito (2008), darker on a light background: safe for color-blind users; shapes differ, too.
PLOTS = {
    "loss": (
        CurveStyle("training", "#e69f00", "#b35c00", width=1.2),
        CurveStyle("validation", "#56b4e9", "#0066a8", symbol="o", width=2.0),
    ),
    "overlap": (
        CurveStyle(MONITOR_CURVE, "#56b4e9", "#0066a8", symbol="o", width=2.0),
        CurveStyle(SECOND_CURVE, "#d98cb8", "#9c3f77", symbol="s", dashed=True),
    ),
}
TIPS = {
    "loss": "Loss on the training and validation set; lower is better",
    "overlap": "Metrics on the validation set at the network's input size; the dashed line marks the best epoch (kept)",
}
LABELS = {"loss": "loss", "overlap": "0 to 1"}
HEIGHT_PX = 2 * (128 + 21)  # reserved from the start, so that the layout does not jump
NOTHING_YET = "Curves appear after the first batches."
SYMBOLS = {"o": "●", "s": "■", None: "━"}


class TrainingCurves(QWidget):
    """Two plots over the epochs; the legends show the values at the mouse position, or the last ones."""

    ready = Signal()

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "curves", "Curves of the training").setToolTip("")
        self._icons = icons
        self._job: BackgroundJob | None = None
        self._losses, self._epochs = LossCurve(), 0
        self._rows: list[dict[str, float]] = []
        self._epoch_under_mouse: float | None = None
        self.plots: dict[str, CurvePlot] = {}
        self._new_plots: dict[str, CurvePlot] = {}
        self._legends: dict[str, QLabel] = {}
        self._tasks = GuiTaskQueue(self)
        self._empty = quiet_label(NOTHING_YET)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._page = QWidget()
        self._column = QVBoxLayout(self._page)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(1)
        self._stack = QStackedLayout(self)
        self._stack.addWidget(self._empty)
        self._stack.addWidget(self._page)
        self.setFixedHeight(HEIGHT_PX)
        icons.changed.connect(self._on_theme)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Import the plot library in a thread when shown for the first time, because it takes a while."""
        super().showEvent(event)
        if self._job is None:
            self._job = BackgroundJob(_import_plots)
            self._job.succeeded.connect(self._on_imported)
            self._job.start()

    def show_run(self, losses: LossCurve, metrics: list[dict[str, float]], epochs: int | None) -> None:
        """Show the curves of a run."""
        new = (losses, metrics, epochs or 0)
        if new != (self._losses, self._rows, self._epochs):
            self._losses, self._rows, self._epochs = losses, list(metrics), epochs or 0
            self._draw()

    def values_at(self, epoch: float | None = None) -> dict[str, float | None]:
        """Return the value of each curve at an epoch, by title; None if there is none."""
        found = {"training": _nearest_value(*self._training_loss(), epoch)}
        for key, name in (("tuning_loss", "validation"), *self._measures):
            epochs, values = _metric_column(self._rows, key)
            by_epoch = dict(zip(epochs, values, strict=True))
            found[name] = by_epoch.get(_nearest_epoch(epoch)) if epoch is not None else values[-1] if values else None
        return found

    def _on_imported(self, module: Any) -> None:  # noqa: ANN401 - mypy has no attributes of a module
        """Create one plot per event loop iteration, because two at once would be noticeable."""
        self._tasks.add(*(partial(self._add_plot, module.CurvePlot, title) for title in PLOTS), self._on_built)

    def _add_plot(self, kind: type[CurvePlot], title: str) -> None:
        legend = named(QLabel(), f"legend_{title}", f"Values: {title}")
        legend.setTextFormat(Qt.TextFormat.RichText)
        legend.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        plot = named(kind(LABELS[title], PLOTS[title]), f"plot_{title}", f"{title} over the epochs")
        plot.setToolTip("")
        plot.set_palette(self._icons.palette)
        plot.pointed.connect(self._on_pointed)
        self._new_plots[title], self._legends[title] = plot, legend
        self._column.addWidget(legend)
        self._column.addWidget(plot)

    def _on_built(self) -> None:
        self.plots = self._new_plots
        self._column.addStretch(1)
        self._draw()
        self.ready.emit()

    def _on_theme(self) -> None:
        for plot in self._new_plots.values():
            plot.set_palette(self._icons.palette)
        self._update_legends()

    def _on_pointed(self, epoch: float) -> None:
        last = max([0.0, *self._losses.epochs[-1:], float(len(self._rows))])
        self._epoch_under_mouse = None if math.isnan(epoch) or not last else min(max(epoch, 0.0), last)
        for plot in self.plots.values():
            plot.show_cursor(self._epoch_under_mouse)
        self._update_legends()

    def _draw(self) -> None:
        drawable = bool(self.plots) and bool(self._losses.values or self._rows)
        self._stack.setCurrentWidget(self._page if drawable else self._empty)
        if not drawable:
            return
        loss, metric = self.plots["loss"], self.plots["overlap"]
        loss.set_values("training", *self._training_loss())
        loss.set_values("validation", *_metric_column(self._rows, "tuning_loss"))
        for role, (key, _) in zip((MONITOR_CURVE, SECOND_CURVE), self._measures, strict=True):
            metric.set_values(role, *_metric_column(self._rows, key))
        best = find_best_row(self._rows)
        for plot in self.plots.values():
            plot.set_epochs(max(self._epochs, len(self._rows)))
            plot.set_best(None if best is None else float(best["epoch"]) + 1)
        self._update_legends()

    @property
    def _measures(self) -> tuple[tuple[str, str], ...]:
        """Key and title of the validation metrics: Jaccard and Dice, or those of a classifier."""
        return monitor_from_values(self._rows[-1] if self._rows else {}).measures

    def _training_loss(self) -> tuple[Sequence[float], Sequence[float]]:
        """Return the training loss of the steps, or of the epochs if there are fewer steps."""
        if len(self._losses.values) < len(self._rows):
            return _metric_column(self._rows, "loss")
        return self._losses.epochs, self._losses.values

    def _update_legends(self) -> None:
        """Write the legends: each curve with its symbol, color and value."""
        if not self.plots:
            return
        values, best = self.values_at(self._epoch_under_mouse), find_best_row(self._rows)
        titles = dict(zip((MONITOR_CURVE, SECOND_CURVE), (title for _, title in self._measures), strict=True))
        epoch_text = None if self._epoch_under_mouse is None else f"epoch {_nearest_epoch(self._epoch_under_mouse)}"
        for title, curves in PLOTS.items():
            parts = [
                self._format_legend_entry(curve, name, values[name])
                for curve in curves
                for name in [titles.get(curve.name, curve.name)]
            ]
            if title == "overlap" and best is not None and self._epoch_under_mouse is None:
                parts.append(f"┊ best: {int(best['epoch']) + 1}")
            elif title == "loss" and epoch_text is not None:
                parts.append(epoch_text)
            self._legends[title].setText("&nbsp; ".join(parts))
            self._legends[title].setToolTip(TIPS[title])

    def _format_legend_entry(self, curve: CurveStyle, name: str, value: float | None) -> str:
        mark = f"<span style='color: {curve.color(self._icons.palette)}'>{SYMBOLS[curve.symbol]}</span>"
        return f"{mark} {html.escape(name)} {'–' if value is None else f'{value:.3f}'}"


def _import_plots(run: RunContext) -> ModuleType:
    """Import the plots and pyqtgraph, which takes 100 ms or more."""
    return import_module("napari_melanoma.ui.train.plot")


def _metric_column(rows: list[dict[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Return the epochs and values of a metric."""
    found = [(parse_number(row, "epoch"), parse_number(row, name)) for row in rows]
    points = [(epoch + 1, value) for epoch, value in found if epoch is not None and value is not None]
    return [epoch for epoch, _ in points], [value for _, value in points]


def _nearest_epoch(epoch: float) -> int:
    """Return the epoch whose end is nearest, counted from 1."""
    return max(1, math.floor(epoch + 0.5))


def _nearest_value(epochs: Sequence[float], values: Sequence[float], at: float | None) -> float | None:
    """Return the value at the nearest epoch, or the last one."""
    if not values:
        return None
    if at is None:
        return values[-1]
    return values[int(np.abs(np.asarray(epochs) - at).argmin())]
