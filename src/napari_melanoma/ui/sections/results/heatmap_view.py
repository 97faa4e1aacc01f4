"""The controls of the heatmap of a slide."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QLabel, QSizePolicy, QSlider, QWidget

from napari_melanoma.core.formatting import format_class
from napari_melanoma.ui.session.results import COLORMAPS, PERCENT
from napari_melanoma.ui.viewer.tile_strip import TileStrip
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.number_box import set_spin_box_value
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import WrappedLabel, column, fill_column, named, quiet_label, reserve_space, row

if TYPE_CHECKING:
    from napari_melanoma.ui.sections.results.resolve import HeatmapTexts
    from napari_melanoma.ui.session.results import HeatmapDisplay
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

ALL_CLASSES = "all classes"  # the class map
THRESHOLD_TIP = "A lesion starts where the probability reaches the threshold, and extends to 0.2 below it"


class HeatmapView(QWidget):
    """Controls for visibility, class, colormap, opacity and threshold of the heatmap, and suspicious tiles.

    ``edited``: name and value of a field of ``HeatmapDisplay``; of the threshold, once it is no longer being changed.
    ``target_selected``: the selected class.
    """

    edited = Signal(str, object)
    target_selected = Signal(str)

    def __init__(self, slide: ViewerSlide) -> None:
        super().__init__()
        self._slide = slide
        self._classes: tuple[str, ...] = ()
        self._missing_label = named(quiet_label(), "no_heatmap", "No heatmap yet")
        self._visible_check = named(QCheckBox("show"), "slide_heatmap", "Heatmap", "Show the heatmap above the slide")
        self._class_combo = named(NoWheelComboBox(), "slide_class", "Class", "Class of heatmap and lesions")
        self._class_combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._colormap_combo = named(NoWheelComboBox(), "slide_colours", "Colormap", "Colormap of the heatmap")
        self._colormap_combo.addItems(COLORMAPS)
        reserve_space(self._colormap_combo)
        self._opacity = named(QSlider(Qt.Orientation.Horizontal), "slide_opacity", "Opacity of the heatmap")
        self._threshold = named(QSlider(Qt.Orientation.Horizontal), "slide_threshold", "Threshold", THRESHOLD_TIP)
        for slider in (self._opacity, self._threshold):
            slider.setRange(0, PERCENT)
        self.threshold_box = named(QDoubleSpinBox(), "slide_threshold_number", "Threshold", THRESHOLD_TIP)
        self.threshold_box.setRange(0, 1)
        self.threshold_box.setSingleStep(0.01)
        self._masked_check = named(
            QCheckBox("only above the threshold"),
            "slide_above",
            "Only above the threshold",
            "Hide the heatmap below the threshold",
        )
        self.tile_strip = TileStrip()
        self._legend = named(WrappedLabel(), "slide_class_colors", "Colors of the classes")
        self._legend.setToolTip("")
        self._of_class = column(  # of the heatmap of a class
            row(QLabel("threshold"), self._threshold, self.threshold_box, stretch=1),
            self._masked_check,
            self.tile_strip,
        )
        self._area = column(
            row(self._visible_check, self._class_combo, stretch=1),
            row(QLabel("opacity"), self._opacity, self._colormap_combo, stretch=1),
            self._of_class,
            self._legend,
        )
        fill_column(self, self._missing_label, self._area, spacing=5)
        for part in (self, self._area):
            part.layout().addStretch(1)  # takes the space that a text has left
        self.threshold_timer = DebounceTimer(self)
        self._connect()

    def _connect(self) -> None:
        self._visible_check.toggled.connect(lambda on: self.edited.emit("visible", on))
        self._masked_check.toggled.connect(lambda on: self.edited.emit("is_masked", on))
        self._opacity.valueChanged.connect(lambda value: self.edited.emit("opacity", value))
        self._colormap_combo.textActivated.connect(lambda name: self.edited.emit("colormap", name))
        self._class_combo.activated.connect(lambda _: self.target_selected.emit(str(self._class_combo.currentData())))
        self._threshold.valueChanged.connect(lambda value: self._on_threshold(value / PERCENT))
        self.threshold_box.valueChanged.connect(self._on_threshold)
        self.threshold_timer.timeout.connect(lambda: self.edited.emit("threshold", self.threshold_box.value()))

    def show_display(self, display: HeatmapDisplay) -> None:
        """Show how the heatmap is displayed; a threshold that the user is changing stays."""
        parts = (self._visible_check, self._masked_check, self._opacity, self._colormap_combo)
        blockers = [QSignalBlocker(part) for part in parts]
        self._visible_check.setChecked(display.visible)
        self._masked_check.setChecked(display.is_masked)
        self._opacity.setValue(display.opacity)
        self._colormap_combo.setCurrentText(display.colormap)
        for blocker in blockers:
            blocker.unblock()
        if not self.threshold_timer.isActive():
            self._show_threshold(display.threshold)

    def show_texts(self, texts: HeatmapTexts) -> None:
        """Show classes and tiles, or why there is no heatmap."""
        self._missing_label.setText(texts.missing)
        self._missing_label.setVisible(bool(texts.missing))
        self._area.setVisible(not texts.missing)
        if texts.classes != self._classes:
            self._classes = texts.classes
            self._class_combo.clear()
            for name in texts.classes:
                self._class_combo.addItem(format_class(name) if name else ALL_CLASSES, name)
        self._class_combo.setCurrentIndex(self._class_combo.findData(texts.target))
        self._class_combo.setEnabled(len(texts.classes) > 1)
        squares = (f"<span style='color: {color}'>■</span> {html.escape(name)}" for name, color in texts.legend)
        self._legend.setText("&nbsp; ".join(squares))
        self._legend.setVisible(bool(texts.legend))
        self._of_class.setVisible(not texts.legend)
        self._colormap_combo.setVisible(not texts.legend)
        self.tile_strip.show_tiles(self._slide, texts.tiles)
        self.tile_strip.show_values(texts.shows_values)

    def _show_threshold(self, threshold: float) -> None:
        """Show a threshold in both controls."""
        blockers = [QSignalBlocker(part) for part in (self._threshold, self.threshold_box)]
        set_spin_box_value(self.threshold_box, threshold)
        self._threshold.setValue(round(threshold * PERCENT))
        for blocker in blockers:
            blocker.unblock()

    def _on_threshold(self, threshold: float) -> None:
        self._show_threshold(threshold)
        self.threshold_timer.start()
