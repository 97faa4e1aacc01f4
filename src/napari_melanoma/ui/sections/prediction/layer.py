"""The layer of the heatmap of a photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.ui.sections.prediction.resolve import HeatmapLayerView, resolve_layer
from napari_melanoma.ui.session.heatmap_options import PERCENT
from napari_melanoma.ui.viewer import layers, photographs

if TYPE_CHECKING:
    from napari_melanoma.ui.session.photograph_services import HostedPhotograph


class HeatmapLayer:
    """Shows the heatmap of the prediction in one layer, and requests it."""

    def __init__(self, session: HostedPhotograph) -> None:
        self._session, self._options = session, session.services.predictions.heatmap_options
        self._view = HeatmapLayerView()
        self._signals = (session.events.prediction, session.events.heatmap, self._options.changed)
        for signal in self._signals:
            signal.connect(self._update)
        self._update()

    def close(self) -> None:
        """Stop following the photograph; the layer stays."""
        for signal in self._signals:
            signal.disconnect(self._update)

    def _update(self) -> None:
        session, options = self._session, self._options.value
        if not session.is_open:
            return
        previous, view = self._view, resolve_layer(session.prediction, session.heatmap, options)
        self._view = view
        layer = photographs.find_layer(session.viewer, session.image, "heatmap")
        if view.shown is not None and (layer is None or view != previous):
            layer = layers.show_heatmap(session.viewer, session.image, view.shown.values, options.opacity / PERCENT)
        elif layer is not None and view.shown is None and not view.is_kept:
            layer.visible = False  # kept, to be shown again for the same prediction
        if layer is not None:
            layer.opacity = options.opacity / PERCENT
        if view.request is not None and view != previous:
            session.services.predictions.queue.submit(view.request)
