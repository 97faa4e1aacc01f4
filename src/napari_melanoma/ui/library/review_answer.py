"""The pinned answer of the Review dock: the prediction for the photograph in view, or what to do next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.ui.library.resolve import SHIPPED
from napari_melanoma.ui.library.review_photographs import ReviewOpener
from napari_melanoma.ui.sections.prediction import OUTDATED_DELAY_MS, find_prediction
from napari_melanoma.ui.session.document import Shared
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.dock_layout import AnswerCard
from napari_melanoma.ui.widgets.job import tasks
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.signals import Connections, follow

if TYPE_CHECKING:
    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.ui.session.photograph import PhotographSession

START = f"Click a photograph, or press Next ({format_key('review.next')})."
OPENING, NOT_IN_VIEW = "Opening ...", "The photograph is not in view. Click it in the list."
NOT_ANALYZED, ANALYZING = "Not analyzed yet: the analysis starts when you pause.", "Analyzing ..."
PREDICTING, NO_CLASSIFIER = "Predicting ...", "No prediction: no classifier is chosen in the Lesion dock."
OUTDATED, SAVED = "Outdated: a new prediction is being computed", "Saved earlier"


class ReviewAnswer(AnswerCard):
    """Shows the prediction for the photograph under review; while labels are given, also that of the fit so far.

    ``find_base``: returns the model that is adapted to the labels; it may be another than that of the prediction.
    """

    def __init__(
        self, opener: ReviewOpener, live_predictions: Shared[Mapping[Path, str]], find_base: Callable[[], str]
    ) -> None:
        super().__init__("review_answer", "Prediction")
        self._opener, self._live, self._find_base = opener, live_predictions, find_base
        self._followed = Connections(self)  # to the photograph
        self._session: PhotographSession | None = None
        self._delay_timer = DebounceTimer(self, OUTDATED_DELAY_MS)
        self._delay_timer.timeout.connect(self._show)
        opener.changed.connect(self._update)
        opener.dock_connected.connect(self._on_connected)
        follow(self, live_predictions.changed, self._update)
        self._show()

    def _update(self) -> None:
        """Show the answer at once, but an outdated prediction only after a delay, in which it may be updated."""
        session = self._opener.session
        if session is not self._session:
            self._follow_session(session)
        is_outdated = session is not None and self._opener.is_shown and not find_prediction(session)[1]
        if not self._delay_timer.isActive():
            self._delay_timer.start()
        if not (is_outdated and self.headline):
            self._delay_timer.flush()

    def _on_connected(self) -> None:
        dock = self._opener.connected_dock
        assert dock is not None
        dock.analysis_controller.changed.connect(self._update)

    def _follow_session(self, session: PhotographSession | None) -> None:
        self._followed.end()
        self._session = session
        if session is not None:
            events = session.events
            signals = (events.prediction, events.prediction_key, events.saved_prediction, events.classifier)
            for signal in (*signals, events.is_mask_edited, session.patient_changed, session.shown):
                self._followed.connect(signal, self._update)

    def _show(self) -> None:
        opener, session = self._opener, self._opener.session
        self.setEnabled(True)
        if opener.path is None:
            self.set_hint(START)
        elif session is None or not opener.is_shown:
            self.set_hint(OPENING if opener.is_opening else NOT_IN_VIEW)
        else:
            self._show_session(session)

    def _show_session(self, session: PhotographSession) -> None:
        (prediction, is_current), saved = find_prediction(session), session.saved_prediction
        live = self._live.value.get(session.path or Path(), "").splitlines()
        if prediction is not None:
            self.setEnabled(is_current)
            self._show_prediction(prediction, live, "" if is_current else OUTDATED)
        elif saved is not None:
            self._show_prediction(saved.prediction, live, SAVED)
        elif live:
            self.set_answer("", live, separator="\n")
        else:
            self.set_hint(self._explain_missing(session))

    def _show_prediction(self, prediction: ClassPrediction, live: list[str], state: str) -> None:
        if prediction.model.name == self._find_base():  # that of the shipped model is the headline
            live = [line for line in live if not line.startswith(f"{SHIPPED}:")]
        self.show_headline(prediction.headline, state, *live)

    def _explain_missing(self, session: PhotographSession) -> str:
        dock, outcome = self._opener.connected_dock, session.prediction
        if session.lesion is None:
            is_running = dock is not None and not tasks.is_idle(dock.analysis_controller.queue)
            return ANALYZING if is_running else NOT_ANALYZED
        if outcome is not None and outcome.error:
            return outcome.error
        return PREDICTING if session.classifier else NO_CLASSIFIER
