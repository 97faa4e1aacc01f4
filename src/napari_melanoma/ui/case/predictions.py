"""Request predictions for the lesions of the open case; read and save them in the case folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma import worker
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.formatting import distinct_names
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.widgets.job import BackgroundJob, run_job, tasks
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.signals import at_end
from napari_melanoma.ui.widgets.status_line import describe_failure
from napari_melanoma.ui.worker_client import WorkerClient, acquire_worker, release_worker

if TYPE_CHECKING:
    from napari_melanoma.case.results import CaseLesionPrediction, CasePredictions
    from napari_melanoma.case.store import CaseStore
    from napari_melanoma.ui.case.controller import CaseController
    from napari_melanoma.ui.case.controls import LesionPage

NONE_INSTALLED = "No classifier for lesions is installed"


class CasePredictor(QObject):
    """Requests a prediction for each lesion from the worker, based on all images of the lesion."""

    started = Signal()
    changed = Signal()
    progressed = Signal(object)  # Progress
    finished = Signal(str)
    failed = Signal(object)  # Exception

    def __init__(self, controller: CaseController, parent: QObject) -> None:
        super().__init__(parent)
        self._controller = controller
        self._client = acquire_worker()
        self._settings = DockSettings()
        self._has_classifier = False  # whether a classifier was found when the models were last listed
        self._job: BackgroundJob | None = None  # that predicts
        self.predictions: CasePredictions | None = None
        controller.opened.connect(self._on_opened)
        user_data().models_changed.connect(self._on_models)
        at_end(parent, release_worker)

    @property
    def current_predictions(self) -> dict[str, CaseLesionPrediction]:
        """Up-to-date predictions by lesion id; without the comparison of the lesions if that is outdated."""
        case, predictions = self._controller.case, self.predictions
        current = {lesion: found for lesion, found in self._stored_predictions() if self._is_current(lesion)}
        if case is None or predictions is None or predictions.is_comparison_current(case):
            return current
        return {lesion: replace(prediction, outlier=None) for lesion, prediction in current.items()}

    @property
    def outdated_lesions(self) -> set[str]:
        """Ids of the lesions whose images, masks or data have changed since their prediction."""
        return {lesion for lesion, _ in self._stored_predictions() if not self._is_current(lesion)}

    def _stored_predictions(self) -> Iterator[tuple[str, CaseLesionPrediction]]:
        """Yield the stored predictions for lesions of the case, by lesion id."""
        case, predictions = self._controller.case, self.predictions
        if case is None or predictions is None:
            return
        for lesion in case.lesions:
            prediction = predictions.find_lesion(lesion.id)
            if prediction is not None:
                yield lesion.id, prediction

    @property
    def unavailable_reason(self) -> str:
        """Why no prediction can be requested; empty if it can."""
        case = self._controller.case
        if case is None or not any(lesion.images for lesion in case.lesions):
            return "There is no lesion with an image"
        if not self._controller.is_editable:
            return "The case is read-only"
        return "" if self._model_name() else NONE_INSTALLED

    def predict(self) -> None:
        """Request predictions for all lesions once all changes are saved."""
        if not self.unavailable_reason and tasks.is_idle(self):
            self._controller.saver.run_when_saved(partial(self._send_request, self._controller.store))

    def cancel(self) -> None:
        """Stop at once; previous predictions are kept."""
        if self._job is not None:
            self._job.cancel()
            self._finish("Stopped. The previous predictions were kept.")

    def show_prediction(self, page: LesionPage, lesion: str) -> bool:
        """Show the prediction for a lesion, or how to get one; return whether there is one."""
        from napari_melanoma.case.fusion import fuse_lesion

        prediction = dict(self._stored_predictions()).get(lesion)
        reason = self.unavailable_reason
        advice = f"{reason}." if reason else "Press Classify to classify each lesion from all of its images."
        is_current, case = self._is_current(lesion), self._controller.case
        comparison = ""
        if case is not None and self.predictions is not None:
            comparison = self.predictions.describe_outlier(case, lesion)
        page.show_prediction(prediction, is_current, advice, comparison)
        fused = None if case is None else fuse_lesion(case, case.find_lesion(lesion), prediction, is_current=is_current)
        page.fusion_label.setText("" if fused is None else fused.reason)
        page.fusion_label.setVisible(fused is not None)
        return prediction is not None

    def _is_current(self, lesion: str) -> bool:
        """Return whether a prediction is up to date."""
        case = self._controller.case
        return case is not None and self.predictions is not None and self.predictions.is_current(case, lesion)

    def _model_name(self) -> str:
        """Return the classifier of the Lesion dock, else ``auto``; empty if none is installed."""
        from napari_melanoma.models import AUTOMATIC
        from napari_melanoma.models.installed_bundles import list_default_classifiers

        selected = self._settings.classifier
        if selected not in ("", AUTOMATIC):
            return selected
        if not self._has_classifier:  # one may have been installed meanwhile from the command line
            self._has_classifier = bool(list_default_classifiers())
        return AUTOMATIC if self._has_classifier else ""

    def _send_request(self, store: CaseStore | None) -> None:
        if store is not None and store is self._controller.store and self._job is None:
            work = partial(_predict, self._client, store, self._model_name())
            self._job = run_job(self, "predict", work, partial(self._on_predicted, store), self._on_failed)
            self._job.progressed.connect(self.progressed)
            self.started.emit()

    def _on_opened(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._finish("")
        self._has_classifier = False  # the command line may have installed a model
        self.predictions = None
        self.changed.emit()
        store = self._controller.store
        if store is not None:
            from napari_melanoma.case.results import read_predictions

            show, folder = partial(self._show, store), store.folder
            run_job(self, "read", lambda run: read_predictions(folder), show, self._on_failed)
            self._client.ensure_started()  # while the user selects the first photograph

    def _on_models(self, name: str) -> None:
        """Look for a classifier again, since the models have changed."""
        self._has_classifier = False
        self.changed.emit()

    def _show(self, store: CaseStore, predictions: CasePredictions | None) -> None:
        if store is self._controller.store:
            self.predictions = predictions
            self.changed.emit()

    def _on_predicted(self, store: CaseStore, predictions: CasePredictions) -> None:
        self._show(store, predictions)
        text = f"{predictions.summary}."
        if predictions.notes:
            case = self._controller.case
            images = () if case is None else [image for _, image in case.iterate_images()]
            paths = distinct_names([image.path for image in images])
            names = {image.id: paths[image.path] for image in images}
            (image_id, reason), others = predictions.notes[0], len(predictions.notes) - 1
            text += f" {names.get(image_id, image_id)}: {reason}" + (f" And {others} more." if others else "")
        self._finish(text)

    def _on_failed(self, error: Exception) -> None:
        self.failed.emit(error)
        self._finish(describe_failure(error))

    def _finish(self, message: str) -> None:
        if self._job is not None:
            self._job = None
            self.finished.emit(message)


def _predict(client: WorkerClient, store: CaseStore, model: str, run: RunContext) -> CasePredictions:
    from napari_melanoma.case.results import save_predictions

    predictions = client.call(run, worker.classify_case, store.folder, model)
    save_predictions(store, predictions)
    return predictions
