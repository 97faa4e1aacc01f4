"""A line on top of the settings: a run is at work, and a way to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QLabel, QVBoxLayout

from napari_melanoma.ui.look import ThemedIcons, named
from napari_melanoma.ui.runs.words import said_state

if TYPE_CHECKING:
    from napari_melanoma.workflows.runs import RunReport


class RunNotice(QFrame):
    """Says which runs are at work or wait; hidden where none does."""

    chosen = Signal(object)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._icons = icons
        self._reports: list[RunReport] = []
        named(self, "notice", "Runs at work").setToolTip("")
        self._words = named(QLabel(), "runs_at_work", "Runs at work")
        self._words.setToolTip("")
        self._words.setWordWrap(True)
        self._words.linkActivated.connect(self._on_link)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self._words)
        icons.changed.connect(self._say)
        self.hide()

    def show_runs(self, reports: Sequence[RunReport]) -> None:
        """Show those that are at work or wait."""
        self._reports = [report for report in reports if report.state.active]
        self._say()
        self.setVisible(bool(self._reports))

    def _say(self) -> None:
        lines = [f"{self._icons.link(str(r.path), r.name)}: {said_state(r)}" for r in self._reports]
        self._words.setText("<br>".join(lines))

    def _on_link(self, link: str) -> None:
        self.chosen.emit(Path(link))
