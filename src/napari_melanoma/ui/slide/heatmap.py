"""The heatmap of a slide as a layer that fills while the analysis runs, and the controls that say how it looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QLabel, QSizePolicy, QSlider, QVBoxLayout, QWidget

from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.widgets.editors import StillCombo
from napari_melanoma.ui.widgets.look import named, row
from napari_melanoma.ui.widgets.number_box import show_value
from napari_melanoma.ui.widgets.settings import Settling

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.utils import Colormap
    from napari.viewer import Viewer

    from napari_melanoma.ui.slide.watch import Heat
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide
    from napari_melanoma.ui.widgets.settings import Settings

COLOURS = ("magma", "viridis", "inferno", "plasma", "gray")  # alike to eyes that see fewer colours
STEPS, USUAL_OPACITY, USUAL_THRESHOLD = 100, 60, 0.6


class HeatControls(QWidget):
    """Class, colours, opacity and threshold, remembered for the next day."""

    changed = Signal()
    target_changed = Signal(str)
    threshold_changed = Signal(float)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._classes: tuple[str, ...] = ()
        self.check = named(QCheckBox("show"), "slide_heatmap", "Heatmap", "Show the heatmap above the slide")
        self.classes = named(StillCombo(), "slide_class", "Class", "The class that heatmap and lesions are about")
        self.colours = named(StillCombo(), "slide_colours", "Colour map", "Colours of the heatmap")
        self.classes.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.colours.addItems(COLOURS)
        self.opacity = named(QSlider(Qt.Orientation.Horizontal), "slide_opacity", "Opacity of the heatmap")
        tip = "A lesion is where the probability reaches this somewhere, as far as it stays within 0.2 of it"
        self.slider = named(QSlider(Qt.Orientation.Horizontal), "slide_threshold", "Threshold", tip)
        for slider in (self.opacity, self.slider):
            slider.setRange(0, STEPS)
            slider.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.number = named(QDoubleSpinBox(), "slide_threshold_number", "Threshold", tip)
        self.number.setRange(0, 1)
        self.number.setSingleStep(0.01)
        tip = "Show the heatmap only from the threshold on"
        self.above = named(QCheckBox("only from the threshold on"), "slide_above", "Only from the threshold on", tip)
        self.check.setChecked(settings.kept("slide/heatmap", True))
        self.colours.setCurrentIndex(max(0, self.colours.findText(settings.kept("slide/colours", COLOURS[0]))))
        self.opacity.setValue(settings.kept("slide/opacity", USUAL_OPACITY))
        self.above.setChecked(settings.kept("slide/above", False))
        self.threshold = settings.kept("slide/threshold", USUAL_THRESHOLD)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(row(self.check, self.classes, stretch=1))
        layout.addWidget(row(QLabel("opacity"), self.opacity, self.colours, stretch=1))
        layout.addWidget(row(QLabel("threshold"), self.slider, self.number, stretch=1))
        layout.addWidget(self.above)
        self._settling = Settling(self)
        self._settling.timeout.connect(self._on_settled)
        self.check.toggled.connect(self._on_changed)
        self.above.toggled.connect(self._on_changed)
        self.colours.activated.connect(self._on_changed)
        self.opacity.valueChanged.connect(self._on_changed)
        self.classes.activated.connect(lambda _: self.target_changed.emit(self.classes.currentText()))
        self.slider.valueChanged.connect(self._on_slider)
        self.number.valueChanged.connect(self._on_number)

    @property
    def threshold(self) -> float:
        """From which probability on there is a lesion."""
        return float(self.number.value())

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        for control in (self.number, self.slider):
            control.blockSignals(True)
        show_value(self.number, threshold)
        self.slider.setValue(round(threshold * STEPS))
        for control in (self.number, self.slider):
            control.blockSignals(False)

    def dress(self, layer: Image) -> None:
        """Let a heatmap look as the controls say."""
        layer.visible, layer.opacity = self.check.isChecked(), self.opacity.value() / STEPS
        if layer.colormap.name != faded_name(self.colours.currentText()):
            layer.colormap = faded(self.colours.currentText())

    def show_classes(self, classes: tuple[str, ...], target: str) -> None:
        """Offer the classes of a model."""
        if classes != self._classes:
            self._classes = classes
            self.classes.clear()
            self.classes.addItems(list(classes))
        self.classes.setCurrentIndex(self.classes.findText(target))
        self.classes.setEnabled(len(classes) > 1)

    def _on_changed(self, _: object = None) -> None:
        kept = {
            "heatmap": self.check.isChecked(),
            "colours": self.colours.currentText(),
            "opacity": self.opacity.value(),
            "above": self.above.isChecked(),
        }
        for name, value in kept.items():
            self._settings.keep(f"slide/{name}", value)
        self.changed.emit()

    def _on_slider(self, value: int) -> None:
        self.number.blockSignals(True)
        show_value(self.number, value / STEPS)
        self.number.blockSignals(False)
        self._settling.start()

    def _on_number(self, value: float) -> None:
        self.slider.blockSignals(True)
        self.slider.setValue(round(value * STEPS))
        self.slider.blockSignals(False)
        self._settling.start()

    def _on_settled(self) -> None:
        self._settings.keep("slide/threshold", self.threshold)
        self.threshold_changed.emit(self.threshold)
        if self.above.isChecked():
            self.changed.emit()


class SlideHeat(QObject):
    """Keeps one layer a slide in step with what is known of it."""

    def __init__(self, viewer: Viewer, controls: HeatControls) -> None:
        super().__init__(controls)
        self._viewer, self._controls = viewer, controls
        self._known: dict[str, Heat] = {}
        self._slide: OpenSlide | None = None
        self._own = False  # what napari tells of our own changes is no news
        controls.changed.connect(self._show)

    @property
    def heat(self) -> Heat | None:
        """What is known of the slide that the dock is about."""
        return None if self._slide is None else self._known.get(self._slide.identity)

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide."""
        self._slide = slide
        heat = self.heat
        self._controls.show_classes(() if heat is None else heat.classes, "" if heat is None else heat.target)

    def take(self, heat: Heat) -> None:
        """Show what is known now."""
        if self._slide is not None:
            self._known[self._slide.identity] = heat
            self._controls.show_classes(heat.classes, heat.target)
            self._show()

    def forget(self, identity: str) -> None:
        """Forget what was known, as another analysis begins or the slide was closed."""
        self._known.pop(identity, None)
        if self._slide is not None and self._slide.identity == identity:
            layer = slide_layers.part(self._viewer, self._slide, "heatmap")
            if layer is not None:
                layer.visible = False

    def _show(self) -> None:
        from napari_melanoma.slides.tiling import from_threshold_on

        slide, heat, controls = self._slide, self.heat, self._controls
        if slide is None or heat is None:
            return
        values = from_threshold_on(heat.values, controls.threshold) if controls.above.isChecked() else heat.values

        def make() -> Image:
            from napari.layers import Image

            return Image(values, contrast_limits=heat.limits)

        layer = slide_layers.put(self._viewer, slide, "heatmap", make, heat.place)
        if layer.data is not values:
            layer.data = values
        if tuple(layer.contrast_limits) != heat.limits:
            layer.contrast_limits = heat.limits
        controls.dress(layer)
        layer.visible = layer.visible and slide.layers[0].visible


def faded_name(name: str) -> str:
    """Name a colour map that is clear where nothing is.

    Returns another name, as napari knows maps by their names.
    """
    return f"{name}, clear at 0"


def faded(name: str) -> Colormap:
    """Make a colour map clear where nothing is, so that the tissue can be seen there."""
    import numpy as np
    from napari.utils.colormaps import Colormap, ensure_colormap

    steps = np.linspace(0, 1, 65)
    colours = np.array(ensure_colormap(name).map(steps))
    colours[:, 3] = np.clip(2 * steps, 0, 1)
    return Colormap(colours, name=faded_name(name), display_name=faded_name(name))
