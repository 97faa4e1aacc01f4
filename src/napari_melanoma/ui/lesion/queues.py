"""Queues of the Lesion dock: photographs to analyze, and predictions and heatmaps requested from the worker."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
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
from napari_melanoma.ui.worker_client import WorkerClient, WorkerRequest

if TYPE_CHECKING:
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.session.lesion_prediction import ClassifierInput, LesionPredictionRequest
    from napari_melanoma.ui.session.photograph import PhotographSession
    from napari_melanoma.ui.viewer.photographs import LayerPhotographSource


class AnalysisArrays(NamedTuple):
    """The ``.npy`` files of an analysis: the pixels, and the worker's output: the probability and its spread."""

    image: Path
    probability: Path
    spread: Path


class StagedTask(QObject):
    """Base class of tasks whose stages run one after the other, in threads and in the worker."""

    progressed = Signal(object)  # Progress
    _stage: BackgroundJob | WorkerRequest | None = None

    def _start_stage(self, stage: BackgroundJob | WorkerRequest, on_success: Callable[[Any], None]) -> None:
        self._stage = stage
        stage.progressed.connect(self.progressed)
        stage.succeeded.connect(on_success)
        stage.failed.connect(self._on_failed)
        if isinstance(stage, BackgroundJob):
            stage.start()

    def _on_failed(self, error: Exception) -> None:
        raise NotImplementedError


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
            _remove(path)
        self.finished.emit()


def _remove(array: Path) -> None:
    """Remove an array if possible; the client removes its whole folder at the end."""
    with suppress(OSError):  # on Windows, a worker that was just killed may still hold the file
        array.unlink(missing_ok=True)


def _read_photograph(source: LayerPhotographSource, array: Path, run: RunContext) -> tuple[Photograph, str]:
    run.report(Progress(0, None, "Reading the photograph"))
    pixels = source.read_into(array)
    if run.cancelled:
        _remove(array)
    return pixels


def _derive_result(
    photograph: Photograph, arrays: AnalysisArrays, response: dict[str, Any], options: LesionOptions, run: RunContext
) -> tuple[LesionResult, str]:
    run.check()
    derived = derive_served_result(photograph, arrays.probability, response, options)
    for path in arrays:
        _remove(path)  # not in the GUI thread, where it took up to 14 ms
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


FindResult = Callable[["LesionPredictionRequest"], "LesionResult | None"]


class PredictionQueue(StagedTask):
    """Sends requests to the worker, and keeps the files of arrays that further requests need.

    ``predicted``: emitted with the request and the worker's response, a dict; for a heatmap with an array, float32
    (row, column).
    """

    started = Signal(object)  # LesionPredictionRequest
    predicted = Signal(object, object)
    failed = Signal(object, object)  # LesionPredictionRequest, Exception
    idle = Signal()

    def __init__(self, client: WorkerClient, find_result: FindResult, parent: QObject) -> None:
        super().__init__(parent)
        self._client = client
        self._find_result = find_result
        self._pending: dict[str, LesionPredictionRequest] = {}
        self._active: LesionPredictionRequest | None = None
        self._files: dict[str, tuple[str, Path]] = {}  # by name of the array: its digest and file
        self._heatmap_path: Path | None = None
        self._photograph_info: dict[str, str | None] = {}  # modality and damage
        self._worker_input: ClassifierInput | None = None  # last input of the worker
        self._is_patient_only = False  # whether only the patient data changed

    def is_predicting(self, identity: str) -> bool:
        """Return whether a prediction for a photograph is pending, not counting heatmaps."""
        return any(request.identity == identity and not request.method for request in self._requests)

    def has_requests(self, identity: str) -> bool:
        """Return whether a prediction or heatmap of a photograph is pending."""
        return any(request.identity == identity for request in self._requests)

    @property
    def _requests(self) -> tuple[LesionPredictionRequest, ...]:
        """The pending and the active requests."""
        return (*self._pending.values(), *([self._active] if self._active else []))

    def submit(self, request: LesionPredictionRequest) -> None:
        """Add a request; it replaces a pending one with the same key."""
        if request != self._active:
            self._pending.pop(request.key, None)
            self._pending[request.key] = request
            self._next()
        else:
            self._pending.pop(request.key, None)

    def drop(self, identity: str) -> None:
        """Remove the pending requests of a photograph."""
        for key in [key for key, request in self._pending.items() if request.identity == identity]:
            del self._pending[key]

    def cancel(self) -> None:
        """Cancel all requests."""
        self._pending.clear()
        stage, self._stage, self._active = self._stage, None, None
        tasks.set_running(self, False)
        if stage is not None:
            self._worker_input = None
            stage.cancel()
            self.idle.emit()

    def _next(self) -> None:
        while self._active is None and self._pending:
            # Predictions before heatmaps.
            key = min(self._pending, key=lambda key: bool(self._pending[key].method))
            request = self._pending.pop(key)
            result = self._find_result(request)
            if result is not None:
                self._active = request
                self.started.emit(request)
                self._begin(request, result)
        tasks.set_running(self, self._active is not None)

    def _begin(self, request: LesionPredictionRequest, result: LesionResult, *, force: bool = False) -> None:
        """Send a request, with only the patient data if the worker still has the same input.

        ``force``: send the whole input in any case.
        """
        self._is_patient_only = request.classifier_input == self._worker_input and not request.method and not force
        if self._is_patient_only:
            self._send_request("reclassify", {})
            return
        self._photograph_info = {"modality": result.photograph.modality, "damage": result.photograph.damage}
        mask_digest, lesions = request.classifier_input.mask_digest, request.classifier_input.lesions
        digests = {"image": request.classifier_input.image_digest, "mask": mask_digest}
        arrays = {"image": result.photograph.rgb, "mask": result.mask}
        if lesions > 1:
            digests["lesions"], arrays["lesions"] = f"{mask_digest} {lesions}", result.lesion_labels
        elif (unused := self._files.pop("lesions", None)) is not None:
            _remove(unused[1])
        missing = {}
        for name, array in arrays.items():
            stored_digest, path = self._files.get(name, ("", None))
            if stored_digest != digests[name] or path is None or not path.is_file():
                if path is not None:
                    _remove(path)
                path = self._client.folder / f"{uuid.uuid4().hex}-{name}.npy"
                self._files[name] = (digests[name], path)
                missing[path] = array
        if missing:
            self._start_stage(BackgroundJob(partial(_write_arrays, missing)), self._on_written)
        else:
            self._on_written()

    def _on_written(self, written: None = None) -> None:
        request = self._active
        assert request is not None
        paths: dict[str, str | None] = {name: str(path) for name, (_, path) in self._files.items()}
        if request.method:
            self._heatmap_path = self._client.folder / f"{uuid.uuid4().hex}-heat.npy"
            options = {"method": request.method, "class": request.target, "out": str(self._heatmap_path)}
            self._send_request("explain", {**paths, **options})
        else:
            self._send_request("classify", {**paths, **self._photograph_info})

    def _send_request(self, verb: str, arguments: dict[str, str | None]) -> None:
        request = self._active
        assert request is not None
        model, row = request.classifier_input.model, dict(request.row)
        worker_request = self._client.request(verb, model=model, row=row, **arguments)
        self._start_stage(worker_request, self._on_explained if verb == "explain" else self._on_prediction)

    def _on_prediction(self, response: dict[str, Any]) -> None:
        assert self._active is not None
        self._worker_input = self._active.classifier_input
        self._finish(self.predicted, response)

    def _on_explained(self, response: dict[str, Any]) -> None:
        assert self._heatmap_path is not None
        self._start_stage(BackgroundJob(partial(_read_array, self._heatmap_path)), self._on_heat)

    def _on_heat(self, heat: object) -> None:
        self._finish(self.predicted, heat)

    def _on_failed(self, error: Exception) -> None:
        request, self._worker_input = self._active, None
        result = None if request is None or not self._is_patient_only else self._find_result(request)
        if request is not None and result is not None:  # the worker has restarted and needs the whole input
            self._begin(request, result, force=True)
        else:
            self._finish(self.failed, error)

    def _finish(self, signal: Any, value: object) -> None:  # noqa: ANN401 - bound signals have no public type
        """Finish a request and start the next."""
        request, self._stage = self._active, None
        if request is not None:
            signal.emit(request, value)
            if self._active is request:
                self._active = None
                self._next()
                if self._active is None:
                    self.idle.emit()


def _write_arrays(arrays: dict[Path, Any], run: RunContext) -> None:
    """Write arrays for the worker."""
    import numpy as np

    for path, array in arrays.items():
        np.save(path, array)


def _read_array(path: Path, run: RunContext) -> object:
    """Read an array written by the worker, and remove the file."""
    import numpy as np

    array = np.load(path)
    _remove(path)
    return array
