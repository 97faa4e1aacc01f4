"""The controls of the colors in which a brightfield slide is displayed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QPushButton, QSlider, QWidget

from napari_melanoma.imaging.stain_view import LIMITS, STAIN_VIEWS, DisplayColors
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import fill_column, form_layout, named, quiet_label, row

STEPS = 100  # of a slider on each side of its middle
REDRAW_MS = 40  # interval while a slider is moved
HINT = "Changes the display only: the analysis and the report use the colors of the scan."
TIPS = {
    "brightness": "Add to all colors",
    "contrast": "Spread the colors about the middle gray",
    "gamma": "Darken the middle tones, or lighten them to the left",
}


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

    def show_colors(self, colors: DisplayColors) -> None:
        """Show the colors of a slide."""
        self._colors = colors
        self.stain_combo.setCurrentIndex(self.stain_combo.findData(colors.stain))
        for name, slider in self.sliders.items():
            slider.blockSignals(True)
            slider.setValue(_to_step(name, getattr(colors, name)))
            slider.blockSignals(False)
        self.reset_button.setEnabled(not colors.is_default)

    def _set_values(self, **values: Any) -> None:  # noqa: ANN401 - of any field
        self._colors = replace(self._colors, **values)
        self.reset_button.setEnabled(not self._colors.is_default)
        self.timer.start()

    def _on_reset(self) -> None:
        self.timer.stop()
        self.show_colors(DisplayColors())
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
