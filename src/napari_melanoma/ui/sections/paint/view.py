"""The widgets of the Paint section."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractButton, QCheckBox, QLabel, QLayout, QProgressBar, QSizePolicy, QSlider, QWidget

from napari_melanoma.slides.regions import RegionClass
from napari_melanoma.ui.sections.paint.options import OptionsRow
from napari_melanoma.ui.sections.paint.panel import PaintPanel
from napari_melanoma.ui.sections.paint.similar import SimilarView
from napari_melanoma.ui.sections.paint.stroke_tool import StrokeToolName
from napari_melanoma.ui.sections.paint.suggestions import SuggestionStrip
from napari_melanoma.ui.widgets.class_list import ClassKind, RegionClassList
from napari_melanoma.ui.widgets.style import (
    WrappedLabel,
    column,
    fill_column,
    named,
    quiet_label,
    row,
    scroll_area,
    tool_button,
)

if TYPE_CHECKING:
    from napari_melanoma.ui.widgets.settings import DockSettings
    from napari_melanoma.ui.widgets.style import ThemedIcons

# Colors that differ from each other, also with protanopia and deuteranopia (CIEDE2000 at least 18, with tritanopia 12),
# and from pink tissue and dark background; most of them are those of Okabe and Ito (2008).
TISSUE_CLASSES = ClassKind(
    "slide/tissue_classes",
    (
        RegionClass("Epidermis", (0, 114, 178)),
        RegionClass("Dermis", (0, 158, 115)),
        RegionClass("Fat", (240, 228, 66)),
        RegionClass("Follicle", (110, 60, 20)),
        RegionClass("Tumor", (213, 94, 0)),
        RegionClass("Background", (221, 221, 221)),
    ),
    "tissue",
    "Classes of tissue",
    "Class of the strokes that you paint",
    "strokes",
    "Remove the class with its strokes, on all slides displayed so far; undo restores them",
)
TOOLS: dict[StrokeToolName, tuple[str, str, str]] = {  # text, icon and tooltip
    "brush": (
        "brush",
        "paint",
        "Hold the mouse button and paint on tissue of the class; Space moves the view",
    ),
    "polygon": (
        "area",
        "polygon_lasso",
        "Draw around an area with the button held, or click its corners: a double click or Return closes it, Backspace "
        "removes the last corner, Escape drops it",
    ),
    "cells": ("cells", "picker", "Click single cells of the map (squares of 32 µm), or drag across them"),
    "erase": ("erase", "erase", "Click a stroke to remove it"),
    "similar": (
        "find similar",
        "zoom",
        "Click a cell to find the most similar ones of this slide and its folder",
    ),
}
EDITS = {  # text and tooltip
    "undo": ("↶", "Undo the last change of the strokes (Ctrl+Z on the canvas)"),
    "redo": ("↷", "Redo the last change that was undone (Ctrl+Shift+Z on the canvas)"),
}
SIZES_PX, DEFAULT_SIZE_PX = (4, 80), 20  # width of the brush on the screen
STEPS, DEFAULT_OPACITY = 100, 45
ADVICE_LINES = 3
CELLS_PX, PANEL_PX = 224, 150  # heights of the areas of suggested cells and of accuracy, which scroll
SAVE_TIP = "Save a model of the strokes of all slides displayed so far, for analyses, cohorts and reports"
APPLY_TIP = "Analyze this slide with the saved model, in the background: areas, lesions and report"


class PaintView(QWidget):
    """Classes, tools, display of the map, and progress.

    ``tool_clicked``: the button of a tool was clicked. ``display_changed``: visibility or opacity of the map.
    """

    tool_clicked = Signal(str)
    display_changed = Signal()

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self.advice_label = named(WrappedLabel(lines=ADVICE_LINES), "paint_advice", "What to do next")
        self.advice_label.setToolTip("")
        self.class_list = RegionClassList(settings, icons, TISSUE_CLASSES)
        self.tools = {name: _create_tool_button(name, icons) for name in get_args(StrokeToolName)}
        self.edit_buttons = {name: tool_button(f"paint_{name}", tip, tip, text) for name, (text, tip) in EDITS.items()}
        tip = "Width of the brush on the screen ([ and ] on the canvas)"
        self.size_slider = named(QSlider(Qt.Orientation.Horizontal), "paint_size", "Width of the brush", tip)
        self.size_slider.setRange(*SIZES_PX)
        self.size_slider.setValue(settings.get("paint/size", DEFAULT_SIZE_PX))
        tip = "Show the map of classes above the slide"
        self.visible_check = named(QCheckBox("map"), "paint_map", "Map of classes", tip)
        self.visible_check.setChecked(settings.get("paint/map", True))
        self.opacity_slider = named(QSlider(Qt.Orientation.Horizontal), "paint_opacity", "Opacity of the map")
        self.opacity_slider.setRange(0, STEPS)
        self.opacity_slider.setValue(settings.get("paint/opacity", DEFAULT_OPACITY))
        self.panel = PaintPanel(icons)
        self.similar = SimilarView()
        self.suggestions = SuggestionStrip()
        self.save_button = tool_button("paint_save", "Save as model", SAVE_TIP, "Save as model ...")
        self.apply_button = tool_button("paint_apply", "Apply to this slide", APPLY_TIP, "Apply to this slide")
        self.save_note = named(quiet_label(lines=3), "paint_save_note", "Features of the saved model")
        self.save_note.setToolTip("")
        self.progress_label = named(WrappedLabel(lines=1), "paint_progress_text", "Progress of the map")
        self.progress_label.setToolTip("")
        self.options = OptionsRow(settings, icons)
        self.progress_label.setProperty("quiet", True)
        self.progress_bar = named(QProgressBar(), "paint_progress", "Progress of the map")
        self.progress_bar.setTextVisible(False)
        self.progress_bar.setFixedHeight(8)
        self.pause_button = tool_button("paint_pause", "Pause", "", "Pause")
        for button, name in ((self.tools[name], name) for name in self.tools):
            button.clicked.connect(lambda _=False, name=name: self.tool_clicked.emit(name))
        self.size_slider.valueChanged.connect(lambda size: settings.set("paint/size", size))
        self.visible_check.toggled.connect(self._on_display)
        self.opacity_slider.valueChanged.connect(self._on_display)
        self._results = self._lay_out()

    def _lay_out(self) -> QWidget:
        """Lay out the widgets; return the area of the results."""
        controls = column(
            self.advice_label,
            self.class_list,
            row(*(self.tools[name] for name in ("brush", "polygon", "cells"))),
            row(self.tools["erase"], *self.edit_buttons.values(), self.tools["similar"]),
            row(QLabel("width"), self.size_slider, stretch=1),
            row(self.visible_check, QLabel("opacity"), self.opacity_slider, stretch=2),
            row(self.pause_button, self.progress_bar, stretch=1),
            self.progress_label,
            row(self.save_button, self.apply_button),
            self.save_note,
            self.options,
        )
        # Otherwise they are squeezed or spread when results appear below, until the section has its new height.
        controls.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        controls.layout().setSizeConstraint(QLayout.SizeConstraint.SetMinimumSize)
        cells = scroll_area(column(self.similar, self.suggestions), "paint_cells", CELLS_PX)
        results = column(cells, scroll_area(column(self.panel), "paint_results", PANEL_PX))
        results.hide()
        fill_column(self, controls, results, spacing=5)
        self.layout().addStretch(0)
        return results

    @property
    def opacity(self) -> float:
        """Opacity of the map."""
        return float(self.opacity_slider.value() / STEPS)

    def show_results(self, is_painted: bool) -> None:
        """Show the area of results, once there are strokes or a tool is used; it stays, as does its height."""
        if is_painted:
            self._results.show()

    def show_tool(self, name: str) -> None:
        """Show the active tool; empty for none."""
        self.show_results(bool(name))
        for tool, button in self.tools.items():
            button.setChecked(tool == name)

    def show_size(self, size_px: int) -> None:
        """Show the width of the brush that was set on the canvas."""
        self.size_slider.blockSignals(True)
        self.size_slider.setValue(size_px)
        self.size_slider.blockSignals(False)
        self._settings.set("paint/size", self.size_slider.value())

    def show_progress(self, text: str, share: float | None, *, is_paused: bool) -> None:
        """Show the progress of the map; ``share``: what is done; None if nothing is to do."""
        self.progress_label.setText(text)
        self.progress_bar.setValue(round(STEPS * (share or 0.0)))
        self.progress_bar.setEnabled(share is not None)
        self.pause_button.setEnabled(share is not None)
        self.pause_button.setText("Continue" if is_paused else "Pause")
        tip = "Compute the map of the whole slide" if is_paused else "Compute the map of the view only"
        self.pause_button.setToolTip(tip if share is not None else "Nothing is being computed.")

    def _on_display(self, _: object = None) -> None:
        self._settings.set("paint/map", self.visible_check.isChecked())
        self._settings.set("paint/opacity", self.opacity_slider.value())
        self.display_changed.emit()


def _create_tool_button(name: StrokeToolName, icons: ThemedIcons) -> QAbstractButton:
    text, icon, tip = TOOLS[name]
    button = tool_button(f"paint_{name}", tip, tip, text, checkable=True)
    icons.add(button, icon)
    return button
