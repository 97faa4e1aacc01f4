"""Analyze photographs from the Lesion dock, and summarize the results in the status line."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QAbstractButton, QMessageBox, QWidget

from napari_melanoma.core.provenance import describe_device
from napari_melanoma.ui.lesion.queues import LesionAnalysisQueue
from napari_melanoma.ui.session.analyzed_lesion import describe_other_lesions
from napari_melanoma.ui.widgets.dialogs import create_question
from napari_melanoma.ui.widgets.job import tasks

if TYPE_CHECKING:
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.session.lesion_updates import FinishedAnalysis, LesionController
    from napari_melanoma.ui.session.photograph import PhotographSession
    from napari_melanoma.ui.widgets.status_line import StatusLine
    from napari_melanoma.ui.worker_client import WorkerClient

TASK = "analysing"


class AnalysisSummary(NamedTuple):
    """The message about the analysis of one photograph; without its session, which would keep the pixels in memory."""

    identity: str
    seconds: float
    message: str


class LesionAnalysisController(QObject):
    """Starts analyses; corrected masks are replaced only if the user confirms."""

    changed = Signal()
    failed = Signal(object)  # Exception

    def __init__(self, controller: LesionController, client: WorkerClient, status: StatusLine, dock: QWidget) -> None:
        super().__init__(dock)
        self._controller, self._status, self._dock = controller, status, dock
        self._last: FinishedAnalysis | None = None
        self._error: Exception | None = None
        self._summary: AnalysisSummary | None = None
        self.queue = LesionAnalysisQueue(client, self)
        self.queue.progressed.connect(partial(status.progress, TASK))
        self.queue.analyzed.connect(self._on_analyzed)
        self.queue.failed.connect(self._on_failed)
        self.queue.finished.connect(self._on_finished)
        status.cancelled.connect(self._on_cancelled)
        controller.changed.connect(self._on_result)

    def analyze(self, session: PhotographSession) -> None:
        """Analyze a photograph; ask first if its mask was corrected."""
        if not tasks.is_idle(self.queue):
            return
        if self._is_corrected(session):
            self._confirm_replace(session)
        else:
            self._start([session])

    def analyze_all(self) -> None:
        """Analyze all photographs whose masks were not corrected."""
        if not tasks.is_idle(self.queue):
            return
        uncorrected = [one for one in self._controller.sessions.update() if not self._is_corrected(one)]
        if uncorrected:
            self._start(uncorrected)
        else:
            self._status.show_message(
                "All masks were corrected manually. No photograph was analyzed. "
                "To replace one, select its photograph and press Analyze."
            )

    def _is_corrected(self, session: PhotographSession) -> bool:
        self._controller.watcher.flush()
        return session.is_corrected

    def _confirm_replace(self, session: PhotographSession) -> None:
        details = (
            "The mask was corrected manually. You can restore it after the analysis with Ctrl+Z on the mask layer."
        )
        box = create_question(self._dock, "replace_corrections", "Replace your corrections?", details)
        box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.buttonClicked.connect(partial(self._on_replace_confirmed, session))
        box.finished.connect(box.deleteLater)
        box.open()

    def _on_replace_confirmed(self, session: PhotographSession, button: QAbstractButton) -> None:
        if button.objectName() == "replace" and tasks.is_idle(self.queue):
            self._start([session])

    def _start(self, sessions: list[PhotographSession]) -> None:
        self._last = self._error = None
        self._status.begin(TASK, "Analyzing ...")
        self.queue.start([(session, self._controller.options.get(session)) for session in sessions])
        self.changed.emit()

    def _on_analyzed(self, analysis: FinishedAnalysis) -> None:
        self._last = analysis
        self._controller.add_result(analysis)

    def _on_failed(self, error: Exception) -> None:
        self._error = error
        self.failed.emit(error)

    def _on_cancelled(self, task: str) -> None:
        if task == TASK:
            self.queue.cancel()

    def _on_finished(self, count: int, seconds: float) -> None:
        message: str | None = None  # errors were already shown
        if self._last is not None and count == 1 and not self._last.session.is_open:
            message = f"{self._last.result.photograph.name} was removed during its analysis. Its result was discarded."
        elif self._last is not None:
            message = summarize_analysis(self._last.result, count, seconds)
            self._summary = AnalysisSummary(self._last.session.identity, seconds, message) if count == 1 else None
        elif self._error is None:
            message = "Canceled. No changes were made."
        self._status.end(TASK, message)
        self._last = None
        self.changed.emit()

    def _on_result(self, session: PhotographSession) -> None:
        """Update the message about an analysis when its result changes, such as the number of lesions."""
        summary = self._summary
        if summary is None or summary.identity != session.identity:
            return
        self._summary = None  # no more updates if another message has replaced it
        if session.lesion is not None and self._status.text == summary.message:
            message = summarize_analysis(session.lesion.result, 1, summary.seconds)
            self._status.show_message(message)
            self._summary = summary._replace(message=message)


def summarize_analysis(result: LesionResult, count: int, seconds: float) -> str:
    """Summarize an analysis in one message.

    ``result``: of the last photograph. ``count``: number of analyzed photographs.
    """
    model = f"with {result.model.name} on {describe_device(result.model.device, result.model.backend)}"
    if count > 1:
        return f"{count} photographs analyzed in {seconds:.1f} s {model}."
    name = result.photograph.name
    if not result.measurements:
        advice = "Lower the threshold or paint the lesion."
        if result.validity.valid:
            statement = result.validity.headline(f"no lesion found {model}")
            return f"{name}: {statement}. {advice}"
        # The reason comes first: "no lesion found" must not be read as a finding.
        reason = result.validity.headline("")
        return f"{name}: {reason}. No lesion found {model}. {advice}"
    analyzed = f"{name}: analyzed in {seconds:.1f} s {model}."
    return " ".join(filter(None, (analyzed, describe_other_lesions(result), _describe_band(result))))


def _describe_band(result: LesionResult) -> str:
    """Describe how much the predictions of the test-time augmentation disagree; empty without augmentation."""
    if result.band is None:
        return ""
    share = result.band.sum() / max(1, (result.mask | result.band).sum())
    return f"Predictions for the flipped images disagree on {100 * share:.0f} % of the segmented area (blue band)."
