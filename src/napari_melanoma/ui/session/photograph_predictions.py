"""The predictions and heatmaps of photographs: each is keyed by what it depends on, and dropped if that has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, Signal

from napari_melanoma import worker
from napari_melanoma.core.context import Cancelled, KeptArray, Progress, RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion
from napari_melanoma.ui.session.document import Shared
from napari_melanoma.ui.session.lesion_updates import LesionController
from napari_melanoma.ui.session.open_photograph import (
    HeatmapKey,
    OpenPhotograph,
    PredictionHeatmap,
    PredictionKey,
    PredictionOutcome,
)
from napari_melanoma.ui.session.saved_result import SavedResult, read_saved_result
from napari_melanoma.ui.session.workspace import Workspace
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue, is_job_running, run_job, tasks
from napari_melanoma.ui.widgets.settings import DebounceTimer, DockSettings
from napari_melanoma.ui.widgets.signals import follow
from napari_melanoma.ui.widgets.status_line import StatusLine, describe_failure
from napari_melanoma.ui.worker_client import WorkerClient

if TYPE_CHECKING:
    from napari_melanoma.classification.prediction import ClassPrediction, Method
    from napari_melanoma.lesion.analysis import LesionHeatmap, LesionResult
    from napari_melanoma.ui.widgets.model_picker import ClassifierPicker

TASK, LOADING_TASK = "predicting", "loading"
STATUS_DELAY_MS = 200
DURATION_PREFIX = "Predicted in"  # followed by the seconds
PERCENT = 100
HEATMAP_METHODS = {
    "cam": ("CAM", "Output of the network's head for each region of the last feature map. Fast."),
    "occlusion": ("Occlusion", "Decrease of the prediction when a patch is covered. Takes a few seconds."),
}
HEATMAP_SETTINGS = {
    "is_shown": "lesion/heatmap",
    "method": "lesion/heatmap_method",
    "opacity": "lesion/heatmap_opacity",
}


@dataclass(frozen=True)
class HeatmapOptions:
    """How the heatmaps of all photographs are computed and displayed.

    ``target``: the class that is explained; empty for the predicted class. ``opacity``: in percent.
    """

    is_shown: bool = False
    method: Method = "cam"
    target: str = ""
    opacity: int = 60

    def make_key(self, outcome: PredictionOutcome | None) -> HeatmapKey | None:
        """Return the key of the heatmap of a prediction; None if it is not shown, or without a prediction.

        It explains the selected class if the model has it, else the predicted one.
        """
        prediction = None if outcome is None else outcome.prediction
        if outcome is None or prediction is None or not self.is_shown:
            return None
        target = self.target if self.target in prediction.classes else prediction.predicted
        return HeatmapKey(outcome.key, self.method, target)


class SharedHeatmapOptions(Shared[HeatmapOptions]):
    """The heatmap options, which are stored in the settings."""

    def __init__(self, settings: DockSettings) -> None:
        default = HeatmapOptions()
        values: dict[str, Any] = {
            name: settings.get(key, getattr(default, name)) for name, key in HEATMAP_SETTINGS.items()
        }
        if values["method"] not in HEATMAP_METHODS:
            values["method"] = default.method
        super().__init__(HeatmapOptions(**values))
        self._settings = settings

    def edit(self, **changes: Any) -> None:  # noqa: ANN401 - of any field
        """Change options."""
        for name in changes.keys() & HEATMAP_SETTINGS.keys():
            self._settings.set(HEATMAP_SETTINGS[name], changes[name])
        self.set(replace(self.value, **changes))


class PhotographPredictions(QObject):
    """Keeps the predictions of all photographs up to date; their heatmaps are requested by ``request_heatmap``.

    ``loaded``: the saved result of a photograph was read, if there is one. ``explained``: a photograph has a new
    heatmap. ``failed``: why it has none.
    """

    loaded = Signal(object)  # OpenPhotograph
    explained = Signal(object)  # OpenPhotograph
    failed = Signal(object)  # Exception

    def __init__(
        self,
        controller: LesionController,
        client: WorkerClient,
        classifier: ClassifierPicker,
        status: StatusLine,
        settings: DockSettings,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.heatmap_options = SharedHeatmapOptions(settings)
        self.queue = LatestJobQueue(self)
        self._controller, self._sessions, self._classifier = controller, controller.sessions, classifier
        self._client = client
        self._status, self._line = _PredictionStatus(status, self), status
        self._loading_timer = DebounceTimer(self, STATUS_DELAY_MS)
        self._loading_timer.timeout.connect(lambda: status.begin(LOADING_TASK, "Loading the saved result ..."))
        self._used_columns: dict[str, frozenset[str] | None] = {}  # by the name of the model; None if it is not found
        self._callbacks: dict[OpenPhotograph, Callable[[], None]] = {}  # when their predictions are up to date
        self._controller.changed.connect(self.refresh)
        self._classifier.changed.connect(self.refresh_all)
        self.heatmap_options.changed.connect(self._on_heatmap_options)
        user_data().models_changed.connect(self._on_models)
        follow(self, Workspace.of(self._sessions.viewer).patient_data_changed, self._on_patient_data)
        self._sessions.removed.connect(self._on_removed)
        self.queue.failed.connect(self.failed)
        tasks.idle.connect(self._run_pending, Qt.ConnectionType.QueuedConnection)

    @property
    def has_models(self) -> bool:
        """Whether a classification model is installed."""
        return self._classifier.has_models

    def current_prediction(self, session: OpenPhotograph) -> ClassPrediction | None:
        """Return the prediction for the current mask, patient data and model; None if there is none."""
        session.prediction_key = self._make_key(session)
        outcome = session.current_prediction
        return None if outcome is None else outcome.prediction

    def add_prediction(self, session: OpenPhotograph, lesion: AnalyzedLesion) -> LesionResult:
        """Return the result of a lesion as it is saved: with patient data, prediction and visible heatmap.

        Prediction and heatmap are those of the current mask and patient data, if there are any.
        """
        prediction, outcome = self.current_prediction(session), session.prediction
        if prediction is None or outcome is None or outcome.key.mask_digest != lesion.mask_digest:
            return replace(lesion.result, patient_data=session.patient_data.row)
        has_all = len(outcome.lesions) == len(lesion.result.lesion_measurements)
        return replace(
            lesion.result,
            class_prediction=prediction,
            class_predictions=outcome.lesions if has_all else (),
            patient_data=session.patient_data.row,
            heatmap=self._find_heatmap(session),
        )

    def _find_heatmap(self, session: OpenPhotograph) -> LesionHeatmap | None:
        from napari_melanoma.lesion.analysis import LesionHeatmap

        heatmap, key = session.heatmap, self.heatmap_options.value.make_key(session.prediction)
        if heatmap is None or heatmap.values is None or key is None or key != heatmap.key:
            return None
        return LesionHeatmap(heatmap.values, key.method, key.target)

    def run_when_predicted(self, session: OpenPhotograph, callback: Callable[[], None]) -> None:
        """Call back when the prediction is up to date with mask and patient data, or has failed."""
        session.commit_requested.emit()
        self._callbacks[session] = callback
        tasks.set_running(self, True)
        self._run_pending()

    def refresh(self, session: OpenPhotograph) -> None:
        """Request the prediction for a photograph, unless the current one is up to date."""
        session.classifier = self._select_model(session)
        session.prediction_key = self._make_key(session)
        if session.prediction_key is None:
            session.prediction = None
        elif session.current_prediction is None:
            prepare, done = partial(self._prepare, session), partial(self._on_predicted, session)
            self.queue.submit(f"predict {session.identity}", prepare, done)
        elif session.prediction is not None:
            session.prediction = _state_unused(session.prediction, session.patient_data.row)

    def refresh_all(self) -> None:
        """Request the predictions of all photographs, visible ones first."""
        for session in sorted(self._sessions, key=lambda session: not session.image.visible):
            self.refresh(session)

    def request_heatmap(self, session: OpenPhotograph) -> None:
        """Request the heatmap of the current prediction."""
        prepare, done = partial(self._prepare_heatmap, session), partial(self._on_explained, session)
        self.queue.submit(f"explain {session.identity}", prepare, done)

    def repeat(self, session: OpenPhotograph) -> None:
        """Request a prediction again that has failed or was canceled."""
        session.prediction = None
        self.refresh(session)

    def cancel(self) -> None:
        """Cancel all requests; they are not repeated before their input changes."""
        explained = [session for session in self._sessions if self.queue.has(f"explain {session.identity}")]
        self.queue.cancel()
        for session in self._sessions:
            if session.prediction_key is not None and session.current_prediction is None:
                session.prediction = PredictionOutcome(session.prediction_key)
        for session in explained:
            key = self.heatmap_options.value.make_key(session.prediction)
            if key is not None and (session.heatmap is None or not session.heatmap.applies_to(key)):
                session.heatmap = PredictionHeatmap(key)

    def follow_patient_data(self, session: OpenPhotograph) -> None:
        """Show changed patient data, and request the prediction for them."""
        session.patient_changed.emit()
        self._controller.autosave.update(session)
        self.refresh(session)

    def load_saved(self, session: OpenPhotograph, folder: Path) -> None:
        """Read the saved result of a photograph.

        Its mask is shown, its prediction until there is a new one, and what the user stated is restored; the patient
        data of a case are those of the case.
        """
        from napari_melanoma.io.results import RESULT

        def show(saved: SavedResult | None) -> None:
            self._loading_timer.stop()  # it would replace the message below
            if saved is None or not session.is_open:
                return
            session.saved_prediction = saved.prediction
            if session.patient_data.case:
                saved = saved._replace(stated=saved.stated._replace(patient={}))
            message = self._controller.show_saved(session, saved)
            self.refresh(session)
            if message:
                self._line.show_message(message)

        def end() -> None:
            self._loading_timer.stop()
            self._line.end(LOADING_TASK)
            self.loaded.emit(session)

        if (folder / RESULT).is_file():
            read = partial(read_saved_result, session.source, folder)
            job = run_job(self, f"saved {session.identity}", read, show, self.failed.emit)
            job.finished.connect(end)
            self._loading_timer.start()

    def is_loading(self, session: OpenPhotograph) -> bool:
        """Return whether the saved result of a photograph is still being read."""
        return is_job_running(self, f"saved {session.identity}")

    def _select_model(self, session: OpenPhotograph) -> str:
        """Return the model for a photograph; empty for none."""
        return self._classifier.model_for(None if session.lesion is None else session.lesion.result.modality)

    def _make_key(self, session: OpenPhotograph) -> PredictionKey | None:
        """Return the key for the current mask, patient data and model; None without analysis or model."""
        lesion = session.lesion
        model = "" if lesion is None else self._select_model(session)
        if lesion is None or not model:
            return None
        used = self._find_used_columns(model)
        row = (item for item in session.patient_data.row.items() if used is None or item[0] in used)
        lesions, modality = max(1, lesion.result.lesions_found), lesion.result.photograph.modality
        return PredictionKey(model, lesion.image_digest, lesion.mask_digest, lesions, modality, tuple(sorted(row)))

    def _find_used_columns(self, model: str) -> frozenset[str] | None:
        """Return the columns of patient data that change the predictions of a model; None if the model is not found."""
        from napari_melanoma.models.installed_bundles import find_bundle

        if model not in self._used_columns:
            self._used_columns[model] = None  # the worker reports the error with the prediction
            with suppress(MelanomaError):
                self._used_columns[model] = find_bundle(model).used_columns
        return self._used_columns[model]

    def _prepare(self, session: OpenPhotograph) -> JobFunction | None:
        key, lesion = session.prediction_key, session.lesion
        if not self._is_needed(session) or key is None or lesion is None or session.current_prediction is not None:
            return None
        return partial(_classify, self._client, key, lesion.result)

    def _is_needed(self, session: OpenPhotograph) -> bool:
        """Whether a photograph is open, or waits for its prediction to be saved."""
        return session in self._sessions or session in self._callbacks

    def _on_predicted(self, session: OpenPhotograph, outcome: PredictionOutcome) -> None:
        session.prediction_key = self._make_key(session)
        if outcome.key == session.prediction_key:
            self._status.has_result = outcome.prediction is not None
            session.prediction = _state_unused(outcome, session.patient_data.row)

    def _prepare_heatmap(self, session: OpenPhotograph) -> JobFunction | None:
        key, lesion = self.heatmap_options.value.make_key(session.prediction), session.lesion
        if session not in self._sessions or key is None or lesion is None:
            return None
        is_current = key.prediction.mask_digest == lesion.mask_digest
        return partial(_explain, self._client, key, lesion.result) if is_current else None

    def _on_explained(self, session: OpenPhotograph, explained: tuple[PredictionHeatmap, Exception | None]) -> None:
        heatmap, error = explained
        if heatmap.key != self.heatmap_options.value.make_key(session.prediction) or session not in self._sessions:
            return  # prediction or options have changed since
        session.heatmap = heatmap
        self._status.has_result = error is None
        if error is None:
            self.explained.emit(session)
        else:
            self.failed.emit(error)

    def _on_heatmap_options(self, options: HeatmapOptions) -> None:
        """Remove failed and canceled heatmaps that are not requested any more, so that they can be requested again."""
        for session in self._sessions:
            heatmap, key = session.heatmap, options.make_key(session.prediction)
            if heatmap is not None and heatmap.values is None and (key is None or not heatmap.applies_to(key)):
                session.heatmap = None

    def _on_patient_data(self) -> None:
        """Use the data of the open case."""
        for session in self._sessions:
            self.follow_patient_data(session)

    def _on_models(self, name: str) -> None:
        """Request all predictions again, since a model may have been replaced under the same name."""
        self.queue.ignore()
        self._used_columns.clear()
        for session in self._sessions:
            session.prediction = session.heatmap = None
            session.classifier = ""
        self.refresh_all()

    def _on_removed(self, session: OpenPhotograph) -> None:
        """Drop the requests of a photograph that was closed, unless it is saved with its prediction."""
        if session in self._callbacks:
            self.refresh(session)  # for the last mask
        else:
            self.queue.drop(f"predict {session.identity}")
        self.queue.drop(f"explain {session.identity}")
        self._run_pending()

    def _run_pending(self) -> None:
        """Run the callbacks whose predictions are up to date."""
        for session in list(self._callbacks) if tasks.is_idle(self._controller) else ():
            if not any(self.queue.has(f"{name} {session.identity}") for name in ("predict", "explain")):
                callback = self._callbacks.pop(session)
                tasks.set_running(self, bool(self._callbacks))  # also if the callback fails
                callback()
        tasks.set_running(self, bool(self._callbacks))


def _classify(client: WorkerClient, key: PredictionKey, result: LesionResult, run: RunContext) -> PredictionOutcome:
    """Return the outcome for a key; ``result``: with its mask."""
    photograph, labels = result.photograph, result.lesion_labels if key.lesions > 1 else None
    pixels, about = KeptArray(key.image_digest, photograph.rgb), (photograph.modality, photograph.damage)
    try:
        prediction, *lesions = client.call(
            run, worker.classify, key.model, pixels, about, (result.mask, labels), dict(key.row)
        )
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - shown in the section
        return PredictionOutcome(key, error=str(error))
    return PredictionOutcome(key, prediction, lesions=tuple(lesions))


def _explain(
    client: WorkerClient, key: HeatmapKey, result: LesionResult, run: RunContext
) -> tuple[PredictionHeatmap, Exception | None]:
    """Return the heatmap for a key, and the exception if it cannot be computed; ``result``: with its mask."""
    request, pixels = key.prediction, KeptArray(key.prediction.image_digest, result.photograph.rgb)
    arguments = request.model, pixels, result.mask, dict(request.row), key.method, key.target
    try:
        return PredictionHeatmap(key, client.call(run, worker.explain, *arguments)), None
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - shown in the section
        return PredictionHeatmap(key, error=describe_failure(error)), error


class _PredictionStatus(QObject):
    """Shows the progress and duration of predictions in the status line, which cancels them.

    ``has_result``: whether the last request has had one.
    """

    def __init__(self, status: StatusLine, predictions: PhotographPredictions) -> None:
        super().__init__(predictions)
        self.has_result = False
        self._status, self._predictions = status, predictions
        self._start_time = 0.0
        self._previous_text: str | None = None  # before the prediction; None while it is not shown
        self._progress: Progress | None = None
        self._timer = DebounceTimer(self, STATUS_DELAY_MS)
        self._timer.timeout.connect(self._show)
        status.cancelled.connect(self._on_cancelled)
        predictions.queue.started.connect(self._on_started)
        predictions.queue.progressed.connect(self._on_progress)
        predictions.queue.idle.connect(self._on_idle)

    def _on_cancelled(self, task: str) -> None:
        if task == TASK:
            self._predictions.cancel()

    def _on_started(self) -> None:
        self.has_result = False
        if not self._timer.isActive() and self._previous_text is None:
            self._start_time, self._progress = time.monotonic(), None
            self._timer.start()

    def _show(self) -> None:
        self._previous_text = self._status.text
        self._status.begin(TASK, "Predicting the diagnosis ...")
        if self._progress is not None:
            self._status.progress(TASK, self._progress)

    def _on_progress(self, progress: Progress) -> None:
        self._progress = progress
        self._status.progress(TASK, progress)

    def _on_idle(self) -> None:
        """Add the duration to the message before the prediction, or to another one that has followed."""
        self._timer.stop()
        text, previous, self._previous_text = self._status.text, self._previous_text, None
        if previous is None:
            return
        text = previous if text.endswith("...") else text
        message = "" if text.endswith("...") else text.partition(DURATION_PREFIX)[0].strip()
        if self.has_result:
            message = f"{message} {DURATION_PREFIX} {time.monotonic() - self._start_time:.1f} s.".strip()
        self._status.end(TASK, message)


def _state_unused(outcome: PredictionOutcome, row: Mapping[str, str]) -> PredictionOutcome:
    """State in predictions which patient data have no effect on them, as those are not sent to the worker."""
    from napari_melanoma.data.tabular_encoding import find_unused

    def state(prediction: ClassPrediction) -> ClassPrediction:
        unused = find_unused(row, prediction.used_columns)
        return prediction if unused == prediction.unused else replace(prediction, unused=unused)

    prediction = None if outcome.prediction is None else state(outcome.prediction)
    return outcome._replace(prediction=prediction, lesions=tuple(map(state, outcome.lesions)))
