"""Questions to the classifier in the worker, one after the other; of one photograph only the newest is asked."""

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
    """Which classifier sees what: its name, and the fingerprints of the photograph and of the mask."""

    model: str
    image_digest: str
    mask_digest: str


@dataclass(frozen=True)
class LesionPredictionRequest:
    """A lesion and what is known of the patient; with a ``method``, what is asked is where the answer comes from.

    That is asked of the class ``target``; of the positive one where it is empty.
    """

    identity: str
    classifier_input: ClassifierInput
    row: PatientItems
    method: str = ""
    target: str = ""

    @property
    def key(self) -> str:
        """Of several questions with the same one, the newest is asked."""
        return f"{'explain' if self.method else 'classify'} {self.identity}"


FindResult = Callable[[LesionPredictionRequest], "LesionResult | None"]


class PredictionQueue(QObject):
    """Asks the worker, and keeps the arrays that it reads in files for as long as they may be asked about again.

    ``answered``: the ``Question``; what the worker said, a dict, or for an explanation the heat, float32 (row, column).
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
        self._files: dict[str, tuple[str, Path]] = {}  # kind to fingerprint and array
        self._heatmap_path: Path | None = None
        self._photograph_info: dict[str, str | None] = {}  # what the photograph's file says of it
        self._worker_input: ClassifierInput | None = None  # that the worker has looked at last
        self._is_patient_only = False  # whether it is asked only about the patient

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return self._active is not None or bool(self._pending)

    def is_predicting(self, identity: str) -> bool:
        """Say whether an answer about a photograph is awaited.

        False also where it is only asked where an answer comes from.
        """
        every = (*self._pending.values(), *([self._active] if self._active else []))
        return any(question.identity == identity and not question.method for question in every)

    def has_requests(self, identity: str) -> bool:
        """Say whether anything about a photograph is awaited, also where an answer comes from.

        True until all of it was told.
        """
        every = (*self._pending.values(), *([self._active] if self._active else []))
        return any(question.identity == identity for question in every)

    def submit(self, request: LesionPredictionRequest) -> None:
        """Ask soon; a question about the same that waits is forgotten."""
        if request != self._active:
            self._pending.pop(request.key, None)
            self._pending[request.key] = request
            self._next()
        else:
            self._pending.pop(request.key, None)

    def drop(self, identity: str) -> None:
        """Forget what waits about a photograph."""
        for key in [key for key, question in self._pending.items() if question.identity == identity]:
            del self._pending[key]

    def cancel(self) -> None:
        """Stop at once."""
        self._pending.clear()
        stage, self._stage, self._active = self._stage, None, None
        if stage is not None:
            self._worker_input = None
            stage.cancel()
            self.idle.emit()

    def _next(self) -> None:
        while self._active is None and self._pending:
            # What the lesion may be comes before where that comes from.
            key = min(self._pending, key=lambda key: bool(self._pending[key].method))
            question = self._pending.pop(key)
            result = self._find_result(question)
            if result is not None:
                self._active = question
                self.started.emit(question)
                self._begin(question, result)

    def _begin(self, question: LesionPredictionRequest, result: LesionResult, *, force: bool = False) -> None:
        """Ask; only about the patient where the worker has looked at this picture last."""
        self._is_patient_only = question.classifier_input == self._worker_input and not question.method and not force
        if self._is_patient_only:
            self._send_request("reclassify", {})
            return
        self._photograph_info = {"modality": result.photograph.modality, "damage": result.photograph.damage}
        digests = {"image": question.classifier_input.image_digest, "mask": question.classifier_input.mask_digest}
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
        question = self._active
        assert question is not None
        paths: dict[str, str | None] = {kind: str(path) for kind, (_, path) in self._files.items()}
        if question.method:
            self._heatmap_path = self._client.folder / f"{uuid.uuid4().hex}-heat.npy"
            asked = {"method": question.method, "class": question.target, "out": str(self._heatmap_path)}
            self._send_request("explain", {**paths, **asked})
        else:
            self._send_request("classify", {**paths, **self._photograph_info})

    def _send_request(self, verb: str, more: dict[str, str | None]) -> None:
        question = self._active
        assert question is not None
        asked = self._client.request(verb, model=question.classifier_input.model, row=dict(question.row), **more)
        self._start_stage(asked, self._on_explained if verb == "explain" else self._on_prediction)

    def _start_stage(self, stage: BackgroundJob | WorkerRequest, then: Callable[[Any], None]) -> None:
        self._stage = stage
        stage.progressed.connect(self.progressed)
        stage.succeeded.connect(then)
        stage.failed.connect(self._on_failed)
        if isinstance(stage, BackgroundJob):
            stage.start()

    def _on_prediction(self, told: dict[str, Any]) -> None:
        assert self._active is not None
        self._worker_input = self._active.classifier_input
        self._finish(self.predicted, told)

    def _on_explained(self, told: dict[str, Any]) -> None:
        assert self._heatmap_path is not None
        self._start_stage(BackgroundJob(partial(_read, self._heatmap_path)), self._on_heat)

    def _on_heat(self, heat: object) -> None:
        self._finish(self.predicted, heat)

    def _on_failed(self, error: Exception) -> None:
        question, self._worker_input = self._active, None
        result = None if question is None or not self._is_patient_only else self._find_result(question)
        if question is not None and result is not None:  # the worker has ended since, and another looks at it anew
            self._begin(question, result, force=True)
        else:
            self._finish(self.failed, error)

    def _finish(self, signal: Any, value: object) -> None:  # noqa: ANN401 - a bound signal has no type of its own
        """End a question, and go on with the next."""
        question, self._stage = self._active, None
        if question is not None:
            signal.emit(question, value)
            if self._active is question:
                self._active = None
                self._next()
                if self._active is None:
                    self.idle.emit()


def _write(arrays: dict[Path, Any], run: RunContext) -> None:
    """Put arrays where the worker finds them."""
    import numpy as np

    for path, array in arrays.items():
        np.save(path, array)


def _read(path: Path, run: RunContext) -> object:
    """Read an array that the worker wrote, once."""
    import numpy as np

    array = np.load(path)
    _remove(path)
    return array


def _remove(path: Path) -> None:
    with suppress(OSError):  # Windows, where the worker may still hold it; the folder goes with the client
        path.unlink(missing_ok=True)
