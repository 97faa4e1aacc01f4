"""The widgets that show the results of an analysis: heatmap, prediction and lesions."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_melanoma.ui.slide.export import create_export_button
from napari_melanoma.ui.slide.heatmap import SlideHeatmapControls
from napari_melanoma.ui.slide.lesions import LesionTable
from napari_melanoma.ui.slide.overview import TileStrip
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, named, quiet_label, row, section, tool_button
from napari_melanoma.ui.widgets.validity import ValidityNotice

SAVE_KEY = format_key("slide.save")
EDITS = {
    "draw": ("draw", f"Draw a new lesion on the slide; press again to stop ({format_key('slide.draw')})"),
    "merge": ("merge", "Merge the selected lesions into one"),
    "split": ("split", "Split a lesion by a line that you draw across it"),
    "class": ("class", "Switch the class of the selected lesions"),
    "remove": ("remove", "Remove the selected lesions (Delete)"),
    "undo": ("undo", "Undo the last change of the lesions"),
    "redo": ("redo", "Redo the last change that was undone"),
}
NO_LESIONS = "No lesions yet. Analyze the slide first."
NO_HEATMAP = "No results yet. The heatmap appears here and is refined while the analysis runs."


class SlideResultView:
    """Create the widgets of the results, and show or hide them."""

    def __init__(self, icons: ThemedIcons, settings: DockSettings, on_export: Callable[[str], None]) -> None:
        self.heatmap_controls = SlideHeatmapControls(settings)
        self.tile_strip = TileStrip()
        self._no_heatmap_label = named(quiet_label(NO_HEATMAP), "no_heatmap", "No heatmap yet")
        self.prediction_label = named(WrappedLabel(), "slide_answer", "Prediction for the slide")
        self.warning_label = named(WrappedLabel(), "slide_cautions", "Warnings about the prediction")
        self.warning_label.setProperty("fault", True)
        self.lesion_count_label = named(quiet_label(NO_LESIONS), "lesion_count", "Number of lesions")
        self.lesion_table = LesionTable()
        self.edit_buttons = {name: tool_button(f"lesion_{name}", tip, tip, text) for name, (text, tip) in EDITS.items()}
        self.edit_buttons["draw"].setCheckable(True)
        for name, arrow in (("undo", "↶"), ("redo", "↷")):
            self.edit_buttons[name].setText(arrow)
        self.save_button = named(QPushButton("Save"), "save", "Save the lesions")
        self.export_button = create_export_button(on_export)
        self.validity = ValidityNotice(icons, "slide", self.prediction_label)
        self.validity.numbers_shown.connect(self._set_predictions_visible)
        self._heatmap_area = column(self.heatmap_controls, self.tile_strip)
        self._edit_row = row(*(button for name, button in self.edit_buttons.items() if name != "draw"))
        self._edit_row.layout().setSpacing(2)
        self._lesion_table_area = column(self.lesion_table)

    def create_sections(self, settings: DockSettings) -> tuple[QWidget, ...]:
        """Create the parts of the dock that hold the widgets, from top to bottom."""
        heatmap = column(self._no_heatmap_label, self._heatmap_area)
        lesions = column(
            self.warning_label,
            row(self.lesion_count_label, self.edit_buttons["draw"], stretch=0),
            self._lesion_table_area,
            self._edit_row,
        )
        return (
            self.validity,
            section("Heatmap", "slide_heatmap_section", heatmap, settings, True),
            section("Lesions", "slide_lesions_section", lesions, settings, True),
        )

    def show_parts(self, *, has_heatmap: bool, has_lesions: bool) -> None:
        """Show the widgets for which there is something to show."""
        self._no_heatmap_label.setVisible(not has_heatmap)
        self._heatmap_area.setVisible(has_heatmap)
        self.lesion_table.setVisible(has_lesions)
        self._edit_row.setVisible(has_lesions)
        self.edit_buttons["draw"].setVisible(has_lesions)
        if not has_lesions:
            self.lesion_count_label.setText(NO_LESIONS)

    def _set_predictions_visible(self, visible: bool) -> None:
        """Show the predicted numbers, or hide them where they are not valid."""
        self._lesion_table_area.setVisible(visible)
        self.lesion_count_label.setVisible(visible)
        self.tile_strip.show_values(visible)


def column(*widgets: QWidget, spacing: int = 5) -> QWidget:
    """Put widgets below each other."""
    part = QWidget()
    layout = QVBoxLayout(part)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(spacing)
    for widget in widgets:
        layout.addWidget(widget)
    return part
