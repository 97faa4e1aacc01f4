"""The layer of the heatmap of a photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_melanoma.ui.sections.prediction.resolve import HeatmapLayerView, resolve_layer
from napari_melanoma.ui.session.heatmap_options import PERCENT
from napari_melanoma.ui.viewer import layers, photographs

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.utils.events import Event

    from napari_melanoma.ui.session.photograph_services import HostedPhotograph


class HeatmapLayer:
    """Shows the heatmap of the prediction in one layer, and requests it.

    A layer that the user hides, removes or fades in napari's list of layers changes the options.
    """

    def __init__(self, session: HostedPhotograph) -> None:
        self._session, self._options = session, session.services.predictions.heatmap_options
        self._view = HeatmapLayerView()
        self._layer: Image | None = None  # of which changes are followed
        self._is_visible = False  # after the last update
        self._timer = QTimer(
            session.owner
        )  # later, as the photograph is hidden or removed with its layers, in any order
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._follow_layer)
        session.follow(session.viewer.layers.events.removed, self._on_removed)
        for signal in (session.events.prediction, session.events.heatmap, self._options.changed):
            session.follow(signal, self._update)
        session.follow(session.displayed.changed, self._on_displayed)
        self._update()

    def _on_displayed(self) -> None:
        self._view = HeatmapLayerView()  # shows the layer again, which was hidden with the photograph
        self._update()

    def _update(self) -> None:
        session, options = self._session, self._options.value
        if not (session.is_open and session.displayed.value):
            return
        previous, view = self._view, resolve_layer(session.prediction, session.heatmap, options)
        self._view = view
        layer = photographs.find_layer(session.viewer, session.image, "heatmap")
        values = None if view.shown is None else view.shown.values
        if values is not None and (layer is None or view != previous):
            layer = layers.show_heatmap(session.viewer, session.image, values, options.opacity / PERCENT)
        elif layer is not None and view.shown is None and not view.is_kept:
            layer.visible = False  # kept, to be shown again for the same prediction
        layers.fade_heatmaps(session.viewer, options.opacity / PERCENT)
        self._is_visible = layer is not None and layer.visible
        if layer is not None and layer != self._layer:
            self._layer = layer
            for event in (layer.events.visible, layer.events.opacity):
                session.follow(event, self._on_layer)
        if view.request is not None and view != previous:
            session.services.predictions.queue.submit(view.request)

    def _on_layer(self, event: Event) -> None:
        self._timer.start()

    def _on_removed(self, event: Event) -> None:
        if event.value == self._layer:
            self._timer.start()

    def _follow_layer(self) -> None:
        """Change the options as the user has changed the layer; one that is hidden with its photograph is no choice."""
        session, opacity = self._session, self._options.value.opacity
        if not (session.is_open and session.displayed.value and session.image.visible):
            return
        layer = photographs.find_layer(session.viewer, session.image, "heatmap")
        changes: dict[str, Any] = {}
        if (is_visible := layer is not None and layer.visible) != self._is_visible:
            changes["is_shown"] = is_visible
        if layer is not None and layer.opacity != opacity / PERCENT:
            changes["opacity"] = round(PERCENT * layer.opacity)
        if changes:
            self._options.edit(**changes)
