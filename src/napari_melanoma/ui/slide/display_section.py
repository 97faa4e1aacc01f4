"""The Display section of the Slide dock: stain and colors of a brightfield slide, or channels of a fluorescence one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QPushButton, QSlider, QWidget

from napari_melanoma.imaging.stain_view import LIMITS, STAIN_VIEWS, DisplayColors
from napari_melanoma.ui.slide.channels import ChannelView
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import add_to_section, fill_column, form_layout, named, quiet_label, row

if TYPE_CHECKING:
    from superqt import QCollapsible

    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

STEPS = 100  # of a slider on each side of its middle
REDRAW_MS = 40  # interval while a slider is moved
HINT = "Changes the display only: the analysis and the report use the colors of the scan."
TIPS = {
    "brightness": "Add to all colors",
    "contrast": "Spread the colors about the middle gray",
    "gamma": "Darken the middle tones, or lighten them to the left",
}


class DisplaySection(QObject):
    """Apply the chosen colors to the layers of a brightfield slide.

    ``edited``: the user changed the ``colors``, which are saved with the notes of the slide. The channels of a
    fluorescence slide are layers, whose display ``SlideMemory`` saves.
    """

    edited = Signal()

    def __init__(self, context: SlideContext, section: QCollapsible) -> None:
        super().__init__(context)
        self._section = section
        self._slide: ViewerSlide | None = None
        self._view: DisplayView | None = None
        self._channels: ChannelView | None = None
        self.colors = DisplayColors()
        context.flush_requested.connect(self.flush)
        section.toggled.connect(self._on_toggled)
        self._on_toggled(section.isExpanded())

    def flush(self) -> None:
        """Apply the last change of the controls, before another slide is displayed."""
        if self._view is not None:
            self._view.timer.flush()

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide, or the same one with another scale."""
        self.flush()
        self._slide = slide
        self.colors = DisplayColors() if slide is None else _read_colors(slide)
        self._update_view()

    def restore(self, colors: DisplayColors) -> None:
        """Show the slide in the colors of its notes, unless the user has changed colors since the slide was opened."""
        if self._slide is not None and _is_brightfield(self._slide) and self.colors.is_default:
            self._apply(colors)
            self._update_view()

    def _on_toggled(self, is_open: bool) -> None:
        """Create the controls when the section is first opened."""
        if is_open and self._view is None:
            self._view = DisplayView()
            self._view.changed.connect(self._on_changed)
            self._channels = ChannelView()
            for view in (self._view, self._channels):
                add_to_section(self._section, view)
            self._update_view()

    def _update_view(self) -> None:
        if self._view is None or self._channels is None:
            return
        slide = self._slide
        is_fluorescence = slide is not None and not _is_brightfield(slide)
        self._channels.show_channels(slide.layers if slide is not None and is_fluorescence else ())
        self._view.show_colors(self.colors, slide is not None and not is_fluorescence)
        self._view.setHidden(is_fluorescence)
        self._channels.setVisible(is_fluorescence)

    def _on_changed(self, colors: DisplayColors) -> None:
        self._apply(colors)
        self.edited.emit()

    def _apply(self, colors: DisplayColors) -> None:
        """Display the slide in other colors."""
        if self._slide is None or colors == self.colors:
            return
        self.colors = colors
        for layer in self._slide.layers:
            for level in layer.data:
                level.colors = colors
            layer.data = layer.data  # reads the coarsest level again, which napari keeps
            layer.refresh()


class DisplayView(QWidget):
    """The controls for a brightfield slide; ``changed``: the ``DisplayColors``."""

    changed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._colors = DisplayColors()
        tip = "Show the slide as scanned, or the amount of a single stain (color deconvolution)"
        self.stain_combo = named(NoWheelComboBox(), "display_stain", "Displayed stain", tip)
        for word, name in STAIN_VIEWS.items():
            self.stain_combo.addItem(name, word)
        self.sliders = {name: _create_slider(name) for name in LIMITS}
        self.reset_button = named(QPushButton("Reset"), "display_reset", "Reset", "Display the slide as scanned")
        self.hint_label = named(quiet_label(HINT), "display_hint", "What the display changes")
        self.timer = DebounceTimer(self, REDRAW_MS)
        self.timer.timeout.connect(lambda: self.changed.emit(self._colors))
        self._lay_out()
        self.stain_combo.activated.connect(lambda _: self._set_values(stain=self.stain_combo.currentData()))
        for name, slider in self.sliders.items():
            slider.valueChanged.connect(lambda value, name=name: self._set_values(**{name: _to_number(name, value)}))
        self.reset_button.clicked.connect(self._on_reset)

    def show_colors(self, colors: DisplayColors, is_brightfield: bool) -> None:
        """Show the colors of a slide."""
        self._colors = colors
        self.stain_combo.setCurrentIndex(self.stain_combo.findData(colors.stain))
        for name, slider in self.sliders.items():
            slider.blockSignals(True)
            slider.setValue(_to_step(name, getattr(colors, name)))
            slider.blockSignals(False)
        for widget in (self.stain_combo, *self.sliders.values()):
            widget.setEnabled(is_brightfield)
        self.reset_button.setEnabled(is_brightfield and not colors.is_default)

    def _set_values(self, **values: Any) -> None:  # noqa: ANN401 - of any field
        self._colors = replace(self._colors, **values)
        self.reset_button.setEnabled(not self._colors.is_default)
        self.timer.start()

    def _on_reset(self) -> None:
        self.timer.stop()
        self.show_colors(DisplayColors(), True)
        self.changed.emit(self._colors)

    def _lay_out(self) -> None:
        form = QWidget()
        rows: QFormLayout = form_layout(form)
        rows.addRow(QLabel("stain"), self.stain_combo)
        for name, slider in self.sliders.items():
            rows.addRow(QLabel(name), slider)
        fill_column(self, form, row(self.reset_button), self.hint_label)


def _create_slider(name: str) -> QSlider:
    slider = named(QSlider(Qt.Orientation.Horizontal), f"display_{name}", name.capitalize(), TIPS[name])
    slider.setRange(-STEPS, STEPS)
    return slider


def _to_number(name: str, step: int) -> float:
    """Convert the position of a slider to its number: linear for brightness, exponential for the other factors."""
    share, highest = step / STEPS, LIMITS[name][1]
    return share * highest if name == "brightness" else float(highest**share)


def _to_step(name: str, number: float) -> int:
    """Convert a number to the nearest position of its slider."""
    highest = LIMITS[name][1]
    if name == "brightness":
        return round(STEPS * number / highest)
    return round(STEPS * math.log(number) / math.log(highest))


def _is_brightfield(slide: ViewerSlide) -> bool:
    return slide.info.kind == "brightfield"


def _read_colors(slide: ViewerSlide) -> DisplayColors:
    """Return the colors in which a slide is displayed."""
    return getattr(slide.layers[0].data[0], "colors", DisplayColors())
