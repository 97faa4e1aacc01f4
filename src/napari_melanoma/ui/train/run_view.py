"""The page of one training: comparison of its model, state, buttons, notices, curves and log."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import Qt, QTimer, QUrl, Signal
from qtpy.QtGui import QDesktopServices, QFontDatabase, QHideEvent, QShowEvent
from qtpy.QtWidgets import QLabel, QPlainTextEdit, QScrollArea, QVBoxLayout, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.formatting import capitalize
from napari_melanoma.core.run_folder import RunCommand
from napari_melanoma.ui.train.comparison import RunComparisonView
from napari_melanoma.ui.train.run_reader import LossTrace, TrainingReader, TrainingSnapshot
from napari_melanoma.ui.train.run_text import (
    completed_fraction,
    describe_details,
    describe_state,
    keeps_last,
)
from napari_melanoma.ui.widgets.job import run_job
from napari_melanoma.ui.widgets.run_panel import RunPanel, RunSnapshot
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import ThemedIcons, column, named, quiet_label, row, section, tool_button

if TYPE_CHECKING:
    from napari_melanoma.ui.train.plot import TrainingCurves

CURVES_PX, LOG_PX = 298, 110  # reserved from the start, so that the layout does not change
NO_RUN_SHOWN = "No run is shown. Start one, or select one from the list of runs."


class TrainingPage(RunPanel):
    """Show one run, and follow its folder while visible."""

    back_requested = Signal()

    def __init__(self, icons: ThemedIcons, settings: DockSettings) -> None:
        super().__init__("run_view", "run", "at the last checkpoint", "all finished steps")
        self._icons = icons
        self._snapshot: TrainingSnapshot | None = None  # the last one
        self._notices: list[str] = []  # the newest first
        self.curves: TrainingCurves | None = None  # None until the library is imported
        self.back_button = tool_button(
            "back", "Back", "Back to the settings and the list of runs; the run continues (Escape)", "All runs"
        )
        icons.add(self.back_button, "left_arrow")
        self.comparison_view = RunComparisonView()
        self._name = named(QLabel(), "run_name", "Name of the run")
        self._name.setWordWrap(True)
        self._folder_button = tool_button(
            "run_folder", "Open the run folder", "Also contains the sample predictions of each epoch"
        )
        icons.add(self._folder_button, "pop_out")
        self._details = named(quiet_label(), "run_more", "Details of the run")
        self._notices_label = named(quiet_label(), "run_notices", "Notices of the run, the newest first")
        self.log = named(QPlainTextEdit(), "log", "Log of the run")
        self._lay_out(icons, settings)
        self.back_button.clicked.connect(self.back_requested)
        self._folder_button.clicked.connect(self._on_folder)
        self.set_folder(None)

    def _lay_out(self, icons: ThemedIcons, settings: DockSettings) -> None:
        for label in (self._name, self.state_label, self._details, self._notices_label):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            label.setToolTip("")
        font = self.state_label.font()
        font.setBold(True)
        self.state_label.setFont(font)
        self.log.setToolTip("")
        self.log.setReadOnly(True)
        self.log.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.log.setPlaceholderText("No log entries yet.")
        font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        font.setPointSizeF(8.0)
        self.log.setFont(font)
        self.log.setFixedHeight(LOG_PX)
        log_section = section("Log", "log_section", self.log, settings, False)
        icons.add_sections(log_section)
        self._curves_place = column()
        self._curves_place.setFixedHeight(CURVES_PX)
        # Above texts that change; the notices, of which there are more and more, are last
        self._controls = column(self.progress_bar, self.buttons, spacing=6)
        self._part = column(self._curves_place, log_section, self._notices_label, spacing=6)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(5)
        layout.addWidget(self.back_button, 0, Qt.AlignmentFlag.AlignLeft)
        head = row(self._name, self._folder_button, stretch=0)
        for widget in (self.comparison_view, head, self._controls, self.state_label, self._details, self._part):
            layout.addWidget(widget)
        layout.addStretch(1)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)

    def set_folder(self, folder: Path | None) -> None:
        """Show another run, or the same run from the start, for example after it was resumed."""
        if folder is None or folder != self.watch.path:
            self._snapshot = None
            self._name.setText("" if folder is None else folder.name)
            self.state_label.setText("")
            self._details.setText(NO_RUN_SHOWN if folder is None else "Reading ...")
            self.progress_bar.setValue(0)
            self.log.clear()
            self.comparison_view.show_comparison(None)
            if self.curves is not None:
                self.curves.show_run(LossTrace(), [], 0)
        self._show_notices([])
        for part in (self._controls, self._part):
            part.setVisible(folder is not None)
        super().set_folder(folder)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Start following the run; import the library of the plots in a thread, because that takes a moment."""
        super().showEvent(event)
        self.watch.set_active(True)
        if self.curves is None:
            run_job(self, "plots", _import_plots, self._create_curves, self.failed.emit)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Stop following the run."""
        super().hideEvent(event)
        self.watch.set_active(False)

    def _create_curves(self, module: Any) -> None:  # noqa: ANN401 - mypy has no attributes of a module
        self.curves = module.TrainingCurves(self._icons)
        self._curves_place.layout().addWidget(self.curves)
        self._draw()

    def _draw(self) -> None:
        if self.curves is not None and self._snapshot is not None:
            report = self._snapshot.status
            self.curves.show_run(
                self._snapshot.losses,
                report.metrics,
                report.epochs,
                report.monitor,
                keeps_last=keeps_last(report),
            )

    def _create_reader(self, path: Path) -> TrainingReader:
        return TrainingReader(path)

    def _write_command(self, folder: Path, command: RunCommand, run: RunContext) -> None:
        from napari_melanoma.core.processes import send_command_or_stop

        send_command_or_stop(folder, command)

    def _show_snapshot(self, snapshot: RunSnapshot) -> str:
        assert isinstance(snapshot, TrainingSnapshot)
        self._snapshot, report = snapshot, snapshot.status
        self._name.setText(report.name if report.recipe is None else f"{report.name} · {report.recipe.title}")
        has_comparison = str(report.state) == "finished" and report.bundle is not None
        was_hidden = self.comparison_view.isHidden()
        self.comparison_view.show_comparison(report if has_comparison else None)
        if was_hidden and not self.comparison_view.isHidden():
            QTimer.singleShot(0, self._scroll_to_comparison)  # after it is laid out
        self._draw()
        self._show_log(snapshot.log)
        for event in snapshot.events:
            self._show_event(event)
        return ""

    def _scroll_to_comparison(self) -> None:
        """Show the decision, which would otherwise be above the visible part of the page after a training."""
        area: QWidget | None = self if isalive(self) else None
        while area is not None and not isinstance(area, QScrollArea):
            area = area.parentWidget()
        if area is not None:
            area.ensureWidgetVisible(self.comparison_view, 0, 0)

    def _show_event(self, event: Mapping[str, Any]) -> None:
        message = capitalize(str(event.get("message", "")))
        if event["kind"] == "notice" and message:
            self._show_notices([message, *(other for other in self._notices if other != message)])
        elif event["kind"] == "detail":
            self._details.setToolTip(message)

    def _show_notices(self, messages: list[str]) -> None:
        self._notices = messages
        self._notices_label.setText("\n".join(f"• {message}" for message in messages))
        self._notices_label.setVisible(bool(messages))

    def _show_log(self, text: str) -> None:
        """Show the log, and scroll to new lines unless the user has scrolled up."""
        if text != self.log.toPlainText():
            bar = self.log.verticalScrollBar()
            position, is_at_end = bar.value(), bar.value() >= bar.maximum() - 2
            self.log.setPlainText(text)
            bar.setValue(bar.maximum() if is_at_end else position)

    def _describe(self) -> tuple[str, float]:
        assert self._snapshot is not None
        report, images = self._snapshot.status, self._snapshot.validation_images
        self._details.setText(describe_details(report, self._snapshot.active_seconds, images))
        return describe_state(report, images), completed_fraction(report) or 0.0

    def _on_folder(self) -> None:
        if self.watch.path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.watch.path)))


def _import_plots(run: RunContext) -> ModuleType:
    """Import the module of the plots, and thereby pyqtgraph, which takes 100 ms or more."""
    return import_module("napari_melanoma.ui.train.plot")
