"""One photograph on its way through the worker and back, with the four signals of a ``Job``."""

from __future__ import annotations

import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.runs import Progress, RunContext
from napari_melanoma.ui.analysis_steps import conclude, read
from napari_melanoma.ui.job import Job
from napari_melanoma.ui.worker_client import Request, WorkerClient

if TYPE_CHECKING:
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.ui.photographs import Source
    from napari_melanoma.workflows.lesion import LesionOptions, LesionResult


class Analysis(QObject):
    """Reads the pixels in a thread, asks the worker, and derives the result in a thread.

    ``progressed``, ``succeeded``, ``failed``: a ``Progress``; a tuple of ``LesionResult``, fingerprint of the mask and
    fingerprint of the pixels; an exception. None comes after ``cancel``.
    """

    progressed = Signal(object)
    succeeded = Signal(object)
    failed = Signal(object)
    finished = Signal()

    def __init__(self, client: WorkerClient, source: Source, options: LesionOptions) -> None:
        super().__init__()
        self._client = client
        self._source = source
        self._options = options
        name = uuid.uuid4().hex
        self._image = client.folder / f"{name}-image.npy"
        self._answer = client.folder / f"{name}-probability.npy"
        self._spread = client.folder / f"{name}-spread.npy"
        self._stage: Job | Request | None = None
        self._photograph: Photograph | None = None
        self._digest = ""

    def start(self) -> None:
        """Start; call once."""
        self._enter(Job(partial(_read, self._source, self._image)), self._on_read)

    def cancel(self) -> None:
        """Stop at once; only ``finished`` is emitted."""
        stage, self._stage = self._stage, None
        if stage is not None:
            stage.cancel()
            self._end()

    def _enter(self, stage: Job | Request, then: Any) -> None:  # noqa: ANN401 - a slot
        self._stage = stage
        stage.progressed.connect(self.progressed)
        stage.succeeded.connect(then)
        stage.failed.connect(self._on_failed)
        if isinstance(stage, Job):
            stage.start()

    def _on_read(self, found: tuple[Photograph, str]) -> None:
        self._photograph, self._digest = found
        paths = {"image": str(self._image), "out": str(self._answer)}
        if self._options.flips:
            paths["spread"] = str(self._spread)
        self._enter(self._client.request("segment", model=self._options.model, **paths), self._on_answer)

    def _on_answer(self, answer: dict[str, Any]) -> None:
        assert self._photograph is not None
        self.progressed.emit(Progress(2, 2, "Measuring"))
        work = partial(_conclude, self._photograph, self._answer, answer, self._options)
        self._enter(Job(work), self._on_result)

    def _on_result(self, concluded: tuple[LesionResult, str]) -> None:
        self._stage = None
        self.succeeded.emit((*concluded, self._digest))
        self._end()

    def _on_failed(self, error: Exception) -> None:
        self._stage = None
        self.failed.emit(error)
        self._end()

    def _end(self) -> None:
        for path in (self._image, self._answer, self._spread):
            _remove(path)
        self.finished.emit()


def _remove(array: Path) -> None:
    """Remove an array, or leave it to the end of the client, whose folder goes as a whole."""
    with suppress(OSError):  # Windows, where a worker that was killed a moment ago still holds it
        array.unlink(missing_ok=True)


def _read(source: Source, array: Path, run: RunContext) -> tuple[Photograph, str]:
    run.report(Progress(0, None, "Reading the photograph"))
    found = read(source, array)
    if run.cancelled:
        _remove(array)
    return found


def _conclude(
    photograph: Photograph, array: Path, answer: dict[str, Any], options: LesionOptions, run: RunContext
) -> tuple[LesionResult, str]:
    run.check()
    return conclude(photograph, array, answer, options)
