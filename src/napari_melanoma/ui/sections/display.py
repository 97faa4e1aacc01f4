"""The Display section of a slide: the stain and the colors in which a brightfield slide is displayed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QLabel, QPushButton, QSlider, QWidget

from napari_melanoma.imaging.stain_view import LIMITS, STAIN_VIEWS, DisplayColors
from napari_melanoma.slides.notes import SlideNotes
from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import form_layout, named, quiet_label, row

if TYPE_CHECKING:
    from napari_melanoma.ui.session.slide import SlideSession

STEPS = 100  # of a slider on each side of its middle
REDRAW_MS = 40  # interval while a slider is moved
HINT = "Changes the display only: the analysis and the report use the colors of the scan."
CHANNELS = (
    "Each channel is a layer: change its visibility, contrast limits, gamma and colormap with napari's layer list and "
    "layer controls. They are restored with the slide."
)
TIPS = {
    "brightness": "Add to all colors",
    "contrast": "Spread the colors about the middle gray",
    "gamma": "Darken the middle tones, or lighten them to the left",
}


class DisplayedColors:
    """Display a brightfield slide in the colors of its notes.

    The channels of a fluorescence slide are layers, whose display is saved with that of all layers.
    """

    def __init__(self, session: SlideSession) -> None:
        self._slide = session.slide
        if self._slide.info.kind == "brightfield":
            session.follow(session.notes.changed, self._on_notes)
            self._on_notes(session.notes.value)

    def _on_notes(self, notes: SlideNotes) -> None:
        if notes.colors == getattr(self._slide.layers[0].data[0], "colors", DisplayColors()):
            return
        for layer in self._slide.layers:
            for level in layer.data:
                level.colors = notes.colors
            layer.data = layer.data  # reads the coarsest level again, which napari keeps
            layer.refresh()


class DisplaySection(SlideSection):
    """The controls of the colors; for a fluorescence slide, where those of its channels are."""

    parts = (DisplayedColors,)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        if session.slide.info.kind != "brightfield":
            self.add(named(quiet_label(CHANNELS), "display_hint", "Display of the channels"))
            return
        self._colors = DisplayColors()
        tip = "Show the slide as scanned, or the amount of a single stain (color deconvolution)"
        self._stain_combo = named(NoWheelComboBox(), "display_stain", "Displayed stain", tip)
        for word, name in STAIN_VIEWS.items():
            self._stain_combo.addItem(name, word)
        self._sliders = {name: _create_slider(name) for name in LIMITS}
        self._reset_button = named(QPushButton("Reset"), "display_reset", "Reset", "Display the slide as scanned")
        form = QWidget()
        rows: QFormLayout = form_layout(form)
        rows.addRow(QLabel("stain"), self._stain_combo)
        for name, slider in self._sliders.items():
            rows.addRow(QLabel(name), slider)
        self.add(form, row(self._reset_button), named(quiet_label(HINT), "display_hint", "What the display changes"))
        self._timer = DebounceTimer(self, REDRAW_MS)
        self._timer.timeout.connect(self._apply)
        self._stain_combo.activated.connect(lambda _: self._set_values(stain=self._stain_combo.currentData()))
        for name, slider in self._sliders.items():
            slider.valueChanged.connect(lambda value, name=name: self._set_values(**{name: _to_number(name, value)}))
        self._reset_button.clicked.connect(self._on_reset)
        self.follow(session.notes.changed, self._on_notes)
        self.follow(session.commit_requested, self._timer.flush)
        self._show_colors(session.notes.value.colors)

    def _on_notes(self, notes: SlideNotes) -> None:
        if not self._timer.isActive():  # otherwise a slider is being moved
            self._show_colors(notes.colors)

    def _show_colors(self, colors: DisplayColors) -> None:
        self._colors = colors
        self._stain_combo.setCurrentIndex(self._stain_combo.findData(colors.stain))
        for name, slider in self._sliders.items():
            slider.blockSignals(True)
            slider.setValue(_to_step(name, getattr(colors, name)))
            slider.blockSignals(False)
        self._reset_button.setEnabled(not colors.is_default)

    def _set_values(self, **values: Any) -> None:  # noqa: ANN401 - of any field
        self._colors = replace(self._colors, **values)
        self._reset_button.setEnabled(not self._colors.is_default)
        self._timer.start()

    def _on_reset(self) -> None:
        self._timer.stop()
        self._show_colors(DisplayColors())
        self._apply()

    def _apply(self) -> None:
        self.session.edit_notes(lambda notes: replace(notes, colors=self._colors))


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
