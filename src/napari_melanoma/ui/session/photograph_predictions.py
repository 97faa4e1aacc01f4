"""The predictions of photographs: requested after each change of mask, patient data or model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.ui.session.lesion_prediction import (
    ClassifierInput,
    EditedMask,
    LesionPredictionOutcome,
    LesionPredictionRequest,
    PredictionHeatmap,
    read_saved_prediction,
)
from napari_melanoma.ui.session.prediction_queue import PredictionQueue
from napari_melanoma.ui.shared_state import case_rows, models_changed
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue, tasks
from napari_melanoma.ui.widgets.status_line import describe_failure

if TYPE_CHECKING:
    from pathlib import Path

    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.lesion.analysis import LesionHeatmap, LesionResult
    from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
    from napari_melanoma.ui.session.heatmap_options import HeatmapOptions, SharedHeatmapOptions
    from napari_melanoma.ui.session.lesion_prediction import SavedPrediction
    from napari_melanoma.ui.session.lesion_updates import LesionController
    from napari_melanoma.ui.session.photograph import PhotographSession
    from napari_melanoma.ui.widgets.model_picker import ClassifierPicker
    from napari_melanoma.ui.worker_client import WorkerClient

STROKE_DELAY_MS = 20  # napari emits several events for one stroke


class PhotographPredictions(QObject):
    """Keeps the predictions of all photographs up to date; their heatmaps are requested by ``request_heatmap``.

    ``explained``: a photograph has a new heatmap. ``failed``: why it has none.
    """

    explained = Signal(object)  # PhotographSession
    failed = Signal(object)  # Exception

    def __init__(
        self,
        controller: LesionController,
        client: WorkerClient,
        classifier: ClassifierPicker,
        heatmap_options: SharedHeatmapOptions,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.heatmap_options = heatmap_options
        self.edited_masks = EditedMasks(controller, self)
        self.queue = PredictionQueue(client, self._find_result, self)
        self._controller, self._sessions, self._classifier = controller, controller.sessions, classifier
        self._used_columns: dict[str, frozenset[str] | None] = {}  # by the name of the model; None if it is not found
        self._callbacks: dict[PhotographSession, Callable[[], None]] = {}  # when their predictions are up to date
        self._saved = LatestJobQueue(self)
        self._saved.succeeded.connect(lambda done: done())
        self._connect()

    def _connect(self) -> None:
        for signal in (self.edited_masks.changed, self._controller.changed):
            signal.connect(self.refresh)
        self._classifier.changed.connect(self.refresh_all)
        self.heatmap_options.changed.connect(self._on_heatmap_options)
        models_changed().changed.connect(self._on_models)
        case_rows().changed.connect(self._on_cases)
        self._sessions.removed.connect(self._on_removed)
        self.queue.predicted.connect(self._on_predicted)
        self.queue.failed.connect(self._on_failed)
        self.queue.started.connect(self._run_pending, Qt.ConnectionType.QueuedConnection)
        tasks.idle.connect(self._run_pending)

    @property
    def has_models(self) -> bool:
        """Whether a classification model is installed."""
        return self._classifier.has_models

    def current_prediction(self, session: PhotographSession) -> ClassPrediction | None:
        """Return the prediction for the current mask, patient data and model; None if there is none."""
        session.request = self._make_request(session)
        outcome = session.current_prediction
        return None if outcome is None else outcome.prediction

    def add_prediction(self, session: PhotographSession, lesion: AnalyzedLesion) -> LesionResult:
        """Return the result of a lesion as it is saved: with prediction, patient data and visible heatmap.

        Without a current prediction, none of these is added.
        """
        prediction, outcome = self.current_prediction(session), session.prediction
        if prediction is None or outcome is None or outcome.request.classifier_input.mask_digest != lesion.mask_digest:
            return lesion.result
        has_all = len(outcome.lesions) == len(lesion.result.lesion_measurements)
        return replace(
            lesion.result,
            class_prediction=prediction,
            class_predictions=outcome.lesions if has_all else (),
            patient_data=session.patient_data.row,
            heatmap=self._find_heatmap(session),
        )

    def _find_heatmap(self, session: PhotographSession) -> LesionHeatmap | None:
        from napari_melanoma.lesion.analysis import LesionHeatmap

        heatmap, request = session.heatmap, self.heatmap_options.value.make_request(session.prediction)
        if heatmap is None or heatmap.values is None or request != heatmap.request:
            return None
        return LesionHeatmap(heatmap.values, request.method, request.target)

    def run_when_predicted(self, session: PhotographSession, callback: Callable[[], None]) -> None:
        """Call back when the prediction is up to date with mask and patient data, or has failed."""
        session.commit_requested.emit()
        self._callbacks[session] = callback
        tasks.set_running(self, True)
        self._run_pending()

    def refresh(self, session: PhotographSession) -> None:
        """Request the prediction for a photograph, unless the current one is up to date."""
        session.classifier = self._select_model(session)
        session.request = self._make_request(session)
        if session.request is None:
            session.prediction = None
        elif session.current_prediction is None:
            self.queue.submit(session.request)
        elif session.prediction is not None:
            session.prediction = _state_unused(session.prediction, session.patient_data.row)

    def refresh_all(self) -> None:
        """Request the predictions of all photographs, visible ones first."""
        for session in sorted(self._sessions, key=lambda session: not session.image.visible):
            self.refresh(session)

    def repeat(self, session: PhotographSession) -> None:
        """Request a prediction again that has failed or was canceled."""
        session.prediction = None
        self.refresh(session)

    def repeat_heatmap(self, session: PhotographSession) -> None:
        """Request a heatmap again that has failed or was canceled."""
        session.heatmap = None

    def cancel(self) -> None:
        """Cancel all requests; they are not repeated before their input changes."""
        requested = [session for session in self._sessions if self.queue.has_requests(session.identity)]
        self.queue.cancel()
        for session in self._sessions:
            if session.request is not None and session.current_prediction is None:
                session.prediction = LesionPredictionOutcome(session.request)
        for session in requested:
            heatmap, request = session.heatmap, self.heatmap_options.value.make_request(session.prediction)
            if request is not None and (heatmap is None or not heatmap.applies_to(request)):
                session.heatmap = PredictionHeatmap(request)

    def follow_patient_data(self, session: PhotographSession) -> None:
        """Show changed patient data, and request the prediction for them."""
        session.patient_changed.emit()
        self.refresh(session)

    def load_saved(self, session: PhotographSession, folder: Path) -> None:
        """Read the saved prediction of a photograph, which is shown until there is a new one."""
        source = session.source

        def read() -> JobFunction:
            return lambda run: partial(self._on_saved, session, read_saved_prediction(source, folder, run))

        self._saved.submit(session.identity, read)

    def _on_saved(self, session: PhotographSession, saved: SavedPrediction | None) -> None:
        data = session.patient_data
        if saved is None or not session.is_open:
            return
        session.saved_prediction = saved
        if not data.case and not data.has_edits:
            data.set_row(saved.form)
            self.follow_patient_data(session)

    def _select_model(self, session: PhotographSession) -> str:
        """Return the model for a photograph; empty for none."""
        return self._classifier.model_for(None if session.lesion is None else session.lesion.result.modality)

    def _make_request(self, session: PhotographSession) -> LesionPredictionRequest | None:
        """Return the request for the current mask, patient data and model; None without analysis or model."""
        lesion = session.lesion
        model = "" if lesion is None else self._select_model(session)
        if lesion is None or not model:
            return None
        digest = session.drawn_digest or lesion.mask_digest
        lesions = lesion.result.lesions_found if digest == lesion.mask_digest else 1  # unknown while it is edited
        classifier_input = ClassifierInput(
            model, lesion.image_digest, digest, max(1, lesions), lesion.result.photograph.modality
        )
        used = self._find_used_columns(model)
        row = (item for item in session.patient_data.row.items() if used is None or item[0] in used)
        return LesionPredictionRequest(session.identity, classifier_input, tuple(sorted(row)))

    def _find_used_columns(self, model: str) -> frozenset[str] | None:
        """Return the columns of patient data that change the predictions of a model; None if the model is not found."""
        from napari_melanoma.models.installed_bundles import find_bundle

        if model not in self._used_columns:
            try:
                self._used_columns[model] = find_bundle(model).used_columns
            except MelanomaError:
                self._used_columns[model] = None  # the worker reports the error with the prediction
        return self._used_columns[model]

    def _find_result(self, request: LesionPredictionRequest) -> LesionResult | None:
        """Return the result with the mask of a request; None if the mask has changed since.

        Other values of the result may be derived from the previous mask.
        """
        session = self._sessions.find(request.identity)
        if session is None or session.lesion is None or session.drawn_digest != request.classifier_input.mask_digest:
            return None
        result, edited = session.lesion.result, session.edited_mask
        return result if edited is None else replace(result, mask=edited.mask)

    def _on_predicted(self, request: LesionPredictionRequest, response: object) -> None:
        """``response``: for a heatmap float32 (row, column) in [0, 1]."""
        import numpy as np

        from napari_melanoma.classification.prediction import ClassPrediction

        session = self._sessions.find(request.identity)
        if session is None:
            return
        if request.method:
            if self._set_heatmap(session, PredictionHeatmap(request, np.asarray(response, np.float32))):
                self.explained.emit(session)
            return
        assert isinstance(response, Mapping)
        prediction = ClassPrediction.from_json(response["prediction"])
        lesions = tuple(ClassPrediction.from_json(values) for values in response.get("lesions", ()))
        outcome = LesionPredictionOutcome(request, prediction, lesions=lesions)
        self._set_outcome(session, _state_unused(outcome, session.patient_data.row))

    def _on_failed(self, request: LesionPredictionRequest, error: Exception) -> None:
        session = self._sessions.find(request.identity)
        if session is None:
            return
        if not request.method:
            self._set_outcome(session, LesionPredictionOutcome(request, error=str(error)))
        elif self._set_heatmap(session, PredictionHeatmap(request, error=describe_failure(error))):
            self.failed.emit(error)

    def _set_outcome(self, session: PhotographSession, outcome: LesionPredictionOutcome) -> None:
        session.request = self._make_request(session)
        if outcome.request == session.request:
            session.prediction = outcome

    def _set_heatmap(self, session: PhotographSession, heatmap: PredictionHeatmap) -> bool:
        """Set a heatmap from the worker, unless prediction or options have changed since; return whether it was set."""
        is_current = heatmap.request == self.heatmap_options.value.make_request(session.prediction)
        if is_current:
            session.heatmap = heatmap
        return is_current

    def _on_heatmap_options(self, options: HeatmapOptions) -> None:
        """Remove failed and canceled heatmaps that are not requested any more, so that they can be requested again."""
        for session in self._sessions:
            heatmap, request = session.heatmap, options.make_request(session.prediction)
            if heatmap is None or heatmap.values is not None:
                continue
            if request is None or not heatmap.applies_to(request):
                session.heatmap = None

    def _on_cases(self) -> None:
        """Use the data of the open cases."""
        for session in self._sessions:
            self.follow_patient_data(session)

    def _on_models(self, name: str) -> None:
        """Request all predictions again, since a model may have been replaced under the same name."""
        self.queue.discard()
        self._used_columns.clear()
        for session in self._sessions:
            session.prediction = session.heatmap = None
            session.classifier = ""
        self.refresh_all()

    def _on_removed(self, session: PhotographSession) -> None:
        for queue in (self.queue, self.edited_masks, self._saved):
            queue.drop(session.identity)
        self._callbacks.pop(session, None)
        self._run_pending()

    def _run_pending(self) -> None:
        """Run the callbacks whose predictions are up to date."""
        is_idle = tasks.is_idle(self._controller, self.edited_masks)
        for session in list(self._callbacks) if is_idle else ():
            if not self.queue.has_requests(session.identity):
                self._callbacks.pop(session)()
        tasks.set_running(self, bool(self._callbacks))


def _state_unused(outcome: LesionPredictionOutcome, row: Mapping[str, str]) -> LesionPredictionOutcome:
    """State in predictions which patient data have no effect on them, as those are not sent to the worker."""
    from napari_melanoma.data.tabular_encoding import find_unused

    def state(prediction: ClassPrediction) -> ClassPrediction:
        unused = find_unused(row, prediction.used_columns)
        return prediction if unused == prediction.unused else replace(prediction, unused=unused)

    prediction = None if outcome.prediction is None else state(outcome.prediction)
    return outcome._replace(prediction=prediction, lesions=tuple(map(state, outcome.lesions)))


class EditedMasks(LatestJobQueue):
    """Updates the edited masks of photographs, before contours, ROI and measurements are derived from them."""

    changed = Signal(object)  # PhotographSession

    def __init__(self, controller: LesionController, parent: QObject) -> None:
        super().__init__(parent, STROKE_DELAY_MS)
        self.succeeded.connect(lambda done: done())
        controller.watcher.mask_edited.connect(self._on_mask_edited)
        controller.changed.connect(self._on_lesion_changed)

    def _on_mask_edited(self, session: PhotographSession) -> None:
        def prepare() -> JobFunction | None:
            labels = session.mask
            if labels is None:
                return None
            mask = labels.data != 0
            return lambda run: partial(self._set_edited, session, EditedMask(array_fingerprint(mask), mask))

        self.submit(session.identity, prepare)

    def _set_edited(self, session: PhotographSession, edited: EditedMask) -> None:
        previous, lesion = session.drawn_digest, session.lesion
        session.edited_mask = None if lesion is None or lesion.mask_digest == edited.digest else edited
        if session.drawn_digest != previous:
            self.changed.emit(session)

    def _on_lesion_changed(self, session: PhotographSession) -> None:
        """Remove an edited mask when the result is up to date with it."""
        edited, lesion = session.edited_mask, session.lesion
        if edited is not None and (lesion is None or lesion.mask_digest == edited.digest):
            session.edited_mask = None
