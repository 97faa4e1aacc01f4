"""The heatmap of a slide: its layer, which is filled while the analysis runs, and its controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QLabel, QSizePolicy, QSlider, QWidget

from napari_melanoma.core.formatting import format_class
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.channel_layers import make_transparent_colormap, transparent_colormap_name
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.number_box import set_spin_box_value
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import fill_column, named, row

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.slides.notes import LayerDisplay
    from napari_melanoma.ui.session.run_status import HeatmapData
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
    from napari_melanoma.ui.widgets.settings import DockSettings

COLORMAPS = ("magma", "viridis", "inferno", "plasma", "gray")  # suitable for color vision deficiency
STEPS, DEFAULT_OPACITY, DEFAULT_THRESHOLD = 100, 60, 0.6


class SlideHeatmapControls(QWidget):
    """Controls for visibility, class, colormap, opacity and threshold of the heatmap.

    All but the class are stored in the settings. ``target_changed``: the selected class. ``threshold_changed``: the
    threshold, once it is no longer being changed. ``changed``: the display of the heatmap.
    """

    changed = Signal()
    target_changed = Signal(str)
    threshold_changed = Signal(float)

    def __init__(self, settings: DockSettings) -> None:
        super().__init__()
        self._settings = settings
        self._classes: tuple[str, ...] = ()
        self.visible_check = named(QCheckBox("show"), "slide_heatmap", "Heatmap", "Show the heatmap above the slide")
        self.class_combo = named(NoWheelComboBox(), "slide_class", "Class", "Class of heatmap and lesions")
        self.colormap_combo = named(NoWheelComboBox(), "slide_colours", "Colormap", "Colormap of the heatmap")
        self.class_combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.colormap_combo.addItems(COLORMAPS)
        self.opacity = named(QSlider(Qt.Orientation.Horizontal), "slide_opacity", "Opacity of the heatmap")
        tip = "A lesion starts where the probability reaches the threshold, and extends to 0.2 below it"
        self.threshold_slider = named(QSlider(Qt.Orientation.Horizontal), "slide_threshold", "Threshold", tip)
        for slider in (self.opacity, self.threshold_slider):
            slider.setRange(0, STEPS)
        self.threshold_box = named(QDoubleSpinBox(), "slide_threshold_number", "Threshold", tip)
        self.threshold_box.setRange(0, 1)
        self.threshold_box.setSingleStep(0.01)
        tip = "Hide the heatmap below the threshold"
        self.threshold_check = named(
            QCheckBox("only above the threshold"), "slide_above", "Only above the threshold", tip
        )
        self.colormap_combo.setCurrentIndex(
            max(0, self.colormap_combo.findText(settings.get("slide/colours", COLORMAPS[0])))
        )
        self.show_display(None)
        self.threshold_check.setChecked(settings.get("slide/above", False))
        self.threshold = settings.get("slide/threshold", DEFAULT_THRESHOLD)
        fill_column(
            self,
            row(self.visible_check, self.class_combo, stretch=1),
            row(QLabel("opacity"), self.opacity, self.colormap_combo, stretch=1),
            row(QLabel("threshold"), self.threshold_slider, self.threshold_box, stretch=1),
            self.threshold_check,
        )
        self._threshold_timer = DebounceTimer(self)
        self._threshold_timer.timeout.connect(self._on_threshold_settled)
        self.visible_check.toggled.connect(self._on_changed)
        self.threshold_check.toggled.connect(self._on_changed)
        self.colormap_combo.activated.connect(self._on_changed)
        self.opacity.valueChanged.connect(self._on_changed)
        self.class_combo.activated.connect(lambda _: self.target_changed.emit(str(self.class_combo.currentData())))
        self.threshold_slider.valueChanged.connect(self._on_slider)
        self.threshold_box.valueChanged.connect(self._on_number)

    @property
    def threshold(self) -> float:
        """Probability from which there is a lesion."""
        return float(self.threshold_box.value())

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        for control in (self.threshold_box, self.threshold_slider):
            control.blockSignals(True)
        set_spin_box_value(self.threshold_box, threshold)
        self.threshold_slider.setValue(round(threshold * STEPS))
        for control in (self.threshold_box, self.threshold_slider):
            control.blockSignals(False)

    def show_threshold(self, threshold: float) -> None:
        """Show the threshold of restored lesions, unless the user is changing it."""
        if not self._threshold_timer.isActive():
            self.threshold = threshold

    def show_display(self, display: LayerDisplay | None) -> None:
        """Show the visibility and opacity that were stored with a slide; None for those of the settings."""
        visible = self._settings.get("slide/heatmap", True)
        opacity = self._settings.get("slide/opacity", DEFAULT_OPACITY)
        for control in (self.visible_check, self.opacity):
            control.blockSignals(True)
        self.visible_check.setChecked(visible if display is None else display.visible)
        self.opacity.setValue(opacity if display is None else round(display.opacity * STEPS))
        for control in (self.visible_check, self.opacity):
            control.blockSignals(False)

    def style_layer(self, layer: Image) -> None:
        """Apply visibility, opacity and colormap to a heatmap layer."""
        layer.visible, layer.opacity = self.visible_check.isChecked(), self.opacity.value() / STEPS
        if layer.colormap.name != transparent_colormap_name(self.colormap_combo.currentText()):
            layer.colormap = make_transparent_colormap(self.colormap_combo.currentText())

    def show_classes(self, classes: tuple[str, ...], target: str) -> None:
        """List the classes of a model, and select one of them (``target``)."""
        if classes != self._classes:
            self._classes = classes
            self.class_combo.clear()
            for name in classes:
                self.class_combo.addItem(format_class(name), name)
        self.class_combo.setCurrentIndex(self.class_combo.findData(target))
        self.class_combo.setEnabled(len(classes) > 1)

    def _on_changed(self, _: object = None) -> None:
        values = {
            "heatmap": self.visible_check.isChecked(),
            "colours": self.colormap_combo.currentText(),
            "opacity": self.opacity.value(),
            "above": self.threshold_check.isChecked(),
        }
        for name, value in values.items():
            self._settings.set(f"slide/{name}", value)
        self.changed.emit()

    def _on_slider(self, value: int) -> None:
        self.threshold_box.blockSignals(True)
        set_spin_box_value(self.threshold_box, value / STEPS)
        self.threshold_box.blockSignals(False)
        self._threshold_timer.start()

    def _on_number(self, value: float) -> None:
        self.threshold_slider.blockSignals(True)
        self.threshold_slider.setValue(round(value * STEPS))
        self.threshold_slider.blockSignals(False)
        self._threshold_timer.start()

    def _on_threshold_settled(self) -> None:
        self._settings.set("slide/threshold", self.threshold)
        self.threshold_changed.emit(self.threshold)
        if self.threshold_check.isChecked():
            self.changed.emit()


class SlideHeatmapLayer(QObject):
    """Show the heatmap of each slide as a layer."""

    def __init__(self, viewer: Viewer, controls: SlideHeatmapControls) -> None:
        super().__init__(controls)
        self._viewer, self._controls = viewer, controls
        self._heatmaps: dict[str, HeatmapData] = {}
        self._slide: ViewerSlide | None = None
        controls.changed.connect(self._update_layer)

    @property
    def heatmap(self) -> HeatmapData | None:
        """Heatmap of the displayed slide; None if there is none."""
        return None if self._slide is None else self._heatmaps.get(self._slide.identity)

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide."""
        self._slide = slide
        heat = self.heatmap
        self._controls.show_classes(() if heat is None else heat.classes, "" if heat is None else heat.target)

    def set_heatmap(self, heatmap: HeatmapData) -> None:
        """Show a new heatmap of the displayed slide."""
        if self._slide is not None:
            self._heatmaps[self._slide.identity] = heatmap
            self._controls.show_classes(heatmap.classes, heatmap.target)
            self._update_layer()

    def clear(self, identity: str) -> None:
        """Discard the heatmap of a slide that is analyzed again or was closed; its layer, if any, is hidden."""
        self._heatmaps.pop(identity, None)
        if self._slide is not None and self._slide.identity == identity:
            layer = slide_layers.find_layer(self._viewer, self._slide, "heatmap")
            if layer is not None:
                layer.visible = False

    def _update_layer(self) -> None:
        from napari_melanoma.slides.heatmap import mask_below_threshold

        slide, heat, controls = self._slide, self.heatmap, self._controls
        if slide is None or heat is None:
            return
        values = heat.values
        if controls.threshold_check.isChecked():
            values = mask_below_threshold(values, controls.threshold)

        def create_layer() -> Image:
            from napari.layers import Image

            return Image(values, contrast_limits=heat.limits)

        layer = slide_layers.get_or_add_layer(self._viewer, slide, "heatmap", create_layer, heat.placement)
        if layer.data is not values:
            layer.data = values
        if tuple(layer.contrast_limits) != heat.limits:
            layer.contrast_limits = heat.limits
        controls.style_layer(layer)
        layer.visible = layer.visible and slide.is_shown and slide.shows_overlays
