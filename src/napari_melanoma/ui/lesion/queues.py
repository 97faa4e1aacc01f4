"""The queue of the photographs that the Lesion dock analyzes."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.formatting import format_duration
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.session.lesion_updates import FinishedAnalysis
from napari_melanoma.ui.viewer.garbage import collection_paused
from napari_melanoma.ui.widgets.job import BackgroundJob, tasks
from napari_melanoma.ui.worker_client import StagedTask, WorkerClient, remove_array

if TYPE_CHECKING:
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.session.photograph import PhotographSession
    from napari_melanoma.ui.viewer.photographs import LayerPhotographSource


class AnalysisArrays(NamedTuple):
    """The ``.npy`` files of an analysis: the pixels, and the worker's output: the probability and its spread."""

    image: Path
    probability: Path
    spread: Path


class LesionAnalysisTask(StagedTask):
    """Reads the pixels in a thread, requests the prediction from the worker, and derives the result in a thread.

    After ``cancel``, only ``finished`` is emitted.
    """

    succeeded = Signal(object)  # tuple of LesionResult, digest of the mask, and digest of the pixels
    failed = Signal(object)  # Exception
    finished = Signal()

    def __init__(self, client: WorkerClient, source: LayerPhotographSource, options: LesionOptions) -> None:
        super().__init__()
        self._client = client
        self._source = source
        self._options = options
        name = uuid.uuid4().hex
        self._arrays = AnalysisArrays(*(client.folder / f"{name}-{array}.npy" for array in AnalysisArrays._fields))
        self._photograph: Photograph | None = None
        self._digest = ""

    def start(self) -> None:
        """Start; call once."""
        self._start_stage(BackgroundJob(partial(_read_photograph, self._source, self._arrays.image)), self._on_read)

    def cancel(self) -> None:
        """Cancel at once; only ``finished`` is emitted."""
        stage, self._stage = self._stage, None
        if stage is not None:
            stage.cancel()
            self._end()

    def _on_read(self, pixels: tuple[Photograph, str]) -> None:
        self._photograph, self._digest = pixels
        paths = {"image": str(self._arrays.image), "out": str(self._arrays.probability)}
        if self._options.flips:
            paths["spread"] = str(self._arrays.spread)
        self._start_stage(self._client.request("segment", model=self._options.model, **paths), self._on_segmented)

    def _on_segmented(self, response: dict[str, Any]) -> None:
        assert self._photograph is not None
        self.progressed.emit(Progress(2, 2, "Measuring"))
        work = partial(_derive_result, self._photograph, self._arrays, response, self._options)
        self._start_stage(BackgroundJob(work), self._on_result)

    def _on_result(self, derived: tuple[LesionResult, str]) -> None:
        self._stage = None
        self.succeeded.emit((*derived, self._digest))
        self._end()

    def _on_failed(self, error: Exception) -> None:
        self._stage = None
        self.failed.emit(error)
        self._end()

    def _end(self) -> None:
        for path in self._arrays:
            remove_array(path)
        self.finished.emit()


def _read_photograph(source: LayerPhotographSource, array: Path, run: RunContext) -> tuple[Photograph, str]:
    run.report(Progress(0, None, "Reading the photograph"))
    pixels = source.read_into(array)
    if run.cancelled:
        remove_array(array)
    return pixels


def _derive_result(
    photograph: Photograph, arrays: AnalysisArrays, response: dict[str, Any], options: LesionOptions, run: RunContext
) -> tuple[LesionResult, str]:
    run.check()
    derived = derive_served_result(photograph, arrays.probability, response, options)
    for path in arrays:
        remove_array(path)  # not in the GUI thread, where it took up to 14 ms
    return derived


class LesionAnalysisQueue(QObject):
    """Analyzes photographs one after the other."""

    progressed = Signal(object)  # Progress
    analyzed = Signal(object)  # FinishedAnalysis
    failed = Signal(object)  # Exception
    finished = Signal(int, float)  # number of analyzed photographs, and seconds; also after ``cancel``

    def __init__(self, client: WorkerClient, parent: QObject) -> None:
        super().__init__(parent)
        self._client = client
        self._pending: deque[tuple[PhotographSession, LesionOptions, str | None]] = deque()  # with the mask's digest
        self._analysis: LesionAnalysisTask | None = None
        self._name = ""  # of the photograph
        self._total = self._done = 0  # numbers of photographs
        self._start_time = 0.0

    def start(self, photographs: Iterable[tuple[PhotographSession, LesionOptions]]) -> None:
        """Start analyzing photographs; a running analysis is canceled."""
        self._cancel_current()
        self._pending.extend((session, options, session.mask_digest) for session, options in photographs)
        self._total, self._done, self._start_time = len(self._pending), 0, time.monotonic()
        self._next()

    def cancel(self) -> None:
        """Cancel at once; finished results are kept."""
        if not tasks.is_idle(self):
            self._cancel_current()
            self.finished.emit(self._done, time.monotonic() - self._start_time)

    def _cancel_current(self) -> None:
        self._pending.clear()
        analysis, self._analysis = self._analysis, None
        tasks.set_running(self, False)
        if analysis is not None:
            analysis.finished.disconnect(self._next)
            analysis.cancel()

    def _next(self) -> None:
        self._analysis = None
        while self._pending and self._analysis is None:
            session, options, digest = self._pending.popleft()
            if session.is_open:
                self._name = session.name
                self._analysis = LesionAnalysisTask(self._client, session.source, options)
                self._analysis.succeeded.connect(partial(self._on_success, session, digest))
        tasks.set_running(self, self._analysis is not None)
        if self._analysis is None:
            self.finished.emit(self._done, time.monotonic() - self._start_time)
            return
        self._analysis.progressed.connect(self._on_progress)
        self._analysis.failed.connect(self.failed)
        self._analysis.finished.connect(self._next)
        self._analysis.start()

    def _on_progress(self, progress: Progress) -> None:
        if self._total == 1:
            self.progressed.emit(progress)
            return
        position = self._total - len(self._pending)
        left = ""
        if self._done:
            seconds = (time.monotonic() - self._start_time) / self._done * (len(self._pending) + 1)
            left = f", {format_duration(seconds)} left"
        message = f"{self._name}: photograph {position} of {self._total}{left}"
        self.progressed.emit(Progress(position - 1, self._total, message))

    def _on_success(
        self, session: PhotographSession, previous_digest: str | None, digested: tuple[LesionResult, str, str]
    ) -> None:
        self._done += 1
        self.analyzed.emit(FinishedAnalysis(session, previous_digest, *digested))


def derive_served_result(
    photograph: Photograph, array: Path, response: dict[str, Any], options: LesionOptions
) -> tuple[LesionResult, str]:
    """Derive the result and the digest of its mask from the worker's response.

    ``array``: the probability, a ``.npy`` of float32 (row, column).
    """
    import numpy as np

    from napari_melanoma.lesion.analysis import ModelStamp, derive_result
    from napari_melanoma.lesion.segmentation import LesionPrediction

    spread = response.get("spread")
    prediction = LesionPrediction(np.load(array), None if spread is None else np.load(spread))
    result = derive_result(photograph, prediction, options, ModelStamp(**response["model"]))
    result.compute_properties()
    return result, array_fingerprint(result.mask)


@collection_paused()
def preload_libraries(run: RunContext) -> None:
    """Import the libraries that the first analysis needs, by analyzing a few pixels."""
    import numpy as np

    from napari_melanoma.data.taxonomy import load_taxonomy
    from napari_melanoma.imaging.scribbles import redraw_border
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.analysis import ModelStamp, derive_result

    rgb = np.full((32, 32, 3), 200, np.uint8)
    rgb[8:24, 8:24] = 60
    strokes = np.zeros((32, 32), np.uint8)
    strokes[12, 12], strokes[2, 2] = 1, 2
    run.check()
    import_module("pandas")  # napari imports it with the first Labels layer, which would block the window
    import_module("napari_melanoma.classification.prediction")
    load_taxonomy("diagnosis")
    stamp = ModelStamp("none", "", "cpu", 0.5)
    probability = (1 - rgb[..., 0] / np.float32(255)).astype(np.float32)
    result = derive_result(Photograph(rgb, "none"), probability, LesionOptions(), stamp)
    redraw_border(result.probability, rgb, result.mask, strokes)
