"""The Prediction section of a photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.ui.sections import PhotographSection
from napari_melanoma.ui.sections.prediction.layer import HeatmapLayer
from napari_melanoma.ui.sections.prediction.resolve import PredictionContext, resolve_heatmap, resolve_prediction
from napari_melanoma.ui.sections.prediction.view import HeatmapControls, PredictionPanel
from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.shared_state import live_predictions, models_changed

if TYPE_CHECKING:
    from napari_melanoma.ui.session.photograph_services import HostedPhotograph


class PredictionSection(PhotographSection):
    """Shows the prediction of a photograph, and its heatmap as a layer."""

    keeps_widget = True  # takes a fifth of the time of displaying another photograph

    def __init__(self) -> None:
        self._panel: PredictionPanel | None = None

    def show(self, session: HostedPhotograph) -> None:
        """Show the heatmap if it is switched on."""
        self._session, self._predictions = session, session.services.predictions
        self._layer = HeatmapLayer(session)

    def open(self, session: HostedPhotograph) -> PredictionPanel:
        """Return the prediction with the controls of the heatmap."""
        panel = self._panel or self._create_panel(session)
        panel.validity.show_validity(None, None)  # the numbers of another photograph may have been shown anyway
        options = self._predictions.heatmap_options
        connect, events = self._connections.connect, session.events
        for signal in (events.prediction, events.request, events.saved_prediction, events.pending_options):
            connect(signal, self._update)
        for signal in (events.classifier, session.patient_changed, session.shown):
            connect(signal, self._update)
        connect(models_changed().changed, self._update)
        connect(live_predictions().changed, self._update_live)
        for signal in (events.prediction, events.heatmap, options.changed):
            connect(signal, self._update_heatmap)
        self._update()
        self._update_live()
        self._update_heatmap()
        return panel

    def close(self) -> None:
        """Stop following the photograph; the layer stays."""
        self._layer.close()
        if self._panel is not None:
            self._connections.close()
        del self._session, self._predictions, self._layer

    def _create_panel(self, session: HostedPhotograph) -> PredictionPanel:
        options = self._predictions.heatmap_options
        self._heatmap = HeatmapControls()
        self._panel = panel = PredictionPanel(session.services.icons, self._heatmap)
        self._connections = SectionConnections(panel)
        self._heatmap.edited.connect(lambda name, value: options.edit(**{name: value}))
        for label in (panel.hint, self._heatmap.notice.label):
            label.linkActivated.connect(self._on_link)
        return panel

    def _update(self) -> None:
        session = self._session
        context = PredictionContext(
            session.classifier, self._predictions.has_models, session.patient_data.row, session.is_mask_changing
        )
        values = session.prediction, session.request, session.saved_prediction
        if self._panel is not None:
            self._panel.show_view(resolve_prediction(*values, context, session.services.icons.link))

    def _update_live(self) -> None:
        if self._panel is not None:
            self._panel.show_live(live_predictions().find(self._session.path))

    def _update_heatmap(self) -> None:
        session, options = self._session, self._predictions.heatmap_options.value
        link = session.services.icons.link
        self._heatmap.show_view(resolve_heatmap(session.prediction, session.heatmap, options, link))

    def _on_link(self, link: str) -> None:
        if link == "again":
            self._predictions.repeat(self._session)
        elif link == "heatmap":
            self._predictions.repeat_heatmap(self._session)
        else:
            self._session.services.status.link_activated.emit(link)
