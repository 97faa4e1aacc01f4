"""The runs there are, running and finished: look at one again, resume it, remove it."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QFile, QItemSelection, QModelIndex, QTimer, Signal
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import QAbstractButton, QFrame, QListView, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.core.errors import RunError
from napari_melanoma.ui.close_guard import ask
from napari_melanoma.ui.job import Job
from napari_melanoma.ui.look import ThemedIcons, named, quiet, row, tool
from napari_melanoma.ui.runs.model import RunRows, RunsModel

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.workflows.runs import RunReport

INTERVAL_MS = 2000
PATIENCE = 10  # a list that took long to read is read again after ten times as long
ROWS_SHOWN = 5
NONE = "No run yet. What you start is listed here, also after napari was closed."


class RunsList(QWidget):
    """Lists the runs of a folder, the newest first, and keeps itself up to date while it is seen."""

    chosen = Signal(object)
    resume_wanted = Signal(object)
    removed = Signal(object)
    listed = Signal(object)
    failed = Signal(object)

    def __init__(self, icons: ThemedIcons, folder: Path | None = None) -> None:
        super().__init__()
        named(self, "runs_list", "Runs").setToolTip("")
        self._folder = folder
        self._reading: Job | None = None
        self._removing: Job | None = None
        self._again = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.refresh)
        self.view = named(QListView(), "runs", "Runs, the newest first")
        self.view.setToolTip("")
        self.view.setFrameShape(QFrame.Shape.NoFrame)
        self.view.setMouseTracking(True)
        self.view.setUniformItemSizes(True)
        self.view.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self._model = RunsModel(self.view)
        self.view.setModel(self._model)
        self.view.setItemDelegate(RunRows(icons, self.view))
        self._empty = quiet(NONE)
        self.look = named(QPushButton("Look"), "runs_look", "Look")
        self.resume = named(QPushButton("Resume"), "runs_resume", "Resume")
        self.remove = tool("runs_remove", "Remove the run")
        icons.add(self.remove, "delete")
        icons.changed.connect(self.view.viewport().update)
        self._buttons = row(self.look, self.resume, self.remove)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self._empty, self.view, self._buttons):
            layout.addWidget(widget)
        self.view.doubleClicked.connect(self._on_look)
        self.view.selectionModel().selectionChanged.connect(self._on_selected)
        self._model.dataChanged.connect(self._enable)
        self.look.clicked.connect(self._on_look)
        self.resume.clicked.connect(self._on_resume)
        self.remove.clicked.connect(self._on_remove)
        self._show([])

    @property
    def busy(self) -> bool:
        """Whether the list is being read, or a run being removed."""
        return self._reading is not None or self._removing is not None

    @property
    def reports(self) -> list[RunReport]:
        """What is listed."""
        return list(self._model.reports)

    @property
    def selected(self) -> RunReport | None:
        """The run that the buttons are about."""
        index = self.view.currentIndex()
        chosen = index.isValid() and self.view.selectionModel().isSelected(index)
        return self._model.reports[index.row()] if chosen else None

    def select(self, path: Path | None) -> None:
        """Select a run."""
        found = None if path is None else self._model.row_of(path)
        if found is None:
            self.view.clearSelection()
        else:
            self.view.setCurrentIndex(self._model.index(found))

    def refresh(self) -> None:
        """Read the list anew, in a thread."""
        if self._reading is not None:
            self._again = True
            return
        self._again = False
        self._timer.stop()
        self._reading = Job(partial(_listed, self._folder))
        self._reading.succeeded.connect(self._on_listed)
        self._reading.failed.connect(self.failed)
        self._reading.finished.connect(self._on_read)
        self._reading.start()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Read the list while somebody looks at it."""
        super().showEvent(event)
        self.refresh()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt's name
        """Read it no more while nobody looks."""
        super().hideEvent(event)
        self._timer.stop()

    def _on_listed(self, found: tuple[list[RunReport], float]) -> None:
        reports, seconds = found
        self._show(reports)
        self._timer.setInterval(max(INTERVAL_MS, round(1000 * PATIENCE * seconds)))
        self.listed.emit(reports)

    def _on_read(self) -> None:
        self._reading = None
        if self._again:
            self.refresh()
        elif self.isVisible():
            self._timer.start()

    def _show(self, reports: list[RunReport]) -> None:
        before = self.selected
        self._model.show(reports)
        self.select(None if before is None else before.path)
        self._empty.setVisible(not reports)
        self.view.setVisible(bool(reports))
        self._buttons.setVisible(bool(reports))
        if reports:
            self.view.setFixedHeight(min(ROWS_SHOWN, len(reports)) * self.view.sizeHintForRow(0) + 2)
        self._enable()

    def _on_selected(self, now: QItemSelection, before: QItemSelection) -> None:
        self._enable()

    def _enable(self) -> None:
        """Enable what can be done with the run that is selected, and say why not where it cannot."""
        report = self.selected
        none = "Choose a run first"
        live = report is not None and report.state.active
        resumable = report is not None and report.state.resumable
        finished = "It is at work" if live else "It has finished: nothing is left to do"
        for button, possible, does, why in (
            (self.look, report is not None, "Show this run above (double click)", none),
            (self.resume, resumable, "Go on after its last finished epoch", finished if report else none),
            (
                self.remove,
                report is not None and not live and self._removing is None,
                "Move the folder of this run to the trash",
                "It is at work: cancel it first" if live else none,
            ),
        ):
            button.setEnabled(possible)
            button.setToolTip(does if possible else why)

    def _on_look(self, index: QModelIndex | None = None) -> None:
        if self.selected is not None:
            self.chosen.emit(self.selected.path)

    def _on_resume(self) -> None:
        if self.selected is not None and self.selected.state.resumable:
            self.resume_wanted.emit(self.selected.path)

    def _on_remove(self) -> None:
        report = self.selected
        if report is None:
            return
        details = f"Its checkpoints, curves and log go to the trash: {report.path}"
        if report.adopted is not None:
            details += f"\nThe model {report.adopted} that was taken over stays."
        elif report.bundle is not None:
            details += "\nIts model goes too; it was not taken over."
        box = ask(self, "remove_run", f"Remove the run '{report.name}'?", details)
        box.setWindowTitle("Runs")
        box.addButton("Remove", QMessageBox.ButtonRole.DestructiveRole).setObjectName("remove")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.buttonClicked.connect(partial(self._on_answer, report.path))
        box.finished.connect(box.deleteLater)
        box.open()

    def _on_answer(self, path: Path, button: QAbstractButton) -> None:
        if button.objectName() != "remove" or self._removing is not None:
            return
        self._removing = Job(partial(_remove, path))
        self._removing.succeeded.connect(self.removed)
        self._removing.failed.connect(self.failed)
        self._removing.finished.connect(self._on_removed)
        self._removing.start()
        self._enable()

    def _on_removed(self) -> None:
        self._removing = None
        self.refresh()


def _listed(folder: Path | None, run: RunContext) -> tuple[list[RunReport], float]:
    """Read the list, and say how long that took."""
    from napari_melanoma.workflows.runs import list_runs

    began = time.monotonic()
    return list_runs(folder), time.monotonic() - began


def _remove(path: Path, run: RunContext) -> Path:
    """Move a run folder to the trash, unless its process is at work, which it may be since the question was asked."""
    from napari_melanoma.workflows.launching import let_end

    if not let_end(path):
        raise RunError(f"{path.name} is at work. Cancel it first, then remove it.")
    if path.exists() and not QFile(str(path)).moveToTrash():
        raise RunError(f"{path.name} could not be moved to the trash. Remove the folder yourself: {path}")
    return path
