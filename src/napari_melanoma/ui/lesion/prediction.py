"""Request predictions for the Lesion dock, and show them with their heatmaps."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import QObject, Qt, QTimer, Signal

from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.ui.lesion.patient_controller import PatientDataController
from napari_melanoma.ui.lesion.queues import ClassifierInput, LesionPredictionRequest, PredictionQueue
from napari_melanoma.ui.lesion.saving import SavedPrediction, SavedPredictions
from napari_melanoma.ui.shared_state import models_changed
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue, tasks
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.status_line import describe_failure

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.core.context import Progress, RunContext
    from napari_melanoma.lesion.analysis import LesionHeatmap, LesionResult
    from napari_melanoma.ui.lesion.analyzed_lesions import LesionStore
    from napari_melanoma.ui.lesion.controls import LesionControls
    from napari_melanoma.ui.lesion.result_updates import LesionController
    from napari_melanoma.ui.widgets.status_line import StatusLine, Task
    from napari_melanoma.ui.worker_client import WorkerClient

CONTROLS_MS = 40  # after the last change of a control
STROKE_DELAY_MS = 20  # napari emits several events for one stroke
NOT_ANALYZED = "Analyze the photograph first. The prediction uses the segmented lesion."
NO_MODEL_SELECTED = "Select a <i>classifier</i> to predict the diagnosis."
OUTDATED = "Outdated: the inputs have changed since this prediction. A new one is being computed."
STOPPED = "Canceled. There is no prediction for this lesion."
TASK: Task = "predicting"
STATUS_DELAY_MS = 200
DURATION_PREFIX = "Predicted in"  # followed by the seconds
FAST_METHODS = ("grad_cam", "cam")


class LesionPredictionController(QObject):
    """Requests predictions for all analyzed photographs, and shows that of the photograph in view."""

    predicted = Signal(str)
    failed = Signal(object)  # Exception

    def __init__(self, controls: LesionControls, controller: LesionController, client: WorkerClient) -> None:
        super().__init__(controls)
        self._controls = controls
        self._controller = controller
        self._outcomes: dict[str, LesionPredictionOutcome] = {}
        self._callbacks: dict[str, Callable[[], None]] = {}
        self.patient_data = PatientDataController(controls, controller.store, self)
        self.edited_masks = EditedMasks(controller, self)
        self.queue = PredictionQueue(client, self._find_result, self)
        self.heatmap = LesionHeatmapController(controls, self.edited_masks, self.queue, controller.store, self)
        self.saved_predictions = SavedPredictions(self)
        self._status_updates = PredictionStatusUpdater(controls.status, self.queue, self)
        self._controls_timer = DebounceTimer(self, CONTROLS_MS)
        self._is_changing = False  # whether the mask does not match the controls yet
        self._shown_model: str | None = None  # the model whose fields the patient form shows
        self._connect()
        controls.deferred.add_task(self._on_model)

    def _connect(self) -> None:
        controls, controller = self._controls, self._controller
        controls.classifier.changed.connect(self._on_model)
        models_changed().changed.connect(self._on_models)
        controls.prediction_section.hint.linkActivated.connect(self._on_link)
        controls.status.cancelled.connect(self._on_cancelled)
        self.patient_data.changed.connect(self.refresh)
        self.edited_masks.changed.connect(self.refresh)
        controller.changed.connect(self.refresh)
        for signal in (controls.mask_controls.changing, controls.mask_controls.changed):
            signal.connect(self._on_mask_controls)
        controller.photograph_removed.connect(self._on_photograph_removed)
        self.saved_predictions.prediction_found.connect(self._on_saved_prediction)
        self.queue.predicted.connect(self._on_predicted)
        self.queue.failed.connect(self._on_failed)
        self.heatmap.failed.connect(self.failed)
        controls.heatmap.options_changed.connect(self._status_updates.clear_error)
        tasks.idle.connect(self._on_idle)
        self.queue.started.connect(self._run_pending, Qt.ConnectionType.QueuedConnection)

    def current_prediction(self, identity: str) -> ClassPrediction | None:
        """Return the prediction for the current mask, patient data and model; None if there is none."""
        outcome = self._current_outcome(identity)
        return None if outcome is None else outcome.prediction

    def lesion_predictions(self, identity: str) -> tuple[ClassPrediction, ...]:
        """Return the current prediction for each of several lesions; empty for one, and while they are computed."""
        outcome, lesion = self._current_outcome(identity), self._controller.store.lesions.get(identity)
        if outcome is None or lesion is None:
            return ()
        return outcome.lesions if len(outcome.lesions) == len(lesion.result.lesion_measurements) else ()

    def result_with_prediction(self, identity: str) -> LesionResult:
        """Return the result of a photograph as it is saved: with prediction, patient data and visible heatmap.

        Without a current prediction, none of these is added.
        """
        lesion = self._controller.store.lesions[identity]
        result, prediction = lesion.result, self.current_prediction(identity)
        request = self._shown_request(identity)
        if prediction is None or request is None or request.classifier_input.mask_digest != lesion.mask_digest:
            return result
        return replace(
            result,
            class_prediction=prediction,
            class_predictions=self.lesion_predictions(identity),
            patient_data=self.patient_data.row(identity),
            heatmap=self.heatmap.visible_heatmap(identity, request, prediction.positive),
        )

    def run_when_predicted(self, identity: str, callback: Callable[[], None]) -> None:
        """Call back when the prediction is up to date with mask and patient data, or has failed."""
        self.patient_data.flush()
        self._callbacks[identity] = callback
        tasks.set_running(self, True)
        self._run_pending()

    def update_view(self) -> None:
        """Show the prediction for the photograph in view."""
        self.patient_data.flush()
        self._show_model()
        self.patient_data.update_view()
        identity = self._controls.picker.identity
        if identity is not None:
            self.refresh(identity)
        self._update_section()
        self.heatmap.update_heatmap(identity, self._shown_request(identity))

    def refresh(self, identity: str) -> None:
        """Request the prediction for a photograph, unless the current one is up to date."""
        request, outcome = self._current_request(identity), self._outcomes.get(identity)
        if request is None:
            if self._outcomes.pop(identity, None) is not None:
                self.predicted.emit(identity)
        elif outcome is None or outcome.request != request:
            self.queue.submit(request)
        if identity == self._controls.picker.identity:
            self._show_model()  # the type of the photograph may have become known
            self._update_section()

    def _current_outcome(self, identity: str) -> LesionPredictionOutcome | None:
        """Return the outcome for the current mask, patient data and model; None if there is none."""
        outcome = self._outcomes.get(identity)
        return None if outcome is None or outcome.request != self._current_request(identity) else outcome

    def _current_request(self, identity: str) -> LesionPredictionRequest | None:
        """Return the request for the current mask, patient data and model; None without analysis or model."""
        lesion = self._controller.store.lesions.get(identity)
        model = "" if lesion is None else self._model_of(identity)
        if lesion is None or not model:
            return None
        digest = self.edited_masks.mask_digest(identity) or lesion.mask_digest
        lesions = lesion.result.lesions_found if digest == lesion.mask_digest else 1  # unknown while it is edited
        classifier_input = ClassifierInput(
            model, lesion.image_digest, digest, max(1, lesions), lesion.result.photograph.modality
        )
        row = tuple(sorted(self.patient_data.row(identity).items()))
        return LesionPredictionRequest(identity, classifier_input, row)

    def _model_of(self, identity: str | None) -> str:
        """Return the model for a photograph; empty for none."""
        lesion = self._controller.store.lesions.get(str(identity))
        return self._controls.classifier.model_for(None if lesion is None else lesion.result.modality)

    def _show_model(self) -> None:
        """Show the model for the photograph in view, and the patient data that it uses."""
        identity = self._controls.picker.identity
        if identity is None and self._controls.deferred.is_opening:
            return  # the controls are hidden without a photograph, and filled after the dock is drawn
        model = self._model_of(identity)
        is_analyzed = identity in self._controller.store.lesions
        self._controls.classifier.show_automatic(model if is_analyzed else "")
        if model != self._shown_model:
            self._shown_model = model
            self.patient_data.set_model(model)

    def _shown_request(self, identity: str | None) -> LesionPredictionRequest | None:
        """Return the request of the prediction that is shown; None if there is none."""
        outcome = None if identity is None else self._outcomes.get(identity)
        return None if outcome is None or outcome.prediction is None else outcome.request

    def _find_result(self, request: LesionPredictionRequest) -> LesionResult | None:
        return self.edited_masks.find_result(request.identity, request.classifier_input.mask_digest)

    def _on_predicted(self, request: LesionPredictionRequest, response: object) -> None:
        from napari_melanoma.classification.prediction import ClassPrediction

        if request.method:
            self.heatmap.set_heatmap(request, response)
            return
        assert isinstance(response, Mapping)
        prediction = ClassPrediction.from_json(response["prediction"])
        lesions = tuple(ClassPrediction.from_json(values) for values in response.get("lesions", ()))
        self._set_outcome(LesionPredictionOutcome(request, prediction, lesions=lesions))

    def _on_failed(self, request: LesionPredictionRequest, error: Exception) -> None:
        if request.method:
            self.heatmap.set_failed(request, error)
        else:
            self._set_outcome(LesionPredictionOutcome(request, error=str(error)))

    def _set_outcome(self, outcome: LesionPredictionOutcome) -> None:
        identity = outcome.request.identity
        if outcome.request == self._current_request(identity):
            self._outcomes[identity] = outcome
            self.predicted.emit(identity)
            if identity == self._controls.picker.identity:
                self._update_section()
                self.heatmap.update_heatmap(identity, self._shown_request(identity))

    def _update_section(self) -> None:
        identity = str(self._controls.picker.identity)
        is_pending = self.queue.is_predicting(identity)
        request, saved = self._current_request(identity), self.saved_predictions.get(identity)
        previous = None
        if saved is not None:
            mask_digest = None if request is None else request.classifier_input.mask_digest
            note = saved.describe_status(self._model_of(identity), mask_digest, self.patient_data.row(identity))
            previous = saved.prediction, note
        show_prediction(
            self._controls,
            self._outcomes.get(identity),
            request,
            is_pending,
            previous,
            changing=self._is_changing,
        )

    def _on_mask_controls(self) -> None:
        """Show the prediction as outdated from the first change of a control until the mask is updated."""
        lesion = self._controller.store.lesions.get(str(self._controls.picker.identity))
        if lesion is not None and not lesion.corrected:
            self._controls_timer.start()
            if not self._is_changing:  # a slider emits many times per second
                self._is_changing = True
                tasks.set_running(self, True)
                self._update_section()

    def _on_idle(self) -> None:
        waited_for = (self._controls_timer, self._controls.mask_controls.debounce, self._controller)
        if self._is_changing and tasks.is_idle(*waited_for):
            self._is_changing = False
            self._update_section()
        self._run_pending()

    def _on_model(self) -> None:
        """Request predictions of the selected model for all analyzed photographs, the one in view first."""
        self._shown_model = None
        self._show_model()
        current = self._controls.picker.identity
        for identity in sorted(self._controller.store.lesions, key=lambda identity: identity != current):
            self.refresh(identity)
        self._update_section()
        self.heatmap.update_heatmap(current, self._shown_request(current))

    def _on_models(self, name: str) -> None:
        """Request all predictions again, since a model may have been replaced under the same name."""
        self._outcomes.clear()
        self.heatmap.clear()
        self._on_model()

    def _on_link(self, link: str) -> None:
        identity = self._controls.picker.identity
        if link == "again" and identity is not None:
            self._outcomes.pop(identity, None)
            self.refresh(identity)
        else:
            self._controls.status.link_activated.emit(link)

    def _on_saved_prediction(self, saved: SavedPrediction) -> None:
        """Show the saved prediction of a photograph that was opened again, until there is a new one."""
        self.patient_data.restore(saved.identity, saved.form)
        if saved.identity == self._controls.picker.identity:
            self._update_section()

    def _on_cancelled(self, task: str) -> None:
        if task == TASK:
            self.queue.cancel()
            self._update_section()

    def _on_photograph_removed(self, identity: str) -> None:
        self.queue.drop(identity)
        self.edited_masks.remove(identity)
        self.patient_data.remove(identity)
        self.heatmap.remove(identity)
        self.saved_predictions.remove(identity)
        self._outcomes.pop(identity, None)
        self._callbacks.pop(identity, None)
        self._run_pending()

    def _run_pending(self) -> None:
        """Run the callbacks whose predictions are up to date."""
        is_idle = tasks.is_idle(self._controller, self.edited_masks)
        for identity in list(self._callbacks) if is_idle else ():
            if not self.queue.has_requests(identity):
                self._callbacks.pop(identity)()
        tasks.set_running(self, self._is_changing or bool(self._callbacks))


class EditedMask(NamedTuple):
    """An edited mask, bool (row, column), with its digest and the identity of its photograph."""

    identity: str
    digest: str
    mask: NDArray[np.bool_]


class EditedMasks(QObject):
    """The edited masks whose contours, ROI and measurements are not updated yet."""

    changed = Signal(str)

    def __init__(self, controller: LesionController, parent: QObject) -> None:
        super().__init__(parent)
        self._store = controller.store
        self._masks: dict[str, EditedMask] = {}
        self._latest = LatestJobQueue(self, delay_ms=STROKE_DELAY_MS)
        self._latest.succeeded.connect(self._on_fingerprinted)
        controller.watcher.mask_edited.connect(self._on_mask_edited)
        controller.changed.connect(self._on_lesion_changed)

    def mask_digest(self, identity: str) -> str | None:
        """Return the digest of the current mask; None if the photograph was not analyzed."""
        lesion, edited = self._store.lesions.get(identity), self._masks.get(identity)
        return None if lesion is None else lesion.mask_digest if edited is None else edited.digest

    def find_result(self, identity: str, digest: str) -> LesionResult | None:
        """Return the result with the mask of a digest; None if the mask has changed since.

        Other values of the result may be derived from the previous mask.
        """
        lesion, edited = self._store.lesions.get(identity), self._masks.get(identity)
        if lesion is None or self.mask_digest(identity) != digest:
            return None
        return lesion.result if edited is None else replace(lesion.result, mask=edited.mask)

    def remove(self, identity: str) -> None:
        """Remove a photograph."""
        self._latest.drop(identity)
        self._masks.pop(identity, None)

    def _on_mask_edited(self, identity: str) -> None:
        def prepare() -> JobFunction | None:
            labels = self._store.mask(identity)
            if labels is None:
                return None
            mask = labels.data != 0
            return lambda run: _fingerprint_mask(identity, mask, run)

        self._latest.submit(identity, prepare)

    def _on_fingerprinted(self, edited: EditedMask) -> None:
        lesion = self._store.lesions.get(edited.identity)
        previous = self.mask_digest(edited.identity)
        if lesion is None or lesion.mask_digest == edited.digest:
            self._masks.pop(edited.identity, None)
        else:
            self._masks[edited.identity] = edited
        if self.mask_digest(edited.identity) != previous:
            self.changed.emit(edited.identity)

    def _on_lesion_changed(self, identity: str) -> None:
        """Remove an edited mask when the result is up to date with it."""
        lesion, edited = self._store.lesions.get(identity), self._masks.get(identity)
        if edited is not None and (lesion is None or lesion.mask_digest == edited.digest):
            del self._masks[identity]


def _fingerprint_mask(identity: str, mask: NDArray[np.bool_], run: RunContext) -> EditedMask:
    return EditedMask(identity, array_fingerprint(mask), mask)


class LesionPredictionOutcome(NamedTuple):
    """The outcome of a request: a prediction, and one for each of several lesions, or an error message."""

    request: LesionPredictionRequest
    prediction: ClassPrediction | None = None
    error: str = ""
    lesions: tuple[ClassPrediction, ...] = ()


def show_prediction(
    controls: LesionControls,
    outcome: LesionPredictionOutcome | None,
    current_request: LesionPredictionRequest | None,
    is_pending: bool,
    saved: tuple[ClassPrediction, str] | None = None,
    *,
    changing: bool = False,
) -> None:
    """Show the prediction of the photograph in view, or why there is none.

    ``saved``: a saved prediction, which is shown until there is a new one, and a note about it. ``changing``: whether
    the mask does not match the controls yet.
    """
    section, is_pending = controls.prediction_section, is_pending or changing
    is_current = outcome is not None and outcome.request == current_request and not changing
    if (
        outcome is not None
        and outcome.prediction is not None
        and (is_current or _is_same_model(outcome, current_request, is_pending))
    ):
        controls.heatmap.show_classes(outcome.prediction.classes, outcome.prediction.positive)
        section.show_prediction(outcome.prediction, is_pending=not is_current, outdated="" if is_current else OUTDATED)
        return
    reason = _explain_missing(
        controls, outcome.error if outcome is not None and is_current else "", current_request, is_pending
    )
    if saved is None:
        section.show_message(reason)
    else:
        section.show_saved_prediction(*saved, reason)


def _is_same_model(
    outcome: LesionPredictionOutcome, current_request: LesionPredictionRequest | None, is_pending: bool
) -> bool:
    """Whether a previous prediction of the same model stays visible until the pending one is available."""
    if current_request is None or not is_pending:
        return False
    return outcome.request.classifier_input.model == current_request.classifier_input.model


def _explain_missing(
    controls: LesionControls, error: str, current_request: LesionPredictionRequest | None, is_pending: bool
) -> str:
    """Explain why there is no prediction, as rich text."""
    again = controls.icons.link("again", "Predict again")
    if not controls.classifier.model:
        return NO_MODEL_SELECTED if controls.classifier.has_models else _no_model_text(controls)
    if current_request is None:
        return NOT_ANALYZED
    if error:
        return f"{html.escape(error[:1].upper() + error[1:])} {again}"
    return "Predicting ..." if is_pending else f"{STOPPED} {again}"


def _no_model_text(controls: LesionControls) -> str:
    train = controls.icons.link("train", "Train one")
    return f"No classification model is installed. {train}, or add one with <i>napari-melanoma models import</i>."


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

    shown = Signal(str)
    failed = Signal(object)  # Exception

    def __init__(
        self,
        controls: LesionControls,
        edited_masks: EditedMasks,
        queue: PredictionQueue,
        store: LesionStore,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._controls = controls.heatmap
        self._edited_masks = edited_masks
        self._store = store
        self._queue = queue
        self._shown_requests: dict[str, LesionPredictionRequest] = {}
        self._errors: dict[tuple[str, str], str] = {}  # by model and method, which are not tried again
        self._request: LesionPredictionRequest | None = None  # of the prediction in view
        self._controls.options_changed.connect(self._on_options_changed)
        self._controls.opacity_changed.connect(self._on_opacity_changed)

    def update_heatmap(self, identity: str | None, request: LesionPredictionRequest | None) -> None:
        """Show or request the heatmap of a prediction if enabled; hide an outdated one."""
        self._request = None if identity is None else request
        if identity is not None:
            self._show_or_request(identity, request)
        self._show_notice()

    def _show_or_request(self, identity: str, request: LesionPredictionRequest | None) -> None:
        method = self._controls.method
        heatmap_request = None if request is None or not method else self._heatmap_request(request)
        if heatmap_request is not None and heatmap_request == self._shown_requests.get(identity):
            self._show(identity)
            return
        is_requested = heatmap_request is not None and not self._find_error(heatmap_request)
        if not is_requested or method not in FAST_METHODS:  # a fast one soon replaces the outdated heatmap
            self._hide(identity)
        if heatmap_request is not None and is_requested:
            self._queue.submit(heatmap_request)

    def set_heatmap(self, request: LesionPredictionRequest, heat: object) -> None:
        """Show a heatmap from the worker, unless mask or options have changed since.

        ``heat``: float32 (row, column) in [0, 1].
        """
        import numpy as np

        image = self._store.image(request.identity)
        current = self._edited_masks.mask_digest(request.identity) == request.classifier_input.mask_digest
        if image is None or not current or request != self._heatmap_request(request):
            return
        layers.show_heatmap(self._store.viewer, image, np.asarray(heat, np.float32), self._controls.opacity)
        self._shown_requests[request.identity] = request
        self._show_notice()
        self.shown.emit(request.identity)

    def _show_notice(self) -> None:
        request = self._request
        heatmap = None if request is None else self.visible_heatmap(request.identity, request, "")
        error = "" if request is None else self._find_error(self._heatmap_request(request))
        self._controls.show_notice(is_empty=heatmap is not None and heatmap.is_empty, error=error)

    def visible_heatmap(
        self, identity: str, request: LesionPredictionRequest | None, positive: str
    ) -> LesionHeatmap | None:
        """Return the visible heatmap of a prediction; None if there is none.

        ``positive``: the class that it explains if none is selected.
        """
        from napari_melanoma.lesion.analysis import LesionHeatmap

        method, layer = self._controls.method, self._find_layer(identity)
        if request is None or not method or self._shown_requests.get(identity) != self._heatmap_request(request):
            return None
        return None if layer is None else LesionHeatmap(layer.data, method, self._controls.target or positive)

    def set_failed(self, request: LesionPredictionRequest, error: Exception) -> None:
        """Report that a heatmap failed, and hide that of another method."""
        self._errors[request.classifier_input.model, request.method] = describe_failure(error)
        if self._request is not None:
            self.update_heatmap(self._request.identity, self._request)
        self.failed.emit(error)

    def _find_error(self, request: LesionPredictionRequest) -> str:
        """Return why the model has no heatmap of the method; empty if none has failed."""
        return self._errors.get((request.classifier_input.model, request.method), "")

    def _heatmap_request(self, request: LesionPredictionRequest) -> LesionPredictionRequest:
        """Return the heatmap request for a prediction, with the current options."""
        return request._replace(method=self._controls.method, target=self._controls.target)

    def clear(self) -> None:
        """Mark all heatmaps as outdated, since a model may have been replaced under the same name."""
        self._shown_requests.clear()

    def remove(self, identity: str) -> None:
        """Remove a photograph."""
        self._shown_requests.pop(identity, None)

    def _find_layer(self, identity: str) -> Image | None:
        """Find the heatmap of a photograph; None if there is none."""
        image = self._store.image(identity)
        return None if image is None else photographs.find_layer(self._store.viewer, image, "heatmap")

    def _hide(self, identity: str) -> None:
        layer = self._find_layer(identity)
        if layer is not None:
            layer.visible = False  # kept, to be shown again for the same prediction

    def _show(self, identity: str) -> None:
        image, layer = self._store.image(identity), self._find_layer(identity)
        if layer is not None:
            layer.visible = image is not None and bool(image.visible)
        elif (request := self._shown_requests.pop(identity, None)) is not None:  # the user has removed the layer
            self._queue.submit(request)

    def _on_options_changed(self) -> None:
        self._errors.clear()
        if self._request is not None:
            self.update_heatmap(self._request.identity, self._request)

    def _on_opacity_changed(self, opacity: float) -> None:
        for image in photographs.identify_photographs(self._store.viewer):
            layer = photographs.find_layer(self._store.viewer, image, "heatmap")
            if layer is not None:
                layer.opacity = opacity
