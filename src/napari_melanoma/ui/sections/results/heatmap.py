"""The heatmap of a slide: its layer, which is filled while the analysis runs, and its controls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_melanoma.ui.sections import Section
from napari_melanoma.ui.sections.results.heatmap_view import HeatmapView
from napari_melanoma.ui.sections.results.resolve import resolve_heatmap
from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.session.results import PERCENT
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.photographs import METADATA_KEY
from napari_melanoma.ui.viewer.view_memory import center_view

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.utils.events import Event
    from qtpy.QtWidgets import QWidget

    from napari_melanoma.ui.session.results import AnalysisResults
    from napari_melanoma.ui.session.run_status import ClassMapData, SuspiciousTile
    from napari_melanoma.ui.session.slide import SlideSession

TILES_IN_VIEW = 4.0  # width of the view, in tiles, that is centered on a tile


class HeatmapSection(Section):
    """Show the heatmap of a slide, and its most suspicious tiles."""

    def show(self, session: SlideSession) -> None:
        """Show the heatmap as a layer; one that was hidden or faded in napari's list of layers stays so."""
        self._session, self._owner = session, QObject(session.sessions.parent)
        self._class_map: ClassMapData | None = None  # that is drawn
        self._connections = SectionConnections(self._owner)
        self._follow_layer()
        self._update_layer()
        self._connections.connect(session.results.changed, self._on_results)
        self._connections.connect(session.heatmap_display.changed, self._update_layer)
        events = session.services.viewer.layers.events
        for emitter in (events.inserted, events.removed):
            self._connections.connect(emitter, self._on_layers)

    def has_content(self, session: SlideSession) -> bool:
        """Whether the results have a heatmap."""
        return session.results.value.heatmap is not None

    def open(self, session: SlideSession) -> QWidget:
        """Return the controls."""
        results, display = session.results, session.heatmap_display
        view = HeatmapView(session.slide)
        view.show_display(display.value)
        view.show_texts(resolve_heatmap(results.value))
        view.edited.connect(self._on_edited)
        view.target_selected.connect(results.target_selected.emit)
        view.tile_strip.tile_clicked.connect(self._on_tile)
        self._connections.connect(display.changed, view.show_display)
        self._connections.connect(results.changed, lambda value: view.show_texts(resolve_heatmap(value)))
        self._connections.connect(session.commit_requested, view.threshold_timer.flush)
        return view

    def close(self) -> None:
        """Disconnect all signals; the layer stays with its slide."""
        self._connections.close()
        self._owner.deleteLater()
        del self._session, self._owner, self._connections  # with the layers of a slide that may be closed

    def _follow_layer(self) -> None:
        slide = self._session.slide
        layer = slide_layers.find_layer(self._session.services.viewer, slide, "heatmap")
        if layer is not None and slide.shows_overlays:
            visible = layer.visible if slide.is_shown else slide_layers.was_visible(layer)
            self._session.heatmap_display.show_layer(visible=visible, opacity=layer.opacity)

    def _on_results(self, results: AnalysisResults) -> None:
        """Update the layer; without a heatmap, or if that is not valid, it is empty.

        It is not hidden, because its visibility is the choice of the user, which is kept and stored.
        """
        import numpy as np

        layer = slide_layers.find_layer(self._session.services.viewer, self._session.slide, "heatmap")
        is_empty = results.shown_heatmap is None or results.shown_class_map is not None
        if is_empty and layer is not None and np.isfinite(layer.data).any():
            layer.data = np.full_like(layer.data, np.nan)
        self._update_layer()

    def _on_layers(self, event: Event) -> None:
        """Update the class map when another one is added or removed."""
        if event.value.metadata.get(METADATA_KEY, {}).get("role") == "class map":
            self._update_class_map(self._session.results.value.shown_class_map)

    def _on_painted_visible(self, event: Event) -> None:
        self._update_class_map(self._session.results.value.shown_class_map)

    def _on_edited(self, field: str, value: Any) -> None:  # noqa: ANN401 - of any field
        self._session.heatmap_display.edit(**{field: value})
        if field == "threshold":
            self._session.results.threshold_selected.emit(value)

    def _on_tile(self, tile: SuspiciousTile) -> None:
        """Center the view on a tile."""
        viewer, slide = self._session.services.viewer, self._session.slide
        center_view(viewer, slide, (tile.row, tile.column), TILES_IN_VIEW * tile.width_px)

    def _update_layer(self, _: object = None) -> None:
        from napari_melanoma.slides.heatmap import mask_below_threshold

        slide, display = self._session.slide, self._session.heatmap_display.value
        heat = self._session.results.value.shown_heatmap
        self._update_class_map(self._session.results.value.shown_class_map)
        if heat is None or self._class_map is not None:
            return
        values = mask_below_threshold(heat.values, display.threshold) if display.is_masked else heat.values

        def create_layer() -> Image:
            from napari.layers import Image

            return Image(values, contrast_limits=heat.limits)

        viewer = self._session.services.viewer
        layer = slide_layers.get_or_add_layer(viewer, slide, "heatmap", create_layer, heat.placement)
        if layer.data is not values:
            layer.data = values
        if tuple(layer.contrast_limits) != heat.limits:
            layer.contrast_limits = heat.limits
        display.apply(layer, is_hidden=not (slide.is_shown and slide.shows_overlays))

    def _update_class_map(self, shown: ClassMapData | None) -> None:
        """Show the class map of the results, unless that of the strokes in the Paint section is visible."""
        viewer, slide, drawn = self._session.services.viewer, self._session.slide, self._class_map
        layer = slide_layers.find_layer(viewer, slide, "classes")
        painted = slide_layers.find_layer(viewer, slide, "class map")
        if painted is not None:
            self._connections.connect(painted.events.visible, self._on_painted_visible)
        self._class_map = shown
        if shown is None:
            if layer is not None:
                viewer.layers.remove(layer)
            return
        if shown is not drawn or layer is None:
            from napari.utils.colormaps import DirectLabelColormap

            def create_layer() -> Labels:
                from napari.layers import Labels

                return Labels(shown.labels)

            layer = slide_layers.get_or_add_layer(viewer, slide, "classes", create_layer, shown.placement)
            if layer.data is not shown.labels:
                layer.data = shown.labels
            colors: dict[int | None, str] = {None: "transparent", 0: "transparent"}
            colors |= dict(enumerate(shown.colors.values(), start=1))
            layer.colormap = DirectLabelColormap(color_dict=colors)
            layer.editable = False
        display = self._session.heatmap_display.value
        is_covered = painted is not None and painted.visible
        layer.visible = display.visible and slide.is_shown and slide.shows_overlays and not is_covered
        layer.opacity = display.opacity / PERCENT
