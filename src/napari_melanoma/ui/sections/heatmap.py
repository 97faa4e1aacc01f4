"""The heatmap of a slide: its layer, which is filled while the analysis runs, and its controls."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QCheckBox, QLabel, QSizePolicy, QSlider

from napari_melanoma.core.formatting import format_class
from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.session.results import COLORMAPS, PERCENT, AnalysisResults, HeatmapDisplay
from napari_melanoma.ui.session.run_status import ClassMapData, SuspiciousTile
from napari_melanoma.ui.session.slide import SlideSession
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.photographs import METADATA_KEY
from napari_melanoma.ui.viewer.tile_strip import TileStrip
from napari_melanoma.ui.viewer.view_memory import center_view
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.number_box import DecimalBox, set_spin_box_value
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import WrappedLabel, column, named, row, show_text, state_label

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.utils.events import Event


ALL_CLASSES = "all classes"  # the class map
TILES_IN_VIEW = 4.0  # width of the view, in tiles, that is centered on a tile
THRESHOLD_TIP = "A lesion starts where the probability reaches the threshold, and extends to 0.2 below it"
NO_RESULTS = "No results yet. The heatmap appears here and is refined while the analysis runs."
NO_HEATMAP = "The model of these results outputs no heatmap."
NOT_SHOWN = "The heatmap is not shown, because the results are not valid."


def explain_no_heatmap(results: AnalysisResults) -> str:
    """Return why there is no heatmap; empty if there is one."""
    if results.shown_heatmap is not None:
        return ""
    return NO_RESULTS if not results.content else NO_HEATMAP if results.heatmap is None else NOT_SHOWN


class HeatmapLayer:
    """The layer of the heatmap; one that was hidden or faded in napari's list of layers stays so."""

    def __init__(self, session: SlideSession) -> None:
        self._session, self._slide, self._viewer = session, session.slide, session.services.viewer
        self._class_map: ClassMapData | None = None  # that is drawn
        self._painted: Labels | None = None  # the map of the strokes
        self._follow_layer()
        self._update()
        session.follow(session.displayed.changed, self._follow_layer)
        session.follow(session.results.changed, self._on_results)
        session.follow(session.heatmap_display.changed, self._update)
        for emitter in (self._viewer.layers.events.inserted, self._viewer.layers.events.removed):
            session.follow(emitter, self._on_layers)

    def _follow_layer(self) -> None:
        layer = slide_layers.find_layer(self._viewer, self._slide, "heatmap")
        if layer is not None and self._slide.shows_overlays:
            visible = slide_layers.is_visible_on(self._slide, layer)
            self._session.heatmap_display.show_layer(visible=visible, opacity=layer.opacity)

    def _on_results(self, results: AnalysisResults) -> None:
        """Update the layer; without a heatmap, or if that is not valid, it is empty.

        It is not hidden, because its visibility is the choice of the user, which is kept and stored.
        """
        layer = slide_layers.find_layer(self._viewer, self._slide, "heatmap")
        is_empty = results.shown_heatmap is None or results.shown_class_map is not None
        if is_empty and layer is not None and np.isfinite(layer.data).any():
            layer.data = np.full_like(layer.data, np.nan)
        self._update()

    def _on_layers(self, event: Event) -> None:
        """Update the class map when that of the strokes is added or removed."""
        if event.value.metadata.get(METADATA_KEY, {}).get("role") == "class map":
            self._update_class_map()

    def _update(self) -> None:
        from napari_melanoma.slides.maps import mask_below_threshold

        display, heat = self._session.heatmap_display.value, self._session.results.value.shown_heatmap
        self._update_class_map()
        if heat is None or self._class_map is not None:
            return
        values = mask_below_threshold(heat.values, display.threshold) if display.is_masked else heat.values

        def create_layer() -> Image:
            from napari.layers import Image

            return Image(values, contrast_limits=heat.limits)

        layer = slide_layers.get_or_add_layer(self._viewer, self._slide, "heatmap", create_layer, heat.placement)
        if layer.data is not values:
            layer.data = values
        if tuple(layer.contrast_limits) != heat.limits:
            layer.contrast_limits = heat.limits
        display.apply(layer, is_hidden=not (self._slide.is_shown and self._slide.shows_overlays))

    def _update_class_map(self, _: object = None) -> None:
        """Show the class map of the results, unless that of the strokes in the Paint section is visible."""
        viewer, slide, drawn = self._viewer, self._slide, self._class_map
        shown = self._class_map = self._session.results.value.shown_class_map
        layer = slide_layers.find_layer(viewer, slide, "classes")
        painted = slide_layers.find_layer(viewer, slide, "class map")
        if painted is not None and painted is not self._painted:
            self._session.follow(painted.events.visible, self._update_class_map)
        self._painted = painted
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
        display, is_covered = self._session.heatmap_display.value, painted is not None and painted.visible
        layer.visible = display.visible and slide.is_shown and slide.shows_overlays and not is_covered
        layer.opacity = display.opacity / PERCENT


class HeatmapSection(SlideSection):
    """Visibility, class, colormap, opacity and threshold of the heatmap, and the most suspicious tiles."""

    parts = (HeatmapLayer,)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._results, self._display = session.results, session.heatmap_display
        self._missing_label = state_label("no_heatmap", "No heatmap yet", quiet=True)
        self._visible_check = named(QCheckBox("Show"), "slide_heatmap", "Heatmap", "Show the heatmap above the slide")
        self._class_combo = named(
            NoWheelComboBox(), "slide_class", "Class", "Class of the heatmap and of the listed areas"
        )
        self._class_combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._colormap_combo = named(NoWheelComboBox(), "slide_colours", "Colormap", "Colormap of the heatmap")
        self._colormap_combo.addItems(COLORMAPS)
        self._opacity = named(QSlider(Qt.Orientation.Horizontal), "slide_opacity", "Opacity of the heatmap")
        self._threshold = named(QSlider(Qt.Orientation.Horizontal), "slide_threshold", "Threshold", THRESHOLD_TIP)
        for slider in (self._opacity, self._threshold):
            slider.setRange(0, PERCENT)
        self._threshold_box = named(DecimalBox(), "slide_threshold_number", "Threshold", THRESHOLD_TIP)
        self._threshold_box.setRange(0, 1)
        self._threshold_box.setSingleStep(0.01)
        tip = "Hide the heatmap below the threshold"
        self._masked_check = named(
            QCheckBox("Only above the threshold"), "slide_above", "Only above the threshold", tip
        )
        self._tiles = TileStrip()
        self._legend = named(WrappedLabel(), "slide_class_colors", "Colors of the classes")
        self._legend.setToolTip("")
        self._threshold_timer = DebounceTimer(self)
        self._lay_out()
        self._connect()
        self._show_display(self._display.value)
        self._show_results(self._results.value)

    @classmethod
    def has_content(cls, session: SlideSession) -> bool:
        return session.results.value.heatmap is not None

    def _lay_out(self) -> None:
        self._of_class = column(  # of the heatmap of a class
            row(QLabel("Threshold"), self._threshold, self._threshold_box, stretch=1), self._masked_check, self._tiles
        )
        self._area = column(
            row(self._visible_check, self._class_combo, stretch=1),
            row(QLabel("Opacity"), self._opacity, self._colormap_combo, stretch=1),
            self._of_class,
            self._legend,
        )
        self.column.setSpacing(5)
        self.add(self._missing_label, self._area)
        for layout in (self._of_class.layout(), self._area.layout(), self.column):
            layout.addStretch(1)  # takes the space that tiles or a text have left, until the section has its new height

    def _connect(self) -> None:
        self._visible_check.toggled.connect(lambda on: self._display.edit(visible=on))
        self._masked_check.toggled.connect(lambda on: self._display.edit(is_masked=on))
        self._opacity.valueChanged.connect(lambda value: self._display.edit(opacity=value))
        self._colormap_combo.textActivated.connect(lambda name: self._display.edit(colormap=name))
        self._class_combo.activated.connect(
            lambda _: self._results.target_selected.emit(str(self._class_combo.currentData()))
        )
        self._threshold.valueChanged.connect(lambda value: self._on_threshold(value / PERCENT))
        self._threshold_box.valueChanged.connect(self._on_threshold)
        self._threshold_timer.timeout.connect(self._set_threshold)
        self._tiles.tile_clicked.connect(self._on_tile)
        self.follow(self._display.changed, self._show_display)
        self.follow(self._results.changed, self._show_results)
        self.follow(self.session.commit_requested, self._threshold_timer.flush)

    def _show_display(self, display: HeatmapDisplay) -> None:
        """Show how the heatmap is displayed; a threshold that the user is changing stays."""
        parts = (self._visible_check, self._masked_check, self._opacity, self._colormap_combo)
        blockers = [QSignalBlocker(part) for part in parts]
        self._visible_check.setChecked(display.visible)
        self._masked_check.setChecked(display.is_masked)
        self._opacity.setValue(display.opacity)
        self._colormap_combo.setCurrentText(display.colormap)
        for blocker in blockers:
            blocker.unblock()
        if not self._threshold_timer.isActive():
            self._show_threshold(display.threshold)

    def _show_results(self, results: AnalysisResults) -> None:
        """Show classes and tiles, or why there is no heatmap."""
        heat, missing = results.shown_heatmap, explain_no_heatmap(results)
        self._area.setVisible(not missing)
        show_text(self._missing_label, missing)
        if heat is None:
            return
        colors = {} if results.shown_class_map is None else results.shown_class_map.colors
        classes = heat.classes if heat.class_map is None else ("", *heat.classes)
        if classes != tuple(self._class_combo.itemData(index) for index in range(self._class_combo.count())):
            self._class_combo.clear()
            for name in classes:
                self._class_combo.addItem(format_class(name) if name else ALL_CLASSES, name)
        self._class_combo.setCurrentIndex(self._class_combo.findData("" if colors else heat.target))
        self._class_combo.setEnabled(len(classes) > 1)
        squares = (f"<span style='color: {color}'>■</span> {html.escape(name)}" for name, color in colors.items())
        self._legend.setText("&nbsp; ".join(squares))
        self._legend.setVisible(bool(colors))
        self._of_class.setVisible(not colors)
        self._colormap_combo.setVisible(not colors)
        self._tiles.show_tiles(self.session.slide, () if colors else heat.tiles)
        self._tiles.show_values(bool(results.content))  # whether they are valid is known when the analysis has finished

    def _show_threshold(self, threshold: float) -> None:
        blockers = [QSignalBlocker(part) for part in (self._threshold, self._threshold_box)]
        set_spin_box_value(self._threshold_box, threshold)
        self._threshold.setValue(round(threshold * PERCENT))
        for blocker in blockers:
            blocker.unblock()

    def _on_threshold(self, threshold: float) -> None:
        self._show_threshold(threshold)
        self._threshold_timer.start()

    def _set_threshold(self) -> None:
        """Apply the threshold, once it is no longer being changed."""
        threshold = self._threshold_box.value()
        self._display.edit(threshold=threshold)
        self._results.threshold_selected.emit(threshold)

    def _on_tile(self, tile: SuspiciousTile) -> None:
        slide, viewer = self.session.slide, self.session.services.viewer
        center_view(viewer, slide, (tile.row, tile.column), TILES_IN_VIEW * tile.width_px)
