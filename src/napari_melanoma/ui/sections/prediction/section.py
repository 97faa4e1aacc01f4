"""The Prediction section of a photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.ui.sections.base import PhotographSection
from napari_melanoma.ui.sections.prediction.layer import HeatmapLayer
from napari_melanoma.ui.sections.prediction.resolve import PredictionContext, resolve_heatmap, resolve_prediction
from napari_melanoma.ui.sections.prediction.view import HeatmapControls, PredictionPanel
from napari_melanoma.ui.shared_state import live_predictions, models_changed

if TYPE_CHECKING:
    from napari_melanoma.ui.session.photograph_services import HostedPhotograph


class PredictionSection(PhotographSection):
    """Shows the prediction of a photograph, and the controls of its heatmap."""

    parts = (HeatmapLayer,)

    def __init__(self, session: HostedPhotograph) -> None:
        super().__init__(session)
        self._predictions, self._icons = session.services.predictions, session.services.icons
        self._options, events = self._predictions.heatmap_options, session.events
        self._heatmap = HeatmapControls()
        self._panel = PredictionPanel(self._icons, self._heatmap)
        self.add(self._panel)
        self._heatmap.edited.connect(lambda name, value: self._options.edit(**{name: value}))
        for label in (self._panel.hint, self._heatmap.notice.label):
            label.linkActivated.connect(self._on_link)
        for signal in (events.prediction, events.request, events.saved_prediction, events.pending_options):
            self.follow(signal, self._update)
        for signal in (events.classifier, session.patient_changed, session.shown):
            self.follow(signal, self._update)
        self.follow(models_changed().changed, self._update)
        self.follow(live_predictions().changed, self._update_live)
        for signal in (events.prediction, events.heatmap, self._options.changed):
            self.follow(signal, self._update_heatmap)
        self._update()
        self._update_live()
        self._update_heatmap()

    def _update(self) -> None:
        session = self.session
        context = PredictionContext(
            session.classifier, self._predictions.has_models, session.patient_data.row, session.is_mask_changing
        )
        values = session.prediction, session.request, session.saved_prediction
        self._panel.show_view(resolve_prediction(*values, context, self._icons.link))

    def _update_live(self) -> None:
        self._panel.show_live(live_predictions().find(self.session.path))

    def _update_heatmap(self) -> None:
        session, options = self.session, self._options.value
        self._heatmap.show_view(resolve_heatmap(session.prediction, session.heatmap, options, self._icons.link))

    def _on_link(self, link: str) -> None:
        if link == "again":
            self._predictions.repeat(self.session)
        elif link == "heatmap":
            self._predictions.repeat_heatmap(self.session)
        else:
            self.session.services.status.link_activated.emit(link)
