"""Queue of predictions and heatmaps requested from the worker; a newer request replaces a pending one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.widgets.job import BackgroundJob

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.widgets.worker_client import WorkerClient, WorkerRequest

PatientItems = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ClassifierInput:
    """The input of a classifier: the name of the model, and the digests of photograph and mask."""

    model: str
    image_digest: str
    mask_digest: str


@dataclass(frozen=True)
class LesionPredictionRequest:
    """A request for the prediction of a lesion with patient data, or with a ``method``, for its heatmap.

    The heatmap explains the class ``target``; if empty, the positive class.
    """

    identity: str
    classifier_input: ClassifierInput
    row: PatientItems
    method: str = ""
    target: str = ""

    @property
    def key(self) -> str:
        """A request replaces pending ones with the same key."""
        return f"{'explain' if self.method else 'classify'} {self.identity}"


FindResult = Callable[[LesionPredictionRequest], "LesionResult | None"]


class PredictionQueue(QObject):
    """Sends requests to the worker, and keeps the arrays that it reads in files for further requests.

    ``predicted``: the request; the worker's response, a dict, or for a heatmap an array, float32 (row, column).
    """

    started = Signal(object)
    progressed = Signal(object)
    predicted = Signal(object, object)
    failed = Signal(object, object)
    idle = Signal()

    def __init__(self, client: WorkerClient, find_result: FindResult, parent: QObject) -> None:
        super().__init__(parent)
        self._client = client
        self._find_result = find_result
        self._pending: dict[str, LesionPredictionRequest] = {}
        self._stage: BackgroundJob | WorkerRequest | None = None
        self._active: LesionPredictionRequest | None = None
        self._files: dict[str, tuple[str, Path]] = {}  # by type: digest and array file
        self._heatmap_path: Path | None = None
        self._photograph_info: dict[str, str | None] = {}  # metadata of the photograph's file
        self._worker_input: ClassifierInput | None = None  # last input of the worker
        self._is_patient_only = False  # whether only the patient data changed

    @property
    def busy(self) -> bool:
        """Whether requests are running or pending."""
        return self._active is not None or bool(self._pending)

    def is_predicting(self, identity: str) -> bool:
        """Return whether a prediction for a photograph is pending, not counting heatmaps."""
        every = (*self._pending.values(), *([self._active] if self._active else []))
        return any(request.identity == identity and not request.method for request in every)

    def has_requests(self, identity: str) -> bool:
        """Return whether a prediction or heatmap of a photograph is pending."""
        every = (*self._pending.values(), *([self._active] if self._active else []))
        return any(request.identity == identity for request in every)

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

    def _begin(self, request: LesionPredictionRequest, result: LesionResult, *, force: bool = False) -> None:
        """Send a request; only the patient data if the worker still has the same input."""
        self._is_patient_only = request.classifier_input == self._worker_input and not request.method and not force
        if self._is_patient_only:
            self._send_request("reclassify", {})
            return
        self._photograph_info = {"modality": result.photograph.modality, "damage": result.photograph.damage}
        digests = {"image": request.classifier_input.image_digest, "mask": request.classifier_input.mask_digest}
        missing = {}
        for kind, array in (("image", result.photograph.rgb), ("mask", result.mask)):
            known, path = self._files.get(kind, ("", None))
            if known != digests[kind] or path is None or not path.is_file():
                if path is not None:
                    _remove(path)
                path = self._client.folder / f"{uuid.uuid4().hex}-{kind}.npy"
                self._files[kind] = (digests[kind], path)
                missing[path] = array
        if missing:
            self._start_stage(BackgroundJob(partial(_write, missing)), self._on_written)
        else:
            self._on_written()

    def _on_written(self, written: None = None) -> None:
        request = self._active
        assert request is not None
        paths: dict[str, str | None] = {kind: str(path) for kind, (_, path) in self._files.items()}
        if request.method:
            self._heatmap_path = self._client.folder / f"{uuid.uuid4().hex}-heat.npy"
            options = {"method": request.method, "class": request.target, "out": str(self._heatmap_path)}
            self._send_request("explain", {**paths, **options})
        else:
            self._send_request("classify", {**paths, **self._photograph_info})

    def _send_request(self, verb: str, more: dict[str, str | None]) -> None:
        request = self._active
        assert request is not None
        worker_request = self._client.request(verb, model=request.classifier_input.model, row=dict(request.row), **more)
        self._start_stage(worker_request, self._on_explained if verb == "explain" else self._on_prediction)

    def _start_stage(self, stage: BackgroundJob | WorkerRequest, on_success: Callable[[Any], None]) -> None:
        self._stage = stage
        stage.progressed.connect(self.progressed)
        stage.succeeded.connect(on_success)
        stage.failed.connect(self._on_failed)
        if isinstance(stage, BackgroundJob):
            stage.start()

    def _on_prediction(self, response: dict[str, Any]) -> None:
        assert self._active is not None
        self._worker_input = self._active.classifier_input
        self._finish(self.predicted, response)

    def _on_explained(self, response: dict[str, Any]) -> None:
        assert self._heatmap_path is not None
        self._start_stage(BackgroundJob(partial(_read, self._heatmap_path)), self._on_heat)

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


def _write(arrays: dict[Path, Any], run: RunContext) -> None:
    """Write arrays for the worker."""
    import numpy as np

    for path, array in arrays.items():
        np.save(path, array)


def _read(path: Path, run: RunContext) -> object:
    """Read an array written by the worker, and remove the file."""
    import numpy as np

    array = np.load(path)
    _remove(path)
    return array


def _remove(path: Path) -> None:
    with suppress(OSError):  # on Windows, the worker may still hold the file; the client removes its folder later
        path.unlink(missing_ok=True)
