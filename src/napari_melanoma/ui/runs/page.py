"""The page of one run in the Train dock: the way back, the run as it goes, and after it what the gate says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_melanoma.ui.gate_view import GateView
from napari_melanoma.ui.look import ThemedIcons, tool
from napari_melanoma.ui.runs.view import RunView

if TYPE_CHECKING:
    from napari_melanoma.ui.settings import Settings
    from napari_melanoma.workflows.runs import RunReport


class RunPage(QWidget):
    """A run, live or of another day."""

    left = Signal()

    def __init__(self, icons: ThemedIcons, settings: Settings) -> None:
        super().__init__()
        self.back = tool(
            "back", "Back", "Back to the settings and the list of runs; a run goes on (Escape)", "All runs"
        )
        icons.add(self.back, "left_arrow")
        self.run = RunView(icons, settings)
        self.gate = GateView(icons)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(7)
        layout.addWidget(self.back, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(self.gate)
        layout.addWidget(self.run)
        layout.addStretch(1)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.back.clicked.connect(self.left)
        self.run.watch.changed.connect(self._on_report)

    @property
    def path(self) -> Path | None:
        """The run that is shown."""
        return self.run.path

    def set_run(self, path: Path | None) -> None:
        """Show a run."""
        if path != self.path:
            self.gate.show_comparison(None)
            self.gate.hide()
        self.run.set_run(path)

    def _on_report(self, report: RunReport) -> None:
        """Show the gate of a run that has one."""
        has_gate = str(report.state) == "finished" and report.bundle is not None
        self.gate.show_comparison(report if has_gate else None)
        self.gate.setVisible(has_gate)
