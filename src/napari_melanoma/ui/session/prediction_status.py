"""The progress and duration of predictions in the status line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_melanoma.ui.widgets.status_line import describe_failure

if TYPE_CHECKING:
    from napari_melanoma.core.context import Progress
    from napari_melanoma.ui.session.heatmap_options import HeatmapOptions
    from napari_melanoma.ui.session.lesion_prediction import LesionPredictionRequest
    from napari_melanoma.ui.session.photograph_predictions import PhotographPredictions
    from napari_melanoma.ui.widgets.status_line import StatusLine

TASK = "predicting"
STATUS_DELAY_MS = 200
DURATION_PREFIX = "Predicted in"  # followed by the seconds


class PredictionStatus(QObject):
    """Shows the progress and duration of predictions in the status line, which cancels them."""

    def __init__(self, status: StatusLine, predictions: PhotographPredictions, parent: QObject) -> None:
        super().__init__(parent)
        self._status, self._predictions = status, predictions
        self._start_time = 0.0
        self._previous_text = ""  # status message before the prediction
        self._progress: Progress | None = None
        self._is_shown = False  # whether the status line shows the prediction
        self._has_result, self._error = False, ""  # of the last request; message of the last error
        self._failed_method = ""  # of the heatmap with this error
        self._delay_timer = QTimer(self)
        self._delay_timer.setSingleShot(True)
        self._delay_timer.setInterval(STATUS_DELAY_MS)
        self._delay_timer.timeout.connect(self._on_delay)
        predictions.heatmap_options.changed.connect(self._on_heatmap_options)
        status.cancelled.connect(self._on_cancelled)
        queue = predictions.queue
        queue.started.connect(self._on_started)
        queue.progressed.connect(self._on_progress)
        queue.predicted.connect(self._on_predicted)
        queue.failed.connect(self._on_failed)
        queue.idle.connect(self._on_idle)

    def _on_heatmap_options(self, options: HeatmapOptions) -> None:
        """Clear the error of the last request, if another one is made."""
        is_repeated = not options.is_shown or options.method != self._failed_method
        if is_repeated:
            self._status.end_message(self._error)

    def _on_cancelled(self, task: str) -> None:
        if task == TASK:
            self._predictions.cancel()

    def _on_started(self, request: LesionPredictionRequest) -> None:
        self._has_result = False
        if not self._delay_timer.isActive() and not self._is_shown:
            self._start_time, self._progress = time.monotonic(), None
            self._delay_timer.start()

    def _on_delay(self) -> None:
        """Show the task once it has taken longer than ``STATUS_DELAY_MS``."""
        self._is_shown, self._previous_text = True, self._status.text
        self._status.begin(TASK, "Predicting the diagnosis ...")
        if self._progress is not None:
            self._status.progress(TASK, self._progress)

    def _on_progress(self, progress: Progress) -> None:
        self._progress = progress
        if self._is_shown:
            self._status.progress(TASK, progress)

    def _on_predicted(self, request: LesionPredictionRequest, response: object) -> None:
        self._has_result = True

    def _on_failed(self, request: LesionPredictionRequest, error: Exception) -> None:
        self._has_result, self._error, self._failed_method = False, describe_failure(error), request.method

    def _on_idle(self) -> None:
        self._delay_timer.stop()
        if not self._is_shown:
            return
        self._is_shown = False
        text = self._status.text  # another message may have been shown in the meantime
        if text.endswith("..."):
            text = self._previous_text
        if text.endswith("...") or (text == self._error and self._has_result):
            text = ""
        message = text.partition(DURATION_PREFIX)[0].strip()
        if self._has_result:
            message = f"{message} {DURATION_PREFIX} {time.monotonic() - self._start_time:.1f} s.".strip()
        self._status.end(TASK, message)
