"""The page of one training run: state, buttons, notices, live curves of losses and metrics, and log."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices, QFontDatabase, QGuiApplication, QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QFrame,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QSizePolicy,
    QStackedLayout,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.core.formatting import capitalize
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.training.monitor import monitor_from_values
from napari_melanoma.ui.train.comparison import RunComparisonView
from napari_melanoma.ui.train.run_reader import CurveStyle, LossCurve, RunFolderReader, TrainingSnapshot
from napari_melanoma.ui.train.run_text import (
    RunActivity,
    completed_fraction,
    describe_activity,
    describe_details,
    describe_state,
    find_best_row,
    parse_number,
)
from napari_melanoma.ui.widgets.job import BackgroundJob, GuiTaskQueue
from napari_melanoma.ui.widgets.run_buttons import RunButtons
from napari_melanoma.ui.widgets.run_watch import RunWatcher
from napari_melanoma.ui.widgets.style import ThemedIcons, named, quiet_label, row, section, tool_button

if TYPE_CHECKING:
    from types import ModuleType

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.runs.launching import RunReport
    from napari_melanoma.training.monitor import Monitor
    from napari_melanoma.ui.train.plot import CurvePlot
    from napari_melanoma.ui.widgets.settings import DockSettings


MAX_LINES = 1000  # of the log
NO_RUN_SHOWN = "No run is shown. Start one, or select one from the list of runs."


class RunView(QWidget):
    """Show one run, and follow its folder while visible; the buttons only emit requests.

    ``detached``: the user closed the page.
    """

    command_requested = Signal(str)  # as in RunButtons
    resume_requested = Signal(object)  # Path of the run
    detached = Signal()

    def __init__(self, icons: ThemedIcons, settings: DockSettings) -> None:
        super().__init__()
        named(self, "run_view", "Run").setToolTip("")
        self.watch = RunWatcher(self, RunFolderReader)
        self.report: RunReport | None = None
        self._activity = RunActivity()
        self._name = named(QLabel(), "run_name", "Name of the run")
        self._state = named(QLabel(), "run_state", "State of the run")
        self._details = named(quiet_label(), "run_more", "Details of the run")
        for label in (self._name, self._state, self._details):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            label.setWordWrap(True)
            label.setToolTip("")
        self._bar = named(QProgressBar(), "run_progress", "Progress of the run")
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(8)
        self._folder = tool_button(
            "run_folder", "Open the run folder", "Also contains the sample predictions of each epoch"
        )
        icons.add(self._folder, "pop_out")
        self._tensorboard = tool_button("run_tensorboard", "Open the folder of TensorBoard", "", "TensorBoard")
        self._tensorboard.hide()
        self.buttons = RunButtons()
        self._notices = named(quiet_label(), "run_notices", "Notices of the run, the newest first")
        self._notices.setToolTip("")
        self._messages: list[str] = []  # of the notices, the newest first
        self.curves = TrainingCurves(icons)
        self.log = LogView(icons)
        self._lay_out(icons, settings)
        self._folder.clicked.connect(self._on_folder)
        self._tensorboard.clicked.connect(self._on_tensorboard)
        self.buttons.command_requested.connect(self._on_command_requested)
        self.buttons.resume_requested.connect(self._on_resume)
        self.buttons.detached.connect(self.detached)
        self.watch.snapshot_taken.connect(self._on_snapshot)
        self.set_run(None)

    @property
    def path(self) -> Path | None:
        """The displayed run folder."""
        return self.watch.path

    def set_run(self, path: Path | None) -> None:
        """Show another run, or the same run from the start, for example after it was resumed."""
        is_new = path != self.path or path is None
        self.log.clear()
        self._show_notices([])
        if is_new:
            self.report = None
            self._activity = RunActivity()
            self._name.setText("" if path is None else path.name)
            self._state.setText("")
            self._details.setText(NO_RUN_SHOWN if path is None else "Reading ...")
            self._bar.setRange(0, 1000)
            self._bar.setValue(0)
            self.buttons.show_status(None)
            self.curves.show_run(LossCurve(), [], None)
            self._tensorboard.hide()
        self._page.setVisible(path is not None)
        self.watch.set_run(path)

    def clear_pending_command(self) -> None:
        """Reset the buttons after a command could not be sent."""
        self.buttons.clear_pending()
        self.watch.expecting = False
        self._update_text()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Start following the run."""
        super().showEvent(event)
        self.watch.set_active(True)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Stop following the run."""
        super().hideEvent(event)
        self.watch.set_active(False)

    def _on_snapshot(self, snapshot: TrainingSnapshot) -> None:
        report = self.report = snapshot.status
        self._activity = self._activity.updated(snapshot.events, snapshot.active_seconds)
        self._name.setText(_format_title(report))
        self.buttons.show_status(report)
        self.watch.expecting = bool(self.buttons.pending_text)
        self._update_text()
        self.curves.show_run(snapshot.losses, report.metrics, report.epochs, report.monitor)
        self.log.add(snapshot.log)
        self._show_tensorboard(RunFolder(report.path).tensorboard)
        for event in snapshot.events:
            if event["kind"] == "notice" and (message := capitalize(str(event.get("message", "")))):
                self._show_notices([message, *(other for other in self._messages if other != message)])
            elif event["kind"] == "detail":
                self._details.setToolTip(capitalize(str(event.get("message", ""))))

    def _show_notices(self, messages: list[str]) -> None:
        self._messages = messages
        self._notices.setText("\n".join(f"• {message}" for message in messages))
        self._notices.setVisible(bool(messages))

    def _update_text(self) -> None:
        """Show the state of the run, or the pending command."""
        if self.report is None:
            return
        state = (
            self.buttons.pending_text
            or describe_activity(self.report, self._activity)
            or describe_state(self.report, self._activity)
        )
        self._state.setText(f"{state[:1].upper()}{state[1:]}")
        self._details.setText(describe_details(self.report, self._activity))
        fraction = completed_fraction(self.report)
        is_unknown = fraction is None or (fraction == 0 and bool(describe_activity(self.report, self._activity)))
        self._bar.setRange(0, 0 if is_unknown and self.report.state.active else 1000)
        self._bar.setValue(round(1000 * (fraction or 0)))

    def _on_command_requested(self, command: str) -> None:
        self._update_text()
        self.command_requested.emit(command)
        self.watch.refresh()

    def _on_resume(self) -> None:
        self._update_text()
        if self.path is not None:
            self.watch.expecting = True
            self.resume_requested.emit(self.path)
            self.watch.refresh()

    def _on_folder(self) -> None:
        if self.path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.path)))

    def _show_tensorboard(self, folder: Path) -> None:
        """Offer the folder of TensorBoard if the run has one."""
        self._tensorboard.setVisible(folder.is_dir())
        self._tensorboard.setToolTip(f"Open the folder with the files for TensorBoard: tensorboard --logdir {folder}")

    def _on_tensorboard(self) -> None:
        if self.path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(RunFolder(self.path).tensorboard)))

    def _lay_out(self, icons: ThemedIcons, settings: DockSettings) -> None:
        # so that the buttons below do not move when the text changes
        self._details.setMinimumHeight(2 * self._details.fontMetrics().lineSpacing() + 4)
        self._details.setAlignment(Qt.AlignmentFlag.AlignTop)
        font = self._state.font()
        font.setBold(True)
        self._state.setFont(font)
        log_section = section("Log", "log_section", self.log, settings, False)
        icons.add_sections(log_section)
        self._page = QWidget()
        page = QVBoxLayout(self._page)
        page.setContentsMargins(0, 0, 0, 0)
        page.setSpacing(6)
        for widget in (self._bar, self.buttons, self._notices, self.curves, log_section):
            page.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(row(self._name, self._tensorboard, self._folder, stretch=0))
        layout.addWidget(self._state)
        layout.addWidget(self._details)
        layout.addWidget(self._page)
        layout.addStretch(1)


def _format_title(report: RunReport) -> str:
    return report.name if report.recipe is None else f"{report.name} · {report.recipe.title}"


class RunPage(QWidget):
    """Page with a run and the comparison of its model."""

    back_requested = Signal()

    def __init__(self, icons: ThemedIcons, settings: DockSettings) -> None:
        super().__init__()
        self.back_button = tool_button(
            "back", "Back", "Back to the settings and the list of runs; the run continues (Escape)", "All runs"
        )
        icons.add(self.back_button, "left_arrow")
        self.run_view = RunView(icons, settings)
        self.comparison_view = RunComparisonView()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(7)
        layout.addWidget(self.back_button, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(self.comparison_view)
        layout.addWidget(self.run_view)
        layout.addStretch(1)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.back_button.clicked.connect(self.back_requested)
        self.run_view.watch.changed.connect(self._on_report)

    @property
    def path(self) -> Path | None:
        """The displayed run."""
        return self.run_view.path

    def set_run(self, path: Path | None) -> None:
        """Show a run."""
        if path != self.path:
            self.comparison_view.show_comparison(None)
            self.comparison_view.hide()
        self.run_view.set_run(path)

    def _on_report(self, report: RunReport) -> None:
        """Show the comparison of a finished run."""
        has_comparison = str(report.state) == "finished" and report.bundle is not None
        self.comparison_view.show_comparison(report if has_comparison else None)
        self.comparison_view.setVisible(has_comparison)


class ActiveRunNotice(QFrame):
    """Links to the running and queued runs; hidden if there are none."""

    chosen = Signal(object)  # Path of the run

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._icons = icons
        self._reports: list[RunReport] = []
        named(self, "notice", "Active runs").setToolTip("")
        self._label = named(QLabel(), "runs_at_work", "Active runs")
        self._label.setToolTip("")
        self._label.setWordWrap(True)
        self._label.linkActivated.connect(self._on_link)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self._label)
        icons.changed.connect(self._update_text)
        self.hide()

    def show_runs(self, reports: Sequence[RunReport]) -> None:
        """Show the running and queued runs."""
        self._reports = [report for report in reports if report.state.active]
        self._update_text()
        self.setVisible(bool(self._reports))

    def _update_text(self) -> None:
        link = self._icons.link
        lines = [f"{link(str(report.path), report.name)}: {describe_state(report)}" for report in self._reports]
        self._label.setText("<br>".join(lines))

    def _on_link(self, link: str) -> None:
        self.chosen.emit(Path(link))


class LogView(QWidget):
    """Log of a run, which scrolls to new lines unless the user has scrolled up."""

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._text = named(QPlainTextEdit(), "log", "Log of the run")
        self._text.setToolTip("")
        self._text.setReadOnly(True)
        self._text.setMaximumBlockCount(MAX_LINES)
        self._text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._text.setPlaceholderText("No log entries yet.")
        font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        font.setPointSizeF(8.0)
        self._text.setFont(font)
        self._text.setFixedHeight(110)
        self._copy = tool_button("log_copy", "Copy the log", "Copy the log to the clipboard", "copy")
        self._copy.setEnabled(False)
        self._copy.clicked.connect(self._on_copy)
        icons.add(self._copy, "copy_to_clipboard")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._text)
        layout.addWidget(row(self._copy))

    @property
    def text(self) -> str:
        """The displayed text."""
        return str(self._text.toPlainText())

    def clear(self) -> None:
        """Remove the text."""
        self._text.clear()
        self._copy.setEnabled(False)

    def add(self, text: str) -> None:
        """Append lines."""
        lines = text.rstrip("\n")
        if not lines:
            return
        bar = self._text.verticalScrollBar()
        is_at_end = bar.value() >= bar.maximum() - 2
        self._text.appendPlainText(lines)
        self._copy.setEnabled(True)
        if is_at_end:
            bar.setValue(bar.maximum())

    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text)


MONITOR_CURVE, SECOND_CURVE = "monitor", "second"  # names of the curves: main metric of the task, second metric
# Colors of Okabe and Ito (2008), darker on a light background: safe with color vision deficiency; symbols differ, too.
PLOTS = {  # curves by plot
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
LABELS = {"loss": "loss", "overlap": "0 to 1"}  # of the vertical axes
HEIGHT_PX = 2 * (128 + 21)  # two plots with legends; reserved from the start, so that the layout does not change
NO_CURVES = "Curves appear after the first batches."
SYMBOLS = {"o": "●", "s": "■", None: "━"}


class TrainingCurves(QWidget):
    """Two plots over the epochs, of losses and of metrics.

    The legends show the values at the epoch under the mouse, or the last ones. ``ready``: the plots were created.
    """

    ready = Signal()

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        named(self, "curves", "Curves of the training").setToolTip("")
        self._icons = icons
        self._job: BackgroundJob | None = None
        self._losses, self._epochs = LossCurve(), 0  # 0 epochs: number unknown
        self._rows: list[dict[str, float]] = []  # metrics of each epoch
        self._monitor: Monitor | None = None
        self._epoch_under_mouse: float | None = None
        self.plots: dict[str, CurvePlot] = {}
        self._new_plots: dict[str, CurvePlot] = {}  # become self.plots when all have been created
        self._legends: dict[str, QLabel] = {}
        self._tasks = GuiTaskQueue(self)
        self._empty = quiet_label(NO_CURVES)
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
        """Import the plot library in a thread when shown for the first time, because that takes a moment."""
        super().showEvent(event)
        if self._job is None:
            self._job = BackgroundJob(_import_plots)
            self._job.succeeded.connect(self._on_imported)
            self._job.start()

    def show_run(
        self, losses: LossCurve, metrics: list[dict[str, float]], epochs: int | None, monitor: Monitor | None = None
    ) -> None:
        """Show the curves of a run.

        ``metrics``: a row for each epoch. ``epochs``: planned number, None if unknown. ``monitor``: selects the best
        epoch; by default, the metric of the task.
        """
        new = (losses, metrics, epochs or 0, monitor)
        if new != (self._losses, self._rows, self._epochs, self._monitor):
            self._losses, self._rows, self._epochs, self._monitor = losses, list(metrics), epochs or 0, monitor
            self._draw()

    def values_at(self, epoch: float | None = None) -> dict[str, float | None]:
        """Return the value of each curve by title: at an epoch, or (None) the last one; None if there is none."""
        by_title = {"training": _nearest_value(*self._training_loss(), epoch)}
        for key, name in (("validation_loss", "validation"), *self._measures):
            epochs, values = _metric_column(self._rows, key)
            by_epoch = dict(zip(epochs, values, strict=True))
            by_title[name] = (
                by_epoch.get(_nearest_epoch(epoch)) if epoch is not None else values[-1] if values else None
            )
        return by_title

    def _on_imported(self, module: Any) -> None:  # noqa: ANN401 - mypy has no attributes of a module
        """Create one plot per iteration of the event loop, because two at once would delay the window noticeably."""
        self._tasks.add(*(partial(self._add_plot, module.CurvePlot, title) for title in PLOTS), self._on_built)

    def _add_plot(self, plot_class: type[CurvePlot], title: str) -> None:
        """Create a plot with its legend; ``title``: key of ``PLOTS``."""
        legend = named(QLabel(), f"legend_{title}", f"Values: {title}")
        legend.setTextFormat(Qt.TextFormat.RichText)
        legend.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        plot = named(plot_class(LABELS[title], PLOTS[title]), f"plot_{title}", f"{title} over the epochs")
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
        loss.set_values("validation", *_metric_column(self._rows, "validation_loss"))
        for role, (key, _) in zip((MONITOR_CURVE, SECOND_CURVE), self._measures, strict=True):
            metric.set_values(role, *_metric_column(self._rows, key))
        best = self._best_row
        for plot in self.plots.values():
            plot.set_epochs(max(self._epochs, len(self._rows)))
            plot.set_best(None if best is None else float(best["epoch"]) + 1)
        self._update_legends()

    @property
    def _measures(self) -> tuple[tuple[str, str], ...]:
        """Keys and titles of the two validation metrics: Jaccard and Dice, or those of a classifier."""
        return self._metric.measures

    @property
    def _metric(self) -> Monitor:
        """The main validation metric of the task."""
        return monitor_from_values(self._rows[-1] if self._rows else {})

    @property
    def _best_row(self) -> Mapping[str, Any] | None:
        return find_best_row(self._rows, self._monitor or self._metric)

    def _training_loss(self) -> tuple[Sequence[float], Sequence[float]]:
        """Return epochs and values of the training loss: of the steps, or of the epochs if there are fewer steps."""
        if len(self._losses.values) < len(self._rows):
            return _metric_column(self._rows, "loss")
        return self._losses.epochs, self._losses.values

    def _update_legends(self) -> None:
        """Write the legends: symbol, color and value of each curve."""
        if not self.plots:
            return
        values, best = self.values_at(self._epoch_under_mouse), self._best_row
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
    """Import the module of the plots, and thereby pyqtgraph, which takes 100 ms or more."""
    return import_module("napari_melanoma.ui.train.plot")


def _metric_column(rows: list[dict[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Return the epochs, counted from 1, and the values of a metric; rows without a value are left out."""
    pairs = [(parse_number(row, "epoch"), parse_number(row, name)) for row in rows]
    points = [(epoch + 1, value) for epoch, value in pairs if epoch is not None and value is not None]
    return [epoch for epoch, _ in points], [value for _, value in points]


def _nearest_epoch(epoch: float) -> int:
    """Return the epoch whose end is nearest to a position, counted from 1."""
    return max(1, math.floor(epoch + 0.5))


def _nearest_value(epochs: Sequence[float], values: Sequence[float], epoch: float | None) -> float | None:
    """Return the value nearest to an epoch, or (None) the last value; None if there are no values."""
    if not values:
        return None
    if epoch is None:
        return values[-1]
    return values[int(np.abs(np.asarray(epochs) - epoch).argmin())]
