"""The queue of predictions and heatmaps that are requested from the worker."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.widgets.job import BackgroundJob, tasks
from napari_melanoma.ui.worker_client import StagedTask, WorkerClient, remove_array

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.session.lesion_prediction import ClassifierInput, LesionPredictionRequest
    from napari_melanoma.ui.worker_client import WorkerRequest

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

    def has_requests(self, identity: str) -> bool:
        """Return whether a prediction or heatmap of a photograph is pending."""
        requests = (*self._pending.values(), self._active)
        return any(request is not None and request.identity == identity for request in requests)

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
        stage = self._clear()
        if stage is not None:
            stage.cancel()
            self.idle.emit()

    def discard(self) -> None:
        """Remove all requests, and ignore the response to the active one, so that it can be requested again."""
        stage = self._clear()
        if isinstance(stage, BackgroundJob):
            stage.cancel()
        elif stage is not None:
            stage.ignore()
        self.idle.emit()

    def _clear(self) -> BackgroundJob | WorkerRequest | None:
        """Remove all requests; return the stage of the active one."""
        self._pending.clear()
        stage, self._stage, self._active = self._stage, None, None
        self._worker_input = None
        tasks.set_running(self, False)
        return stage

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
            remove_array(unused[1])
        missing = {}
        for name, array in arrays.items():
            stored_digest, path = self._files.get(name, ("", None))
            if stored_digest != digests[name] or path is None or not path.is_file():
                if path is not None:
                    remove_array(path)
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
    remove_array(path)
    return array
