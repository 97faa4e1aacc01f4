"""Request predictions for the Lesion dock, and show them with their heatmaps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, QTimer, Signal

from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.ui.lesion.queues import PredictionQueue
from napari_melanoma.ui.lesion.saving import SavedPredictions
from napari_melanoma.ui.sections.prediction.resolve import PredictionContext, resolve_prediction
from napari_melanoma.ui.session.lesion_prediction import (
    ClassifierInput,
    EditedMask,
    LesionPredictionOutcome,
    LesionPredictionRequest,
)
from napari_melanoma.ui.shared_state import case_rows, models_changed
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue, tasks
from napari_melanoma.ui.widgets.status_line import describe_failure

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.core.context import Progress
    from napari_melanoma.lesion.analysis import LesionHeatmap, LesionResult
    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
    from napari_melanoma.ui.session.lesion_updates import LesionController
    from napari_melanoma.ui.session.photograph import PhotographSession
    from napari_melanoma.ui.widgets.status_line import StatusLine, Task
    from napari_melanoma.ui.worker_client import WorkerClient

STROKE_DELAY_MS = 20  # napari emits several events for one stroke
TASK: Task = "predicting"
STATUS_DELAY_MS = 200
DURATION_PREFIX = "Predicted in"  # followed by the seconds
FAST_METHODS = ("grad_cam", "cam")


class LesionPredictionController(QObject):
    """Requests predictions for all analyzed photographs, and shows that of the photograph in view."""

    failed = Signal(object)  # Exception

    def __init__(self, controls: LesionControls, controller: LesionController, client: WorkerClient) -> None:
        super().__init__(controls)
        self._controls = controls
        self._sessions = controls.sessions
        self._controller = controller
        self._callbacks: dict[PhotographSession, Callable[[], None]] = {}  # when their predictions are up to date
        self.edited_masks = EditedMasks(controller, self)
        self.queue = PredictionQueue(client, self._find_result, self)
        self.heatmap = LesionHeatmapController(controls, self.queue, self)
        self.saved_predictions = SavedPredictions(self)
        self._status_updates = PredictionStatusUpdater(controls.status, self.queue, self)
        self._connect()
        controls.deferred.add_task(self._on_model)

    def _connect(self) -> None:
        controls, controller = self._controls, self._controller
        controls.classifier.changed.connect(self._on_model)
        models_changed().changed.connect(self._on_models)
        controls.prediction_section.hint.linkActivated.connect(self._on_link)
        controls.status.cancelled.connect(self._on_cancelled)
        case_rows().changed.connect(self._on_cases)
        self.edited_masks.changed.connect(self.refresh)
        controller.changed.connect(self.refresh)
        controller.options.edited.connect(self._on_options)
        self._sessions.removed.connect(self._on_removed)
        self.saved_predictions.prediction_found.connect(self._on_saved_prediction)
        self.queue.predicted.connect(self._on_predicted)
        self.queue.failed.connect(self._on_failed)
        self.heatmap.failed.connect(self.failed)
        controls.heatmap.options_changed.connect(self._status_updates.clear_error)
        tasks.idle.connect(self._run_pending)
        self.queue.started.connect(self._run_pending, Qt.ConnectionType.QueuedConnection)

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
            heatmap=self.heatmap.visible_heatmap(session, outcome.request, prediction.positive),
        )

    def run_when_predicted(self, session: PhotographSession, callback: Callable[[], None]) -> None:
        """Call back when the prediction is up to date with mask and patient data, or has failed."""
        session.commit_requested.emit()
        self._callbacks[session] = callback
        tasks.set_running(self, True)
        self._run_pending()

    def update_view(self) -> None:
        """Show the prediction for the photograph in view."""
        self._show_model()
        session = self._controls.picker.session
        if session is not None:
            self.refresh(session)
        self._update_section()
        self.heatmap.update_heatmap(session)

    def refresh(self, session: PhotographSession) -> None:
        """Request the prediction for a photograph, unless the current one is up to date."""
        session.classifier = self._model_of(session)
        session.request = self._make_request(session)
        if session.request is None:
            session.prediction = None
        elif session.current_prediction is None:
            self.queue.submit(session.request)
        if session is self._controls.picker.session:
            self._show_model()  # the type of the photograph may have become known
            self._update_section()

    def _make_request(self, session: PhotographSession) -> LesionPredictionRequest | None:
        """Return the request for the current mask, patient data and model; None without analysis or model."""
        lesion = session.lesion
        model = "" if lesion is None else self._model_of(session)
        if lesion is None or not model:
            return None
        digest = session.drawn_digest or lesion.mask_digest
        lesions = lesion.result.lesions_found if digest == lesion.mask_digest else 1  # unknown while it is edited
        classifier_input = ClassifierInput(
            model, lesion.image_digest, digest, max(1, lesions), lesion.result.photograph.modality
        )
        row = tuple(sorted(session.patient_data.row.items()))
        return LesionPredictionRequest(session.identity, classifier_input, row)

    def _model_of(self, session: PhotographSession | None) -> str:
        """Return the model for a photograph; empty for none."""
        lesion = None if session is None else session.lesion
        return self._controls.classifier.model_for(None if lesion is None else lesion.result.modality)

    def _show_model(self) -> None:
        """Show the model for the photograph in view, and the section of the patient data that it may use."""
        session = self._controls.picker.session
        if session is None and self._controls.deferred.is_opening:
            return  # the controls are hidden without a photograph, and filled after the dock is drawn
        model = self._model_of(session)
        is_analyzed = session is not None and session.lesion is not None
        self._controls.classifier.show_automatic(model if is_analyzed else "")
        self._controls.show_patient_section(bool(self._controls.classifier.model) and session is not None)

    def _find_result(self, request: LesionPredictionRequest) -> LesionResult | None:
        """Return the result with the mask of a request; None if the mask has changed since.

        Other values of the result may be derived from the previous mask.
        """
        session = self._sessions.find(request.identity)
        if session is None or session.lesion is None or not _is_current_mask(session, request):
            return None
        result, edited = session.lesion.result, session.edited_mask
        return result if edited is None else replace(result, mask=edited.mask)

    def _on_predicted(self, request: LesionPredictionRequest, response: object) -> None:
        from napari_melanoma.classification.prediction import ClassPrediction

        session = self._sessions.find(request.identity)
        if session is None:
            return
        if request.method:
            self.heatmap.set_heatmap(session, request, response)
            return
        assert isinstance(response, Mapping)
        prediction = ClassPrediction.from_json(response["prediction"])
        lesions = tuple(ClassPrediction.from_json(values) for values in response.get("lesions", ()))
        self._set_outcome(session, LesionPredictionOutcome(request, prediction, lesions=lesions))

    def _on_failed(self, request: LesionPredictionRequest, error: Exception) -> None:
        session = self._sessions.find(request.identity)
        if request.method:
            self.heatmap.set_failed(request, error)
        elif session is not None:
            self._set_outcome(session, LesionPredictionOutcome(request, error=str(error)))

    def _set_outcome(self, session: PhotographSession, outcome: LesionPredictionOutcome) -> None:
        session.request = self._make_request(session)
        if outcome.request == session.request:
            session.prediction = outcome
            if session is self._controls.picker.session:
                self._update_section()
                self.heatmap.update_heatmap(session)

    def _update_section(self) -> None:
        session, controls = self._controls.picker.session, self._controls
        model, classifier = self._model_of(session), controls.classifier
        context = PredictionContext(
            classifier.model, model, classifier.has_models, is_changing=session is not None and session.is_mask_changing
        )
        if session is None:
            view = resolve_prediction(None, None, None, context, controls.icons.link)
        else:
            session.request = self._make_request(session)
            is_pending = self.queue.is_predicting(session.identity)
            context = context._replace(row=session.patient_data.row, is_pending=is_pending)
            values = session.prediction, session.request, session.saved_prediction
            view = resolve_prediction(*values, context, controls.icons.link)
        if view.prediction is not None and not view.reason:
            controls.heatmap.show_classes(view.prediction.classes, view.prediction.positive)
        controls.prediction_section.show_view(view)

    def _on_options(self, session: PhotographSession) -> None:
        """Show the prediction as outdated from the first change of an option until the mask is updated."""
        if session is self._controls.picker.session:
            self._update_section()

    def _on_model(self) -> None:
        """Request predictions of the selected model for all analyzed photographs, the one in view first."""
        self._show_model()
        current = self._controls.picker.session
        for session in sorted(self._sessions, key=lambda session: session is not current):
            self.refresh(session)
        self._update_section()
        self.heatmap.update_heatmap(current)

    def _on_cases(self) -> None:
        """Use the data of the open cases."""
        for session in self._sessions:
            session.patient_changed.emit()
            self.refresh(session)

    def _on_models(self, name: str) -> None:
        """Request all predictions again, since a model may have been replaced under the same name."""
        for session in self._sessions:
            session.prediction = session.heatmap = None
            session.classifier = ""
        self._on_model()

    def _on_link(self, link: str) -> None:
        session = self._controls.picker.session
        if link == "again" and session is not None:
            session.prediction = None
            self.refresh(session)
        else:
            self._controls.status.link_activated.emit(link)

    def _on_saved_prediction(self, session: PhotographSession) -> None:
        """Show the saved prediction of a photograph that was opened again, until there is a new one."""
        data, saved = session.patient_data, session.saved_prediction
        if saved is not None and session.is_open and not data.case and not data.has_edits:
            data.set_row(saved.form)
            session.patient_changed.emit()
            self.refresh(session)
        if session is self._controls.picker.session:
            self._update_section()

    def _on_cancelled(self, task: str) -> None:
        if task == TASK:
            self.queue.cancel()
            self._update_section()

    def _on_removed(self, session: PhotographSession) -> None:
        self.queue.drop(session.identity)
        self.edited_masks.drop(session)
        self.saved_predictions.drop(session)
        self._callbacks.pop(session, None)
        self._run_pending()

    def _run_pending(self) -> None:
        """Run the callbacks whose predictions are up to date."""
        is_idle = tasks.is_idle(self._controller, self.edited_masks)
        for session in list(self._callbacks) if is_idle else ():
            if not self.queue.has_requests(session.identity):
                self._callbacks.pop(session)()
        tasks.set_running(self, bool(self._callbacks))


def _shown_request(session: PhotographSession) -> LesionPredictionRequest | None:
    """Return the request of the prediction that is shown; None if there is none."""
    outcome = session.prediction
    return None if outcome is None or outcome.prediction is None else outcome.request


def _is_current_mask(session: PhotographSession, request: LesionPredictionRequest) -> bool:
    """Whether a request is for the current mask, which may be edited."""
    return session.drawn_digest == request.classifier_input.mask_digest


class EditedMasks(QObject):
    """Updates the edited masks of photographs, before contours, ROI and measurements are derived from them."""

    changed = Signal(object)  # PhotographSession

    def __init__(self, controller: LesionController, parent: QObject) -> None:
        super().__init__(parent)
        self._latest = LatestJobQueue(self, delay_ms=STROKE_DELAY_MS)
        self._latest.succeeded.connect(lambda done: done())
        controller.watcher.mask_edited.connect(self._on_mask_edited)
        controller.changed.connect(self._on_lesion_changed)

    def drop(self, session: PhotographSession) -> None:
        """Drop the pending task of a photograph."""
        self._latest.drop(session.identity)

    def _on_mask_edited(self, session: PhotographSession) -> None:
        def prepare() -> JobFunction | None:
            labels = session.mask
            if labels is None:
                return None
            mask = labels.data != 0
            return lambda run: partial(self._set_edited, session, EditedMask(array_fingerprint(mask), mask))

        self._latest.submit(session.identity, prepare)

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


class PredictionStatusUpdater(QObject):
    """Shows the progress and duration of predictions in the status line."""

    def __init__(self, status: StatusLine, queue: PredictionQueue, parent: QObject) -> None:
        super().__init__(parent)
        self._status = status
        self._start_time = 0.0
        self._previous_text = ""  # status message before the prediction
        self._progress: Progress | None = None
        self._is_shown = False  # whether the status line shows the prediction
        self._has_failed, self._error = False, ""  # of the last request; message of the last error
        self._delay_timer = QTimer(self)
        self._delay_timer.setSingleShot(True)
        self._delay_timer.setInterval(STATUS_DELAY_MS)
        self._delay_timer.timeout.connect(self._on_delay)
        queue.started.connect(self._on_started)
        queue.progressed.connect(self._on_progress)
        queue.failed.connect(self._on_failed)
        queue.idle.connect(self._on_idle)

    def clear_error(self) -> None:
        """Clear the error of the last request, since another one is made."""
        if self._error and self._status.text == self._error:
            self._status.clear()

    def _on_started(self, request: LesionPredictionRequest) -> None:
        self._has_failed = False
        if not self._delay_timer.isActive() and not self._is_shown:
            self._start_time, self._progress = time.monotonic(), None
            self._delay_timer.start()

    def _on_delay(self) -> None:
        """Show the task once it has taken longer than ``STATUS_DELAY_MS``."""
        self._is_shown, self._previous_text = True, self._status.text
        self._status.begin(TASK, "Predicting the diagnosis ...")
        if self._progress is not None:
            self._status.progress(TASK, self._progress)

    def _on_progress(self, progress: Progress) -> None:
        self._progress = progress
        if self._is_shown:
            self._status.progress(TASK, progress)

    def _on_failed(self, request: LesionPredictionRequest, error: Exception) -> None:
        self._has_failed, self._error = True, describe_failure(error)

    def _on_idle(self) -> None:
        self._delay_timer.stop()
        if not self._is_shown:
            return
        self._is_shown = False
        text = self._status.text  # another message may have been shown in the meantime
        if text.endswith("..."):
            text = self._previous_text
        if text.endswith("...") or (text == self._error and not self._has_failed):
            text = ""
        message = text.partition(DURATION_PREFIX)[0].strip()
        if not self._has_failed:
            message = f"{message} {DURATION_PREFIX} {time.monotonic() - self._start_time:.1f} s.".strip()
        self._status.end(TASK, message)


class LesionHeatmapController(QObject):
    """Shows the heatmap of the current prediction in one layer for each photograph."""

    shown = Signal(object)  # PhotographSession
    failed = Signal(object)  # Exception

    def __init__(self, controls: LesionControls, queue: PredictionQueue, parent: QObject) -> None:
        super().__init__(parent)
        self._controls = controls.heatmap
        self._sessions = controls.sessions
        self._queue = queue
        self._errors: dict[tuple[str, str], str] = {}  # by model and method, which are not tried again
        self._shown: PhotographSession | None = None  # the photograph in view
        self._controls.options_changed.connect(self._on_options_changed)
        self._controls.opacity_changed.connect(self._on_opacity_changed)
        self._sessions.removed.connect(self._on_removed)

    def update_heatmap(self, session: PhotographSession | None) -> None:
        """Show or request the heatmap of the prediction in view if enabled; hide an outdated one."""
        self._shown = session
        if session is not None:
            self._show_or_request(session, _shown_request(session))
        self._show_notice()

    def _show_or_request(self, session: PhotographSession, request: LesionPredictionRequest | None) -> None:
        method = self._controls.method
        heatmap_request = None if request is None or not method else self._heatmap_request(request)
        if heatmap_request is not None and heatmap_request == session.heatmap:
            self._show(session, heatmap_request)
            return
        is_requested = heatmap_request is not None and not self._find_error(heatmap_request)
        if not is_requested or method not in FAST_METHODS:  # a fast one soon replaces the outdated heatmap
            layer = self._find_layer(session)
            if layer is not None:
                layer.visible = False  # kept, to be shown again for the same prediction
        if heatmap_request is not None and is_requested:
            self._queue.submit(heatmap_request)

    def set_heatmap(self, session: PhotographSession, request: LesionPredictionRequest, heat: object) -> None:
        """Show a heatmap from the worker, unless mask or options have changed since.

        ``heat``: float32 (row, column) in [0, 1].
        """
        import numpy as np

        is_current = session.is_open and _is_current_mask(session, request)
        if not is_current or request != self._heatmap_request(request):
            return
        heat = np.asarray(heat, np.float32)
        layers.show_heatmap(session.viewer, session.image, heat, self._controls.opacity)
        session.heatmap = request
        self._show_notice()
        self.shown.emit(session)

    def _show_notice(self) -> None:
        session = self._shown
        request = None if session is None else _shown_request(session)
        heatmap = None if session is None else self.visible_heatmap(session, request, "")
        error = "" if request is None else self._find_error(self._heatmap_request(request))
        self._controls.show_notice(is_empty=heatmap is not None and heatmap.is_empty, error=error)

    def visible_heatmap(
        self, session: PhotographSession, request: LesionPredictionRequest | None, positive: str
    ) -> LesionHeatmap | None:
        """Return the visible heatmap of a prediction; None if there is none.

        ``positive``: the class that it explains if none is selected.
        """
        from napari_melanoma.lesion.analysis import LesionHeatmap

        method, layer = self._controls.method, self._find_layer(session)
        if request is None or not method or session.heatmap != self._heatmap_request(request):
            return None
        return None if layer is None else LesionHeatmap(layer.data, method, self._controls.target or positive)

    def set_failed(self, request: LesionPredictionRequest, error: Exception) -> None:
        """Report that a heatmap failed, and hide that of another method."""
        self._errors[request.classifier_input.model, request.method] = describe_failure(error)
        self.update_heatmap(self._shown)
        self.failed.emit(error)

    def _find_error(self, request: LesionPredictionRequest) -> str:
        """Return why the model has no heatmap of the method; empty if none has failed."""
        return self._errors.get((request.classifier_input.model, request.method), "")

    def _heatmap_request(self, request: LesionPredictionRequest) -> LesionPredictionRequest:
        """Return the heatmap request for a prediction, with the current options."""
        return request._replace(method=self._controls.method, target=self._controls.target)

    def _find_layer(self, session: PhotographSession) -> Image | None:
        """Find the heatmap of a photograph; None if there is none."""
        return photographs.find_layer(session.viewer, session.image, "heatmap") if session.is_open else None

    def _show(self, session: PhotographSession, request: LesionPredictionRequest) -> None:
        layer = self._find_layer(session)
        if layer is not None:
            layer.visible = bool(session.image.visible)
        else:  # the user has removed the layer
            session.heatmap = None
            self._queue.submit(request)

    def _on_options_changed(self) -> None:
        self._errors.clear()
        self.update_heatmap(self._shown)

    def _on_opacity_changed(self, opacity: float) -> None:
        for session in self._sessions:
            layer = self._find_layer(session)
            if layer is not None:
                layer.opacity = opacity

    def _on_removed(self, session: PhotographSession) -> None:
        if session is self._shown:
            self._shown = None
