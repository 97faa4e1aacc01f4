"""Analyze photographs from the Lesion dock, one after the other, and summarize the results in the status line."""

from __future__ import annotations

import time
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QAbstractButton, QMessageBox, QWidget

from napari_melanoma import worker
from napari_melanoma.core.context import KeptArray, Progress, RunContext
from napari_melanoma.core.formatting import capitalize, format_duration
from napari_melanoma.core.garbage_collection import paused_garbage_collection
from napari_melanoma.core.provenance import describe_device
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
from napari_melanoma.ui.session.lesion_updates import FinishedAnalysis, LesionController
from napari_melanoma.ui.session.photograph import PhotographSession
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource
from napari_melanoma.ui.viewer.units import read_units, use_units
from napari_melanoma.ui.widgets.dialogs import create_question
from napari_melanoma.ui.widgets.job import BackgroundJob, JobFunction, LatestJobQueue, tasks
from napari_melanoma.ui.widgets.status_line import StatusLine
from napari_melanoma.ui.worker_client import WorkerClient

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pint import UnitRegistry

    from napari_melanoma.lesion.analysis import LesionResult

TASK = "analysing"


class AnalysisSummary(NamedTuple):
    """The message about the analysis of one photograph; without its session, which would keep the pixels in memory."""

    identity: str
    seconds: float
    message: str


class LesionAnalysisController(QObject):
    """Starts analyses; corrected masks are replaced only if the user confirms.

    ``changed``: analyses have started or ended. ``analyzed``: a photograph was analyzed.
    """

    changed = Signal()
    progressed = Signal(object)  # Progress
    analyzed = Signal(object)  # FinishedAnalysis
    failed = Signal(object)  # Exception

    def __init__(self, controller: LesionController, client: WorkerClient, status: StatusLine, dock: QWidget) -> None:
        super().__init__(dock)
        self._controller, self._client, self._status, self._dock = controller, client, status, dock
        self._total = self._done = 0  # numbers of photographs
        self._name, self._position = "", 0  # of the photograph that is analyzed
        self._start_time = 0.0
        self._last: FinishedAnalysis | None = None
        self._error: Exception | None = None
        self._summary: AnalysisSummary | None = None
        self.queue = LatestJobQueue(self)
        self.queue.progressed.connect(self._on_progress)
        self.queue.failed.connect(self._on_failed)
        self.queue.idle.connect(self._on_idle)
        self.progressed.connect(partial(status.progress, TASK))
        status.cancelled.connect(self._on_cancelled)
        controller.changed.connect(self._on_result)

    def analyze(self, session: PhotographSession) -> None:
        """Analyze a photograph; ask first if its mask was corrected."""
        if not tasks.is_idle(self.queue):
            return
        if session.is_corrected:
            self._confirm_replace(session)
        else:
            self._start([session])

    def analyze_all(self) -> None:
        """Analyze all photographs whose masks were not corrected."""
        if not tasks.is_idle(self.queue):
            return
        uncorrected = [one for one in self._controller.sessions.update() if not one.is_corrected]
        if uncorrected:
            self._start(uncorrected)
        else:
            self._status.show_message(
                "All masks were corrected manually. No photograph was analyzed. "
                "To replace one, select its photograph and press Analyze."
            )

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
        self._total, self._done, self._position, self._start_time = len(sessions), 0, 0, time.monotonic()
        self._status.begin(TASK, "Analyzing ...")
        for session in sessions:
            options = self._controller.options.get(session)
            self.queue.submit(
                f"analyze {session.identity}",
                partial(self._prepare, session, options),
                partial(self._on_analyzed, session, session.mask_pixels),
            )
        self.queue.hurry()
        self.changed.emit()

    def _prepare(self, session: PhotographSession, options: LesionOptions) -> JobFunction | None:
        self._position += 1
        if not session.is_open:
            return None
        self._name = session.name
        return partial(analyze_photograph, self._client, session.source, options)

    def _on_progress(self, progress: Progress) -> None:
        if self._total == 1:
            self.progressed.emit(progress)
            return
        left = ""
        if self._done:
            seconds = (time.monotonic() - self._start_time) / self._done * (self._total - self._position + 1)
            left = f", {format_duration(seconds)} left"
        message = f"{self._name}: photograph {self._position} of {self._total}{left}"
        self.progressed.emit(Progress(self._position - 1, self._total, message))

    def _on_analyzed(self, session: PhotographSession, previous: NDArray[np.bool_], lesion: AnalyzedLesion) -> None:
        self._done += 1
        self._last = FinishedAnalysis(session, previous, lesion)
        self._controller.add_result(self._last)
        self.analyzed.emit(self._last)

    def _on_failed(self, error: Exception) -> None:
        self._error = error
        self.failed.emit(error)

    def _on_cancelled(self, task: str) -> None:
        if task == TASK:
            self.queue.cancel()

    def _on_idle(self) -> None:
        message: str | None = None  # errors were already shown
        count, seconds = self._done, time.monotonic() - self._start_time
        if self._last is not None and count == 1 and not self._last.session.is_open:
            name = self._last.lesion.result.photograph.name
            message = f"{name} was removed during its analysis. Its result was discarded."
        elif self._last is not None:
            message = summarize_analysis(self._last, count, seconds)
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
            finished = FinishedAnalysis(session, session.mask_pixels, session.lesion)
            message = summarize_analysis(finished, 1, summary.seconds)
            self._status.show_message(message)
            self._summary = summary._replace(message=message)


def analyze_photograph(
    client: WorkerClient, source: LayerPhotographSource, options: LesionOptions, run: RunContext
) -> AnalyzedLesion:
    """Return the predicted lesion of a photograph."""
    from napari_melanoma.lesion.analysis import derive_result

    run.report(Progress(0, None, "Reading the photograph"))
    photograph, digest = source.read_with_digest()
    pixels = KeptArray(digest, photograph.rgb)
    prediction, stamp = client.call(run, worker.segment, options.model, pixels, options.flips)
    run.report(Progress(2, 2, "Measuring"))
    result = derive_result(photograph, prediction, options, stamp)
    result.compute_properties()
    return AnalyzedLesion.from_model(result, digest)


def summarize_analysis(last: FinishedAnalysis, count: int, seconds: float) -> str:
    """Summarize an analysis in one message, with the name of the photograph unless it is displayed.

    ``last``: of the last photograph. ``count``: number of analyzed photographs.
    """
    result = last.lesion.result
    model = f"with {result.model.name} on {describe_device(result.model.device, result.model.backend)}"
    if count > 1:
        return f"{count} photographs analyzed in {seconds:.1f} s {model}."
    name = "" if last.session.displayed.value else f"{result.photograph.name}: "
    if not result.measurements:
        advice = "Lower the threshold or paint the lesion."
        if result.validity.valid:
            statement = result.validity.headline(f"no lesion found {model}")
            return capitalize(f"{name}{statement}. {advice}")
        # The reason comes first: "no lesion found" must not be read as a finding.
        reason = result.validity.headline("")
        return f"{name}{reason}. No lesion found {model}. {advice}"
    analyzed = capitalize(f"{name}analyzed in {seconds:.1f} s {model}.")
    return " ".join(filter(None, (analyzed, _describe_band(result))))  # the section Mask names other lesions


def _describe_band(result: LesionResult) -> str:
    """Describe how much the predictions of the test-time augmentation disagree; empty without augmentation."""
    if result.band is None:
        return ""
    share = result.band.sum() / max(1, (result.mask | result.band).sum())
    return f"Predictions for the flipped images disagree on {100 * share:.0f} % of the segmented area (blue band)."


PRELOADED = (
    *("pandas", "skimage.color.colorconv"),  # napari imports them with the first Labels layer: the window would stall
    *("napari_melanoma.classification.prediction", "napari_melanoma.imaging.ruler"),
    *("scipy.signal", "imagecodecs", "PIL.ImageDraw"),  # for the search of a ruler, and to store the results
)


def preload_libraries() -> BackgroundJob:
    """Return the job that loads what the first photograph needs, which would block the window then."""
    job = BackgroundJob(_preload)
    job.succeeded.connect(use_units)
    return job


@paused_garbage_collection()
def _preload(run: RunContext) -> UnitRegistry:
    """Import the libraries that the first analysis needs, by analyzing a few pixels; return the units of layers."""
    import numpy as np

    from napari_melanoma.data.taxonomy import load_taxonomy
    from napari_melanoma.imaging.scribbles import redraw_border
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.analysis import ModelStamp, derive_result
    from napari_melanoma.ui.readers import preload_xarray

    rgb = np.full((32, 32, 3), 200, np.uint8)
    rgb[8:24, 8:24] = 60
    strokes = np.zeros((32, 32), np.uint8)
    strokes[12, 12], strokes[2, 2] = 1, 2
    run.check()
    for name in PRELOADED:
        run.check()
        import_module(name)
    preload_xarray()
    load_taxonomy("diagnosis")
    stamp = ModelStamp("none", "", "cpu", 0.5)
    probability = (1 - rgb[..., 0] / np.float32(255)).astype(np.float32)
    result = derive_result(Photograph(rgb, "none"), probability, LesionOptions(), stamp)
    result.compute_properties()
    redraw_border(result.probability, rgb, result.mask, strokes)
    run.check()
    return read_units()
