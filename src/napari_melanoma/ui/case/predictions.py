"""Answers about the lesions of the open case: read with it, asked for by a button, kept in the case folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari_melanoma.case.model import Case
    from napari_melanoma.case.predictions import CaseLesionPrediction, CasePredictions
    from napari_melanoma.case.store import CaseStore
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.ui.case.controller import CaseController
    from napari_melanoma.ui.case.details import LesionPage
    from napari_melanoma.ui.widgets.worker_client import WorkerRequest

NONE_INSTALLED = "No model that says what a lesion may be is installed"


class CasePredictor(QObject):
    """Has the worker answer about all lesions at once, over the images of each."""

    started = Signal()
    changed = Signal()
    progressed = Signal(object)
    finished = Signal(str)
    failed = Signal(object)

    def __init__(self, controller: CaseController, parent: QObject, client: WorkerClient | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._client = client or acquire_worker()
        self._settings = DockSettings()
        self._request: WorkerRequest | None = None
        self._store: CaseStore | None = None  # whose answers these are
        self.predictions: CasePredictions | None = None
        self._file_jobs = LatestJobQueue(self)
        self._file_jobs.succeeded.connect(self._on_predictions_loaded)
        self._file_jobs.failed.connect(self._on_failed)
        controller.opened.connect(self._on_opened)
        if client is None:
            parent.destroyed.connect(release_worker)

    @property
    def busy(self) -> bool:
        """Whether answers are read, asked for or kept."""
        return self._file_jobs.busy or self._request is not None

    @property
    def current_predictions(self) -> dict[str, CaseLesionPrediction]:
        """The answers that still fit the case, by the id of the lesion."""
        case = self._controller.case
        lesions = () if case is None or self.predictions is None else case.lesions
        told = (
            (lesion.id, self.predictions.find_lesion(lesion.id)) for lesion in lesions if self.predictions is not None
        )
        return {name: found for name, found in told if found is not None and self._is_current(name)}

    @property
    def unavailable_reason(self) -> str:
        """Why nothing can be asked; empty where it can."""
        case = self._controller.case
        if case is None or not any(lesion.images for lesion in case.lesions):
            return "There is no lesion with an image yet"
        if not self._controller.is_editable:
            return "The case is open to look at alone"
        return "" if self._model_name() else NONE_INSTALLED

    def predict(self) -> None:
        """Ask about every lesion, when what was drawn and edited is in the file."""
        if not self.unavailable_reason and not self.busy:
            self._controller.saver.run_when_saved(self._send_request)

    def cancel(self) -> None:
        """Stop at once; the answers of before stay."""
        request = self._request
        if request is not None:
            request.cancel()
            self._finish_request("Stopped. The answers are those of before.")

    def show_prediction(self, page: LesionPage, lesion: str) -> None:
        """Show the answer about a lesion, or how to get one."""
        told = None if self.predictions is None else self.predictions.find_lesion(lesion)
        how = (
            f"{self.unavailable_reason}."
            if self.unavailable_reason
            else "Press <i>answer</i> above to ask what each lesion may be."
        )
        page.show_prediction(told, self._is_current(lesion), how)

    def _is_current(self, lesion: str) -> bool:
        """Whether an answer still fits the case."""
        case = self._controller.case
        return case is not None and self.predictions is not None and self.predictions.is_current(case, lesion)

    def _model_name(self) -> str:
        """The model that the Lesion dock asks, or the usual one."""
        from napari_melanoma.models.registry import find_default_classifier

        usual = find_default_classifier()
        return self._settings.classifier or ("" if usual is None else usual.name)

    def _send_request(self) -> None:
        store = self._controller.store
        if store is not None and self._request is None:
            self._request = self._client.request("answer_case", folder=str(store.folder), model=self._model_name())
            self._request.progressed.connect(self.progressed)
            self._request.succeeded.connect(self._on_response)
            self._request.failed.connect(self._on_failed)
            self.started.emit()

    def _on_response(self, response: Mapping[str, Any]) -> None:
        store, case = self._controller.store, self._controller.case
        if store is not None and case is not None:
            self._file_jobs.submit("keep", lambda: partial(_save_predictions, store, response["answers"]))

    def _on_opened(self) -> None:
        request, store = self._request, self._controller.store
        if request is not None:
            request.cancel()
            self._finish_request("")
        self.predictions, self._store = None, store
        self.changed.emit()
        if store is not None:
            self._file_jobs.submit("read", lambda: _create_read_job(store))

    def _on_predictions_loaded(self, found: tuple[CaseStore, CasePredictions | None]) -> None:
        store, answers = found
        if store is self._controller.store:
            self.predictions = answers
            self.changed.emit()
        if self._request is not None and answers is not None:
            count = len(answers.lesions)
            notes = f" {_format_notes(answers, self._controller.case)}" if answers.notes else ""
            self._finish_request(
                f"{count} {'lesion' if count == 1 else 'lesions'} answered by {answers.model.name}.{notes}"
            )

    def _on_failed(self, error: Exception) -> None:
        self.failed.emit(error)
        self._finish_request(str(error))

    def _finish_request(self, message: str) -> None:
        if self._request is not None:
            self._request = None
            self.finished.emit(message)


def _create_read_job(store: CaseStore) -> JobFunction:
    return lambda run: _read_store_predictions(store, run)


def _read_store_predictions(store: CaseStore, run: RunContext) -> tuple[CaseStore, CasePredictions | None]:
    from napari_melanoma.case.predictions import read_predictions

    return store, read_predictions(store.folder)


def _save_predictions(
    store: CaseStore, values: Mapping[str, Any], run: RunContext
) -> tuple[CaseStore, CasePredictions | None]:
    """Take the answers, and write them into the case folder."""
    from napari_melanoma.case.predictions import CasePredictions, save_predictions

    answers = CasePredictions.from_json(values)
    save_predictions(store, answers)
    return store, answers


def _format_notes(answers: CasePredictions, case: Case | None) -> str:
    """Which images could not be asked about, and why of the first."""
    names = {} if case is None else {image.id: image.path.name for _, image in case.iterate_images()}
    (about, why), more = answers.notes[0], len(answers.notes) - 1
    return f"{names.get(about, about)}: {why}" + (f" And {more} more." if more else "")
